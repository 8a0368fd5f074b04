# SPDX-License-Identifier: MIT
"""What becomes of connections and requests at a commit, and how generations that drain come to their end."""
import contextlib
import threading
import time

import pytest

from support.client import Client, in_flight
from support.config import Config, Listener
from support.crash import tell, wait_status
from support.envoys import NEWEST, VERSIONS, envoy
from support.generations import Echo, Session, clean, entry, states, upgrade, wait_alone
from support.instance import wait_until

GENERATIONS = 12
# Longer than any test: who ends so late was not ended by it.
LONG = ("--drain-time", "10min")


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


def http_and_tcp(echo):
    return Config([Listener("main", body="hello"), Listener("raw", tcp=True)], upstream_port=echo.port)


def draining(status):
    return [e for e, state in states(status).items() if state == "draining"]


def ended(baton, epoch):
    """The event of an end, and which way it came to it: "drained" or "overrun"."""
    baton.wait_event("epoch.exited", epoch=epoch, timeout=120)
    ways = {name for name in ("drained", "drain-overrun") if baton.events(f"epoch.{name}", epoch=epoch)}
    assert len(ways) == 1, f"epoch {epoch}: {ways}"
    return ways.pop()


def test_twelve_generations_drain_at_once_and_each_ends_when_its_own_session_does(baton, hammer, echo):
    config = http_and_tcp(echo)
    main, raw = config.listeners
    baton.run(envoy(NEWEST), config=config, options=LONG)
    sessions = {}
    with hammer(main, clients=4, kept=1) as load:
        for i in range(GENERATIONS):
            epoch = baton.epoch()
            sessions[epoch] = Session(raw)
            assert sessions[epoch].works()
            upgrade(baton, "--", envoy(VERSIONS[i % 3]), "-c", baton.config_path, "--concurrency", "1")
            baton.wait_event("epoch.draining", epoch=epoch)
        status = wait_status(baton, lambda s: len(s["epochs"]) == GENERATIONS + 1, "all of them live")
        assert sorted(draining(status)) == sorted(sessions)
        assert all(s.works() for s in sessions.values()), "a session over a commit"
        for epoch in list(sessions)[::-2] + list(sessions)[::2]:  # not in the order in which they began
            sessions.pop(epoch).close()
            assert ended(baton, epoch) == "drained"
            assert all(s.works() for s in sessions.values()), "the end of another one cut it"
            assert sorted(draining(baton.status())) == sorted(sessions)
    clean(load)
    tell("12 generations drained", load)


def test_each_of_twelve_draining_generations_is_cut_at_its_own_deadline_with_an_event(baton, hammer, echo):
    """Twelve must be there before the first is due. What is asserted of time is one-sided: not before it was told."""
    drain_s, beyond_s = 45, 10
    config = http_and_tcp(echo)
    main, raw = config.listeners
    baton.run(envoy(NEWEST), config=config, options=("--drain-time", f"{drain_s}s"))
    sessions = []
    with hammer(main, clients=4, kept=1) as load:
        for _ in range(GENERATIONS):
            sessions.append((baton.epoch(), Session(raw)))
            assert sessions[-1][1].works()
            upgrade(baton)
        epochs = [epoch for epoch, _ in sessions]
        baton.wait_event("epoch.draining", epoch=epochs[-1])
        asked = time.monotonic_ns()
        status = baton.status()
        assert sorted(draining(status)) == epochs, "they do not drain all at once"
        left = {epoch: entry(status, epoch)["deadline"] for epoch in epochs}
        assert max(left.values()) <= 1000 * (drain_s + beyond_s)
        for epoch, session in sessions:
            assert ended(baton, epoch) == "drain-overrun"
            assert not session.works()
        wait_alone(baton)
    clean(load)
    cut = baton.events("epoch.drain-overrun")
    assert [e["epoch"] for e in cut] == epochs, "in the order of their deadlines"
    for e in cut:
        [began] = baton.events("epoch.draining", epoch=e["epoch"])
        assert e["mono_ns"] - began["mono_ns"] >= drain_s * 1e9, f"{began} {e}"
        assert e["mono_ns"] - asked >= (left[e["epoch"]] - 1) * 1e6, f"{e} had {left[e['epoch']]} ms left"
    assert all(e["in_flight"] == 1 for e in cut)
    assert baton.events("epoch.killed") == [], "SIGTERM was enough"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_commit_cuts_no_request_slow_or_streamed_or_on_a_kept_connection(baton, hammer, upstream, version):
    listener = Listener(body="hello")
    baton.run(envoy(version), config=Config([listener], upstream_port=upstream.port), options=LONG)
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(hammer(listener, clients=8, kept=6, pace_ms=3))
        slow = stack.enter_context(hammer(listener, clients=8, kept=4, headers=("x-envoy-fault-delay-request: 700",), timeout_ms=30000))
        stream = stack.enter_context(hammer(listener, clients=4, kept=2, path="/up/stream?n=8&ms=100", timeout_ms=30000))
        for _ in range(4):
            upgrade(baton)
            wait_alone(baton)
    tell(f"envoy {version}, quick, slow, streamed", load, slow, stream)
    for each in (load, slow, stream):
        clean(each)
    assert not baton.events("epoch.drain-overrun")


def test_a_request_that_is_under_way_holds_its_generation_until_it_is_answered(baton, each_envoy):
    listener = Listener(body="old")
    baton.run(each_envoy, listeners=[listener], options=LONG)
    with Client(listener) as c:
        c.send(delay_ms=4000)
        in_flight(baton, 1)
        listener.body = "new"
        baton.config.write(baton.config_path)
        upgrade(baton)
        status = wait_status(baton, lambda s: draining(s) == [0] and entry(s, 0)["in_flight"] == 1, "shown as draining")
        assert 0 < entry(status, 0)["deadline"] <= 610000
        assert entry(status, 0)["connections"] == 1
        assert baton.events("epoch.drained") == []
        assert c.receive() == "old"
    assert ended(baton, 0) == "drained"


def test_a_busy_kept_connection_is_asked_to_leave_and_an_idle_one_is_closed_without_a_reset(baton, each_envoy):
    listener = Listener(body="hello")
    baton.run(each_envoy, listeners=[listener], options=LONG)
    with Client(listener) as busy, Client(listener) as idle:
        assert busy.get() == idle.get() == "hello"
        assert not busy.closes and not idle.closes
        upgrade(baton)
        baton.wait_event("epoch.draining", epoch=0)
        wait_until(lambda: busy.get() == "hello" and busy.closes, "asked to close")
        assert idle.wait_end() == "eof"
    assert ended(baton, 0) == "drained"


def test_kept_connections_that_ask_now_and_then_are_asked_to_leave_before_they_are_closed(baton, hammer, each_envoy):
    """Mostly nothing is in flight; but a connection that is closed between two requests is one that the next may meet closed."""
    listener = Listener(body="hello")
    baton.run(each_envoy, listeners=[listener], options=LONG)
    with hammer(listener, clients=12, kept=12, pace_ms=200) as load:
        for _ in range(3):
            upgrade(baton)
            wait_alone(baton)
    clean(load)
    assert load.idle_closed == 0, load


def test_a_drain_that_takes_too_long_is_cut_with_an_event_and_only_that_one(baton, echo):
    config = http_and_tcp(echo)
    _, raw = config.listeners
    baton.run(envoy(NEWEST), config=config, options=("--drain-time", "2s"))
    first = Session(raw)
    assert first.works()
    upgrade(baton)
    second = Session(raw)
    assert second.works()
    assert ended(baton, 0) == "drain-overrun"
    assert not first.works() and second.works()
    assert baton.events("epoch.drain-overrun")[0]["in_flight"] == 1
    second.close()


def test_a_session_over_every_commit_is_never_disturbed(baton, hammer, echo):
    """Many messages a second on old sessions, while generation after generation takes over."""
    config = http_and_tcp(echo)
    main, raw = config.listeners
    baton.run(envoy(NEWEST), config=config, options=LONG)
    sessions = [Session(raw) for _ in range(4)]
    failed, over = [], threading.Event()

    def talk(session):
        while not over.is_set():
            if not session.works(b"x" * 1000):
                failed.append(session)
                return

    threads = [threading.Thread(target=talk, args=(s,)) for s in sessions]
    for t in threads:
        t.start()
    try:
        with hammer(main, clients=4, kept=2) as load:
            for version in VERSIONS:
                upgrade(baton, "--", envoy(version), "-c", baton.config_path, "--concurrency", "2")
    finally:
        over.set()
        for t in threads:
            t.join()
    assert not failed
    clean(load)
    for s in sessions:
        s.close()
    wait_alone(baton)
