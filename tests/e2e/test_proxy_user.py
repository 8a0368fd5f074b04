# SPDX-License-Identifier: MIT
"""--proxy-user: every process of the proxy runs as somebody else, and can do to baton what anybody else can: nothing."""
import os
import pathlib
import socket
import stat
import subprocess

import pytest
from support.client import Client, body_of, in_flight
from support.config import Config, Listener
from support.crash import tell
from support.envoys import NEWEST, envoy, for_everybody
from support.instance import SHM, wait_until
from support.users import NOBODY, STRANGER, as_uid, as_user, connect, ids_of, send
from support.wrapper import Wrapper

pytestmark = pytest.mark.root
AS_NOBODY = ("--proxy-user", "nobody", "--stable", "0")


def run_as(baton, *options, listener=None, **more):
    return baton.run(for_everybody(envoy(NEWEST)), listeners=[listener or Listener()], options=[*AS_NOBODY, *options], **more)


# ---- who it is -----------------------------------------------------------------------------------------------


def test_every_generation_runs_as_it_and_a_crash_and_an_upgrade_refuse_nobody(baton, hammer):
    listener = Listener()
    run_as(baton, listener=listener)
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
    tell("every generation runs as it and a crash and an upgrade refuse nobody", load)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert ids_of(baton.proxy_pid())[0] == {NOBODY.pw_uid}


def test_the_runs_that_ask_before_an_upgrade_are_its_too(baton):
    wrapper, seen = Wrapper(baton.dir, for_everybody(envoy(NEWEST))), baton.dir / "seen"
    seen.touch()
    seen.chmod(0o666)
    tell = r'printf "%s %s\n" "$(id -u):$(id -g)" "$(echo "$@" | tr "\n" " ")"'
    wrapper.path.write_text(f"#!/bin/sh\n{tell} >>{seen}\n" + wrapper.path.read_text())
    baton.run(wrapper.path, options=AS_NOBODY)
    baton.cli("upgrade", check=0)
    lines = seen.read_text().splitlines()
    assert {line.split()[0] for line in lines} == {f"{NOBODY.pw_uid}:{NOBODY.pw_gid}"}
    assert any("--mode validate" in line for line in lines) and any("--hot-restart-version" in line for line in lines)


@pytest.mark.parametrize("name, ids", [("12345", "12345:12345"), ("12345:0", "12345:0"), ("12345:nogroup", f"12345:{NOBODY.pw_gid}"),
                                       ("nobody:0", f"{NOBODY.pw_uid}:0"), (str(NOBODY.pw_uid), f"{NOBODY.pw_uid}:{NOBODY.pw_gid}")])
def test_a_number_needs_no_entry_and_plain_runs_are_its_too(baton, name, ids):
    wrapper = Wrapper(baton.dir, for_everybody(envoy(NEWEST)))
    wrapper.mode('echo "ids $(id -u):$(id -g) home $HOME"; exit 0')
    done = baton.cli("run", "--proxy-user", name, "--", wrapper.path, "--version", env={"HOME": "/kept"}, run_dir=False)
    assert (done.returncode, done.stdout) == (0, f"ids {ids} home /kept\n"), done.stderr


@pytest.mark.parametrize("name, says", [("no-such-user", "cannot find user 'no-such-user'"), ("nobody:no-such-group", "cannot find group"),
                                        (":0", "is not a USER"), ("nobody:", "is not a USER"), ("4294967295", "cannot find user")])
def test_who_is_not_there_is_a_usage_error(baton, name, says):
    for verb in ("run", "check"):
        done = baton.cli(verb, "--proxy-user", name, "--", envoy(NEWEST), check=2)
        assert "--proxy-user" in done.stdout + done.stderr and says in done.stdout + done.stderr
    assert not baton.run_dir.exists()


def test_who_is_not_root_cannot_run_it_as_another_but_as_himself(baton):
    wrapper = Wrapper(baton.dir, for_everybody(envoy(NEWEST)))
    wrapper.mode("exit 7")
    build = for_everybody(baton.build)

    def run(name):
        return subprocess.run([*as_uid(12345), str(build / "baton"), "run", "--proxy-user", name, "--", str(wrapper.path), "--version"],
                              env=baton.environment(), capture_output=True, text=True, timeout=30, cwd="/")

    refused = run("nobody")
    assert refused.returncode == 2 and "only root" in refused.stderr
    assert run("12345").returncode == 7


def test_a_program_that_only_root_may_run_is_refused_with_its_name(baton):
    program = baton.dir / "envoy-of-root"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o700)
    Config().write(baton.config_path)
    baton.start("--proxy-user", "nobody", "--", program, "-c", baton.config_path)
    assert baton.wait_exit() == 2
    assert f"cannot execute {program}: Permission denied" in baton.log() and "that the user of --proxy-user may execute it" in baton.log()


def test_a_run_directory_that_it_cannot_get_into_is_refused_with_its_name(baton):
    closed = baton.dir / "closed"
    closed.mkdir(mode=0o700)
    baton.run_dir = closed / "r"
    Config().write(baton.config_path)
    baton.start("--proxy-user", "nobody", "--", for_everybody(envoy(NEWEST)), "-c", baton.config_path)
    assert baton.wait_exit() == 1
    assert "run-dir.refused" in baton.log() and "nobody" in baton.log() and str(baton.run_dir) in baton.log()


def test_check_asks_the_proxy_as_that_user(baton):
    wrapper, seen = Wrapper(baton.dir, for_everybody(envoy(NEWEST))), baton.dir / "seen"
    seen.touch()
    seen.chmod(0o666)
    wrapper.mode(f'echo "$(id -u)" >>{seen}')
    Config().write(baton.config_path)
    baton.config_path.chmod(0o600)  # root reads it, and makes the copy that the proxy reads
    baton.cli("check", "--proxy-user", "nobody", "--", wrapper.path, "-c", baton.config_path, check=0)
    assert set(seen.read_text().split()) == {str(NOBODY.pw_uid)}


# ---- whose is what -------------------------------------------------------------------------------------------


def access_of(path):
    st = os.lstat(path)
    return f"{st.st_uid}:{st.st_gid} {stat.S_IMODE(st.st_mode):o}"


def test_files_belong_to_whom_they_must(baton):
    run_as(baton)
    nobody = f"{NOBODY.pw_uid}:{NOBODY.pw_gid}"
    run = baton.run_dir
    assert access_of(run) == "0:0 711"
    assert {name: access_of(run / name) for name in ("control.sock", "state", "events", "e0.id", "e0", "envoy-rev0.yaml")} == {
        "control.sock": "0:0 600", "state": "0:0 600", "events": "0:0 600", "e0.id": "0:0 600", "e0": f"{nobody} 700",
        "envoy-rev0.yaml": f"0:{NOBODY.pw_gid} 440"}
    inside = sorted(path.name for path in (run / "e0").iterdir())
    assert len(inside) == 8 and "admin" in inside, "Envoy's four, our three, its admin"
    assert {access_of(run / "e0" / name) for name in inside if name != "admin"} == {f"{nobody} 600"}
    assert access_of(run / "e0" / "admin").startswith(nobody)
    segment = SHM / f"envoy_shared_memory_{10 * int((run / 'e0.id').read_text().split()[0])}"
    assert access_of(segment).startswith(nobody)


def test_pipes_that_it_prints_to_are_its(baton):
    read, write = os.pipe()
    log = {"access_log": [{"name": "out", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/stdout"}}]}
    listener = Listener(extra=log)
    run_as(baton, listener=listener, stdout=write)
    assert os.fstat(read).st_uid == NOBODY.pw_uid
    os.close(write)
    assert body_of(listener) == "hello"
    assert baton.stop() == 0
    os.close(read)


def secrets_of(baton):
    """All that nobody else may open, with what it would take to do so."""
    run = baton.run_dir
    open_ = {name: lambda name=name: os.close(os.open(run / name, os.O_RDONLY)) for name in ("state", "events", "e0.id")}
    return {"control": connect(run / "control.sock"), "list": lambda: os.listdir(run), "make": lambda: (run / "new").touch(),
            "remove": lambda: (run / "state").unlink(), "replace": lambda: (run / "e0").rename(run / "e9"),
            **open_,
            **{f"signal {pid}": lambda pid=pid: os.kill(pid, 15) for pid in (baton.keeper_pid(), baton.agent_pid())},
            **{f"look into {pid}": lambda pid=pid: os.listdir(f"/proc/{pid}/fd") for pid in (baton.keeper_pid(), baton.agent_pid())}}


def test_another_user_reaches_nothing_and_cannot_stop_envoy_and_its_own_user_reaches_neither_control_nor_state(baton, hammer):
    listener = Listener()
    run_as(baton, listener=listener)
    run, proxy = baton.run_dir, baton.proxy_pid()
    segment = SHM / f"envoy_shared_memory_{10 * int((run / 'e0.id').read_text().split()[0])}"
    sockets = [path for path in (run / "e0").iterdir() if path.name != "admin"]
    assert len(sockets) == 7
    doings = {**secrets_of(baton), "admin": connect(run / "e0" / "admin"), "enter": lambda: os.listdir(run / "e0"),
              "snapshot": lambda: (run / "envoy-rev0.yaml").read_bytes(), "segment": lambda: segment.read_bytes(),
              "signal it": lambda: os.kill(proxy, 9), "its sockets": lambda: os.listdir(f"/proc/{proxy}/fd"),
              **{f"send {path.name}": send(path) for path in sockets}}
    with hammer(listener) as load:
        tried = as_user(STRANGER, STRANGER, doings)
    tell("another user reaches nothing and cannot stop envoy and its own user reaches neither control nor state", load)
    assert {name: error for name, error in tried.items() if error != "PermissionError"} == {}
    assert load.failed == 0 and baton.proxy_pid() == proxy and baton.agent_pid() in map(int, filter(str.isdigit, os.listdir("/proc")))
    assert baton.events("protocol.garbage") == []
    # And the proxy's own user, neither control nor state.
    snapshot = baton.run_dir / "envoy-rev0.yaml"
    tried = as_user(NOBODY.pw_uid, NOBODY.pw_gid, {**secrets_of(baton), "write": lambda: os.close(os.open(snapshot, os.O_WRONLY))})
    assert {name: error for name, error in tried.items() if error != "PermissionError"} == {}
    assert as_user(NOBODY.pw_uid, NOBODY.pw_gid, {"read": snapshot.read_bytes}) == {"read": ""}
    assert body_of(listener) == "hello" and baton.status()["state"] == "serving"


def test_what_a_broken_proxy_leaves_in_its_folder_is_in_nobodys_way(baton):
    run_as(baton)
    home = baton.run_dir / "e0"

    def litter():
        (home / "a" / "b").mkdir(parents=True)
        (home / "a" / "b" / "file").write_text("x")
        (home / "link").symlink_to(baton.config_path)
        (home / "up").symlink_to(baton.dir)

    assert as_user(NOBODY.pw_uid, NOBODY.pw_gid, {"litter": litter}) == {"litter": ""}
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    wait_until(lambda: not home.exists(), "all of it is removed")
    assert baton.config_path.exists() and baton.dir.exists(), "and no link was followed"


# ---- limits --------------------------------------------------------------------------------------------------


def test_a_link_that_it_puts_in_place_of_its_admin_socket_leads_baton_nowhere(baton):
    run_as(baton, "--admin", f"unix:{baton.dir}/front")
    admin, victim = baton.run_dir / f"e{baton.epoch()}/admin", baton.dir / "victim"
    with socket.socket(socket.AF_UNIX) as roots_own:
        roots_own.bind(str(victim))
        roots_own.listen()
        roots_own.setblocking(False)
        admin.unlink()
        admin.symlink_to(victim)
        asking = baton.client("admin", "GET", "/stats")
        for _ in range(3):
            assert baton.status()["state"] == "serving"  # which asks the admin, too
        with pytest.raises(BlockingIOError):
            roots_own.accept()
        asking.kill()
        asking.communicate()


def test_it_gets_the_descriptor_limit_that_baton_was_started_with(baton):
    wrapper, seen = Wrapper(baton.dir, for_everybody(envoy(NEWEST))), baton.dir / "seen"
    seen.touch()
    seen.chmod(0o666)
    wrapper.mode(f"echo $(id -u) $(ulimit -Sn) $(ulimit -Hn) >>{seen}")  # before Envoy, which raises its own
    baton.run(wrapper.path, options=AS_NOBODY, prefix=("prlimit", "--nofile=512:4096"))
    limits = pathlib.Path(f"/proc/{baton.process.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5] == ["4096", "4096"]
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    assert seen.read_text().splitlines() == [f"{NOBODY.pw_uid} 512 4096"] * 2


def oom_score_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_one_that_drains_is_the_first_to_go_when_memory_runs_out(baton):
    listener = Listener()
    run_as(baton, listener=listener, prefix=("choom", "-n", "100", "--"))
    old = baton.proxy_pid()
    with Client(listener) as c:
        c.send(delay_ms=2000)
        in_flight(baton, 1)
        baton.cli("upgrade", check=0)
        wait_until(lambda: oom_score_of(old) == 600, "the old one is expendable")
        assert oom_score_of(baton.proxy_pid()) == oom_score_of(baton.process.pid) == 100
        moment = baton.kill_agent()
        baton.wait_event("agent.restarted", since=moment)
        assert oom_score_of(old) == 600, "a new agent gives the order once more, and it means no more"
        assert c.receive() == "hello"
