#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_docs.py ROOT: the documents name what the code has, and all of it.

Every event that a source can say is listed in docs/operations.md, and no other; every option that the documents tell a user
to give is one that a source knows; every link inside the tree leads somewhere; nothing is left to be filled in.
"""
import pathlib
import re
import sys

import said

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/design.md", "docs/hardening.md", "docs/operations.md", "docs/privileges.md", "docs/protocol.md", "docs/steering.md",
             "docs/your-server.md", "packaging/container/README.md")
EVENTS = re.compile(r"^## Log and events\n(.*?)^## ", re.M | re.S)
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")
OPEN = re.compile(r"@[A-Z]{2,}@|\b(TODO|FIXME|TBD)\b")
# Of other programs: Envoy, cmake, ctest, git, docker, systemd's, curl, and of our scripts.
FOREIGN = set("""concurrency log-level mode restart-epoch base-id use-dynamic-base-id hot-restart-version socket-path parent-shutdown-time-s config-path
    config-yaml disable-hot-restart drain-time-s skip-hot-restart-parent-stats skip-hot-restart-on-no-parent preset build install prefix
    admin-address-path test-dir output-on-failure filter long stay init now unix-socket static libs cflags fault options
    reuid regid init-groups inh-caps ambient-caps runs json clusters listeners envoy-restarter only analyze target""".split())


def listed_in(text):
    """The names in the first column of the tables of that chapter."""
    for row in re.findall(r"^\|([^|]*)\|", EVENTS.search(text)[1], re.M):
        yield from re.findall(r"`([^`]*)`", row)


def findings(root):
    events, listed = set(said.events(root)), set(listed_in((root / "docs/operations.md").read_text()))
    for name in sorted(events - listed):
        yield f"docs/operations.md does not list the event {name}"
    for name in sorted(listed - events):
        yield f"docs/operations.md lists {name}, which nothing says"
    options = {*said.run_options(root), *said.verbs(root)[1], *FOREIGN}
    for name in DOCUMENTS:
        if not (root / name).exists():
            continue
        text = (root / name).read_text()
        for option in sorted(set(OPTION.findall(text)) - options):
            yield f"{name}: nobody knows the option --{option}"
        for left in OPEN.finditer(text):
            yield f"{name}: {left[0]} is to be filled in"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (root / name).parent.joinpath(target).exists():
                yield f"{name}: the link to {target} leads nowhere"


def main():
    found = list(findings(pathlib.Path(sys.argv[1]).resolve()))
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
