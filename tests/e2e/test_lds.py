# SPDX-License-Identifier: MIT
"""Listeners come, go, move and change while baton holds their sockets, and Envoy is killed after each change."""
import socket
import time

import pytest

from control_plane import FileLds
from support.config import Config, Listener, free_port
from support.crash import AT_ONCE, kill, serves, tell, wait_status
from support.envoys import NEWEST, VERSIONS, envoy
from support.instance import wait_until

REMOVED_S = 1.5  # a promise: a held copy without an acceptor swallows its clients for so long at most
GRPC = "grpc"


class Plane:
    """The same listeners by file or by gRPC."""

    def __init__(self, kind, baton, ads):
        self.kind = kind
        self.source = ads if kind == GRPC else FileLds(baton.dir / "lds.json")

    def config(self):
        return Config([], ads_port=self.source.port) if self.kind == GRPC else Config([], lds_file=self.source.path)

    def set(self, listeners):
        """Returns the moment before the listeners were replaced."""
        at = time.monotonic()
        self.source.set([x.to_dict() for x in listeners])
        return at


def answers(listener, body):
    try:
        with listener.connect(timeout=2) as s:
            s.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            data = b""
            while piece := s.recv(4096):
                data += piece
        return data.endswith(b"\r\n\r\n" + body.encode())
    except OSError:
        return False


def refused_after(listener, since):
    """Seconds from `since` until the port refused."""
    def probe():
        with socket.socket() as s:
            s.settimeout(0.5)
            return s.connect_ex((listener.address, listener.port)) == 111

    wait_until(probe, f"{listener.url} refuses", 20)
    return time.monotonic() - since


def crash(baton):
    last = baton.events("epoch.accepted")[-1]
    moment = baton.moment()
    kill(last["pid"])
    return baton.wait_event("epoch.accepted", since=moment)


class Story:
    """A change of the listeners, then load on all that exist, a kill, and more load."""

    def __init__(self, baton, hammer, plane, what):
        self.baton, self.hammer, self.plane, self.what = baton, hammer, plane, what
        self.now, self.gone_s = [], {}

    def change(self, step, listeners):
        gone = [x for x in self.now if x.url not in {y.url for y in listeners}]
        at = self.plane.set(listeners)
        for x in gone:
            self.gone_s[f"{step} {x.name}"] = round(refused_after(x, at), 3)
        self.now = listeners
        urls = {x.url for x in listeners}
        wait_until(lambda: all(answers(x, x.body) for x in listeners), f"{step}: answers as changed")
        wait_status(self.baton, lambda s: serves()(s) and {x["address"] for x in s["listeners"] if x["held"]} == urls,
                    f"{step}: exactly these sockets held")
        with self.hammer(*listeners, clients=8, kept=3, timeout_ms=20000) as load:
            crash(self.baton)
            load.mark("after the kill")
            wait_until(lambda: load.mark("more").bodies.keys() >= {x.body for x in listeners}, f"{step}: answers of all")
        tell(f"{self.what}, {step}", load)
        assert load.refused == 0 and load.failed_otherwise == 0, (step, load)
        assert set(load.bodies) == {x.body for x in listeners}, step
        for x in gone:
            assert x.url in urls or refused_after(x, time.monotonic()) < 1, f"{step}: {x.url} is back after the kill"


@pytest.mark.parametrize("reuse_port", (True, False), ids=("shared", "single"))
@pytest.mark.parametrize("kind", ("file", GRPC))
@pytest.mark.parametrize("version", VERSIONS)
def test_listeners_change_in_every_way_and_a_kill_refuses_nobody(baton, hammer, ads, long, version, kind, reuse_port):
    if not long and (version, kind, reuse_port) not in ((VERSIONS[0], "file", False), (NEWEST, "file", True), (NEWEST, GRPC, False)):
        pytest.skip("only with --long")
    plane = Plane(kind, baton, ads)
    a, b, c = (Listener(n, body=n, reuse_port=reuse_port) for n in "abc")
    plane.set([a, b])
    baton.run(envoy(version), plane.config(), options=AT_ONCE)
    story = Story(baton, hammer, plane, f"envoy {version}, {kind}, reuse_port {reuse_port}")
    story.now = [a, b]
    story.change("one is added", [a, b, c])
    story.change("filter chain", [a.with_(body="a2"), b, c])
    a = a.with_(body="a2")
    b = b.with_(extra={"per_connection_buffer_limit_bytes": 65536})
    story.change("listener-level", [a, b, c])
    story.change("moved", [a, b, c.with_(port=free_port())])
    c = story.now[2]
    story.change("removed", [a, c])
    story.change("there again", [a, b, c])
    tell("refused after (s)", **{k.replace(" ", "_"): v for k, v in story.gone_s.items()})
    assert len(story.gone_s) == 2 and max(story.gone_s.values()) <= REMOVED_S, story.gone_s


@pytest.mark.parametrize("reuse_port", (True, False), ids=("shared", "single"))
def test_a_listener_that_goes_and_comes_at_once_works(baton, hammer, reuse_port):
    """Faster than baton looks: its copy still listens when Envoy wants the port again."""
    plane = Plane("file", baton, None)
    a, b = (Listener(n, body=n, reuse_port=reuse_port) for n in "ab")
    plane.set([a, b])
    baton.run(config=plane.config(), options=AT_ONCE)
    wait_status(baton, lambda s: {x["address"] for x in s["listeners"] if x["held"]} == {a.url, b.url}, "both held")
    with hammer(a, timeout_ms=20000) as load:
        for _ in range(4):
            plane.set([a])
            plane.set([a, b])
        wait_until(lambda: answers(b, "b"), "the port works again")
        wait_status(baton, lambda s: {x["address"] for x in s["listeners"] if x["held"]} == {a.url, b.url}, "both held")
        crash(baton)
        wait_until(lambda: answers(b, "b"), "the port works after a kill")
    with hammer(b) as again:
        pass
    tell(f"gone and there again at once, reuse_port {reuse_port}", load, again)
    assert load.refused == 0 and load.failed_otherwise == 0, load
    assert again.failed == 0 and set(again.bodies) == {"b"}, again
