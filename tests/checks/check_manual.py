#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_manual.py ROOT: the manual pages and the sources say the same.

Every option of `baton run`, every verb and every option of a verb is in baton(1); every event that the sources can say is
in baton-events(7) with its fields, and the page names no other; the pages are clean to mandoc.
"""
import pathlib
import re
import shutil
import subprocess
import sys

import said


def events_of_page(page):
    events, name = {}, None
    for line in page.splitlines():
        if line.startswith(".It Cm "):
            name = line[7:].strip()
            events[name] = set()
        elif line.startswith((".El", ".Ss", ".Sh")):
            name = None
        elif name and line.startswith(".Cm "):
            events[name] |= set(re.findall(r"\w+", line[4:]))
    return events


def check_events(root):
    events, page = said.events(root), events_of_page((root / "packaging/man/baton-events.7").read_text())
    for name in sorted(events.keys() - page.keys()):
        yield f"baton-events.7: {name} is missing"
    for name in sorted(page.keys() - events.keys()):
        yield f"baton-events.7: {name}: nothing says it"
    for name in sorted(events.keys() & page.keys()):
        for field in sorted(events[name] - page[name]):
            yield f"baton-events.7: {name}: its field {field} is missing"


def check_command(root):
    page = (root / "packaging/man/baton.1").read_text()
    completion = (root / "packaging/completions/baton.bash").read_text()
    verbs, verb_options = said.verbs(root)
    for name in said.run_options(root) + verb_options:
        if not re.search(rf"\bFl (h , Fl )?-{name}\b(?!-)", page):
            yield f"baton.1: --{name} is missing"
        if not re.search(rf"--{name}\b(?!-)", completion):
            yield f"baton.bash: --{name} is missing"
    for name in verbs:
        if not re.search(rf"\bCm {name}\b", page):
            yield f"baton.1: the verb {name} is missing"
        if not re.search(rf"\b{name}\b", completion):
            yield f"baton.bash: the verb {name} is missing"


def check_form(root):
    if not shutil.which("mandoc"):
        print("check_manual: mandoc is not installed: the form of the pages is not checked")
        return
    for page in sorted((root / "packaging/man").iterdir()):
        done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", str(page)], capture_output=True, text=True)
        yield from done.stdout.splitlines()


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    found = [*check_command(root), *check_events(root), *check_form(root)]
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
