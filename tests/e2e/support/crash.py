# SPDX-License-Identifier: MIT
"""What the tests of crashes share: who runs, how long it has served, what a load came to."""
import http.client
import json
import os
import pathlib
import select
import signal
import socket
import time

from .background import Background
from .instance import WAIT_S, build_dir, memory_kib, open_descriptors, segments, wait_until

# A generation that has served for a second is replaced at once, and tokens are no matter.
MANY = ("--retry-tokens", "1000", "--stable", "1s")
STABLE_S = 1.0
# The same, however short it served.
AT_ONCE = ("--retry-tokens", "1000", "--stable", "0s")


def tell(what, *loads, **more):
    """One line of figures; `pytest -rA` shows it."""
    parts = []
    for load in loads:
        parts.append(f"requests={load.requests} failed={load.failed} refused={load.refused} in_flight={load.in_flight} "
                     f"failed_otherwise={load.failed_otherwise} longest_gap_ms={load.longest_gap_ms}")
    parts += [f"{k}={v}" for k, v in more.items()]
    print(f"figures: {what}: {' '.join(parts)}")


def children(pid):
    try:
        return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _stat(pid):
    """(name, state), or None."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.index("(") + 1:text.rindex(")")], text.rpartition(")")[2].split()[0]


def proxies(keeper):
    """Pids of the keeper's children that are Envoys and not dead."""
    found = []
    for pid in children(keeper):
        stat = _stat(pid)
        if stat and stat[0] == "envoy" and stat[1] not in "ZX":
            found.append(pid)
    return found


def leads_a_session(pid):
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def agents(keeper):
    """Pids of the keeper's children that are agents, from the moment of their exec. An agent leads a session; what one that was
    killed has forked, and not executed yet, has its name and does not."""
    found = []
    for pid in children(keeper):
        stat = _stat(pid)
        if stat and stat[0].startswith(("baton-agent", "memcheck")) and stat[1] not in "ZX" and leads_a_session(pid):
            found.append(pid)
    return found


class Census(Background):
    """Counts the living Envoys of a keeper every few milliseconds: there may never be two."""

    def __init__(self, keeper):
        super().__init__()
        self.keeper, self.most, self.looks, self.seen = keeper, 0, 0, set()

    def once(self):
        now = proxies(self.keeper)
        self.looks += 1
        self.most = max(self.most, len(now))
        self.seen.update(now)


def wait_stable(accepted):
    """Waits until the generation of this epoch.accepted has served for --stable."""
    wait_until(lambda: time.monotonic_ns() - accepted["mono_ns"] > (STABLE_S + 0.05) * 1e9, "stable serving")


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def end(pid):
    """kill -9, and all its threads are dead: none accepts a connection any more that dies with it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        kill(pid)
        assert select.select([fd], [], [], WAIT_S)[0], f"{pid} lives on"
    finally:
        os.close(fd)


def footprint(baton):
    """What baton holds at rest: descriptors and dirty memory of both processes, folders of epochs, segments."""
    keeper, agent = baton.process.pid, baton.agent_pid()
    return {
        "keeper_fds": open_descriptors(keeper), "agent_fds": open_descriptors(agent),
        "keeper_kib": memory_kib(keeper), "agent_kib": memory_kib(agent),
        "folders": sum(1 for p in baton.run_dir.glob("e*") if p.is_dir()),
        "files": sum(1 for p in baton.run_dir.iterdir()),
        "segments": len(own_segments(baton)),
    }


def without_sanitizer():
    """Programs whose memory can be judged: a sanitizer's own bookkeeping grows for ever. None if they are not built, or
    older than those that are tested."""
    other = build_dir().parent.parent / "clang" / "bin"
    try:
        return other if (other / "baton-agent").stat().st_mtime >= (build_dir() / "baton-agent").stat().st_mtime else None
    except OSError:
        return None


def own_segments(baton):
    """Segments of this instance: its epochs' base ids lie in the run directory."""
    wanted = set()
    for path in baton.run_dir.glob("e*.id"):
        try:
            wanted.add(f"envoy_shared_memory_{10 * int(path.read_text().split()[0])}")
        except (OSError, ValueError):
            continue
    return wanted & segments()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_status(baton):
    """The status at once, without a client program; None while no agent answers."""
    connection = _UnixConnection(baton.run_dir / "control.sock")
    try:
        connection.request("GET", "/v1/status")
        return json.load(connection.getresponse())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_status(baton, probe, what, timeout=WAIT_S):
    """The first status for which probe(status) is true."""
    def asked():
        status = ask_status(baton)
        return status if status and probe(status) else None

    try:
        return wait_until(asked, what, timeout)
    except TimeoutError as e:
        raise TimeoutError(f"{e}\nstatus: {ask_status(baton)}\n{baton.tail()}") from None


def serves(epoch=None, above=None, not_agent=None):
    """A probe for wait_status: one generation serves, alone, and no other agent than a new one says so."""
    def probe(status):
        epochs = status["epochs"]
        return (status["state"] == "serving" and len(epochs) == 1 and epochs[0]["state"] == "serving"
                and (epoch is None or epochs[0]["epoch"] == epoch) and (above is None or epochs[0]["epoch"] > above)
                and status["agent"]["pid"] != not_agent)

    return probe


def kill_next_agents(baton, times, but=()):
    """Kills the present agent, then each next one as soon as it is seen: they die before they work. Returns the pids."""
    killed = []
    for _ in range(times):
        pid = wait_until(lambda: [a for a in agents(baton.process.pid) if a not in killed and a not in but], "an agent")[0]
        kill(pid)
        killed.append(pid)
    return killed


def spoil_state(baton):
    """Both slots, in place: the keeper holds this very file."""
    with open(baton.run_dir / "state", "r+b") as f:
        size = f.seek(0, 2)
        f.seek(0)
        f.write(b"\xa5" * size)
