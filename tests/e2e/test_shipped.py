# SPDX-License-Identifier: MIT
"""What is shipped as an example, or stands in the documents as one, is what the program takes."""
import json
import re

import pytest

from support.envoys import ROOT
from support.instance import wait_until

EXAMPLE = ROOT / "packaging/systemd/baton.json"
DOCUMENTS = ("README.md", "docs/operations.md", "packaging/container/README.md")


def json_of_documents():
    for name in DOCUMENTS:
        for number, text in enumerate(re.findall(r"^```json\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)):
            yield pytest.param(text, id=f"{name}-{number}")


def run_of(baton, *args):
    return baton.cli("run", *args, run_dir=False)


def printed(baton, path):
    done = run_of(baton, "--config", path, "--print-options=json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_example_config_is_accepted_and_every_key_of_it_counts(baton):
    table = run_of(baton, "--config", EXAMPLE, "--print-options")
    assert table.returncode == 0, table.stderr
    from_file = {line.split()[0] for line in table.stdout.splitlines() if line.endswith(" file")}
    assert from_file == set(json.loads(EXAMPLE.read_text())) - {"proxy"}
    assert printed(baton, EXAMPLE)["proxy"] == json.loads(EXAMPLE.read_text())["proxy"]


def test_printed_options_are_a_config_that_prints_the_same(baton):
    first = printed(baton, EXAMPLE)
    again = baton.dir / "again.json"
    again.write_text(json.dumps(first))
    assert printed(baton, again) == first


@pytest.mark.parametrize("text", list(json_of_documents()))
def test_a_config_in_the_documents_is_accepted(baton, text):
    path = baton.dir / "document.json"
    path.write_text(text)
    assert printed(baton, path)["proxy"]


def test_the_unit_waits_for_longer_than_the_example_may_take_to_stop():
    unit = (ROOT / "packaging/systemd/baton@.service.in").read_text()
    patience = int(re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.M)[1])
    assert patience > int(re.fullmatch(r"(\d+)s", json.loads(EXAMPLE.read_text())["stop-timeout"])[1])


def test_without_tokens_it_tells_how_the_last_proxy_ended(baton):
    baton.run(options=["--retry-tokens", "1", "--retry-initial", "10ms"])
    moment = baton.kill_proxy()
    baton.wait_event("epoch.accepted", since=moment)
    wait_until(baton.proxy_pid, "the next proxy in the status")
    baton.kill_proxy()
    assert baton.wait_exit() == 1
    last = baton.events("epoch.exited", epoch=1)[0]
    assert (last["reason"], last["level"], last["then"]) == ("signal:KILL", "warning", "no more")
    assert "signal:KILL" in baton.events("relaunch.exhausted")[0]["reason"]
    why = baton.cli("why", check=0).stdout
    assert "no retry tokens are left" in why and "signal:KILL" in why


def test_after_a_stop_why_tells_of_the_stop(baton):
    baton.run()
    assert baton.stop() == 0
    assert baton.cli("why", check=0).stdout.startswith("a stop was asked for")
