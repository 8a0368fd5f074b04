# SPDX-License-Identifier: MIT
"""An installation that a test may replace under a running baton, and how it is asked to follow."""
import json
import os
import pathlib
import shutil
import tempfile

from .client import UnixHTTPConnection
from .instance import build_dir

PROGRAMS = ("baton", "baton-agent", "baton-ctl")


class Installation:
    """The built programs in a folder of their own, with the layout of a build folder."""

    def __init__(self, build=None):
        self.bin = pathlib.Path(tempfile.mkdtemp(prefix="i", dir=os.environ.get("BATON_TEST_TMP", "/tmp")))
        self.bin.chmod(0o755)
        self.install(build or build_dir())

    def install(self, folder):
        """As a package manager does it: each file under another name first, then renamed."""
        for name in PROGRAMS:
            source = folder / name
            if source.exists():
                self.put(name, source.read_bytes(), source.stat().st_mode)

    def put(self, name, data, mode=0o755):
        new = self.bin / f"{name}.new"
        new.write_bytes(data if isinstance(data, bytes) else data.encode())
        new.chmod(mode)
        new.rename(self.bin / name)

    def remove(self):
        shutil.rmtree(self.bin, ignore_errors=True)


def upgrade_self(baton):
    """(status, answer) of the request; how it ended tells an event: self.replaced or self.refused."""
    connection = UnixHTTPConnection(baton.run_dir / "control.sock")
    try:
        connection.request("POST", "/v1/upgrade", body=json.dumps({"self": True}, separators=(",", ":")))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
