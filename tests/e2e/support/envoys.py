# SPDX-License-Identifier: MIT
"""The real Envoys: the wheels that `./test` unpacked into build/envoy/VERSION."""
import atexit
import functools
import os
import pathlib
import shutil
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
VERSIONS = ("1.36.2", "1.39.3", "1.40.0")
OLDEST, MIDDLE, NEWEST = VERSIONS


@functools.cache
def envoy(version=NEWEST):
    """The path of one Envoy, as text."""
    path = ROOT / "build/envoy" / version / "envoy/_bin/envoy"
    if not path.exists():
        raise FileNotFoundError(f"Envoy {version} is not there ({path}): ./test installs it")
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return str(path)


@functools.cache
def for_everybody(path):
    """The path itself if every user may go there, else that of a copy: a checkout may lie in a home that is closed to others.

    Of a folder only the programs are copied, not what is beside them.
    """
    path = pathlib.Path(path).resolve()
    if all(parent.stat().st_mode & 0o001 for parent in path.parents):
        return path
    place = pathlib.Path(tempfile.mkdtemp(prefix="b", dir=os.environ.get("BATON_TEST_TMP", "/tmp")))
    place.chmod(0o755)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    if not path.is_dir():
        return pathlib.Path(shutil.copy2(path, place))
    for name in ("baton", "baton-agent", "baton-ctl", "baton-watch"):
        shutil.copy2(path / name, place)
    return place
