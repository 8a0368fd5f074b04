# SPDX-License-Identifier: MIT
"""What strangers send: to the control socket, to the status listener, to the sockets of the protocol. baton lives on, answers
the others, grows by nothing, and a later crash of the proxy still refuses nobody."""
import array
import contextlib
import json
import os
import pathlib
import re
import socket
import urllib.error
import urllib.request

import pytest
from support.config import Listener, free_port
from support.instance import memory_kib, open_descriptors, wait_until

NO_PROXY = ("--", "sleep", "1000")
REQUESTS = [
    b"", b"\0", b"\r\n" * 500, b"garbage\r\n\r\n", b"\xff\xfe\xfd" * 4000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /v1/status HTTP/1.0\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 500_000 + b"\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(20_000)) + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/status?" + b"a=b&" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + b"z" * 300_000,
    b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"z" * 100_000,
    b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + b"z" * 1000,
    b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    b"GET /%00%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"DELETE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


class Endpoint:
    """A server of baton's: control.sock or a status listener."""

    def __init__(self, where, source=None):
        self.where, self.source = where, source

    def connect(self):
        if isinstance(self.where, pathlib.Path):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.connect(str(self.where))  # waits for a place in the queue
            s.settimeout(30)
            return s
        return socket.create_connection(self.where, 30, source_address=self.source)

    def send(self, data, patience=30):
        """Sends what the server takes and returns what it says until it closes, or until patience ends."""
        with self.connect() as s:
            s.settimeout(patience)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it had enough
            return read_all(s)

    def get(self, path):
        answer = self.send(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
        return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


def read_all(s):
    out = b""
    try:
        while chunk := s.recv(65536):
            out += chunk
    except OSError:
        pass
    return out


@pytest.fixture
def served(baton):
    """An instance with a status listener; both of its servers."""
    port = free_port()
    asan = baton.environment()["ASAN_OPTIONS"] + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
    baton.start("--status", f"127.0.0.1:{port}", *NO_PROXY, env={"ASAN_OPTIONS": asan})
    baton.wait_event("epoch.accepted")
    wait_until(lambda: (baton.run_dir / "control.sock").exists(), "the control socket")
    baton.servers = {"control": Endpoint(baton.run_dir / "control.sock"), "status": Endpoint(("127.0.0.1", port))}
    baton.status_port = port
    return baton


@pytest.mark.parametrize("kind", ["control", "status"])
def test_garbage_is_survived_and_costs_neither_memory_nor_descriptors(served, kind, count):
    server, agent = served.servers[kind], served.agent_pid()

    def attack(rounds):
        for _ in range(rounds):
            for request in REQUESTS:
                server.send(request, 0.05)  # half a request is answered by nobody

    def all_closed():
        wait_until(lambda: open_descriptors(agent) <= descriptors, "closed connections", 60)  # a half-closed one after 30 s
        return memory_kib(agent)

    wait_until(lambda: server.get("/healthz/ready")[0] == 200, "an answer")
    descriptors = open_descriptors(agent) + 1
    attack(count(20, 3))
    memory = all_closed()
    attack(rounds := count(60, 9))
    status = served.status()
    assert status["agent"]["pid"] == agent and status["ready"] is True, "nothing that was half said was done"
    sent_kib = rounds * sum(map(len, REQUESTS)) // 1024
    assert all_closed() - memory < sent_kib // 4, "it keeps what strangers send"


@pytest.mark.parametrize("kind", ["control", "status"])
def test_pipelined_requests_are_all_answered_in_order(served, kind):
    server = served.servers[kind]
    one = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = server.send(one * 50 + b"GET /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200"] * 50 + [b"404"]


@pytest.mark.parametrize("kind", ["control", "status"])
def test_who_sends_slowly_keeps_nobody_from_an_answer(served, kind):
    server = served.servers[kind]
    slow = [server.connect() for _ in range(200)]
    for s in slow:
        s.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    for _ in range(5):
        for s in slow[::7]:
            s.sendall(b"a")
        assert server.get("/healthz/ready")[0] == 200
    for s in slow:
        s.close()


def test_one_address_cannot_take_all_connections_of_the_status_listener(served):
    slow = []
    for _ in range(1100):
        try:
            slow.append(served.servers["status"].connect())
            slow[-1].sendall(b"GET /")
        except OSError:
            break  # refused: that is the point
    assert Endpoint(("127.0.0.1", served.status_port), ("127.0.0.9", 0)).get("/healthz/ready")[0] == 200
    for s in slow:
        s.close()


def test_arguments_out_of_bounds_are_400_with_the_reason(served):
    for path in ("/v1/wait?timeout_ms=99999999999999999999", "/v1/wait?timeout_ms=9223372036854775807", "/v1/wait?timeout_ms=-1", "/v1/wait?epoch=x",
                 "/v1/wait?epoch=-1", "/v1/wait?ready=2", "/v1/events?after=-1", "/v1/events?after=", "/v1/events?follow=yes"):
        status, body = served.servers["control"].get(path)
        assert status == 400 and json.loads(body)["error"] == "bad argument", path


# ---- the contract of both servers ------------------------------------------------------------------------------


def ask(port, path, method="GET", host="127.0.0.1"):
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


TEXT, NUMBER, LIST, OBJECT = str, int, list, dict
STATUS = {
    "name": TEXT, "state": TEXT, "ready": bool, "reason": TEXT, "paused": bool, "stale": LIST, "keeper": {"pid": NUMBER},
    "agent": {"pid": NUMBER, "version": TEXT, "started": TEXT}, "tokens": {"left": NUMBER, "max": NUMBER}, "retry": {"n": NUMBER, "in_ms": (NUMBER, None)},
    "epochs": [{"epoch": NUMBER, "pid": NUMBER, "state": TEXT, "version": TEXT, "started": TEXT, "config": TEXT, "connections": (NUMBER, None),
                "in_flight": (NUMBER, None), "rss_bytes": NUMBER, "deadline": (NUMBER, None), "weight": (NUMBER, None)}],
    "listeners": [{"address": TEXT, "workers": NUMBER, "held": NUMBER}],
    "last": {"kind": TEXT, "from": (NUMBER, None), "to": NUMBER, "result": TEXT, "reason": TEXT, "gap_ms": (float, NUMBER, None), "at": TEXT},
}


def expect_shape(value, shape, where="status"):
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        for key, inner in shape.items():
            assert key in value, f"{where}.{key} is missing"
            expect_shape(value[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list) and value, where
        for entry in value:
            expect_shape(entry, shape[0], f"{where}[]")
    else:
        kinds = shape if isinstance(shape, tuple) else (shape,)
        assert any(value is None if k is None else type(value) is k for k in kinds), f"{where} is {value!r}"


def test_the_status_has_every_field_of_the_contract(baton):
    baton.run(options=("--status", f":{(port := free_port())}"))
    baton.kill_proxy()
    baton.wait_event("epoch.accepted", epoch=1)
    status = baton.status()
    expect_shape(status, STATUS)
    assert status["state"] == "serving" and status["name"] == "default" and status["last"]["kind"] == "crash"
    assert status["last"]["from"] == 0 and status["last"]["to"] == 1 and status["last"]["result"] == "committed"
    assert [(e["epoch"], e["state"], e["config"]) for e in status["epochs"]] == [(1, "serving", "envoy-rev1.yaml")]
    assert status["keeper"]["pid"] == baton.process.pid
    expect_shape(json.loads(ask(port, "/v1/status")[2]), STATUS)


def test_the_status_listener_answers_what_it_promises(baton):
    baton.start("--status", f"127.0.0.1:{(port := free_port())}", *NO_PROXY)
    baton.wait_event("epoch.accepted")
    wait_until(lambda: (baton.run_dir / "control.sock").exists(), "the control socket")
    assert ask(port, "/healthz/ready")[::2] == (200, b"ready\n")
    assert ask(port, "/healthz/live")[::2] == (200, b"live\n")
    status, headers, body = ask(port, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert ask(port, "/stats/prometheus")[0] == 200
    for line in body.decode().splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|[a-z_]+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+0-9.e]+', line), line
    names = set(re.findall(r"^(baton_\w+)", body.decode(), re.M))
    assert {"baton_build_info", "baton_ready", "baton_generations", "baton_retry_tokens", "baton_proxy_exits_total", "baton_handovers_total",
            "baton_stale", "baton_agent_restarts_total", "baton_held_sockets"} <= names
    assert "baton_handover_gap_seconds" not in names, "nothing was handed over yet"
    assert ask(port, "/")[1]["Content-Type"].startswith("text/html")
    status, headers, body = ask(port, "/nothing")
    assert status == 404 and json.loads(body).keys() >= {"error", "detail"} and headers["Content-Type"] == "application/json"
    status, headers, body = ask(port, "/healthz/ready", "POST")
    assert status == 405 and json.loads(body).keys() >= {"error", "detail"} and "GET" in headers["Allow"]
    for path in ("/v1/events", "/v1/wait", "/v1/stop"):
        assert ask(port, path)[0] == 404, "control is not for the network"
    assert ask(port, "/v1/stop", "POST")[0] == 404

    assert ask(port, "/drain", "POST")[0] == 202
    status, _, body = ask(port, "/healthz/ready")
    assert status == 503 and body.strip()
    assert ask(port, "/healthz/live")[0] == 200
    assert ask(port, "/quitquitquit", "GET")[0] == 405
    assert ask(port, "/quitquitquit", "POST")[0] == 202
    assert baton.wait_exit() == 0


def own_address():
    """An address of this machine that is not the loopback's, or None."""
    addresses = re.findall(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL", pathlib.Path("/proc/net/fib_trie").read_text())
    return next((a for a in addresses if not a.startswith("127.")), None)


def test_only_this_machine_may_end_it(baton):
    address = own_address()
    if not address:
        pytest.skip("this machine has no address but the loopback's")
    baton.start("--status", f":{(port := free_port('0.0.0.0'))}", *NO_PROXY)
    baton.wait_event("epoch.accepted")
    wait_until(lambda: (baton.run_dir / "control.sock").exists(), "the control socket")
    for path in ("/quitquitquit", "/drain"):
        status, _, body = ask(port, path, "POST", address)
        assert status == 403 and json.loads(body)["error"] == "forbidden"
    assert ask(port, "/healthz/ready", host=address)[0] == 200
    assert baton.status()["ready"] is True


@pytest.mark.root
def test_another_user_reaches_neither_control_nor_state(served):
    paths = ["control.sock", "state", "events"]
    pid = os.fork()
    if pid == 0:
        reached = 0
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        try:
            Endpoint(served.run_dir / "control.sock").connect()
            reached |= 1
        except PermissionError:
            pass
        for i, name in enumerate(paths):
            try:
                os.close(os.open(served.run_dir / name, os.O_RDONLY))
                reached |= 2 << i
            except OSError:
                pass
        try:
            os.listdir(served.run_dir)
            reached |= 64
        except PermissionError:
            pass
        os._exit(reached)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert served.status()["ready"] is True


def test_clients_that_were_killed_while_they_waited_keep_no_connection(served):
    """While a request waits the server does not look at its connection: nobody would notice, and the limit would fill."""
    control, agent = served.servers["control"], served.agent_pid()
    descriptors = open_descriptors(agent) + 1
    patient = control.connect()  # has said all it has to say, and waits for the answer
    patient.sendall(b"GET /v1/events?after=1000000&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    patient.shutdown(socket.SHUT_WR)
    for path in (b"/v1/events?after=1000000&follow=1", b"/v1/wait?epoch=1000000&timeout_ms=86400000"):
        waiting = [control.connect() for _ in range(200)]
        for s in waiting:
            s.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        wait_until(lambda: open_descriptors(agent) >= descriptors + 200, "all of them accepted")
        for s in waiting:
            s.close()
        wait_until(lambda: open_descriptors(agent) <= descriptors + 1, "closed connections")
        assert control.get("/healthz/ready")[0] == 200
    patient.setblocking(False)
    try:
        while data := patient.recv(65536):
            assert data.startswith(b"HTTP/1.1 200")
        ended = True
    except BlockingIOError:
        ended = False
    assert not ended, "who still waits was sent away"
    patient.close()


# ---- the sockets of the protocol -------------------------------------------------------------------------------


def own_sockets(baton):
    """The bound names of the protocol that baton itself reads: those whose sockets the keeper holds."""
    held = set()
    for fd in os.listdir(f"/proc/{baton.process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            held.add(os.readlink(f"/proc/{baton.process.pid}/fd/{fd}"))
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and f"socket:[{fields[6]}]" in held and re.search(r"/e\d+/s_", fields[7]) and fields[7].startswith(str(baton.run_dir)):
            yield fields[7]


def frame(body, length=None):
    return (len(body) if length is None else length).to_bytes(8, "big") + body


def datagrams():
    """Garbage, and what is well-formed but from a stranger: an answer to it would be taken by the proxy for its own."""
    yield from (b"", b"\0", b"abc", b"\0" * 7, b"\xff" * 8, b"\xff" * 5000, b"x" * 60_000, frame(b"\xff" * 40))
    yield from (frame(b"\x0a\x00", 2**63), frame(b"\x0a\x00", 4096), frame(b"\x0a\x7f\x01"))
    yield from (frame(b"\x0a\x02\x12\x00"), frame(b"\x0a\x02\x22\x00"), frame(b"\x0a\x02\x2a\x00"))  # as the proxy itself would ask
    yield from (b"\0" * 8, frame(b"\x0a\x00" + b"junk"))
    for kind in range(1, 9):
        yield frame(b"\x12\x02" + bytes([kind << 3 | 2, 0]))  # replies, to whom nobody asked


def throw(path):
    """Everything at one socket; what does not fit into its queue is lost, as it would be for anybody."""
    read_end, write_end = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.setblocking(False)
        for data in datagrams():
            for ancillary in ([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read_end] * 3))]):
                try:
                    s.sendmsg([data], ancillary, 0, path)
                except OSError:
                    pass
    os.close(read_end), os.close(write_end)


@pytest.mark.root
def test_garbage_on_the_protocol_sockets_harms_nobody(baton, hammer, count):
    baton.run(listeners=[listener := Listener()])
    agent, proxy = baton.agent_pid(), baton.proxy_pid()
    assert len(list(own_sockets(baton))) >= 2, "this test has found nothing to attack"
    descriptors = None
    with hammer(listener) as load:
        for _ in range(count(200, 20)):
            for path in own_sockets(baton):
                throw(path)
            baton.status()
            descriptors = descriptors or open_descriptors(agent)
        wait_until(lambda: open_descriptors(agent) <= descriptors, "strange descriptors closed")
        assert baton.proxy_pid() == proxy and baton.agent_pid() == agent
        for i in range(count(20, 3)):
            moment = baton.kill_proxy()
            while not any(e["event"] == "epoch.accepted" for e in baton.events()[moment:]):
                for path in own_sockets(baton):  # of a generation that starts, too
                    throw(path)
            assert baton.agent_pid() == agent, "the agent did not survive it"
    assert load.refused == 0 and load.failed_otherwise == 0
