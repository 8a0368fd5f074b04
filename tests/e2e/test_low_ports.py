# SPDX-License-Identifier: MIT
"""Port 80 for an Envoy that runs as nobody: baton binds what the proxy has no right to, and the sockets live on as all others do."""
import os
import signal
import socket

import pytest
from control_plane import FileLds
from support.client import body_of, refuses
from support.config import Config, Listener
from support.crash import tell
from support.envoys import NEWEST, VERSIONS, envoy, for_everybody
from support.instance import wait_until
from support.users import NEEDED, NOBODY, free_low_port, held_by, ids_of, with_capabilities

pytestmark = pytest.mark.root
AS_NOBODY = ("--proxy-user", "nobody", "--stable", "0", "--log-level", "info")


def low(**fields):
    return Listener(port=free_low_port(fields.get("address", "127.0.0.1")), **fields)


def proxy():
    return for_everybody(envoy(NEWEST))


def opened(baton):
    return baton.log().count("event=socket.opened")


def test_it_serves_over_crashes_upgrades_more_workers_and_rollbacks(baton, hammer):
    listener = low()
    baton.run(proxy(), listeners=[listener], options=AS_NOBODY)
    assert ids_of(baton.proxy_pid())[0] == {NOBODY.pw_uid} and held_by(baton, listener) == 2
    with hammer(listener) as load:
        for _ in range(2):
            moment = baton.kill_proxy()
            baton.wait_event("epoch.accepted", since=moment)
        baton.cli("upgrade", "--", proxy(), "-c", baton.config_path, "--concurrency", "4", "--log-level", "warning", check=0)
        assert held_by(baton, listener) == 4
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        baton.cli("rollback", check=0)
        wait_until(lambda: held_by(baton, listener) == 2, "what the fewer workers leave is closed")
        moment = baton.kill_agent()
        baton.wait_event("agent.restarted", since=moment)
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
    tell("it serves over crashes upgrades more workers and rollbacks", load)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert opened(baton) == 4, "each socket once: the rest is handed on"
    assert baton.stop() == 0 and refuses(listener)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_kind_of_listener_is_opened_as_envoy_would(baton, version):
    six, one, high = low(name="six", address="::1"), low(name="one", reuse_port=False), Listener(name="high")
    both = low(name="both", address="::")
    document = both.to_dict()
    document["address"]["socket_address"]["ipv4_compat"] = True
    listeners = [*(x.to_dict() for x in (six, one, high)), document]
    baton.run(for_everybody(envoy(version)), Config([], extra={"static_resources": {"listeners": listeners}}), options=AS_NOBODY)
    for crashed in (False, True):
        for listener in (six, one, high, both, both.with_(address="127.0.0.1")):
            assert body_of(listener) == "hello"
        assert [held_by(baton, x) for x in (six, one, high, both)] == [2, 1, 2, 2]
        if not crashed:
            moment = baton.kill_proxy()
            baton.wait_event("epoch.accepted", since=moment)
    assert opened(baton) == 5, "the high ones are its own"


def test_a_port_that_is_taken_is_named_and_envoy_ends_with_its_own_words(baton):
    listener = low()
    with socket.socket() as taken:
        taken.bind((listener.address, listener.port))
        taken.listen()
        baton.run(proxy(), listeners=[listener], wait=False, options=[*AS_NOBODY, "--retry-tokens", 1, "--retry-initial", "1ms"])
        assert baton.wait_exit() == 1
    event = baton.events("socket.not-opened")[0]
    assert (event["url"], event["error"]) == (listener.url, "Address already in use")
    assert "Permission denied" in baton.log()


def test_without_the_right_to_bind_it_is_as_it_was(baton):
    listener, high = low(), Listener(name="high")
    baton.run(proxy(), listeners=[high], options=AS_NOBODY, prefix=with_capabilities(*NEEDED))
    assert body_of(high) == "hello"
    Config([high, listener]).write(baton.config_path)
    refused = baton.cli("upgrade", check=5)
    assert f"{listener.url} cannot be opened: Permission denied" in refused.stdout + refused.stderr, "the check before the launch agrees"
    assert body_of(high) == "hello"


# ---- on trial ------------------------------------------------------------------------------------------------


def is_free(port):
    """Nobody has it, not even without listening there."""
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("end", ["rollback", "kill"])
def test_what_was_opened_for_a_candidate_is_closed_with_it(baton, hammer, end):
    old, new = low(), low(name="new")
    baton.run(proxy(), listeners=[old], options=AS_NOBODY)
    with hammer(old) as load:
        Config([old, new]).write(baton.config_path)
        upgrade = baton.client("upgrade", "--observe", "1h", "--", proxy(), "-c", baton.config_path, "--concurrency", "3", "--log-level", "warning")
        warming = baton.wait_event("upgrade.warming")
        assert opened(baton) == 2 + 1 + 3 and body_of(new) == "hello"
        assert held_by(baton, old) == 2, "what is opened for one on trial is not what serves"
        if end == "rollback":
            baton.cli("rollback", check=0)
        else:
            candidate = next(e["pid"] for e in baton.status()["epochs"] if e["epoch"] == warming["epoch"])
            os.kill(candidate, signal.SIGKILL)
        assert upgrade.wait(30) == 5, upgrade.communicate()
        upgrade.communicate()
        wait_until(lambda: is_free(new.port), "the port is free again")
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
    tell("what was opened for a candidate is closed with it", load)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert held_by(baton, old) == 2 and body_of(old) == "hello"


PLACES = ("store", "store-before", "take", "take-before", "send", "send-before")


def test_an_agent_that_dies_while_a_port_is_opened_costs_nothing(new_baton, hammer, count):
    baton = new_baton(fault=True)
    old, new = low(), low(name="new")
    die, rounds = baton.dir / "die", 0
    # Without CAP_SYS_PTRACE: whether an answer was given already is seen all the same, and one too many would end Envoy.
    baton.run(proxy(), listeners=[old], options=AS_NOBODY, env={"BATON_DIE_AT": str(die)}, prefix=with_capabilities(*NEEDED, "net_bind_service"))
    with hammer(old) as load:
        for place in PLACES:
            for n in count(range(1, 13), (5,)):  # from the launch on: admin, two for the old listener, two for the new one
                adds = rounds % 2 == 0
                rounds += 1
                Config([old, new] if adds else [old]).write(baton.config_path)
                moment = baton.moment()
                upgrade = baton.client("upgrade")
                baton.wait_event("epoch.launched", since=moment)
                die.write_text(f"{place} {n}\n")
                assert upgrade.wait(30) == 0, (place, n, upgrade.communicate())
                upgrade.communicate()
                die.unlink(missing_ok=True)
                if adds:
                    assert body_of(new) == "hello"
                    wait_until(lambda: held_by(baton, new) == 2, "it is held")
                else:
                    wait_until(lambda: is_free(new.port), "what is not listened on is closed")
    tell("an agent that dies while a port is opened costs nothing", load)
    print(f"agents died: {len(baton.events('agent.restarted'))}")
    assert load.refused == 0 and load.failed_otherwise == 0
    assert baton.events("agent.restarted") and baton.events("epoch.exited", accepted=False) == []


# ---- from a control plane ------------------------------------------------------------------------------------


def test_a_listener_of_the_control_plane_comes_survives_a_crash_and_goes(baton, hammer):
    first, late = low(), low(name="late")
    plane = FileLds(baton.dir / "lds.json", [first.to_dict()])
    plane.path.chmod(0o644)
    baton.run(proxy(), Config([], lds_file=plane.path), options=AS_NOBODY)
    wait_until(lambda: held_by(baton, first) == 2, "it is there")
    with hammer(first) as load:
        plane.set([first.to_dict(), late.to_dict()])
        wait_until(lambda: held_by(baton, late) == 2 and not refuses(late), "it comes")
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        assert body_of(late) == "hello" and held_by(baton, late) == 2
        plane.set([first.to_dict()])
        wait_until(lambda: is_free(late.port), "it goes")
        plane.set([first.to_dict(), late.to_dict()])
        wait_until(lambda: not refuses(late), "it comes back")
    tell("a listener of the control plane comes survives a crash and goes", load)
    assert load.refused == 0 and load.failed_otherwise == 0
