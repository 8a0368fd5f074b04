# SPDX-License-Identifier: MIT
"""Listeners in another network namespace: their sockets are kept too, and never mixed up with those of the default one."""
import json
import subprocess
import uuid

import pytest

from support.config import Listener
from support.envoys import envoy
from support.instance import build_dir

pytestmark = pytest.mark.root


class NamespacedListener(Listener):
    namespace = ""

    def to_dict(self, upstream=None):
        listener = super().to_dict(upstream)
        listener["address"]["socket_address"]["network_namespace_filepath"] = f"/var/run/netns/{self.namespace}"
        return listener


@pytest.fixture
def namespace():
    name = f"baton-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def two_listeners(namespace):
    default = Listener(name="default", body="default")
    other = NamespacedListener(name="other", port=default.port, body="other")
    other.namespace = namespace
    return default, other


def body_of(listener, namespace=None):
    """What one request gets; None if it is refused."""
    prefix = ["ip", "netns", "exec", namespace] if namespace else []
    done = subprocess.run([*prefix, str(build_dir() / "hammer"), "--clients=1", "--requests=1", "--duration=5", listener.target],
                          capture_output=True, text=True, timeout=30)
    bodies = json.loads(done.stdout.splitlines()[-1])["bodies"]
    return next(iter(bodies), None)


def test_sockets_of_both_namespaces_survive_a_crash(baton, namespace):
    default, other = two_listeners(namespace)
    baton.run(listeners=[default, other])
    assert [(x["held"], x.get("network_namespace")) for x in baton.status()["listeners"]] == [
        (2, None), (2, f"/var/run/netns/{namespace}")]
    with subprocess.Popen(["ip", "netns", "exec", namespace, str(build_dir() / "hammer"), "--clients=8", "--kept=2", "--pace=5",
                           "--duration=600", "--announce", other.target], stdout=subprocess.PIPE, text=True) as load:
        assert json.loads(load.stdout.readline())["flowing"]
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        load.terminate()
        total = json.loads(load.stdout.read().splitlines()[-1])
    assert total["refused"] == 0 and set(total["bodies"]) == {"other"}
    assert body_of(default) == "default"


def test_an_envoy_that_does_not_name_namespaces_never_serves_one_from_the_other(baton, namespace):
    default, other = two_listeners(namespace)
    baton.run(envoy("1.36.2"), listeners=[default, other])
    baton.wait_event("socket.ambiguous")
    for _ in range(2):
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", since=moment)
        assert (body_of(default), body_of(other, namespace)) == ("default", "other")
