# SPDX-License-Identifier: MIT
"""Variables in the config (--expand-env), and what --config-yaml adds: what a real Envoy makes of both."""
import json
import socket

import pytest
from support.client import body_of
from support.config import Config, Listener
from support.envoys import NEWEST, envoy
from support.instance import QUIET, wait_until


def start(baton, *options, env=None, proxy_args=QUIET):
    return baton.start(*options, "--", envoy(NEWEST), "-c", baton.config_path, *proxy_args, env=env)


def test_variables_become_values_and_a_relaunch_gets_the_same(baton):
    listener = Listener(body="hello ${WHO:-you}, $${WHO} $WHO")
    baton.config = Config(listeners=[listener])
    baton.config.write(baton.config_path)
    source = baton.config_path.read_bytes()
    start(baton, "--expand-env", env={"WHO": "me"}).wait_event("epoch.accepted")
    assert body_of(listener) == "hello me, ${WHO} $WHO"
    assert baton.config_path.read_bytes() == source and baton.status()["stale"] == []
    # the text on disk is another one now, and does not work: what served comes back
    baton.config_path.write_text("${NONE}\n")
    baton.wait_event("epoch.accepted", since=baton.kill_proxy())
    assert body_of(listener) == "hello me, ${WHO} $WHO"
    # a new text that works differs from what runs; the same text again does not
    baton.config_path.write_text(source.decode().replace("hello", "bye"))
    wait_until(lambda: baton.status()["stale"] == ["config"], "a stale config")
    baton.config_path.write_bytes(source)
    wait_until(lambda: baton.status()["stale"] == [], "no stale config")
    assert baton.stop() == 0


def test_without_expand_env_the_bytes_are_unchanged(baton):
    listener = Listener(body="${WHO} $${WHO}")
    baton.run(listeners=[listener])
    assert body_of(listener) == "${WHO} $${WHO}"
    assert (baton.run_dir / "envoy-rev0.yaml").read_bytes() == baton.config_path.read_bytes()
    assert baton.stop() == 0


def test_a_missing_variable_is_told_with_its_file_and_line(baton):
    baton.config_path.write_text("node:\n  id: ${WHO}\n")
    assert start(baton, "--expand-env").wait_exit() == 2
    assert f"{baton.config_path}:2: ${{WHO}} is not set, and has no default" in baton.log()
    assert f"{baton.config_path}:2: ${{WHO}} is not set" in baton.cli("why", check=0).stdout


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_config_yaml_takes_effect_and_the_proxys_own_admin_stays_private(baton, each_envoy, form):
    first, second, ports = Listener(), Listener(name="more", body="more"), [Listener().port for _ in range(2)]
    admin = [json.dumps({"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}) for port in ports]
    static = json.dumps({"listeners": [second.to_dict()]})
    node, tags = '{"id": "from-yaml"}', '{"stats_tags": [{"tag_name": "where", "fixed_value": "here"}]}'
    if form == "yaml":  # two of a key, an anchor, a part that Envoy ignores: all of it is YAML to Envoy
        text = (f"!ignore templates:\n  node: &node {node}\nadmin: {admin[0]}\nnode: *node\nstats_config:\n  {tags}\n"
                f"static_resources: {static}\nadmin: {admin[1]}\n")
    else:
        text = f'{{"node": {node}, "admin": {admin[0]}, "stats_config": {tags}, "static_resources": {static}}}'
    baton.run(each_envoy, listeners=[first], proxy_args=(*QUIET, "--config-yaml", text))
    assert body_of(second) == "more" and {x["address"] for x in baton.status()["listeners"]} == {first.url, second.url}
    front = ports[1] if form == "yaml" else ports[0]  # of two the last one counts
    assert baton.status()["admin"] == f"127.0.0.1:{front}"
    for port in {*ports} - {front}:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
    admin_socket = baton.run_dir / "e0/admin"
    assert admin_socket.stat().st_mode & 0o777 == 0o600
    assert '"from-yaml"' in ask(admin_socket, "/server_info") and 'where="here"' in ask(admin_socket, "/stats/prometheus?usedonly")
    assert baton.stop() == 0


@pytest.mark.parametrize("text", ["[]", "a: [", "just words"])
def test_a_config_yaml_that_is_no_mapping_is_an_invalid_config(baton, text):
    Config().write(baton.config_path)
    assert start(baton, proxy_args=("--config-yaml", text)).wait_exit() == 2
    assert "--config-yaml is not a YAML mapping" in baton.cli("why", check=0).stdout


def ask(path, what):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(str(path))
        s.sendall(f"GET {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: s.recv(65536), b"")).decode()
