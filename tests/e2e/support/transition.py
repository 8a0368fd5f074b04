# SPDX-License-Identifier: MIT
"""An upgrade that changes all that an upgrade can change at once, and can be held in each of its states.

    change = Transition(baton, hammer)        4 workers, listeners `main` and `old`
    with change:
        client = change.begin()               2 workers, `main` and `new`
        change.reach("warming")
        ...
        change.rest()                         one serves, all its sockets are accepted from, every connection is served
        change.there_and_back()               upgrades go on
"""
import json
import signal
import subprocess
import threading

from .client import Client, ask
from .config import TYPE, Config, Listener
from .crash import ask_status, kill, proxies, tell, wait_status
from .instance import wait_until
from .sockets import each_is_served, holders
from .wrapper import Wrapper

OPTIONS = ("--retry-tokens", "1000", "--stable", "0s", "--drain-time", "5s")
STATES = ("started", "checking", "starting", "half-started", "warming", "leaving", "draining")
BEFORE_COMMIT = STATES[:5]


class Watch(threading.Thread):
    """Asks for the status again and again: there may be one that serves, or none, but never two."""

    def __init__(self, baton):
        super().__init__(daemon=True)
        self.baton, self.looks, self.most, self.worst = baton, 0, 0, None
        self._end = threading.Event()

    def run(self):
        while not self._end.wait(0.01):
            status = ask_status(self.baton)
            if not status:
                continue
            self.looks += 1
            n = sum(e["state"] == "serving" for e in status["epochs"])
            if n > self.most:
                self.most, self.worst = n, status["epochs"]

    def end(self):
        self._end.set()
        self.join()


class Shape:
    """What is to run: how many workers, which listeners."""

    def __init__(self, name, workers, *listeners):
        self.name, self.workers = name, workers
        self.listeners = [x.with_(body=f"{name} {x.name}") for x in listeners]


class Transition:
    def __init__(self, baton, hammer, workers=(4, 2), options=(), env=None, clusters=0, logs=None, **load):
        self.baton, self.dir, self.clusters = baton, baton.dir, clusters
        main, old, new = Listener("main"), Listener("old"), Listener("new")
        self.wide, self.narrow = Shape("wide", workers[0], main, old), Shape("narrow", workers[1], main, new)
        for shape in (self.wide, self.narrow) if logs else ():
            shape.listeners[0].extra = {"access_log": [{"name": "file", "typed_config": {
                "@type": TYPE + "access_loggers.file.v3.FileAccessLog", "path": str(logs[shape.name])}}]}
        self.now, self.other = self.wide, self.narrow
        self.wrapper = Wrapper(baton.dir)
        self.clients, self.slow = [], []
        baton.run(self.wrapper.path, Config(self.now.listeners, clusters=clusters), options=[*OPTIONS, *options], env=env,
                  proxy_args=self._args(self.now))
        self.main, self.old_port, self.new_port = main, old.port, new.port
        self.load = hammer(main, **{"clients": 6, "timeout_ms": 30000, **load})
        self.watch = Watch(baton)

    def __enter__(self):
        self.watch.start()
        self.load.__enter__()
        return self

    def __exit__(self, kind, *rest):
        self.hold_no_more()
        for client in self.slow:
            client.close()
        self.load.__exit__(kind, *rest)
        self.watch.end()
        for client in self.clients:
            kill(client.pid)
            client.communicate()
        if kind is None:
            assert self.watch.looks > 0 and self.watch.most == 1, self.watch.worst

    def judge(self, what, crash=False, **more):
        """Behind the block: what the load came to. With crash=True what was in flight at a dead one is forgiven, no more."""
        tell(what, self.load, status_looks=self.watch.looks, **more)
        load = self.load
        assert load.ok > 0 and load.refused == 0 and load.failed_otherwise == 0, f"{load}\n{self.baton.tail()}"
        if not crash:
            assert load.failed == 0 and load.reused_reset == 0 and load.reused_eof == 0, f"{load}\n{self.baton.tail()}"

    # ---- asking for it --------------------------------------------------------------------------------------

    @staticmethod
    def _args(shape):
        return ("--concurrency", str(shape.workers), "--log-level", "warning", "--file-flush-interval-msec", "50")

    def write(self, shape):
        Config(shape.listeners, clusters=self.clusters).write(self.baton.config_path)

    def client(self, *args):
        client = self.baton.client("upgrade", *args)
        self.clients.append(client)
        return client

    def words(self, shape):
        return ("--", str(self.wrapper.path), "-c", str(self.baton.config_path), *self._args(shape))

    def begin(self, *args):
        """`baton upgrade` to the other shape, not waited for."""
        self.moment = self.baton.moment()
        self.write(self.other)
        return self.client(*args, *self.words(self.other))

    def told(self, client, timeout=90):
        """(exit status, stdout, stderr) of a client; what it says is what is so from now on."""
        try:
            out, err = client.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"a client was never told: {json.dumps(ask_status(self.baton))}\n{self.baton.tail()}") from None
        if client.returncode == 0:
            self.now, self.other = self.other, self.now
        return client.returncode, out, err

    # ---- held in a state ------------------------------------------------------------------------------------

    def hold(self, state, observe="60s", delay_ms=4000):
        """Before begin(): the upgrade will stay there until hold_no_more(), or as long as it is observed. Returns arguments for it."""
        go, here = self.dir / "go", self.dir / "here"
        for path in (go, here):
            path.unlink(missing_ok=True)
        wait = f"echo >{here}; while [ ! -e {go} ]; do sleep 0.02; done"
        if state == "checking":
            self.wrapper.validate(wait)
        if state == "starting":
            self.wrapper.mode(wait)
        if state == "draining":  # a request that is long under way
            self.slow.append(Client(self.main))
            self.slow[-1].send(delay_ms=delay_ms)
        return ("--observe", observe) if state == "warming" else ()

    def reach(self, state):
        """Waits until it is there. Returns the epoch of the candidate, or None as long as none was launched."""
        baton, since = self.baton, self.moment
        started = baton.wait_event("upgrade.started", since=since)
        if state in ("checking", "starting"):
            wait_until(lambda: (self.dir / "here").exists(), f"{state}\n{baton.tail()}")
        if state in ("started", "checking"):
            return None
        launched = baton.wait_event("epoch.launched", since=since, epoch=started["epoch"])
        if state == "half-started":
            kill(launched["pid"], signal.SIGSTOP)
        if state == "warming":
            baton.wait_event("upgrade.warming", since=since)
        if state in ("leaving", "draining"):
            baton.wait_event("upgrade.committed", since=since)
        if state == "draining":
            baton.wait_event("epoch.draining", since=since)
        self.candidate = launched
        return launched

    def hold_no_more(self):
        self.wrapper.mode("serve")
        self.wrapper.validate("")
        (self.dir / "go").touch()
        if getattr(self, "candidate", None):
            kill(self.candidate["pid"], signal.SIGCONT)

    # ---- what is so afterwards ------------------------------------------------------------------------------

    def alone(self, what):
        """One generation lives, and it serves: the status says so, and so does the kernel. Returns the status."""
        def probe(status):
            epochs = status["epochs"]
            return (status["state"] == "serving" and [e["state"] for e in epochs] == ["serving"]
                    and proxies(self.baton.process.pid) == [epochs[0]["pid"]])

        return wait_status(self.baton, probe, f"{what}: one that serves", 60)

    def rest(self, what=""):
        """One serves, of the shape that was told; it accepts from every socket of its ports; every connection is answered by it."""
        status = self.alone(what)
        pid = status["epochs"][0]["pid"]
        for listener in self.now.listeners:
            try:
                wait_until(lambda: self._sound(listener, pid), f"{what}: sockets of {listener.name}", 20)
            except TimeoutError as e:
                raise AssertionError(f"{e}: {holders(self.baton, listener.port)}, serving {pid}, wanted "
                                     f"{self.now.workers}\n{self.baton.tail()}") from None
            bodies, slowest = each_is_served(listener)
            assert set(bodies) == {listener.body}, f"{what}: {bodies}\n{self.baton.tail()}"
        for listener in self.other.listeners:
            if listener.name != "main":
                wait_until(lambda: not holders(self.baton, listener.port), f"{what}: {listener.name} is closed")
        return status, slowest

    def _sound(self, listener, pid):
        found = holders(self.baton, listener.port)
        keeper = self.baton.process.pid
        return len(found) == self.now.workers and all({pid, keeper} <= pids for pids in found.values())

    def spread(self, what=""):
        """Every worker of the serving one gets connections: none of its sockets is left out."""
        admin = self.baton.run_dir / f"e{self.baton.epoch()}" / "admin"
        def counts():
            text = ask(admin, "/stats?filter=^listener.*worker_.*downstream_cx_total$")[1]
            return {line.partition(":")[0]: int(line.rpartition(":")[2]) for line in text.splitlines()
                    if f"{self.main.port}" in line}

        before = counts()
        each_is_served(self.main)
        after = counts()
        idle = [name for name in after if after[name] == before.get(name, 0)]
        assert len(after) == self.now.workers and not idle, f"{what}: {idle} of {after}\n{self.baton.tail()}"

    def once_more(self, what=""):
        """A second upgrade, to the other shape, succeeds."""
        code, _, err = self.told(self.begin())
        assert code == 0, f"{what}: a later upgrade: {err}\n{self.baton.tail()}"
        result = self.rest(f"{what}, once more")
        self.spread(what)
        return result
