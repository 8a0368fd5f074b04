# SPDX-License-Identifier: MIT
"""UDP and QUIC listeners over an upgrade: who answers which packet, what is lost, and that nobody aborts."""
import socket

import pytest

from support.client import Client, admin_stat, in_flight
from support.config import Config, Listener, free_port, static_cluster
from support.crash import tell
from support.envoys import NEWEST, OLDEST, envoy
from support.instance import wait_until
from support.udp import Echo, Packets, lost, make_certificate, quic_listener, summary, udp_proxy_listener

BOTH = pytest.mark.parametrize("version", (OLDEST, NEWEST), ids=lambda v: f"envoy-{v}")
SLOW_MS = 2500


@pytest.fixture
def echoes():
    with Echo("old") as old, Echo("new") as new:
        yield {"old": old, "new": new}


def config_of(listener, *more, echoes=None):
    clusters = [static_cluster(name, echo.port) for name, echo in (echoes or {}).items()]
    return Config([listener], extra={"static_resources": {"listeners": [listener.to_dict(), *more], "clusters": clusters}})


def start(baton, version, config):
    baton.run(envoy(version), config)


def upgrade(baton, config, *command):
    config.write(baton.config_path)
    return baton.cli("upgrade", *command, check=0, timeout=120)


def upgrade_with_a_slow_request(baton, listener, config, during=lambda: None):
    """The old one drains for as long as the request takes. Returns the moments (ns): commit, the old one's end."""
    with Client(listener, timeout=60) as slow:
        slow.send(delay_ms=SLOW_MS)
        in_flight(baton, 1)
        upgrade(baton, config)
        during()
        assert slow.receive() is not None, "the request that was under way at the commit"
    committed = baton.wait_event("upgrade.committed")
    exited = baton.wait_event("epoch.exited", epoch=0, timeout=60)
    assert exited["reason"] == "exit:0"
    return committed["mono_ns"], exited["mono_ns"]


def go_on(packets, n=40):
    """Until so many more were answered: what follows is about a moment at which packets flow."""
    already = packets.answered()
    wait_until(lambda: packets.answered() >= already + n, "packets are answered", 60)


@BOTH
def test_every_packet_of_a_new_udp_session_is_answered_over_an_upgrade(baton, version, echoes):
    listener, port = Listener(), free_port()
    start(baton, version, config_of(listener, udp_proxy_listener(port, "old"), echoes=echoes))
    with Packets(port) as packets:
        go_on(packets)
        ordered = packets.moment()
        committed, gone = upgrade_with_a_slow_request(
            baton, listener, config_of(listener, udp_proxy_listener(port, "new"), echoes=echoes), lambda: go_on(packets))
        go_on(packets)
    for kind in packets.kinds:
        tell(f"raw UDP {version}, {kind} sessions", before=summary(packets.of(kind, 0, ordered)),
             trial=summary(packets.of(kind, ordered, committed)), drain=summary(packets.of(kind, committed, gone)),
             after=summary(packets.of(kind, gone)))
    for kind in packets.kinds:
        assert not lost(packets.of(kind, 0, ordered))
        assert {p.by for p in packets.of(kind, gone)} == {"new"}
    assert not lost(packets.of("new"))
