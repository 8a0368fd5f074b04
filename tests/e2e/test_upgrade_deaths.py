# SPDX-License-Identifier: MIT
"""Whoever dies during an upgrade, and whenever: nobody is refused, one serves, the client learns the truth, and it goes on."""
import signal
import time

import pytest

from support.crash import ask_status, end, kill, kill_next_agents, proxies, spoil_state, wait_status
from support.instance import wait_until
from support.sockets import each_is_served, holders
from support.transition import BEFORE_COMMIT, STATES, Transition


def test_an_upgrade_that_changes_workers_and_listeners_goes_there_and_back(baton, hammer, count):
    with Transition(baton, hammer) as change:
        change.rest("before")
        for _ in range(count(10, 2)):
            change.once_more("there")
            change.once_more("back")
    change.judge("4 to 2 to 4 workers, one listener less, one more")


# ---- many who ask ------------------------------------------------------------------------------------------------


def test_twenty_clients_of_one_upgrade_are_each_told_the_truth_and_a_killed_one_changes_nothing(baton, hammer):
    with Transition(baton, hammer) as change:
        change.hold("checking")
        clients = [change.begin()]
        change.reach("checking")
        clients += [change.client(*change.words(change.other)) for _ in range(19)]
        kill(clients[0].pid)  # whose upgrade is under way
        kill(clients[11].pid)
        change.hold_no_more()
        target = change.other
        told = [change.told(c) for c in clients]
        change.now, change.other = target, change.wide if target is change.narrow else change.narrow
        status, _ = change.rest("20 clients")
        ended = {e["epoch"]: e["event"] for e in baton.events() if e["event"].startswith("upgrade.") and e["event"] != "upgrade.started"}
        for number, (code, out, err) in enumerate(told):
            if number in (0, 11):
                assert code == -signal.SIGKILL
                continue
            assert code == 0, (number, err)
            assert ended[int(out.split()[1])] == "upgrade.committed", out
        started = baton.events("upgrade.started")
        change.once_more("after 20 clients")
    change.judge("20 clients", upgrades=len(started), serving=status["epochs"][0]["epoch"])
    assert 2 <= len(started) < 20, "they were not made one"


# ---- a stop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_a_stop_in_any_state_of_an_upgrade_is_graceful_and_told(baton, hammer, state):
    with Transition(baton, hammer, options=["--stop-timeout", "20s"]) as change:
        client = change.begin(*change.hold(state))
        change.reach(state)
        change.load.stop()
        baton.process.send_signal(signal.SIGTERM)
        code, out, err = change.told(client)
        assert baton.wait_exit(40) == 0
    change.judge(f"stop while {state}", told=repr(err.strip() or out.strip()))
    if state in BEFORE_COMMIT:
        assert code == 5 and "a stop was asked for" in err, (code, out, err)
    else:
        assert code == 0 and " serves, it was 0" in out, (code, out, err)
    killed = [e for e in baton.events("epoch.killed")]
    assert not killed or state in ("starting", "half-started"), killed


# ---- kill -9 of proxies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_the_serving_one_may_be_killed_in_any_state_of_an_upgrade(baton, hammer, state):
    with Transition(baton, hammer) as change:
        client = change.begin(*change.hold(state, observe="4s"))
        change.reach(state)
        kill(baton.proxy_pid())
        change.hold_no_more()
        code, out, err = change.told(client)
        assert code == 0, f"{err}\n{baton.tail()}"
        change.rest(state)
        change.once_more(state)
    change.judge(f"the serving one killed while {state}", crash=True, told=repr(out.strip()))


@pytest.mark.parametrize("state", ("starting", "half-started", "warming"))
def test_the_candidate_may_be_killed_in_any_state_and_nobody_notices(baton, hammer, state):
    with Transition(baton, hammer) as change:
        before = baton.proxy_pid()
        client = change.begin(*change.hold(state))
        kill(change.reach(state)["pid"])
        code, _, err = change.told(client)
        change.hold_no_more()
        assert code == 5 and "killed by signal 9" in err and "epoch 0 serves on" in err, err
        assert baton.proxy_pid() == before
        change.rest(state)
        change.spread(state)
        change.once_more(state)
    change.judge(f"the candidate killed while {state}", crash=state == "warming", told=repr(err.strip()))


@pytest.mark.parametrize("state", ("leaving", "draining"))
def test_the_old_one_may_be_killed_while_it_goes(baton, hammer, state):
    with Transition(baton, hammer) as change:
        before = baton.proxy_pid()
        client = change.begin(*change.hold(state))
        change.reach(state)
        kill(before)
        code, _, err = change.told(client)
        assert code == 0, err
        change.rest(state)
        change.once_more(state)
    change.judge(f"the old one killed while {state}", crash=True)


@pytest.mark.parametrize("state", STATES)
def test_all_may_be_killed_at_once_in_any_state_of_an_upgrade(baton, hammer, state):
    with Transition(baton, hammer) as change:
        client = change.begin(*change.hold(state))
        change.reach(state)
        for pid in [*proxies(baton.process.pid), *([change.candidate["pid"]] if getattr(change, "candidate", None) else [])]:
            kill(pid)
        change.hold_no_more()
        code, out, err = change.told(client)
        assert code in ((0, 5) if state in BEFORE_COMMIT else (0,)), f"exit {code}: {out}{err}\n{baton.tail()}"
        change.rest(state)
        change.once_more(state)
    change.judge(f"all killed while {state}", crash=True, told=code)


# ---- kill -9 of the agent ----------------------------------------------------------------------------------------

PLACES = ("store-before", "store", "take-before", "take", "send-before", "send", "steer-before", "steer", "hush-before", "hush")
SELDOM = ("take-before", "take", "send-before", "steer-before", "hush-before")  # next to a store, or to the same place after its deed
FAR = 1_000_000


class Fault:
    """The agent of a fault build dies at the n-th call of a place, counted from arm() on."""

    def __init__(self, baton, place):
        self.path, self.place = baton.dir / "die", place

    def arm(self, n):
        new = self.path.with_suffix(".new")
        new.write_text(f"{self.place} {n}\n")
        new.rename(self.path)

    def fired(self):
        return not self.path.exists()

    def disarm(self):
        """How many calls were left; None: it has died."""
        try:
            left = int(self.path.read_text().split()[1])
        except FileNotFoundError:
            return None
        self.path.unlink(missing_ok=True)
        return left


def none_lost(change, what, n):
    """Whoever connects is answered, by one of the two that may serve: no socket is one from which nobody accepts."""
    bodies, _ = each_is_served(change.main, n)
    assert set(bodies) <= {change.wide.listeners[0].body, change.narrow.listeners[0].body}, f"{what}: {bodies}"


def no_connection_is_lost_to_the_death(change, fault, client, agent, what, n):
    """Right behind it, when the next agent is there, and later, at rest. There may be no death: an upgrade of fewer steps."""
    def alone():
        status = ask_status(change.baton)
        return client.poll() is not None and status and [e["state"] for e in status["epochs"]] == ["serving"]

    wait_until(lambda: fault.fired() or alone(), f"{what}: a death or an end", 90)
    if fault.fired():
        none_lost(change, f"{what}: dead", n)
        wait_status(change.baton, lambda s: s["agent"]["pid"] != agent, f"{what}: the next agent", 60)
        none_lost(change, f"{what}: the next agent", n)


def there(change, what, fault=None, step=0, n=0):
    """One upgrade to the other shape, and whatever it came to, the client was told so. Returns its exit status."""
    before, agent = change.now, change.baton.agent_pid()
    if fault:  # not before: it may fire at a store that is about no upgrade
        fault.arm(step)
    client = change.begin()
    if fault:
        no_connection_is_lost_to_the_death(change, fault, client, agent, what, n)
    code, out, err = change.told(client)
    assert code in (0, 5), f"{what}: exit {code} {out}{err}\n{change.baton.tail()}"
    assert code == 0 or (change.now is before and " serves on" in err), f"{what}: {err}"
    change.rest(what)  # also: it is of the shape that the client was told, and 200 fresh connections are answered by it
    change.spread(what)
    return code


@pytest.mark.parametrize("place", PLACES)
def test_the_agent_may_die_at_every_step_of_an_upgrade_and_no_connection_is_lost(new_baton, hammer, long, count, place):
    """At every step with full counts; else at three that are spread over the whole of it, or at each of fewer than five."""
    if not long and place in SELDOM:
        pytest.skip("only with --long")
    baton = new_baton(fault=True)
    fault = Fault(baton, place)
    outcomes, deaths, spared = {0: 0, 5: 0}, 0, 0
    with Transition(baton, hammer, env={"BATON_DIE_AT": str(fault.path)}) as change:
        steps = []
        for _ in range(2):  # nobody dies: so many steps there are, one way and back
            fault.arm(FAR)
            assert there(change, "nobody dies") == 0
            steps.append(FAR - fault.disarm())
        total = max(steps)
        tries = total if total < 5 else count(total, 3)
        for n in sorted({1 + i * total // tries for i in range(tries)}):
            for _ in range(2):
                what = f"{place} {n} of about {total}, to {change.other.name}"
                code = there(change, what, fault, n, count(200, 40))
                if fault.disarm() is not None:
                    spared += 1  # this upgrade had fewer steps than the first
                    continue
                deaths += 1
                outcomes[code] += 1
                if code != 0:
                    assert there(change, f"after {what}") == 0
        change.once_more("at the end")
    launched = [e["epoch"] for e in baton.events("epoch.launched")]
    assert len(launched) == len(set(launched)), f"an epoch was launched twice: {launched}"
    change.judge(f"{place}: the agent died {deaths} times, of {steps} steps", committed=outcomes[0], back=outcomes[5], spared=spared)
    assert deaths >= min(4, sum(steps))


@pytest.mark.parametrize("state", ("checking", "half-started", "warming", "leaving", "draining"))
def test_an_agent_that_is_stopped_for_two_seconds_goes_on(baton, hammer, state):
    with Transition(baton, hammer) as change:
        client = change.begin(*change.hold(state, observe="3s"))
        change.reach(state)
        agent = baton.agent_pid()
        kill(agent, signal.SIGSTOP)
        time.sleep(2)  # this is the fault itself
        kill(agent, signal.SIGCONT)
        change.hold_no_more()
        code, _, err = change.told(client)
        assert code == 0, err
        assert baton.agent_pid() == agent
        change.rest(state)
        change.spread(state)
        change.once_more(state)
    change.judge(f"agent stopped while {state}")


def shape_that_serves(change):
    """Without the state nobody can know what was meant: what serves tells."""
    change.alone("after a rebuild")
    wait_until(lambda: not holders(change.baton, change.old_port) or not holders(change.baton, change.new_port), "one shape")
    bodies, _ = each_is_served(change.main)
    assert len(bodies) == 1, bodies
    change.now, change.other = ((change.wide, change.narrow) if set(bodies) == {change.wide.listeners[0].body}
                                else (change.narrow, change.wide))


@pytest.mark.parametrize("how", ("spoiled", "fresh"))
@pytest.mark.parametrize("state", ("checking", "half-started", "warming", "leaving", "draining"))
def test_an_agent_without_a_state_finds_its_way_from_any_state_of_an_upgrade(baton, hammer, state, how):
    """The state file is spoiled, or three agents die before they work: several generations live, and nothing tells which was meant."""
    with Transition(baton, hammer) as change:
        client = change.begin(*change.hold(state, observe="3s"))
        change.reach(state)
        moment, agent = baton.moment(), baton.agent_pid()
        if how == "fresh":
            kill_next_agents(baton, 4)
        else:
            kill(agent, signal.SIGSTOP)
            spoil_state(baton)
            kill(agent)
        baton.wait_event("state.rebuilt", since=moment, fresh=how == "fresh")
        change.hold_no_more()
        code, out, err = change.told(client)  # it asked again, or was told before
        assert code in ((0, 5) if state == "leaving" else (0,)), f"exit {code}: {out}{err}\n{baton.tail()}"
        shape_that_serves(change)
        change.rest(state)
        change.spread(state)
        change.once_more(state)
    change.judge(f"state {how} while {state}", told=code, serves=change.now.name)


# ---- steering ----------------------------------------------------------------------------------------------------


def served_at_once(change, what, n, slowest):
    bodies, ms = each_is_served(change.main, n)
    assert set(bodies) <= {change.wide.listeners[0].body, change.narrow.listeners[0].body}, f"{what}: {bodies}"
    slowest.append((ms, what))


@pytest.mark.parametrize("workers", ((4, 2), (2, 4), (4, 1), (1, 4)), ids=lambda w: f"{w[0]}-to-{w[1]}")
def test_whoever_dies_while_workers_change_no_connection_waits_at_a_dead_socket(baton, hammer, long, count, workers):
    if not long and 2 in workers:
        pytest.skip("only with --long")
    slow, n = [], count(200, 60)
    with Transition(baton, hammer, workers=workers, clients=2) as change:
        # Under observation: more workers have opened sockets of their own, that must get nothing once they are gone.
        for victim in ("nobody", "agent", "candidate", "serving"):
            client = change.begin("--observe", "10s" if victim == "serving" else "60s")
            change.reach("warming")
            served_at_once(change, f"warming, {victim}", n, slow)
            if victim == "agent":
                dead = baton.agent_pid()
                end(dead)
                served_at_once(change, "warming, no agent", n, slow)
                wait_status(baton, lambda s: s["agent"]["pid"] != dead, "the next agent")
                served_at_once(change, "warming, next agent", n, slow)
            if victim == "candidate":
                end(change.candidate["pid"])
                served_at_once(change, "candidate dead", n, slow)
            if victim == "serving":
                end(baton.proxy_pid())
                served_at_once(change, "serving dead", n, slow)
            else:
                if victim != "candidate":
                    baton.cli("rollback", check=0)
                code, _, err = change.told(client)
                assert code == 5, err
                served_at_once(change, f"back, {victim}", n, slow)
                change.rest(victim)
                change.spread(victim)
                continue
            code, _, err = change.told(client)
            assert code == 0, err
            change.rest(victim)
            change.once_more(victim)
        # Committed: fewer workers leave sockets behind.
        for victim in ("nobody", "agent", "old", "new", "old and agent", "new and old", "new and agent"):
            old = baton.proxy_pid()
            client = change.begin()
            committed = change.reach("leaving")
            served_at_once(change, f"leaving, {victim}", n, slow)
            if "agent" in victim:
                baton.kill_agent()
            if "old" in victim:
                end(old)
            if "new" in victim:
                end(committed["pid"])
            served_at_once(change, f"{victim} dead", n, slow)
            code, _, err = change.told(client)
            assert code == 0, f"{victim}: {err}"
            served_at_once(change, f"told, {victim}", n, slow)
            change.rest(victim)
            change.spread(victim)
            change.once_more(victim)
    change.judge(f"workers {workers}", crash=True, slowest_ms=max(slow))


# ---- the keeper's signals ----------------------------------------------------------------------------------------


def test_fifty_hangups_while_one_upgrade_is_under_way_are_one_more(baton, hammer):
    with Transition(baton, hammer) as change:
        change.write(change.other)
        change.hold("checking")
        baton.process.send_signal(signal.SIGHUP)
        wait_until(lambda: (baton.dir / "here").exists(), "the first upgrade is checked")
        for _ in range(50):
            baton.process.send_signal(signal.SIGHUP)
        change.hold_no_more()
        wait_until(lambda: len(baton.events("upgrade.committed")) == 2, "both upgrades")
        # The command line is as before, and so are the workers; the config is the other one.
        change.now.listeners, change.other.listeners = change.other.listeners, change.now.listeners
        change.rest("after 51 hangups")
    change.judge("51 hangups", upgrades=len(baton.events("upgrade.started")))
    assert len(baton.events("upgrade.started")) == 2


def test_sigusr1_reaches_the_one_under_observation_and_the_one_that_drains(baton, hammer):
    """Both have a log of connections of their own; each is renamed, and must be there anew."""
    logs = {name: baton.dir / f"{name}.log" for name in ("wide", "narrow")}

    def reopened(what):
        for path in logs.values():
            wait_until(lambda: written(path), f"{what}: {path.name}")
            path.rename(path.with_suffix(".old"))
        baton.process.send_signal(signal.SIGUSR1)
        return what

    def written(path):
        each_is_served(change.main, 8)
        return path.exists() and path.stat().st_size > 0

    with Transition(baton, hammer, logs=logs) as change:
        client = change.begin(*change.hold("warming"))
        change.reach("warming")
        reopened("warming")
        for path in logs.values():
            wait_until(lambda: written(path), f"{path.name} is there anew, beside one under observation")
        baton.cli("rollback", check=0)
        assert change.told(client)[0] == 5
        change.rest("taken back")
        client = change.begin(*change.hold("draining", delay_ms=10000))
        change.reach("draining")
        assert change.told(client)[0] == 0
        reopened("draining")
        assert change.slow[-1].receive() == change.wide.listeners[0].body
        change.slow[-1].close()  # this is what the draining one writes
        for path in logs.values():
            wait_until(lambda: written(path), f"{path.name} is there anew, beside one that drains")
        change.rest("drained")
    change.judge("SIGUSR1 beside others")
