# SPDX-License-Identifier: MIT
"""What clients are told of upgrades of real Envoys, and what is told later."""
import os
import signal

from support.config import Listener
from support.envoys import NEWEST, envoy


def test_a_refused_upgrade_is_exit_5_and_told_until_something_later_is(baton):
    baton.run(envoy(NEWEST), listeners=[Listener(body="old")])
    good = baton.config_path.read_text()
    baton.config_path.write_text(good + "\nno_such_field: 1\n")
    done = baton.cli("upgrade", check=5, timeout=60)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and "epoch 0 serves on" in done.stderr, done.stderr
    assert baton.cli("why").stdout.startswith("an upgrade was refused: ")
    baton.config_path.write_text(good)
    assert baton.cli("upgrade", check=0, timeout=60).stdout.endswith("serves, it was 0\n")
    assert baton.cli("why").stdout.rstrip().endswith("; a later one was committed")
    moment = baton.moment()
    baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    assert baton.cli("why").stdout.startswith("the proxy ended: signal:KILL")


def test_a_client_learns_the_end_from_the_next_agent(baton):
    baton.run(envoy(NEWEST), listeners=[Listener(body="old")])
    client = baton.client("upgrade")
    baton.wait_event("upgrade.started")
    baton.kill_agent()
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0 and out.endswith("serves, it was 0\n"), err


def test_twenty_clients_at_once_are_all_told_of_a_commit_and_a_killed_one_changes_nothing(baton):
    baton.run(envoy(NEWEST), listeners=[Listener(body="old")])
    clients = [baton.client("upgrade") for _ in range(20)]
    os.kill(clients[7].pid, signal.SIGKILL)
    ends = [(c.communicate(timeout=120), c.returncode) for c in clients]
    for number, (said, status) in enumerate(ends):
        assert status == (-signal.SIGKILL if number == 7 else 0), said
        assert number == 7 or " serves, it was " in said[0]
