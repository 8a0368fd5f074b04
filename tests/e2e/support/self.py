# SPDX-License-Identifier: MIT
"""An installation that a test may replace under a running baton, and next versions of every kind to put into it."""
import os
import pathlib
import shutil
import tempfile

from .instance import WAIT_S, build_dir, wait_until

PROGRAMS = ("baton", "baton-agent", "baton-ctl", "baton-watch")


class Installation:
    """The built programs in a folder of their own, with the layout of a build folder."""

    def __init__(self, build=None):
        self.root = self.bin = pathlib.Path(tempfile.mkdtemp(prefix="i", dir=os.environ.get("BATON_TEST_TMP", "/tmp")))
        self.bin.chmod(0o755)
        self.install(build or build_dir())

    def install(self, folder=None):
        """As a package manager does it: each file under another name first, then renamed."""
        for name in PROGRAMS:
            source = (folder or build_dir()) / name
            if source.exists():
                self.put(name, source.read_bytes())

    def put(self, name, data, mode=0o755):
        new = self.bin / f"{name}.new"
        new.write_bytes(data if isinstance(data, bytes) else data.encode())
        new.chmod(mode)
        new.rename(self.bin / name)

    def put_waiting(self, folder=None):
        """A good version that says nothing until release(); `tried` is there when it is waited for."""
        for name in ("go", "tried"):
            (self.bin / name).unlink(missing_ok=True)
        place = self.bin / "good"
        place.mkdir(exist_ok=True)
        for name in ("baton", "baton-agent"):
            (place / name).unlink(missing_ok=True)  # it may be running
            shutil.copy2((folder or build_dir()) / name, place / name)
        self.put("baton", '#!/bin/sh\nd=${0%/*}\necho $$ >$d/tried.new; mv $d/tried.new $d/tried\n'
                          'while [ ! -e $d/go ]; do sleep 0.01; done\nexec $d/good/baton "$@"\n')

    def wait_tried(self):
        wait_until(lambda: (self.bin / "tried").exists(), "the next version is tried")
        return int((self.bin / "tried").read_text())

    def followed(self):
        """It has taken over: what the script executed is where the program is now, and where the next one is looked for."""
        self.bin = self.bin / "good"

    def release(self):
        (self.bin / "go").touch()

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)


def run_installed(baton, home, *args, **how):
    """baton.run() of the programs in that installation; the client verbs stay those of the build, whatever is put there."""
    baton.build = home.bin
    try:
        return baton.run(*args, **how)
    finally:
        baton.build = build_dir()


def begin_upgrade(baton):
    """`baton upgrade --self`, not waited for."""
    return baton.client("upgrade", "--self")


def end_of(client):
    """(exit status, what it said on stderr)"""
    said = client.communicate(timeout=WAIT_S)[1]
    return client.returncode, said
