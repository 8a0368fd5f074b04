# SPDX-License-Identifier: MIT
"""Other users: what they can do, tried by their own system calls; and baton started with fewer rights."""
import contextlib
import json
import os
import pathlib
import pwd
import random
import socket

import pytest

NOBODY = pwd.getpwnam("nobody")
NEEDED = ("chown", "dac_override", "kill", "setgid", "setuid")  # what --proxy-user takes
STRANGER = 65533  # neither root nor the proxy's; needs no entry


def as_user(uid, gid, doings):
    """{name: "" or the name of the error} of what each function does, in a child that has become that user."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            out = {}
            for name, do in doings.items():
                try:
                    do()
                    out[name] = ""
                except OSError as e:
                    out[name] = type(e).__name__
            os.write(write, json.dumps(out).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        text = f.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def connect(path, kind=socket.SOCK_STREAM):
    def do():
        with socket.socket(socket.AF_UNIX, kind) as s:
            s.connect(str(path))
    return do


def send(path):
    """An empty datagram: it would end an Envoy that gets it."""
    def do():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", str(path))
    return do


def ids_of(pid):
    """(the four uids, the four gids, the other groups) of a process."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return set(map(int, fields["Uid"].split())), set(map(int, fields["Gid"].split())), set(map(int, fields["Groups"].split()))


def with_capabilities(*names):
    """A prefix: root with these and no other."""
    caps = ",".join(["-all", *(f"+{name}" for name in names)])
    return ("setpriv", f"--inh-caps={caps}", f"--bounding-set={caps}")


def as_uid(uid, gid=None, *more):
    return ("setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}", "--clear-groups", *more)


def free_low_port(address="127.0.0.1"):
    """A port that only the privileged may bind, free at this moment; others test beside us."""
    start = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if start < 512:
        pytest.skip(f"this kernel lets everybody bind ports from {start} on")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in random.sample(range(100, start), start - 100):
        with socket.socket(family) as s, contextlib.suppress(OSError):
            s.bind((address, port))
            return port
    raise RuntimeError("no low port is free")


def held_by(baton, listener):
    """How many sockets of a listener baton holds."""
    return next((x["held"] for x in baton.status()["listeners"] if x["address"] == listener.url), 0)
