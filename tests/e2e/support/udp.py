# SPDX-License-Identifier: MIT
"""UDP listeners: their configs, an upstream that says its name, and packets of which each one is followed up.

    with Echo("old") as echo:                     answers N to the packet "3" with "old 3"
        ...
    with Packets(port) as packets:                two kinds, every few milliseconds: "kept" comes from one socket for ever,
        ...                                       "new" from a socket of its own each
        mark = packets.moment()
    packets.of("new", mark)                       those sent since then; `by` says who answered, None: nobody did
"""
import dataclasses
import os
import selectors
import socket
import struct
import subprocess
import threading
import time

from .config import TYPE

WAIT_ANSWER_S = 5  # a busy machine must not look like a loss


def udp_address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port, "protocol": "UDP"}}


def udp_proxy_listener(port, cluster, name="udp"):
    proxy = {"@type": TYPE + "filters.udp.udp_proxy.v3.UdpProxyConfig", "stat_prefix": name,
             "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": {
                 "@type": TYPE + "filters.udp.udp_proxy.v3.Route", "cluster": cluster}}}}}
    return {"name": name, "address": udp_address(port),
            "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}]}


def make_certificate(folder):
    """(certificate, key), signed by itself."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
    key.chmod(0o644)
    return cert, key


def quic_listener(port, certificate, body, name="quic"):
    cert, key = certificate
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": name, "codec_type": "HTTP3",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body}}}]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}]}
    tls = {"common_tls_context": {"tls_certificates": [{"certificate_chain": {"filename": str(cert)}, "private_key": {"filename": str(key)}}]}}
    quic = {"@type": TYPE + "transport_sockets.quic.v3.QuicDownstreamTransport", "downstream_tls_context": tls}
    return {"name": name, "address": udp_address(port), "udp_listener_config": {"quic_options": {}},
            "filter_chains": [{"transport_socket": {"name": "quic", "typed_config": quic},
                               "filters": [{"name": "http", "typed_config": manager}]}]}


class Echo:
    """A UDP upstream."""

    def __init__(self, name):
        self.name = name.encode()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self.port = self._socket.getsockname()[1]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while not self._end.is_set():
            try:
                data, peer = self._socket.recvfrom(2048)
                self._socket.sendto(self.name + b" " + data, peer)
            except OSError:
                continue

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._end.set()
        self._thread.join()
        self._socket.close()


@dataclasses.dataclass
class Packet:
    n: int
    kind: str
    at_ns: int
    by: str | None = None  # who answered
    refused: bool = False  # nobody has such a socket: the answer was an ICMP message


class Packets:
    """The load. In its thread: sends, and takes what comes; an answer counts whenever it comes."""

    def __init__(self, port, kinds=("kept", "new"), pace_s=0.005, quic=False):
        self.port, self.kinds, self.pace_s, self.quic = port, kinds, pace_s, quic
        self.sent = []
        self._kept = self._open()
        self._open_sockets = {}  # socket -> when it was opened
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._kept, selectors.EVENT_READ)
        self._by_number = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error = None

    def _open(self, n=None):
        """With a number: from a loopback address of its own, which no other packet has: it belongs to no session that there was."""
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setblocking(False)
        if n is not None:
            s.bind((f"127.{1 + (n >> 16)}.{n >> 8 & 255}.{n & 255}", 0))
        s.connect(("127.0.0.1", self.port))
        return s

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._end.set()
        self._thread.join()
        for s in [self._kept, *self._open_sockets]:
            s.close()
        self._selector.close()
        if self._error and exception[0] is None:
            raise self._error

    def _bytes(self, packet):
        """Plain: its number. QUIC: a first packet of a version that nobody has, which is answered with a list of versions. Its
        number is its source connection id, the answer's destination."""
        if not self.quic:
            return str(packet.n).encode()
        head = bytes([0xC0]) + b"\x1a\x2a\x3a\x4a" + bytes([8]) + os.urandom(8) + bytes([8]) + struct.pack("!Q", packet.n)
        return head.ljust(1200, b"\0")

    def _read(self, data):
        """(number, who)"""
        if not self.quic:
            who, n = data.decode().split(" ")
            return int(n), who
        if len(data) < 15 or not data[0] & 0x80 or data[1:5] != b"\0\0\0\0" or data[5] != 8:
            return None, None
        return struct.unpack("!Q", data[6:14])[0], "versions"

    def _send(self, kind):
        packet = Packet(len(self.sent), kind, 0)
        data = self._bytes(packet)
        if kind == "kept":
            s = self._kept
        else:
            s = self._open(packet.n)
            self._selector.register(s, selectors.EVENT_READ)
            self._open_sockets[s] = time.monotonic()
        packet.at_ns = time.monotonic_ns()
        self._by_number[packet.n] = packet
        self.sent.append(packet)
        try:
            s.send(data)
        except ConnectionRefusedError:  # that of an earlier packet: the kernel tells it once, and sends nothing
            try:
                s.send(data)
            except OSError:
                packet.refused = True

    def _take(self, s):
        while True:
            try:
                n, who = self._read(s.recv(2048))
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                for packet in reversed(self.sent[-50:]):
                    if packet.kind == "kept" and s is self._kept and packet.by is None:
                        packet.refused = True
                        break
                return
            if n in self._by_number:
                self._by_number[n].by = who

    def _drop_old(self, now):
        for s, opened in list(self._open_sockets.items()):
            if now - opened < WAIT_ANSWER_S:
                return
            self._selector.unregister(s)
            s.close()
            del self._open_sockets[s]

    def _run(self):
        try:
            following = time.monotonic()
            quiet_until = None
            while quiet_until is None or time.monotonic() < quiet_until:
                now = time.monotonic()
                if quiet_until is None and self._end.is_set():
                    quiet_until = now + WAIT_ANSWER_S
                if quiet_until is not None and all(p.by or p.refused for p in self.sent[-200:]):
                    return
                if quiet_until is None and now >= following:
                    following = now + self.pace_s
                    for kind in self.kinds:
                        self._send(kind)
                for key, _ in self._selector.select(0.05 if quiet_until is not None else max(0.0, following - now)):
                    self._take(key.fileobj)
                self._drop_old(now)
        except Exception as e:  # raised where the load ends
            self._error = e

    def moment(self):
        return time.monotonic_ns()

    def answered(self):
        return sum(1 for p in self.sent if p.by)

    def of(self, kind, since=0, until=None):
        return [p for p in self.sent if p.kind == kind and p.at_ns >= since and (until is None or p.at_ns < until)]


def lost(packets):
    return [p for p in packets if not p.by]


def summary(packets):
    """One line: how many, by whom."""
    by = {}
    for p in packets:
        by[p.by] = by.get(p.by, 0) + 1
    return f"{len(packets)}: " + ", ".join(f"{n} {'lost' if who is None else 'by ' + who}" for who, n in sorted(by.items(), key=str))


def timeline(packets, events, step_ms=100):
    """Per step of time: who answered, and what happened; for whoever looks for where packets went."""
    lines, start = [], packets[0].at_ns
    marks = [(e["mono_ns"], f"{e['event']} {e.get('epoch', '')}") for e in events if e["mono_ns"] >= start]
    for at in range(start, packets[-1].at_ns + 1, step_ms * 1000000):
        end = at + step_ms * 1000000
        inside = [p for p in packets if at <= p.at_ns < end]
        lines.append(f"{(at - start) // 1000000:7} ms {summary(inside):40} {'; '.join(text for t, text in marks if at <= t < end)}")
    return "\n".join(lines)
