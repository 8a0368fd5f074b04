# SPDX-License-Identifier: MIT
"""Upgrades that succeed, on real Envoys under load: every version, every change of listeners and workers."""
import pytest

from support.client import ask, body_of
from support.config import Config, Listener, free_port
from support.crash import footprint, tell, without_sanitizer
from support.envoys import NEWEST, VERSIONS, envoy
from support.generations import REMOVED_S, clean, states, upgrade, wait_alone, wait_living, wait_refused
from support.instance import wait_until
from support.sockets import each_is_served, foreigner, listening

WORKERS = (2, 4, 3, 1)
# A kept connection is asked to leave by its next answer; this bounds those that never ask.
DRAIN = ("--drain-time", "20s")


def test_a_new_config_and_every_version_serve_without_a_failed_request(baton, hammer):
    baton.run(envoy(NEWEST), listeners=[Listener(body="old")])
    listener = baton.config.listeners[0]
    with hammer(listener, clients=8, kept=2) as load:
        listener.body = "new"
        baton.config.write(baton.config_path)
        upgrade(baton)
        baton.wait_event("epoch.draining", epoch=0)
        assert body_of(listener) == "new"
        for version in VERSIONS:
            moment = baton.moment()
            upgrade(baton, "--", envoy(version), "-c", baton.config_path, "--concurrency", "2")
            baton.wait_event("upgrade.committed", since=moment)
            assert baton.serving()["version"] == version
    clean(load)


class Changes:
    """A config that changes with every step: one listener comes, moves, changes, goes; another one switches reuse_port."""

    def __init__(self, baton):
        self.baton = baton
        self.stay = [Listener("shared", body="shared"), Listener("single", body="single", reuse_port=False),
                     Listener("six", body="six", address="::1"), Listener("pipe", body="pipe", address=f"unix:{baton.dir}/l.sock"),
                     Listener("switch", body="switch", reuse_port=True)]
        self.guest = None
        self.removed = None  # the place that the last step left

    def step(self, i):
        before = self.guest
        kind = i % 4
        if kind == 0:
            self.guest = Listener("guest", body="guest", reuse_port=i % 8 == 0)
        elif kind == 1:
            self.guest = self.guest.with_(port=free_port())
        elif kind == 2:
            self.guest = self.guest.with_(body="changed", extra={"per_connection_buffer_limit_bytes": 65536})
        else:
            self.guest = None
        self.removed = before if before and (self.guest is None or self.guest.port != before.port) else None
        if i % 3 == 2:
            self.stay[4] = self.stay[4].with_(reuse_port=not self.stay[4].reuse_port)
        self.baton.config.listeners = self.stay + ([self.guest] if self.guest else [])
        self.baton.config.write(self.baton.config_path)
        return self.removed

    def held(self, workers):
        """What `baton status` must say: address → sockets."""
        return {x.url: 1 if x.is_unix or x.reuse_port is False else workers for x in self.baton.config.listeners}


def counted(footprint_):
    return {k: v for k, v in footprint_.items() if not k.endswith("_kib")}


def at_rest(baton, like=None):
    """The footprint once it no longer changes, or is as it was."""
    wait_alone(baton)
    if like is not None:
        try:
            return wait_until(lambda: f if counted(f := footprint(baton)) == counted(like) else None, "as before", 20)
        except TimeoutError:
            return footprint(baton)
    wait_until(lambda: counted(footprint(baton)) == counted(footprint(baton)), "at rest")
    return footprint(baton)


def refused_in_time(baton, removed, old):
    """The promise on a place that went: it refuses, 1.5 s after the drain of its last generation ended at the latest.

    That one may live on meanwhile, and what it does until its exit does not count. Most often the place refuses long before.
    """
    at = wait_refused(removed)
    drains = [e for e in baton.events(epoch=old) if e["event"] in ("epoch.drained", "epoch.drain-overrun")]
    late = (at - drains[0]["mono_ns"]) / 1e9 if drains else 0
    assert late <= REMOVED_S, f"{removed.url} refuses {late:.1f} s after the drain"


def test_fifty_upgrades_over_versions_listeners_and_workers_fail_no_request(baton, hammer, count):
    """In turn: three versions, 1 to 4 workers, a listener that comes, moves, changes and goes, reuse_port off and on."""
    upgrades = count(50, 12)
    baton.config = Config([Listener()])
    changes = Changes(baton)
    baton.run(envoy(NEWEST), config=Config(changes.stay), options=DRAIN, proxy_args=("--concurrency", "2", "--log-level", "error"))

    def one(i):
        removed, old, workers = changes.step(i), baton.epoch(), WORKERS[i % 4]
        if removed:
            with hammer(removed, clients=4, kept=1, timeout_ms=30000) as leaving:
                go(i, workers)
                refused_in_time(baton, removed, old)
            others = leaving.failed - leaving.refused
            assert others == 0 and leaving.in_flight == 0, f"step {i}: clients of {removed.url} hung or were cut: {leaving}"
            assert not listening(removed.port)
        else:
            go(i, workers)
        status = wait_living(baton, 6)
        serving = [e for e, state in states(status).items() if state == "serving"]
        assert len(serving) == 1 and serving[0] > old
        if changes.guest:  # until its predecessor drains, that one answers as well
            wait_until(lambda: body_of(changes.guest) == changes.guest.body, f"step {i}: the guest's new answer")
        wait_until(lambda: {x["address"]: x["held"] for x in baton.status()["listeners"]} == changes.held(workers),
                   f"step {i}: the sockets of the new config are held and no others")

    def go(i, workers):
        upgrade(baton, "--", envoy(VERSIONS[i % 3]), "-c", baton.config_path, "--concurrency", workers, "--log-level", "error")

    with hammer(*changes.stay, clients=10, kept=5, timeout_ms=30000, expect=[x.body for x in changes.stay]) as load:
        for i in range(4):  # buffers that grow once have grown
            one(i)
        load.mark("counted")
        last = 4 + upgrades
        for i in range(4, last):
            one(i)
            load.mark(f"after {i}")
    tell(f"{last} upgrades", load)
    clean(load)
    assert set(load.bodies) == {x.body for x in changes.stay}
    assert {e["epoch"] for e in baton.events("socket.removed")} <= {e["epoch"] for e in baton.events("upgrade.committed")}
    assert len(baton.events("upgrade.committed")) == last
    assert not baton.events("epoch.drain-overrun"), "no client of this test stays without asking"


def upgraded_again_and_again(baton, hammer, n):
    """Under load; the footprints before and after, which are alike but for the memory."""
    listeners = [Listener("a", body="a"), Listener("b", body="b", reuse_port=False)]
    baton.run(envoy(NEWEST), listeners=listeners, options=DRAIN)

    def rounds(times):
        for i in range(times):
            baton.config.listeners = [*listeners, Listener("c", body="c")][:2 + i % 2]
            baton.config.write(baton.config_path)
            upgrade(baton, "--", envoy(VERSIONS[i % 3]), "-c", baton.config_path, "--concurrency", (2, 3)[i % 2])
            wait_living(baton, 3)

    with hammer(*listeners, clients=4, kept=2) as load:
        rounds(6)  # the history of snapshots is full, and buffers that grow once have grown
        before = at_rest(baton)
        rounds(n)
        after = at_rest(baton, before)
    clean(load)
    tell(f"{n} upgrades", load, before=before, after=after)
    assert counted(after) == counted(before)
    return before, after


def test_upgrades_leave_nothing_behind(baton, hammer, count):
    """Descriptors of both processes, folders, files and segments are as before."""
    upgraded_again_and_again(baton, hammer, count(24, 6))


def test_upgrades_cost_no_memory(new_baton, hammer, count):
    plain = without_sanitizer()
    if not plain:
        pytest.skip("a sanitizer's own memory grows, and the preset clang, which has none, is not built or older")
    before, after = upgraded_again_and_again(new_baton(build=plain), hammer, count(48, 12))
    assert after["keeper_kib"] <= before["keeper_kib"] + 16
    assert after["agent_kib"] <= before["agent_kib"] + 256


@pytest.mark.parametrize("version", VERSIONS)
def test_after_fewer_workers_as_many_sockets_listen_and_every_connection_is_served(baton, hammer, version):
    listener = Listener(reuse_port=True)
    baton.run(envoy(version), listeners=[listener], options=DRAIN, proxy_args=("--concurrency", "4", "--log-level", "error"))
    four = listening(listener.port)
    assert len(four) == 4
    with hammer(listener, clients=100, kept=4, pace_ms=0, timeout_ms=30000) as load:  # so that connections wait in the queues
        upgrade(baton, "--", envoy(version), "-c", baton.config_path, "--concurrency", "2")
        wait_alone(baton)
        two = listening(listener.port)
        load.mark("two")
        answers = 0
        while answers < 500:
            answers += wait_until(lambda: load.mark("more").ok, "answers")
    clean(load)
    tell("4 -> 2 workers", load)
    assert len(two) == 2 and two < four, (four, two)


def test_beside_a_socket_of_somebody_else_fewer_workers_are_not_steered_and_no_connection_fails(baton, hammer):
    """It counts among those that the kernel spreads over, so no place is certain: what leaves is hushed instead."""
    listener = Listener(reuse_port=True, body="own")
    baton.run(envoy(NEWEST), listeners=[listener], options=(*DRAIN, "--log-level", "info"),  # so much is told at this level only
              proxy_args=("--concurrency", "4", "--log-level", "error"))
    four = listening(listener.port)
    with foreigner(listener):
        assert len(listening(listener.port)) == 5
        with hammer(listener, clients=32, kept=8, pace_ms=0, timeout_ms=30000) as load:
            upgrade(baton, "--", envoy(NEWEST), "-c", baton.config_path, "--concurrency", "2")
            wait_alone(baton)
            refused = [line for line in baton.log().splitlines() if "event=steering.refused" in line]
            assert refused and all(listener.url in line and "sockets of others" in line for line in refused), refused
            load.mark("alone")
            wait_until(lambda: set(load.mark("more").bodies) == {"own", "foreign"}, "answers of both")
        bodies, _ = each_is_served(listener)
        assert set(bodies) == {"own", "foreign"}, bodies
        left = listening(listener.port)
        assert len(left) == 3 and len(left & four) == 2, (four, left)
    clean(load)
    tell("4 -> 2 workers beside a foreign socket", load, bodies=dict(load.bodies))


def accepted_by_worker(baton, workers):
    """How many connections each worker of the serving generation has taken so far, by Envoy's own count."""
    text = ask(baton.run_dir / f"e{baton.epoch()}" / "admin", "/stats?filter=worker_._downstream_cx_total|worker_.*downstream_cx_total")[1]
    counts = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(": ")
        if ".worker_" in name and "admin" not in name:
            worker = int(name.partition(".worker_")[2].partition(".")[0])
            counts[worker] = counts.get(worker, 0) + int(value)
    return [counts.get(w, 0) for w in range(workers)]


@pytest.mark.parametrize("version", VERSIONS)
def test_after_more_workers_every_worker_gets_connections(baton, hammer, version):
    listener = Listener(reuse_port=True)
    baton.run(envoy(version), listeners=[listener], options=DRAIN, proxy_args=("--concurrency", "2", "--log-level", "error"))
    two = listening(listener.port)
    assert len(two) == 2
    with hammer(listener, clients=16, kept=4, pace_ms=1) as load:
        upgrade(baton, "--", envoy(version), "-c", baton.config_path, "--concurrency", "4")
        wait_alone(baton)
        four = listening(listener.port)
        wait_until(lambda: min(accepted_by_worker(baton, 4)) > 20, "connections for every worker")
    clean(load)
    tell("2 -> 4 workers", load, by_worker=accepted_by_worker(baton, 4))
    assert len(four) == 4 and two < four, (two, four)
