# SPDX-License-Identifier: MIT
"""Upgrades on real Envoys under load."""
import json

from support.config import Listener
from support.envoys import VERSIONS, envoy


def upgrade(baton, *args, check=0, timeout=60):
    return baton.cli("upgrade", *args, check=check, timeout=timeout)


def test_a_new_config_and_every_version_serve_without_a_failed_request(baton, hammer):
    baton.run(envoy(VERSIONS[-1]), listeners=[Listener(body="old")])
    listener = baton.config.listeners[0]
    with hammer(listener, clients=8, kept=2) as load:
        baton.config.listeners[0].body = "new"
        baton.config.write(baton.config_path)
        print(upgrade(baton).stdout)
        load.mark("versions")
        for version in VERSIONS:
            moment = baton.moment()
            print(upgrade(baton, "--", envoy(version), "-c", baton.config_path, "--concurrency", "2").stdout)
            baton.wait_event("upgrade.committed", since=moment)
    print(json.dumps(baton.status(), indent=1))
    assert load.failed == 0, load
