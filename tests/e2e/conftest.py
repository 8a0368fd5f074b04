# SPDX-License-Identifier: MIT
"""Fixtures of the end-to-end tests: the built program, real Envoys, real traffic."""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from support.config import free_port  # noqa: E402
from support.envoys import VERSIONS, envoy  # noqa: E402
from support.instance import Baton, build_dir, fault_build  # noqa: E402
from support.load import Hammer  # noqa: E402
from support.upstream import Upstream  # noqa: E402

OUTCOME = pytest.StashKey[bool]()


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="full counts instead of quick ones")
    parser.addoption("--keep", action="store_true", help="keep the folders of all tests, not only of failed ones")


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root")


def pytest_collection_modifyitems(config, items):
    if os.geteuid() != 0:
        for item in items:
            if "root" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[OUTCOME] = report.passed
    return report


@pytest.fixture(scope="session")
def long(request):
    return request.config.getoption("--long") or os.environ.get("BATON_TEST_LONG") == "1"


@pytest.fixture(scope="session")
def count(long):
    """count(full, quick): how often to do something."""
    return lambda full, quick: full if long else quick


@pytest.fixture(scope="session", autouse=True)
def programs():
    if not (build_dir() / "baton").exists():
        pytest.exit(f"there is no program in {build_dir()}: build first, or set BATON_BUILD", 2)


@pytest.fixture(params=VERSIONS, ids=lambda v: f"envoy-{v}")
def each_envoy(request):
    """The path of an Envoy; the test runs once with each version."""
    return envoy(request.param)


@pytest.fixture
def new_baton(request):
    """new_baton() makes one more instance; new_baton(fault=True) one whose agent can be told where to die."""
    made = []

    def make(fault=False, build=None):
        made.append(Baton(fault_build() if fault else build))
        return made[-1]

    yield make
    passed = request.node.stash.get(OUTCOME, False)
    findings = []
    for b in made:
        findings += b.finish(judge=passed)
    for b in made:
        if not passed or findings:
            print(f"{b.dir}\n{b.tail()}")
        elif not request.config.getoption("--keep"):
            b.remove()
    assert not findings, "\n".join(findings)


@pytest.fixture
def baton(new_baton):
    """One instance, not started yet: baton.run(...)."""
    return new_baton()


@pytest.fixture
def small_disk(baton):
    """mount(KIB) puts a tmpfs of that size under the run directory."""
    mounted = []

    def mount(kib, *options):
        baton.run_dir.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={kib}k", "mode=0755", *options]), "tmpfs", str(baton.run_dir)], check=True)
        mounted.append(baton.run_dir)
        return baton.run_dir

    yield mount
    baton.finish(judge=False)
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def hammer():
    """hammer(listener, ..., clients=8, kept=2): load, as a context manager."""
    return lambda *targets, **options: Hammer(build_dir() / "hammer", targets, **options)


@pytest.fixture
def upstream():
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def ads():
    """A gRPC control plane on a free port; it is up."""
    from control_plane import Ads

    plane = Ads(free_port())
    plane.up()
    yield plane
    plane.down()
