# SPDX-License-Identifier: MIT
"""System calls that fail, made so by strace from outside: the programs are those that are shipped.

    with Walk(new_baton(build=traceable_build(...)), hammer) as walk:
        walk.seen("crash", "keeper")                        the names that it calls, and how often each
        walk.case("crash", "keeper", "fcntl", "EMFILE", 2)  its second fcntl() fails: the promises are judged; what else came of it
        walk.end()                                          a crash, an upgrade, a stop: as if nothing had been
"""
import collections
import contextlib
import re
import shutil
import signal
import subprocess

from .client import body_of
from .config import Listener
from .crash import agents, ask_status, kill, proxies, wait_status
from .instance import wait_until

# They do not return, or they cannot fail.
NEVER = set("exit exit_group getegid geteuid getgid getpid getppid gettid getuid restart_syscall rt_sigreturn".split())

_GROUPS = (
    ("EMFILE ENFILE ENOMEM", "accept accept4 dup dup2 dup3 epoll_create1 eventfd2 memfd_create pidfd_open pipe2 signalfd4 socket "
                             "socketpair timerfd_create"),
    ("EMFILE EIO ENOMEM", "open openat"),
    ("EMFILE EBADF", "fcntl"),
    ("ENOSPC EIO EROFS", "chmod chown fallocate fchmod fchown fchownat ftruncate link linkat mkdir mkdirat pwrite64 pwritev rename "
                         "renameat renameat2 rmdir symlink truncate unlink unlinkat"),
    ("EIO EAGAIN ENOSPC", "write writev"),
    ("EIO EINTR", "getdents64 pread64 read readv"),
    ("EINTR ENOMEM", "clock_nanosleep epoll_pwait epoll_wait getrandom nanosleep poll ppoll pselect6 select wait4 waitid"),
    ("EINTR ENOMEM ECONNRESET", "recvfrom recvmsg"),
    ("EINTR ENOBUFS EPIPE", "sendmsg sendto"),
    ("ENOMEM ENOSPC", "epoll_ctl"),
    ("EAGAIN ENOMEM", "clone clone3 fork vfork"),
    ("ENOMEM", "brk madvise mmap mprotect mremap munmap"),
    ("EIO", "close"),
    ("ECONNREFUSED EAGAIN", "connect"),
    ("EADDRINUSE ENOMEM", "bind listen"),
    ("EACCES EIO", "access faccessat faccessat2 fstat lstat newfstatat readlink readlinkat stat statx"),
    ("ENOPROTOOPT ENOMEM", "getsockopt setsockopt"),
    ("ESRCH EPERM", "kill pidfd_send_signal tgkill"),
)
ERRORS = {name: errors.split() for errors, names in _GROUPS for name in names.split()}
OTHERS = ("EPERM", "ENOMEM")


def errors_of(name):
    return ERRORS.get(name, OTHERS)


@contextlib.contextmanager
def traced(pid, log, *options):
    """strace at one process and none of its children, for as long as the block lasts or the process lives."""
    tracer = subprocess.Popen(["strace", "-p", str(pid), "-o", str(log), *options], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said = tracer.stderr.readline()
        assert "attached" in said, said
        yield
    finally:
        kill(tracer.pid, signal.SIGINT)  # it lets go, and ends
        tracer.communicate(timeout=30)


def can_trace():
    """None, or why not."""
    if not shutil.which("strace"):
        return "strace is not installed"
    done = subprocess.run(["strace", "-e", "inject=getpid:error=EIO", "true"], capture_output=True, text=True)
    return None if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()}"


def inject(name, error, when):
    return ["-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={when}"]


# The keeper starts this in place of its agent. strace -D: the agent stays the child that the keeper knows.
AGENT = """#!/bin/sh
options=$(cat {order} 2>/dev/null) || exec {agent} "$@"
rm -f {order}
exec strace -D -o {log} $options {agent} "$@"
"""


def traceable_build(baton_dir, build):
    """A folder with the programs of which each new agent can be traced from its first call on: by an order that lies there."""
    place = baton_dir / "bin"
    place.mkdir()
    for name in ("baton", "baton-ctl"):
        shutil.copy2(build / name, place / name)
    script = place / "baton-agent"
    script.write_text(AGENT.format(order=place / "order", agent=build / "baton-agent", log=baton_dir / "strace"))
    script.chmod(0o755)
    return place


def spread(n, wanted):
    """At most so many of the numbers 1...n, the first and the last among them."""
    if n <= wanted:
        return list(range(1, n + 1))
    return sorted({1 + round(i * (n - 1) / (wanted - 1)) for i in range(wanted)}) if wanted > 1 else [1]


def names_in(log):
    found = collections.Counter(re.findall(r"^([a-z_0-9]+)\(", log.read_text(errors="replace"), re.M))
    return {name: n for name, n in sorted(found.items()) if name not in NEVER}


def injected(log):
    return "(INJECTED)" in log.read_text(errors="replace")


class Walk:
    """One instance under load; scenarios that are played again and again, each time with another call that fails."""

    OPTIONS = ("--retry-tokens", "1000", "--stable", "0s", "--retry-max", "200ms", "--drain-time", "2s", "--stop-timeout", "5s")

    USUAL = {"crash": collections.Counter(), "upgrade": collections.Counter(),
             "resume": collections.Counter(["agent.restarted", "keeper.agent-died"])}

    def __init__(self, baton, hammer):
        self.baton, self.log = baton, baton.dir / "strace"
        baton.build = traceable_build(baton.dir, baton.build)
        self.listener = Listener(body="body-0")
        self.bodies = 0
        # A tracer is no place to look for leaks from: who ends while it is traced would be reported for that.
        asan = f"log_path={baton.sanitizer_dir}/report:abort_on_error=0:detect_leaks=0:handle_abort=1:allocator_may_return_null=1"
        baton.run(listeners=[self.listener], options=self.OPTIONS, env={"ASAN_OPTIONS": asan})
        self.load = hammer(self.listener, clients=6, timeout_ms=30000)

    def __enter__(self):
        self.load.__enter__()
        self.rest()
        return self

    def __exit__(self, *exception):
        self.load.__exit__(*exception)

    # ---- who, and what happens to it --------------------------------------------------------------------------

    def pid_of(self, who):
        return self.baton.process.pid if who == "keeper" else agents(self.baton.process.pid)[0]

    def rest(self, timeout=40):
        """One Envoy serves and nothing is under way. Returns the status."""
        def probe(status):
            epochs = status.get("epochs", [])  # it may be refused: who asks could not be found out
            return (status.get("state") == "serving" and [e["state"] for e in epochs] == ["serving"]
                    and proxies(self.baton.process.pid) == [epochs[0]["pid"]])

        return wait_status(self.baton, probe, "one that serves, alone", timeout)

    def crash(self):
        """Envoy is killed and comes back."""
        keeper = self.baton.process.pid
        [old] = proxies(keeper)
        kill(old)
        wait_until(lambda: [p for p in proxies(keeper) if p != old], "another Envoy", 40)
        assert body_of(self.listener) == self.listener.body
        self.rest()
        return 0

    def resume(self):
        """The agent is killed, and Envoy with it: the next agent finds that out and puts it right."""
        keeper = self.baton.process.pid
        [old], [agent] = proxies(keeper), agents(keeper)
        kill(agent)
        kill(old)
        wait_until(lambda: [p for p in proxies(keeper) if p != old], "another Envoy", 40)
        assert body_of(self.listener) == self.listener.body
        self.rest()
        return 0

    def upgrade(self):
        """To another body. Returns the exit status of who asked: 0; 5 when nothing came of it; 1 when the order was not taken."""
        self.bodies += 1
        old, new = self.listener.body, f"body-{self.bodies}"
        self.listener.body = new
        self.baton.config.write(self.baton.config_path)
        done = self.baton.cli("upgrade", timeout=60)
        assert done.returncode in (0, 1, 5), f"upgrade: exit {done.returncode}\n{done.stderr}"
        assert done.returncode == 0 or done.stderr.strip(), "refused without a word"
        if done.returncode:
            self.listener.body = old
        self.rest()
        assert body_of(self.listener) == self.listener.body
        return done.returncode

    # ---- one row ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watched(self, scenario, who, *options):
        """The process is traced while it lasts; in the scenario "resume" the agent is one that does not live yet."""
        self.log.unlink(missing_ok=True)
        if scenario != "resume" or who == "keeper":
            with traced(self.pid_of(who), self.log, *options):
                yield
            return
        order = self.baton.build / "order"
        order.write_text(" ".join(options))
        yield
        assert not order.exists(), "no agent has read the order"

    def seen(self, scenario, who):
        """The calls of the process in the scenario, when nothing fails."""
        with self.watched(scenario, who):
            assert getattr(self, scenario)() == 0
        return names_in(self.log)

    def case(self, scenario, who, name, error, when=1):
        """The promises are judged here; the answer is what else there is to tell of it, or None if the call never came."""
        baton, what = self.baton, f"{scenario}: {who}: {name} {when}: {error}"
        since = len(baton.log())
        self.load.mark("before")
        try:
            with self.watched(scenario, who, *inject(name, error, when)):
                status = getattr(self, scenario)()
            hit = self.log.exists() and injected(self.log)
            counts = self.load.mark(what)
            assert baton.process.poll() is None, f"the keeper ended: {baton.process.returncode}"
            assert counts.refused == 0 and counts.failed_otherwise == 0, counts
            reports = [p.read_text(errors="replace") for p in baton.sanitizer_dir.iterdir()]
            assert not reports, reports[0]
            said = collections.Counter(re.findall(r"level=(?:error|warning) event=(\S+)", baton.log()[since:]))
            said -= self.USUAL[scenario]
            if status or {"agent.restarted", "keeper.agent-died"} & set(said):  # all is well again, and not by chance
                assert self.upgrade() == 0, "the next upgrade came to nothing"
        except (AssertionError, TimeoutError, IndexError, ValueError, subprocess.TimeoutExpired) as e:
            raise AssertionError(f"{what}: {type(e).__name__} {e}\n{ask_status(baton)}\n{baton.tail()}") from e
        outcome = sorted(set(said) - {"epoch.exited"})
        outcome += [f"{counts.failed} cut"] if scenario == "upgrade" and counts.failed else []
        outcome += ["the order was not taken"] if status == 1 else []
        return (", ".join(outcome) or "plain success") if hit else None

    def end(self):
        """It can go on and end: a crash, an upgrade, a stop."""
        self.crash()
        assert self.upgrade() == 0
        assert self.baton.stop() == 0, self.baton.tail()
