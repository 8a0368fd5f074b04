# SPDX-License-Identifier: MIT
"""Which file is executed: the one that served comes back, and what ends by itself is run once, as it is."""
import os
import pathlib
import shutil
import signal

import pytest

from support.config import Listener
from support.envoys import envoy
from support.instance import wait_until


def copy_of_envoy(folder, version):
    path = folder / "envoy"
    shutil.copy2(envoy(version), path)
    return path


def put_over(path, text):
    new = path.with_name("new")
    new.write_text(text)
    new.chmod(0o755)
    new.rename(path)


def test_the_binary_that_served_comes_back_when_another_file_lies_at_its_path(baton, hammer):
    program = copy_of_envoy(baton.dir, "1.39.3")
    baton.run(program, listeners=[listener := Listener()])
    with hammer(listener) as load:
        put_over(program, "#!/bin/sh\nexit 7\n")
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment, epoch=1)
        # ... and again, when the agent that pinned it is dead
        moment = baton.kill_agent()
        baton.wait_event("agent.restarted", since=moment)
        program.unlink()
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment, epoch=2)
        wait_until(lambda: (baton.serving() or {}).get("version") == "1.39.3", "the version")
    assert load.refused == 0 and load.failed_otherwise == 0


def test_a_script_is_executed_by_its_path(baton):
    script = baton.dir / "run-envoy"
    put_over(script, f'#!/bin/sh\nexec {envoy()} "$@"\n')
    baton.run(script, listeners=[Listener()])
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment, epoch=1)


def run_plainly(baton, *args):
    baton.start("--", *args, stdout=(out := open(baton.dir / "out", "w+b")))
    status = baton.wait_exit()
    out.seek(0)
    return status, out.read().decode()


def test_version_of_the_proxy_is_run_as_it_is_and_nothing_is_claimed(baton):
    status, text = run_plainly(baton, envoy("1.36.2"), "--version")
    assert status == 0 and "/1.36.2/" in text
    assert not baton.run_dir.exists()


def test_a_validate_run_gives_its_own_exit_status(baton):
    bad = baton.dir / "bad.yaml"
    bad.write_text("static_resources: { listeners: 7 }\n")
    status, _ = run_plainly(baton, envoy(), "--mode", "validate", "-c", bad)
    assert status == 1
    assert "Unable to parse" in baton.log() or "error" in baton.log()


def test_a_plain_run_is_told_of_signals_and_dies_with_its_signal(baton):
    script = baton.dir / "envoy-sleeps"
    put_over(script, f"#!/bin/sh\necho $$ >{baton.dir}/pid\nexec sleep 60\n")
    baton.start("--", script, "--version")
    wait_until(lambda: (baton.dir / "pid").exists() and (baton.dir / "pid").read_text().strip(), "the script")
    pid = int((baton.dir / "pid").read_text())
    wait_until(lambda: b"sleep" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes(), "the sleep")
    baton.process.send_signal(signal.SIGTERM)
    assert baton.wait_exit() == 128 + signal.SIGTERM
    assert not os.path.exists(f"/proc/{pid}")


@pytest.fixture
def termination_log():
    """As in a container of Kubernetes; the file is a device folder's, so it is made and removed by root."""
    path = pathlib.Path("/dev/termination-log")
    if path.exists():
        pytest.skip("there is a /dev/termination-log already: it is somebody's")
    path.touch()
    yield path
    path.unlink()


@pytest.mark.root
def test_the_reason_of_a_failed_end_lies_where_kubernetes_looks_for_it(baton, termination_log):
    baton.start("--retry-tokens", "0", "--", "/bin/false")
    assert baton.wait_exit() == 1
    assert "ended (exit:1)" in termination_log.read_text()


@pytest.mark.root
def test_a_good_end_leaves_no_reason(baton, termination_log):
    baton.start("--", "/bin/true")
    assert baton.wait_exit() == 0
    assert termination_log.read_text() == ""
