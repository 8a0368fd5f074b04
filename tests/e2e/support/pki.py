# SPDX-License-Identifier: MIT
"""Certificate chains made with the openssl program, the ways in which issuers write them, and a TLS client that tells what it is served.

    ca = Ca(folder)
    pair = ca.leaf(days=30)          # .cert (leaf and issuer), .key, .serial
    Volume(path).write(pair, ca)     # as Kubernetes: swapped by one rename
"""
import dataclasses
import http.client
import pathlib
import socket
import ssl
import subprocess
import tempfile
import threading

from .config import Listener


def openssl(*args, cwd, text=None):
    done = subprocess.run(["openssl", *map(str, args)], cwd=cwd, capture_output=True, text=True, input=text)
    assert done.returncode == 0, f"openssl {args}: {done.stderr}"
    return done.stdout


CA_CNF = """[ca]
default_ca = here
[here]
new_certs_dir = .
database = index
serial = serial
default_md = sha256
policy = any
[any]
commonName = supplied
"""


@dataclasses.dataclass
class Pair:
    cert: str  # leaf first
    key: str
    serial: int


class Ca:
    """A root and an issuer between."""

    def __init__(self, name="root"):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pki"))
        self._n = 0
        self._make("root", name, None, "CA:TRUE")
        self._make("issuer", f"{name} issuer", "root", "CA:TRUE")
        self.root = (self.dir / "root.crt").read_text()

    def _make(self, file, subject, issuer, constraints, *, days=90, start=None, kind=("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")):
        self._n += 1
        openssl("genpkey", *kind, "-out", f"{file}.key", cwd=self.dir)
        openssl("req", "-new", "-key", f"{file}.key", "-subj", f"/CN={subject}", "-out", f"{file}.csr", cwd=self.dir)
        (self.dir / "ext").write_text(f"basicConstraints=critical,{constraints}\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n")
        signer = ["-signkey", f"{file}.key"] if issuer is None else ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key"]
        serial = 0x1000 + self._n
        if start:  # which `openssl x509` cannot say before 3.4
            (self.dir / "ca.cnf").write_text(CA_CNF)
            (self.dir / "index").write_text("")
            (self.dir / "serial").write_text(f"{serial:x}\n")
            openssl("ca", "-batch", "-config", "ca.cnf", "-in", f"{file}.csr", "-cert", f"{issuer}.crt", "-keyfile", f"{issuer}.key", "-notext",
                    "-startdate", start, "-enddate", f"{int(start[:4]) + 1}{start[4:]}", "-extfile", "ext", "-out", f"{file}.crt", cwd=self.dir)
            return serial
        openssl("x509", "-req", "-in", f"{file}.csr", *signer, "-set_serial", serial, "-days", days, "-extfile", "ext", "-out", f"{file}.crt",
                cwd=self.dir)
        return serial

    def leaf(self, *, days=30, subject="leaf", **how):
        serial = self._make("leaf", subject, "issuer", "CA:FALSE", days=days, **how)
        return Pair((self.dir / "leaf.crt").read_text() + (self.dir / "issuer.crt").read_text(), (self.dir / "leaf.key").read_text(), serial)

    def context(self):
        return ssl.create_default_context(cadata=self.root)


class Volume:
    """A directory as the kubelet writes it: links to `..data`, which is swapped by one rename."""

    def __init__(self, path, names=("tls.crt", "tls.key", "ca.crt")):
        self.path, self.names, self._n = pathlib.Path(path), names, 0
        self.path.mkdir(parents=True)
        self.path.chmod(0o755)

    def write(self, pair, root):
        self._n += 1
        version = self.path / f"..v{self._n}"
        version.mkdir()
        for name, text in zip(self.names, (pair.cert, pair.key, root)):
            if text is not None:
                (version / name).write_text(text)
                if not (self.path / name).is_symlink():
                    (self.path / name).symlink_to(f"..data/{name}")
        (self.path / "..tmp").symlink_to(version.name)
        (self.path / "..tmp").rename(self.path / "..data")


@dataclasses.dataclass
class TlsListener(Listener):
    cert: str = ""
    key: str = ""
    watched: str | None = None  # the directory whose renames make Envoy read them anew (file SDS)

    def to_dict(self, upstream=None):
        listener = super().to_dict(upstream)
        files = {"certificate_chain": {"filename": str(self.cert)}, "private_key": {"filename": str(self.key)}}
        if self.watched:
            files["watched_directory"] = {"path": str(self.watched)}
        common = {"tls_certificates": [files]} if not self.watched else {
            "tls_certificate_sds_secret_configs": [{"name": "server", "sds_config": {"path_config_source": {
                "path": self.sds_path, "watched_directory": {"path": str(self.watched)}}}}]}
        if self.watched:
            pathlib.Path(self.sds_path).write_text(SDS.format(cert=self.cert, key=self.key, watched=self.watched))
        listener["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common}}
        return listener

    sds_path: str = ""


SDS = """resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: server
  tls_certificate:
    certificate_chain: {{filename: "{cert}"}}
    private_key: {{filename: "{key}"}}
    watched_directory: {{path: "{watched}"}}
"""


def answer_of(listener, context):
    """The serial of the certificate that is served to a new connection, and the body that it gets."""
    with socket.create_connection((listener.address, listener.port), 10) as plain, context.wrap_socket(plain, server_hostname="localhost") as s:
        serial = int(s.getpeercert()["serialNumber"], 16)
        s.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = http.client.HTTPResponse(s)  # not up to the end of the connection: Envoy waits a second for ours
        answer.begin()
        body = answer.read()
        assert answer.status == 200, answer.status
        return serial, body


def handshake(listener, context):
    """The serial alone."""
    return answer_of(listener, context)[0]


class TlsLoad:
    """Clients that open a connection after the other, and check what they are served."""

    def __init__(self, listener, context, clients=2):
        self.listener, self.context = listener, context
        self.requests, self.failures, self.serials = 0, [], []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *exception):
        self._end.set()
        for t in self._threads:
            t.join()

    def _run(self):
        while not self._end.wait(0.01):
            try:
                serial = handshake(self.listener, self.context)
            except (OSError, AssertionError, http.client.HTTPException) as e:
                self.failures.append(repr(e))
                continue
            self.requests += 1
            if serial not in self.serials[-1:]:
                self.serials.append(serial)
