# SPDX-License-Identifier: MIT
"""The control server with nothing behind it (tests/support/fake_control.c), and clients of it."""
import http.client
import json
import queue
import socket
import subprocess
import threading

from .instance import WAIT_S, build_dir, marked_processes, wait_until


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("baton", timeout=WAIT_S)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class FakeAgent:
    """`tell("end * committed 1 2")` plays what happens; `order()` is the next order that arrived."""

    def __init__(self, baton):
        self.baton = baton
        baton.run_dir.mkdir()
        self.socket = baton.run_dir / "control.sock"
        self.process = subprocess.Popen([build_dir() / "fake_control", baton.run_dir], env=baton.environment(), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self._oks, self._orders, self._asked = queue.Queue(), queue.Queue(), queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._oks.get(timeout=WAIT_S)

    def _read(self):
        for line in self.process.stdout:
            if line == "ok\n":
                self._oks.put(line)
            elif line.startswith("asked "):
                self._asked.put(int(line[6:]))
            else:
                self._orders.put(json.loads(line))

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self._oks.get(timeout=WAIT_S)

    def order(self):
        return self._orders.get(timeout=WAIT_S)

    def asked(self):
        """The next ticket whose end was asked for; who did waits from now on, unless it is over."""
        return self._asked.get(timeout=WAIT_S)

    def pid(self):
        """Of the agent that answers now; `process` is what starts the next one."""
        return wait_until(lambda: next((p for p in marked_processes(self.baton.mark) if parent_of(p) == self.process.pid), None), "an agent")

    def no_order(self):
        """Whether none has arrived that was not asked for; answered orders are told before their answers."""
        return self._orders.empty()

    def ask(self, method, path, body=None):
        """(status, the JSON of the answer)"""
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def client(self, *args, cwd=None):
        return self.baton.client(*args, cwd=cwd)

    def quit(self):
        if self.process.poll() is None:
            self.tell("quit")
        return self.process.wait(WAIT_S)


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def ended(client):
    """(exit status, stdout, stderr) of a client."""
    out, err = client.communicate(timeout=WAIT_S)
    return client.returncode, out, err
