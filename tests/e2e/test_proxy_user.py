# SPDX-License-Identifier: MIT
"""--proxy-user: every process of the proxy runs as somebody else, and can do to baton what anybody else can: nothing."""
import os
import pathlib
import pwd
import random
import socket

import pytest
from support.config import Config, Listener
from support.envoys import NEWEST, envoy, for_everybody
from support.instance import wait_until

pytestmark = pytest.mark.root
NOBODY = pwd.getpwnam("nobody")


def ids_of(pid):
    """(the four uids, the four gids, the other groups) of a process."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return set(map(int, fields["Uid"].split())), set(map(int, fields["Gid"].split())), set(map(int, fields["Groups"].split()))


def figures(load):
    print(f"requests={load.requests} failed={load.failed} refused={load.refused} gap_ms={load.longest_gap_ms}")


def test_every_generation_runs_as_it_and_a_crash_and_an_upgrade_refuse_nobody(baton, hammer):
    listener = Listener()
    baton.run(for_everybody(envoy(NEWEST)), listeners=[listener], options=["--proxy-user", "nobody", "--stable", "0"])
    with hammer(listener) as load:
        for _ in range(2):
            assert ids_of(baton.proxy_pid()) == ({NOBODY.pw_uid}, {NOBODY.pw_gid}, {NOBODY.pw_gid})
            moment = baton.kill_proxy()
            baton.wait_event("epoch.accepted", since=moment)
        baton.cli("upgrade", check=0)
        assert ids_of(baton.proxy_pid())[0] == {NOBODY.pw_uid}
        moment = baton.kill_agent()
        baton.wait_event("agent.restarted", since=moment)
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
    figures(load)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert ids_of(baton.proxy_pid())[0] == {NOBODY.pw_uid}


# ---- low ports -----------------------------------------------------------------------------------------------


@pytest.fixture
def low_port():
    """A port that only the privileged may bind, free at this moment; others test beside us."""
    start = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if start < 512:
        pytest.skip(f"this kernel lets everybody bind ports from {start} on")
    for port in random.sample(range(100, start), start - 100):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no low port is free")


def workers_of(baton, listener):
    return next((x["held"] for x in baton.status()["listeners"] if x["address"] == listener.url), 0)


def test_a_low_port_serves_over_crashes_upgrades_more_workers_and_rollbacks(baton, hammer, low_port):
    listener = Listener(port=low_port)
    baton.run(for_everybody(envoy(NEWEST)), listeners=[listener], options=["--proxy-user", "nobody", "--stable", "0", "--log-level", "info"])
    assert ids_of(baton.proxy_pid())[0] == {NOBODY.pw_uid} and workers_of(baton, listener) == 2
    with hammer(listener) as load:
        for _ in range(2):
            moment = baton.kill_proxy()
            baton.wait_event("epoch.accepted", since=moment)
        baton.cli("upgrade", "--", for_everybody(envoy(NEWEST)), "-c", baton.config_path, "--concurrency", "4", "--log-level", "warning", check=0)
        assert workers_of(baton, listener) == 4
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        baton.cli("rollback", check=0)
        wait_until(lambda: workers_of(baton, listener) == 2, "what the fewer workers leave is closed")
        moment = baton.kill_agent()
        baton.wait_event("agent.restarted", since=moment)
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
    figures(load)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert len(baton.events("socket.opened")) == 4, "each socket once: the rest is handed on"
