# SPDX-License-Identifier: MIT
"""One system call of keeper or agent fails, in a crash, in the resumption of a dead agent, in an upgrade: no client is refused, and
all goes on. Which calls there are is found out first, so whatever is added is walked over as well."""
import signal

import pytest

from support.crash import MANY, agents, kill, proxies, serves, tell, wait_status, without_sanitizer
from support.config import Listener
from support.failing import Walk, can_trace, errors_of, spread

ROWS_OF_ONE = 25  # so many rows, then the instance is stopped, and judged
QUICK = {"crash": 2, "resume": 5, "upgrade": 8}  # every so-manieth name
FULL = {"crash": 5, "resume": 3, "upgrade": 2}  # so many places of each name, from its first call to its last


@pytest.mark.parametrize("who", ("keeper", "agent"))
@pytest.mark.parametrize("scenario", ("crash", "resume", "upgrade"))
def test_no_call_that_fails_once_refuses_a_client(new_baton, hammer, long, scenario, who):
    why = can_trace()
    if why:
        pytest.skip(why)
    # A sanitizer's own start may fail as well, and it does not forgive that.
    plain = without_sanitizer() if (scenario, who) == ("resume", "agent") else None
    if (scenario, who) == ("resume", "agent") and not plain:
        pytest.skip("the preset clang, which has no sanitizer, is not built or older")
    rows, failures = [], []
    walk = Walk(new_baton(build=plain), hammer).__enter__()
    names = walk.seen(scenario, who)
    if long:
        wanted = [(n, e, k) for n in names for k in spread(names[n], FULL[scenario]) for e in errors_of(n)]
    else:
        wanted = [(n, errors_of(n)[0], 1) for n in list(names)[::QUICK[scenario]]]
    for i, (name, error, when) in enumerate(wanted):
        walk = walk or Walk(new_baton(build=plain), hammer).__enter__()
        try:
            rows.append((name, error, when, walk.case(scenario, who, name, error, when)))
            if i % ROWS_OF_ONE < ROWS_OF_ONE - 1 and i < len(wanted) - 1:
                continue
            walk.end()
        except AssertionError as e:
            failures.append(str(e))
        walk.__exit__(None, None, None)
        walk = None
    for name, error, when, outcome in rows:
        tell(f"{scenario} | {who} | {name} {when} | {error} | {outcome or 'did not come to that'}")
    assert not failures, "\n\n".join(failures)
    assert sum(outcome is not None for *_, outcome in rows) > len(rows) // 2, "nearly nothing failed: this shows nothing"


def test_a_state_older_than_what_runs_is_not_believed(baton, hammer):
    """It could not be stored (a full disk) before the agent died: it names a generation that has gone, and not the one that serves."""
    listener = Listener()
    baton.run(listeners=[listener], options=(*MANY, "--stable", "0s"))
    keeper = baton.process.pid
    state = (baton.run_dir / "state").read_bytes()
    with hammer(listener, timeout_ms=30000) as load:
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        [serving], [agent], moment = proxies(keeper), agents(keeper), baton.moment()
        kill(agent, signal.SIGSTOP)
        (baton.run_dir / "state").write_bytes(state)
        load.mark("crash")
        kill(agent)
        baton.wait_event("state.rebuilt", since=moment)
        wait_status(baton, serves(not_agent=agent), "one that serves")
    assert proxies(keeper) == [serving], "who served serves on, alone"
    assert load.refused == 0 and load.failed_otherwise == 0, load
