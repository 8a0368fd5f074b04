# SPDX-License-Identifier: MIT
"""Where it runs: as PID 1, as nobody, beside others, with closed descriptors, limits, a full disk, systemd's variables."""
import fcntl
import json
import os
import pathlib
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest
from support.client import Client, body_of, in_flight, refuses
from support.config import Config, Listener
from support.crash import tell
from support.envoys import NEWEST, envoy, for_everybody
from support.instance import QUIET, marked_processes, wait_until
from support.wrapper import Wrapper

NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")


def environment_of(pid):
    return [v.decode() for v in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if v]


# ---- PID 1 ---------------------------------------------------------------------------------------------------

PID_1 = ("unshare", "--fork", "--kill-child", "--pid", "--mount-proc")


def inner_pid(baton):
    """The keeper as the outside sees it: the child of unshare."""
    children = pathlib.Path(f"/proc/{baton.process.pid}/task/{baton.process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def in_its_namespace(baton):
    """{pid inside: (pid outside, state, name)} of everything in the keeper's PID namespace."""
    keeper = inner_pid(baton)
    namespace = os.readlink(f"/proc/{keeper}/ns/pid")
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines() if ":\t" in line)
            numbers = fields["NSpid"].split()
            if fields["State"][0] != "Z" and os.readlink(entry / "ns/pid") != namespace:
                continue
            if len(numbers) < 2 or not descends(int(entry.name), keeper):
                continue
        except (OSError, KeyError):
            continue
        found[int(numbers[-1])] = (int(numbers[0]), fields["State"][0], fields["Name"])
    return found


def descends(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


@pytest.mark.root
def test_as_pid_1_it_serves_reaps_orphans_takes_signals_and_gives_its_status(baton, hammer):
    wrapper, listener = Wrapper(baton.dir), Listener()
    # Orphans: each grandchild lives longer than its parent, so it falls to PID 1.
    wrapper.mode("for i in 1 2 3 4 5; do ( ( sleep 0.3 ) & ) ; done")
    baton.run(wrapper.path, listeners=[listener], prefix=PID_1, options=["--stable", "0"])
    keeper = inner_pid(baton)
    assert baton.status()["keeper"]["pid"] == 1
    wait_until(lambda: not [p for p in in_its_namespace(baton).values() if p[2] == "sleep"], "the orphans end and are reaped")
    with hammer(listener) as load:
        serving = baton.proxy_pid()
        outside = in_its_namespace(baton)[serving][0]
        moment = baton.moment()
        os.kill(outside, signal.SIGKILL)
        baton.wait_event("epoch.accepted", since=moment)
    tell("as pid 1 it serves reaps orphans takes signals and gives its status", load)
    assert load.refused == 0 and load.failed_otherwise == 0
    wait_until(lambda: not [p for p in in_its_namespace(baton).values() if p[2] == "sleep"], "the orphans end and are reaped")
    assert [p for p in in_its_namespace(baton).values() if p[1] == "Z"] == []
    with Client(listener) as c:
        c.send(delay_ms=1500)
        in_flight(baton, 1, epoch=baton.epoch())
        os.kill(keeper, signal.SIGTERM)
        assert c.receive() == "hello"
    assert baton.wait_exit() == 0


@pytest.mark.root
def test_as_pid_1_a_proxy_that_cannot_start_gives_status_1(baton):
    wrapper = Wrapper(baton.dir)
    wrapper.mode("exit 1")
    baton.run(wrapper.path, wait=False, prefix=PID_1, options=["--retry-initial", "1ms", "--retry-tokens", 2])
    assert baton.wait_exit() == 1


@pytest.mark.root
def test_as_pid_1_an_invalid_config_gives_status_2(baton):
    baton.config_path.write_text("static_resourcez: {}\n")
    baton.start("--", envoy(NEWEST), "-c", baton.config_path, prefix=PID_1)
    assert baton.wait_exit() == 2


def test_orphans_of_the_proxy_fall_to_the_keeper_and_leave_no_zombies(baton):
    wrapper = Wrapper(baton.dir)
    wrapper.mode("for i in 1 2 3 4 5; do ( ( sleep 0.3 ) & ) ; done")
    baton.run(wrapper.path)

    def children():
        out = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    rest = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(rest[1]) == baton.process.pid:
                    out.append((int(entry.name), rest[0]))
        return out

    wait_until(lambda: len(children()) == 2, "only the agent and the proxy are left")
    assert {state for _, state in children()} <= {"S", "R", "D"}


# ---- a user without rights -----------------------------------------------------------------------------------


@pytest.mark.root
def test_as_a_normal_user_it_finds_a_run_directory_and_a_crash_refuses_nobody(baton, hammer):
    listener = Listener()
    home = pathlib.Path(f"/tmp/baton-{NOBODY.pw_uid}")
    baton.run_dir = home / f"t{os.getpid()}"
    Config([listener]).write(baton.config_path)
    baton.build = for_everybody(baton.build)
    command = [*AS_NOBODY, *baton.command("run", "--name", baton.run_dir.name, "--stable", "0", "--", for_everybody(envoy(NEWEST)), "-c", baton.config_path, *QUIET)]
    baton.process = subprocess.Popen(command, env=baton.environment({"XDG_RUNTIME_DIR": ""}), stdin=subprocess.DEVNULL,
                                     stdout=baton._log, stderr=baton._log, cwd="/")
    try:
        baton.wait_event("epoch.accepted")
        found = subprocess.run([*AS_NOBODY, *baton.command("status", "--name", baton.run_dir.name)],
                               env=baton.environment({"XDG_RUNTIME_DIR": ""}), capture_output=True, text=True, timeout=30)
        assert found.returncode == 0, found.stderr
        assert os.stat(f"/proc/{baton.proxy_pid()}").st_uid == NOBODY.pw_uid
        with hammer(listener) as load:
            for _ in range(3):
                moment = baton.kill_proxy()
                baton.wait_event("epoch.accepted", since=moment)
        tell("as a normal user it finds a run directory and a crash refuses nobody", load)
        assert load.refused == 0 and load.failed_otherwise == 0
        assert baton.stop() == 0
        assert [p.name for p in baton.run_dir.iterdir() if p.name[0] == "e" and p.name[1:].isdigit()] == []
    finally:
        baton.finish(judge=False)
        shutil.rmtree(baton.run_dir, ignore_errors=True)


@pytest.mark.root
def test_a_run_directory_of_somebody_else_in_tmp_is_not_used(baton):
    """In /tmp anybody may have been there first."""
    uid = 64000 + os.getpid() % 1000
    trap = pathlib.Path(f"/tmp/baton-{uid}")
    trap.mkdir()
    trap.chmod(0o777)
    try:
        Config().write(baton.config_path)
        baton.build = for_everybody(baton.build)
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
                   *baton.command("run", "--", envoy(NEWEST), "-c", baton.config_path)]
        done = subprocess.run(command, env=baton.environment({"XDG_RUNTIME_DIR": ""}), capture_output=True, text=True, timeout=30, cwd="/")
        assert done.returncode == 1 and "run-dir.refused" in done.stderr
        assert [p for p in trap.rglob("*") if not p.is_dir()] == []
    finally:
        shutil.rmtree(trap)


# ---- beside others -------------------------------------------------------------------------------------------


def test_two_instances_side_by_side_do_not_know_each_other(new_baton, hammer):
    first, second = new_baton(), new_baton()
    one, two = Listener(body="one"), Listener(body="two")
    first.run(listeners=[one])
    second.run(listeners=[two])
    assert first.run_dir != second.run_dir
    with hammer(two) as load:
        for _ in range(2):
            moment = first.kill_proxy()
            first.wait_event("epoch.accepted", since=moment)
        assert first.stop() == 0
    tell("two instances side by side do not know each other", load)
    assert load.failed == 0 and refuses(one)
    assert second.events("epoch.exited") == [] and body_of(two) == "two"


def by_name(baton, name, listener, tmp):
    """Started with --name alone; the search order leads to `tmp`."""
    Config([listener]).write(baton.config_path)
    baton.run_dir = tmp / "baton" / name
    baton.build = for_everybody(baton.build)
    baton.process = subprocess.Popen(
        [*AS_NOBODY, *baton.command("run", "--name", name, "--", for_everybody(envoy(NEWEST)), "-c", baton.config_path, *QUIET)],
        env=baton.environment({"XDG_RUNTIME_DIR": str(tmp)}), stdin=subprocess.DEVNULL, stdout=baton._log, stderr=baton._log, cwd="/")
    baton.wait_event("epoch.accepted")


@pytest.mark.root
def test_two_names_select_two_instances_in_every_verb(new_baton):
    first, second = new_baton(), new_baton()
    tmp = first.dir / "x"
    tmp.mkdir()
    os.chown(tmp, NOBODY.pw_uid, NOBODY.pw_gid)
    one, two = Listener(body="one"), Listener(body="two")
    by_name(first, "one", one, tmp)
    by_name(second, "two", two, tmp)
    env = {"XDG_RUNTIME_DIR": str(tmp)}

    def verb(*words):
        return subprocess.run([*AS_NOBODY, *first.command(*words)], env=first.environment(env), capture_output=True, text=True, timeout=30, cwd="/")

    assert '"name":"one"' in verb("status", "--json", "--name", "one").stdout
    assert '"name":"two"' in verb("status", "--json", "--name", "two").stdout
    third = verb("status", "--name", "three")
    assert third.returncode == 3 and "three" in third.stderr
    assert verb("stop", "--name", "one").returncode == 0
    assert first.wait_exit() == 0
    assert refuses(one) and body_of(two) == "two"
    assert second.stop() == 0


def test_the_same_run_directory_twice_is_refused_and_the_first_is_unharmed(baton, new_baton, hammer):
    listener = Listener()
    baton.run(listeners=[listener])
    before = sorted(p.name for p in baton.run_dir.iterdir())
    second = new_baton()
    second.run_dir = baton.run_dir
    Config([listener]).write(second.config_path)
    with hammer(listener) as load:
        second.start("--", envoy(NEWEST), "-c", second.config_path)
        assert second.wait_exit() == 1
        refusals = [line for line in second.log().splitlines() if "run-dir.refused" in line]
    tell("the same run directory twice is refused and the first is unharmed", load)
    assert len(refusals) == 1 and str(baton.run_dir) in refusals[0] and "running instance" in refusals[0]
    assert load.failed == 0
    assert sorted(p.name for p in baton.run_dir.iterdir()) == before
    assert baton.status()["state"] == "serving" and baton.events("epoch.exited") == []
    second.run_dir = second.dir / "r"


# ---- what is inherited ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_standard_descriptors_do_no_harm(baton, hammer, closed):
    listener = Listener()

    def close():
        for fd in closed:
            os.close(fd)

    baton.run(listeners=[listener], preexec_fn=close)
    keeper, proxy = baton.process.pid, baton.proxy_pid()
    for pid in (keeper, baton.agent_pid(), proxy):
        for fd in closed:
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
    with hammer(listener) as load:
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
    tell("closed standard descriptors do no harm", load)
    assert load.refused == 0 and load.failed_otherwise == 0


def test_no_descriptor_that_was_inherited_reaches_the_proxy(baton, tmp_path):
    secret = open(tmp_path / "secret", "w")
    fd = fcntl.fcntl(secret.fileno(), fcntl.F_DUPFD, 50)
    os.set_inheritable(fd, True)
    Config([listener := Listener()]).write(baton.config_path)
    command = baton.command("run", "--run-dir", baton.run_dir, "--", envoy(NEWEST), "-c", baton.config_path, *QUIET)
    baton.process = subprocess.Popen(command, env=baton.environment(), stdin=subprocess.DEVNULL, stdout=baton._log, stderr=baton._log,
                                     cwd=baton.dir, pass_fds=[fd])
    baton.wait_event("epoch.accepted")
    assert os.readlink(f"/proc/{baton.process.pid}/fd/{fd}").endswith("secret"), "the keeper had it"
    for pid in (baton.proxy_pid(), baton.agent_pid()):
        assert not [1 for f in pathlib.Path(f"/proc/{pid}/fd").iterdir() if str(tmp_path) in os.readlink(f)]
    assert body_of(listener) == "hello"
    os.close(fd)
    secret.close()


def limit_of(pid):
    line = next(x for x in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines() if x.startswith("Max open files"))
    return line.split()[3:5]


def test_the_keeper_raises_its_descriptor_limit_and_the_proxy_gets_the_original(baton):
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    wrapper, seen = Wrapper(baton.dir), baton.dir / "limits"
    wrapper.mode(f"echo $(ulimit -Sn) $(ulimit -Hn) >>{seen}")  # before Envoy, which raises its own
    baton.run(wrapper.path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard)))
    assert limit_of(baton.process.pid) == [str(hard), str(hard)]
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    assert seen.read_text().splitlines() == [f"512 {hard}"] * 2


class Notify:
    """What systemd's end of NOTIFY_SOCKET hears."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path if self.path[0] != "@" else "\0" + self.path[1:])
        self.socket.setblocking(False)
        self.lines, self.senders = [], []
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def read(self):
        while True:
            try:
                data, control, _, _ = self.socket.recvmsg(65536, 1024)
            except BlockingIOError:
                return self.lines
            for level, kind, value in control:
                if kind == socket.SCM_CREDENTIALS:
                    self.senders.append(int.from_bytes(value[:4], "little"))
            self.lines += data.decode().splitlines()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_notify_socket_hears_ready_once_and_stopping_once_from_the_main_process(baton, kind):
    notify = Notify(baton.dir / "notify" if kind == "path" else f"@baton-test-{baton.mark}")
    baton.run(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, options=["--stable", "0"])
    wait_until(lambda: "READY=1" in notify.read(), "READY=1")
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    assert "STOPPING=1" not in notify.read()
    assert baton.stop() == 0
    lines = notify.read()
    assert lines.count("READY=1") == 1, lines
    assert lines.count("STOPPING=1") == 1, lines
    assert lines.index("READY=1") < lines.index("STOPPING=1")
    assert set(notify.senders) == {baton.process.pid}, "systemd believes the main process only"


def test_ready_is_said_only_once_something_serves(baton):
    notify, wrapper = Notify(baton.dir / "notify"), Wrapper(baton.dir)
    go_on = baton.dir / "go-on"
    wrapper.mode(f"while [ ! -e {go_on} ]; do sleep 0.05; done")
    baton.run(wrapper.path, env={"NOTIFY_SOCKET": notify.path}, wait=False)
    baton.wait_event("epoch.launched")
    assert "READY=1" not in notify.read()
    go_on.touch()
    wait_until(lambda: "READY=1" in notify.read(), "READY=1")
    assert baton.events("epoch.accepted")


def test_a_proxy_gets_no_variable_that_is_not_its_own(baton):
    notify = Notify(baton.dir / "notify")
    baton.run(env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "9", "WATCHDOG_PID": "1", "LISTEN_FDS": "1", "LISTEN_PID": "1",
                   "LISTEN_FDNAMES": "x", "HARMLESS": "kept"})
    got = environment_of(baton.proxy_pid())
    assert [v for v in got if v.startswith(("NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_"))] == []
    assert "HARMLESS=kept" in got


def test_options_come_from_the_environment_and_unknown_ones_are_ignored(baton):
    wrapper = Wrapper(baton.dir)
    baton.run(wrapper.path, env={"BATON_RETRY_TOKENS": "2", "BATON_RETRY_INITIAL": "70ms", "BATON_STABLE": "1h", "BATON_NO_SUCH_OPTION": "x"},
              options=["--retry-initial", "30ms"])
    assert baton.status()["tokens"]["max"] == 2
    wrapper.mode("exit 1")
    moment = baton.kill_proxy()
    assert baton.wait_exit() == 1
    waits = [e["wait_ms"] for e in baton.events()[moment:] if e["event"] == "relaunch.waiting"]
    assert waits == [30, 60], "the command line is above the environment"


def test_a_wrong_value_in_the_environment_ends_with_2_and_names_the_variable(baton):
    Config().write(baton.config_path)
    baton.start("--", envoy(NEWEST), "-c", baton.config_path, env={"BATON_RETRY_TOKENS": "many"})
    assert baton.wait_exit() == 2
    assert "retry-tokens" in baton.log().lower().replace("_", "-")


# ---- the run directory ---------------------------------------------------------------------------------------


def goes_on(load):
    """Waits for a hundred requests more."""
    more = 0
    load.mark("before")
    while more < 100:
        time.sleep(0.05)
        more += load.mark("on").requests


def test_a_run_directory_that_vanishes_costs_the_serving_proxy_nothing(baton, hammer):
    listener = Listener()
    baton.run(listeners=[listener], options=["--stable", "0", "--stop-timeout", "3s"])
    proxy = baton.proxy_pid()
    with hammer(listener) as load:
        shutil.rmtree(baton.run_dir)
        load.mark("gone")
        os.kill(baton.process.pid, signal.SIGUSR1)  # something to do for everybody
        agents = [p for p in marked_processes(baton.mark) if "baton-agent" in pathlib.Path(f"/proc/{p}/cmdline").read_text()]
        os.kill(agents[0], signal.SIGKILL)
        wait_until(lambda: [p for p in marked_processes(baton.mark) if p not in agents and "baton-agent" in
                            pathlib.Path(f"/proc/{p}/cmdline").read_text()], "a new agent")
        goes_on(load)
        assert pathlib.Path(f"/proc/{proxy}").exists()
    tell("a run directory that vanishes costs the serving proxy nothing", load)
    assert load.failed == 0
    assert baton.stop() == 0


def test_a_crash_without_a_run_directory_ends_with_1_and_says_why(baton):
    """The next launch needs its files. Whoever started baton can help, so it must come to know."""
    listener = Listener()
    baton.run(listeners=[listener], options=["--stable", "0", "--retry-initial", "100ms", "--retry-tokens", "3"])
    pid = baton.proxy_pid()
    shutil.rmtree(baton.run_dir)
    os.kill(pid, signal.SIGKILL)
    assert baton.wait_exit() == 1
    assert "relaunch.exhausted" in baton.log() and str(baton.run_dir) in baton.log()
    assert refuses(listener)


@pytest.mark.root
def test_a_read_only_run_directory_is_a_clear_error_at_the_start(baton, small_disk):
    small_disk(1024, "ro")
    Config().write(baton.config_path)
    baton.start("--", envoy(NEWEST), "-c", baton.config_path)
    assert baton.wait_exit() == 1
    refused = [line for line in baton.log().splitlines() if "run-dir.refused" in line]
    assert len(refused) == 1 and str(baton.run_dir) in refused[0] and "Read-only" in refused[0]
    assert list(marked_processes(baton.mark)) == []


@pytest.mark.root
@pytest.mark.parametrize("kib", [4, 16, 64])
def test_a_run_directory_without_room_is_a_clear_error_at_the_start(baton, small_disk, kib):
    small_disk(kib)
    config = Config(clusters=200)
    config.write(baton.config_path)
    assert baton.config_path.stat().st_size > kib * 1024 / 2
    baton.start("--", envoy(NEWEST), "-c", baton.config_path)
    assert baton.wait_exit() == 1, "2 would tell systemd that starting again does not help"
    assert "No space left" in baton.log()
    assert "Bus error" not in baton.log() and "SIGBUS" not in baton.log()
    assert list(marked_processes(baton.mark)) == []
    assert list(baton.sanitizer_dir.iterdir()) == []


def fill(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while os.write(fd, b"x" * 4096):
            pass
    except OSError:
        pass
    os.close(fd)


@pytest.mark.root
def test_a_disk_that_fills_up_costs_the_serving_proxy_nothing(baton, small_disk, hammer):
    listener = Listener()
    disk = small_disk(4096)
    baton.run(listeners=[listener], options=["--stable", "0"])
    proxy = baton.proxy_pid()
    fill(disk / "ballast")
    with hammer(listener) as load:
        assert baton.status()["state"] == "serving"
        baton.kill_agent()
        wait_until(lambda: try_state(baton) == "serving", "the next agent works")
        load.mark("crash")
        os.kill(proxy, signal.SIGKILL)  # its kit lies ready
        wait_until(lambda: try_serving(baton) not in (None, proxy), "the next proxy serves")
        goes_on(load)
    tell("a disk that fills up costs the serving proxy nothing", load)
    assert load.refused == 0 and load.failed_otherwise == 0
    assert list(baton.sanitizer_dir.iterdir()) == []
    (disk / "ballast").unlink()
    assert baton.stop() == 0


def try_state(baton):
    done = baton.cli("status", "--json")
    return done.stdout.partition('"state":"')[2].partition('"')[0] if done.returncode == 0 else None


def try_serving(baton):
    done = baton.cli("status", "--json")
    if done.returncode != 0:
        return None
    return next((e["pid"] for e in json.loads(done.stdout)["epochs"] if e["state"] == "serving"), None)
