# SPDX-License-Identifier: MIT
"""The example server in Envoy's place: the same protocol, but it misbehaves at one exact step when told so.

    server = Example(baton, listener)
    server.run("--retry-tokens", "1000")
    server.order("before-pass-1:crash")      the next start does it; the one after that is a good one
"""
from .instance import build_dir, wait_until


class Example:
    def __init__(self, baton, *listeners, concurrency=2):
        self.baton, self.listeners, self.concurrency = baton, listeners, concurrency
        self.orders = baton.dir / "orders"

    def run(self, *options, wait=True):
        # Not read by anyone, but there must be one: it is what baton copies and watches.
        self.baton.config_path.write_text("static_resources: {}\n")
        addresses = [word for x in self.listeners for word in ("--listen", x.target)]
        self.baton.start("--handover", "envoy", *options, "--", build_dir() / "baton-example-server", "-c",
                         self.baton.config_path, "--concurrency", str(self.concurrency), "--body", self.listeners[0].body,
                         "--fault-file", self.orders, *addresses)
        if wait:
            self.baton.wait_event("epoch.accepted")
        return self

    def order(self, *faults):
        new = self.orders.with_suffix(".new")
        new.write_text("".join(f"{f}\n" for f in faults))
        new.rename(self.orders)

    def wait_taken(self):
        """A start has read its orders."""
        wait_until(lambda: not self.orders.exists(), "a start takes the orders")
