# SPDX-License-Identifier: MIT
"""Who holds the sockets that listen on a port, and whether whoever connects there is served.

The kernel spreads connections over all sockets of a port, or over those that a program of baton's selects. One that no proxy
accepts from is a black hole for its share of the clients; it cannot be seen from the others.
"""
import collections
import contextlib
import os
import socket
import subprocess
import sys
import time

from .instance import marked_processes

PATIENCE_S = 10  # a socket that nobody accepts from answers never; a busy machine answers late


def listening(port):
    """The inodes of the TCP sockets that listen on this port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as f:
            for line in list(f)[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(int(fields[9]))
    return found


def holders(baton, port):
    """{inode: {pid, ...}} of what listens on this port, for the processes of this baton."""
    found = {inode: set() for inode in listening(port)}
    for pid in marked_processes(baton.mark):
        try:
            for fd in os.scandir(f"/proc/{pid}/fd"):
                link = os.readlink(fd.path)
                if link.startswith("socket:[") and int(link[8:-1]) in found:
                    found[int(link[8:-1])].add(pid)
        except OSError:
            continue  # it ended, or closed it
    return found


def only_held_by_baton(baton, port, proxies):
    """The listening sockets that no proxy has: connections to them wait for ever, unless one is on the way."""
    return {inode for inode, pids in holders(baton, port).items() if not pids & set(proxies)}


def each_is_served(listener, n=200):
    """n fresh connections, all open at once; each gets an answer. Returns how many had each body, and the slowest in ms."""
    begin, slowest = time.monotonic(), 0
    open_ones, bodies = [], collections.Counter()
    try:
        for _ in range(n):
            s = socket.create_connection((listener.address, listener.port), PATIENCE_S)
            s.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            open_ones.append(s)
        for number, s in enumerate(open_ones):
            answer = b""
            try:
                while piece := s.recv(65536):
                    answer += piece
            except OSError as e:
                raise AssertionError(f"connection {number} of {n} to {listener.target}: {e} after {answer!r}") from None
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b" 200 " in head, f"connection {number} of {n} to {listener.target}: {answer!r}"
            bodies[body.decode()] += 1
            slowest = max(slowest, time.monotonic() - begin)
    finally:
        for s in open_ones:
            s.close()
    return bodies, round(slowest * 1000)


FOREIGN = """
import http.server, socket, sys

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "7")
        self.end_headers()
        self.wfile.write(b"foreign")

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

server = Server((sys.argv[1], int(sys.argv[2])), Answer)
print("listens", flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def foreigner(listener):
    """Another process of this user that listens on the same address and port, and answers "foreign"."""
    process = subprocess.Popen([sys.executable, "-c", FOREIGN, listener.address, str(listener.port)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "listens\n"
        yield process
    finally:
        process.kill()
        process.communicate()
