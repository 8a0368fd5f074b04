# SPDX-License-Identifier: MIT
"""Envoy's admin interface stays at its address, whoever serves: crashes, upgrades, the death of the agent."""
import collections
import contextlib
import http.client
import os
import re
import signal
import socket

from support.background import Background
from support.client import UnixHTTPConnection, ask, refuses
from support.config import Config, Listener, free_port
from support.crash import kill, wait_status
from support.envoys import NEWEST, OLDEST, envoy
from support.generations import clean, rollback, upgrade
from support.instance import WAIT_S, wait_until

EAGER = ("--stable", "0s")  # a death is answered at once, also the next one

Answer = collections.namedtuple("Answer", "status headers body")


def fetch(where, path="/ready", method="GET", body=None, headers=None, timeout=WAIT_S):
    """One request over a connection of its own: the whole answer, or an exception."""
    where = str(where)
    connection = UnixHTTPConnection(where, timeout) if where.startswith("/") else http.client.HTTPConnection(where, timeout=timeout)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        got = connection.getresponse()
        return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())


def admin_at(port, address="127.0.0.1"):
    return {"admin": {"address": {"socket_address": {"address": address, "port_value": port}}}}


def admin_pipe(path, mode=None):
    return {"admin": {"address": {"pipe": {"path": str(path), **({"mode": mode} if mode else {})}}}}


def rewrite(baton, **fields):
    """The config with another admin address, or none."""
    baton.config.extra = fields
    baton.config.write(baton.config_path)


class Scrapes(Background):
    """/stats/prometheus and /server_info in turn, each over a new connection, as fast as they come."""

    pause_s = 0

    def __init__(self, where):
        super().__init__()
        self.where, self.answers, self.cut, self.broken = where, [], 0, []

    def once(self):
        for path in ("/stats/prometheus", "/server_info"):
            try:
                self.answers.append((path, fetch(self.where, path)))
            except (ConnectionResetError, http.client.RemoteDisconnected, http.client.IncompleteRead):
                self.cut += 1  # connected, and then the connection ended
            except Exception as e:  # refused, timed out, nonsense: judged by the test
                self.broken.append(repr(e))

    def wait_for(self, n=4):
        """So many more answers."""
        wait_until(lambda have=len(self.answers): len(self.answers) >= have + n, "more scrapes")


def clusters_in(scrape):
    return len(set(re.findall(r'envoy_cluster_name="(idle\d+)"', scrape)))


def check_whole(scrapes):
    """Each answer is 200, whole, and of one generation. Returns {epoch: how many clusters it has}."""
    told = {}
    for path, answer in scrapes.answers:
        assert answer.status == 200, (path, answer.status, answer.body[:200])
        epoch, text = int(answer.headers["baton-epoch"]), answer.body.decode()
        assert len(answer.body) == int(answer.headers["content-length"])
        if path == "/server_info":
            assert f'"restart_epoch": {epoch + 1}' in text, (epoch, re.findall(r'"restart_epoch.*', text))
            continue
        series = [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
        assert len(series) == len(set(series)) > 100, "a series is there twice, or most are missing"
        assert told.setdefault(epoch, clusters_in(text)) == clusters_in(text), epoch
    assert not scrapes.broken, scrapes.broken[:3]
    return told


def test_every_scrape_is_whole_and_of_one_generation_over_five_crashes_and_three_upgrades(baton, hammer):
    port = free_port()
    baton.run(envoy(OLDEST), config=Config([Listener()], clusters=1, admin_port=port), options=(*EAGER, "--drain-time", "2s"))
    with hammer(baton.config.listeners[0], clients=4, kept=2) as load, Scrapes(f"127.0.0.1:{port}") as scrapes:
        for i in range(5):
            scrapes.wait_for()  # of each generation there are some
            baton.wait_event("epoch.accepted", since=baton.kill_proxy())
            scrapes.wait_for()
            if i < 3:
                baton.config.clusters = i + 2
                baton.config.write(baton.config_path)
                upgrade(baton, "--", envoy(NEWEST), "-c", baton.config_path, "--concurrency", "2", "--log-level", "error")
    assert load.refused == 0
    told = check_whole(scrapes)
    assert scrapes.cut == 0
    assert set(told.values()) == {1, 2, 3, 4} and len(told) == 9, told
    assert len(baton.events("admin.open")) == 1 and not baton.events("admin.closed"), "the socket was never another one"
    assert baton.status()["admin"] == f"127.0.0.1:{port}"


def test_the_address_outlives_agents_and_no_client_is_refused(baton):
    baton.run(config=Config([Listener()], extra=admin_at(0)), options=EAGER)
    [opened] = baton.events("admin.open")
    with Scrapes(opened["address"]) as scrapes:
        for i in range(3):
            scrapes.wait_for()
            moment = baton.kill_agent()
            baton.wait_event("agent.restarted", since=moment)
        kill(baton.agent_pid())  # nobody answers when the proxy dies
        baton.wait_event("epoch.accepted", since=baton.kill_proxy())
        scrapes.wait_for()
        baton.cli("upgrade", "--self", check=0)
        scrapes.wait_for()
    check_whole(scrapes)
    assert scrapes.cut <= 5, "at most the one that the agent was answering"
    assert baton.status()["admin"] == opened["address"] and opened["address"].startswith("127.0.0.1:") and not opened["address"].endswith(":0")
    assert len(baton.events("admin.open")) == 1, "port 0 was not opened again"


def test_the_address_moves_with_the_config_and_back_with_a_rollback(baton, hammer):
    first, second = free_port(), free_port()
    baton.run(config=Config([Listener()], extra=admin_at(first)))
    places = [("0.0.0.0", second), ("127.0.0.1", second), ("::1", first)]  # the first two overlap
    with hammer(baton.config.listeners[0], clients=2, kept=1) as load:
        for address, port in places:
            rewrite(baton, **admin_at(port, address))
            upgrade(baton)
            target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            wait_status(baton, lambda s: s["admin"] == target, f"the admin is at {target}")
            assert fetch(target.replace("0.0.0.0", "127.0.0.1")).body == b"LIVE\n"
        wait_until(lambda: refuses(Listener(port=second)), "the old address refuses")
        rewrite(baton)
        upgrade(baton)
        wait_status(baton, lambda s: s["admin"] is None, "no admin")
        wait_until(lambda: refuses(Listener(address="::1", port=first)), "it is closed")
        rollback(baton)
        wait_status(baton, lambda s: s["admin"] == f"[::1]:{first}", "it is back")
        assert fetch(f"[::1]:{first}").status == 200
    clean(load)
    assert not baton.events("admin.not-open")


def test_an_address_that_is_taken_harms_nobody_and_is_tried_again(baton):
    port, other = free_port(), free_port()
    with socket.create_server(("127.0.0.1", port)):
        baton.run(config=Config([Listener()], extra=admin_at(port)))
        refused = baton.wait_event("admin.not-open")
        assert "Address already in use" in refused["error"] and refused["address"] == f"127.0.0.1:{port}" and "stays" not in refused
        assert refused["level"] == "warning" and baton.status()["admin"] is None
        upgrade(baton)
        baton.wait_event("admin.not-open", since=baton.moment() - 1)
        assert len(baton.events("admin.not-open")) == 2
    upgrade(baton)
    wait_status(baton, lambda s: s["admin"] == f"127.0.0.1:{port}", "it is free now")
    with socket.create_server(("127.0.0.1", other)):
        rewrite(baton, **admin_at(other))
        upgrade(baton)
        assert baton.wait_event("admin.not-open", address=f"127.0.0.1:{other}")["stays"] == f"127.0.0.1:{port}"
        assert fetch(f"127.0.0.1:{port}").headers["baton-epoch"] == str(baton.epoch()), "the old address, the new proxy"


def test_an_address_of_the_users_is_taken_instead_and_refused_at_once_if_it_cannot_be(baton):
    wanted, ignored = free_port(), free_port()
    Config([Listener()]).write(baton.config_path)
    with socket.create_server(("127.0.0.1", wanted)):
        refused = baton.cli("run", "--admin", f"127.0.0.1:{wanted}", "--", envoy(NEWEST), "-c", baton.config_path, check=1)
    assert f"--admin 127.0.0.1:{wanted}: cannot listen there: Address already in use" in refused.stderr and refused.stderr.count("\n") == 1
    refused = baton.cli("run", "--admin", "localhost:1", "--", envoy(NEWEST), "-c", baton.config_path, check=2)
    assert "--admin localhost:1: is no IP:PORT" in refused.stderr and refused.stderr.count("\n") == 1
    baton.run(config=Config([Listener()], extra=admin_at(ignored)), options=("--admin", f"127.0.0.1:{wanted}"))
    assert fetch(f"127.0.0.1:{wanted}").status == 200 and refuses(Listener(port=ignored))
    rewrite(baton)
    upgrade(baton)
    baton.wait_event("agent.restarted", since=baton.kill_agent())
    assert fetch(f"127.0.0.1:{wanted}").headers["baton-epoch"] == str(baton.epoch())
    assert len(baton.events("admin.open")) == 1


def test_a_unix_socket_has_its_mode_and_goes_in_the_end_and_off_is_off(new_baton):
    baton = new_baton()
    first, second = baton.dir / "a.sock", baton.dir / "b.sock"
    baton.run(config=Config([Listener()], extra=admin_pipe(first, 0o640)))
    assert first.stat().st_mode & 0o777 == 0o640
    assert fetch(first).body == b"LIVE\n"
    rewrite(baton, **admin_pipe(first, 0o600))
    upgrade(baton)
    wait_until(lambda: first.stat().st_mode & 0o777 == 0o600, "the new mode")
    assert fetch(first).headers["baton-epoch"] == str(baton.epoch())
    rewrite(baton, **admin_pipe(second))
    upgrade(baton)
    wait_until(lambda: second.exists() and not first.exists(), "the move")
    assert fetch(second).status == 200
    assert baton.stop() == 0
    assert not second.exists()

    off, port = new_baton(), free_port()
    off.run(config=Config([Listener()], extra=admin_at(port)), options=("--admin", "off"))
    assert refuses(Listener(port=port)) and off.status()["admin"] is None
    assert off.cli("admin", "GET", "/ready", check=0).stdout == "LIVE\n", "the verb needs no address"


def test_answers_are_envoys_own(baton):
    port = free_port()
    baton.run(config=Config([Listener()], clusters=2, extra=admin_at(port)))
    own, front = baton.run_dir / "e0" / "admin", f"127.0.0.1:{port}"
    for path in ("/clusters", "/stats?filter=^server\\.(live|state)$", "/listeners?format=json", "/", "/nope", "/ready", "//ready", "/re%61dy"):
        theirs, ours = fetch(own, path), fetch(front, path)
        assert (ours.status, sorted(ours.body.splitlines())) == (theirs.status, sorted(theirs.body.splitlines())), path
        for name in ("content-type", "cache-control", "x-content-type-options", "server"):
            assert ours.headers.get(name) == theirs.headers.get(name), (path, name)
        assert ours.headers["baton-epoch"] == "0" and "transfer-encoding" not in ours.headers
    head = fetch(front, "/ready", "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "5")
    assert fetch(front, "/nope", "HEAD").status == 404
    assert fetch(front, "/logging?level=warning", "POST").status == 200
    assert fetch(front, "/logging?level=warning").status == 405, "as Envoy"
    long = "/stats?filter=^(" + "x" * 8000 + "|server.live)$"
    assert fetch(front, long).body == b"server.live: 1\n", "not cut"
    assert fetch(front, "/stats?filter=" + "x" * 60000).status == 414
    assert fetch(front, "/ready", "DELETE").status == 405
    for path in ("//quitquitquit", "/%71uitquitquit", "/x/../quitquitquit"):
        assert fetch(front, path, "POST").status == 400, path
    assert fetch(front, "/ready", headers={"Host": "elsewhere", "Accept-Encoding": "identity"}).status == 200
    assert baton.proxy_pid(), "it lives"


def test_a_body_goes_through_to_the_proxy(baton):
    """/tap takes its orders from the body, and its answer has no end: a stated limit."""
    port = free_port()
    baton.run(config=Config([Listener()], extra=admin_at(port)))
    answer = fetch(f"127.0.0.1:{port}", "/tap", "POST", body="config_id: nobody\n" * 200)
    theirs = fetch(baton.run_dir / "e0" / "admin", "/tap", "POST", body="config_id: nobody\n" * 200)
    assert (answer.status, answer.body) == (theirs.status, theirs.body)
    assert fetch(f"127.0.0.1:{port}", "/tap", "POST", body="x" * 70000).status == 413


def test_quitquitquit_is_a_stop_and_drain_listeners_a_drain(baton):
    port = free_port()
    baton.run(config=Config([listener := Listener()], extra=admin_at(port)))
    front = f"127.0.0.1:{port}"
    for path in ("/quitquitquit", "/drain_listeners?graceful"):
        assert fetch(front, path).status == 405
        assert fetch(front, path, "HEAD").status == 405
    assert baton.status()["ready"]
    answer = fetch(front, "/drain_listeners?graceful&inboundonly", "POST")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"OK\n", "text/plain; charset=UTF-8")
    status = baton.status()
    assert (status["state"], status["ready"], status["reason"]) == ("serving", False, "drain asked for")
    assert ask(listener.target, "/")[0] == 200, "it serves on"
    assert fetch(front, "/quitquitquit", "POST").body == b"OK\n"
    assert baton.wait_exit() == 0
    assert baton.events("stop.asked")


def test_the_admin_verb_prints_whole_answers_and_tells_errors_apart(baton, count):
    clusters = count(1000, 250)
    baton.run(config=Config([Listener()], clusters=clusters), options=("--retry-initial", "1h"))
    own = baton.run_dir / "e0" / "admin"
    listed = baton.cli("admin", "GET", "/clusters", check=0).stdout  # in no order
    assert sorted(listed.splitlines()) == sorted(fetch(own, "/clusters").body.decode().splitlines())
    assert baton.cli("admin", "GET", "/stats?filter=^server\\.live$", check=0).stdout == "server.live: 1\n"
    large = baton.cli("admin", "GET", "/stats/prometheus", check=0).stdout
    assert len(large) > 13e3 * clusters and large.endswith("\n") and clusters_in(large) == clusters
    assert baton.cli("admin", "POST", "/healthcheck/fail", check=0).stdout == "OK\n"
    failed = baton.cli("admin", "GET", "/ready", check=1)
    assert (failed.stdout, failed.stderr) == ("", "DRAINING\n")
    assert baton.cli("admin", "POST", "/healthcheck/ok", check=0).stdout == "OK\n"
    missing = baton.cli("admin", "GET", "/nope", check=1)
    assert missing.stdout == "" and "invalid path" in missing.stderr
    assert baton.cli("admin", "GET", "/quitquitquit", check=1).stdout == ""
    for words in ((), ("GET",), ("GET", "clusters"), ("PUT", "/clusters"), ("GET", "/a b"), ("GET", "/a", "/b")):
        wrong = baton.cli("admin", *words, check=2)
        assert wrong.stdout == "" and wrong.stderr
    baton.wait_event("agent.restarted", since=baton.kill_agent())
    assert baton.cli("admin", "GET", "/ready", check=0).stdout == "LIVE\n"
    moment = baton.kill_proxy()
    baton.wait_event("epoch.exited", since=moment)
    late = baton.cli("admin", "GET", "/ready", "--timeout", "200ms", check=4)
    assert late.stdout == "" and "nobody serves" in late.stderr and late.stderr.count("\n") == 1
    baton.stop()
    assert baton.cli("admin", "GET", "/ready", check=3).stdout == ""


def test_while_nobody_serves_a_request_waits_and_a_hanging_proxy_is_not_waited_for_for_ever(baton, long):
    port = free_port()
    baton.run(config=Config([Listener()], extra=admin_at(port)), options=("--retry-initial", "1s" if not long else "12s"))
    moment = baton.kill_proxy()
    baton.wait_event("epoch.exited", since=moment)
    if long:
        late = fetch(f"127.0.0.1:{port}", "/ready", timeout=60)
        assert late.status == 503 and late.body.startswith(b"nobody serves, recovering"), late
    answer = fetch(f"127.0.0.1:{port}", "/server_info")
    assert answer.status == 200 and int(answer.headers["baton-epoch"]) == baton.epoch() > 0
    if long:
        pid = baton.proxy_pid()
        os.kill(pid, signal.SIGSTOP)
        hung = fetch(f"127.0.0.1:{port}", "/ready", timeout=60)
        os.kill(pid, signal.SIGCONT)
        assert (hung.status, hung.body) == (504, b"the proxy's admin has not answered within 30 s\n")


def test_the_answer_under_way_when_a_generation_dies_comes_from_the_next_and_a_stop_is_answered(baton):
    port = free_port()
    baton.run(config=Config([Listener()], extra=admin_at(port)), options=EAGER)
    pid = baton.proxy_pid()
    os.kill(pid, signal.SIGSTOP)  # it takes the connection, and does not answer
    with socket.create_connection(("127.0.0.1", port)) as get, socket.create_connection(("127.0.0.1", port)) as post:
        get.sendall(b"GET /server_info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        post.sendall(b"POST /logging?level=warning HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        wait_until(lambda: connections_to(baton.run_dir / "e0" / "admin") >= 2, "both are asked")
        moment = baton.moment()
        kill(pid)
        accepted = baton.wait_event("epoch.accepted", since=moment)
        got, refused = http.client.HTTPResponse(get), http.client.HTTPResponse(post)
        got.begin(), refused.begin()
        assert (got.status, int(got.getheader("baton-epoch"))) == (200, accepted["epoch"])
        assert f'"restart_epoch": {accepted["epoch"] + 1}' in got.read().decode()
        assert refused.status == 502 and b"is not known" in refused.read()
    os.kill(baton.proxy_pid(), signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", port)) as last:
        last.sendall(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        baton.process.send_signal(signal.SIGTERM)
        baton.process.send_signal(signal.SIGINT)  # twice: now
        answer = http.client.HTTPResponse(last)
        answer.begin()
        assert answer.status == 503 and answer.read() == b"the instance is ending\n"
    assert baton.wait_exit() == 0


def connections_to(path):
    """How many clients of a Unix socket there are, accepted or not: the ends at its side have its path."""
    with open("/proc/net/unix") as f:
        return sum(1 for line in f if line.rstrip().endswith(f" {path}")) - 1


def test_many_slow_and_vanishing_clients_do_not_disturb_the_agent_or_each_other(baton, hammer):
    port = free_port()
    baton.run(config=Config([Listener()], clusters=60, extra=admin_at(port)))
    question = b"GET /stats/prometheus HTTP/1.1\r\nhost: x\r\n\r\n"
    with contextlib.ExitStack() as open_sockets, hammer(baton.config.listeners[0], clients=2, kept=1) as load:
        slow = [open_sockets.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(20)]
        for s in slow:
            s.sendall(question)
        gone = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for s in gone:
            s.sendall(question)
            s.close()
        assert fetch(f"127.0.0.1:{port}", "/stats/prometheus").status == 200
        assert baton.status()["state"] == "serving"
        baton.wait_event("epoch.accepted", since=baton.kill_proxy())
        upgrade(baton)
        assert fetch(f"127.0.0.1:{port}", "/server_info").status == 200
        first = slow[0].recv(1000)
        assert first.startswith(b"HTTP/1.1 200 "), first
    assert load.refused == 0
    assert not baton.events("agent.restarted")
    wait_until(lambda: not established(baton.agent_pid(), port), "their connections are gone")


def established(pid, port):
    """How many connections a process has at a port of its own."""
    wanted = f":{port:04X}"
    inodes = set()
    with open("/proc/net/tcp") as f:
        for line in f.readlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] in ("01", "08"):
                inodes.add(fields[9])
    held = {os.readlink(e.path) for e in os.scandir(f"/proc/{pid}/fd") if os.path.islink(e.path)}
    return sum(1 for inode in inodes if f"socket:[{inode}]" in held)


def test_where_the_config_cannot_be_read_it_is_said_and_an_address_helps(baton):
    """Envoy reads text protobufs by their extension; baton does not."""
    port = free_port()
    baton.config_path = baton.dir / "x.pb_text"
    baton.config_path.write_text("admin { address { socket_address { address: \"127.0.0.1\" port_value: %d } } }\n" % port)
    baton.start("--", envoy(NEWEST), "-c", baton.config_path, "--log-level", "error")
    baton.wait_event("epoch.accepted")
    told = baton.wait_event("admin.not-open")
    assert "neither YAML nor JSON" in told["error"] and "--admin ADDR" in told["then"]
    assert refuses(Listener(port=port))
