# SPDX-License-Identifier: MIT
"""What cannot be taken is refused, and costs nothing: no request, no process, no socket, no file; `why` says what it was.

After each, the serving one is killed and comes back with its own content, and a good upgrade is taken.
"""
import os
import resource
import signal
import socket

import pytest

from control_plane import FileLds
from support.config import Config, Listener, free_port
from support.crash import wait_status
from support.envoys import NEWEST, OLDEST, envoy, for_everybody
from support.instance import build_dir, wait_until
from support.scene import LIVE, Scene, difference
from support.wrapper import Wrapper


def old(**more):
    return Listener(body="old", **more)


# ---- its config ------------------------------------------------------------------------------------------------------


def test_a_config_that_cannot_be_taken_is_refused(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=LIVE)
    path = str(baton.config_path)
    with Scene(baton, hammer, listener) as scene:
        def case(what, arrange, *says):
            arrange()
            scene.refused(what, says=says)
            scene.heals(what)

        def with_route_to_nowhere():
            config = baton.config.to_dict()
            routes = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
            routes["virtual_hosts"][0]["routes"] = [{"match": {"prefix": "/"}, "route": {"cluster": "nowhere"}}]
            baton.config.extra = {"static_resources": config["static_resources"]}
            baton.config.write(path)
            baton.config.extra = {}

        case("broken YAML", lambda: scene.put("static_resources: ["), path)
        case("unknown cluster", with_route_to_nowhere, path, "nowhere")
        case("missing", baton.config_path.unlink, path, "No such file")
        case("a loop of links", lambda: (baton.config_path.unlink(), os.symlink(path, path)), path, "symbolic links")
        case("a folder", lambda: (baton.config_path.unlink(), baton.config_path.mkdir()), path, "directory")
        case("a pipe", lambda: (baton.config_path.unlink(), os.mkfifo(path)), path, "not a regular file")
        case("65 MB", lambda: os.truncate(path, 65 * 1024 * 1024), path, "too large")
        case("empty", lambda: scene.put(""), path)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            case("a taken port", lambda: add_listener(baton, Listener("second", port=port)), f"tcp://127.0.0.1:{port}", "in use")


# ---- its command -----------------------------------------------------------------------------------------------------

SCRIPT = """#!/bin/sh
case " $* " in
*" --hot-restart-version "*) {version} ;;
*" --mode validate "*) {validate} ;;
esac
exec {envoy} "$@"
"""


def script(baton, version=":", validate=":", name="script"):
    """An Envoy that behaves so when it is asked; each script is a file of its own, since answers are remembered by file."""
    path = baton.dir / f"{name}-{len(list(baton.dir.glob(name + '-*')))}"
    path.write_text(SCRIPT.format(version=version, validate=validate, envoy=envoy(NEWEST)))
    path.chmod(0o755)
    return path


def program(baton, name, content, mode=0o755):
    path = baton.dir / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_binary_that_cannot_be_taken_is_refused(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=LIVE)
    with open(envoy(NEWEST), "rb") as f:
        head = f.read(65536)
    with Scene(baton, hammer, listener) as scene:
        def case(what, path, *says, result="refused"):
            scene.refused(what, "--", path, "-c", baton.config_path, "--concurrency", "2", says=[str(path), *says], result=result)
            scene.heals(what)

        case("missing", baton.dir / "nothing", "No such file")
        case("unrunnable", program(baton, "plain", b"#!/bin/sh\n", 0o644), "Permission denied")
        case("a folder", baton.run_dir, "")
        case("truncated", program(baton, "truncated", head))
        case("no program at all", program(baton, "text", b"\x00\x01 nothing\n"), "Exec format error")
        case("interpreter missing", program(baton, "astray", b"#!/nowhere/sh\n"), "No such file")
        case("another version", script(baton, "echo 12.104; exit 0"), "12.104", "11.104")
        case("an older layout", script(baton, "echo 11.99; exit 0"), "11.99", "11.104")
        case("no version", script(baton, "exit 0"), "tells no version")
        case("a failing version", script(baton, "echo no such option >&2; exit 1"), "tells no version", "no such option")
        case("a version that floods", script(baton, "exec yes 11.104x"), "tells no version")
        case("a crash when asked for the version", script(baton, "kill -SEGV $$"), "signal 11")
        case("a crash when it validates", script(baton, validate="kill -SEGV $$"), "--mode validate", "signal 11")
        case("an unexplained no when it validates", script(baton, validate="exit 9"), "--mode validate", "exit status 9")


def test_a_binary_that_hangs_when_it_is_asked_is_refused(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=(*LIVE, "--ready-timeout", "8s"))
    with Scene(baton, hammer, listener) as scene:
        for what, path in (("version", script(baton, "exec sleep 1000")), ("validate", script(baton, validate="exec sleep 1000"))):
            words = "--hot-restart-version" if what == "version" else "--mode validate"
            scene.refused(what, "--", path, "-c", baton.config_path, says=[str(path), words, "has not ended"])
        scene.heals(what)
        path = script(baton, "sleep 1000; :")  # its child must not be left either
        scene.refused("a child of it hangs", "--", path, "-c", baton.config_path, says=[str(path), "has not ended"])
        scene.heals("a child of it hangs")


def test_arguments_that_cannot_be_taken_are_refused(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=LIVE)
    with Scene(baton, hammer, listener) as scene:
        def case(what, *args, says=(), at_once=False):
            scene.refused(what, "--", envoy(NEWEST), "-c", baton.config_path, *args, says=says, at_once=at_once)

        for flag in ("--base-id", "--restart-epoch"):
            case(flag, flag, "7", says=[flag], at_once=True)
        case("an unknown one", "--no-such-option", says=["--no-such-option"])
        case("no command at all", "--mode", "validate", says=["serves nobody"], at_once=True)
        for text in ("[1]", "text", "{", "&a [*a]"):
            case(f"--config-yaml {text}", "--config-yaml", text)
        case("--config-yaml of an unknown field", "--config-yaml", "{no_such_field: 1}", says=["no such"])
        scene.heals("arguments")


def test_a_config_with_a_variable_that_is_not_set_is_refused_and_its_line_is_told(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=(*LIVE, "--expand-env"))
    with Scene(baton, hammer, listener) as scene:
        scene.put("# one\n# two\nnode: {id: ${BATON_TEST_NOT_SET}}\n")
        scene.refused("a missing variable", says=[f"{baton.config_path}:3", "BATON_TEST_NOT_SET"])
        scene.heals("a missing variable")
        scene.put("# one\nnode: {id: ${BATON_TEST")
        scene.refused("a variable without an end", says=[f"{baton.config_path}:2"])
        scene.heals("a variable without an end")


# ---- it starts, and then ---------------------------------------------------------------------------------------------


def launched(baton, since):
    """The candidate's pid, when it has one."""
    return baton.wait_event("epoch.launched", since=since)["pid"]


def test_a_candidate_that_ends_or_hangs_is_taken_back(baton, hammer):
    listener = old()
    wrapper = Wrapper(baton.dir)
    baton.run(wrapper.path, listeners=[listener], options=(*LIVE, "--ready-timeout", "8s"))
    with Scene(baton, hammer, listener) as scene:
        def case(what, mode, *says, args=(), during=None):
            wrapper.mode(mode)
            scene.write("new")
            scene.refused(what, *args, result="rolled_back", says=says, during=during)
            wrapper.mode("serve")
            scene.heals(what)

        def observed(act):
            def during(_):
                act(baton.wait_event("upgrade.warming", since=moment)["epoch"])
            moment = baton.moment()
            return {"args": ("--observe", "60s"), "during": during}

        def pid_of(epoch):
            return next(e["pid"] for e in baton.status()["epochs"] if e["epoch"] == epoch)

        case("ends at once", "exit 3", "exit status 3")
        case("crashes at once", "kill -SEGV $$", "signal 11")
        case("ends well at once", "exit 0", "exit status 0")
        case("hangs before it is ready", "exec sleep 1000", "8000 ms")
        case("its child hangs", "sleep 1000; :", "8000 ms")
        for sig, words in ((signal.SIGKILL, "signal 9"), (signal.SIGSEGV, "signal 11"), (signal.SIGTERM, "exit status 0")):
            scene.write("new")
            scene.allow("new", dies=True)
            more = observed(lambda epoch: os.kill(pid_of(epoch), sig))
            scene.refused(f"{sig.name} during the observation", *more["args"], result="rolled_back", says=[words, "under observation"],
                          during=more["during"])
            scene.heals(f"{sig.name} during the observation")


def test_a_candidate_that_loses_a_port_after_its_checks_is_taken_back(baton, hammer):
    """Somebody else is faster: it is told apart from a config that cannot work only by its end."""
    listener = old()
    wrapper = Wrapper(baton.dir)
    baton.run(wrapper.path, listeners=[listener], options=LIVE)
    go, started = baton.dir / "go", baton.dir / "started"
    with Scene(baton, hammer, listener) as scene, socket.socket() as thief:
        port = free_port()
        wrapper.mode(f"touch {started}; while [ ! -e {go} ]; do sleep 0.05; done")
        add_listener(baton, Listener("second", port=port))

        def during(_):
            wait_until(started.exists, "the candidate is launched")
            thief.bind(("127.0.0.1", port))
            thief.listen()
            go.touch()

        scene.refused("a port lost", result="rolled_back", says=["exit status 1"], during=during)
        wrapper.mode("serve")
        scene.heals("a port lost")


def add_listener(baton, listener):
    """On disk only: the config of the test stays as it is."""
    config = baton.config.to_dict()
    config["static_resources"]["listeners"].append(listener.to_dict())
    baton.config.extra = {"static_resources": config["static_resources"]}
    baton.config.write(baton.config_path)
    baton.config.extra = {}


@pytest.mark.parametrize("version", (OLDEST, NEWEST))
def test_a_candidate_that_cannot_create_a_listener_of_its_control_plane_is_taken_back(baton, hammer, version):
    plane = FileLds(baton.dir / "lds.json")
    listener = old()
    plane.set([])
    baton.run(envoy(version), listeners=[listener], lds_file=plane.path, options=(*LIVE, "--ready-timeout", "8s"))
    with Scene(baton, hammer, listener) as scene, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = baton.dir / "other.json"
        FileLds(other).set([Listener("second", port=taken.getsockname()[1]).to_dict()])
        baton.config.lds_file = other
        scene.write()
        baton.config.lds_file = plane.path
        scene.refused("a listener that cannot be created", result="rolled_back", says=["8000 ms", "could not create one of its listeners"])
        scene.heals("a listener that cannot be created")


# ---- the protocol ----------------------------------------------------------------------------------------------------

STEPS = ("before-shutdown-admin", "after-shutdown-admin", "before-pass", "before-pass-1", "after-sockets", "before-drain-listeners",
         "after-drain-listeners", "on-harvest")
EXAMPLE = build_dir() / "baton-example-server"


def played(baton, fault):
    """How often a fault really happened, by the words of who has it: of "before-pass-1:crash" only the step is said."""
    step, what = fault.split(":")
    return baton.log().count(f"fault: {what} at {step.removesuffix('-1')}")


class Examples:
    """Commands of the example server at the address of the load."""

    def __init__(self, baton, listener):
        self.baton, self.listener = baton, listener

    def command(self, body, *faults):
        words = [w for f in faults for w in ("--fault", f)]
        return ["--", EXAMPLE, "-c", self.baton.config_path, "--concurrency", "2", "--listen", self.listener.target, "--body", body, *words]

    def good(self, scene, what, *faults):
        scene.upgraded(what, *self.command(f"{self.listener.body}-{scene.upgrades + 1}", *faults), change=lambda body: None)


def serving_example(baton, *options, fault=()):
    listener = old()
    baton.config_path.write_text("static_resources: {}\n")
    examples = Examples(baton, listener)
    baton.start("--handover", "envoy", *LIVE, *options, *examples.command("old", *fault))
    baton.wait_event("epoch.accepted")
    return listener, examples


@pytest.mark.parametrize("what", ("crash", "hang"))
def test_a_candidate_that_fails_at_any_step_of_the_protocol_is_taken_back(baton, hammer, what):
    listener, examples = serving_example(baton, "--ready-timeout", "4s")
    with Scene(baton, hammer, listener) as scene:
        for step in STEPS:
            before = played(baton, f"{step}:{what}")
            scene.allow("new")
            scene.refused(f"{step}:{what}", *examples.command("new", f"{step}:{what}"), result="rolled_back",
                          says=["signal 9"] if what == "crash" else ["4000 ms"])
            assert played(baton, f"{step}:{what}") == before + 1, f"{step}:{what} was not played"
            scene.crashes(f"{step}:{what}")
            if step in ("before-pass-1", "on-harvest"):
                examples.good(scene, f"{step}:{what}")


def test_a_candidate_that_sends_garbage_at_any_step_costs_nothing(baton, hammer):
    """Garbage is dropped, and what it says besides is right: it is taken."""
    listener, examples = serving_example(baton)
    with Scene(baton, hammer, listener) as scene:
        for step in STEPS:
            before = played(baton, f"{step}:garbage")
            examples.good(scene, f"{step}:garbage", f"{step}:garbage")
            assert played(baton, f"{step}:garbage") == before + 1, f"{step}:garbage was not played"
        scene.crashes("garbage")
    assert baton.events("protocol.garbage"), "no garbage arrived at all"


@pytest.mark.parametrize("what", ("crash", "hang", "garbage"))
def test_an_old_one_that_fails_while_it_is_replaced_does_not_hurt_the_new_one(baton, hammer, what):
    listener, examples = serving_example(baton, "--ready-timeout", "4s")
    with Scene(baton, hammer, listener) as scene:
        for step in ("on-drain", "on-term"):
            examples.good(scene, f"{step}:{what}, its turn to serve", f"{step}:{what}")
            before = played(baton, f"{step}:{what}")
            scene.replaced(f"{step}:{what}", lambda: None, *examples.command(f"old-{scene.upgrades + 1}"))
            assert played(baton, f"{step}:{what}") == before + 1, f"{step}:{what} was not played"
            scene.crashes(f"{step}:{what}")


# ---- the control plane -----------------------------------------------------------------------------------------------


def test_an_upgrade_without_the_control_plane_is_taken_back_unless_a_loss_is_allowed(new_baton, hammer, ads):
    listener = old()
    ads.set([listener.to_dict()])
    for options in ((), ("--allow-listener-loss",)):
        ads.up()
        baton = new_baton()
        config = Config([], ads_port=ads.port)
        dynamic = config.to_dict()["dynamic_resources"]
        dynamic["lds_config"]["initial_fetch_timeout"] = "1s"
        config.extra["dynamic_resources"] = dynamic
        baton.run(config=config, options=(*LIVE, "--ready-timeout", "6s", *options))
        wait_status(baton, lambda s: any(x["held"] for x in s["listeners"]), "its socket held")
        if options:
            ads.down()
            baton.cli("upgrade", check=0, timeout=90)
            wait_until(lambda: not baton.status()["listeners"] or not any(x["held"] for x in baton.status()["listeners"]), "its loss")
            ads.up()
            continue
        with Scene(baton, hammer, listener) as scene:
            scene.settled("the control plane is up")
            ads.down()
            scene.refused("the control plane is down", result="rolled_back", says=["6000 ms", "control plane"])
            ads.up()
            scene.crashes("the control plane is up again")
            baton.cli("upgrade", check=0, timeout=90)
            scene.settled("the upgrade")
        baton.stop()


# ---- nothing is left to take -----------------------------------------------------------------------------------------


@pytest.mark.root
def test_an_upgrade_on_a_full_disk_is_refused(baton, small_disk, hammer):
    listener = old()
    disk = small_disk(4096)
    baton.run(listeners=[listener], options=LIVE, clusters=100)  # a snapshot needs some blocks
    with Scene(baton, hammer, listener) as scene:
        with open(disk / "events-ballast", "wb", buffering=0) as ballast:
            try:
                while ballast.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        scene.refused("a full disk", says=["No space left", str(disk)], told=False)
        scene.crashes("a full disk")
        (disk / "events-ballast").unlink()
        scene.heals("a full disk")


def unchanged(rest):
    """Of what there is, that which neither an upgrade that was not taken nor the death of an agent may change."""
    return {k: rest[k] for k in ("epochs", "listeners", "ready", "files", "folders", "segments", "sockets")}


def all_ended(events):
    ends = ("upgrade.committed", "upgrade.refused", "upgrade.rolled-back")
    return ({e["epoch"] for e in events if e["event"] == "upgrade.started"}
            <= {e.get("epoch") for e in events if e["event"] in ends})


@pytest.mark.root
@pytest.mark.parametrize("who", ("agent", "keeper"))
def test_an_upgrade_without_descriptors_costs_nothing(baton, hammer, who):
    """Which of its many steps finds none left does not matter: it is refused, or is taken. If the client could not learn which
    (1: the order was not heard; 4: it has no more patience), an event tells, and what was not taken has changed nothing."""
    listener = old()
    baton.run(listeners=[listener], options=LIVE)
    refused = 0
    with Scene(baton, hammer, listener) as scene:
        for spare in range(0, 20, 2):
            before = scene.settled(f"{who} {spare}")
            process = baton.agent_pid() if who == "agent" else baton.process.pid
            limits = resource.prlimit(process, resource.RLIMIT_NOFILE)
            highest = max(int(fd) for fd in os.listdir(f"/proc/{process}/fd"))
            moment = baton.moment()
            scene.begin(f"{who} {spare}")
            resource.prlimit(process, resource.RLIMIT_NOFILE, (highest + 1 + spare, limits[1]))
            try:
                done = baton.cli("upgrade", "--timeout", "20s", timeout=60)
            finally:
                try:
                    resource.prlimit(process, resource.RLIMIT_NOFILE, limits)
                except ProcessLookupError:
                    assert who == "agent"
            print(f"{who}, {spare} spare: {done.returncode} {done.stdout}{done.stderr}", end="")
            assert done.returncode in (0, 1, 4, 5), done.stderr
            refused += done.returncode == 5
            after = scene.settled(f"{who} {spare} after")
            if done.returncode in (1, 4):  # what the agent had not read may be an upgrade now
                wait_until(lambda: all_ended(baton.events()[moment:]), f"{who} {spare}: what was begun has ended")
                after = scene.settled(f"{who} {spare} after its end")
            taken = [e for e in baton.events()[moment:] if e["event"] == "upgrade.committed"]
            assert taken or done.returncode != 0, done
            assert not taken or done.returncode != 5, done
            assert taken or unchanged(before) == unchanged(after), difference(unchanged(before), unchanged(after))
        assert refused, "there always was enough: this shows nothing"
        scene.heals("descriptors")


def end_the_draining(baton):
    for entry in baton.status()["epochs"]:
        if entry["state"] != "serving":
            os.kill(entry["pid"], signal.SIGKILL)
    wait_status(baton, lambda s: len(s["epochs"]) == 1, "the draining ones are gone")


def test_an_upgrade_while_too_many_generations_drain_is_refused(baton, hammer, long):
    """And what serves can still crash: an upgrade may not take the last places."""
    if not long:
        pytest.skip("sixty upgrades: only with --long")
    listener = old()
    baton.config_path.write_text("static_resources: {}\n")
    examples = Examples(baton, listener)
    baton.start("--handover", "envoy", "--stable", "0s", "--retry-tokens", "1000", "--drain-time", "10m", *examples.command("old", "on-drain:hang"))
    baton.wait_event("epoch.accepted")
    for taken in range(80):
        done = baton.cli("upgrade", *examples.command("old", "on-drain:hang"), timeout=90)
        if done.returncode != 0:
            break
    assert taken > 50 and done.returncode == 5, (taken, done)
    pid = baton.proxy_pid()
    with hammer(listener) as load:
        done = baton.cli("upgrade", *examples.command("old"), timeout=90)
        assert done.returncode == 5 and "too many generations" in done.stderr, done
        assert "too many generations" in baton.cli("why", check=0).stdout
        assert baton.proxy_pid() == pid
    assert load.failed == 0
    with hammer(listener) as load:
        for _ in range(3):
            moment = baton.kill_proxy()
            baton.wait_event("epoch.accepted", since=moment)
    assert load.refused == 0 and load.failed_otherwise == 0, load
    end_the_draining(baton)
    baton.cli("upgrade", *examples.command("old"), check=0, timeout=90)
    end_the_draining(baton)
    with hammer(listener) as load:
        baton.cli("upgrade", *examples.command("new"), check=0, timeout=90)
        wait_until(lambda: "new" in load.mark("new").bodies, "answers of the new one")
    assert load.failed == 0, load


AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")


@pytest.mark.root
def test_what_the_user_of_baton_may_not_do_is_refused(baton, hammer):
    listener = old()
    baton.build = for_everybody(build_dir())
    os.chown(baton.dir, 65534, 65534)
    baton.run(for_everybody(envoy(NEWEST)), listeners=[listener], options=LIVE, prefix=AS_NOBODY)
    with Scene(baton, hammer, listener) as scene:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as f:
            if int(f.read()) > 1:
                add_listener(baton, Listener("low", port=1))
                scene.refused("a low port", says=["tcp://127.0.0.1:1 ", "Permission denied"])
                scene.heals("a low port")
            else:
                print("this kernel lets everybody bind low ports: not tried")
        baton.config_path.chmod(0)
        scene.refused("an unreadable config", says=[str(baton.config_path), "Permission denied"])
        scene.heals("an unreadable config")
