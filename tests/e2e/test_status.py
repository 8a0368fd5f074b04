# SPDX-License-Identifier: MIT
"""What `baton status` and the metrics say about a serving proxy is true now, not when something last happened."""
import json
import os
import shutil
import signal
import socket
import urllib.request

from support.config import Config, DELAY_HEADER, Listener, free_port
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


def test_another_proxy_in_the_file_of_options_is_reported_as_stale_until_it_serves(baton):
    Config([Listener()]).write(baton.config_path)
    first = [str(envoy(NEWEST)), "-c", "envoy.yaml", "--log-level", "error"]
    second, file, new = [*first, "--concurrency", "1"], baton.dir / "baton.json", baton.dir / "new"
    port = free_port()

    def write(proxy):
        new.write_text(json.dumps({"drain-time": "0s", "status": [f"127.0.0.1:{port}"], "proxy": proxy}))
        new.rename(file)

    write(first)
    baton.start("--config", "baton.json")
    baton.wait_event("epoch.accepted")
    assert baton.status()["stale"] == []
    write(second)
    assert baton.status()["stale"] == ["command"]
    assert metrics(port)['baton_stale{what="command"}'] == 1
    file.write_text('{"proxy": [')
    assert baton.status()["stale"] == [], "being written"
    write(second)
    baton.cli("upgrade", "--", *second)
    assert baton.status()["stale"] == []
    write(first)
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)
    assert baton.status()["stale"] == ["command"]


def test_a_proxy_on_the_command_line_is_never_stale_for_the_file(baton):
    (baton.dir / "baton.json").write_text('{"proxy": ["something", "else"]}')
    baton.run(options=["--config", "baton.json"])
    assert baton.status()["stale"] == []


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


def test_watching_the_status_tells_each_change_in_a_line_and_ends_with_the_instance(baton):
    baton.run(listeners=[Listener()])
    watching = baton.client("status", "--watch", "--json")
    first = json.loads(watching.stdout.readline())
    assert first["ready"] is True
    baton.cli("drain", check=0)
    assert any(not json.loads(line)["ready"] for line in watching.stdout), "the change is told"
    baton.stop()
    rest, errors = watching.communicate(timeout=30)
    assert watching.returncode == 0 and errors == "" and "\033" not in rest


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_the_metrics_tell_how_long_a_drain_took_and_what_was_dropped_also_where_the_socket_has_gone(baton):
    listener, port = Listener(extra={"tcp_backlog_size": 1}, reuse_port=False), free_port()
    baton.run(listeners=[listener, Listener(name="stays")], options=["--status", f"127.0.0.1:{port}"])
    assert metrics(port)["baton_listen_drops_total"] == 0 and "baton_drain_duration_seconds" not in metrics(port)
    pid = baton.proxy_pid()
    waiting = [socket.socket() for _ in range(8)]
    os.kill(pid, signal.SIGSTOP)
    try:
        for s in waiting:
            s.setblocking(False)
            s.connect_ex((listener.address, listener.port))
        wait_until(lambda: metrics(port)["baton_listen_drops_total"] > 0, "a drop")
    finally:
        os.kill(pid, signal.SIGCONT)
        for s in waiting:
            s.close()
    dropped = metrics(port)["baton_listen_drops_total"]
    baton.config.listeners.remove(listener)
    baton.config.write(baton.config_path)
    baton.cli("upgrade", check=0)
    baton.wait_event("epoch.exited", epoch=0)
    assert [line["address"] for line in baton.status()["listeners"]] == [baton.config.listeners[0].url]
    after = metrics(port)
    assert after["baton_listen_drops_total"] >= dropped, "it never goes back"
    assert 1 <= after["baton_drain_duration_seconds"] < 45
