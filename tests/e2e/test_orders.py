# SPDX-License-Identifier: MIT
"""Orders by the control socket and by upgrade, rollback, pause, resume. Behind the control server stands the test, not a proxy."""
import json
import os
import signal
import socket
import struct

import pytest
from support.instance import WAIT_S, wait_until
from support.orders import FakeAgent, ended


@pytest.fixture
def agent(baton):
    fake = FakeAgent(baton)
    yield fake
    assert fake.quit() == 0


def connections(agent):
    """The inodes of all connections to the control socket; 0 while one waits to be accepted."""
    with open("/proc/net/unix") as table:
        rows = [line.split() for line in table]
    return [r[6] for r in rows if len(r) == 8 and r[7] == str(agent.socket) and r[5] != "01"]


def accepted(agent):
    folder = f"/proc/{agent.pid()}/fd"
    links = [os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder)]
    return sum(f"socket:[{inode}]" in links for inode in connections(agent))


# ---- the body ----------------------------------------------------------------------------------------------------

DEEP = b"[" * 200 + b"]" * 200


@pytest.mark.parametrize("member, body", [
    ("body", b"{"), ("body", b"[]"), ("body", b"7"), ("body", b'"upgrade"'), ("body", b" "), ("body", b"\0"), ("body", b'{"self":true}\0'),
    ("body", b'{"x":' + DEEP + b"}"), ("body", b'{"self":true,}'), ("body", b"self=true"), ("body", b'{"self":true}{"self":true}'),
    ("ticket", b'{"ticket":0}'), ("ticket", b'{"ticket":-1}'), ("ticket", b'{"ticket":"7"}'), ("ticket", b'{"ticket":1.5}'),
    ("ticket", b'{"ticket":9223372036854775808}'), ("ticket", b'{"ticket":null}'), ("ticket", b'{"ticket":1,"ticket":1}'),
    ("ticket", b'{"ticket":1,"t\\u0069cket":2}'),
    ("to", b'{"to":-1}'), ("to", b'{"to":"2"}'), ("to", b'{"to":[2]}'),
    ("observe_ms", b'{"observe_ms":-1}'), ("observe_ms", b'{"observe_ms":86400001}'), ("observe_ms", b'{"observe_ms":true}'),
    ("self", b'{"self":1}'), ("self", b'{"self":"true"}'), ("cwd", b'{"cwd":7}'), ("cwd", b'{"cwd":"here"}'), ("cwd", b'{"cwd":"/a\\u0000b"}'),
    ("proxy", b'{"proxy":"envoy"}'), ("proxy", b'{"proxy":[]}'), ("proxy", b'{"proxy":[""]}'), ("proxy", b'{"proxy":["envoy",1]}'),
    ("proxy", b'{"proxy":["envoy",["-c"]]}'), ("proxy", b'{"proxy":{"0":"envoy"}}'), ("proxy", b'{"proxy":["envoy","a\\u0000b"]}'),
    ("proxy", b'{"proxy":["envoy","\\ud800"]}'), ("proxy", b'{"proxy":[' + b",".join([b'"x"'] * 1025) + b"]}"),
], ids=lambda v: v if isinstance(v, str) else v[:40].decode(errors="replace").replace("\0", "NUL"))
def test_a_body_that_is_no_order_is_refused_and_says_which_member(agent, member, body):
    for path in ("/v1/upgrade", "/v1/rollback"):
        status, answer = agent.ask("POST", path, body)
        assert status == 400 and answer["error"] == "bad argument"
        assert answer["detail"].partition(":")[0] == member, answer
    assert agent.no_order()


def test_an_order_arrives_as_it_was_sent_and_unknown_members_are_stepped_over(agent):
    order = {"ticket": 2**63 - 1, "to": 7, "observe_ms": 86400000, "self": True, "cwd": "/a b", "proxy": ["envoy", "", "-c", "é\n\"\\\U0001f600"]}
    more = {"later": {"ticket": [1]}, **order, "": 1, "a name longer than any that is known": None, "proxy2": [[]]}
    assert agent.ask("POST", "/v1/upgrade", json.dumps(more)) == (202, {"ok": True, "ticket": 2**63 - 1})
    assert agent.order() == {"command": "upgrade", "known": False, "agent": 1, "order": order}
    assert agent.ask("POST", "/v1/rollback", '{"self":false,"to":0,"cwd":"","ticket":1}')[0] == 202
    assert agent.order()["order"] == {"ticket": 1, "to": 0}


def test_a_ticket_is_drawn_for_a_client_that_chooses_none(agent):
    drawn = [agent.ask("POST", "/v1/upgrade", body)[1]["ticket"] for body in (None, "", "{}", '{"self":false}')]
    assert len(set(drawn)) == 4 and all(0 < t < 2**63 for t in drawn)
    assert [agent.order()["order"]["ticket"] for _ in drawn] == drawn
    agent.tell(f"end {drawn[2]} committed 1 2")
    assert agent.ask("GET", f"/v1/ticket?id={drawn[2]}")[1]["to"] == 2


def test_a_body_may_have_64_kib_and_not_a_byte_more(agent):
    body = '{"self":true,"x":"%s"}'
    size = 64 * 1024 - len(body % "")
    assert agent.ask("POST", "/v1/upgrade", body % ("x" * size))[0] == 202
    assert agent.order()["order"]["self"] is True
    assert agent.ask("POST", "/v1/upgrade", body % ("x" * (size + 1)))[0] == 413
    assert agent.no_order()


def test_stop_and_drain_and_pause_want_no_body_and_have_no_ticket(agent):
    for path in ("/v1/stop", "/v1/drain", "/v1/pause", "/v1/resume"):
        assert agent.ask("POST", path, "whatever") == (202, {"ok": True})
        assert agent.order() == {"command": path[4:], "known": False, "agent": 1, "order": {}}


# ---- tickets -----------------------------------------------------------------------------------------------------


def test_a_ticket_that_is_done_answers_all_who_wait_for_it(agent):
    ticket = agent.ask("POST", "/v1/upgrade")[1]["ticket"]
    waiting = [open_request(agent, f"GET /v1/ticket?id={ticket}&timeout_ms=600000 HTTP/1.1\r\nHost: b\r\n\r\n") for _ in range(3)]
    assert [agent.asked() for _ in waiting] == [ticket] * 3
    agent.tell(f"end {ticket} rolled_back 4 5 it hung")
    for connection in waiting:
        answer = connection.recv(65536).decode()
        assert answer.startswith("HTTP/1.1 200 ")
        assert json.loads(answer.partition("\r\n\r\n")[2]) == {"ticket": ticket, "state": "done", "kind": "upgrade", "result": "rolled_back", "from": 4,
                                                              "to": 5, "reason": "it hung", "gap_ms": 0.0}
        connection.close()


def test_a_ticket_that_is_not_done_in_time_is_504_and_an_unknown_one_404(agent):
    ticket = agent.ask("POST", "/v1/upgrade")[1]["ticket"]
    assert agent.ask("GET", f"/v1/ticket?id={ticket}&timeout_ms=0")[0] == 504
    assert agent.ask("GET", f"/v1/ticket?id={ticket}&timeout_ms=20")[0] == 504
    assert agent.ask("GET", f"/v1/ticket?id={ticket % 1000 + 1}")[0] == 404
    for query in ("", "?id=", "?id=0", "?id=-1", "?id=x", "?id=9223372036854775808", f"?id={ticket}&timeout_ms=soon"):
        assert agent.ask("GET", "/v1/ticket" + query)[0] == 400, query
    assert agent.ask("POST", f"/v1/ticket?id={ticket}")[0] == 405


def test_a_ticket_that_is_forgotten_while_somebody_waits_is_404(agent):
    ticket = agent.ask("POST", "/v1/upgrade")[1]["ticket"]
    connection = open_request(agent, f"GET /v1/ticket?id={ticket}&timeout_ms=600000 HTTP/1.1\r\nHost: b\r\n\r\n")
    agent.asked()
    agent.tell("forget")
    agent.tell("end * committed 0 1")  # says that something changed
    assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")
    connection.close()


def open_request(agent, text):
    connection = socket.socket(socket.AF_UNIX)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", WAIT_S, 0))
    connection.connect(str(agent.socket))  # waits for room in the queue, which it does not with a timeout of Python's
    connection.settimeout(WAIT_S)
    connection.sendall(text.encode())
    return connection


def test_clients_that_are_slow_or_leave_halfway_keep_nobody_waiting(agent):
    head = "POST /v1/upgrade HTTP/1.1\r\nHost: b\r\nContent-Length: 13\r\n\r\n"
    slow, halved, silent = open_request(agent, head + '{"sel'), open_request(agent, head + '{"self"'), open_request(agent, "POST /v1/upg")
    assert agent.ask("POST", "/v1/upgrade")[0] == 202
    halved.close()
    silent.close()
    assert agent.ask("POST", "/v1/upgrade")[0] == 202
    slow.sendall(b'f":')
    assert agent.ask("POST", "/v1/upgrade")[0] == 202
    slow.sendall(b"true}")
    assert slow.recv(65536).startswith(b"HTTP/1.1 202 ")
    slow.close()
    assert [agent.order()["order"].get("self", False) for _ in range(4)] == [False, False, False, True]
    assert agent.no_order(), "half an order is none"


# ---- the verbs ---------------------------------------------------------------------------------------------------

ENDS = [("committed 2 3", 0, "epoch 3 serves, it was 2\n", ""), ("committed null 3", 0, "epoch 3 serves\n", ""),
        ("committed 2 null", 0, "done\n", ""), ("committed 2 2", 0, "epoch 2 serves on\n", ""),
        ("refused 2 null port 80 is taken", 5, "", "baton: refused: port 80 is taken; epoch 2 serves on\n"),
        ("rolled_back 2 3 it hung", 5, "", "baton: rolled back: it hung; epoch 2 serves on\n"),
        ("superseded 2 null by another command", 5, "", "baton: superseded: by another command; epoch 2 serves on\n"),
        ("refused null null no such file", 5, "", "baton: refused: no such file\n")]


@pytest.mark.parametrize("verb", ["upgrade", "reload", "rollback"])
@pytest.mark.parametrize("end, status, out, err", ENDS, ids=[e[0] for e in ENDS])
def test_one_line_and_the_exit_status_say_how_it_ended(agent, verb, end, status, out, err):
    client = agent.client(verb)
    assert agent.order()["command"] == ("rollback" if verb == "rollback" else "upgrade")
    agent.tell(f"end * {end}")
    assert ended(client) == (status, out, err)


def test_json_is_the_ticket_and_the_exit_status_stays(agent):
    for verb, end, status in (("upgrade", "committed 1 2", 0), ("rollback", "refused 1 null why not", 5)):
        client = agent.client(verb, "--json")
        ticket = agent.order()["order"]["ticket"]
        agent.tell(f"end * {end}")
        code, out, err = ended(client)
        assert (code, err) == (status, "")
        assert json.loads(out)["ticket"] == ticket and json.loads(out)["result"] == end.split()[0]
    code, out, err = ended(agent.client("upgrade", "--json", "--no-wait"))
    assert (code, err) == (0, "") and json.loads(out) == {"ok": True, "ticket": agent.order()["order"]["ticket"]}


def test_an_order_that_is_refused_at_once_is_exit_5(agent):
    agent.tell("refuse there is nothing to go back to")
    assert ended(agent.client("rollback")) == (5, "", "baton: refused: there is nothing to go back to\n")


def test_no_wait_is_over_when_the_order_is_taken(agent):
    assert ended(agent.client("upgrade", "--no-wait")) == (0, "", "")
    assert ended(agent.client("rollback", "--no-wait", "--to", "4")) == (0, "", "")
    assert agent.order()["command"] == "upgrade" and agent.order()["order"]["to"] == 4


@pytest.mark.parametrize("patience", ["0", "50ms"])
def test_a_client_whose_patience_ends_changes_nothing(agent, patience):
    client = agent.client("upgrade", "--timeout", patience)
    ticket = agent.order()["order"]["ticket"]
    assert ended(client) == (4, "", "baton: timed out; the upgrade goes on\n")
    agent.tell("end * committed 1 2")
    assert agent.ask("GET", f"/v1/ticket?id={ticket}")[1]["result"] == "committed"


def test_what_a_proxy_said_does_not_steer_the_terminal(agent):
    client = agent.client("upgrade")
    agent.order()
    agent.tell("end * refused 1 null \x1b[2J\x07\u009bx")
    assert ended(client)[2] == "baton: refused: \\x1b[2J\\x07\\x9bx; epoch 1 serves on\n"
    agent.tell("refuse \x1b[2J")
    assert ended(agent.client("upgrade"))[2] == "baton: refused: \\x1b[2J\n"


def test_pause_and_resume_may_be_said_twice(agent):
    for verb in ("pause", "pause", "resume", "resume"):
        assert ended(agent.client(verb)) == (0, "", "")
        assert agent.order()["command"] == verb


# ---- the new command ---------------------------------------------------------------------------------------------


def test_what_stands_behind_the_dashes_is_the_proxys(agent):
    words = ["envoy", "--json", "--help", "--", "--observe", "", "-c", "a b"]
    ended(agent.client("upgrade", "--no-wait", "--observe", "1500ms", "--self", "--", *words))
    order = agent.order()["order"]
    order.pop("ticket")
    assert order == {"observe_ms": 1500, "self": True, "cwd": str(agent.baton.dir), "proxy": words}


def test_a_program_that_is_named_by_a_path_is_named_from_the_root(agent):
    for given, sent in (("./envoy", "{}/envoy"), ("bin/envoy", "{}/bin/envoy"), ("../envoy", "{}/../envoy"), ("/x/envoy", "/x/envoy"), ("envoy", "envoy")):
        ended(agent.client("reload", "--no-wait", "--", given, "./other"))
        assert agent.order()["order"]["proxy"] == [sent.format(agent.baton.dir), "./other"]
    ended(agent.client("upgrade", "--no-wait", "--", "./envoy", cwd="/"))
    assert agent.order()["order"]["proxy"] == ["/envoy"]


def test_without_a_command_none_is_sent(agent):
    ended(agent.client("upgrade", "--no-wait"))
    assert agent.order()["order"].keys() == {"ticket"}


def test_a_command_that_cannot_be_sent_is_a_usage_error(agent):
    for words, says in ((["envoy", b"a\xff"], "proxy: "), (["envoy"] + ["x" * 60000, "y" * 6000], "too large"), (["envoy"] + ["x"] * 1024, "too many words")):
        code, out, err = ended(agent.client("upgrade", "--", *[os.fsdecode(w) for w in words]))
        assert (code, out) == (2, "") and says in err and len(err.splitlines()) == 1, err
    assert agent.no_order()


def test_a_folder_that_is_gone_is_told_if_its_name_is_wanted(agent):
    folder = agent.baton.dir / "gone"
    folder.mkdir()
    command = ["/bin/sh", "-c", 'rmdir "$0"; exec "$@"', str(folder)]
    for program, status in (("./envoy", 2), ("envoy", 0)):
        folder.mkdir(exist_ok=True)
        code, _, err = ended(run_through(agent, command, folder, "upgrade", "--no-wait", "--", program))
        assert code == status, err
    assert agent.order()["order"]["proxy"] == ["envoy"] and agent.no_order()


def run_through(agent, prefix, cwd, *args):
    command = agent.baton.command
    try:
        agent.baton.command = lambda *a: [*prefix, *command(*a)]
        return agent.client(*args, cwd=cwd)
    finally:
        agent.baton.command = command


def test_help_shows_where_the_command_stands(baton):
    for verb in ("upgrade", "reload"):
        assert f"Usage: baton {verb} [OPTION...] [-- PROXY [ARGS...]]" in baton.cli(verb, "--help", check=0, run_dir=False).stdout
    assert "PROXY" not in baton.cli("rollback", "--help", check=0, run_dir=False).stdout


@pytest.mark.parametrize("args, says", [
    (["upgrade", "envoy"], "write -- before the proxy"), (["upgrade", "--"], "no proxy behind --"), (["upgrade", "--", ""], "name of the proxy is empty"),
    (["upgrade", "--canary", "10"], "--canary: not in this version"), (["reload", "--canary=10,50"], "--canary: not in this version"),
    (["upgrade", "--observe", "25h"], "at most a day"), (["upgrade", "--observe", "long"], "--observe: 'long' is no duration"),
    (["upgrade", "--timeout", "-1"], "--timeout"), (["upgrade", "--to", "3"], "--to"), (["rollback", "--to", "last"], "--to: 'last' is no epoch"),
    (["rollback", "--to", "-1"], "--to"), (["rollback", "--observe", "1"], "--observe"), (["rollback", "--", "envoy"], "unknown argument envoy"),
    (["pause", "--json"], "--json"), (["resume", "now"], "unknown argument now"),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_wrong_usage_is_exit_2_and_orders_nothing(agent, args, says):
    code, out, err = ended(agent.client(*args))
    assert (code, out) == (2, "") and says in err
    assert agent.no_order()


def test_without_an_instance_each_is_exit_3(baton):
    for verb in ("upgrade", "reload", "rollback", "pause", "resume"):
        assert "no instance of baton is running" in baton.cli(verb, check=3).stderr


# ---- agents and clients that die ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["upgrade", "rollback"])
def test_an_order_is_one_order_whenever_its_agent_dies(agent, verb):
    agent.tell("die-unanswered")
    client = agent.client(verb)
    first, again = agent.order(), agent.order()
    assert (first["agent"], again["agent"]) == (1, 2)
    assert first["order"] == again["order"] and again["known"], "the next agent is asked the same, and knows it"
    agent.tell("die")
    agent.tell("end * committed 1 2")
    assert ended(client) == (0, "epoch 2 serves, it was 1\n", "")
    assert agent.no_order()


def test_an_order_that_died_with_its_agent_is_given_again(agent):
    agent.tell("die-unstored")
    for verb in ("upgrade", "pause"):
        client = agent.client(verb)
        got = agent.order()
        assert got["command"] == verb and not got["known"]
        agent.tell("end * committed 1 2")
        assert ended(client)[0] == 0
        agent.tell("die-unstored")
    assert ended(agent.client("resume")) == (0, "", "")
    assert agent.order()["agent"] == 4


def test_an_agent_that_forgot_an_order_is_given_it_again_unless_that_would_do_it_twice(agent):
    def forgotten(*args):
        client = agent.client(*args)
        first = agent.order()
        agent.tell("forget")
        agent.tell("die")
        return client, first

    for args in (["upgrade"], ["rollback", "--to", "3"]):
        client, first = forgotten(*args)
        assert agent.order()["order"] == first["order"]
        agent.tell("end * committed 1 2")
        assert ended(client)[0] == 0
    client, _ = forgotten("rollback")
    code, out, err = ended(client)
    assert (code, out) == (1, "") and "the next one does not know it; see baton status" in err
    assert agent.no_order()


def test_an_instance_that_ends_meanwhile_is_told(agent):
    client = agent.client("upgrade")
    assert agent.asked() == agent.order()["order"]["ticket"]
    assert agent.quit() == 0
    assert ended(client) == (3, "", "baton: the instance ended before the upgrade did\n")


def test_an_instance_that_ends_answers_who_waits(agent):
    ticket = agent.ask("POST", "/v1/upgrade")[1]["ticket"]
    connection = open_request(agent, f"GET /v1/ticket?id={ticket}&timeout_ms=600000 HTTP/1.1\r\nHost: b\r\n\r\n")
    assert agent.asked() == ticket
    assert agent.quit() == 0
    assert connection.recv(65536).startswith(b"HTTP/1.1 503 ")
    connection.close()


def test_patience_ends_also_where_nobody_answers(agent):
    pid = agent.pid()
    os.kill(pid, signal.SIGSTOP)
    assert ended(agent.client("upgrade", "--timeout", "0")) == (4, "", "baton: timed out; the upgrade was not confirmed\n")
    os.kill(pid, signal.SIGCONT)
    assert agent.ask("GET", "/v1/status")[0] == 200


def test_an_order_to_an_agent_that_hangs_is_given_to_the_one_that_takes_its_place(agent):
    pid = agent.pid()
    os.kill(pid, signal.SIGSTOP)
    client = agent.client("rollback")
    wait_until(lambda: connections(agent).count("0") == 2, "the client has looked for the instance, and now asks it")
    os.kill(pid, signal.SIGKILL)
    assert agent.order()["agent"] == 2
    agent.tell("end * committed 1 2")
    assert ended(client) == (0, "epoch 2 serves, it was 1\n", "")


def test_twenty_at_once_are_each_told_their_own_end(agent):
    clients = {}
    for _ in range(20):
        client = agent.client("upgrade", "--json")
        clients[agent.order()["order"]["ticket"]] = client
    assert len(clients) == 20
    for number, ticket in enumerate(reversed(clients)):
        agent.tell(f"end {ticket} " + ("committed 1 2" if number % 2 else f"refused 1 null number {number}"))
    for number, (ticket, client) in enumerate(reversed(clients.items())):
        code, out, _ = ended(client)
        answer = json.loads(out)
        assert answer["ticket"] == ticket
        assert (code, answer["reason"]) == ((0, "") if number % 2 else (5, f"number {number}"))


def test_killed_clients_change_nothing(agent):
    clients = [agent.client("upgrade") for _ in range(20)]
    tickets = [agent.order()["order"]["ticket"] for _ in clients]
    for client in clients:
        client.send_signal(signal.SIGKILL)
        client.communicate()
    agent.tell("end * committed 1 2")
    assert {agent.ask("GET", f"/v1/ticket?id={t}")[1]["result"] for t in tickets} == {"committed"}
    client = agent.client("rollback")
    agent.order()
    agent.tell("end * committed 2 3")
    assert ended(client)[0] == 0


def test_more_waiting_clients_than_the_server_takes_are_all_answered(agent):
    ticket = agent.ask("POST", "/v1/upgrade")[1]["ticket"]
    request = f"GET /v1/ticket?id={ticket}&timeout_ms=600000 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
    taken = [open_request(agent, request) for _ in range(256)]
    wait_until(lambda: accepted(agent) == 256, "the server has all that it takes")
    late = [open_request(agent, request) for _ in range(10)]
    agent.tell("end * committed 1 2")
    for connection in taken + late:
        answer = b""
        while more := connection.recv(65536):
            answer += more
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        connection.close()
