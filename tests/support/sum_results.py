#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sum_results.py FOLDER: adds up the JUnit files that ctest and pytest left, names what failed and what was skipped.

A criterion program is one test for ctest and many for us: its own last line tells how many, and run_test makes it name
those that it skips, which that line does not count. The last line printed is
"N passed, N failed" and nothing follows it.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree

SYNTHESIS = re.compile(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)")
SKIPPED = re.compile(r"^\[SKIP\] (\S+): (.*)$", re.M)


def name_of(case):
    """ctest puts the name into both attributes, pytest the module into the first."""
    classname, name = case.get("classname", ""), case.get("name", "")
    return name if classname in ("", name) else f"{classname}::{name}"


def outcome(case):
    """(passed, failed, what is wrong, [(name, reason) of what was skipped]) of one entry of a JUnit file."""
    if (skipped := case.find("skipped")) is not None:
        return 0, 0, "", [(name_of(case), skipped.get("message", "") or skipped.text or "")]
    text = re.sub(r"\x1b\[[0-9;]*m", "", case.findtext("system-out") or "")
    red = case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail"
    if found := SYNTHESIS.search(text):
        tested, passing, _, _ = map(int, found.groups())
        skips = SKIPPED.findall(text)
        if tested == 0 and not skips:
            return 0, 1, "it ran no test", []
        return passing, tested - passing or int(red), "", skips
    return int(not red), int(red), "", []


def read(path):
    passed, failed, problems, skips = 0, 0, [], []
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError) as e:
        return 0, 1, [f"{path.name}: {e}"], []
    for case in root.iter("testcase"):
        p, f, wrong, skipped = outcome(case)
        passed, failed = passed + p, failed + f
        if f:
            problems.append(f"{name_of(case)} {wrong}".strip())
        skips += [f"{name}: {reason.strip() or 'no reason given'}" for name, reason in skipped]
    return passed, failed, problems, skips


def main():
    passed = failed = 0
    problems, skips = [], []
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.xml")):
        p, f, bad, skipped = read(path)
        print(f"  {path.stem.partition('-')[2] or path.stem:10} {p:5} passed {f:4} failed {len(skipped):4} skipped")
        passed, failed = passed + p, failed + f
        problems += bad
        skips += skipped
    for line in skips:
        print(f"skipped: {line}")
    for line in problems:
        print(f"FAILED: {line}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
