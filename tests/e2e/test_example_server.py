# SPDX-License-Identifier: MIT
"""The example server by itself: it is given anything, and goes on serving. (Built with sanitizers: what they find ends it.)"""
import contextlib
import http.client
import random
import resource
import signal
import socket
import subprocess

import pytest

from support.config import Listener
from support.instance import build_dir, wait_until

PROGRAM = build_dir() / "baton-example-server"
GOOD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Server:
    def __init__(self, folder, preexec=None):
        self.listener = Listener(body="example")
        self.base_id = random.randrange(1 << 20, 1 << 24)
        self.admin = folder / "admin"
        yaml = f'admin:\n  address:\n    pipe:\n      path: "{self.admin}"\n      mode: 384\n'
        self.process = subprocess.Popen(
            [PROGRAM, "--listen", self.listener.target, "--body", "example", "--base-id", str(self.base_id), "--socket-path",
             folder / "s", "--config-yaml", yaml], stderr=subprocess.PIPE, text=True, preexec_fn=preexec)
        wait_until(self.connects, "it serves")

    def connects(self):
        try:
            self.listener.connect().close()
            return True
        except OSError:
            assert self.process.poll() is None, self.process.stderr.read()
            return False

    def exchange(self, data, finish=True):
        with self.listener.connect(20) as s:
            s.sendall(data)
            if finish:
                s.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: s.recv(65536), b""))

    def page(self, method, path):
        connection = http.client.HTTPConnection("admin")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.admin))
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        subprocess.run(["rm", "-f", f"/dev/shm/envoy_shared_memory_{10 * self.base_id}"], check=True)
        assert self.process.returncode == 0 and "Sanitizer" not in errors and "runtime error" not in errors, errors


@pytest.fixture
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("x"))
    yield server
    server.end()


def statuses(data):
    return [int(part.split(b" ", 1)[0]) for part in data.split(b"HTTP/1.1 ")[1:]]


def test_kept_pipelined_and_slow_requests_are_answered_in_order(server):
    assert statuses(server.exchange(GOOD * 200)) == [200] * 200
    with server.listener.connect() as s:
        for byte in GOOD * 3:
            s.send(bytes([byte]))
        data = b""
        while statuses(data) != [200] * 3 or not data.endswith(b"example"):
            data += s.recv(65536)


def test_a_body_is_read_past(server):
    post = b"POST / HTTP/1.1\r\ncontent-length: 50000\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n" * 2777 + b"x" * 14
    assert statuses(server.exchange(post + GOOD)) == [200, 200]


def test_who_says_close_is_closed(server):
    for request in (b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        answer = server.exchange(request, finish=False)
        assert statuses(answer) == [200] and b"connection: close" in answer


@pytest.mark.parametrize("status, data", [
    (400, b"\r\n\r\n"), (400, b"GET\r\n\r\n"), (400, b"GET /\r\n\r\n"), (400, b"GET / HTTP/2.0\r\n\r\n"), (400, b"\0\r\n\r\n"),
    (400, b"\0" * 100 + b"\r\n\r\n"), (400, b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n"), (411, b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000), (431, b"G" * 20000),
])
def test_what_is_no_request_is_told_so_and_the_next_connection_is_served(server, status, data):
    if len(data) > 16384:  # it says so and closes before all is sent: nobody can be sure to read it
        with contextlib.suppress(OSError):
            assert statuses(server.exchange(data)) in ([status], [])
    else:
        assert statuses(server.exchange(data)) == [status]
    assert statuses(server.exchange(GOOD)) == [200]


def test_connections_that_are_cut_anywhere_leave_nothing_behind(server):
    for n in range(1, len(GOOD)):
        server.exchange(GOOD[:n])
    _, stats = server.page("GET", "/stats")
    figures = dict(line.split(": ") for line in stats.splitlines())
    assert figures["http.example.downstream_cx_active"] == "0" and figures["http.example.downstream_rq_active"] == "0"


def test_a_request_that_waits_is_in_flight_and_others_are_served_meanwhile(server):
    def active():
        return "downstream_rq_active: 1" in server.page("GET", "/stats")[1]

    with server.listener.connect(30) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nx-envoy-fault-delay-request: 1500\r\n\r\n")
        wait_until(active, "the request is in flight")
        assert statuses(server.exchange(GOOD)) == [200]
        assert statuses(slow.recv(65536)) == [200]
    assert not active()


def test_the_admin_pages_tell_and_change_its_health(server):
    assert server.page("GET", "/ready") == (200, "LIVE\n")
    assert server.page("POST", "/healthcheck/fail")[0] == 200
    assert server.page("GET", "/ready") == (503, "DRAINING\n")
    assert b"connection: close" in server.exchange(GOOD, finish=False)
    assert server.page("POST", "/healthcheck/ok")[0] == 200
    assert server.page("GET", "/ready")[0] == 200
    assert server.page("GET", "/healthcheck/fail")[0] == 404 and server.page("PUT", "/ready")[0] == 405
    assert server.page("GET", "/config_dump")[0] == 404


def test_more_connections_than_descriptors_wait_in_the_queue(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("x"), lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    connections = [server.listener.connect() for _ in range(80)]
    for s in connections:
        s.settimeout(30)
        s.sendall(GOOD)
    for s in connections:  # those behind are accepted as these are closed
        assert statuses(s.recv(65536)) == [200]
        s.close()
    server.end()


@pytest.mark.parametrize("options", [
    ["--fault", "on-harvest"], ["--fault", "nowhere:crash"], ["--fault", "on-term:late"], ["--fault", "on-term:crash:5"],
    ["--fault", "on-term-1:crash"], ["--fault", "before-pass-x:crash"], ["--base-id", "214748365"], ["--listen", "localhost:80"],
    ["--restart-epoch", "-1"], ["--mode", "init_only"], ["--no-such-option"], ["word"], ["-c", "/does/not/exist"],
])
def test_options_that_mean_nothing_end_it_with_status_1(options):
    done = subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stderr and "Sanitizer" not in done.stderr


def test_a_validate_run_opens_its_config_and_touches_nothing_else(tmp_path):
    config = tmp_path / "c"
    config.write_text("")
    good = [PROGRAM, "-c", config, "--mode", "validate", "--listen", "127.0.0.1:1"]
    assert subprocess.run(good, timeout=30).returncode == 0
    config.unlink()
    assert subprocess.run(good, timeout=30, capture_output=True).returncode == 1
