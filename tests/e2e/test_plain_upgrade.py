# SPDX-License-Identifier: MIT
"""Upgrades of servers that do not speak Envoy's protocol: beside each other, or one after another."""
import pytest

from support.config import free_port
from support.crash import AT_ONCE, end, kill_next_agents, serves, tell, wait_status
from support.instance import wait_until
from support.plain import OWN_PORT, PYTHON, Haproxy, Nginx, Server, answers, example, get


def upgrade(baton, times):
    for _ in range(times):
        old = baton.proxy_pid()
        baton.cli("upgrade", check=0)
        baton.wait_event("epoch.exited", pid=old)


def test_a_server_that_drains_is_upgraded_without_a_failed_request(baton, hammer, count):
    server = Server(baton).run()
    with hammer(server, clients=8, kept=0) as load:
        upgrade(baton, count(20, 3))
    assert load.failed == 0, load
    tell("python upgrades", load)


@pytest.mark.parametrize("kind", [Haproxy, Nginx])
def test_upgrades_refuse_nobody_and_with_the_right_signal_cut_nothing(baton, hammer, count, kind):
    server = kind(baton, graceful=True).run()
    with hammer(server, clients=8, kept=0) as load:
        upgrade(baton, count(20, 2))
    assert load.refused == 0, load
    assert load.failed == 0 or kind is Nginx, load  # seen once in many runs: a client whom a worker that ends has accepted and forgotten
    tell(f"{kind.__name__} upgrades", load)


def test_with_sigterm_itself_haproxy_refuses_nobody_either(baton, hammer, count):
    server = Haproxy(baton).run()
    with hammer(server, clients=8, kept=0) as load:
        upgrade(baton, count(20, 2))
    assert load.refused == 0 and load.failed_otherwise == 0, load
    tell("haproxy upgrades by SIGTERM", load)


def test_a_candidate_that_dies_is_refused_with_5_and_the_old_one_is_untouched(baton, hammer):
    server = Server(baton).run()
    old = baton.proxy_pid()
    server.write("import sys\nsys.exit(3)\n")
    with hammer(server, clients=4, kept=0) as load:
        done = baton.cli("upgrade", check=5)
    assert "exit status 3" in done.stderr, done.stderr
    assert load.failed == 0 and baton.proxy_pid() == old, load
    done = baton.cli("upgrade", "--", baton.dir / "nothing", check=5)
    assert "cannot execute" in done.stderr and baton.proxy_pid() == old


def test_another_command_and_the_way_back(baton):
    server = Server(baton).run()
    other = baton.dir / "other.py"
    other.write_text(example().replace('"hello"', '"other"'))
    baton.cli("upgrade", "--", PYTHON, other, check=0)
    assert answers(server.port, "other")
    end(baton.proxy_pid())
    assert answers(server.port, "other"), "what served comes back"
    baton.cli("rollback", check=0)
    assert answers(server.port, "hello")
    last = baton.status()["last"]
    assert last["kind"] == "rollback" and last["result"] == "committed"


def test_under_observation_a_candidate_that_dies_takes_nobody_along(baton):
    server = Server(baton).run()
    old = baton.proxy_pid()
    client = baton.client("upgrade", "--observe", "1h")
    warming = wait_status(baton, lambda s: any(e["state"] == "warming" for e in s["epochs"]), "a candidate under observation")
    end(next(e["pid"] for e in warming["epochs"] if e["state"] == "warming"))
    assert client.wait(30) == 5 and "under observation" in client.stderr.read()
    assert baton.proxy_pid() == old and get(server.port) == "hello"


def test_the_agent_may_die_while_the_candidate_starts(baton):
    # it never says a word: ready a second after its exec, whichever agent sees it
    silent = example().replace('if "NOTIFY_SOCKET" in os.environ:', "if False:")
    server = Server(baton, silent).run()
    old = baton.epoch()
    server.write(silent.replace('"hello"', '"new"'))
    client = baton.client("upgrade")
    started = baton.wait_event("upgrade.started")
    baton.wait_event("epoch.launched", epoch=started["epoch"])
    baton.kill_agent()
    assert client.wait(30) == 0, client.stderr.read()
    assert baton.epoch() == started["epoch"] != old and answers(server.port, "new")


def test_a_state_that_is_lost_does_not_lose_the_command(baton):
    server = Server(baton).run()
    other = baton.dir / "other.py"
    other.write_text(example().replace('"hello"', '"other"'))
    baton.cli("upgrade", "--", PYTHON, other, check=0)
    wait_status(baton, serves(), "one alone")
    kill_next_agents(baton, 4)
    baton.wait_event("state.rebuilt", fresh=True)
    wait_status(baton, serves(), "one alone")
    end(baton.proxy_pid())
    assert answers(server.port, "other"), "what served comes back"


# ---- one after another -----------------------------------------------------------------------------------------


class Alone:
    """It opens its port itself, so two cannot live beside each other."""

    def __init__(self, baton):
        self.baton, self.port = baton, free_port()
        self.path = baton.dir / "own.py"
        self.path.write_text(OWN_PORT)

    def run(self, *options):
        self.baton.start(*AT_ONCE, *options, "--", PYTHON, self.path, str(self.port))
        self.baton.wait_event("epoch.accepted")
        self.up()
        return self

    def up(self):
        def asked():
            try:
                return get(self.port)
            except OSError:
                return None

        return wait_until(asked, "an answer")


def test_one_after_another_and_back_when_the_new_one_fails(baton):
    server = Alone(baton).run()
    assert baton.events("baton.started")[0]["handover"] == "none"
    old = baton.proxy_pid()
    baton.cli("upgrade", check=0)
    assert baton.proxy_pid() != old and server.up() == "own"
    assert baton.status()["last"]["gap_ms"] > 0, "nobody served in between"
    kept, before = baton.proxy_pid(), baton.epoch()
    done = baton.cli("upgrade", "--", PYTHON, "-c", "import sys; sys.exit(4)", check=5)
    assert "exit status 4" in done.stderr, done.stderr
    assert server.up() == "own" and baton.proxy_pid() != kept and baton.epoch() != before
    assert baton.status()["last"]["result"] == "rolled_back"
    done = baton.cli("upgrade", "--", baton.dir / "nothing", check=5)
    assert "cannot execute" in done.stderr
    assert get(server.port) == "own", "what cannot be executed does not end what serves"


def test_one_after_another_a_probe_tells_when_the_new_one_serves(baton):
    server = Alone(baton)
    server.run("--probe", f"http://127.0.0.1:{server.port}/", "--ready-timeout", "2s")
    baton.cli("upgrade", check=0)
    assert get(server.port) == "own", "it serves when the verb has ended"
    done = baton.cli("upgrade", "--", PYTHON, "-c", "import time; time.sleep(1000)", check=5)
    assert "answered the probe" in done.stderr
    baton.cli("wait", "--ready", check=0)
    assert get(server.port) == "own"
