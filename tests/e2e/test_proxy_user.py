# SPDX-License-Identifier: MIT
"""--proxy-user: every process of the proxy runs as somebody else, and can do to baton what anybody else can: nothing."""
import os
import pathlib
import pwd

import pytest
from support.config import Config, Listener
from support.envoys import NEWEST, envoy, for_everybody

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
