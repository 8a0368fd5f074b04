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

# fail() and say() are the agent's and the keeper's short ways to an event; report_names[] is a table of them.
EVENT = (r'log_event\(\s*[^,]+,\s*"([a-z.-]+)"', r'\bfail\(a, [^"]*"([a-z.-]+)"', r'\] = "([a-z]+\.[a-z-]+)"', r'\bsay\("([a-z.-]+)"',
         r'level=\w+ event=([a-z]+\.[a-z-]+)')
CALL = re.compile(r'log_event\(\s*[^,]+,\s*"([a-z.-]+)"(.*?)\);', re.S)
FIELD = re.compile(r'\bF_[A-Z]+\("(\w+)"')
SAID = re.compile(r'\bsay\("([a-z.-]+)",\s*"([^;]*?)",\s*\S', re.S)


def sources(root):
    for folder in ("agent", "agent/keeper"):
        for path in sorted((root / folder).glob("*.c")):
            yield path.read_text()


def events_of_sources(root):
    fields = {}
    for text in sources(root):
        for pattern in EVENT:
            for name in re.findall(pattern, text):
                fields.setdefault(name, set())
        for name, call in CALL.findall(text):
            fields[name] |= set(FIELD.findall(call))
        for name, words in SAID.findall(text):
            fields[name] |= set(re.findall(r'\b(\w+)=', words))
    return fields


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
    said, page = events_of_sources(root), events_of_page((root / "packaging/man/baton-events.7").read_text())
    if len(said) < 20:
        yield f"only {len(said)} events found in the sources: the patterns of this check are out of date"
    for name in sorted(said.keys() - page.keys()):
        yield f"baton-events.7: {name} is missing"
    for name in sorted(page.keys() - said.keys()):
        yield f"baton-events.7: {name}: nothing says it"
    for name in sorted(said.keys() & page.keys()):
        for field in sorted(said[name] - page[name]):
            yield f"baton-events.7: {name}: its field {field} is missing"


def check_command(root):
    page = (root / "packaging/man/baton.1").read_text()
    completion = (root / "packaging/completions/baton.bash").read_text()
    table = re.search(r"option_key keys\[\] = \{(.*?)\n\};", (root / "agent/options.c").read_text(), re.S)[1]
    ctl = (root / "agent/ctl/main.c").read_text()
    options = re.findall(r'\{ "([a-z-]+)", (?:"|NULL)', table)
    verbs = re.findall(r'\{ "([a-z]+)", "[^"]+", [A-Z0-9_ |]+, \w+ \}', ctl) + ["run"]
    verb_options = re.findall(r'\{ \{ "([a-z-]+)", OPT_', ctl)
    if len(options) < 30 or len(verbs) < 15 or len(verb_options) < 8:
        yield f"{len(options)} options, {len(verbs)} verbs found in the sources: the patterns of this check are out of date"
    for name in options + verb_options + ["print-options", "help"]:
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
