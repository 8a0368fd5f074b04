# SPDX-License-Identifier: MIT
"""Certificates: good ones are put to work under load without a failed request, bad ones never in place of a good one."""
import json
import os
import time

import pytest

from support.crash import AT_ONCE
from support.envoys import envoy, for_everybody
from support.instance import QUIET, wait_until
from support.pki import Ca, Pair, TlsListener, TlsLoad, Volume, answer_of, handshake

AUTO = {"BATON_NO_AUTO_UPGRADE": "0"}


@pytest.fixture(scope="module")
def ca():
    return Ca()


@pytest.fixture(scope="module")
def other_ca():
    return Ca("other")


def body_of(scene):
    return answer_of(scene.listener, scene.context)[1]


class Scene:
    """An Envoy with a TLS listener under baton, whose certificates are a volume."""

    def __init__(self, baton, ca, mode, options=(), wait=True, first=None, root=None, proxy=None):
        self.baton, self.ca, self.mode = baton, ca, mode
        self.volume = Volume(baton.dir / "tls")
        self.pair = first or ca.leaf()
        self.volume.write(self.pair, root or ca.root)
        self.context = ca.context()
        place = baton.run_dir / "certs/tls" if mode == "publish" else self.volume.path
        self.listener = TlsListener(cert=place / "tls.crt", key=place / "tls.key", watched=place if mode == "publish" else None,
                                    sds_path=str(baton.dir / "sds.yaml"))
        self.options = ["--certs", self.volume.path, "--certs-mode", mode, *AT_ONCE, *options]
        baton.run(proxy, listeners=[self.listener], env=AUTO, options=self.options, wait=wait)

    def serial(self):
        return handshake(self.listener, self.context)

    def wait_serves(self, pair):
        wait_until(lambda: self.serial() == pair.serial, f"serial {pair.serial:x} is served")


@pytest.mark.parametrize("mode", ["restart", "publish"])
def test_rotations_by_a_swapped_link_fail_no_request_and_new_connections_get_the_new_certificate(baton, ca, mode):
    scene = Scene(baton, ca, mode)
    times = []
    with TlsLoad(scene.listener, scene.context) as load:
        for _ in range(50):
            pair = ca.leaf()
            began = time.monotonic()
            scene.volume.write(pair, ca.root)
            scene.wait_serves(pair)
            times.append((time.monotonic() - began) * 1e3)
    times.sort()
    print(f"figures: {mode}: requests={load.requests} failed={len(load.failures)} swap_to_new_ms median={times[len(times) // 2]:.0f} worst={times[-1]:.0f}")
    assert load.requests > 0 and load.failures == []
    if mode == "publish":
        assert baton.events("upgrade.started") == []
    shown = baton.status()["certs"][0]
    assert int(shown["serial"], 16) == pair.serial and shown["refused"] == "" and shown["directory"] == str(scene.volume.path)


BAD = {
    "a key of another pair": (lambda ca, other: (Pair(ca.leaf().cert, ca.leaf().key, 0), ca.root), "does not fit"),
    "swapped": (lambda ca, other: ((lambda p: Pair(p.key, p.cert, 0))(ca.leaf()), ca.root), "no certificate"),
    "another root": (lambda ca, other: (ca.leaf(), other.root), "does not lead to a certificate of ca.crt"),
    "truncated": (lambda ca, other: ((lambda p: Pair(p.cert[:700], p.key, 0))(ca.leaf()), ca.root), "cannot be read"),
    "expired": (lambda ca, other: (ca.leaf(days=-1), ca.root), "expired"),
    "not yet valid": (lambda ca, other: (ca.leaf(start="20400101000000Z"), ca.root), "is not valid before"),
    "unreadable": (lambda ca, other: (Pair(ca.leaf().cert, None, 0), ca.root), "cannot read"),
    "large": (lambda ca, other: (Pair("x" * (1 << 20) + "\n", ca.leaf().key, 0), ca.root), "is larger than"),
    "empty": (lambda ca, other: (Pair(ca.leaf().cert, "", 0), ca.root), "is empty"),
    "garbage": (lambda ca, other: (Pair("\x01\x02garbage" * 1000, ca.leaf().key, 0), ca.root), "no certificate"),
    "weak": (lambda ca, other: (ca.leaf(kind=("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")), ca.root), "is weak"),
}


@pytest.mark.parametrize("mode", ["restart", "publish"])
def test_a_bad_set_is_refused_with_its_reason_and_the_good_one_serves_on_whoever_dies(baton, ca, other_ca, mode):
    scene = Scene(baton, ca, mode)
    for what, (make, words) in BAD.items():
        moment = baton.moment()
        scene.volume.write(*make(ca, other_ca))
        refused = baton.wait_event("certs.refused", moment)
        assert words in refused["reason"] and str(scene.volume.path) in refused["reason"], what
        assert scene.serial() == scene.pair.serial, what
    assert baton.status()["stale"] == ["certs"] and baton.status()["certs"][0]["refused"]
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", moment)
    assert scene.serial() == scene.pair.serial
    moment = baton.kill_agent()
    baton.wait_event("agent.restarted", moment)
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", moment)
    assert scene.serial() == scene.pair.serial
    pair = ca.leaf()
    scene.volume.write(pair, ca.root)
    scene.wait_serves(pair)
    assert baton.status()["stale"] == []


@pytest.mark.parametrize("what", BAD)
def test_at_a_cold_start_a_bad_set_is_not_served_and_told(baton, ca, other_ca, what):
    make, words = BAD[what]
    bad, root = make(ca, other_ca)
    Scene(baton, ca, "restart", wait=False, first=bad, root=root)
    assert baton.wait_exit() == 2
    assert words in baton.log() and words in baton.cli("why", check=0).stdout
    assert baton.events("epoch.accepted") == []


def test_files_written_in_pieces_are_taken_when_they_fit(baton, ca):
    folder = baton.dir / "plain"
    folder.mkdir()
    first, second = ca.leaf(), ca.leaf()
    for name, text in (("fullchain.pem", first.cert), ("privkey.pem", first.key), ("chain.pem", ca.root)):
        (folder / name).write_text(text)
    listener = TlsListener(cert=folder / "fullchain.pem", key=folder / "privkey.pem")
    baton.run(listeners=[listener], env=AUTO, options=["--certs", folder])
    (folder / "fullchain.pem").write_text(second.cert)
    baton.wait_event("certs.refused")
    assert handshake(listener, ca.context()) == first.serial
    (folder / "privkey.pem").write_text(second.key)
    wait_until(lambda: handshake(listener, ca.context()) == second.serial, "the second one")


def test_config_and_certificate_changed_at_once_are_one_upgrade(baton, ca):
    scene = Scene(baton, ca, "restart", options=["--debounce", "1s"])
    scene.volume.write(ca.leaf(), ca.root)
    scene.listener.body = "new"
    baton.config.write(baton.config_path)
    baton.wait_event("upgrade.committed")
    assert len(baton.events("upgrade.started")) == 1


def test_touching_certificates_and_the_same_bytes_anew_are_no_change(baton, ca):
    scene = Scene(baton, ca, "restart")
    for _ in range(20):
        scene.volume.write(scene.pair, ca.root)
    pair = ca.leaf()
    scene.volume.write(pair, ca.root)
    scene.wait_serves(pair)
    assert len(baton.events("upgrade.started")) == 1 and len(baton.events("certs.taken")) == 2


def test_a_certificate_that_ends_soon_is_warned_of_once_and_is_a_metric(baton, ca):
    scene = Scene(baton, ca, "restart", first=ca.leaf(days=5))
    assert [e["subject"] for e in baton.events("certs.expires")] == ["CN=leaf"]
    for _ in range(3):
        os.utime(scene.volume.path / "tls.crt")
    pair = ca.leaf(days=90)
    scene.volume.write(pair, ca.root)
    scene.wait_serves(pair)
    assert len(baton.events("certs.expires")) == 1


def test_copies_are_for_the_proxy_alone_and_old_ones_go(baton, ca):
    scene = Scene(baton, ca, "publish")
    for _ in range(4):
        pair = ca.leaf()
        scene.volume.write(pair, ca.root)
        scene.wait_serves(pair)
    folder = baton.run_dir / "certs"
    copies = sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())
    assert copies == [5], "in publish mode nobody needs older ones"
    assert {(p.stat().st_mode & 0o777) for p in (folder / "5").iterdir()} == {0o600}
    baton.stop()
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run the proxy as somebody else")
@pytest.mark.parametrize("mode", ["restart", "publish"])
def test_a_proxy_of_another_user_reads_the_copies_and_nobody_else_does(baton, ca, mode):
    scene = Scene(baton, ca, mode, options=["--proxy-user", "nobody"], proxy=for_everybody(envoy()))
    (scene.volume.path / "..v1/tls.key").chmod(0o600)
    pair = ca.leaf()
    scene.volume.write(pair, ca.root)
    scene.wait_serves(pair)
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", moment)
    assert scene.serial() == pair.serial
    for path in (baton.run_dir / "certs").rglob("tls.key"):
        assert path.is_symlink() or (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, 65534), path


def test_a_set_that_fails_for_its_chain_alone_is_better_than_one_that_ends_within_a_day(baton, ca, other_ca):
    scene = Scene(baton, ca, "restart", first=ca.leaf(days=1))
    pair = ca.leaf()
    scene.volume.write(pair, other_ca.root)
    assert "does not lead" in baton.wait_event("certs.chain-ignored")["reason"]
    scene.wait_serves(pair)
    scene.volume.write(ca.leaf(), other_ca.root)
    baton.wait_event("certs.refused")
    assert scene.serial() == pair.serial, "this one has time"


def test_a_directory_that_cannot_be_published_under_its_name_is_a_usage_error(baton, ca):
    Volume(baton.dir / "3").write(ca.leaf(), ca.root)
    baton.start("--certs", baton.dir / "3", "--certs-mode", "publish", "--", envoy(), "-c", baton.config_path)
    assert baton.wait_exit() == 2 and "cannot be published" in baton.log()


def test_the_verb_shows_and_judges_a_directory(baton, ca, other_ca):
    volume = Volume(baton.dir / "v")
    pair = ca.leaf()
    volume.write(pair, ca.root)
    shown = json.loads(baton.cli("certs", "--json", volume.path, check=0).stdout)
    assert shown["verdict"] == "good" and int(shown["serial"], 16) == pair.serial and shown["layout"] == "Kubernetes"
    assert "CN=leaf" in baton.cli("certs", volume.path, check=0).stdout
    volume.write(pair, other_ca.root)
    done = baton.cli("certs", volume.path, check=1)
    assert "does not lead" in done.stderr
    assert baton.cli("certs", check=2).stderr and baton.cli("certs", f"{volume.path}:cert=a", check=2).stderr


def test_what_served_last_comes_back_after_a_reboot_if_what_is_on_disk_is_bad(baton, new_baton, ca):
    state = baton.dir / "state"
    scene = Scene(baton, ca, "restart", options=["--state-dir", state])
    pair = ca.leaf()
    scene.volume.write(pair, ca.root)
    scene.wait_serves(pair)
    scene.listener.body = "kept"
    baton.config.write(baton.config_path)
    wait_until(lambda: len(baton.events("upgrade.committed")) == 2, "the new config")
    baton.stop()

    scene.volume.write(Pair(pair.cert, ca.leaf().key, 0), ca.root)
    baton.config_path.write_text("broken: [")
    after = new_baton()
    after.start(*scene.options, "--", envoy(), "-c", baton.config_path, *QUIET, env=AUTO)
    after.wait_event("epoch.accepted")
    assert scene.serial() == pair.serial and body_of(scene) == b"kept"
    assert "does not fit" in after.events("certs.kept")[0]["reason"] and after.events("content.kept")
    assert sorted(after.status()["stale"]) == ["certs", "config"]

    better = ca.leaf()
    scene.volume.write(better, ca.root)
    after.wait_event("certs.taken", copy=2)
    moment = after.moment()
    scene.listener.body = "mended"
    baton.config.write(baton.config_path)
    after.wait_event("upgrade.committed", moment)
    wait_until(lambda: (scene.serial(), body_of(scene)) == (better.serial, b"mended"), "all of it is mended")


def test_without_a_kept_config_a_broken_one_ends_the_start_as_ever(baton, ca):
    baton.config_path.write_text("broken: [")
    baton.start("--state-dir", baton.dir / "state", "--", envoy(), "-c", baton.config_path, *QUIET)
    assert baton.wait_exit() == 2
