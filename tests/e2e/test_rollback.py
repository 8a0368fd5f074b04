# SPDX-License-Identifier: MIT
"""The way back: before the commit, after it, to a chosen epoch; with the config and the very binary that served."""
import os

import pytest

from support.client import body_of
from support.config import Config, Listener
from support.crash import AT_ONCE, tell
from support.envoys import MIDDLE, NEWEST, OLDEST, VERSIONS, envoy
from support.generations import clean, put_program, rollback, states, upgrade, wait_alone
from support.instance import wait_until


def running(pid):
    """The inode of the program that a process runs."""
    return os.stat(f"/proc/{pid}/exe").st_ino


def write(baton, body):
    baton.config.listeners[0].body = body
    baton.config.write(baton.config_path)


def goes_on(load, n=200, crashed=False):
    """Waits for so many answers more; returns the bodies among them. Until now nothing may have failed but by a crash."""
    until_now = load.mark("on")
    assert crashed or (until_now.failed == 0 and until_now.in_flight == 0), until_now
    bodies, ok = set(), 0
    while ok < n:
        counts = load.mark("on")
        ok += counts.ok
        bodies |= counts.bodies.keys()
    return bodies


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rollback_while_the_new_one_is_observed_leaves_the_old_one_alone_and_fails_no_request(baton, hammer, version):
    listener = Listener(body="old")
    baton.run(envoy(NEWEST), listeners=[listener], options=AT_ONCE)
    pid = baton.proxy_pid()
    with hammer(listener, clients=10, kept=2, expect=("old", "new")) as load:
        write(baton, "new")
        waiting = baton.client("upgrade", "--observe", "10min", "--", envoy(version), "-c", baton.config_path, "--concurrency", "4")
        candidate = baton.wait_event("upgrade.warming")["epoch"]
        wait_until(lambda: "new" in goes_on(load), "both answer")
        assert sorted(states(baton.status()).values()) == ["serving", "warming"]
        said = rollback(baton).stdout
        out, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 5 and out == "" and "a rollback was asked for" in err
        wait_alone(baton)
        assert goes_on(load) == {"old"}
    clean(load)
    tell(f"observed {version}", load)
    assert said == "epoch 0 serves on\n" and candidate, said
    assert baton.proxy_pid() == pid and baton.epoch() == 0
    assert baton.events("upgrade.committed") == []
    assert baton.status()["last"]["result"] == "rolled_back"


def test_an_observation_that_ends_well_commits_by_itself(baton, hammer):
    listener = Listener(body="old")
    baton.run(envoy(NEWEST), listeners=[listener])
    with hammer(listener) as load:
        write(baton, "new")
        assert upgrade(baton, "--observe", "2s").stdout == "epoch 2 serves, it was 0\n"
        warming, committed = baton.wait_event("upgrade.warming"), baton.wait_event("upgrade.committed")
        assert committed["mono_ns"] - warming["mono_ns"] >= 2_000_000_000
        wait_alone(baton)
        assert goes_on(load) == {"new"}
    clean(load)


def test_a_rollback_after_the_commit_brings_the_old_config_and_binary_back_and_toggles(baton, hammer):
    listener = Listener(body="old")
    baton.run(envoy(OLDEST), listeners=[listener], options=AT_ONCE)
    with hammer(listener, clients=10, kept=2, expect=("old", "new")) as load:
        write(baton, "new")
        upgrade(baton, "--", envoy(NEWEST), "-c", baton.config_path, "--concurrency", "3")
        for body, version, workers in (("old", OLDEST, 2), ("new", NEWEST, 3), ("old", OLDEST, 2)):
            before = baton.epoch()
            assert f"serves, it was {before}" in rollback(baton).stdout
            status = wait_alone(baton)
            assert status["epochs"][0]["version"] == version and status["epochs"][0]["epoch"] > before
            assert status["listeners"][0]["held"] == workers
            assert status["last"]["kind"] == "rollback" and status["last"]["result"] == "committed"
            assert ("config" in status["stale"]) == (body == "old"), status["stale"]
            assert goes_on(load) == {body}
        moment = baton.kill_proxy()  # what came back by a rollback is what comes back after a crash
        baton.wait_event("epoch.accepted", since=moment)
        assert baton.serving()["version"] == OLDEST and goes_on(load, crashed=True) == {"old"}
    tell("rollbacks", load)
    assert load.refused == 0 and load.failed_otherwise == 0, load


def test_a_rollback_to_a_chosen_epoch_brings_its_config_and_version(baton, hammer):
    listener = Listener(body="zero")
    baton.run(envoy(OLDEST), listeners=[listener], options=AT_ONCE)
    served = {"zero": (0, OLDEST)}
    with hammer(listener, clients=6, kept=2) as load:
        for body, version in (("one", MIDDLE), ("two", NEWEST)):
            write(baton, body)
            upgrade(baton, "--", envoy(version), "-c", baton.config_path, "--concurrency", "2")
            served[body] = (baton.epoch(), version)
        for body in ("zero", "two", "one"):
            epoch, version = served[body]
            rollback(baton, "--to", str(epoch))
            assert wait_alone(baton)["epochs"][0]["version"] == version
            assert goes_on(load) == {body}
    clean(load)


def test_a_rollback_to_what_is_not_there_is_refused_with_a_reason(baton):
    baton.run(envoy(NEWEST))
    assert "nothing to go back to" in rollback(baton, check=5).stderr
    assert "serves already" in rollback(baton, "--to", "0", check=5).stderr
    assert "is not kept" in rollback(baton, "--to", "77", check=5).stderr
    assert baton.epoch() == 0


@pytest.mark.parametrize("way", ("rollback", "to", "agent"))
def test_a_rollback_to_a_binary_that_was_replaced_on_disk_runs_the_one_that_served(baton, hammer, way):
    """Also when another agent has to find it."""
    program = put_program(baton.dir / "envoy", envoy(OLDEST))
    first = program.stat().st_ino
    listener = Listener(body="hello")
    baton.run(program, config=Config([listener]), options=AT_ONCE)
    with hammer(listener) as load:
        put_program(program, envoy(NEWEST))
        assert baton.status()["stale"] == ["binary"]
        upgrade(baton)
        assert baton.serving()["version"] == NEWEST and running(baton.proxy_pid()) != first
        assert baton.status()["stale"] == []
        if way == "agent":
            moment = baton.kill_agent()
            baton.wait_event("agent.restarted", since=moment)
        rollback(baton, *(("--to", "0") if way == "to" else ()))
        status = wait_alone(baton)
        assert status["epochs"][0]["version"] == OLDEST and status["stale"] == ["binary"]
        assert running(baton.proxy_pid()) == first
    clean(load)
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    assert running(baton.proxy_pid()) == first
    rollback(baton)
    assert wait_alone(baton)["epochs"][0]["version"] == NEWEST


def test_a_crash_of_what_serves_ends_an_observation_and_a_rollback_brings_the_old_one_back(baton, hammer):
    listener = Listener(body="old")
    baton.run(envoy(NEWEST), listeners=[listener], options=AT_ONCE)
    with hammer(listener, clients=6, kept=0, expect=("old", "new")) as load:
        write(baton, "new")
        waiting = baton.client("upgrade", "--observe", "10min")
        baton.wait_event("upgrade.warming")
        moment = baton.kill_proxy()
        baton.wait_event("upgrade.committed", since=moment)
        waiting.communicate(timeout=60)
        assert waiting.returncode == 0 and body_of(listener) == "new"
        rollback(baton)
        wait_alone(baton)
        assert goes_on(load, crashed=True) == {"old"}
    assert load.refused == 0 and load.failed_otherwise == 0, load
    assert body_of(listener) == "old"


def test_content_that_was_put_to_work_twice_is_gone_back_from_once(baton):
    listener = Listener(body="good")
    baton.run(envoy(NEWEST), listeners=[listener])
    write(baton, "bad")
    for _ in range(6):  # more often than contents are remembered
        baton.cli("upgrade", check=0, timeout=60)
    rollback(baton)
    assert body_of(listener) == "good"
