# SPDX-License-Identifier: MIT
"""A stderr that nobody reads: with baton it is no worse than with Envoy alone, and baton itself never waits for it."""
import contextlib
import os
import signal
import subprocess
import time

import pytest

from support.config import Config, Listener
from support.crash import MANY, ask_status, children, kill, proxies, serves, tell, wait_status
from support.envoys import NEWEST, VERSIONS, envoy
from support.instance import wait_until

TRACE = ("--concurrency", "2", "--log-level", "trace")


@contextlib.contextmanager
def pipe():
    """(read end, write end) of a pipe; the read end stays open, so that nobody gets EPIPE."""
    r, w = os.pipe()
    try:
        yield r, w
    finally:
        os.close(r)
        os.close(w)


def fill(w):
    """Until it takes not one byte more."""
    os.set_blocking(w, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(w, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(w, b"x")
    os.set_blocking(w, True)


def blocked_on_write(pid):
    """Some thread of it waits in write() or writev()."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/syscall") as f:
                if f.read().split()[0] in ("1", "20"):
                    return True
        except (OSError, IndexError):
            continue
    return False


def asked(listener, times):
    """How many of so many requests were answered. A stuck worker answers none; then there is no use in asking on."""
    good = 0
    for _ in range(times):
        try:
            with listener.connect(timeout=3) as s:
                s.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                good += b" 200 " in s.recv(4096)
        except OSError:
            return good
    return good


def until_stuck(listener, pid):
    """Asks until the proxy is stuck in a write of its own log; true if it came to that."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if blocked_on_write(pid) and not asked(listener, 1) and blocked_on_write(pid):
            return True
        asked(listener, 5)
    return False


@pytest.mark.parametrize("version", VERSIONS)
def test_a_proxy_whose_stderr_nobody_reads_is_no_different_from_envoy_alone(baton, version):
    """It stands still as soon as the pipe is full, alone and under baton; and goes on as soon as somebody reads."""
    listener = Listener()
    Config([listener]).write(baton.config_path)

    with pipe() as (r, w):
        alone = subprocess.Popen([envoy(version), "-c", str(baton.config_path), *TRACE, "--disable-hot-restart"],
                                 stdin=subprocess.DEVNULL, stdout=w, stderr=w)
        try:
            stuck_alone = until_stuck(listener, alone.pid)
        finally:
            alone.kill()
            alone.wait()

    with pipe() as (r, w):
        baton.run(envoy(version), Config([listener]), proxy_args=TRACE, options=MANY, wait=False, stdout=w, stderr=w)
        pid = wait_until(lambda: proxies(baton.process.pid), "a proxy")[0]
        stuck_under_baton = until_stuck(listener, pid)
        answers = ask_status(baton)  # baton itself is not stuck
        drain = subprocess.Popen(["cat"], stdin=r, stdout=subprocess.DEVNULL)
        os.close(r)
        r = os.dup(w)  # only so that the end of the block has something to close
        try:
            status = wait_status(baton, serves(), "serving once somebody reads")
            good = asked(listener, 20)
            assert baton.stop() == 0
        finally:
            drain.kill()
            drain.wait()
    tell(f"envoy {version}, stuck stderr", stuck_alone=stuck_alone, stuck_under_baton=stuck_under_baton, answered_after=good)
    assert stuck_alone, "Envoy alone did not get stuck: this shows nothing"
    assert stuck_under_baton == stuck_alone
    assert answers and status["epochs"][0]["pid"] == pid, "it was restarted for what is no crash"
    assert good == 20


@pytest.mark.parametrize("log_format", ("text", "json"))
def test_baton_never_waits_for_its_own_log(baton, hammer, log_format):
    """Its stderr is full; the proxy logs elsewhere. It recovers from crashes of both, and stops."""
    listener = Listener()
    with pipe() as (_, w):
        baton.run(listeners=[listener], options=[*MANY, "--log-format", log_format, "--log-level", "debug"],
                  proxy_args=("--concurrency", "2", "--log-level", "off"), stdout=w, stderr=w)
        fill(w)
        with hammer(listener, timeout_ms=30000) as load:
            old = ask_status(baton)
            kill(old["epochs"][0]["pid"])
            status = wait_status(baton, serves(above=old["epochs"][0]["epoch"]), "recovery")
            kill(status["agent"]["pid"])
            status = wait_status(baton, serves(not_agent=status["agent"]["pid"]), "the next agent")
            kill(status["epochs"][0]["pid"])
            status = wait_status(baton, serves(above=status["epochs"][0]["epoch"]), "recovery again")
        tell("baton's own log is stuck", load)
        assert load.refused == 0 and load.failed_otherwise == 0, load
        assert baton.stop() == 0


def test_a_pipe_that_is_full_in_the_very_moment_of_a_log_line_stops_nobody(baton):
    """Others write into the same pipe all the time: whoever asks first whether there is room, and then writes, waits for
    ever one day. Many lines, many writers, never a reader."""
    listener = Listener()
    with pipe() as (r, w):
        baton.run(listeners=[listener], options=["--log-level", "debug", "--retry-tokens", "1000", "--stable", "0s"],
                  proxy_args=("--concurrency", "2", "--log-level", "off"), stdout=w, stderr=w)
        agent = ask_status(baton)["agent"]["pid"]
        # Takes one page out and puts one in, as fast as it can: there is room, and in the next moment there is none.
        racer = subprocess.Popen(["/bin/sh", "-c", "exec 4</dev/zero; while :; do dd bs=4096 count=200 <&3 >/dev/null 2>&1 & "
                                  "dd if=/dev/zero bs=4096 count=200 >&5 2>/dev/null; wait; done"],
                                 pass_fds=(), stdin=subprocess.DEVNULL, preexec_fn=lambda: (os.dup2(r, 3), os.dup2(w, 5)),
                                 close_fds=False, start_new_session=True)
        try:
            for _ in range(8):
                old = ask_status(baton)
                kill(old["epochs"][0]["pid"])
                wait_status(baton, serves(above=old["epochs"][0]["epoch"]), "recovery")
        finally:
            os.killpg(racer.pid, signal.SIGKILL)
            racer.wait()
        fill(w)
        assert ask_status(baton)["agent"]["pid"] == agent, "the agent was replaced: it had hung"
        assert baton.stop() == 0
