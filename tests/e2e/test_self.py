# SPDX-License-Identifier: MIT
"""baton upgrade --self: keeper and agent replaced in place. Whoever is served does not notice, whatever the next version is like."""
import pathlib
import signal

import pytest

from support.config import Listener
from support.crash import AT_ONCE, kill, proxies, tell
from support.instance import build_dir, open_descriptors, wait_until
from support.self import Installation, begin_upgrade, end_of, run_installed

NEXT, BESIDE = build_dir() / "next", build_dir() / "beside"


@pytest.fixture
def home():
    installation = Installation()
    yield installation
    installation.remove()


def judge(load):
    assert load.failed == 0 and load.refused == 0 and load.reused_reset == 0 and load.reused_eof == 0, load
    assert load.ok > 0


def identity(status):
    return [(e["epoch"], e["pid"], e["state"], e["started"]) for e in status["epochs"]], status["listeners"], status["keeper"]["pid"]


def upgrade(baton, check=0):
    return baton.cli("upgrade", "--self", check=check)


def test_the_version_that_is_installed_takes_over_and_no_request_fails(baton, home, hammer, each_envoy):
    listener = Listener()
    run_installed(baton, home, each_envoy, listeners=[listener])
    before = baton.status()
    with hammer(listener) as load:
        home.install(NEXT)
        moment = baton.moment()
        upgrade(baton)
        after = baton.status()
    tell("to the next version", load)
    judge(load)
    assert before["agent"]["version"] != "next" and after["agent"]["version"] == "next"
    assert after["agent"]["pid"] != before["agent"]["pid"] and after["keeper"]["replaced"] == 1
    assert identity(after) == identity(before) and proxies(before["keeper"]["pid"]) == [before["epochs"][0]["pid"]]
    event = baton.wait_event("self.replaced", since=moment)
    assert event["from"] == before["agent"]["version"] and event["version"] == "next"


def test_the_options_mean_the_same_to_a_version_that_stores_them_differently(baton, home):
    run_installed(baton, home, options=["--retry-tokens", "7", "--status", f"unix:{baton.dir}/status"], env={"BATON_STOP_TIMEOUT": "9s"})
    home.install(NEXT)
    upgrade(baton)
    assert baton.status()["agent"]["version"] == "next"
    assert baton.status()["tokens"]["max"] == 7
    assert (baton.dir / "status").is_socket()


def test_there_and_back_between_versions_of_one_image_and_no_request_fails(baton, home, hammer):
    listener = Listener()
    run_installed(baton, home, listeners=[listener])
    before = baton.status()
    with hammer(listener) as load:
        home.install(BESIDE)
        upgrade(baton)
        there = baton.status()
        home.install()
        upgrade(baton)
    judge(load)
    assert there["agent"]["version"] == "next" and baton.status()["agent"]["version"] == before["agent"]["version"]
    assert identity(baton.status()) == identity(before)
    assert [e["then"] for e in baton.events("state.rebuilt")], "it is the state of another version each time"


def test_an_older_version_that_does_not_understand_all_is_refused(baton, home, hammer):
    listener = Listener()
    home.install(NEXT)
    run_installed(baton, home, listeners=[listener])
    before = baton.status()
    with hammer(listener) as load:
        home.install()
        said = upgrade(baton, check=5).stderr
    judge(load)
    assert "older than what runs" in said
    after = baton.status()
    assert after["agent"] == before["agent"] and identity(after) == identity(before)


def test_ten_in_a_row_cost_no_request_and_no_descriptor(baton, home, hammer):
    listener = Listener()
    run_installed(baton, home, listeners=[listener])
    upgrade(baton)
    before = baton.status()
    keeper = before["keeper"]["pid"]
    descriptors = open_descriptors(keeper)
    with hammer(listener) as load:
        for _ in range(10):
            upgrade(baton)
    judge(load)
    after = baton.status()
    assert after["keeper"]["replaced"] == 11 and after["agent"]["starts"] == 12
    assert identity(after) == identity(before)
    wait_until(lambda: open_descriptors(keeper) == descriptors, f"{descriptors} descriptors, as before")


BROKEN = {
    "exits with 1": ("#!/bin/sh\nexit 1\n", 0o755, "status 1"),
    "exits with 0 and does not speak": ("#!/bin/sh\nexit 0\n", 0o755, "did not say"),
    "speaks nonsense": ("#!/bin/sh\necho good >&4\n", 0o755, "did not say"),
    "crashes": ("#!/bin/sh\nkill -SEGV $$\n", 0o755, "signal 11"),
    "hangs": ("#!/bin/sh\nsleep 1000\n", 0o755, "did not say within"),
    "cannot be executed": ("#!/bin/sh\n", 0o644, "Permission denied"),
    "is no program": ("\x7fELF", 0o755, "Exec format error"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_next_version_is_refused_and_costs_nothing(baton, home, hammer, kind):
    text, mode, why = BROKEN[kind]
    listener = Listener()
    run_installed(baton, home, listeners=[listener])
    before = baton.status()
    with hammer(listener) as load:
        home.put("baton", text, mode)
        said = upgrade(baton, check=5).stderr
        after = baton.status()
    tell(f"a next version that {kind}", load)
    judge(load)
    assert why in said, said
    assert after["agent"] == before["agent"] and identity(after) == identity(before) and after["keeper"]["replaced"] == 0
    assert why in baton.wait_event("self.refused")["reason"]
    home.install(NEXT)  # and then a good one
    upgrade(baton)
    assert baton.status()["agent"]["version"] == "next"


@pytest.mark.parametrize("cut", [64, 4096, 0.5, 0.99])
def test_a_truncated_next_version_is_refused(baton, home, cut):
    run_installed(baton, home)
    before = baton.status()
    whole = (NEXT / "baton").read_bytes()
    home.put("baton", whole[:cut if cut > 1 else int(len(whole) * cut)])
    upgrade(baton, check=5)
    assert baton.status()["agent"] == before["agent"]


@pytest.mark.parametrize("agent, why", [
    (lambda: "#!/bin/sh\nexit 3\n", "agent of the new version ended with status 3"),
    (lambda: "#!/bin/sh\nexit 0\n", "agent of the new version did not say"),
    (lambda: (NEXT / "baton-agent").read_bytes(), "two versions"),
], ids=["exits", "does not speak", "of another version"])
def test_a_next_version_whose_agent_is_bad_is_refused(baton, home, agent, why):
    run_installed(baton, home)
    before = baton.status()
    home.put("baton-agent", agent())
    assert why in upgrade(baton, check=5).stderr
    assert baton.status()["agent"] == before["agent"]


def test_without_self_the_version_that_was_started_stays_over_the_death_of_its_agent(baton, home):
    run_installed(baton, home)
    version = baton.status()["agent"]["version"]
    home.install(NEXT)
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)
    assert baton.status()["agent"]["version"] == version
    upgrade(baton)
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)
    assert baton.status()["agent"]["version"] == "next"


def test_what_a_link_leads_to_now_is_the_next_version(baton, home):
    other = Installation()
    try:
        other.install(NEXT)
        link = baton.dir / "current"
        link.symlink_to(home.bin)
        baton.build = link
        baton.run()
        baton.build = build_dir()
        new = baton.dir / "new"
        new.symlink_to(other.bin)
        new.rename(link)
        upgrade(baton)
        assert baton.status()["agent"]["version"] == "next"
    finally:
        other.remove()


def test_a_crash_after_it_is_recovered_from_like_any_other(baton, home, hammer):
    listener = Listener()
    run_installed(baton, home, listeners=[listener], options=AT_ONCE)
    home.install(NEXT)
    with hammer(listener, timeout_ms=30000) as load:
        upgrade(baton)
        for _ in range(2):
            moment = baton.kill_proxy()
            baton.wait_event("epoch.accepted", since=moment)
    tell("two crashes after a replacement", load)
    assert load.refused == 0 and load.failed_otherwise == 0, load
    assert len(proxies(baton.keeper_pid())) == 1


def test_a_crash_during_it_is_recovered_from_like_any_other(baton, home, hammer):
    """
    The proxy dies before, in, and after the moment of the exec; a slow start, so that the recovery is under way. What is installed is
    a script that waits: its shell, which is the keeper's process then, reaps whoever dies meanwhile.
    """
    listener = Listener()
    run_installed(baton, home, listeners=[listener], clusters=500, options=AT_ONCE)
    with hammer(listener, timeout_ms=30000) as load:
        for _ in range(6):
            for late in (False, True):
                home.put_waiting()
                client = begin_upgrade(baton)
                home.wait_tried()
                moment = baton.moment()
                if late:
                    home.release()
                kill(baton.proxy_pid() or proxies(baton.process.pid)[0])
                if not late:
                    baton.wait_event("epoch.launched", since=moment)
                    home.release()
                assert end_of(client) == (0, "")
                home.followed()
                baton.wait_event("epoch.accepted", since=moment)
                wait_until(lambda: baton.status()["state"] == "serving", "it serves")
    tell("crashes during replacements", load)
    assert load.refused == 0 and load.failed_otherwise == 0, load
    assert len(proxies(baton.keeper_pid())) == 1


def test_the_agent_may_die_while_the_next_version_is_tried(baton, home, hammer):
    listener = Listener()
    run_installed(baton, home, listeners=[listener])
    before = baton.status()
    home.put_waiting(BESIDE)
    with hammer(listener) as load:
        client = begin_upgrade(baton)
        home.wait_tried()
        moment = baton.kill_agent()
        baton.wait_event("agent.restarted", since=moment)
        home.release()
        assert end_of(client) == (0, "")
    judge(load)
    after = baton.status()
    assert identity(after) == identity(before)
    assert after["agent"]["version"] == "next" and after["keeper"]["replaced"] == 1


def test_the_try_may_be_killed(baton, home, hammer):
    listener = Listener()
    run_installed(baton, home, listeners=[listener])
    before = baton.status()
    home.put_waiting()
    with hammer(listener) as load:
        client = begin_upgrade(baton)
        kill(home.wait_tried())
        status, said = end_of(client)
    judge(load)
    assert status == 5 and "signal 9" in said
    assert baton.status()["agent"] == before["agent"]


def test_a_second_one_meanwhile_is_refused_and_the_first_goes_on(baton, home):
    run_installed(baton, home)
    home.put_waiting()
    client = begin_upgrade(baton)
    home.wait_tried()
    assert upgrade(baton, check=None).returncode != 0
    home.release()
    assert end_of(client) == (0, "")
    assert baton.status()["keeper"]["replaced"] == 1


@pytest.mark.parametrize("moment", ["while it is tried", "just after"])
def test_a_stop_in_the_middle_is_a_stop_like_any_other(baton, home, hammer, moment):
    listener = Listener()
    run_installed(baton, home, listeners=[listener])
    home.put_waiting()
    client = begin_upgrade(baton)
    pid = home.wait_tried()
    if moment == "just after":
        home.release()
        baton.process.send_signal(signal.SIGTERM)
        assert end_of(client)[0] in (0, 3, 5)
    else:
        baton.process.send_signal(signal.SIGTERM)
        assert end_of(client)[0] in (3, 5)
    assert baton.wait_exit() == 0
    assert not pathlib.Path(f"/proc/{pid}").exists(), "the try is left"
