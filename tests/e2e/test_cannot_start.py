# SPDX-License-Identifier: MIT
"""Starts that fail: what is tried again, how long it waits, when it gives up, and what it says then."""
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from support.client import body_of, refuses
from support.config import Config, Listener
from support.envoys import NEWEST, envoy, for_everybody
from support.instance import QUIET, wait_until
from support.wrapper import Wrapper

NEVER = "1h"


def why(baton):
    """What `baton why` prints; it must be one line."""
    text = baton.cli("why", check=0).stdout
    assert text.endswith("\n") and text.count("\n") == 1, text
    return text


def fresh_folder(baton, name):
    folder = baton.dir / name
    folder.mkdir()
    return folder


def ms_between(first, second):
    return (second["mono_ns"] - first["mono_ns"]) / 1e6


def events_of_waits(baton, since):
    return [e for e in baton.events()[since:] if e["event"] == "relaunch.waiting"]


@pytest.mark.parametrize("end, reason", [("exit 1", "exit:1"), ("kill -SEGV $$", "signal:SEGV")])
def test_a_proxy_that_cannot_start_again_is_tried_with_doubled_waits_and_then_baton_ends_with_1(baton, hammer, end, reason):
    wrapper, listener = Wrapper(baton.dir), Listener()
    tokens = 5
    baton.run(wrapper.path, listeners=[listener],
              options=["--retry-initial", "100ms", "--retry-tokens", tokens, "--token-refill", NEVER, "--stable", NEVER])
    wrapper.mode(end)
    moment = baton.kill_proxy()
    assert baton.wait_exit() == 1

    events = baton.events()[moment:]
    waits = [e["wait_ms"] for e in events if e["event"] == "relaunch.waiting"]
    assert waits == [100, 200, 400, 800, 1600]
    assert wrapper.starts() == 1 + tokens
    ends = [e for e in events if e["event"] == "epoch.exited"]
    launches = [e for e in events if e["event"] == "epoch.launched"]
    assert len(launches) == tokens and len(ends) == tokens + 1
    real = [ms_between(e, launch) for e, launch in zip(ends, launches)]
    assert all(took >= wait - 1 for took, wait in zip(real, waits)), "a launch came before its wait was over"
    assert {e["reason"] for e in ends[1:]} == {reason}
    assert [e["status"] for e in events if e["event"] == "baton.stopped"] == [1]
    assert refuses(listener)
    line = why(baton)
    assert "no retry tokens are left" in line and reason in line
    print(f"starts={wrapper.starts()} waits_ms={waits} really_ms={[round(x) for x in real]} exit=1")


def test_nobody_is_refused_while_a_start_that_fails_is_tried_again(baton, hammer):
    wrapper, listener = Wrapper(baton.dir), Listener()
    baton.run(wrapper.path, listeners=[listener], options=["--retry-initial", "50ms", "--stable", NEVER])
    with hammer(listener, timeout_ms=20000) as load:
        wrapper.mode("exit 1")
        moment = baton.kill_proxy()
        baton.wait_event("relaunch.waiting", since=moment, n=3)
        wrapper.mode("serve")
        baton.wait_event("epoch.accepted", since=moment)
    print(f"requests={load.requests} failed={load.failed} refused={load.refused} gap_ms={load.longest_gap_ms}")
    assert load.refused == 0 and load.failed_otherwise == 0


def wrong_yaml(path, listener):
    path.write_text("static_resources: [\n")
    return "static_resources"  # the parser names no key


def unknown_field(path, listener):
    config = Config([listener])
    config.extra = {"static_resourcez": {}}
    config.write(path)
    return "static_resourcez"


def unknown_cluster(path, listener):
    d = Config([listener]).to_dict()
    manager = d["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["virtual_hosts"][0]["routes"] = [{"match": {"prefix": "/"}, "route": {"cluster": "nowhere"}}]
    write_dict(path, d)
    return "nowhere"


def wrong_type(path, listener):
    d = Config([listener]).to_dict()
    d["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = "eighty"
    write_dict(path, d)
    return "eighty"


def unknown_filter(path, listener):
    d = Config([listener]).to_dict()
    manager = d["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0]["typed_config"]["@type"] = "type.googleapis.com/no.such.Filter"
    write_dict(path, d)
    return "no.such.Filter"


def write_dict(path, d):
    config = Config([])
    config.to_dict = lambda: d
    config.write(path)


@pytest.mark.parametrize("spoil", [wrong_yaml, unknown_field, unknown_cluster, wrong_type, unknown_filter])
def test_a_config_that_envoy_rejects_at_the_first_start_ends_with_2_and_envoys_own_words(baton, spoil):
    words = spoil(baton.config_path, Listener())
    alone = subprocess.run([envoy(NEWEST), "--mode", "validate", "-c", str(baton.config_path), *QUIET], capture_output=True, text=True)
    assert alone.returncode != 0
    baton.start("--", envoy(NEWEST), "-c", baton.config_path, *QUIET)
    assert baton.wait_exit() == 2

    rejected = baton.events("config.rejected")
    assert len(rejected) == 1 and rejected[0]["file"] == str(baton.config_path)
    reason = rejected[0]["reason"]
    # its own words, but for the names of files: the proxy was given a copy
    own = [line for line in alone.stderr.splitlines() if reason.split("'")[0].split("/")[0][:40] in line]
    assert own, f"Envoy alone does not say {reason!r}:\n{alone.stderr}"
    if words != "static_resources":
        assert words in reason
    assert reason in baton.log() or reason.replace('"', '\\"') in baton.log()
    assert "rejects its config or arguments" in why(baton)
    assert len(baton.events("epoch.launched")) == 1, "a rejected config is not tried again"
    print(f"exit=2 reason={reason[:120]!r}")


def test_arguments_that_envoy_rejects_end_with_2_and_envoys_own_words(baton):
    Config().write(baton.config_path)
    baton.start("--", envoy(NEWEST), "-c", baton.config_path, "--no-such-option")
    assert baton.wait_exit() == 2
    assert "no-such-option" in baton.events("config.rejected")[0]["reason"]
    assert "no-such-option" in why(baton)


@pytest.mark.parametrize("words", [("--log-level", "off"), ("-l", "off"), ("--log-path", "own.log"), ("--log-format", "%v")], ids=" ".join)
def test_envoys_words_are_heard_however_it_logs(baton, words):
    unknown_field(baton.config_path, Listener())
    baton.start("--", envoy(NEWEST), "-c", baton.config_path, *words)
    assert baton.wait_exit() == 2
    assert "static_resourcez" in baton.events("config.rejected")[0]["reason"]


def test_a_wrapper_that_fails_before_envoy_could_judge_is_no_rejected_config(baton):
    """Exit 2 would tell systemd that starting again does not help."""
    wrapper = Wrapper(baton.dir)
    wrapper.mode("echo no secrets today; exit 1")
    wrapper.validate("echo no secrets today; exit 1")
    baton.run(wrapper.path, wait=False, options=["--retry-initial", "1ms", "--retry-tokens", 2])
    assert baton.wait_exit() == 1
    assert baton.events("config.rejected") == [] and wrapper.starts() == 3


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_a_config_that_cannot_be_read_ends_with_2_and_names_the_file(baton, kind):
    if kind == "folder":
        baton.config_path.mkdir()
    elif kind == "pipe":
        os.mkfifo(baton.config_path)
    baton.start("--", envoy(NEWEST), "-c", baton.config_path)
    assert baton.wait_exit() == 2
    line = why(baton)
    assert str(baton.config_path) in line and str(baton.config_path) in baton.log()
    assert baton.events("epoch.launched") == []


@pytest.mark.root
def test_a_config_that_baton_may_not_read_ends_with_2_and_says_so(baton):
    Config().write(baton.config_path)
    baton.config_path.chmod(0)
    baton.run_dir.mkdir()
    os.chown(baton.run_dir, 65534, 65534)
    baton.build = for_everybody(baton.build)
    baton.start("--", for_everybody(envoy(NEWEST)), "-c", baton.config_path,
                prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert baton.wait_exit() == 2
    assert "Permission denied" in baton.log() and str(baton.config_path) in baton.log()


def test_an_empty_config_does_to_baton_what_it_does_to_envoy(baton):
    baton.config_path.write_text("")
    alone = subprocess.run([envoy(NEWEST), "--mode", "validate", "-c", str(baton.config_path), *QUIET], capture_output=True, text=True)
    baton.start("--", envoy(NEWEST), "-c", baton.config_path, *QUIET)
    if alone.returncode != 0:
        assert baton.wait_exit() == 2
        reason = baton.events("config.rejected")[0]["reason"]
        assert reason.replace(str(baton.run_dir / "envoy-rev0.yaml"), str(baton.config_path)) in alone.stderr
    else:
        baton.wait_event("epoch.accepted")
        assert baton.status()["listeners"] == []
        assert baton.stop() == 0
    print(f"envoy_alone={alone.returncode} baton={baton.process.returncode}")


def test_a_proxy_that_does_not_exist_ends_with_an_error_that_names_it(baton):
    Config().write(baton.config_path)
    missing = baton.dir / "no-envoy-here"
    baton.start("--", missing, "-c", baton.config_path)
    assert baton.wait_exit() in (1, 2)
    assert str(missing) in baton.log()
    assert "No such file" in baton.log() or "not found" in baton.log()


def test_a_proxy_that_cannot_be_executed_ends_with_an_error_that_names_it(baton):
    Config().write(baton.config_path)
    text = baton.dir / "envoy-notes.txt"
    text.write_text("not a program")
    baton.start("--retry-initial", "1ms", "--", text, "-c", baton.config_path)
    assert baton.wait_exit() in (1, 2)
    assert str(text) in why(baton) and "Permission denied" in why(baton)


def test_an_exhausted_instance_that_waits_refuses_and_serves_again_when_the_file_is_mended(baton):
    wrapper, listener = Wrapper(baton.dir), Listener(body="before")
    baton.run(wrapper.path, listeners=[listener],
              options=["--retry-initial", "10ms", "--retry-tokens", 3, "--token-refill", NEVER, "--stable", NEVER, "--on-exhausted", "wait"])
    wrapper.mode("exit 1")
    moment = baton.kill_proxy()
    baton.wait_event("relaunch.exhausted", since=moment)
    assert refuses(listener)
    status = baton.status()
    assert status["state"] == "failed" and status["ready"] is False and status["tokens"]["left"] == 0

    wrapper.mode("serve")
    moment = baton.moment()
    Config([listener.with_(body="mended")]).write(baton.config_path)
    baton.wait_event("epoch.accepted", since=moment)
    assert body_of(listener) == "mended"
    assert baton.status()["tokens"]["left"] == 3, "changed content gives the tokens back"
    assert baton.status()["state"] == "serving"


@pytest.mark.parametrize("spoil", [wrong_yaml, None])
def test_a_first_start_that_waits_for_its_config_serves_once_the_file_is_good(baton, spoil):
    listener = Listener(body="mended")
    if spoil:
        spoil(baton.config_path, listener)
    baton.start("--on-exhausted", "wait", "--", envoy(NEWEST), "-c", baton.config_path, *QUIET)
    baton.wait_event("config.rejected" if spoil else "kit.failed")
    assert baton.status()["ready"] is False
    Config([listener]).write(baton.config_path)
    baton.wait_event("epoch.accepted")
    assert body_of(listener) == "mended"


def test_a_file_mended_while_the_rejected_start_still_runs_is_not_missed(baton):
    wrapper, listener = Wrapper(baton.dir), Listener(body="mended")
    good = baton.dir / "good.yaml"
    Config([listener]).write(good)
    unknown_field(baton.config_path, listener)
    wrapper.mode(f"[ ! -e {good} ] || {{ mv {good} {baton.config_path}; exit 1; }}")
    baton.start("--on-exhausted", "wait", "--retry-initial", NEVER, "--", wrapper.path, "-c", baton.config_path, *QUIET)
    baton.wait_event("epoch.accepted")
    assert body_of(listener) == "mended"


def test_a_verdict_about_the_old_file_is_not_taken_for_one_about_the_new(baton):
    wrapper, listener = Wrapper(baton.dir), Listener(body="mended")
    unknown_field(baton.config_path, listener)
    go_on = baton.dir / "go-on"
    wrapper.validate(f"while [ ! -e {go_on} ]; do sleep 0.05; done")
    baton.start("--retry-initial", "300ms", "--", wrapper.path, "-c", baton.config_path, *QUIET)
    baton.wait_event("relaunch.waiting")
    wrapper.mode("exit 1")
    moment = baton.moment()
    Config([listener]).write(baton.config_path)
    baton.wait_event("epoch.exited", since=moment)  # the good file, but the proxy cannot start for another reason
    wrapper.mode("serve")
    go_on.touch()
    baton.wait_event("epoch.accepted", since=moment)
    assert baton.events("config.rejected") == []
    assert body_of(listener) == "mended"


def test_a_mended_file_ends_the_wait_before_the_next_launch(baton):
    wrapper, listener = Wrapper(baton.dir), Listener(body="before")
    baton.run(wrapper.path, listeners=[listener], options=["--retry-initial", "60s", "--stable", NEVER])
    moment = baton.kill_proxy()
    waiting = baton.wait_event("relaunch.waiting", since=moment)
    Config([listener.with_(body="mended")]).write(baton.config_path)
    launched = baton.wait_event("epoch.launched", since=moment)
    baton.wait_event("epoch.accepted", since=moment)
    share = ms_between(waiting, launched) / waiting["wait_ms"]
    print(f"wait_ms={waiting['wait_ms']} until_launch_ms={ms_between(waiting, launched):.0f} share={share:.3f}")
    assert share < 0.25
    assert body_of(listener) == "mended"


@pytest.mark.parametrize("through", ["a link that is renamed", "the file that a link leads to", "a file renamed over it"])
def test_another_program_ends_the_wait_before_the_next_launch(baton, through):
    broken, good, listener = Wrapper(baton.dir), Wrapper(fresh_folder(baton, "good")), Listener(body="served")
    program, folder = baton.dir / "envoy-in-use", baton.dir / "installed"
    folder.symlink_to(baton.dir)
    if through == "a file renamed over it":
        shutil.copy2(broken.path, program)
    else:
        program.symlink_to(folder / broken.path.name)
    baton.run(program, listeners=[listener], options=["--retry-initial", "60s", "--stable", NEVER])
    moment = baton.kill_proxy()
    waiting = baton.wait_event("relaunch.waiting", since=moment)
    new = baton.dir / "new"
    if through == "a link that is renamed":
        new.symlink_to(good.path)
        new.rename(program)
    elif through == "the file that a link leads to":
        new.symlink_to(good.path.parent)
        new.rename(folder)
    else:
        shutil.copy2(good.path, new)
        new.rename(program)
    changed = baton.wait_event("content.changed", since=moment)
    launched = baton.wait_event("epoch.launched", since=moment)
    baton.wait_event("epoch.accepted", since=moment)
    assert "program" in changed["then"]
    share = ms_between(waiting, launched) / waiting["wait_ms"]
    print(f"wait_ms={waiting['wait_ms']} until_launch_ms={ms_between(waiting, launched):.0f} share={share:.3f}")
    assert share < 0.25
    assert good.starts() == 1 and body_of(listener) == "served"
    assert baton.status()["stale"] == []


@pytest.mark.parametrize("dies", ["nobody", "the agent"])
def test_broken_content_that_comes_late_in_a_wait_is_tried_once(baton, dies):
    """Two look at the config during a wait: whoever is first, what was tried is tried."""
    wrapper, listener = Wrapper(baton.dir), Listener(body="served")
    baton.run(wrapper.path, listeners=[listener], options=["--retry-initial", "4s", "--debounce", "10ms", "--stable", NEVER])
    moment = baton.kill_proxy()
    baton.wait_event("relaunch.waiting", since=moment)
    if dies == "the agent":
        moment = baton.kill_agent()
        baton.wait_event("agent.restarted", since=moment)
    with pytest.raises(TimeoutError):
        baton.wait_event("content.changed", since=moment, timeout=0.5)  # the look with which a wait begins is over
    unknown_field(baton.config_path, listener)
    baton.wait_event("content.changed", since=moment)
    baton.wait_event("epoch.accepted", since=moment)
    assert body_of(listener) == "served"
    assert len([e for e in baton.events("epoch.exited") if not e["accepted"]]) == 1
    assert len(baton.events("content.changed")) == 1


def test_a_program_that_is_written_slowly_is_started_when_it_is_whole(baton):
    wrapper, good, listener = Wrapper(baton.dir), Wrapper(fresh_folder(baton, "good")), Listener(body="served")
    program, text = baton.dir / "envoy-in-use", good.path.read_bytes()
    program.symlink_to(baton.dir / "installed")
    shutil.copy2(wrapper.path, baton.dir / "installed")
    baton.run(program, listeners=[listener], options=["--retry-initial", "60s", "--stable", NEVER])
    moment = baton.kill_proxy()
    baton.wait_event("relaunch.waiting", since=moment)
    with open(baton.dir / "installed", "wb") as new:
        for i in range(0, len(text), 1 + len(text) // 12):  # a piece each 250 ms
            new.write(text[i:i + 1 + len(text) // 12])
            new.flush()
            time.sleep(0.25)
    baton.wait_event("epoch.accepted", since=moment)
    assert len(baton.events("content.changed")) == 1 and len([e for e in baton.events()[moment:] if e["event"] == "epoch.launched"]) == 1
    assert good.starts() == 1 and body_of(listener) == "served"


def test_an_upgrade_to_another_command_that_is_refused_leaves_the_wait_alone(baton):
    wrapper, other, listener = Wrapper(baton.dir), Wrapper(fresh_folder(baton, "other")), Listener()
    baton.run(wrapper.path, listeners=[listener], options=["--retry-initial", "4s", "--stable", NEVER])
    unknown_field(baton.dir / "other.yaml", listener)
    moment = baton.kill_proxy()
    waiting = baton.wait_event("relaunch.waiting", since=moment)
    baton.cli("upgrade", "--", other.path, "-c", baton.dir / "other.yaml", check=5)
    launched = baton.wait_event("epoch.launched", since=moment)
    assert ms_between(waiting, launched) >= waiting["wait_ms"] - 1
    assert baton.events("content.changed") == []


def test_the_first_relaunch_of_a_stable_proxy_is_what_later_changes_are_compared_with(baton):
    """It has no wait before it: a program that is replaced while it starts is taken by the wait behind it."""
    wrapper, good, listener = Wrapper(baton.dir), Wrapper(fresh_folder(baton, "good")), Listener(body="served")
    program, go_on = baton.dir / "envoy-in-use", baton.dir / "go-on"
    program.symlink_to(wrapper.path)
    baton.run(program, listeners=[listener], options=["--retry-initial", "60s", "--stable", "0s"])
    wrapper.mode(f"while [ ! -e {go_on} ]; do sleep 0.05; done; exit 1")
    moment = baton.kill_proxy()
    wait_until(lambda: wrapper.starts() == 2, "the relaunch")
    (baton.dir / "new").symlink_to(good.path)
    (baton.dir / "new").rename(program)
    go_on.touch()
    baton.wait_event("relaunch.waiting", since=moment)
    baton.wait_event("epoch.accepted", since=moment)
    assert good.starts() == 1 and body_of(listener) == "served"


def test_a_program_whose_mode_changes_is_no_other_program(baton):
    wrapper, listener = Wrapper(baton.dir), Listener()
    baton.run(wrapper.path, listeners=[listener], options=["--retry-initial", "3s", "--debounce", "50ms", "--stable", NEVER])
    moment = baton.kill_proxy()
    waiting = baton.wait_event("relaunch.waiting", since=moment)
    wrapper.path.chmod(0o755)
    launched = baton.wait_event("epoch.launched", since=moment)
    assert ms_between(waiting, launched) >= waiting["wait_ms"] - 1
    assert baton.events("content.changed") == []


def test_a_program_that_is_installed_late_is_started_then(baton):
    listener, program = Listener(body="late"), baton.dir / "envoy-late"
    Config([listener]).write(baton.config_path)
    baton.start("--on-exhausted", "wait", "--retry-tokens", 0, "--", program, "-c", baton.config_path, *QUIET)
    assert "program" in baton.wait_event("config.rejected")["then"]
    program.symlink_to(envoy(NEWEST))
    baton.wait_event("epoch.accepted")
    assert body_of(listener) == "late"


def test_a_file_mended_while_a_failing_start_runs_is_taken_next(baton):
    wrapper, listener = Wrapper(baton.dir), Listener(body="before")
    good = baton.dir / "good.yaml"
    Config([listener.with_(body="mended")]).write(good)
    baton.run(wrapper.path, listeners=[listener], options=["--retry-initial", "60s", "--stable", NEVER])
    moment = baton.kill_proxy()
    baton.wait_event("relaunch.waiting", since=moment)
    # the first change is refused by the proxy; while it runs, the file is mended
    wrapper.mode(f"[ ! -e {good} ] || {{ mv {good} {baton.config_path}; exit 1; }}")
    Config([listener.with_(body="broken")]).write(baton.config_path)
    baton.wait_event("epoch.accepted", since=moment)
    assert body_of(listener) == "mended"


def test_changed_content_that_fails_gives_way_to_what_served_before(baton):
    wrapper, listener = Wrapper(baton.dir), Listener(body="served")
    baton.run(wrapper.path, listeners=[listener], options=["--retry-initial", "2s", "--stable", NEVER])
    moment = baton.kill_proxy()
    baton.wait_event("relaunch.waiting", since=moment)
    unknown_field(baton.config_path, listener)
    changed = baton.wait_event("content.changed", since=moment)
    baton.wait_event("epoch.accepted", since=moment)
    assert body_of(listener) == "served"
    ends = [e for e in baton.events("epoch.exited") if e["seq"] > changed["seq"]]
    assert len(ends) == 1 and ends[0]["accepted"] is False
    assert len(baton.events("content.changed")) == 1


def test_changed_content_that_fails_is_not_taken_again_and_the_tokens_run_out(baton):
    wrapper, listener = Wrapper(baton.dir), Listener()
    baton.run(wrapper.path, listeners=[listener],
              options=["--retry-initial", "300ms", "--retry-max", "300ms", "--retry-tokens", 3, "--token-refill", NEVER, "--stable", NEVER])
    wrapper.mode("exit 1")
    moment = baton.kill_proxy()
    baton.wait_event("relaunch.waiting", since=moment)
    unknown_field(baton.config_path, listener)
    assert baton.wait_exit() == 1
    assert len(baton.events("content.changed")) == 1
    assert wrapper.starts() <= 1 + 1 + 1 + 3


def test_an_exhausted_instance_that_waits_does_not_take_the_broken_file_again(baton):
    wrapper, listener = Wrapper(baton.dir), Listener()
    baton.run(wrapper.path, listeners=[listener],
              options=["--retry-initial", "1s", "--retry-max", "1s", "--retry-tokens", 2, "--token-refill", NEVER, "--stable", NEVER,
                       "--on-exhausted", "wait"])
    wrapper.mode("exit 1")
    moment = baton.kill_proxy()
    baton.wait_event("relaunch.waiting", since=moment)
    unknown_field(baton.config_path, listener)
    baton.wait_event("content.changed", since=moment)
    baton.wait_event("relaunch.exhausted", since=moment)
    starts, moment = wrapper.starts(), baton.moment()
    wrapper.mode("serve")
    with pytest.raises(TimeoutError):
        baton.wait_event("epoch.launched", since=moment, timeout=3)
    assert wrapper.starts() == starts
    Config([listener.with_(body="mended")]).write(baton.config_path)
    baton.wait_event("epoch.accepted", since=moment)
    assert body_of(listener) == "mended"


def test_a_program_is_started_when_it_becomes_executable(baton):
    wrapper, listener = Wrapper(baton.dir), Listener()
    wrapper.path.chmod(0o644)
    Config([listener]).write(baton.config_path)
    baton.start("--on-exhausted", "wait", "--retry-tokens", 0, "--", wrapper.path, "-c", baton.config_path, *QUIET)
    baton.wait_event("config.rejected")
    wrapper.path.chmod(0o755)
    baton.wait_event("epoch.accepted")
    assert wrapper.starts() == 1


def test_one_token_returns_for_each_refill_of_unbroken_serving(baton):
    baton.run(options=["--stable", "0", "--retry-tokens", 4, "--token-refill", "1s"])
    left = []
    for _ in range(3):
        moment = baton.kill_proxy()
        accepted = baton.wait_event("epoch.accepted", since=moment)
        left.append(baton.status()["tokens"]["left"])
    assert left[0] == 3 and left == sorted(left, reverse=True)
    # each full second of serving gives back one, and no more than one
    seen = {}
    def watch():
        n = baton.status()["tokens"]["left"]
        seen.setdefault(n, len(seen))
        return n == 4
    wait_until(watch, "the tokens come back")
    order = list(seen)
    print(f"after_kills={left} seen={order}")
    assert order == list(range(order[0], 5)), "they come back one by one"
    assert accepted


def test_crashes_faster_than_the_refill_use_up_the_tokens(baton):
    baton.run(options=["--stable", "0", "--retry-tokens", 3, "--token-refill", NEVER])
    for left in (2, 1, 0):
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        assert baton.status()["tokens"]["left"] == left
    os.kill(baton.proxy_pid(), signal.SIGKILL)
    assert baton.wait_exit() == 1
    assert "no retry tokens are left" in why(baton)


def ms_since(event):
    return (time.monotonic_ns() - event["mono_ns"]) / 1e6


def test_a_stable_proxy_is_replaced_at_once_and_an_unstable_one_waits(baton):
    baton.run(options=["--stable", "1s", "--retry-initial", "3s"])
    accepted = baton.wait_event("epoch.accepted")
    moment = baton.kill_proxy()
    assert baton.wait_event("relaunch.waiting", since=moment)["wait_ms"] == 3000
    accepted = baton.wait_event("epoch.accepted", since=moment)
    wait_until(lambda: ms_since(accepted) > 1100, "it is stable")
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    assert events_of_waits(baton, moment) == []


def test_a_proxy_that_ends_by_itself_with_0_is_a_requested_end(baton):
    wrapper, listener = Wrapper(baton.dir), Listener()
    baton.run(wrapper.path, listeners=[listener])
    os.kill(baton.proxy_pid(), signal.SIGTERM)  # not by baton: Envoy ends with 0
    assert baton.wait_exit() == 0
    assert len(baton.events("epoch.clean-exit")) == 1 and wrapper.starts() == 1
    assert refuses(listener)


def test_a_proxy_that_ends_with_0_is_started_again_if_told_so(baton, hammer):
    wrapper, listener = Wrapper(baton.dir), Listener()
    baton.run(wrapper.path, listeners=[listener], options=["--on-clean-exit", "restart", "--stable", "0"])
    with hammer(listener) as load:
        moment = baton.moment()
        os.kill(baton.proxy_pid(), signal.SIGTERM)
        baton.wait_event("epoch.accepted", since=moment)
    print(f"requests={load.requests} failed={load.failed} refused={load.refused} gap_ms={load.longest_gap_ms}")
    assert load.refused == 0 and load.failed_otherwise == 0
    assert wrapper.starts() == 2 and baton.stop() == 0


def test_a_port_that_somebody_else_has_is_told_and_ends_with_1(baton):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listener = Listener(port=taken.getsockname()[1], reuse_port=False)
        baton.run(listeners=[listener], wait=False, options=["--retry-initial", "1ms", "--retry-tokens", 2])
        assert baton.wait_exit() == 1
    assert len(baton.events("epoch.launched")) == 3
    assert "no retry tokens are left" in why(baton)
