# SPDX-License-Identifier: MIT
"""keeper and agent replaced in place: whoever is served does not notice, whatever the next version is like."""
from support.config import Listener
from support.instance import wait_until
from support.self import Installation, upgrade_self


def test_manual(new_baton, hammer):
    home = Installation()
    baton = new_baton(build=home.bin)
    listener = Listener()
    baton.run(listeners=[listener])
    before = baton.status()
    with hammer(listener) as load:
        moment = baton.moment()
        print(upgrade_self(baton))
        print(baton.wait_event("self.replaced", since=moment))
    after = baton.status()
    print(load, before, after)
    assert load.failed == 0
