# SPDX-License-Identifier: MIT
"""The agent may die at any instruction: whoever serves goes on, and what was begun ends well."""
import os
import random
import signal
import time
import urllib.request

import pytest

from support.config import DELAY_HEADER, Listener, free_port
from support.crash import (AT_ONCE, MANY, Census, agents, ask_status, kill, kill_next_agents, proxies, serves, spoil_state, tell,
                           wait_status)
from support.instance import wait_until

PLACES = ("store-before", "store", "take-before", "take", "send-before", "send")


def judge_no_crash(load):
    """Envoy lived all the time: nothing may have failed at all."""
    assert load.failed == 0 and load.refused == 0, load
    assert load.reused_reset == 0 and load.reused_eof == 0, load
    assert load.ok > 0


def judge(load):
    assert load.refused == 0 and load.failed_otherwise == 0, load
    assert load.ok > 0


def identity(status):
    return [(e["epoch"], e["pid"], e["state"], e["started"], e["deadline"]) for e in status["epochs"]], status["tokens"]


def test_an_agent_that_dies_at_random_moments_changes_nothing(baton, hammer, count, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener])
    before = baton.status()
    chance = random.Random(7)
    n, killed = count(20, 4), []
    with hammer(listener) as load, Census(baton.process.pid) as census:
        for _ in range(n):
            time.sleep(chance.uniform(0, 0.4))  # a random moment
            killed += kill_next_agents(baton, 1, but=killed)
        after = wait_status(baton, serves(not_agent=killed[-1]), "an agent that works")
    tell(f"{n} deaths of the agent", load, census_looks=census.looks, most_proxies=census.most)
    judge_no_crash(load)
    assert identity(after) == identity(before)
    assert after["listeners"] == before["listeners"]
    assert after["agent"]["starts"] == before["agent"]["starts"] + n
    assert census.most == 1 and census.seen == {before["epochs"][0]["pid"]}


def test_the_wait_before_a_relaunch_goes_on_over_the_death_of_the_agent(baton, hammer):
    listener = Listener()
    baton.run(listeners=[listener], options=["--retry-initial", "4s"])
    with hammer(listener, timeout_ms=30000) as load:
        moment = baton.kill_proxy()  # it has not been stable: the next launch waits
        baton.wait_event("relaunch.waiting", since=moment)
        before = ask_status(baton)
        kill(before["agent"]["pid"])
        after = wait_status(baton, lambda s: s["agent"]["pid"] != before["agent"]["pid"], "the next agent")
        baton.wait_event("epoch.accepted", since=moment)
    tell("agent dies while it waits", load, before=before["retry"], after=after["retry"])
    judge(load)
    assert before["retry"]["in_ms"] > 0 and after["retry"]["n"] == before["retry"]["n"] == 1
    assert after["tokens"] == before["tokens"]
    assert 0 <= after["retry"]["in_ms"] <= before["retry"]["in_ms"], "the wait began anew"
    assert [e["epoch"] for e in baton.events("epoch.launched")] == [0, 1]


def test_the_deadline_of_a_stop_survives_the_death_of_the_agent(baton):
    listener = Listener()
    baton.run(listeners=[listener], options=["--stop-timeout", "30s"])
    clients = [listener.connect(timeout=30) for _ in range(8)]
    for c in clients:  # answered once: these connections are Envoy's
        c.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in c.recv(4096)
    for c in clients:
        c.sendall(f"GET / HTTP/1.1\r\nhost: x\r\n{DELAY_HEADER}: 3000\r\n\r\n".encode())
    baton.process.send_signal(signal.SIGTERM)
    before = wait_status(baton, lambda s: [e for e in s["epochs"] if e["state"] == "draining" and e["deadline"]], "the drain")
    kill(before["agent"]["pid"])
    after = wait_status(baton, lambda s: s["agent"]["pid"] != before["agent"]["pid"], "the next agent")
    answers = [c.recv(4096) for c in clients]
    for c in clients:
        c.close()
    assert baton.wait_exit() == 0
    print(f"figures: agent dies during a stop: answers={len(answers)} deadline_before={before['epochs'][0]['deadline']} "
          f"deadline_after={after['epochs'][0]['deadline']}")
    assert all(b" 200 " in a for a in answers), answers
    assert after["state"] == "stopping" and after["epochs"][0]["state"] == "draining"
    assert after["epochs"][0]["pid"] == before["epochs"][0]["pid"]
    assert 0 < after["epochs"][0]["deadline"] <= before["epochs"][0]["deadline"], "the time-out began anew"


@pytest.mark.parametrize("place", PLACES)
def test_the_agent_may_die_at_every_step_of_a_recovery(new_baton, hammer, place):
    """Step n of each kind, n = 1.. until a recovery meets no death."""
    baton = new_baton(fault=True)
    die_at = baton.dir / "die"
    listener = Listener()
    baton.run(listeners=[listener], options=AT_ONCE, env={"BATON_DIE_AT": str(die_at)})
    keeper = baton.process.pid
    status = wait_status(baton, serves(), "the first start")
    deaths, n = 0, 1
    with hammer(listener, timeout_ms=30000) as load, Census(keeper) as census:
        while True:
            old, agent, moment = status["epochs"][0], status["agent"]["pid"], baton.moment()
            die_at.with_suffix(".new").write_text(f"{place} {n}\n")
            die_at.with_suffix(".new").rename(die_at)
            kill(old["pid"])
            status = wait_status(baton, serves(above=old["epoch"]), f"recovery with a death at {place} {n}")
            kit_is_ready(baton, status)
            died = not die_at.exists()
            if died:
                status = wait_status(baton, serves(above=old["epoch"], not_agent=agent), f"recovery after {place} {n}")
                deaths += 1
            assert proxies(keeper) == [status["epochs"][0]["pid"]], f"{place} {n}"
            launched = [e["epoch"] for e in baton.events("epoch.launched")]
            assert len(launched) == len(set(launched)), f"{place} {n}: an epoch was launched twice: {launched}"
            ended = [e["epoch"] for e in baton.events("epoch.exited")[-3:]]
            assert len(ended) == len(set(ended)), f"{place} {n}: {ended}"
            if not died:
                die_at.unlink(missing_ok=True)
                break
            assert moment < baton.moment()
            n += 1
    tell(f"{place}: the agent died at {deaths} steps of a recovery", load, most_proxies=census.most)
    judge(load)
    assert deaths > 0, "no recovery came by this place"
    assert census.most == 1, "two proxies lived at once"


def kit_is_ready(baton, status):
    """The work after a recovery is done when the next kit's arguments lie ready: its folder exists beside the serving one's."""
    serving = status["epochs"][0]["epoch"]

    def folders():
        return sorted(int(p.name[1:]) for p in baton.run_dir.glob("e*") if p.is_dir() and p.name[1:].isdigit())

    wait_until(lambda: len(folders()) == 2 and folders()[0] == serving, f"a kit beside epoch {serving}, not {folders()}")


def test_a_hung_agent_is_replaced_and_nobody_notices(baton, hammer):
    listener = Listener()
    baton.run(listeners=[listener])
    before = baton.status()
    with hammer(listener, pace_ms=20) as load:
        kill(before["agent"]["pid"], signal.SIGSTOP)
        after = wait_status(baton, serves(not_agent=before["agent"]["pid"]), "the next agent", 60)
    tell("agent stopped for ever", load)
    judge_no_crash(load)
    assert identity(after) == identity(before)


def after_a_rebuild(baton, hammer, listener, load, before, moment, fresh):
    """It serves on as the same epoch, and a kill refuses nobody and goes on numbering."""
    rebuilt = baton.wait_event("state.rebuilt", since=moment, fresh=fresh)
    status = wait_status(baton, serves(epoch=before["epochs"][0]["epoch"], not_agent=before["agent"]["pid"]), "serving on")
    assert status["epochs"][0]["pid"] == before["epochs"][0]["pid"]
    assert status["listeners"] == before["listeners"]
    assert load.mark("crash").failed == 0
    kit_is_ready(baton, status)
    old = status["epochs"][0]
    kill(old["pid"])
    status = wait_status(baton, serves(above=old["epoch"]), "recovery after the rebuild")
    assert proxies(baton.process.pid) == [status["epochs"][0]["pid"]]
    return rebuilt


def test_three_quick_deaths_rebuild_from_what_runs(baton, hammer, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], options=MANY)
    before, moment = baton.status(), baton.moment()
    with hammer(listener, timeout_ms=30000) as load, Census(baton.process.pid) as census:
        kill_next_agents(baton, 4)  # one that worked, and three that did not come to it
        after_a_rebuild(baton, hammer, listener, load, before, moment, True)
    tell("three quick deaths, then a crash", load, most_proxies=census.most)
    judge(load)
    assert census.most == 1


def test_a_spoiled_state_file_is_rebuilt_from_what_runs(baton, hammer):
    listeners = [Listener("a"), Listener("b", reuse_port=False), Listener("u", address=f"unix:{baton.dir}/l.sock")]
    baton.run(listeners=listeners, options=MANY)
    before, moment = baton.status(), baton.moment()
    with hammer(*listeners, timeout_ms=30000) as load, Census(baton.process.pid) as census:
        kill(before["agent"]["pid"], signal.SIGSTOP)
        spoil_state(baton)
        kill(before["agent"]["pid"])
        after_a_rebuild(baton, hammer, listeners[0], load, before, moment, False)
    tell("state spoiled, then a crash", load, most_proxies=census.most)
    judge(load)
    assert census.most == 1


def test_a_state_that_is_spoiled_while_nothing_runs_still_refuses_nobody(baton, hammer):
    """Envoy and the agent are dead and the state is gone: only the keeper's sockets and numbers are left."""
    listener = Listener()
    baton.run(listeners=[listener], options=MANY)
    before = baton.status()
    with hammer(listener, timeout_ms=30000) as load:
        kill(before["agent"]["pid"], signal.SIGSTOP)
        kill(before["epochs"][0]["pid"])
        wait_until(lambda: not proxies(baton.process.pid), "death of the proxy")
        spoil_state(baton)
        kill(before["agent"]["pid"])
        status = wait_status(baton, serves(above=before["epochs"][0]["epoch"]), "a new start")
        kit_is_ready(baton, status)
    tell("state spoiled while nothing ran", load)
    judge(load)


@pytest.mark.parametrize("n", (1, 2, 3))
def test_a_state_that_is_spoiled_while_envoy_waits_for_an_answer_hangs_nobody(new_baton, hammer, n):
    """The dead agent owed an answer and nobody knows which: that Envoy is given up, the next one gets the sockets."""
    baton = new_baton(fault=True)
    die_at = baton.dir / "die"
    listener = Listener()
    baton.run(listeners=[listener], clusters=100, options=AT_ONCE, env={"BATON_DIE_AT": str(die_at)})
    keeper = baton.process.pid
    before, moment = baton.status(), baton.moment()
    with hammer(listener, timeout_ms=30000) as load:
        die_at.write_text(f"send-before {n}\n")
        agent = before["agent"]["pid"]
        kill(before["epochs"][0]["pid"])
        baton.wait_event("epoch.launched", since=moment)
        kill(keeper, signal.SIGSTOP)  # or the next agent would begin before the state is spoiled
        try:
            wait_until(lambda: agent not in agents(keeper), "death of the agent")
            spoil_state(baton)
        finally:
            kill(keeper, signal.SIGCONT)
        baton.wait_event("state.rebuilt", since=moment)
        status = wait_status(baton, serves(above=before["epochs"][0]["epoch"]), "a start that ends")
        assert proxies(keeper) == [status["epochs"][0]["pid"]]
    tell(f"answer {n} lost with the state", load, epoch=status["epochs"][0]["epoch"])
    judge(load)


@pytest.mark.parametrize("place", ("store-before", "store"))
@pytest.mark.parametrize("n", (1, 2, 3, 4))
def test_an_agent_that_dies_during_the_very_first_start_is_followed_by_one_that_starts(new_baton, place, n):
    baton = new_baton(fault=True)
    die_at = baton.dir / "die"
    die_at.write_text(f"{place} {n}\n")
    status = free_port()
    baton.run(listeners=[Listener()], options=["--status", f"127.0.0.1:{status}"], env={"BATON_DIE_AT": str(die_at)}, wait=False)
    wait_until(lambda: not die_at.exists(), "the death")
    wait_until(lambda: baton.cli("status").returncode == 0 and baton.serving(), "a proxy that serves")
    with urllib.request.urlopen(f"http://127.0.0.1:{status}/healthz/ready", timeout=10) as answer:
        assert answer.status == 200
    assert baton.status()["tokens"]["left"] == 10, "a first launch is no relaunch"


def test_a_decided_end_is_kept_although_the_agent_dies_before_it_could_say_so(new_baton):
    """The proxy ends cleanly, so baton does; its agent dies with the end decided and not yet told to the keeper."""
    baton = new_baton(fault=True)
    die_at = baton.dir / "die"
    baton.run(listeners=[Listener()], env={"BATON_DIE_AT": str(die_at)})
    pid = baton.proxy_pid()
    die_at.write_text("store 1\n")
    os.kill(pid, signal.SIGTERM)
    assert baton.wait_exit() == 0
    assert not die_at.exists()
    assert not baton.events("epoch.launched", epoch=1)
