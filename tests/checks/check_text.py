#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_text.py ROOT: what tracked files must and must not say.

Every source opens with its licence tag. No file names the machine it was written on (absolute paths of a home or a
work folder) or the host of a package registry: the ordinary clients know where they look.
"""
import pathlib
import re
import subprocess
import sys

MACHINE = re.compile(r"(?<![\w./$}-])/(home|root|work|Users|opt/dev)(/|\b)(?!\w*:)")
REGISTRY = re.compile(r"\b(files\.pythonhosted|pypi|deb\.debian|archive\.ubuntu|registry\.npmjs|crates|proxy\.golang)\.(org|io|com)\b")
SOURCE = re.compile(r"(\.(c|h|py|cmake|proto|in)|CMakeLists\.txt|/Dockerfile)$")
TAG = "SPDX-License-Identifier: MIT"
# Corpora are whatever a parser was fed; this file holds the patterns themselves.
SKIP = re.compile(r"^tests/fuzz/corpus/|^tests/checks/check_text\.py$")
# A pc file has no place for a comment that tools like to see.
NO_TAG = {"packaging/libhotrestart.pc.in"}


def tracked(root):
    out = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True).stdout
    return [n for n in out.decode().split("\0") if n]


def findings(root):
    for name in tracked(root):
        path = root / name
        if SKIP.search(name) or not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if SOURCE.search(name) and name not in NO_TAG and TAG not in "\n".join(text.splitlines()[:3]):
            yield f"{name}: no licence tag in its first lines"
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE.search(line):
                yield f"{name}:{number}: a path of one machine: {line.strip()}"
            if REGISTRY.search(line):
                yield f"{name}:{number}: the host of a registry: {line.strip()}"


def main():
    found = list(findings(pathlib.Path(sys.argv[1]).resolve()))
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
