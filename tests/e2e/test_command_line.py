# SPDX-License-Identifier: MIT
"""The command line through the real programs: options and their sources, refusals, verbs, exit statuses."""
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest
import yaml
from support.client import ask
from support.config import Config, Listener, free_port
from support.envoys import NEWEST, envoy
from support.instance import wait_until

NO_PROXY = ("--", "sleep", "1000")  # not an Envoy: quick to start, enough for what is baton's own


def refuse(baton, *args, status=2, **kwargs):
    """Refused with this status by one line on stderr and nothing else; returns the line."""
    done = baton.cli("run", *args, **kwargs)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == status, f"{args}: exit {done.returncode}\n{done.stderr}"
    assert done.stdout == "" and len(lines) == 1, done.stderr
    return lines[0]


def print_options(baton, *args, **kwargs):
    return json.loads(baton.cli("run", "--print-options=json", *args, check=0, **kwargs).stdout)


# ---- where values come from ------------------------------------------------------------------------------------


def test_printed_options_fed_back_as_a_file_give_the_same(baton):
    first = print_options(baton, "--hold-time=90s", "--retry-max=1.5s", "--status=:1", "--status=unix:/x y", "--allow-listener-loss",
                          "--log-format=json", "--retry-tokens=0", "--handover=envoy", "--", "my proxy", "-c", 'a"b\\\u00e9', "")
    file = baton.dir / "options.json"
    file.write_text(json.dumps(first))
    again = print_options(baton, "--config", file)
    assert again == first
    assert again["hold-time"] == "90s" and again["proxy"] == ["my proxy", "-c", 'a"b\\\u00e9', ""]


def test_the_source_of_each_value_is_shown(baton):
    file = baton.dir / "options.json"
    file.write_text('{"hold-time": "1s", "stable": "2s", "drain-time": "3s", "proxy": ["from-file"]}')
    done = baton.cli("run", "--config", file, "--hold-time", "7s", "--print-options", env={"BATON_STABLE": "8s", "BATON_HOLD_TIME": "9s"}, check=0)
    rows = {line.split()[0]: line.split(None, 2)[1:] for line in done.stdout.splitlines()}
    assert rows["hold-time"] == ["7s", "command line"]
    assert rows["stable"] == ["8s", "environment"]
    assert rows["drain-time"] == ["3s", "file"]
    assert rows["stop-timeout"] == ["25s", "default"]
    assert rows["proxy"] == ["from-file"]


def test_options_are_shown_without_a_proxy(baton):
    assert "proxy" not in print_options(baton)


def test_an_error_in_the_file_names_file_and_line(baton):
    file = baton.dir / "options.json"
    file.write_text('{\n  "hold-time": "1s",\n  "hold-time": "2s"\n}\n')
    assert refuse(baton, "--config", file, *NO_PROXY) == f"{file}:3: hold-time: stands there twice"
    file.write_text('{\n  "hold-tine": "1s"\n}\n')
    assert refuse(baton, "--config", file, *NO_PROXY) == f"{file}:2: hold-tine: unknown option"
    file.write_text('{\n  "hold-time": "1s"\n')
    assert refuse(baton, "--config", file, *NO_PROXY) == f"{file}:3:1: it ends too early"


# ---- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--hold-time=-1", "--hold-time=9999h", "--retry-tokens=many", "--log-level=loud", "--name=a/b", "--status=",
                                    "--status=nowhere", "--status=1.2.3.4:70000", "--no-such-option", "--hold", "--run-dir="])
def test_a_silly_value_is_one_line_and_exit_2(baton, option):
    line = refuse(baton, option, *NO_PROXY)
    assert option.partition("=")[0] in line
    assert not (baton.run_dir / "control.sock").exists()


def test_parts_of_later_versions_say_so(baton):
    for option in ("--standby", "--max-draining=2", "--stats-interval=1s"):
        assert "not in this version" in refuse(baton, option, *NO_PROXY)
    for verb in ("stats", "top", "receipts"):
        done = baton.cli(verb, check=2, run_dir=False)
        assert done.stderr == f"baton {verb}: not in this version\n"


def test_sockets_and_readiness_must_go_together_with_the_handover(baton):
    assert "given no socket" in refuse(baton, "--listen=:1", "--handover=none", *NO_PROXY)
    assert "no socket to hand over" in refuse(baton, "--handover=listen-fds", *NO_PROXY)
    assert "no socket to connect to" in refuse(baton, "--probe=tcp", *NO_PROXY)
    assert "asked itself" in refuse(baton, "--probe=tcp", "--", envoy(NEWEST))
    assert "not in this version for an Envoy" in refuse(baton, "--listen=:1", "--", envoy(NEWEST))
    assert "no IP:PORT" in refuse(baton, "--listen=localhost:80", *NO_PROXY)
    assert "neither tcp nor" in refuse(baton, "--probe=udp", *NO_PROXY)
    assert not baton.run_dir.exists()


def test_a_proxy_is_wanted(baton):
    assert "no proxy given" in refuse(baton)
    assert "write -- before the proxy" in refuse(baton, "sleep", "1")
    assert "the name of the proxy is empty" in refuse(baton, "--", "")


@pytest.mark.parametrize("words", [["--base-id", "3"], ["--use-dynamic-base-id"], ["--restart-epoch", "1"], ["--socket-path", "@x"],
                                   ["--drain-time-s", "soon"], ["-c"]])
def test_an_argument_that_baton_must_set_is_refused_with_the_reason(baton, words):
    line = refuse(baton, "--", envoy(NEWEST), *words)
    assert line.startswith(f"baton run: {words[0]} cannot be given to the proxy: ")
    assert not baton.run_dir.exists(), "nothing was made yet"


def test_a_run_directory_that_cannot_be_used_is_told(baton):
    assert "at most 71" in refuse(baton, "--run-dir", baton.dir / ("x" * 80), *NO_PROXY)
    file = baton.dir / "file"
    file.write_text("")
    line = refuse(baton, "--run-dir", file, *NO_PROXY, status=1)
    assert "event=run-dir.refused" in line and str(file) in line and "Not a directory" in line
    line = refuse(baton, "--run-dir", "/proc/nothing", *NO_PROXY, status=1)
    assert "/proc/nothing cannot be used" in line


def test_a_status_address_that_is_taken_is_told(baton):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = "127.0.0.1:%d" % other.getsockname()[1]
        line = refuse(baton, "--status", address, *NO_PROXY, status=1)
    assert "event=status.refused" in line and address in line and "Address already in use" in line
    assert not list(baton.run_dir.glob("control.sock"))


def test_the_same_run_directory_twice_is_refused_and_the_first_lives_on(baton):
    baton.run(listeners=[listener := Listener()])
    line = refuse(baton, *NO_PROXY, status=1)
    assert "belongs to a running instance" in line and str(baton.run_dir) in line
    assert baton.epoch() == 0
    listener.connect().close()


# ---- Envoy's arguments -----------------------------------------------------------------------------------------


def command_line(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def value_of(words, option):
    assert words.count(option) == 1, words
    return words[words.index(option) + 1]


def test_arguments_that_baton_decides_are_dropped_with_a_notice_and_drain_time_is_taken_over(baton):
    baton.run(proxy_args=("--parent-shutdown-time-s", "900", "--disable-hot-restart", "--drain-time-s", "7", "-l", "warning"))
    notices = " ".join(e["text"] for e in baton.events("options.notice"))
    assert "--parent-shutdown-time-s is ignored" in notices and "--disable-hot-restart is ignored" in notices
    words = command_line(baton.proxy_pid())
    assert value_of(words, "--drain-time-s") == "7"
    assert value_of(words, "--parent-shutdown-time-s") == "315360000"
    assert "--disable-hot-restart" not in words
    assert value_of(words, "--restart-epoch") == "1"


def test_our_drain_time_is_over_envoys(baton):
    baton.run(options=("--drain-time", "9s"), proxy_args=("--drain-time-s", "7", "-l", "warning"))
    assert value_of(command_line(baton.proxy_pid()), "--drain-time-s") == "9"


def test_config_yaml_is_merged_our_admin_address_wins_and_the_rest_stays(baton):
    admin_port, access_log = free_port(), baton.dir / "admin.log"
    extra = Listener(name="extra", body="from yaml")
    user = yaml.dump({
        "admin": {
            "access_log": [{"name": "file", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": str(access_log)}}],
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "static_resources": {"listeners": [extra.to_dict()]}})
    baton.run(listeners=[Listener()], proxy_args=("--config-yaml", user, "-l", "warning"))
    assert {entry["address"] for entry in baton.status()["listeners"]} == {baton.config.listeners[0].url, extra.url}
    assert ask(f"127.0.0.1:{admin_port}", "/ready") == (200, "LIVE\n"), "baton's front is there"
    assert (baton.run_dir / "e0/admin").is_socket()
    # the user's access log has what baton asked of the admin socket
    baton.kill_proxy(signal.SIGKILL)
    baton.wait_event("epoch.accepted", epoch=1)
    assert baton.stop() == 0
    assert "GET" in access_log.read_text()


def test_questions_to_the_proxy_are_answered_by_the_proxy_alone(baton):
    done = baton.cli("run", "--", envoy(NEWEST), "--version", check=0)
    assert NEWEST in done.stdout
    done = baton.cli("run", "--", envoy(NEWEST), "--help", check=0)
    assert "--restart-epoch" in done.stdout
    Config().write(baton.config_path)
    baton.cli("run", "--", envoy(NEWEST), "-c", baton.config_path, "--mode", "validate", "-l", "error", check=0)
    baton.config_path.write_text("no_such_field: 1\n")
    done = baton.cli("run", "--", envoy(NEWEST), "-c", baton.config_path, "--mode", "validate", check=1)
    assert "no_such_field" in done.stderr
    assert not baton.run_dir.exists()


def test_a_proxy_that_is_asked_plainly_ends_with_its_own_status_and_on_signals(baton):
    script = baton.dir / "envoy-like"
    script.write_text("#!/bin/sh\n[ \"$2\" = wait ] && { echo up; exec sleep 1000; }\nexit 7\n")
    script.chmod(0o755)
    baton.cli("run", "--handover=envoy", "--", script, "--version", check=7)
    baton.start("--handover=envoy", "--", script, "--version", "wait", stdout=subprocess.PIPE)
    assert baton.process.stdout.readline() == b"up\n"
    assert baton.stop() == 128 + signal.SIGTERM
    baton.cli("run", "--", baton.dir / "no-envoy", "--version", check=1)


# ---- verbs -----------------------------------------------------------------------------------------------------


def test_without_an_instance_verbs_end_with_3(baton):
    for verb in (["status"], ["status", "--json"], ["stop"], ["drain"], ["wait", "--ready"], ["wait", "--epoch", "0"],
                 ["wait", "--ready", "--timeout", "0"], ["why"], ["events"], ["events", "--follow"]):
        done = baton.cli(*verb, check=3)
        assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert verb[0] in ("why", "events") or f"{baton.run_dir}/control.sock (No such file or directory)" in done.stderr


def test_wrong_words_end_with_2(baton):
    for words in (["stauts"], ["status", "--no-such"], ["status", "--epoch", "1"], ["status", "extra"], ["wait"], ["wait", "--epoch", "x"],
                  ["wait", "--epoch", "-1"], ["wait", "--epoch", ""], ["wait", "--ready", "--epoch", "1"], ["wait", "--ready", "--timeout", "soon"],
                  ["stop", "--json"], ["events", "--undo"]):
        done = baton.cli(*words, check=2, run_dir=False)
        assert done.stderr and done.stdout == "", words
    for word, meant in (("stauts", "status"), ("rnu", "run"), ("wiat", "wait"), ("evnets", "events"), ("upgrad", "upgrade")):
        assert f"did you mean {meant}?" in baton.cli(word, run_dir=False).stderr
    assert "did you mean" not in baton.cli("xyz", run_dir=False).stderr + baton.cli("r", run_dir=False).stderr


def test_help_and_version_are_for_stdout(baton):
    for words in (["--help"], ["help"], ["-h"], ["run", "--help"], ["status", "--help"], ["status", "-h"], ["upgrade", "--help"],
                  ["upgrade", "-h"]):
        done = baton.cli(*words, check=0, run_dir=False)
        assert "Usage: baton" in done.stdout and done.stderr == "", words
    assert baton.cli("--version", run_dir=False, check=0).stdout == baton.cli("version", run_dir=False, check=0).stdout
    assert json.loads(baton.cli("version", "--json", run_dir=False, check=0).stdout)["version"] in baton.cli("version", run_dir=False).stdout
    done = subprocess.run(baton.command(), env=baton.environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "Usage: baton" in done.stderr


def test_wait_ends_when_it_is_true_and_with_4_when_it_is_not(baton):
    baton.run()
    baton.cli("wait", "--ready", check=0)
    baton.cli("wait", "--ready", "--timeout", "0", check=0)
    baton.cli("wait", "--epoch", "0", check=0)
    assert baton.cli("wait", "--epoch", "1", "--timeout", "200ms", check=4).stderr == "baton: timed out\n"
    baton.kill_proxy()
    baton.cli("wait", "--epoch", "1", "--timeout", "30s", check=0)
    assert baton.epoch() == 1


def test_wait_is_patient_with_an_instance_that_is_not_there_yet(baton):
    waits = subprocess.Popen(baton.command("wait", "--run-dir", baton.run_dir, "--ready", "--timeout", "30s"), env=baton.environment())
    baton.run()
    assert waits.wait(30) == 0
    assert baton.stop() == 0
    assert "no instance" in baton.cli("wait", "--ready", "--timeout", "100ms", check=3).stderr
    baton.cli("wait", "--ready", check=3)


def test_waiting_outlives_the_agent(baton):
    baton.run()
    waits = subprocess.Popen(baton.command("wait", "--run-dir", baton.run_dir, "--epoch", "1"), env=baton.environment())
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)
    baton.kill_proxy()
    assert waits.wait(30) == 0


def test_events_are_followed_as_lines_of_json_until_the_end(baton):
    baton.run()
    follower = subprocess.Popen(baton.command("events", "--run-dir", baton.run_dir, "--follow", "--json"), env=baton.environment(),
                                stdout=subprocess.PIPE, text=True)
    seen = []

    def until(name, **fields):
        for line in follower.stdout:
            seen.append(json.loads(line))
            if seen[-1]["event"] == name and all(seen[-1][k] == v for k, v in fields.items()):
                return
        raise AssertionError(f"the stream ended before {name}")

    until("epoch.accepted", epoch=0)  # from before it was started
    baton.kill_proxy()
    until("epoch.exited", epoch=0)
    until("epoch.accepted", epoch=1)
    baton.kill_agent()  # it ends, the instance does not
    until("agent.restarted")
    baton.kill_proxy()
    until("epoch.accepted", epoch=2)
    assert baton.stop() == 0
    seen += [json.loads(line) for line in follower.stdout]
    assert follower.wait(30) == 0
    numbers = [e["seq"] for e in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "every event, once, in order"
    assert all({"seq", "time", "mono_ns", "event", "level"} <= e.keys() for e in seen)


def test_why_and_events_read_what_the_last_instance_left(baton):
    script = baton.dir / "broken"
    script.write_text("#!/bin/sh\nexit 9\n")
    script.chmod(0o755)
    baton.start("--retry-tokens", "2", "--retry-initial", "10ms", "--", script)
    assert baton.wait_exit() == 1
    why = baton.cli("why", check=0).stdout
    assert "no retry tokens are left" in why and "exit:9" in why and len(why.splitlines()) == 1
    lines = [json.loads(line) for line in baton.cli("events", "--json", check=0).stdout.splitlines()]
    assert [e for e in lines if e["event"] == "relaunch.exhausted"]
    assert "relaunch.exhausted" in baton.cli("events", check=0).stdout
    baton.cli("status", check=3)


def test_status_is_watched_across_the_death_of_the_agent(baton):
    baton.run()
    watcher = subprocess.Popen(baton.command("status", "--run-dir", baton.run_dir, "--watch", "--json"), env=baton.environment(),
                               stdout=subprocess.PIPE, text=True)
    assert json.loads(watcher.stdout.readline())["agent"]["starts"] == 1
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", since=moment)
    for line in watcher.stdout:
        if json.loads(line[line.index("{"):])["agent"]["starts"] == 2:
            break
    assert baton.stop() == 0
    watcher.stdout.read()
    assert watcher.wait(30) == 0


def event(seq, name, **fields):
    return json.dumps({"seq": seq, "time": f"T{seq}", "mono_ns": seq, "event": name, "level": "notice"} | fields) + "\n"


def test_events_of_files_are_told_oldest_first_and_once(baton):
    baton.run_dir.mkdir()
    (baton.run_dir / "events.1").write_text("".join(event(n, "epoch.launched") for n in range(1, 1500)))
    (baton.run_dir / "events").write_text("".join(event(n, "epoch.launched") for n in range(1490, 1510)))
    numbers = [json.loads(line)["seq"] for line in baton.cli("events", "--json", check=0).stdout.splitlines()]
    assert numbers == list(range(1, 1510))
    baton.run()
    numbers = [json.loads(line)["seq"] for line in baton.cli("events", "--json", check=0).stdout.splitlines()]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 1510, "a living instance tells all of them, too"
    assert baton.cli("why", check=0).stdout == "nothing has gone wrong\n"


def test_why_asks_the_instance_that_runs_not_the_first_directory_that_has_events(baton):
    earlier = baton.dir / "earlier"
    earlier.mkdir()
    (earlier / "events").write_text(event(1, "relaunch.exhausted", reason="long ago"))
    baton.run()
    env = {"RUNTIME_DIRECTORY": str(earlier), "XDG_RUNTIME_DIR": str(baton.dir / "xdg")}
    name = f"t{os.getpid()}"
    (baton.dir / "xdg" / "baton").mkdir(parents=True)
    (baton.dir / "xdg" / "baton" / name).symlink_to(baton.run_dir)
    assert "nothing has gone wrong" in baton.cli("why", "--name", name, run_dir=False, env=env, check=0).stdout
    assert "long ago" not in baton.cli("events", "--name", name, run_dir=False, env=env, check=0).stdout


def test_events_for_people_cannot_steer_the_terminal(baton):
    baton.run_dir.mkdir()
    (baton.run_dir / "events").write_text(event(1, "config.rejected", reason="\x1b[31mred\u009b2J\x7f \u00e4"))
    out = baton.cli("events", check=0).stdout
    assert "\\x1b[31mred\\x9b2J\\x7f \u00e4" in out and not set(out) & {"\x1b", "\x7f", "\u009b"}


def test_why_of_a_stop_is_the_stop(baton):
    baton.run()
    assert baton.cli("why", check=0).stdout == "nothing has gone wrong\n"
    assert baton.stop() == 0
    assert baton.cli("why", check=0).stdout.startswith("a stop was asked for")


def test_stop_waits_until_the_instance_is_gone(baton):
    baton.run()
    baton.cli("stop", check=0)
    assert not (baton.run_dir / "control.sock").exists()
    assert baton.wait_exit() == 0


def test_drain_takes_readiness_away_and_gives_it_back(baton):
    baton.run(listeners=[listener := Listener()])
    baton.cli("drain", check=0)
    status = baton.status()
    assert status["ready"] is False and status["reason"]
    listener.connect().close()
    baton.cli("drain", "--undo", check=0)
    assert baton.status()["ready"] is True


def test_a_log_as_json_is_json(baton):
    baton.start("--log-format", "json", "--log-level", "debug", *NO_PROXY)
    baton.wait_event("epoch.accepted")
    assert baton.stop() == 0
    lines = [json.loads(line) for line in baton.log().splitlines()]
    assert {"baton.started", "epoch.launched", "epoch.accepted", "stop.asked"} <= {e["event"] for e in lines}
    assert all({"time", "level", "event"} <= e.keys() for e in lines)


# ---- where it runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable, below", [("BATON_RUN_DIR", ""), ("RUNTIME_DIRECTORY", "")])
def test_the_run_directory_may_come_from_the_environment(baton, variable, below):
    env = {variable: str(baton.run_dir)}
    baton.process = subprocess.Popen(baton.command("run", *NO_PROXY), env=baton.environment(env), stdout=baton._log, stderr=baton._log)
    baton.wait_event("epoch.accepted")
    done = baton.cli("status", "--json", run_dir=False, env=env, check=0)
    assert json.loads(done.stdout)["run_dir"] == str(baton.run_dir)
    baton.cli("stop", run_dir=False, env=env, check=0)
    assert baton.wait_exit() == 0


def test_a_name_selects_the_instance(baton):
    env = {"XDG_RUNTIME_DIR": str(baton.dir)}
    name = f"t{os.getpid()}"
    if os.geteuid() == 0:
        pytest.skip("root takes /run/baton before $XDG_RUNTIME_DIR; the unit test of the candidates covers the order")
    baton.run_dir = baton.dir / "baton" / name
    baton.process = subprocess.Popen(baton.command("run", "--name", name, *NO_PROXY), env=baton.environment(env), stdout=baton._log, stderr=baton._log)
    baton.wait_event("epoch.accepted")
    assert json.loads(baton.cli("status", "--json", "--name", name, run_dir=False, env=env, check=0).stdout)["name"] == name
    baton.cli("status", "--name", name + "x", run_dir=False, env=env, check=3)
