# SPDX-License-Identifier: MIT
"""Changed files are put to work by themselves: once for each change, not for a touch, not while it is broken."""
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest

from support.config import Listener
from support.crash import children, without_sanitizer
from support.instance import memory_kib, wait_until

AUTO = {"BATON_NO_AUTO_UPGRADE": "0"}


def watcher_pid(baton):
    """baton-watch of the agent."""
    for pid in children(baton.agent_pid()):
        try:
            if "baton-watch" in os.readlink(f"/proc/{pid}/exe"):
                return pid
        except OSError:
            pass
    return None


def write(baton, body):
    baton.config.listeners[0].body = body
    baton.config.write(baton.config_path)


def bodies(listener):
    with listener.connect() as s:
        s.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    return data.rpartition(b"\r\n")[2].decode()


def test_a_changed_config_is_put_to_work_a_broken_one_refused_and_a_mended_one_taken(baton, hammer):
    baton.run(listeners=[listener := Listener(body="one")], env=AUTO)
    with hammer(listener) as load:
        moment = baton.moment()
        write(baton, "two")
        baton.wait_event("upgrade.committed", moment)
        wait_until(lambda: bodies(listener) == "two", "two alone")
        moment = baton.moment()
        baton.config_path.write_text("broken: [")
        refused = baton.wait_event("upgrade.refused", moment)
        assert "envoy.yaml" in refused["reason"]
        assert baton.status()["stale"] == ["config"]
        moment = baton.moment()
        write(baton, "three")
        baton.wait_event("upgrade.committed", moment)
        wait_until(lambda: bodies(listener) == "three", "three alone")
        assert baton.status()["stale"] == []
    assert load.failed == 0


def test_touches_and_a_change_back_are_no_change(baton):
    baton.run(listeners=[Listener(body="one")], env=AUTO)
    wait_until(lambda: watcher_pid(baton), "baton-watch")
    text = baton.config_path.read_text()
    for _ in range(1000):
        os.utime(baton.config_path)
    new = baton.config_path.with_suffix(".new")
    for _ in range(100):
        new.write_text(text)
        new.rename(baton.config_path)
    baton.config_path.write_text("broken: [")
    baton.wait_event("upgrade.refused")
    baton.config_path.write_text(text)
    write(baton, "two")
    baton.wait_event("upgrade.committed")
    assert len(baton.events("upgrade.committed")) == 1 and len(baton.events("upgrade.refused")) == 1
    assert len(baton.events("content.changed")) == 2


def test_ten_thousand_changes_in_five_seconds_are_one_upgrade_at_a_time_and_cost_no_memory(new_baton):
    """In memory: a disk's journal does not take so many renames."""
    writes, seconds, plain = 10000, 5, without_sanitizer()
    baton = new_baton(build=plain) if plain else new_baton()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as volume:
        baton.config_path = path = pathlib.Path(volume) / "envoy.yaml"
        baton.run(listeners=[listener := Listener(body="body-of-the-first")], env=AUTO)
        watcher = wait_until(lambda: watcher_pid(baton), "baton-watch")
        text, new = path.read_text(), path.with_suffix(".new")
        assert "body-of-the-first" in text
        processes = baton.agent_pid(), watcher, baton.keeper_pid()
        before = [memory_kib(pid) for pid in processes]
        began = time.monotonic()
        for i in range(writes):
            new.write_text(text.replace("body-of-the-first", f"body{i}"))
            new.rename(path)
            time.sleep(max(0, began + i * seconds / writes - time.monotonic()))
        took = time.monotonic() - began
        wait_until(lambda: bodies(listener) == f"body{writes - 1}" and baton.status()["state"] == "serving", "the last one serves")
        started, committed = baton.events("upgrade.started"), baton.events("upgrade.committed")
        after = [memory_kib(pid) for pid in processes]
    print(f"figures: {writes} changes in {took:.1f} s: {len(started)} upgrades; KiB of agent, baton-watch, keeper: {before} -> {after}")
    assert len(started) == len(committed) <= 2 + 2 * took
    assert all(next_one["mono_ns"] > end["mono_ns"] for end, next_one in zip(committed, started[1:])), "two at once"
    assert baton.events("upgrade.refused") == []
    assert (baton.agent_pid(), watcher_pid(baton), baton.keeper_pid()) == processes
    if plain:
        assert all(b - a < 512 for a, b in zip(before, after))
    else:
        print("not judged: memory, which grows with a sanitizer; the preset clang, which has none, is not built or older")


def test_what_else_is_watched_counts_too_through_the_swap_of_a_link(baton):
    volume = baton.dir / "volume"
    for version in ("v1", "v2"):
        (volume / version).mkdir(parents=True)
        (volume / version / "rds.yaml").write_text(version)
    (volume / "..data").symlink_to("v1")
    (volume / "rds.yaml").symlink_to("..data/rds.yaml")
    baton.run(listeners=[Listener()], env=AUTO, options=["--watch", volume])
    wait_until(lambda: watcher_pid(baton), "baton-watch")
    (volume / "..tmp").symlink_to("v2")
    (volume / "..tmp").rename(volume / "..data")
    baton.wait_event("upgrade.committed")
    assert len(baton.events("upgrade.committed")) == 1


def test_without_automatic_upgrades_and_while_they_are_paused_a_change_is_told_and_waits(baton, new_baton):
    baton.run(listeners=[listener := Listener(body="one")])
    write(baton, "two")
    baton.wait_event("content.changed")
    baton.cli("drain", check=0)
    assert baton.events("upgrade.started") == [] and baton.status()["stale"] == ["config"]

    other = new_baton()
    other.run(listeners=[listener := Listener(body="one")], env=AUTO)
    other.cli("pause", check=0)
    write(other, "two")
    assert "paused" in other.wait_event("content.changed")["then"]
    assert bodies(listener) == "one"
    other.cli("resume", check=0)
    other.wait_event("upgrade.committed")
    wait_until(lambda: bodies(listener) == "two", "two alone")


def test_a_change_is_seen_by_the_next_watcher_and_the_next_agent(baton):
    baton.run(listeners=[listener := Listener(body="one")], env=AUTO)
    pid = wait_until(lambda: watcher_pid(baton), "baton-watch")
    os.kill(pid, signal.SIGSTOP)
    write(baton, "two")
    os.kill(pid, signal.SIGKILL)
    baton.wait_event("watch.died")
    baton.wait_event("upgrade.committed")
    wait_until(lambda: bodies(listener) == "two", "two alone")

    agent = baton.agent_pid()
    os.kill(agent, signal.SIGSTOP)
    write(baton, "three")
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: bodies(listener) == "three", "the next agent saw it")
    assert len(baton.events("upgrade.committed")) == 2


def test_a_directory_that_goes_and_comes_again_is_watched_on(baton):
    folder = baton.dir / "more"
    baton.run(listeners=[listener := Listener(body="one")], env=AUTO, options=["--watch", folder])
    wait_until(lambda: watcher_pid(baton), "baton-watch")
    for n in range(1, 4):
        moment = baton.moment()
        folder.mkdir()
        (folder / "x").write_text(str(n))
        baton.wait_event("upgrade.committed", moment)
        moment = baton.moment()
        (folder / "x").unlink()
        folder.rmdir()
        baton.wait_event("upgrade.committed", moment)
    assert bodies(listener) == "one"


QUEUE = pathlib.Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.mark.skipif(not os.access(QUEUE, os.W_OK), reason="max_queued_events cannot be set here")
def test_events_that_the_kernel_forgets_are_made_up_for(baton):
    before = QUEUE.read_text()
    QUEUE.write_text("8")
    try:
        baton.run(listeners=[listener := Listener(body="one")], env=AUTO)
        pid = wait_until(lambda: watcher_pid(baton), "baton-watch")
    finally:
        QUEUE.write_text(before)
    os.kill(pid, signal.SIGSTOP)
    for i in range(200):
        (baton.dir / f"noise{i}").write_text("x")
    write(baton, "two")
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: bodies(listener) == "two", "the change is seen")


NO_WATCHES = ("unshare", "--user", "--map-root-user", "sh", "-c", 'echo 1 >/proc/sys/user/max_inotify_watches && exec "$@"', "sh")


@pytest.mark.skipif(subprocess.run([*NO_WATCHES, "true"], capture_output=True).returncode != 0, reason="no user namespace with a limit of its own here")
def test_where_nothing_can_be_watched_it_is_told_and_looked_at_all_the_same(baton):
    baton.run(listeners=[listener := Listener(body="one")], env=AUTO, prefix=NO_WATCHES)
    limited = baton.wait_event("watch.limited")
    assert "looking every 10 s" in limited["reason"]
    write(baton, "two")
    wait_until(lambda: bodies(listener) == "two", "the change is seen")
    assert len(baton.events("watch.limited")) == 1


OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private")


@pytest.mark.skipif(subprocess.run([*OWN_MOUNTS, "true"], capture_output=True).returncode != 0, reason="no mount namespace can be made here")
def test_what_is_mounted_late_is_seen(baton):
    for name in ("place", "source"):
        (baton.dir / name).mkdir()
    (baton.dir / "source/x").write_text("1")
    baton.run(listeners=[Listener()], env=AUTO, options=["--watch", baton.dir / "place"], prefix=OWN_MOUNTS)
    wait_until(lambda: watcher_pid(baton), "baton-watch")
    inside = ["nsenter", "--mount", "--root", "--target", str(baton.keeper_pid())]
    subprocess.run([*inside, "mount", "--bind", baton.dir / "source", baton.dir / "place"], check=True)
    baton.wait_event("upgrade.committed")
    moment = baton.moment()
    (baton.dir / "source/x").write_text("2")
    baton.wait_event("upgrade.committed", moment)
