# SPDX-License-Identifier: MIT
"""What steering takes for granted about Envoy: in which order its sockets stand in the kernel's group.

The kernel tells nobody, so a program chooses one place after the other while the Envoys are stopped, and a connection waits in
the queue of whoever stands there.
"""
import ctypes
import os
import signal
import socket
import struct
import subprocess

import pytest

from support.config import Config, Listener
from support.instance import wait_until

WORKERS = 3
PIDFD_GETFD = 438  # the same number on every architecture
SO_ATTACH_REUSEPORT_CBPF = 51
TCP_INFO_UNACKED = 24  # of a listening socket: how many wait in its queue
RETURN_CONSTANT = 0x06

libc = ctypes.CDLL(None, use_errno=True)


class Envoys:
    def __init__(self, folder, program):
        self.folder, self.program, self.running = folder, program, []

    def start(self, listener):
        path = Config([listener]).write(self.folder / "envoy.yaml")
        with open(self.folder / f"log{len(self.running)}", "wb") as log:
            self.running.append(subprocess.Popen(
                [self.program, "-c", path, "--concurrency", str(WORKERS), "--disable-hot-restart", "--log-level", "warning"],
                stdout=log, stderr=log, cwd=self.folder))
        process = self.running[-1]
        wait_until(lambda: process.poll() is not None or len(listening(process, listener)) == WORKERS, "Envoy listens")
        assert process.poll() is None, f"Envoy ended with {process.returncode}"
        return process

    def stop_all(self):
        for process in self.running:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # all its threads: none accepts any more

    def end(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def envoys(tmp_path_factory, each_envoy):
    envoys = Envoys(tmp_path_factory.mktemp("o"), each_envoy)
    yield envoys
    envoys.end()


def listening(process, listener):
    """Copies of its sockets for this listener, in the order of its descriptors."""
    found = []
    pidfd = os.pidfd_open(process.pid)
    for fd in sorted(map(int, os.listdir(f"/proc/{process.pid}/fd"))):
        try:
            if not os.readlink(f"/proc/{process.pid}/fd/{fd}").startswith("socket:"):
                continue
        except FileNotFoundError:
            continue
        copy = libc.syscall(PIDFD_GETFD, pidfd, fd, 0)
        if copy < 0:
            continue
        s = socket.socket(fileno=copy)
        if (s.family in (socket.AF_INET, socket.AF_INET6) and s.type == socket.SOCK_STREAM
                and s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and s.getsockname()[1] == listener.port):
            found.append(s)
    os.close(pidfd)
    return found


def waiting(s):
    return struct.unpack_from("I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), TCP_INFO_UNACKED)[0]


def choose(s, place):
    code = ctypes.create_string_buffer(struct.pack("HBBI", RETURN_CONSTANT, 0, 0, place))
    s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", 1, ctypes.addressof(code)))


def standing_at(place, sockets, listener):
    """Which of the sockets gets the connections that this place is given."""
    choose(sockets[0], place)
    before = [waiting(s) for s in sockets]
    clients = [listener.connect() for _ in range(3)]
    got = [waiting(s) - b for s, b in zip(sockets, before)]
    for client in clients:
        client.close()
    assert sorted(got)[-1] == 3, got
    return got.index(3)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_group_has_the_workers_of_the_first_envoy_in_order_and_then_those_of_the_next(envoys, address):
    listener = Listener(address=address)
    first = envoys.start(listener)
    second = envoys.start(listener)
    envoys.stop_all()
    sockets = listening(first, listener) + listening(second, listener)
    assert [standing_at(p, sockets, listener) for p in range(2 * WORKERS)] == list(range(2 * WORKERS))
