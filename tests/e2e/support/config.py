# SPDX-License-Identifier: MIT
"""Envoy bootstraps for tests.

    listener = Listener(body="hello")                    one TCP listener on a free port
    config = Config([listener], clusters=1000)           1000 static clusters that nobody uses
    config.write(path)

Every HTTP listener answers `/` directly with its body. A request with the header `x-envoy-fault-delay-request: 3000`
is answered 3 s later. `/up/...` goes to the upstream, if there is one.
"""
import dataclasses
import os
import pathlib
import random
import socket

import yaml

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
DELAY_HEADER = "x-envoy-fault-delay-request"
TYPE = "type.googleapis.com/envoy.extensions."

_next_port = 10000 + random.Random(os.getpid()).randrange(20000)


def free_port(address="127.0.0.1"):
    """A port below the range that clients get theirs from, so that the load itself cannot take it away."""
    global _next_port
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(20000):
        _next_port = 10000 + (_next_port - 9999) % 20000
        with socket.socket(family, socket.SOCK_STREAM) as s:
            try:
                s.bind((address, _next_port))
                return _next_port
            except OSError:
                continue
    raise RuntimeError("no free port")


@dataclasses.dataclass
class Listener:
    name: str = "main"
    address: str = "127.0.0.1"  # or an IPv6 address, or unix:PATH
    port: int | None = None  # a free one
    body: str = "hello"
    reuse_port: bool | None = None  # Envoy's default is true
    drain_timeout: str | None = None
    tcp: bool = False  # a TCP proxy to the upstream instead of HTTP
    extra: dict = dataclasses.field(default_factory=dict)  # further fields of Envoy's Listener

    def __post_init__(self):
        if self.port is None and not self.is_unix:
            self.port = free_port(self.address)

    @property
    def is_unix(self):
        return self.address.startswith("unix:")

    @property
    def target(self):
        """As hammer and curl want it."""
        if self.is_unix:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def url(self):
        """As Envoy and `baton status` call it."""
        return "unix://" + self.address[5:] if self.is_unix else f"tcp://{self.target}"

    def with_(self, **changes):
        return dataclasses.replace(self, **changes)

    def connect(self, timeout=5):
        if self.is_unix:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.settimeout(timeout)
            s.connect(self.address[5:])
            return s
        return socket.create_connection((self.address, self.port), timeout)

    def _filters(self, upstream):
        if self.tcp:
            return [{"name": "tcp", "typed_config": {
                "@type": TYPE + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": self.name, "cluster": "upstream"}}]
        routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": self.body}}}]
        if upstream:
            routes.insert(0, {"match": {"prefix": "/up/"}, "route": {"cluster": "upstream", "timeout": "0s"}})
        manager = {
            "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": self.name,
            "route_config": {"name": self.name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [
                {"name": "fault", "typed_config": {
                    "@type": TYPE + "filters.http.fault.v3.HTTPFault",
                    "delay": {"header_delay": {}, "percentage": {"numerator": 100}}}},
                {"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}},
            ],
        }
        if self.drain_timeout:
            manager["drain_timeout"] = self.drain_timeout
        return [{"name": "http", "typed_config": manager}]

    def to_dict(self, upstream=None):
        if self.is_unix:
            address = {"pipe": {"path": self.address[5:]}}
        else:
            address = {"socket_address": {"address": self.address, "port_value": self.port}}
        listener = {"name": self.name, "address": address, "filter_chains": [{"filters": self._filters(upstream)}]}
        if self.reuse_port is not None:
            listener["enable_reuse_port"] = self.reuse_port
        listener.update(self.extra)
        return listener


def static_cluster(name, port, http2=False):
    cluster = {
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": TYPE + "upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}}
    return cluster


@dataclasses.dataclass
class Config:
    listeners: list = dataclasses.field(default_factory=lambda: [Listener()])
    clusters: int = 0  # so many static clusters more, to make the start slow
    upstream_port: int | None = None
    lds_file: str | None = None  # listeners come (also) from this file: see control_plane.FileLds
    ads_port: int | None = None  # listeners come (also) from this gRPC control plane: see control_plane.Ads
    admin_port: int | None = None
    extra: dict = dataclasses.field(default_factory=dict)  # merged over the top level

    def to_dict(self):
        static = [static_cluster(f"idle{i}", 9) for i in range(self.clusters)]
        if self.upstream_port:
            static.append(static_cluster("upstream", self.upstream_port))
        out = {"node": {"id": "test", "cluster": "test"}}
        if self.ads_port:
            static.append(static_cluster("xds", self.ads_port, http2=True))
            out["dynamic_resources"] = {
                "ads_config": {"api_type": "GRPC", "transport_api_version": "V3",
                               "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
                "lds_config": {"ads": {}, "resource_api_version": "V3"}}
        if self.lds_file:
            out["dynamic_resources"] = {"lds_config": {"resource_api_version": "V3",
                                                       "path_config_source": {"path": str(self.lds_file)}}}
        out["static_resources"] = {"listeners": [x.to_dict(self.upstream_port) for x in self.listeners], "clusters": static}
        if self.admin_port:
            out["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin_port}}}
        out.update(self.extra)
        return out

    def write(self, path):
        """Whole or not at all, as an editor does it."""
        path = pathlib.Path(path)
        new = path.with_name(path.name + ".new")
        new.write_text(yaml.dump(self.to_dict(), Dumper=DUMPER, sort_keys=False))
        new.rename(path)
        return path
