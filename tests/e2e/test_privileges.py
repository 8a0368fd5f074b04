# SPDX-License-Identifier: MIT
"""With how little baton works: capability by capability, as a user that nobody knows, on a file system that cannot be written to."""
import os
import pathlib
import shutil
import subprocess

import pytest
from support.client import body_of
from support.config import Config, Listener
from support.crash import spoil_state, tell
from support.envoys import NEWEST, envoy, for_everybody
from support.instance import QUIET, wait_until
from support.users import NEEDED, NOBODY, as_uid, free_low_port, ids_of, with_capabilities

pytestmark = pytest.mark.root


def goes_through_all(baton):
    """What an instance has to go through."""
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    baton.cli("upgrade", check=0)


# ---- capabilities --------------------------------------------------------------------------------------------


READ_ONLY = ("unshare", "--mount", "--propagation", "private", "sh", "-c",
             'mount --bind "$0" "$0" && mount --bind /dev/shm /dev/shm && mount -o remount,bind,ro / && exec "$@"')


def assert_read_only(pid):
    root = next(line for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if line.split()[4] == "/")
    assert root.split()[5].split(",")[0] == "ro"


def test_these_capabilities_a_run_directory_and_dev_shm_are_all_that_it_needs(baton, hammer):
    listener = Listener(port=free_low_port())
    baton.run_dir.mkdir()
    baton.run(for_everybody(envoy(NEWEST)), listeners=[listener], options=["--proxy-user", "nobody", "--stable", "0"],
              prefix=(*READ_ONLY, str(baton.run_dir), *with_capabilities(*NEEDED, "net_bind_service")))
    assert_read_only(baton.proxy_pid())
    with hammer(listener) as load:
        goes_through_all(baton)
    tell("these capabilities a run directory and dev shm are all that it needs", load)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert baton.stop() == 0


def test_a_slow_start_is_told_from_a_hang_without_the_right_to_look_into_others(baton, ads):
    """Else an agent that has lost its state would kill it."""
    ads.down()
    baton.run(for_everybody(envoy(NEWEST)), Config([], ads_port=ads.port), options=["--proxy-user", "nobody"], wait=False,
              prefix=with_capabilities(*NEEDED))
    baton.wait_event("epoch.launched")
    wait_until(lambda: (baton.run_dir / "e0" / "admin").exists(), "it starts, and waits for its control plane")
    pid = next(e["pid"] for e in baton.status()["epochs"])
    spoil_state(baton)
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)
    ads.up()
    baton.wait_event("epoch.accepted")
    assert baton.proxy_pid() == pid and baton.events("epoch.hung") == []


@pytest.mark.parametrize("missing", NEEDED)
def test_what_is_missing_is_named(baton, missing):
    Config().write(baton.config_path)
    baton.start("--proxy-user", "nobody", "--", envoy(NEWEST), "-c", baton.config_path, prefix=with_capabilities(*set(NEEDED) - {missing}))
    assert baton.wait_exit() == 2
    assert f"baton lacks CAP_{missing.upper()}: " in baton.log()


def test_a_proxy_of_the_same_user_needs_no_capability_at_all(baton, hammer):
    listener = Listener()
    baton.run(listeners=[listener], options=["--stable", "0"], prefix=with_capabilities())
    assert pathlib.Path(f"/proc/{baton.agent_pid()}/status").read_text().count("CapEff:\t0000000000000000") == 1
    with hammer(listener) as load:
        goes_through_all(baton)
    tell("a proxy of the same user needs no capability at all", load)
    assert load.refused == 0 and load.failed_otherwise == 0


# ---- anybody, anywhere ---------------------------------------------------------------------------------------


def test_a_user_without_an_entry_and_a_home_finds_a_run_directory(baton, hammer):
    uid, listener = 60000 + os.getpid() % 4000, Listener()
    home = pathlib.Path(f"/tmp/baton-{uid}")
    baton.run_dir = home / "x"
    Config([listener]).write(baton.config_path)
    baton.build = for_everybody(baton.build)
    env = {k: v for k, v in baton.environment().items() if k not in ("HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR")}
    prefix = as_uid(uid, 0, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")

    def client(*words):
        return subprocess.run([*prefix, *baton.command(words[0], "--name", "x", *words[1:])], env=env, capture_output=True, text=True, timeout=30, cwd="/")

    command = [*prefix, *baton.command("run", "--name", "x", "--stable", "0", "--", for_everybody(envoy(NEWEST)), "-c", baton.config_path, *QUIET)]
    baton.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=baton._log, stderr=baton._log, cwd="/")
    try:
        baton.wait_event("epoch.accepted")
        assert ids_of(baton.proxy_pid()) == ({uid}, {0}, set())
        with hammer(listener) as load:
            goes_through_all(baton)
            assert client("upgrade").returncode == 0
        tell("a user without an entry and a home finds a run directory", load)
        assert load.refused == 0 and load.failed_otherwise == 0
        assert "serving" in client("status").stdout and client("why").returncode == 0
        assert client("stop").returncode == 0 and baton.wait_exit() == 0
    finally:
        baton.finish(judge=False)
        shutil.rmtree(home, ignore_errors=True)


def test_that_user_needs_no_more_to_write_to(baton, hammer):
    listener, uid = Listener(), 12345
    baton.run_dir.mkdir()
    os.chown(baton.run_dir, uid, 0)
    baton.build = for_everybody(baton.build)
    baton.run(for_everybody(envoy(NEWEST)), listeners=[listener], options=["--stable", "0"], prefix=(*READ_ONLY, str(baton.run_dir), *as_uid(uid, 0)))
    assert_read_only(baton.proxy_pid())
    with hammer(listener) as load:
        goes_through_all(baton)
    tell("that user needs no more to write to", load)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert baton.stop() == 0


def capabilities_of(pid):
    return next(line.split()[1] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("CapEff"))


def test_without_root_a_capability_that_is_handed_down_opens_low_ports(baton, hammer):
    listener, uid = Listener(port=free_low_port()), 12345
    baton.run_dir.mkdir()
    os.chown(baton.run_dir, uid, uid)
    baton.build = for_everybody(baton.build)
    baton.run(for_everybody(envoy(NEWEST)), listeners=[listener], options=["--stable", "0"],
              prefix=as_uid(uid, uid, "--inh-caps=-all,+net_bind_service", "--ambient-caps=-all,+net_bind_service", "--no-new-privs"))
    assert ids_of(baton.proxy_pid())[0] == {uid}
    with hammer(listener) as load:
        goes_through_all(baton)
    tell("without root a capability that is handed down opens low ports", load)
    assert load.refused == 0 and load.failed_otherwise == 0


def test_capabilities_that_baton_was_handed_down_do_not_reach_another_user(baton):
    listener, uid = Listener(port=free_low_port()), 12345
    caps = ",".join(["-all", *(f"+{name}" for name in (*NEEDED, "fowner", "net_bind_service"))])
    baton.run_dir.mkdir()
    os.chown(baton.run_dir, uid, uid)
    baton.build = for_everybody(baton.build)
    baton.run(for_everybody(envoy(NEWEST)), listeners=[listener], options=["--proxy-user", "nobody"],
              prefix=as_uid(uid, uid, f"--inh-caps={caps}", f"--ambient-caps={caps}"))
    assert ids_of(baton.process.pid)[0] == {uid} and ids_of(baton.proxy_pid())[0] == {NOBODY.pw_uid}
    assert int(capabilities_of(baton.agent_pid()), 16) and not int(capabilities_of(baton.proxy_pid()), 16)
    assert body_of(listener) == "hello"
    baton.cli("upgrade", check=0)
    assert baton.stop() == 0


OPEN_TO_ALL = ("unshare", "--net", "sh", "-c", 'ip link set lo up && echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start && exec "$@"', "sh")


def test_ports_that_everybody_may_bind_are_opened_by_the_proxy(baton):
    baton.run(for_everybody(envoy(NEWEST)), listeners=[Listener(port=80)], options=["--proxy-user", "nobody", "--log-level", "info"], prefix=OPEN_TO_ALL)
    assert "event=socket.opened" not in baton.log() and "event=socket.held" in baton.log()
