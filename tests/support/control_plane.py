# SPDX-License-Identifier: MIT
"""Control planes for tests, which can be up, slow or down.

FileLds: a listener file that Envoy watches. Ads: a gRPC server that speaks the aggregated discovery service, with the
message classes of the package xds-protos. Both take listeners as the dictionaries that config.Listener.to_dict() makes.
"""
import concurrent.futures
import json
import pathlib
import queue
import threading
import time

LDS_TYPE = "type.googleapis.com/envoy.config.listener.v3.Listener"


class FileLds:
    """Envoy takes a file again when another one is moved over it."""

    def __init__(self, path, listeners=()):
        self.path = pathlib.Path(path)
        self.version = 0
        self.set(listeners)

    def set(self, listeners):
        self.version += 1
        resources = [{"@type": LDS_TYPE, **listener} for listener in listeners]
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(json.dumps({"version_info": str(self.version), "resources": resources}, indent=1))
        new.rename(self.path)
        return self.version


class Ads:
    """One gRPC control plane on a port of its own. `up()` before use, `down()` at the end; both may be repeated."""

    def __init__(self, port, listeners=()):
        self.port = port
        self.delay_s = 0.0  # "slow": so long until the first answer on a stream
        self._lock = threading.Condition()
        self._listeners, self._version = list(listeners), 1
        self._streams, self._answers = [], []
        self._server = None

    def set(self, listeners):
        with self._lock:
            self._listeners = list(listeners)
            self._version += 1
            for stream in self._streams:
                stream.put("push")
            return self._version

    def up(self):
        if self._server:
            return
        import grpc
        from envoy.service.discovery.v3 import ads_pb2_grpc

        plane = self

        class Servicer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
            def StreamAggregatedResources(self, requests, context):
                return plane._stream(requests, context)

        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=32))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Servicer(), self._server)
        if self._server.add_insecure_port(f"127.0.0.1:{self.port}") != self.port:
            raise RuntimeError(f"port {self.port} is taken")
        self._server.start()

    def down(self):
        """As a crash would: streams are cut, the port refuses."""
        server, self._server = self._server, None
        if server:
            for stream in list(self._streams):
                stream.put(None)
            server.stop(grace=None).wait()

    def wait_answer(self, version, timeout=20):
        """Waits until an Envoy took (True) or refused (its words) this version of the listeners."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while True:
                for seen, error in self._answers:
                    if seen == str(version):
                        return error or True
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no Envoy answered version {version}; answers: {self._answers}")
                self._lock.wait(left)

    def _note(self, request):
        nonce = request.response_nonce.rpartition("-")[2]
        if nonce:
            with self._lock:
                self._answers.append((nonce, request.error_detail.message))
                self._lock.notify_all()

    def _response(self, type_url):
        from envoy.config.listener.v3 import listener_pb2
        # The kinds that a listener of ours may hold must be known before JSON can be read.
        from envoy.extensions.filters.http.fault.v3 import fault_pb2  # noqa: F401
        from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
        from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
        from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
        from envoy.service.discovery.v3 import discovery_pb2
        from google.protobuf import json_format

        with self._lock:
            version, listeners = self._version, self._listeners if type_url == LDS_TYPE else []
        response = discovery_pb2.DiscoveryResponse(version_info=str(version), type_url=type_url, nonce=f"n-{version}")
        for listener in listeners:
            response.resources.add().Pack(json_format.ParseDict(listener, listener_pb2.Listener()))
        return response

    def _stream(self, requests, context):
        events = queue.Queue()
        with self._lock:
            self._streams.append(events)

        def read():
            try:
                for request in requests:
                    events.put(request)
            except Exception:  # the stream was cut: nothing to read any more
                pass
            events.put(None)

        threading.Thread(target=read, daemon=True).start()
        try:
            yield from self._answer(events, context)
        finally:
            with self._lock:
                self._streams.remove(events)

    def _answer(self, events, context):
        wanted, first = set(), True
        while (event := events.get()) is not None and context.is_active():
            if event == "push":
                if LDS_TYPE in wanted:
                    yield self._response(LDS_TYPE)
                continue
            if event.type_url in wanted:  # it takes or refuses what it got
                if event.type_url == LDS_TYPE:
                    self._note(event)
                continue
            wanted.add(event.type_url)
            if first and self.delay_s:
                time.sleep(self.delay_s)
            first = False
            yield self._response(event.type_url)
