# SPDX-License-Identifier: MIT
"""What goes on beside a test: a thread that does one thing again and again while the block lasts."""
import threading


class Background(threading.Thread):
    """`once()` is called until the end of the block, with a pause between two calls."""

    pause_s = 0.005

    def __init__(self):
        super().__init__(daemon=True)
        self._end = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self._end.set()
        self.join()

    def run(self):
        while not self._end.wait(self.pause_s):
            self.once()

    def once(self):
        raise NotImplementedError
