#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sum_results.py FOLDER: adds up the JUnit files that ctest and pytest left, names what failed and what was skipped.

A criterion program is one test for ctest and many for us: its own last line tells how many. The last line printed is
"N passed, N failed" and nothing follows it.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree

SYNTHESIS = re.compile(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)")


def outcome(case):
    """(passed, failed, skipped, reason) of one entry of a JUnit file."""
    if (skipped := case.find("skipped")) is not None:
        return 0, 0, 1, skipped.get("message", "") or (skipped.text or "")
    text = (case.findtext("system-out") or "")
    red = case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail"
    if found := SYNTHESIS.search(re.sub(r"\x1b\[[0-9;]*m", "", text)):
        tested, passing, _, _ = map(int, found.groups())
        if tested == 0:
            return 0, 1, 0, "it ran no test"
        failed = tested - passing
        return (passing, failed, 0, "") if failed or not red else (passing, 1, 0, "")
    return (0, 1, 0, "") if red else (1, 0, 0, "")


def read(path):
    passed, failed, problems, skips = 0, 0, [], []
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError) as e:
        return 0, 1, [f"{path.name}: {e}"], []
    for case in root.iter("testcase"):
        p, f, s, reason = outcome(case)
        name = "::".join(x for x in (case.get("classname", ""), case.get("name", "")) if x and x != case.get("name", "") or x)
        passed, failed = passed + p, failed + f
        if f:
            problems.append(f"{name} {reason}".strip())
        if s:
            skips.append(f"{name}: {reason.strip() or 'no reason given'}")
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
