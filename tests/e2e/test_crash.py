# SPDX-License-Identifier: MIT
"""kill -9 of Envoy: nobody is refused, only what was in flight is lost, and nothing piles up."""
import random
import signal
import time

import pytest

from support.config import Listener
from support.crash import MANY, agents, footprint, kill, own_segments, proxies, tell, wait_stable, without_sanitizer
from support.envoys import VERSIONS, envoy
from support.instance import wait_until


def judge(load):
    assert load.refused == 0, load
    assert load.failed_otherwise == 0, load
    assert load.ok > 0


def crash(baton, last):
    """Kills what has just become stable; returns the epoch.accepted of what replaced it."""
    wait_stable(last)
    moment = baton.moment()
    kill(last["pid"])
    return baton.wait_event("epoch.accepted", since=moment)


def footprint_at_rest(baton, like=None):
    """Looks, the next kit and answers of the admin come after `accepted`: waits until it is as before, or for 10 s."""
    def counted(f):
        return {k: v for k, v in f.items() if not k.endswith("_kib")}  # a sanitizer's memory never rests

    if like is None:
        wait_until(lambda: own_segments(baton) and counted(footprint(baton)) == counted(footprint(baton)), "a baton at rest")
        return footprint(baton)
    try:
        return wait_until(lambda: f if counted(f := footprint(baton)) == counted(like) else None,
                          "the footprint of before", 10)
    except TimeoutError:
        return footprint(baton)


def killed_again_and_again(baton, hammer, n):
    """Under load; the footprints before and after, which are alike but for the memory."""
    listener = Listener()
    baton.run(listeners=[listener], options=MANY)
    last = baton.wait_event("epoch.accepted")
    for _ in range(3):  # buffers that grow once have grown
        last = crash(baton, last)
    before = footprint_at_rest(baton)

    gaps = []
    with hammer(listener) as load:
        for _ in range(n):
            last = crash(baton, last)
            gaps.append(last["gap_us"] / 1000)
    after = footprint_at_rest(baton, before)

    tell(f"{n} kills", load, median_gap_ms=sorted(gaps)[n // 2], before=before, after=after)
    judge(load)
    assert load.in_flight <= n * 8, "more was lost than the 8 clients could have had in flight"
    for what in ("keeper_fds", "agent_fds", "folders", "files", "segments"):
        assert after[what] == before[what], f"{what}: {before[what]} before, {after[what]} after {n} kills"
    assert baton.status()["tokens"]["left"] >= 1000 - 3 - n
    return before, after


def test_many_kills_refuse_nobody_and_leave_nothing_behind(baton, hammer, count):
    killed_again_and_again(baton, hammer, count(100, 8))


def test_many_kills_cost_the_agent_no_memory(new_baton, hammer, count):
    plain = without_sanitizer()
    if not plain:
        pytest.skip("a sanitizer's own memory grows, and the preset clang, which has none, is not built or older")
    before, after = killed_again_and_again(new_baton(build=plain), hammer, count(100, 8))
    assert after["keeper_kib"] <= before["keeper_kib"] + 16
    assert after["agent_kib"] <= before["agent_kib"] + 256


@pytest.mark.parametrize("workers", (1, 4))
@pytest.mark.parametrize("version", VERSIONS)
def test_a_kill_refuses_nobody_on_any_kind_of_listener(baton, hammer, count, version, workers):
    listeners = [Listener("shared", body="shared", reuse_port=True),
                 Listener("single", body="single", reuse_port=False),
                 Listener("six", body="six", address="::1", reuse_port=True),
                 Listener("single-six", body="single-six", address="::1", reuse_port=False),
                 Listener("pipe", body="pipe", address=f"unix:{baton.dir}/l.sock")]
    baton.run(envoy(version), listeners=listeners, options=MANY, proxy_args=("--concurrency", workers, "--log-level", "error"))
    last = baton.wait_event("epoch.accepted")
    kills = count(10, 2)
    with hammer(*listeners, clients=15, kept=5) as load:
        for i in range(kills):
            last = crash(baton, last)
            load.mark(f"after {i}")
            wait_until(lambda: load.mark("go on").bodies.keys() >= {x.body for x in listeners}, "answers from every listener")
    tell(f"envoy {version}, {workers} workers, {kills} kills, five kinds of listener", load)
    judge(load)
    assert {x["address"]: x["held"] for x in baton.status()["listeners"]} == {
        x.url: workers if x.reuse_port else 1 for x in listeners}


def test_nobody_is_refused_while_an_envoy_of_1000_clusters_takes_long_to_start(baton, hammer, count):
    listener = Listener()
    baton.run(listeners=[listener], clusters=1000, options=MANY)
    last = baton.wait_event("epoch.accepted")
    kills = count(10, 2)
    with hammer(listener, timeout_ms=30000) as load:
        for _ in range(kills):
            last = crash(baton, last)
    tell(f"1000 clusters, {kills} kills", load, start_ms=last["start_ms"])
    judge(load)
    assert load.longest_gap_ms > 50, "the start was not slow: this shows nothing"


def test_a_kill_during_the_start_refuses_nobody(baton, hammer, count):
    """Also twice in a row and more: each start is cut at another moment of it."""
    listener = Listener()
    baton.run(listeners=[listener], clusters=200, options=MANY)
    chance = random.Random(3)
    rounds = count(20, 3)
    cut = 0
    with hammer(listener, timeout_ms=30000) as load:
        last = baton.wait_event("epoch.accepted")
        for r in range(rounds):
            wait_stable(last)
            moment = baton.moment()
            kill(last["pid"])
            for _ in range(1 + r % 2):
                started = baton.wait_event("epoch.launched", since=moment)
                moment = baton.moment()
                time.sleep(chance.uniform(0, 0.15))  # a random moment, not a state that is waited for
                kill(started["pid"])
                cut += not baton.wait_event("epoch.exited", since=moment, epoch=started["epoch"])["accepted"]
            last = baton.wait_event("epoch.accepted", since=moment)
    tell(f"{rounds} crashes, then {cut} starts cut", load)
    judge(load)
    assert cut > 0, "no start was cut before it accepted: this shows nothing"


def test_a_kill_while_the_agent_is_stopped_refuses_nobody(baton, hammer):
    listener = Listener()
    baton.run(listeners=[listener], options=MANY)
    last = baton.wait_event("epoch.accepted")
    wait_stable(last)
    agent = baton.agent_pid()
    with hammer(listener, timeout_ms=30000) as load:
        moment = baton.moment()
        kill(agent, signal.SIGSTOP)
        kill(last["pid"])
        wait_until(lambda: not proxies(baton.process.pid), "death of the proxy")
        load.mark("nobody decides")
        time.sleep(1)  # so long nobody does: connections gather
        load.mark("goes on")
        kill(agent, signal.SIGCONT)
        baton.wait_event("epoch.accepted", since=moment)
    tell("agent stopped", load)
    judge(load)
    assert load.slices["nobody decides"].ok == 0


def test_a_kill_while_the_agent_is_dead_refuses_nobody(baton, hammer, count):
    """The agents that follow are killed as well, before they work: so Envoy dies while there is none."""
    listener = Listener()
    baton.run(listeners=[listener], options=MANY)
    keeper = baton.process.pid
    last = baton.wait_event("epoch.accepted")
    with hammer(listener, timeout_ms=30000) as load:
        for _ in range(count(5, 1)):
            wait_stable(last)
            agent, moment = baton.agent_pid(), baton.moment()
            kill(agent)
            second = wait_until(lambda: [a for a in agents(keeper) if a != agent], "the next agent")[0]
            kill(last["pid"])
            kill(second)
            last = baton.wait_event("epoch.accepted", since=moment)
            assert proxies(keeper) == [last["pid"]]
    tell("agent dead when Envoy dies", load)
    judge(load)


def test_agent_and_envoy_killed_at_once_refuse_nobody(baton, hammer, each_envoy, count):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], options=MANY)
    last = baton.wait_event("epoch.accepted")
    rounds = count(10, 2)
    with hammer(listener, timeout_ms=30000) as load:
        for i in range(rounds):
            wait_stable(last)
            agent, moment = baton.agent_pid(), baton.moment()
            for pid in (agent, last["pid"])[::1 if i % 2 else -1]:
                kill(pid)
            last = baton.wait_event("epoch.accepted", since=moment)
            assert proxies(baton.process.pid) == [last["pid"]]
    tell(f"both at once, {rounds} times", load)
    judge(load)
