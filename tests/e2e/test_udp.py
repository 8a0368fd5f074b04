# SPDX-License-Identifier: MIT
"""UDP listeners: what a draining Envoy wants to pass on to its successor must not stop it."""
import signal
import socket
import threading

import pytest

from support.config import TYPE, Config, Listener, free_port
from support.instance import wait_until


class Echo:
    """A UDP upstream, and a client that sends from a new port each time: every packet is a new session."""

    def __init__(self, port):
        self.port, self.sent, self.answered = port, 0, 0
        self._upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._upstream.bind(("127.0.0.1", 0))
        self._upstream.settimeout(0.1)
        self.upstream_port = self._upstream.getsockname()[1]
        self._end = threading.Event()
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._serve, self._ask)]
        for thread in self._threads:
            thread.start()

    def _serve(self):
        while not self._end.is_set():
            try:
                data, peer = self._upstream.recvfrom(2048)
                self._upstream.sendto(data, peer)
            except OSError:
                continue

    def _ask(self):
        while not self._end.wait(0.005):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(0.05)
                try:
                    s.sendto(b"x", ("127.0.0.1", self.port))
                    self.sent += 1
                    self.answered += s.recv(16) == b"x"
                except OSError:
                    continue

    def close(self):
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._upstream.close()


@pytest.fixture
def echo():
    echo = Echo(free_port())
    yield echo
    echo.close()


def with_udp(listener, echo):
    proxy = {"@type": TYPE + "filters.udp.udp_proxy.v3.UdpProxyConfig", "stat_prefix": "udp",
             "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": {
                 "@type": TYPE + "filters.udp.udp_proxy.v3.Route", "cluster": "upstream"}}}}}
    udp = {"name": "udp", "address": {"socket_address": {"address": "127.0.0.1", "port_value": echo.port, "protocol": "UDP"}},
           "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}]}
    resources = Config([listener], upstream_port=echo.upstream_port).to_dict()["static_resources"]
    resources["listeners"].append(udp)
    return Config([listener], extra={"static_resources": resources})


def test_a_stop_while_udp_flows_waits_for_what_is_in_flight_and_ends(baton, each_envoy, echo):
    listener = Listener()
    baton.run(each_envoy, with_udp(listener, echo), options=["--stop-timeout", "20s"])
    wait_until(lambda: echo.answered > 5, "UDP flows")
    with listener.connect(30) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert slow.recv(4096).startswith(b"HTTP/1.1 200")  # so it has been accepted
        slow.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-envoy-fault-delay-request: 3000\r\n\r\n")
        moment = baton.moment()
        baton.process.send_signal(signal.SIGTERM)
        baton.wait_event("epoch.draining", since=moment)
        assert slow.recv(64).startswith(b"HTTP/1.1 200")
    assert baton.wait_exit() == 0
    assert echo.answered > 0 and echo.sent > echo.answered, "nothing was sent to an Envoy that drains"
    assert not baton.events("epoch.drain-overrun")
    assert baton.events("epoch.exited")[-1]["reason"] == "exit:0"
