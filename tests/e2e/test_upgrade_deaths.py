# SPDX-License-Identifier: MIT
"""Whoever dies during an upgrade, and whenever: nobody is refused, one serves, the client learns the truth, and it goes on."""
import os
import signal

import pytest

from support.crash import kill, proxies
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
        client = change.begin(*change.hold(state))
        change.reach(state)
        kill(baton.proxy_pid())
        if state == "warming":  # what is relaunched does not wait for the end of the observation
            baton.wait_event("epoch.exited", since=change.moment)
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
        if state in ("leaving", "draining"):
            assert code == 0, err
        change.rest(state)
        change.once_more(state)
    change.judge(f"all killed while {state}", crash=True, told=code)
