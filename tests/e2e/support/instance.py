# SPDX-License-Identifier: MIT
"""One running baton: the built programs, a private run directory, its events, and what must be left of it: nothing.

States are waited for by events (`wait_event`) or by asking again (`wait_until`), never by sleeping for a while.
"""
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

from .config import Config
from .envoys import NEWEST, ROOT, envoy, for_everybody

MARK = "BATON_TEST_MARK"
SHM = pathlib.Path("/dev/shm")
WAIT_S = 30
QUIET = ("--concurrency", "2", "--log-level", "warning")


def build_dir():
    return pathlib.Path(os.environ.get("BATON_BUILD", ROOT / "build/dev/bin")).resolve()


def wait_until(probe, what, timeout=WAIT_S):
    """The first true answer of probe()."""
    deadline = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.01)


def marked_processes(mark):
    """Pids of the processes that inherited the mark; it survives exec, forks and the death of parents."""
    needle = f"{MARK}={mark}".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            environ = pathlib.Path(entry.path, "environ").read_bytes()
            state = pathlib.Path(entry.path, "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if needle in environ.split(b"\0") and state != "Z":
            yield int(entry.name)


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "?"


def segments():
    return {p.name for p in SHM.glob("envoy_shared_memory_*")}


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_kib(pid, field="Private_Dirty"):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)


def valgrind(folder):
    """With BATON_VALGRIND=1 keeper and agent run in it, and nothing that they start: a build without sanitizers is wanted then.
    If it names a folder, reports are left there and judged by nobody: what fails for its slowness hides none."""
    where = os.environ.get("BATON_VALGRIND", "")
    if where in ("", "0"):
        return []
    if where != "1":
        folder = where
    return ["valgrind", "-q", "--vgdb=no", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", "--num-callers=30",
            "--trace-children=yes", "--trace-children-skip=/bin/*,/usr/*,*envoy*,*.sh,*python*", f"--log-file={folder}/valgrind.%p"]


class Baton:
    """`run()` starts it; the rest asks, waits, hurts or stops it. The fixture calls `finish()`."""

    def __init__(self, build=None):
        self.build = build or build_dir()
        # A short path: the names of Envoy's sockets must fit behind it.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="b", dir=os.environ.get("BATON_TEST_TMP", "/tmp")))
        self.dir.chmod(0o755)
        self.run_dir = self.dir / "r"
        self.config_path = self.dir / "envoy.yaml"
        self.log_path = self.dir / "log"
        self.sanitizer_dir = self.dir / "san"
        self.sanitizer_dir.mkdir(mode=0o777)
        self.sanitizer_dir.chmod(0o777)
        self.mark = uuid.uuid4().hex
        self.process = None
        self.config = None
        self.expected_exit = 0
        self._log = open(self.log_path, "ab")
        self._segments = set()  # its own, as far as they were seen
        self._events, self._events_read, self._events_rest, self._last_seq = [], 0, b"", 0

    # ---- starting ------------------------------------------------------------------------------------------

    def environment(self, extra=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("BATON_") and k not in ("NOTIFY_SOCKET", "RUNTIME_DIRECTORY")}
        env[MARK] = self.mark
        env["BATON_NO_AUTO_UPGRADE"] = "1"  # most tests write a config and ask for it themselves
        log = f"log_path={self.sanitizer_dir}/report"
        env["ASAN_OPTIONS"] = f"{log}:abort_on_error=0:detect_leaks=1:handle_abort=1"
        env["UBSAN_OPTIONS"] = f"{log}:print_stacktrace=1"
        env["LSAN_OPTIONS"] = f"suppressions={for_everybody(ROOT / 'tests/support/lsan.supp')}:print_suppressions=0"
        if valgrind(""):
            env["LD_PRELOAD"] = str(build_dir() / "valgrind_pidfd.so")
        env.update(extra or {})
        return env

    def command(self, *args):
        return [str(self.build / "baton"), *map(str, args)]

    def start(self, *args, env=None, preexec_fn=None, stdin=subprocess.DEVNULL, stdout=None, stderr=None, prefix=(), pass_fds=()):
        """`baton run ARGS` and nothing more: no config written, nothing waited for."""
        command = [*prefix, *valgrind(self.sanitizer_dir), *self.command("run", "--run-dir", self.run_dir, *args)]
        self.process = subprocess.Popen(command, env=self.environment(env), stdin=stdin, stdout=stdout or self._log,
                                        stderr=stderr or self._log, cwd=self.dir, preexec_fn=preexec_fn, pass_fds=pass_fds)
        return self

    def run(self, proxy=None, config=None, *, options=(), proxy_args=QUIET, wait=True, env=None,
            prefix=(), preexec_fn=None, stdout=None, stderr=None, **config_fields):
        """A real Envoy under baton. Without a config: one listener, or Config(**config_fields)."""
        self.config = config or Config(**config_fields)
        self.config.write(self.config_path)
        self.start(*options, "--", proxy or envoy(NEWEST), "-c", self.config_path, *proxy_args, env=env, prefix=prefix,
                   preexec_fn=preexec_fn, stdout=stdout, stderr=stderr)
        if wait:
            self.wait_event("epoch.accepted")
        return self

    # ---- asking --------------------------------------------------------------------------------------------

    def cli(self, *args, timeout=WAIT_S, check=None, env=None, run_dir=True):
        """A client verb. With `check` the exit status must be that one."""
        where = ["--run-dir", self.run_dir] if run_dir else []
        done = subprocess.run(self.command(args[0], *where, *args[1:]), env=self.environment(env), capture_output=True,
                              text=True, timeout=timeout, cwd=self.dir, stdin=subprocess.DEVNULL)
        if check is not None:
            assert done.returncode == check, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def client(self, *args, cwd=None):
        """A client verb that goes on while the test does: its process, with pipes."""
        return subprocess.Popen(self.command(args[0], "--run-dir", self.run_dir, *args[1:]), env=self.environment(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd or self.dir)

    def status(self):
        return json.loads(self.cli("status", "--json", check=0).stdout)

    def serving(self):
        """The entry of the serving generation in the status, or None."""
        return next((e for e in self.status()["epochs"] if e["state"] == "serving"), None)

    def epoch(self):
        entry = self.serving()
        return entry["epoch"] if entry else None

    def proxy_pid(self):
        entry = self.serving()
        return entry["pid"] if entry else None

    def keeper_pid(self):
        return self.status()["keeper"]["pid"]

    def agent_pid(self):
        return self.status()["agent"]["pid"]

    def log(self):
        return self.log_path.read_text(errors="replace")

    # ---- events --------------------------------------------------------------------------------------------

    def _note_segments(self):
        """A kit has its number on disk before it has its segment. Others test beside us: a look at /dev/shm does not tell."""
        for path in self.run_dir.glob("e*.id"):
            try:
                base_id = int(path.read_text().split()[0])
            except (OSError, ValueError, IndexError):
                continue
            if base_id:  # 0: of a proxy that is no Envoy
                self._segments.add(f"envoy_shared_memory_{10 * base_id}")

    def _read_events(self):
        self._note_segments()
        path = self.run_dir / "events"
        try:
            if path.stat().st_size < self._events_read:  # it was copied to events.1 and cut
                self._events_read, self._events_rest = 0, b""
                self._take_events((self.run_dir / "events.1").read_bytes())
            with open(path, "rb") as f:
                f.seek(self._events_read)
                data = f.read()
        except FileNotFoundError:
            return
        self._events_read += len(data)
        whole, newline, self._events_rest = (self._events_rest + data).rpartition(b"\n")
        self._take_events(whole + newline)

    def _take_events(self, data):
        for line in data.splitlines():
            event = json.loads(line)
            if event["seq"] > self._last_seq:
                self._last_seq = event["seq"]
                self._events.append(event)

    def events(self, name=None, **fields):
        """All events so far, or those of a name and with these fields."""
        self._read_events()
        return [e for e in self._events if (name is None or e["event"] == name)
                and all(e.get(k) == v for k, v in fields.items())]

    def moment(self):
        """A place in the stream of events, for wait_event(since=...)."""
        self._read_events()
        return len(self._events)

    def wait_event(self, name, since=0, timeout=WAIT_S, **fields):
        """The first such event at or after `since` (a moment()); those that were before count when it is 0."""
        def probe():
            self._read_events()
            for event in itertools.islice(self._events, since, None):
                if event["event"] == name and all(event.get(k) == v for k, v in fields.items()):
                    return event
            if self.process and self.process.poll() is not None and name != "baton.stopped":
                raise AssertionError(f"baton ended ({self.process.returncode}) before {name}\n{self.tail()}")
            return None

        try:
            return wait_until(probe, f"event {name} {fields}", timeout)
        except TimeoutError as e:
            raise TimeoutError(f"{e}\n{self.tail()}") from None

    # ---- hurting -------------------------------------------------------------------------------------------

    def kill_proxy(self, sig=signal.SIGKILL):
        """Kills the serving generation. Returns the moment before, for wait_event."""
        pid, moment = self.proxy_pid(), self.moment()
        os.kill(pid, sig)
        return moment

    def kill_agent(self, sig=signal.SIGKILL):
        pid, moment = self.agent_pid(), self.moment()
        os.kill(pid, sig)
        return moment

    # ---- ending --------------------------------------------------------------------------------------------

    def wait_exit(self, timeout=WAIT_S):
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"baton did not end within {timeout} s\n{self.tail()}") from None
        self.expected_exit = status  # whoever waits judges it
        return status

    def stop(self, sig=signal.SIGTERM, timeout=WAIT_S):
        """Asks to stop and returns the exit status."""
        self.process.send_signal(sig)
        return self.wait_exit(timeout)

    def tail(self, lines=60):
        text = [line[:300] for line in self.log().splitlines()]
        return "\n".join(["--- end of the log ---", *text[-lines:]])

    def _findings(self):
        if self.process is not None and self.process.returncode != self.expected_exit:
            yield f"exit status {self.process.returncode}, not {self.expected_exit}"
        try:
            wait_until(lambda: not list(marked_processes(self.mark)), "end of all processes", 2)
        except TimeoutError:
            for pid in marked_processes(self.mark):
                yield f"process {pid} is left: {command_of(pid)}"
        for report in sorted(p for p in self.sanitizer_dir.iterdir() if p.stat().st_size):  # valgrind makes one for each process
            yield f"a sanitizer reported:\n{report.read_text(errors='replace')}"
        for name in sorted(self._segments & segments()):
            yield f"segment {name} is left in {SHM}"
        if self.process is not None and self.expected_exit >= 0:  # who died by a signal could not clean up
            for path in sorted(self.run_dir.glob("*")):
                if not path.name.startswith("events"):
                    yield f"{path} is left"

    def finish(self, judge=True):
        """Ends what still runs; tells what should not be: an exit status, a process, a segment, a sanitizer's report."""
        findings = []
        self._note_segments()
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
                self.expected_exit = 0
            except TimeoutError as e:
                findings.append(str(e))
        if judge and not findings:
            findings += self._findings()
        for pid in list(marked_processes(self.mark)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()
        return findings

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def fault_build():
    """A folder with the programs of which the agent can be told where to die (BATON_DIE_AT)."""
    build = build_dir()
    place = build.parent / "fault-bin"
    place.mkdir(exist_ok=True)
    for name in ("baton", "baton-agent", "baton-ctl", "baton-watch"):
        source = build / ("baton-agent-fault" if name == "baton-agent" else name)
        new = place / f"{name}.{os.getpid()}"  # others may do the same
        shutil.copy2(source, new)
        new.rename(place / name)
    return place
