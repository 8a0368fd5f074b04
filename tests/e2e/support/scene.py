# SPDX-License-Identifier: MIT
"""One instance under one load that is upgraded again and again, mostly in vain; what that cost is looked at each time.

    with Scene(baton, hammer, listener) as scene:
        scene.put("static_resources: [")
        scene.refused("broken YAML", says=["envoy.yaml"])       exit 5, nobody noticed, nothing is left
        scene.heals("broken YAML")                              a crash brings the old content back, a good upgrade a new one
"""
import json
import os
import re

from .crash import ask_status, kill
from .instance import command_of, marked_processes, segments, wait_until
from .sockets import listening

LIVE = ("--stable", "0s", "--retry-tokens", "1000", "--drain-time", "5s")


def descriptors(pid):
    """What a process holds, one line each; what cannot be told apart by its name is told by its number."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue
    return sorted(found)


def kinds(links):
    """The agent opens and closes its own: only how many of a kind there are can be compared."""
    return sorted(re.sub(r"\[\d+\]|\d+", "N", link) for link in links)


class Scene:
    def __init__(self, baton, hammer, *listeners, clients=6, timeout_ms=60000):
        self.baton, self.listeners = baton, listeners
        self.body = listeners[0].body
        self.load = hammer(*listeners, clients=clients, kept=2, timeout_ms=timeout_ms)
        self.slices = []  # (name, Counts, what is forgiven, the bodies that may be in it)
        self._open = ("before", False, {self.body})
        self._also, self._dies = set(), False
        self.upgrades = 0

    def __enter__(self):
        self.load.__enter__()
        return self

    def __exit__(self, kind, *rest):
        self.load.__exit__(kind, *rest)
        if kind is None:
            self._note(self.load.total if not self.slices else None)
            assert self.load.refused == 0 and self.load.failed_otherwise == 0, self.load

    # ---- the load -------------------------------------------------------------------------------------------

    def _note(self, counts):
        name, crash, bodies = self._open
        if counts is None:
            return
        if crash:  # what was in flight died with who served it
            assert counts.refused == 0 and counts.failed_otherwise == 0, f"{name}: {counts}"
        else:
            assert counts.failed == 0, f"{name}: {counts}\n{self.baton.tail()}"
        assert set(counts.bodies) <= bodies, f"{name}: {set(counts.bodies)} and not {bodies}"

    def begin(self, name, crash=False, bodies=None):
        """From here on the load is judged anew; what was before is judged now."""
        counts = self.load.mark(name)
        self.slices.append(name)
        self._note(counts)
        self._open = (name, crash, bodies or {self.body})

    def allow(self, body, dies=False):
        """The next candidate may answer before it is taken back: it serves beside the old one for a while. What is in flight at
        one that dies then dies with it."""
        self._also, self._dies = {body}, dies

    def flows(self):
        """Each client has had answers since begin()."""
        name, ok = self._open[0], 0

        def more():
            nonlocal ok
            counts = self.load.mark(name)
            self._note(counts)
            ok += counts.ok
            return ok > 30

        wait_until(more, f"{name}: answers")

    # ---- what there is --------------------------------------------------------------------------------------

    def rest(self):
        """All that an upgrade that came to nothing may not have changed."""
        baton, status = self.baton, ask_status(self.baton)
        if status is None:
            return None
        return {
            "epochs": [(e["epoch"], e["pid"], e["state"]) for e in status["epochs"]],
            "listeners": [(x["address"], x["workers"], x["held"]) for x in status["listeners"]],
            "ready": status["ready"], "agent": status["agent"]["pid"],
            "processes": sorted((pid, command_of(pid)) for pid in marked_processes(baton.mark)),
            "files": sorted(p.name for p in baton.run_dir.iterdir() if not p.name.startswith("events")),
            "folders": sorted(str(p.relative_to(baton.run_dir)) for p in baton.run_dir.glob("e*/*")),
            "segments": sorted(self._segments()),
            "keeper": kinds(descriptors(baton.process.pid)), "agent_fds": kinds(descriptors(status["agent"]["pid"])),
            "sockets": self.sockets(),
        }

    def _segments(self):
        self.baton._note_segments()
        return self.baton._segments & segments()

    def sockets(self):
        """The inodes of the sockets that listen at the load's addresses, whoever has them."""
        return sorted(inode for x in self.listeners if x.port for inode in listening(x.port))

    def settled(self, what):
        """The state of things once two looks in a row agree and only one generation lives."""
        seen = []

        def probe():
            seen.append(self.rest())
            now = seen[-1]
            return now if now and len(now["epochs"]) == 1 and len(seen) > 1 and seen[-2] == now else None

        try:
            return wait_until(probe, f"{what}: rest")
        except TimeoutError as e:
            raise AssertionError(f"{e}\n{difference(seen[-2], seen[-1])}\n{seen[-1]}\n{self.baton.tail()}") from None

    # ---- an upgrade that comes to nothing -------------------------------------------------------------------

    def refused(self, what, *args, result="refused", says=(), during=None, timeout=90, at_once=False, told=True):
        """`baton upgrade ARGS` fails and has cost nothing. during(client) plays what happens meanwhile. Returns the reason.

        told=False: where the event file cannot be written, the event is not looked for in it; `why` knows of it all the same.
        """
        baton = self.baton
        before = self.settled(what)
        [(epoch, pid, _)] = before["epochs"]
        moment = baton.moment()
        self.begin(what, crash=self._dies, bodies={self.body, *self._also})
        self._also, self._dies = set(), False
        if during:
            client = self.baton.client("upgrade", *args)
            try:
                during(client)
                out, err = client.communicate(timeout=timeout)
            finally:
                kill(client.pid)
            code = client.returncode
        else:
            done = baton.cli("upgrade", *args, timeout=timeout)
            code, out, err = done.returncode, done.stdout, done.stderr
        print(f"{what}: {err}", end="")
        assert (code, out) == (5, ""), f"{what}: exit {code} {out} {err}\n{baton.tail()}"
        assert err.count("\n") == 1 and err.startswith(f"baton: {result.replace('_', ' ')}: "), f"{what}: {err}"
        assert at_once or err.endswith(f"; epoch {epoch} serves on\n"), f"{what}: {err}"  # at once: the order itself was not taken
        last = baton.status()["last"]
        assert last["kind"] == "upgrade" and last["result"] == result, f"{what}: {last}"
        why = baton.cli("why", check=0).stdout
        assert why.count("\n") == 1, why
        assert last["reason"] and last["reason"][:200] in why and result.replace("_", " ") in why, f"{what}: {why}"
        for word in says:
            assert word in last["reason"], f"{what}: {word!r} is not in {last['reason']!r}"
        assert not told or len(baton.events(f"upgrade.{result.replace('_', '-')}")) == 1 + self._told(result, moment), what
        self.flows()
        after = None
        try:
            wait_until(lambda: self.rest() == before, f"{what}: as before", 20)
        except TimeoutError:
            after = self.rest()
        assert after is None or after == before, f"{what} left something:\n{difference(before, after)}\n{baton.tail()}"
        assert baton.proxy_pid() == pid
        return last["reason"]

    def _told(self, result, moment):
        return sum(1 for e in self.baton._events[:moment] if e["event"] == f"upgrade.{result.replace('_', '-')}")

    # ---- and then -------------------------------------------------------------------------------------------

    def crashes(self, what):
        """The serving one is killed: the content that served comes back."""
        self.begin(f"{what}, then a crash", crash=True)
        moment = self.baton.kill_proxy()
        accepted = self.baton.wait_event("epoch.accepted", since=moment)
        self.flows()
        self.begin(f"{what}, after the crash")
        self.flows()
        return accepted

    def upgraded(self, what, *args, change=None):
        """A good upgrade is taken. change(body) puts the new content in place; without it the config is rewritten."""
        old, self.upgrades = self.body, self.upgrades + 1
        self.body = f"{self.listeners[0].body}-{self.upgrades}"
        if change:
            change(self.body)
        else:
            self.write(self.body)
        self.begin(f"{what}, then a good one", bodies={old, self.body})
        self.baton.cli("upgrade", *args, check=0, timeout=90)
        self.begin(f"{what}, the good one", bodies={old, self.body})  # the old one still drains
        self.flows()
        self.settled(f"{what}, the good one")
        self.begin(f"{what}, the good one alone")
        self.flows()

    def replaced(self, what, change, *args):
        """As upgraded(), where the old one may cut what it had in flight, being at fault itself."""
        old, self.upgrades = self.body, self.upgrades + 1
        self.body = f"{self.listeners[0].body}-{self.upgrades}"
        change()
        self.begin(what, crash=True, bodies={old, self.body})
        self.baton.cli("upgrade", *args, check=0, timeout=90)
        self.settled(what)
        self.begin(f"{what}, the new one alone")
        self.flows()

    def heals(self, what, *args, change=None):
        self.crashes(what)
        self.upgraded(what, *args, change=change)

    # ---- the config -----------------------------------------------------------------------------------------

    def write(self, body=None):
        """The good config, whatever is there."""
        path = self.baton.config_path
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif path.exists() or path.is_symlink():
            path.unlink()
        for x in self.baton.config.listeners:
            x.body = body or self.body
        self.baton.config.write(path)

    def put(self, text):
        self.baton.config_path.write_text(text)


def difference(before, after):
    if not before or not after:
        return f"{before} {after}"
    return "\n".join(json.dumps([k, v, after[k]]) for k, v in before.items() if after[k] != v)
