# SPDX-License-Identifier: MIT
"""Servers that do not speak Envoy's protocol, on sockets that they inherit: kill -9, readiness, what is theirs and what is not."""
import json
import os
import pathlib
import signal
import socket

import pytest

from support.config import free_port
from support.crash import ask_status, end, tell, wait_status
from support.instance import wait_until
from support.plain import PYTHON, Haproxy, Nginx, Server, answers, example, get, need, refused

SERVERS = {
    "python": Server,
    "nginx": Nginx,
    "nginx-in-a-shell": lambda baton: Nginx(baton, graceful=True),
    "haproxy": Haproxy,
    "haproxy-master": lambda baton: Haproxy(baton, master=True),
}


def session(pid):
    """Pids of the living processes of a session."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = pathlib.Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == pid and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def environment_of(pid):
    pairs = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def crash(baton):
    """kill -9 of what serves; the epoch.accepted of what replaced it."""
    pid, moment = baton.proxy_pid(), baton.moment()
    end(pid)
    return baton.wait_event("epoch.accepted", since=moment), pid


def test_another_program_ends_the_wait_where_no_config_is_known(baton):
    server, program, new = Server(baton), baton.dir / "server", baton.dir / "new"

    def write(path, first):
        path.write_text(f"#!/bin/sh\n{first}\nexec {' '.join(map(str, server.command))}\n")
        path.chmod(0o755)

    write(program, f"test ! -e {baton.dir}/broken || exit 1")
    write(new, "")
    server.command = [program]
    server.run("--retry-initial", "60s", "--stable", "1h")
    moment = baton.moment()
    end(baton.proxy_pid())
    assert "program" in baton.wait_event("relaunch.waiting", since=moment)["do"]
    (baton.dir / "broken").touch()
    new.rename(program)
    assert "program" in baton.wait_event("content.changed", since=moment)["then"]
    baton.wait_event("epoch.accepted", since=moment)
    assert get(server.port)


# ---- kill -9 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVERS)
def test_kill_9_refuses_nobody_and_leaves_nobody_behind(baton, hammer, name):
    server = SERVERS[name](baton).run()
    with hammer(server, clients=8, kept=0) as load:
        for i in range(20):
            load.mark(f"kill {i}")
            accepted, dead = crash(baton)
            assert session(dead) == [], "what is left of a dead master accepts beside its successor"
            # it serves, and so does everybody who waited: each client has had an answer since
            wait_until(lambda: session(accepted["pid"]) and get(server.port), "an answer")
            load.mark(f"up {i}")
    assert load.refused == 0 and load.failed_otherwise == 0 and load.ok > 0, load
    tell(f"{name}, 20 kills", load)


def test_the_agent_and_the_server_may_die_together(baton, hammer, count):
    server = Server(baton).run()
    with hammer(server, clients=4, kept=0) as load:
        for _ in range(count(20, 2)):
            pid, moment = baton.proxy_pid(), baton.moment()
            baton.kill_agent()
            end(pid)
            baton.wait_event("epoch.accepted", since=moment)
            wait_until(lambda: baton.proxy_pid() != pid and get(server.port), "an answer")
    assert load.refused == 0 and load.failed_otherwise == 0, load


def test_after_the_hold_time_clients_are_refused_until_the_next_launch(baton):
    server = Server(baton)
    flag = baton.dir / "fail"
    server.write(f"import os, sys\nif os.path.exists({str(flag)!r}): sys.exit(1)\n" + example())
    server.run("--hold-time", "100ms", "--retry-initial", "1s", "--stable", "1h", "--probe", "tcp")
    flag.write_text("")
    end(baton.proxy_pid())
    baton.wait_event("sockets.silenced")
    wait_until(lambda: refused(server.port), "refused")
    moment = baton.moment()
    flag.unlink()
    baton.wait_event("epoch.accepted", since=moment)
    assert get(server.port) == "hello"
    assert not ask_status(baton)["listeners"][0]["silenced"]


# ---- what it inherits ------------------------------------------------------------------------------------------


def test_sockets_come_in_order_with_names_and_a_unix_socket_is_for_everybody(baton):
    ports, path = [free_port(), free_port()], baton.dir / "s"
    baton.start("--listen", f"web=127.0.0.1:{ports[0]}", "--listen", f"unix:{path}", "--listen", f"127.0.0.1:{ports[1]}",
                "--", "sleep", "1000", env={"LISTEN_FDS": "7", "LISTEN_FDNAMES": "no"})
    baton.wait_event("epoch.accepted")
    assert baton.events("baton.started")[0]["handover"] == "listen-fds"
    pid = baton.proxy_pid()
    env = environment_of(pid)
    assert env["LISTEN_FDS"] == "3" and env["LISTEN_PID"] == str(pid)
    assert env["LISTEN_FDNAMES"] == f"web:unix-{path}:127.0.0.1-{ports[1]}"
    assert env["NOTIFY_SOCKET"] == str(baton.run_dir / "e0/notify")
    assert sorted(int(fd) for fd in os.listdir(f"/proc/{pid}/fd")) == [0, 1, 2, 3, 4, 5]
    flags = [int(line.split()[1], 8) for fd in (3, 4, 5) for line in pathlib.Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines()
             if line.startswith("flags:")]
    assert not any(f & (os.O_NONBLOCK | os.O_CLOEXEC) for f in flags), flags
    assert path.stat().st_mode & 0o777 == 0o666
    assert [entry["address"] for entry in baton.status()["listeners"]] == [f"tcp://127.0.0.1:{ports[0]}", f"unix://{path}", f"tcp://127.0.0.1:{ports[1]}"]
    assert baton.stop() == 0
    assert not path.exists() and refused(ports[0])


def test_a_port_or_path_that_somebody_has_is_told_and_status_1(baton):
    def told(address):
        baton.start("--listen", address, "--", "sleep", "1000")
        assert baton.wait_exit() == 1
        assert f"--listen {address}: cannot listen there: Address already in use" in baton.log()

    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as unix:
        told(f"127.0.0.1:{taken.getsockname()[1]}")
        unix.bind(str(baton.dir / "s"))
        unix.listen()
        told(f"unix:{baton.dir / 's'}")
    baton.start("--listen", f"unix:{baton.dir / 's'}", "--", "sleep", "1000")  # by now nobody listens there
    baton.wait_event("epoch.accepted")


class Activated(Server):
    """baton itself is given the socket, as by a service manager: a shell writes the pid that only the child knows."""

    def __init__(self, baton):
        self.listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(baton, port=self.listener.getsockname()[1])

    def run(self, *options, names="web", **more):
        def pass_it():
            os.dup2(self.listener.fileno(), 3)

        env = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": names}
        return super().run(*options, env=env, listen=False, preexec_fn=pass_it, pass_fds=(3,),
                           prefix=("sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"), **more)


def test_sockets_of_a_service_manager_are_passed_on_and_never_harmed(baton, hammer):
    server = Activated(baton)
    os.set_inheritable(server.listener.fileno(), True)
    second = f"127.0.0.1:{free_port()}"
    server.write(example().replace('int(os.environ["LISTEN_FDS"]) == 1', "True"))
    server.run("--listen", second, "--hold-time", "100ms", "--retry-initial", "30s", "--stable", "1h")
    assert baton.events("baton.started")[0]["handover"] == "listen-fds"
    assert environment_of(baton.proxy_pid())["LISTEN_FDNAMES"] == f"web:{second.replace(':', '-')}"
    assert [e["address"] for e in baton.status()["listeners"]] == [f"tcp://{server.target}", f"tcp://{second}"]
    end(baton.proxy_pid())
    baton.wait_event("sockets.silenced")
    assert refused(int(second.split(":")[1])) and not refused(server.port), "it is the service manager's, too"
    assert baton.stop() == 0
    with socket.create_connection(("127.0.0.1", server.port), 5):
        server.listener.settimeout(5)
        server.listener.accept()[0].close()  # what came while baton was dead, first


# ---- readiness -------------------------------------------------------------------------------------------------


CHILD = """import os, socket, sys
open(sys.argv[1], "w").close()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"STATUS=warm\\nREADY=1", os.environ["NOTIFY_SOCKET"])
sys.stdin.read()
"""


def test_ready_1_counts_from_the_server_and_its_own_and_from_nobody_else(baton):
    server, said, child = Server(baton), baton.dir / "said", baton.dir / "child.py"
    child.write_text(CHILD)
    # in a session of its own, and it ends with its parent
    server.write(example().replace('if "NOTIFY_SOCKET" in os.environ:', "if False:").replace(
        "server.serve_forever", f"import subprocess, sys\nsubprocess.Popen([sys.executable, {str(child)!r}, {str(said)!r}], "
                                "stdin=subprocess.PIPE, start_new_session=True)\nserver.serve_forever"))
    server.run("--log-level", "info")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"READY=1", str(baton.run_dir / "e0/notify"))
        wait_until(lambda: f"event=notify.stranger epoch=0 pid={os.getpid()}" in baton.log(), "a word that is not heard")
    wait_until(lambda: said.exists(), "said")
    wait_status(baton, lambda s: True, "an agent that has heard it")
    said.unlink()
    crash(baton)  # it has spoken: the next one is waited for, until its child says so
    assert said.exists()


@pytest.mark.parametrize("probe", ["tcp", "http"])
def test_a_probe_that_only_the_old_one_answers_does_not_make_the_new_one_ready(baton, probe):
    server = Server(baton)
    server.run("--ready-timeout", "3s", "--probe", "tcp" if probe == "tcp" else f"http://{server.target}/ready")
    server.write("import time\ntime.sleep(1000)\n")
    done = baton.cli("upgrade", check=5)
    assert "answered the probe" in done.stderr, done.stderr
    assert baton.epoch() == 0 and get(server.port) == "hello"
    server.write(example().replace('"hello"', '"better"'))
    baton.cli("upgrade", check=0)
    assert answers(server.port, "better")


def test_an_http_probe_wants_200_to_399(baton):
    server = Server(baton)
    flag = baton.dir / "well"
    server.write(example().replace("self.send_response(200)", f"self.send_response(302 if os.path.exists({str(flag)!r}) else 503)"))
    server.run("--probe", f"http://{server.target}/", "--log-level", "debug", wait=False)
    wait_until(lambda: "event=probe.answered epoch=0 status=503" in baton.log(), "an answer that is none")
    assert baton.status()["ready"] is False
    flag.write_text("")
    baton.wait_event("epoch.accepted")


# ---- ends ------------------------------------------------------------------------------------------------------


def test_a_stop_under_load_fails_no_request_of_a_server_that_drains(baton, hammer):
    server = Server(baton).run()
    with hammer(server, clients=4, kept=0) as load:
        load.mark("stop")
        assert baton.stop() == 0
    assert load.failed == load.refused, load  # whoever comes after it is refused, at once
    assert refused(server.port)


def test_one_that_ignores_sigterm_is_killed_at_the_stop_timeout(baton):
    server = Server(baton)
    server.write("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('ignores', 'w')\ntime.sleep(1000)\n")
    server.run("--stop-timeout", "1s", wait=False)
    wait_until(lambda: (baton.dir / "ignores").exists(), "it ignores the signal")
    assert baton.stop() == 0
    assert baton.events("epoch.killed")


def test_check_says_what_it_can_say_of_such_a_proxy(baton):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = baton.cli("check", "--listen", address, "--", PYTHON, run_dir=False, check=1)
        assert f"{address}: cannot be bound: Address already in use" in done.stderr
    done = baton.cli("check", "--listen", address, "--", PYTHON, run_dir=False, check=0)
    assert "not an Envoy" in done.stdout and f"tcp://{address}" in done.stdout
    Server(baton, port=int(address.split(":")[1])).run()
    done = baton.cli("check", "--json", "--listen", address, "--", PYTHON, check=0)
    assert json.loads(done.stdout)["ok"] is True, done.stdout
    assert baton.cli("check", "--listen", address, "--", baton.dir / "nothing", check=1)


def test_systemd_socket_activate_starts_it(baton):
    program = need("systemd-socket-activate")
    server = Server(baton)
    baton.start("--", *server.command, prefix=(program, "-l", server.target, "-E", "BATON_TEST_MARK", "--fdname=web"))
    wait_until(lambda: not refused(server.port), "the socket")
    assert get(server.port, timeout=30) == "hello"
    assert environment_of(baton.proxy_pid())["LISTEN_FDNAMES"] == "web"
    crash(baton)
    assert get(server.port) == "hello"
