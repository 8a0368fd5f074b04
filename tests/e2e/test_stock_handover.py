# SPDX-License-Identifier: MIT
"""The library against the real thing, without baton: the example server is the predecessor or the successor of an Envoy.

Both talk Envoy's stock hot restart. What libhotrestart plays towards Envoy all day, parent and child, is so held against
what Envoy itself expects of the other side.
"""
import os
import random
import subprocess

import pytest

from support.config import Config, Listener
from support.instance import build_dir, wait_until

SHM = "/dev/shm/envoy_shared_memory_"


class Chain:
    """Processes that hand over to each other: start() the next epoch, its predecessor is told to go one second later."""

    def __init__(self, folder):
        self.folder, self.base_id = folder, random.randrange(1 << 20, 1 << 24)
        self.running = []

    def start(self, program, *args):
        epoch = len(self.running)
        log = open(self.folder / f"log{epoch}", "wb")
        self.running.append(subprocess.Popen(
            [program, *map(str, args), "--restart-epoch", str(epoch), "--base-id", str(self.base_id), "--socket-path",
             self.folder / "s", "--parent-shutdown-time-s", "1", "--drain-time-s", "1", "--concurrency", "2",
             "--skip-hot-restart-parent-stats"], stdout=log, stderr=log, cwd=self.folder))
        log.close()
        return self.running[-1]

    def log(self, epoch):
        return (self.folder / f"log{epoch}").read_text(errors="replace")

    def end(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
        try:
            os.unlink(f"{SHM}{10 * self.base_id}")
        except FileNotFoundError:
            pass


@pytest.fixture
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("h")
    chain = Chain(folder)
    yield chain
    chain.end()


def listening_inodes(port):
    rows = [line.split() for line in open("/proc/net/tcp")][1:]
    return {r[9] for r in rows if r[3] == "0A" and int(r[1].rpartition(":")[2], 16) == port}


def example(chain, listener):
    return chain.start(build_dir() / "baton-example-server", "--listen", listener.target, "--body", listener.body)


def envoy_of(chain, program, listener):
    path = Config([listener]).write(chain.folder / "envoy.yaml")
    return chain.start(program, "-c", path, "--log-level", "warning")


def serves(listener):
    """Asks on a new connection."""
    def probe():
        try:
            with listener.connect() as s:
                s.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                data = b"".join(iter(lambda: s.recv(4096), b""))
            return data.rpartition(b"\r\n\r\n")[2].decode()
        except OSError:
            return None
    return probe


def hand_over(chain, hammer, listener, *starts):
    """Each start takes over from the one before, under load; the one before ends by itself."""
    starts[0]()
    wait_until(serves(listener), "the first serves")
    inodes = listening_inodes(listener.port)
    assert len(inodes) == 2
    with hammer(listener, clients=8, kept=2) as load:
        for start in starts[1:]:
            before = chain.running[-1]
            start()
            assert wait_until(lambda: before.poll() is not None or chain.running[-1].poll() is not None, "the old one goes")
            assert chain.running[-1].poll() is None, chain.log(len(chain.running) - 1)
            assert before.returncode == 0
            assert listening_inodes(listener.port) == inodes, "sockets were opened anew"
    assert load.refused == 0 and load.failed_otherwise == 0, load
    return load


def test_an_example_server_takes_over_from_another(chain, hammer):
    listener = Listener(body="same")
    hand_over(chain, hammer, listener, *[lambda: example(chain, listener)] * 5)


def test_an_envoy_takes_over_from_the_library_and_the_library_from_it(chain, hammer, each_envoy):
    old, real, new = (Listener(body=b) for b in ("old", "envoy", "new"))
    real.port = new.port = old.port
    load = hand_over(chain, hammer, old, lambda: example(chain, old), lambda: envoy_of(chain, each_envoy, real),
                     lambda: example(chain, new), lambda: envoy_of(chain, each_envoy, real))
    assert {"old", "envoy", "new"} <= set(load.bodies)
