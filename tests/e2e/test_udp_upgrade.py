# SPDX-License-Identifier: MIT
"""UDP and QUIC listeners over an upgrade: who answers which packet, what is lost, and that nobody aborts."""
import socket

import pytest

from support.client import Client, in_flight
from support.config import Config, Listener, free_port, static_cluster
from support.crash import tell
from support.envoys import NEWEST, OLDEST, envoy
from support.instance import wait_until
from support.udp import Echo, Packets, lost, make_certificate, quic_listener, summary, timeline, udp_proxy_listener

BOTH = pytest.mark.parametrize("version", (OLDEST, NEWEST), ids=lambda v: f"envoy-{v}")
SLOW_MS = 2500
MARGIN_NS = 50 * 1000000  # a packet that was sent just before the SIGTERM is on its way when it comes


@pytest.fixture
def echoes():
    with Echo("old") as old, Echo("new") as new:
        yield {"old": old, "new": new}


def config_of(listener, *more, echoes=None):
    many = {"circuit_breakers": {"thresholds": [{"max_connections": 1000000}]}}  # sessions: by default packets of the 1025th are dropped
    clusters = [static_cluster(name, echo.port) | many for name, echo in (echoes or {}).items()]
    return Config([listener], extra={"static_resources": {"listeners": [listener.to_dict(), *more], "clusters": clusters}})


def start(baton, version, config):
    baton.run(envoy(version), config)


def upgrade(baton, config, *command):
    config.write(baton.config_path)
    return baton.cli("upgrade", *command, check=0, timeout=120)


def upgrade_with_a_slow_request(baton, listener, config, during=lambda: None):
    """The old one drains for as long as the request takes. Returns the moments (ns) of the commit, of the SIGTERM when nothing
    is in flight any more, and of the old one's end. It must end as asked: who cannot forward packets aborts."""
    with Client(listener, timeout=60) as slow:
        slow.send(delay_ms=SLOW_MS)
        in_flight(baton, 1)
        upgrade(baton, config)
        during()
        assert slow.receive() is not None, "the request that was under way at the commit"
    moments = baton.wait_event("upgrade.committed"), baton.wait_event("epoch.drained", timeout=60), baton.wait_event(
        "epoch.exited", epoch=0, timeout=60)
    assert moments[-1]["reason"] == "exit:0"
    return [m["mono_ns"] for m in moments]


def go_on(packets, n=40):
    """Until so many more were answered: what follows is about a moment at which packets flow."""
    already = packets.answered()
    wait_until(lambda: packets.answered() >= already + n, "packets are answered", 60)


def drain_ends_sessions(baton, version):
    """The first moments of each drain, of a version that then ends its sessions, and with them the answers on their way."""
    return [(e["mono_ns"], e["mono_ns"] + MARGIN_NS) for e in baton.events("epoch.draining")] if version == OLDEST else []


def lost_outside(moments, packets):
    return [p for p in lost(packets) if not any(begin - MARGIN_NS <= p.at_ns < end for begin, end in moments)]


def lost_before_ends(baton, version, packets):
    """What was lost, but not between a SIGTERM and the end of who got it: an old one shares its sockets with the new one for as
    long as it lives, and what it has read when it is ended is gone. Of that at most a few."""
    ends = [(e["mono_ns"], baton.wait_event("epoch.exited", epoch=e["epoch"])["mono_ns"]) for e in baton.events("epoch.drained")]
    assert ends
    ends += drain_ends_sessions(baton, version)
    for begin, end in ends:
        meanwhile = [p for p in packets if begin <= p.at_ns < end]
        assert len(lost(meanwhile)) <= max(3, len(meanwhile) // 2), summary(meanwhile)
    return lost_outside(ends, packets)


def judge(what, baton, version, packets, ordered, committed, drained, gone):
    print(timeline(packets.sent, baton.events()))
    for kind in packets.kinds:
        tell(f"{what}, {kind}", before=summary(packets.of(kind, 0, ordered)), trial=summary(packets.of(kind, ordered, committed)),
             drain=summary(packets.of(kind, committed, drained)), end=summary(packets.of(kind, drained, gone)),
             after=summary(packets.of(kind, gone)))
        assert packets.of(kind, committed, drained)
    assert not lost_before_ends(baton, version, packets.sent)


@BOTH
def test_every_udp_packet_is_answered_until_the_old_one_is_ended(baton, version, echoes):
    listener, port = Listener(), free_port()
    start(baton, version, config_of(listener, udp_proxy_listener(port, "old"), echoes=echoes))
    with Packets(port) as packets:
        go_on(packets)
        ordered = packets.moment()
        moments = upgrade_with_a_slow_request(
            baton, listener, config_of(listener, udp_proxy_listener(port, "new"), echoes=echoes), lambda: go_on(packets))
        go_on(packets)
    judge(f"raw UDP {version}", baton, version, packets, ordered, *moments)
    for kind in packets.kinds:
        assert {p.by for p in packets.of(kind, 0, ordered)} == {"old"} and {p.by for p in packets.of(kind, moments[-1])} == {"new"}


@BOTH
def test_every_first_packet_of_quic_is_answered_until_the_old_one_is_ended(baton, version):
    listener, port, certificate = Listener(), free_port(), make_certificate(baton.dir)
    start(baton, version, config_of(listener, quic_listener(port, certificate, "old")))
    with Packets(port, quic=True) as packets:
        go_on(packets)
        ordered = packets.moment()
        moments = upgrade_with_a_slow_request(
            baton, listener, config_of(listener, quic_listener(port, certificate, "new")), lambda: go_on(packets))
        go_on(packets)
    judge(f"QUIC {version}", baton, version, packets, ordered, *moments)


@BOTH
def test_packets_find_the_new_one_past_two_that_drain(baton, version, echoes):
    listener, port = Listener(), free_port()
    config = config_of(listener, udp_proxy_listener(port, "old"), echoes=echoes)
    start(baton, version, config)
    with Packets(port, kinds=("new",)) as packets, Client(listener, timeout=120) as first:
        go_on(packets)
        first.send(delay_ms=4 * SLOW_MS)
        in_flight(baton, 1)
        upgrade(baton, config)
        wait_until(lambda: baton.epoch() not in (0, None), "the new one serves")
        with Client(listener, timeout=120) as second:
            second.send(delay_ms=3 * SLOW_MS)
            in_flight(baton, 1, epoch=baton.epoch())
            upgrade(baton, config_of(listener, udp_proxy_listener(port, "new"), echoes=echoes))
            committed = packets.moment()
            draining = [e["epoch"] for e in baton.status()["epochs"] if e["state"] == "draining"]
            assert len(draining) == 2
            go_on(packets)
            assert first.receive() and second.receive()
        for epoch in draining:
            assert baton.wait_event("epoch.exited", epoch=epoch, timeout=60)["reason"] == "exit:0"
        gone = packets.moment()
        go_on(packets)
    print(timeline(packets.sent, baton.events()))
    tell(f"raw UDP {version}, two drain", all=summary(packets.sent), drain=summary(packets.of("new", committed, gone)))
    assert {p.by for p in packets.of("new", committed)} - {None} == {p.by for p in packets.of("new", gone)} == {"new"}
    assert not lost_before_ends(baton, version, packets.sent)


@BOTH
def test_packets_find_the_new_one_when_the_agent_is_killed_in_the_drain(baton, version, echoes):
    listener, port = Listener(), free_port()
    start(baton, version, config_of(listener, udp_proxy_listener(port, "old"), echoes=echoes))
    with Packets(port, kinds=("new",)) as packets:
        go_on(packets)

        def kill():
            moment = baton.kill_agent()
            baton.wait_event("agent.restarted", since=moment)
            go_on(packets)

        committed, drained, gone = upgrade_with_a_slow_request(
            baton, listener, config_of(listener, udp_proxy_listener(port, "new"), echoes=echoes), kill)
        go_on(packets)
    print(timeline(packets.sent, baton.events()))
    tell(f"raw UDP {version}, agent killed", drain=summary(packets.of("new", committed, drained)), all=summary(packets.sent))
    assert {p.by for p in packets.of("new", gone)} == {"new"}
    assert not lost_before_ends(baton, version, packets.sent), "what is forwarded meanwhile waits in a socket that the keeper holds"


@BOTH
def test_a_udp_listener_that_the_new_config_lacks_refuses_when_the_old_one_has_gone(baton, version, echoes):
    listener, port = Listener(), free_port()
    start(baton, version, config_of(listener, udp_proxy_listener(port, "old"), echoes=echoes))
    with Packets(port, kinds=("new",)) as packets:
        go_on(packets)
        ordered = packets.moment()
        upgrade(baton, config_of(listener, echoes=echoes))
        assert baton.wait_event("epoch.exited", epoch=0, timeout=60)["reason"] == "exit:0"
        wait_until(lambda: is_refused(port), "a packet is refused", 30)
    assert not lost(packets.of("new", 0, ordered))
    assert not [x for x in baton.status()["listeners"] if x["address"].startswith("udp://")]


@BOTH
def test_a_udp_listener_that_the_new_config_adds_is_kept_over_the_next_upgrade_and_a_crash(baton, version, echoes):
    listener, port = Listener(), free_port()
    start(baton, version, config_of(listener, echoes=echoes))
    upgrade(baton, config_of(listener, udp_proxy_listener(port, "old"), echoes=echoes))
    with Packets(port, kinds=("new",)) as packets:
        go_on(packets)
        upgrade(baton, config_of(listener, udp_proxy_listener(port, "new"), echoes=echoes))
        committed = packets.moment()
        go_on(packets)
        baton.wait_event("epoch.exited", timeout=60)
        assert not lost_outside(drain_ends_sessions(baton, version), packets.of("new", 0, committed))
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        accepted = packets.moment()
        go_on(packets)
    print(timeline(packets.sent, baton.events()))
    tell(f"raw UDP {version}, added", all=summary(packets.sent), after_crash=summary(packets.of("new", accepted)))
    assert {p.by for p in packets.of("new", accepted)} == {"new"}


def is_refused(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.2)
        s.connect(("127.0.0.1", port))
        try:
            s.send(b"0")
            s.recv(100)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False
