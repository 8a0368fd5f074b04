# SPDX-License-Identifier: MIT
"""Servers that do not speak Envoy's protocol: they inherit their sockets, or open their own.

    server = Server(baton)                   the example of docs/your-server.md; server.command is what to run
    server.run("--stable", "0s")             under baton, on a port of its own
"""
import re
import shutil
import socket

import pytest

from .config import free_port
from .crash import AT_ONCE
from .envoys import ROOT
from .instance import wait_until

PAGE = ROOT / "docs/your-server.md"
PYTHON = "/usr/bin/python3"

OWN_PORT = """import os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"own")
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def example():
    """The Python server of the page, as a user would copy it."""
    return next(block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "# listen-fds example" in block)


def need(program):
    """Its path, or the test is skipped."""
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not path:
        pytest.skip(f"{program} is not installed")
    return path


def get(port, path="/", timeout=10):
    """The body of one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    return data.partition(b"\r\n\r\n")[2].decode()


def answers(port, body):
    """Waits for it: who was told to end may accept for a moment longer."""
    return wait_until(lambda: get(port) == body, f"the answer {body}")


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


class Server:
    """One that is run with --listen on a port of its own. `target` is for hammer."""

    def __init__(self, baton, text=None, port=None):
        self.baton, self.port = baton, port or free_port()
        self.target = f"127.0.0.1:{self.port}"
        self.path = baton.dir / "server.py"
        self.write(text or example())
        self.command = [PYTHON, self.path]

    def write(self, text):
        self.path.write_text(text)

    def run(self, *options, wait=True, env=None, listen=True, **more):
        where = ["--listen", self.target] if listen else []
        self.baton.start(*AT_ONCE, *where, *options, "--", *self.command, env=env, **more)
        if wait:
            self.baton.wait_event("epoch.accepted")
            wait_until(lambda: self.baton.process.poll() is None and get(self.port), "an answer")
        return self


class Nginx(Server):
    """With two workers. `graceful`: SIGTERM is translated as the page says."""

    def __init__(self, baton, graceful=False):
        super().__init__(baton)
        program, config, run = need("nginx"), baton.dir / "nginx.conf", baton.dir / "nginx"
        run.mkdir(mode=0o777)
        config.write_text(f"worker_processes 2; pid {run}/pid; error_log stderr;\nevents {{ accept_mutex on; }}\n"
                          f"http {{ access_log off; client_body_temp_path {run}/b; proxy_temp_path {run}/p; fastcgi_temp_path {run}/f;\n"
                          f"uwsgi_temp_path {run}/u; scgi_temp_path {run}/s;\n"
                          f'server {{ listen {self.target}; location / {{ return 200 "nginx"; }} }} }}\n')
        words = [program, "-e", "stderr", "-c", str(config), "-g", "daemon off;"]
        self.command = ["env", "NGINX=3;", *(translated("QUIT", words) if graceful else words)]


class Haproxy(Server):
    def __init__(self, baton, master=False, graceful=False):
        super().__init__(baton)
        program, config = need("haproxy"), baton.dir / "haproxy.cfg"
        config.write_text("defaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 1s\n"
                          "frontend f\n  bind fd@3\n  http-request return status 200 content-type text/plain string haproxy\n")
        words = [program, *(["-W"] if master else []), "-db", "-f", str(config)]
        self.command = translated("USR1", words) if graceful else words


def translated(signal_name, words):
    """A shell that makes SIGTERM another signal, as the page has it."""
    line = " ".join(f"'{w}'" for w in map(str, words))
    return ["sh", "-c", f'{line} & trap "kill -{signal_name} $!" TERM; wait $!; wait $!']
