# SPDX-License-Identifier: MIT
"""`baton check`: what an upgrade would say, by a client that touches nothing."""
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from support.config import Config, Listener, free_port
from support.envoys import NEWEST, OLDEST, envoy
from support.instance import wait_until


@pytest.fixture
def check(baton):
    """check(...) writes the config and checks it; exit status and the JSON. Nothing may be left of it, whatever the outcome."""
    tmp = baton.dir / "tmp"
    tmp.mkdir()

    def run(*options, proxy=None, config=None, proxy_args=("--concurrency", "2"), env=None, status=None, text=None, **fields):
        file = baton.dir / "new.yaml"
        if text is None:
            (config or Config(**fields)).write(file)
        else:
            file.write_text(text)
        done = baton.cli("check", "--json", *options, "--", proxy or envoy(NEWEST), "-c", file, *proxy_args,
                         env={"TMPDIR": str(tmp), **(env or {})})
        assert list(tmp.iterdir()) == []
        assert status is None or done.returncode == status, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        out = json.loads(done.stdout)
        assert out["ok"] == (done.returncode == 0) and bool(out["problems"]) == (done.returncode != 0)
        return out

    return run


def reason(out, what):
    """The reason of the one problem that there is."""
    assert [p["what"] for p in out["problems"]] == [what], out["problems"]
    text = out["problems"][0]["reason"]
    assert "\n" not in text
    return text


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def holder(port=0):
    """Somebody else's listener, not shared."""
    s = socket.socket()
    s.bind(("127.0.0.1", port))
    s.listen()
    return s


def with_route_to_nowhere(listener):
    config = Config(listeners=[listener]).to_dict()
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["virtual_hosts"][0]["routes"] = [{"match": {"prefix": "/"}, "route": {"cluster": "nowhere"}}]
    return json.dumps(config)


def test_a_good_config_is_what_an_upgrade_would_try(check, each_envoy):
    shared, single, pipe = Listener(name="a"), Listener(name="b", reuse_port=False), Listener(name="c", address="unix:/tmp/never-made.sock")
    out = check(proxy=each_envoy, listeners=[shared, single, pipe], proxy_args=("--concurrency", "3"), status=0)
    assert out["proxy"] == {"path": each_envoy, "version": pathlib.Path(each_envoy).parents[2].name, "hot_restart_version": "11.104"}
    assert out["workers"] == 3
    assert [(x["address"], x["reuse_port"], x["change"]) for x in out["listeners"]] == [
        (shared.url, True, "none"), (single.url, False, "none"), (pipe.url, False, "none")]
    assert not os.path.exists("/tmp/never-made.sock")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_an_unknown_cluster_is_refused_in_the_words_of_the_proxy(check, version):
    text = reason(check(proxy=envoy(version), text=with_route_to_nowhere(Listener()), status=2), "config")
    assert "unknown cluster 'nowhere'" in text


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_broken_yaml_is_refused_and_the_file_is_named(baton, check, version):
    text = reason(check(proxy=envoy(version), text="admin: [\nnode: {}\n", status=2), "config")
    assert "yaml" in text.lower() and f"{baton.dir}/new.yaml" in text and "baton-check" not in text


def test_a_missing_config_is_named(baton, check):
    done = baton.cli("check", "--", envoy(NEWEST), "-c", baton.dir / "none.yaml", check=2)
    assert done.stderr == f"baton check: config: cannot read config {baton.dir}/none.yaml: No such file or directory\n"


def test_a_taken_port_is_a_problem_until_it_is_free(check):
    with holder() as taken:
        listener = Listener(port=taken.getsockname()[1])
        assert "Address already in use" in reason(check(listeners=[listener], status=1), listener.url)
    check(listeners=[listener], status=0)


def test_an_address_of_another_host_cannot_be_bound(check):
    listener = Listener(address="192.0.2.1", port=4711)
    assert "Cannot assign requested address" in reason(check(listeners=[listener], status=1), listener.url)
    check(listeners=[Listener(address="192.0.2.1", port=4711, extra={"freebind": True})], status=0)


@pytest.mark.parametrize("kind", ["missing", "folder", "not-executable", "truncated", "empty", "exits", "crashes"])
def test_a_proxy_that_cannot_run_is_a_problem(baton, check, kind):
    path = baton.dir / "envoy-x"
    if kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        with open(envoy(NEWEST), "rb") as f:
            path.write_bytes(f.read(1 << 20))
        path.chmod(0o755)
    elif kind == "exits":
        script(path, "echo out of order >&2\nexit 7\n")
    elif kind == "crashes":
        script(path, "kill -SEGV $$\n")
    elif kind != "missing":
        path.write_bytes(b"")
        path.chmod(0o755 if kind == "empty" else 0o644)
    out = check(proxy=path, status=1)
    text = reason(out, "proxy")
    expected = {"missing": "No such file", "folder": "is not a file", "not-executable": "Permission denied", "exits": "status 7: out of order",
                "empty": "Exec format error", "crashes": "signal 11"}
    assert expected.get(kind, "") in text
    assert out["listeners"], "the rest was looked at"


@pytest.mark.parametrize("version", ["12.104", "11.999", "11.120", "disabled", ""])  # 11.120: that of another CPU
def test_a_proxy_of_another_hot_restart_version_is_refused(baton, check, version):
    if version == "11.120" and os.uname().machine == "aarch64":
        version = "11.104"
    other = script(baton.dir / "envoy-other", f'[ "$1" = --hot-restart-version ] && {{ printf "{version}" >&2; exit 0; }}\nexec {envoy(NEWEST)} "$@"\n')
    out = check(proxy=other, status=1)
    assert reason(out, "hot restart version").startswith(f"it is '{version}', and baton speaks 11.1")
    assert out["proxy"]["version"] == NEWEST


def test_words_of_a_proxy_do_not_steer_the_terminal(baton, check):
    rude = script(baton.dir / "envoy-rude", "printf '\\033[2Jgone' >&2\nexit 3\n")
    assert reason(check(proxy=rude, status=1), "proxy") == "--version ended with status 3: ?[2Jgone"


def sleeper(baton):
    """An Envoy whose validation never ends; it and what it starts say so."""
    return script(baton.dir / "envoy-slow", f'case "$*" in *validate*) touch {baton.dir}/begun; sleep 1000; exit 0;; esac\nexec {envoy(NEWEST)} "$@"\n')


def test_a_validation_has_a_deadline(baton, check):
    out = check("--timeout", "2s", proxy=sleeper(baton), status=1)
    assert reason(out, "proxy") == "--mode validate did not end within 2s"
    assert (baton.dir / "begun").exists()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_neither_files_nor_processes(baton, sig):
    Config().write(baton.config_path)
    tmp = baton.dir / "tmp"
    tmp.mkdir()
    p = subprocess.Popen(baton.command("check", "--run-dir", baton.run_dir, "--", sleeper(baton), "-c", baton.config_path),
                         env=baton.environment({"TMPDIR": str(tmp)}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until((baton.dir / "begun").exists, "the validation")
    assert len(list(tmp.iterdir())) == 1
    p.send_signal(sig)
    assert p.communicate(timeout=30)[0] == b"" and p.returncode == -sig
    assert list(tmp.iterdir()) == []  # that no process is left is judged by the fixture


def test_variables_are_put_in_and_a_missing_one_has_its_line(baton, check):
    port = free_port()
    text = json.dumps(Config(listeners=[Listener(port=port)]).to_dict()).replace(f'"port_value": {port}', '\n"port_value": ${PORT}')
    out = check("--expand-env", text=text, env={"PORT": str(port)}, status=0)
    assert out["listeners"][0]["address"] == f"tcp://127.0.0.1:{port}"
    text = reason(check("--expand-env", text=text, status=2), "config")
    assert text == f"{baton.dir}/new.yaml:2: ${{PORT}} is not set, and has no default"


def test_config_yaml_is_judged_with_the_file(check):
    more = Listener(name="more")
    yaml = json.dumps({"static_resources": {"listeners": [more.to_dict()]}})
    out = check(proxy_args=("--config-yaml", yaml), status=0)
    assert more.url in [x["address"] for x in out["listeners"]]
    assert "no_such_field" in reason(check(proxy_args=("--config-yaml", "no_such_field: 1"), status=2), "config")
    assert reason(check(proxy_args=("--config-yaml", "- a"), status=2), "config") == "--config-yaml is not a YAML mapping"


@pytest.mark.parametrize("args, words", [(("--base-id", "3"), "--base-id cannot be given"), (("--restart-epoch=1",), "baton counts the epochs"),
                                         (("--version",), "nothing to check")])
def test_arguments_that_run_refuses_are_refused(check, args, words):
    assert words in reason(check(proxy_args=args, status=2), "arguments")


def test_options_come_from_where_those_of_run_come_from(baton, check):
    assert "stop-timeout" in reason(check("--stop-timeout=soon", status=2), "options")
    assert "BATON_HOLD_TIME" in reason(check(env={"BATON_HOLD_TIME": "never"}, status=2), "options")
    Config().write(baton.config_path)
    file = baton.dir / "baton.json"
    file.write_text(json.dumps({"proxy": [envoy(NEWEST), "-c", str(baton.config_path)], "hold-time": "5s"}))
    baton.cli("check", "--config", file, check=0)
    file.write_text('{"hold-time": "x"}')
    assert baton.cli("check", "--config", file, "--", "x", check=2).stderr.startswith(f"baton check: options: {file}:1: hold-time")


def test_the_value_of_an_option_is_not_taken_for_an_option(baton):
    done = baton.cli("check", "--config", "--diff", "--", "sleep", "1", check=2)
    assert done.stderr.startswith("baton check: options: --diff: cannot read it")


def test_another_proxy_needs_only_be_there(baton):
    done = baton.cli("check", "--json", "--", "sleep", "1000", check=0)
    assert json.loads(done.stdout)["workers"] is None
    assert "not an Envoy" in json.loads(done.stdout)["notes"][0]
    baton.cli("check", "--", "/nowhere/sleep", check=1)


def test_workers_that_nobody_named_are_called_a_guess(check):
    here, online = len(os.sched_getaffinity(0)), os.sysconf("SC_NPROCESSORS_ONLN")
    out = check(proxy_args=(), status=0)
    assert out["workers"] == (here if here == online else None) and any("--concurrency" in n for n in out["notes"])
    assert check(proxy_args=("--cpuset-threads",), status=0)["workers"] == here
    assert check(proxy_args=("--concurrency", "0"), status=0)["workers"] == 1


def test_people_get_a_table_and_problems_on_stderr(baton):
    listener = Listener()
    Config(listeners=[listener]).write(baton.config_path)
    done = baton.cli("check", "--", envoy(NEWEST), "-c", baton.config_path, "--concurrency", "2", "--disable-hot-restart", check=0)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["workers", "2"] in rows and ["listener", listener.url, "shared"] in rows and done.stderr == ""
    assert ["version", f"{NEWEST},", "hot", "restart", "11.104"] in rows and rows[-1] == "ok: an upgrade would be tried".split()
    assert "note      --disable-hot-restart is ignored" in done.stdout
    with holder(listener.port):
        done = baton.cli("check", "--", envoy(NEWEST), "-c", baton.config_path, check=1)
    assert done.stderr == f"baton check: {listener.url}: cannot be bound: Address already in use\n" and "ok:" not in done.stdout


# ---- beside an instance --------------------------------------------------------------------------------------------


def test_diff_without_an_instance_is_exit_3(check):
    assert "no instance" in reason(check("--diff", status=3), "instance")


def test_without_a_proxy_and_an_instance_one_is_wanted(baton):
    assert "no proxy given" in baton.cli("check", check=2).stderr
    assert "no instance" in baton.cli("check", "--diff", check=3).stderr


def lasting(status):
    """What of a status does not change by itself."""
    return {**status, "epochs": [{k: e[k] for k in ("epoch", "pid", "state", "version", "started", "config")} for e in status["epochs"]]}


def files_of(baton):
    """The files and when each was written; but a status samples the proxy, and the agent stores what it learns."""
    return {p.relative_to(baton.run_dir): p.name == "state" or p.lstat().st_mtime_ns for p in baton.run_dir.rglob("*")}


def test_diff_tells_what_would_change_and_changes_nothing(baton, check, hammer):
    kept, gone, new = Listener(name="kept"), Listener(name="gone"), Listener(name="new")
    baton.run(envoy(OLDEST), listeners=[kept, gone])
    before, files = lasting(baton.status()), files_of(baton)
    with hammer(kept) as load:
        out = check("--diff", listeners=[kept, new], proxy_args=("--concurrency", "4"), status=0)
        check("--diff", text=with_route_to_nowhere(kept), status=2)
    assert load.refused == 0 and load.in_flight == 0 and load.failed_otherwise == 0
    assert {x["address"]: x["change"] for x in out["listeners"]} == {kept.url: "passed", new.url: "opened", gone.url: "closed"}
    assert out["running"] == {"epoch": 0, "version": OLDEST, "workers": 2} and out["workers"] == 4 and out["proxy"]["version"] == NEWEST
    assert lasting(baton.status()) == before and files_of(baton) == files


def test_what_the_instance_holds_is_not_taken(baton, check):
    single = Listener(reuse_port=False)
    baton.run(listeners=[single])
    assert check(listeners=[single], status=0)["listeners"][0]["note"] == "held by the instance"
    out = check("--name=nobody", f"--run-dir={baton.dir}/none", listeners=[single], status=1)
    assert "Address already in use" in reason(out, single.url)


def test_listeners_of_a_control_plane_are_said_to_be_unknown(baton, check):
    static, other = Listener(name="static"), Listener(name="other")
    baton.run(listeners=[static, other])
    lds = baton.dir / "lds.yaml"
    lds.write_text('{"resources": []}')
    out = check("--diff", config=Config(listeners=[static], lds_file=lds), status=0)
    assert {x["address"]: x["change"] for x in out["listeners"]} == {static.url: "passed", other.url: "none"}
    assert any("LDS" in n for n in out["notes"])


def test_the_running_command_is_checked_or_said_to_be_unknown(baton):
    baton.run()
    done = baton.cli("check", "--json")
    if "command" in baton.status():
        assert done.returncode == 0 and json.loads(done.stdout)["listeners"][0]["note"] == "held by the instance"
    else:
        assert done.returncode == 2 and "write it behind --" in done.stdout
