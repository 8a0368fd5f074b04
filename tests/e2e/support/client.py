# SPDX-License-Identifier: MIT
"""Single clients, where a test must know what one connection sees. For load there is load.Hammer."""
import http.client
import socket

from .config import DELAY_HEADER
from .instance import WAIT_S, wait_until


class UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=WAIT_S):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(where, path, method="GET", timeout=WAIT_S):
    """(status, text) of one request; `where` is the path of a Unix socket or "HOST:PORT"."""
    text = str(where)
    connection = UnixHTTPConnection(text, timeout) if text.startswith("/") else http.client.HTTPConnection(text, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def admin_stat(baton, name, epoch=0):
    """One counter or gauge of a generation, asked at its admin socket; 0 if it has none of that name."""
    text = ask(baton.run_dir / f"e{epoch}" / "admin", f"/stats?filter=^{name}$")[1]
    return int(text.rpartition(":")[2]) if ":" in text else 0


def refuses(listener):
    try:
        listener.connect(timeout=2).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        return False
    return False


def body_of(listener):
    with Client(listener) as c:
        return c.get()


class Client:
    """One HTTP/1.1 connection that is kept. `ended` tells how it went: None, "close" (an answer said so), "eof", "reset"."""

    def __init__(self, listener, timeout=WAIT_S):
        self.socket = listener.connect(timeout)
        self.ended = None
        self.closes = False
        self._data = b""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, delay_ms=0, path="/", extra=""):
        delay = f"{DELAY_HEADER}: {delay_ms}\r\n" if delay_ms else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n{delay}{extra}\r\n".encode())

    def _more(self):
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            self.ended = "reset"
            return False
        if not piece:
            self.ended = "eof"
            return False
        self._data += piece
        return True

    def receive_head(self):
        """The head of the next answer, or None when the connection ended before it was whole."""
        while b"\r\n\r\n" not in self._data:
            if not self._more():
                return None
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head.decode().lower()

    def receive(self):
        """The body of the next answer, or None when the connection ended before it was whole."""
        head = self.receive_head()
        if head is None:
            return None
        self.closes = "connection: close" in head
        length = int(head.partition("content-length:")[2].split()[0])
        while len(self._data) < length:
            if not self._more():
                return None
        body, self._data = self._data[:length], self._data[length:]
        return body.decode()

    def get(self, **how):
        self.send(**how)
        return self.receive()

    def exchange(self, data, n=None):
        """Raw bytes over a tunnel: sends, and receives as many."""
        self.socket.sendall(data)
        while len(self._data) < (n or len(data)):
            if not self._more():
                return None
        got, self._data = self._data, b""
        return got

    def rest(self):
        """What came and was not taken yet."""
        return self._data

    def wait_end(self):
        """How the connection ends: "eof" or "reset"."""
        while self.ended is None:
            self._more()
        return self.ended


def in_flight(baton, n, epoch=0, prefix="http.main"):
    """Waits until the proxy itself counts so many requests under way."""
    wait_until(lambda: admin_stat(baton, f"{prefix}.downstream_rq_active", epoch) == n, f"{n} requests in flight")
