# SPDX-License-Identifier: MIT
"""A proxy that misbehaves at one step of the hot restart protocol costs nobody a connection: the example server's faults.

Each step: the serving generation is killed under load, the next launch has one fault, the instance ends up serving again.
The load tells that nobody was refused meanwhile, the log that the fault did happen.
"""
import os
import re
import signal
import urllib.request

import pytest

from support.config import Listener
from support.example import Example
from support.instance import wait_until

START = ("before-shutdown-admin", "after-shutdown-admin", "before-pass", "before-pass-1", "after-sockets",
         "before-drain-listeners", "after-drain-listeners", "on-harvest")
QUICK = ("--retry-tokens", "1000", "--retry-initial", "20ms", "--retry-max", "100ms")


def happened(server, what, step):
    kind = what.partition(":")[0]
    text = f"fault: {kind} at {re.sub('-[0-9]+$', '', step)}"
    wait_until(lambda: server.baton.log().count(text) > server.seen.get(text, 0), text)
    server.seen[text] = server.baton.log().count(text)


@pytest.fixture
def server(baton):
    server = Example(baton, Listener(body="example"))
    server.seen = {}
    return server


def through_the_steps(server, hammer, what, steps=START):
    """One launch with the fault for each step, all under one load."""
    baton = server.baton
    server.run(*QUICK)
    agent, keeper = baton.agent_pid(), baton.keeper_pid()
    with hammer(*server.listeners, timeout_ms=25000) as load:
        for step in steps:
            load.mark(step)
            server.order(f"{step}:{what}")
            moment = baton.kill_proxy()
            server.wait_taken()
            happened(server, what, step)
            faulty = baton.wait_event("epoch.launched", since=moment)
            if what == "hang":
                os.kill(faulty["pid"], signal.SIGKILL)
            if what in ("hang", "crash"):
                gone = baton.wait_event("epoch.exited", since=moment, epoch=faulty["epoch"])
                assert gone["reason"] == "signal:KILL", step
            accepted = baton.wait_event("epoch.accepted", since=moment)
            assert (accepted["epoch"] > faulty["epoch"]) == (what in ("hang", "crash")), step
    load.slices["the last"] = load.total
    for step, counts in load.slices.items():
        assert counts.refused == 0 and counts.failed_otherwise == 0, f"{step}: {counts}"
    assert load.bodies and set(load.bodies) == {"example"}
    assert (baton.agent_pid(), baton.keeper_pid()) == (agent, keeper)


def test_a_proxy_that_crashes_at_any_step_of_its_start_is_followed_by_one_that_serves(server, hammer):
    through_the_steps(server, hammer, "crash")


def test_a_proxy_that_hangs_at_any_step_of_its_start_and_is_killed_is_followed_by_one_that_serves(server, hammer):
    through_the_steps(server, hammer, "hang")


def test_garbage_at_any_step_of_a_start_is_dropped_and_the_start_goes_on(server, hammer):
    through_the_steps(server, hammer, "garbage")
    assert server.baton.events("protocol.garbage"), "no garbage arrived at all"


def test_a_proxy_that_is_late_at_any_step_of_its_start_is_waited_for(server, hammer):
    through_the_steps(server, hammer, "late:300", START[:-1])


@pytest.mark.parametrize("step", ["on-harvest", "on-harvest-1"])
def test_a_harvest_answered_after_the_look_gave_up_is_not_taken_for_the_next_one(server, step):
    """Taken for it, a socket would be held under the name of another one, and the next proxy would mix up its ports."""
    server.listeners = [Listener(body="example"), Listener(body="example"), Listener(body="example")]
    server.concurrency = 1
    server.order(f"{step}:late:2500")
    server.run(*QUICK)
    happened(server, "late", step)
    moment = server.baton.kill_proxy()
    server.baton.wait_event("epoch.accepted", since=moment)
    for listener in server.listeners:
        with urllib.request.urlopen(f"http://{listener.target}/", timeout=10) as answer:
            assert answer.headers["x-listener"] == listener.url


def test_two_faults_in_a_row_cost_no_connection_either(server, hammer):
    baton = server.baton
    server.run(*QUICK)
    with hammer(*server.listeners, timeout_ms=25000) as load:
        server.order("before-pass-1:crash")
        moment = baton.kill_proxy()
        server.wait_taken()
        happened(server, "crash", "before-pass-1")
        server.order("after-drain-listeners:garbage", "on-harvest:crash")
        server.wait_taken()
        happened(server, "crash", "on-harvest")
        baton.wait_event("epoch.accepted", since=moment)
    assert load.refused == 0 and load.failed_otherwise == 0


def test_a_dead_agent_comes_back_to_a_proxy_that_waits_for_its_answer(server, hammer):
    """The proxy asks while no agent lives: the next one finds the question in the queue."""
    baton = server.baton
    server.run(*QUICK)
    with hammer(*server.listeners, timeout_ms=25000) as load:
        for step in ("before-shutdown-admin", "before-pass-1", "before-drain-listeners"):
            server.order(f"{step}:late:400")
            moment = baton.kill_proxy()
            happened(server, "late", step)
            baton.kill_agent()
            baton.wait_event("epoch.accepted", since=moment)
    assert load.refused == 0 and load.failed_otherwise == 0


@pytest.mark.parametrize("what", ["crash", "hang", "garbage", "late:200"])
@pytest.mark.parametrize("step", ["on-drain", "on-term"])
def test_a_stop_ends_well_whatever_the_proxy_does(server, step, what):
    server.order(f"{step}:{what}")
    server.run("--stop-timeout", "4s")
    assert server.baton.stop() == 0
    happened(server, what, step)
    end = server.baton.events("epoch.exited")[-1]
    assert end["reason"] == ("signal:KILL" if what in ("crash", "hang") else "exit:0")


def test_a_killed_example_server_refuses_nobody(server, hammer, count):
    server.listeners = (*server.listeners, Listener(address="::1", body="example"),
                        Listener(address=f"unix:{server.baton.dir}/u", body="example"))
    server.run("--retry-tokens", "1000", "--retry-initial", "20ms", "--retry-max", "20ms")
    with hammer(*server.listeners) as load:
        for _ in range(count(30, 5)):
            moment = server.baton.kill_proxy()
            server.baton.wait_event("epoch.accepted", since=moment)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert [entry["held"] for entry in server.baton.status()["listeners"]] == [2, 2, 1]
