# SPDX-License-Identifier: MIT
"""Upgrades of an Envoy whose listeners come from a control plane: they stay, unless the control plane says that they are gone."""
import pytest

from control_plane import FileLds
from support.client import body_of
from support.config import Config, Listener
from support.crash import tell, wait_status
from support.envoys import MIDDLE, NEWEST, OLDEST, VERSIONS, envoy
from support.generations import REMOVED_S, clean, states, upgrade, wait_alone, wait_refused
from support.instance import wait_until
from support.sockets import listening

FILE, GRPC = "file", "grpc"


class Plane:
    """The same listeners by file or by gRPC."""

    def __init__(self, kind, baton, ads):
        self.source = ads if kind == GRPC else FileLds(baton.dir / "lds.json")
        self.kind = kind

    def config(self, *static):
        return Config(list(static), ads_port=self.source.port) if self.kind == GRPC else Config(list(static), lds_file=self.source.path)

    def set(self, *listeners):
        return self.source.set([x.to_dict() for x in listeners])


def impatient(ads):
    """Envoy waits for its listeners for a second only: then it says that it is up, and has none."""
    config = Config([], ads_port=ads.port)
    resources = config.to_dict()["dynamic_resources"]
    resources["lds_config"]["initial_fetch_timeout"] = "1s"
    config.extra = {"dynamic_resources": resources}
    return config


def held(baton):
    return {x["address"]: x["held"] for x in baton.status()["listeners"] if x["held"]}


def wait_held(baton, *listeners):
    urls = {x.url for x in listeners}
    wait_status(baton, lambda s: {x["address"] for x in s["listeners"] if x["held"]} == urls, f"held: {urls}")


def to(baton, version, *more):
    return upgrade(baton, *more, "--", envoy(version), "-c", baton.config_path, "--concurrency", "2", "--log-level", "error")


@pytest.mark.parametrize("reuse_port", (True, False), ids=("shared", "single"))
@pytest.mark.parametrize("kind", (FILE, GRPC))
def test_an_upgrade_keeps_the_listeners_of_the_control_plane_and_fails_no_request(baton, hammer, ads, kind, reuse_port):
    plane = Plane(kind, baton, ads)
    static, a, b = (Listener(n, body=n, reuse_port=reuse_port) for n in ("static", "a", "b"))
    plane.set(a, b)
    baton.run(envoy(NEWEST), plane.config(static))
    wait_held(baton, static, a, b)
    before = {x.port: listening(x.port) for x in (static, a, b)}
    with hammer(static, a, b, clients=12, kept=4) as load:
        for version in VERSIONS:
            to(baton, version)
            wait_alone(baton)
            wait_held(baton, static, a, b)
    clean(load)
    tell(f"{kind}, reuse_port {reuse_port}", load)
    assert set(load.bodies) == {"static", "a", "b"}
    assert {x.port: listening(x.port) for x in (static, a, b)} == before, "not the same sockets"
    assert baton.events("socket.removed") == []


@pytest.mark.parametrize("reuse_port", (True, False), ids=("shared", "single"))
@pytest.mark.parametrize("kind", (FILE, GRPC))
def test_a_listener_that_the_control_plane_removes_while_the_new_one_is_observed_is_closed(baton, hammer, ads, kind, reuse_port):
    plane = Plane(kind, baton, ads)
    a, b = (Listener(n, body=n, reuse_port=reuse_port) for n in "ab")
    plane.set(a, b)
    baton.run(envoy(OLDEST), plane.config())
    wait_held(baton, a, b)
    with hammer(a) as load:
        going = baton.client("upgrade", "--observe", "3s", "--", envoy(NEWEST), "-c", baton.config_path, "--concurrency", "2")
        baton.wait_event("upgrade.warming")
        plane.set(a)
        said = going.communicate(timeout=120)
        assert going.returncode == 0, said
        at = wait_refused(b)
        exited = baton.events("epoch.exited", epoch=0)
        assert not exited or at - exited[0]["mono_ns"] <= REMOVED_S * 1e9
        wait_alone(baton)
        wait_held(baton, a)
    clean(load)
    assert not listening(b.port)


@pytest.mark.parametrize("kind", (FILE, GRPC))
def test_a_listener_that_comes_while_the_new_one_is_observed_serves_after_the_commit(baton, hammer, ads, kind):
    plane = Plane(kind, baton, ads)
    a, b = (Listener(n, body=n) for n in "ab")
    plane.set(a)
    baton.run(envoy(OLDEST), plane.config())
    wait_held(baton, a)
    with hammer(a) as load:
        going = baton.client("upgrade", "--observe", "3s", "--", envoy(NEWEST), "-c", baton.config_path, "--concurrency", "2")
        baton.wait_event("upgrade.warming")
        plane.set(a, b)
        said = going.communicate(timeout=120)
        assert going.returncode == 0, said
        wait_alone(baton)
        wait_held(baton, a, b)
        with hammer(b) as new:
            moment = baton.kill_proxy()
            baton.wait_event("epoch.accepted", since=moment)
    assert load.refused == 0 and load.failed_otherwise == 0, load
    assert new.refused == 0 and new.failed_otherwise == 0, new
    assert set(new.bodies) == {"b"}


def test_a_slow_control_plane_delays_the_commit_and_costs_nothing(baton, hammer, ads):
    a = Listener("a", body="a")
    ads.set([a.to_dict()])
    baton.run(envoy(NEWEST), impatient(ads))
    wait_held(baton, a)
    ads.delay_s = 4.0
    with hammer(a, clients=8, kept=2) as load:
        to(baton, MIDDLE)
        launched, committed = baton.events("epoch.launched")[-1], baton.wait_event("upgrade.committed")
        assert launched["epoch"] == committed["epoch"]
        assert committed["mono_ns"] - launched["mono_ns"] >= 4e9, "it was committed before its listeners were there"
        wait_alone(baton)
        wait_held(baton, a)
    clean(load)
    tell("slow control plane", load)


def test_a_control_plane_that_is_down_keeps_the_new_one_from_serving_and_the_old_one_serves_on(baton, hammer, ads):
    a = Listener("a", body="a")
    ads.set([a.to_dict()])
    baton.run(envoy(NEWEST), impatient(ads), options=("--ready-timeout", "6s"))
    wait_held(baton, a)
    ads.down()
    with hammer(a, clients=8, kept=2) as load:
        done = upgrade(baton, check=5)
        assert "epoch 0 serves on" in done.stderr, done.stderr
        assert states(wait_alone(baton)) == {0: "serving"}
    clean(load)
    assert held(baton) == {a.url: 2}
    ads.up()
    upgrade(baton)
    wait_until(lambda: body_of(a) == "a", "answers")
    assert wait_alone(baton)["epochs"][0]["epoch"] > 0


def test_a_listener_that_moves_from_the_config_to_the_control_plane_is_never_refused(baton, hammer):
    """The place is the same, so is the socket."""
    plane = Plane(FILE, baton, None)
    stays, moves = Listener("stays", body="stays"), Listener("moves", body="moves")
    plane.set()
    baton.run(envoy(NEWEST), plane.config(stays, moves))
    before = listening(moves.port)
    with hammer(stays, moves) as load:
        baton.config.listeners = [stays]
        baton.config.write(baton.config_path)
        plane.set(moves)
        upgrade(baton)
        wait_alone(baton)
        wait_held(baton, stays, moves)
    clean(load)
    assert listening(moves.port) == before
