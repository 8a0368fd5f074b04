# SPDX-License-Identifier: MIT
"""The shortest way through everything: if these fail, look at nothing else first."""
import urllib.request

from support.config import Listener


def test_envoy_under_baton_serves_and_stops(baton, each_envoy):
    listener = Listener(body="hello")
    baton.run(each_envoy, listeners=[listener])

    with urllib.request.urlopen(f"http://{listener.target}/", timeout=10) as answer:
        assert answer.read() == b"hello"
    status = baton.status()
    assert status["state"] == "serving" and status["ready"] is True
    assert [e["epoch"] for e in status["epochs"]] == [0]
    assert status["listeners"] == [dict(status["listeners"][0], address=listener.url, workers=2, held=2)]

    assert baton.stop() == 0


def test_a_killed_proxy_refuses_nobody(baton, hammer):
    baton.run(listeners=[listener := Listener()])
    with hammer(listener) as load:
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert baton.epoch() == 1
