# SPDX-License-Identifier: MIT
"""`baton upgrade -- PROXY ARGS` and the other ways to ask; what was asked for is what comes back after a death."""
import json
import os
import re
import signal

import pytest

from support.client import ask, body_of
from support.config import Config, Listener
from support.crash import AT_ONCE, serves, wait_status
from support.envoys import MIDDLE, NEWEST, OLDEST, envoy
from support.generations import clean, put_program, states, upgrade, wait_alone
from support.instance import wait_until
from support.self import Installation, begin_upgrade, end_of, run_installed


def new_agent(baton):
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)


def crash(baton):
    """Kills what serves. Returns the status once its successor serves."""
    moment = baton.kill_proxy()
    epoch = baton.wait_event("epoch.accepted", since=moment)["epoch"]
    return wait_status(baton, serves(epoch), "the successor serves")


def server_info(baton):
    return json.loads(ask(baton.run_dir / f"e{baton.epoch()}" / "admin", "/server_info")[1])


def other(baton, name="other.json", body="other"):
    """Another config beside the first: the same place, another answer, and JSON."""
    path = baton.dir / name
    path.write_text(json.dumps(Config([baton.config.listeners[0].with_(body=body)]).to_dict()))
    return path


def test_another_command_serves_and_comes_back_after_the_death_of_the_agent_and_of_the_proxy(baton, hammer):
    listener = Listener(body="old", reuse_port=True)
    baton.run(envoy(OLDEST), listeners=[listener], options=AT_ONCE)
    other(baton)
    with hammer(listener, expect=("old", "other")) as load:
        # A relative path belongs to the folder of who asks.
        upgrade(baton, "--", envoy(MIDDLE), "-c", "other.json", "--concurrency", "3", "--config-yaml", "node: {id: named}",
                "--log-level", "error")
        wait_alone(baton)

        def as_asked():
            status = baton.status()
            assert status["epochs"][0]["version"] == MIDDLE
            assert status["epochs"][0]["config"].endswith(".json")
            assert status["listeners"][0]["held"] == 3
            info = server_info(baton)
            assert info["command_line_options"]["concurrency"] == 3 and info["node"]["id"] == "named"
            assert body_of(listener) == "other"

        as_asked()
        new_agent(baton)
        as_asked()
        crash(baton)
        as_asked()
        new_agent(baton)
        crash(baton)
        as_asked()
        before = baton.epoch()
        upgrade(baton)  # without a command: the running one
        assert wait_alone(baton)["epochs"][0]["epoch"] > before
        as_asked()
    assert load.refused == 0 and load.failed_otherwise == 0, load


def test_another_command_stays_over_an_exchange_of_baton_itself(baton, hammer):
    home = Installation()
    listener = Listener(body="old")
    try:
        run_installed(baton, home, envoy(OLDEST), listeners=[listener], options=AT_ONCE)
        path = other(baton)
        upgrade(baton, "--", envoy(NEWEST), "-c", path, "--concurrency", "3")
        wait_alone(baton)
        with hammer(listener) as load:
            assert end_of(begin_upgrade(baton)) == (0, "")
            wait_status(baton, lambda s: s["state"] == "serving" and s["keeper"]["replaced"] == 1, "replaced")
        clean(load)
        status = crash(baton)
        assert status["epochs"][0]["version"] == NEWEST and status["listeners"][0]["held"] == 3
        assert body_of(listener) == "other"
        other(baton, body="more")
        upgrade(baton)
        wait_until(lambda: body_of(listener) == "more", "the config of that command")
    finally:
        baton.finish(judge=False)
        home.remove()


def test_hangup_is_an_upgrade(baton, hammer):
    listener = Listener(body="old")
    baton.run(envoy(NEWEST), listeners=[listener], preexec_fn=os.setsid)
    with hammer(listener, expect=("old", "new")) as load:
        listener.body = "new"
        baton.config.write(baton.config_path)
        os.kill(baton.process.pid, signal.SIGHUP)
        baton.wait_event("upgrade.committed")
        wait_until(lambda: body_of(listener) == "new", "the new config answers")
    clean(load)
    wait_alone(baton)
    assert baton.status()["last"]["kind"] == "upgrade"


def test_a_client_that_does_not_wait_or_not_so_long_changes_nothing(baton):
    baton.run(envoy(NEWEST))
    done = upgrade(baton, "--no-wait")
    assert (done.stdout, done.stderr) == ("", "")
    assert baton.wait_event("upgrade.committed")["from"] == 0
    first = wait_alone(baton)["epochs"][0]["epoch"]
    moment = baton.moment()
    done = upgrade(baton, "--observe", "3s", "--timeout", "100ms", check=4)
    assert done.stderr == "baton: timed out; the upgrade goes on\n"
    assert baton.wait_event("upgrade.committed", since=moment)["from"] == first


def test_pausing_holds_back_no_order_and_outlives_the_agent(baton):
    baton.run(envoy(NEWEST))
    assert baton.status()["paused"] is False
    baton.cli("pause", check=0)
    assert baton.status()["paused"] is True
    new_agent(baton)
    assert baton.status()["paused"] is True
    upgrade(baton)
    assert baton.epoch() > 0 and baton.status()["paused"] is True
    baton.cli("resume", check=0)
    assert baton.status()["paused"] is False
    assert [e["event"] for e in baton.events() if e["event"] in ("upgrades.paused", "upgrades.resumed")] == ["upgrades.paused", "upgrades.resumed"]


def test_after_upgrades_too_the_binary_that_served_comes_back_and_stale_says_so(baton, hammer):
    program = put_program(baton.dir / "envoy", envoy(OLDEST))
    listener = Listener(body="hello")
    baton.run(program, config=Config([listener]), options=AT_ONCE)
    put_program(program, envoy(MIDDLE))
    upgrade(baton)
    wait_alone(baton)
    with hammer(listener) as load:
        for replaced, says in ((NEWEST, ["binary"]), (OLDEST, ["binary"])):
            put_program(program, envoy(replaced))
            assert baton.status()["stale"] == says
            assert crash(baton)["epochs"][0]["version"] == MIDDLE
            assert baton.status()["stale"] == says
        program.unlink()  # not even a file
        new_agent(baton)
        assert crash(baton)["epochs"][0]["version"] == MIDDLE
    assert load.refused == 0 and load.failed_otherwise == 0, load
    put_program(program, envoy(MIDDLE))
    upgrade(baton)
    wait_alone(baton)
    assert baton.status()["stale"] == []


@pytest.mark.parametrize("spoil", ("broken", "gone", "empty"))
def test_after_upgrades_too_the_config_that_served_comes_back_and_stale_says_so(baton, hammer, spoil):
    listener = Listener(body="old")
    baton.run(envoy(NEWEST), listeners=[listener], options=AT_ONCE)
    listener.body = "new"
    baton.config.write(baton.config_path)
    upgrade(baton)
    wait_alone(baton)
    good = baton.config_path.read_text()
    with hammer(listener) as load:
        if spoil == "gone":
            baton.config_path.unlink()
        else:
            baton.config_path.write_text("" if spoil == "empty" else good + "\nno_such_field: 1\n")
            assert baton.status()["stale"] == ["config"]
        crash(baton)
        if spoil != "empty":  # an empty one is a config as well, without a listener
            done = upgrade(baton, check=5)
            assert re.search(r"refused: .*serves on$", done.stderr.strip()), done.stderr
        new_agent(baton)
        crash(baton)
    assert load.refused == 0 and load.failed_otherwise == 0, load
    assert set(load.bodies) == {"new"}
    baton.config_path.write_text(good)
    assert baton.status()["stale"] == []


def test_an_order_that_names_a_bad_command_leaves_the_good_one_the_running_one(baton):
    listener = Listener(body="old")
    baton.run(envoy(NEWEST), listeners=[listener], options=AT_ONCE)
    upgrade(baton, "--", baton.dir / "no-envoy", "-c", baton.config_path, check=5)
    upgrade(baton, "--", envoy(NEWEST), "-c", baton.dir / "no-config", check=5)
    assert states(baton.status()) == {0: "serving"}
    crash(baton)
    listener.body = "new"
    baton.config.write(baton.config_path)
    upgrade(baton)
    wait_until(lambda: body_of(listener) == "new", "the first command's config")


def test_orders_of_two_commands_at_once_are_both_carried_out_and_the_later_one_stays(baton, hammer):
    listener = Listener(body="old")
    baton.run(envoy(NEWEST), listeners=[listener], options=AT_ONCE)
    one, two = other(baton, "one.json", "one"), other(baton, "two.json", "two")
    with hammer(listener) as load:
        moment = baton.moment()
        first = baton.client("upgrade", "--observe", "2s", "--", envoy(OLDEST), "-c", one)
        baton.wait_event("upgrade.started", since=moment)
        second = baton.client("upgrade", "--", envoy(MIDDLE), "-c", two)
        for c in (first, second):
            said = c.communicate(timeout=120)
            assert c.returncode == 0, said
        assert wait_alone(baton)["epochs"][0]["version"] == MIDDLE
    clean(load)
    crash(baton)
    assert body_of(listener) == "two"
