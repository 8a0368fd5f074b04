# SPDX-License-Identifier: MIT
"""The real Envoys: the wheels that `./test` unpacked into build/envoy/VERSION."""
import functools
import os
import pathlib

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
