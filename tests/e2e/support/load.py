# SPDX-License-Identifier: MIT
"""The load client as a context manager.

    with hammer(listener, clients=8, kept=2) as load:
        ...                      load flows: every client has had an answer
        load.mark("kill")        the counts from here on are a slice of their own
    assert load.refused == 0     the whole run; load.slices["kill"].failed is a part of it
"""
import json
import os
import select
import signal
import subprocess
import time


class Counts:
    """One line of hammer's report; its fields are attributes."""

    def __init__(self, fields):
        self.fields = fields

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def in_flight(self):
        """Requests that were cut by the death of who served them, however the client came to know."""
        return self.reset + self.eof + self.cut + self.reused_reset + self.reused_eof

    @property
    def failed_otherwise(self):
        """What not even a crash may cause."""
        return self.failed - self.reset - self.eof - self.cut

    def __repr__(self):
        shown = {k: v for k, v in self.fields.items() if v not in (0, {}, [], None) and k != "latencies_us"}
        return f"Counts({shown})"


class Hammer:
    def __init__(self, program, targets, *, clients=8, kept=2, pace_ms=5, timeout_ms=10000, duration_s=600, path="/",
                 headers=(), expect=(), wait_flow=True, cwd=None, histogram=False):
        self._command = [str(program), "--announce", "--mark-fd", "0", f"--clients={clients}", f"--kept={kept}",
                         f"--pace={pace_ms}", f"--timeout={timeout_ms}", f"--duration={duration_s}", f"--path={path}"]
        self._command += [f"--header={h}" for h in headers] + [f"--expect={e}" for e in expect]
        self._command += ["--histogram"] if histogram else []
        self._command += [t if isinstance(t, str) else t.target for t in targets]
        self._wait_flow, self._process, self._buffer, self._cwd = wait_flow, None, b"", cwd
        self.slices = {}
        self.total = None

    def __getattr__(self, name):
        total = self.__dict__.get("total")
        if name.startswith("_") or total is None:
            raise AttributeError(name)
        return getattr(total, name)

    def __repr__(self):
        return f"Hammer({self.total})"

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self._cwd)
        if self._wait_flow:
            line = self._read_line(30)
            if line is None or not line.get("flowing"):
                self.stop()
                raise AssertionError(f"the load does not flow: {line}")
        return self

    def __exit__(self, *exception):
        self.stop()

    def _read_line(self, timeout):
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def mark(self, name):
        """Begins a slice. Returns the counts of the one that ended."""
        self._process.stdin.write(name.encode() + b"\n")
        self._process.stdin.flush()
        return self._take(30)

    def _take(self, timeout):
        line = self._read_line(timeout)
        while line is not None and "slice" not in line:
            line = self._read_line(timeout)
        if line is None:
            raise AssertionError("hammer does not answer")
        counts = Counts(line)
        if counts.slice is None:
            self.total = counts
        else:
            self.slices[counts.slice] = counts
        return counts

    def wait(self, timeout=60):
        """Waits until it ends by itself, by duration."""
        while self.total is None:
            self._take(timeout)
        self.stop()
        return self.total

    def stop(self):
        """Ends the run; requests under way are waited for."""
        if self._process is None:
            return
        process = self._process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            while self.total is None:
                self._take(30)
        except AssertionError:
            process.kill()
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
        self._process = None
