# SPDX-License-Identifier: MIT
"""What `baton status` says about a serving proxy is true now, not when something last happened."""
import os
import shutil
import signal

from support.config import DELAY_HEADER, Listener
from support.envoys import NEWEST, envoy
from support.instance import wait_until


def test_status_counts_connections_and_requests_of_a_serving_proxy(baton):
    baton.run(listeners=[listener := Listener()])
    assert (baton.serving()["connections"], baton.serving()["in_flight"]) == (0, 0)

    with listener.connect() as one, listener.connect():
        one.sendall(f"GET / HTTP/1.1\r\nhost: a\r\n{DELAY_HEADER}: 20000\r\n\r\n".encode())
        wait_until(lambda: (baton.serving()["connections"], baton.serving()["in_flight"]) == (2, 1), "the counts")
    wait_until(lambda: baton.serving()["connections"] == 0, "the end of the connections")


def test_status_of_a_proxy_whose_admin_hangs_is_answered_all_the_same(baton):
    baton.run(listeners=[Listener()])
    pid = baton.proxy_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert baton.status()["state"] == "serving"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_config_that_was_changed_on_disk_is_reported_as_stale(baton):
    baton.run(listeners=[Listener()])
    assert baton.status()["stale"] == []
    served = baton.config_path.read_text()
    baton.config_path.write_text(served + "# changed\n")
    assert baton.status()["stale"] == ["config"]
    assert "changed since it was started: config" in baton.cli("status", check=0).stdout
    new = baton.dir / "new"
    new.write_text(served)
    new.rename(baton.config_path)
    assert baton.status()["stale"] == [], "the same content in another file"


def test_a_program_that_was_replaced_on_disk_is_reported_as_stale(baton):
    program = baton.dir / "envoy"
    program.symlink_to(envoy(NEWEST))
    baton.run(program, listeners=[Listener()])
    assert baton.status()["stale"] == []
    other = baton.dir / "other"
    shutil.copy("/bin/true", other)
    program.unlink()
    program.symlink_to(other)
    assert baton.status()["stale"] == ["binary"]
