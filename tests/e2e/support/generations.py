# SPDX-License-Identifier: MIT
"""What the tests of upgrades share: who lives, which sockets listen, a client that nothing may keep waiting."""
import contextlib
import os
import pathlib
import socket
import threading
import time

from .crash import wait_status
from .instance import wait_until

# A place that is removed refuses so long after the drain of its last generation at the latest: a promise.
REMOVED_S = 1.5


def upgrade(baton, *args, check=0, timeout=120):
    return baton.cli("upgrade", *args, check=check, timeout=timeout)


def rollback(baton, *args, check=0, timeout=120):
    return baton.cli("rollback", *args, check=check, timeout=timeout)


def states(status):
    """{epoch: state} of all that live."""
    return {e["epoch"]: e["state"] for e in status["epochs"]}


def wait_alone(baton, timeout=120):
    """Waits until one generation serves and all others have ended. Returns the status."""
    return wait_status(baton, lambda s: s["state"] == "serving" and list(states(s).values()) == ["serving"],
                       "one generation alone", timeout)


def wait_living(baton, most, timeout=120):
    """Waits until no more than so many generations live."""
    return wait_status(baton, lambda s: len(s["epochs"]) <= most, f"at most {most} generations", timeout)


def entry(status, epoch):
    return next(e for e in status["epochs"] if e["epoch"] == epoch)


def clean(load):
    """Nothing failed, and no kept connection was closed under a request either."""
    assert load.failed == 0, load
    assert load.in_flight == 0, load
    assert load.ok > 0, load


# ---- sockets -------------------------------------------------------------------------------------------------


def refuses_by(listener):
    """Is a connection refused now?"""
    with socket.socket(socket.AF_INET6 if ":" in listener.address else socket.AF_INET) as s:
        s.settimeout(10)
        return s.connect_ex((listener.address, listener.port)) == 111


def wait_refused(listener):
    """Waits until the port refuses. Returns the moment (monotonic nanoseconds, as in events)."""
    wait_until(lambda: refuses_by(listener), f"{listener.url} refuses", 60)
    return time.monotonic_ns()


# ---- upstreams and replaced programs -------------------------------------------------------------------------


class Echo:
    """An upstream that sends back what it gets, for TCP sessions."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._echo, args=(self._server.accept()[0],), daemon=True).start()

    @staticmethod
    def _echo(peer):
        with peer, contextlib.suppress(OSError):
            while piece := peer.recv(65536):
                peer.sendall(piece)

    def close(self):
        self._server.close()


class Session:
    """One TCP session through a proxy."""

    def __init__(self, listener):
        self.socket = listener.connect(timeout=30)

    def works(self, text=b"ping"):
        try:
            self.socket.sendall(text)
            got = b""
            while len(got) < len(text):
                piece = self.socket.recv(4096)
                if not piece:
                    return False
                got += piece
            return got == text
        except OSError:
            return False

    def close(self):
        self.socket.close()


def put_program(path, source):
    """Puts a program where another one was, as a package manager does: the old file lives on for who has it open."""
    new = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    try:
        os.link(source, new)
    except OSError:
        new.write_bytes(pathlib.Path(source).read_bytes())
    new.chmod(0o755)
    new.rename(path)
    return path
