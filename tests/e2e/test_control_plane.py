# SPDX-License-Identifier: MIT
"""Envoy crashes while its control plane is down or slow: nothing is lost that need not be, and nobody has to help."""
import urllib.error
import urllib.request

import pytest

from support.config import Config, Listener, free_port
from support.crash import MANY, ask_status, serves, tell, wait_stable, wait_status
from support.envoys import NEWEST, VERSIONS, envoy
from support.instance import wait_until


def start(baton, ads, from_plane, static=(), options=(), version=NEWEST):
    """Serving, with every listener held."""
    ads.set([x.to_dict() for x in from_plane])
    baton.run(envoy(version), Config(list(static), ads_port=ads.port), options=[*MANY, *options])
    held = {x.url for x in (*from_plane, *static)}
    wait_status(baton, lambda s: serves()(s) and {x["address"] for x in s["listeners"] if x["held"]} >= held, "all sockets held")
    last = baton.wait_event("epoch.accepted")
    wait_stable(last)
    return last


def ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz/ready", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code


def refuses(listener):
    try:
        listener.connect(timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


@pytest.mark.parametrize("version", VERSIONS)
def test_a_crash_while_the_control_plane_is_down_heals_when_it_is_back(baton, ads, hammer, version):
    listener, port = Listener(), free_port()
    start(baton, ads, [listener], options=["--hold-time", "2s", "--status", f"127.0.0.1:{port}"], version=version)
    assert ready(port) == 200
    with hammer(listener, timeout_ms=60000) as load:
        ads.down()
        load.mark("held")
        moment = baton.kill_proxy()
        baton.wait_event("epoch.not-accepting", since=moment)
        assert ready(port) == 503 and ask_status(baton)["ready"] is False
        held = load.mark("silenced")  # before the hold time is over
        silenced_early = bool(baton.events("sockets.silenced"))
        baton.wait_event("sockets.silenced", since=moment)
        wait_until(lambda: refuses(listener), "the port refuses after the hold time")
        assert ready(port) == 503
        ads.up()
        baton.wait_event("epoch.accepted", since=moment, timeout=90)
        wait_until(lambda: ready(port) == 200, "readiness")
        load.mark("back")
        wait_until(lambda: load.mark("back").ok > 0, "answers", 30)
    tell(f"envoy {version}, control plane down over a crash", load, refused_while_held=held.refused)
    assert silenced_early or held.refused == 0
    assert load.slices["silenced"].refused > 0
    assert load.slices["back"].refused == 0 and load.slices["back"].failed == 0
    assert load.failed_otherwise == load.refused, load
    assert ask_status(baton)["listeners"][0]["held"] == 2


def test_a_static_listener_serves_on_while_the_control_plane_is_down(baton, ads, hammer):
    """Only what the control plane has to name again is waited for: the other listener is not silenced with it."""
    static, dynamic = Listener("static", body="static"), Listener("dynamic", body="dynamic")
    start(baton, ads, [dynamic], [static], options=["--hold-time", "2s"])
    with hammer(static, timeout_ms=60000) as load:
        ads.down()
        moment = baton.kill_proxy()
        baton.wait_event("sockets.silenced", since=moment)
        wait_until(lambda: refuses(dynamic), "the dynamic port refuses")
        load.mark("silenced")
        wait_until(lambda: load.mark("silenced").ok > 10, "answers of the static listener")
        assert baton.status()["ready"] is False
        ads.up()
        baton.wait_event("epoch.accepted", since=moment, timeout=90)
        wait_until(lambda: not refuses(dynamic), "the dynamic port is back")
    tell("static listener, control plane down over a crash", load)
    assert load.refused == 0 and load.failed_otherwise == 0, load


@pytest.mark.parametrize("version", VERSIONS)
def test_a_slow_control_plane_refuses_nobody(baton, ads, hammer, count, version):
    listener = Listener()
    last = start(baton, ads, [listener], version=version)
    ads.delay_s = 2.0
    with hammer(listener, timeout_ms=60000) as load:
        for _ in range(count(5, 1)):
            wait_stable(last)
            moment = baton.kill_proxy()
            last = baton.wait_event("epoch.accepted", since=moment, timeout=60)
    tell(f"envoy {version}, slow control plane", load)
    assert load.refused == 0 and load.failed_otherwise == 0 and load.ok > 0, load
    assert load.longest_gap_ms > 1000, "the control plane was not slow: this shows nothing"


def test_listeners_may_be_lost_where_that_is_allowed(baton, ads, hammer):
    static, dynamic = Listener("static", body="static"), Listener("dynamic", body="dynamic")
    start(baton, ads, [dynamic], [static], options=["--allow-listener-loss"])
    with hammer(static) as load:
        ads.down()
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        wait_until(lambda: refuses(dynamic), "the lost port refuses")
        status = baton.status()
        ads.up()
        wait_status(baton, lambda s: any(x["address"] == dynamic.url and x["held"] for x in s["listeners"]), "its return", 90)
        wait_until(lambda: not refuses(dynamic), "the port is back")
    tell("--allow-listener-loss", load)
    assert status["ready"] is True
    assert load.refused == 0 and load.failed_otherwise == 0, load


def test_a_listener_that_is_removed_while_envoy_is_dead_refuses(baton, ads, hammer):
    kept, removed = Listener("kept", body="kept"), Listener("removed", body="removed")
    start(baton, ads, [kept, removed])
    with hammer(kept, timeout_ms=60000) as load:
        ads.delay_s = 1.0
        moment = baton.kill_proxy()
        baton.wait_event("epoch.exited", since=moment)
        ads.set([kept.to_dict()])
        baton.wait_event("epoch.accepted", since=moment)
        wait_until(lambda: refuses(removed), "the removed port refuses")
    tell("removed while Envoy was dead", load)
    assert load.refused == 0 and load.failed_otherwise == 0, load
