# SPDX-License-Identifier: MIT
"""What the benchmarks share: the end-to-end tests' configs and load, the release build, what a machine is called.

Importing it goes on in build/venv if the present Python lacks what the configs need.
"""
import os
import pathlib
import platform
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = pathlib.Path(sys.argv[0]).name
try:
    import yaml  # noqa: F401  (the configs of the end-to-end tests need it)
except ImportError:
    venv = ROOT / "build/venv/bin/python"
    if not venv.exists() or os.environ.get("BENCH_AGAIN"):
        sys.exit(f"{NAME}: no build/venv yet: run ./test once")
    os.environ["BENCH_AGAIN"] = "1"
    os.execv(venv, [str(venv), *sys.argv])

sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/support")]
BUILD = ROOT / "build/release/bin"


def now_ns():
    return time.monotonic_ns()


def version_of(package):
    return subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout or "?"


def baton_version():
    return subprocess.run([BUILD / "baton", "version"], capture_output=True, text=True).stdout.strip()


def load_average():
    return " ".join(f"{x:.1f}" for x in os.getloadavg())


def machine():
    return f"Linux {platform.release()}; {os.cpu_count()} cores, load {load_average()}"


def build(*targets):
    """Whether the release build has these now."""
    done = subprocess.run(["cmake", "--build", BUILD.parent, "--target", *targets, "hammer", "baton", "baton-agent", "baton-ctl", "baton-watch"],
                          stdout=subprocess.DEVNULL)
    return done.returncode == 0


def progress(text):
    print(f"\r{text:40}", end="", file=sys.stderr, flush=True)


def progress_done():
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
