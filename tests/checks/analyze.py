#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""analyze.py SOURCE COMPILE_COMMANDS gcc|clang: `gcc -fanalyzer` or `clang --analyze` over all of agent/, certs/ and hotrestart/.

Prints what it says; there may be nothing. A false alarm is first of all a place that a reader has to think about as well: it is
written more clearly. Only what gets worse by that is forgiven here, with the reason.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ANALYZERS = {
    "gcc": ["gcc", "-fanalyzer", "-c", "-o", os.devnull],
    # Not these checkers: clang does not know CLEANUP(), so to it everything leaks; and it does not know what functions in other
    # files do, so to it each result that came with `return 0` may be missing. gcc's analyzer looks for both.
    "clang": ["clang", "--analyze", "-Xclang", "-analyzer-output=text", "-o", os.devnull]
    + [x for checker in ("unix.Malloc", "core.CallAndMessage", "core.UndefinedBinaryOperatorResult", "core.uninitialized.Assign",
                         "core.uninitialized.Branch") for x in ("-Xclang", f"-analyzer-disable-checker={checker}")],
}
FORGIVEN = {
    ("gcc", "agent/ctl/check_listeners.c", "-Wanalyzer-double-free"): "takes a reallocarray() that failed for one that has freed",
    ("gcc", "agent/look.c", "-Wanalyzer-malloc-leak"): "takes an index, whose bound it has lost, for one that reaches over what was allocated",
    ("gcc", "agent/proxy_args.c", "-Wanalyzer-malloc-leak"): "has lost what was stored at an index that is counted up",
    ("gcc", "agent/watch/interests.c", "-Wanalyzer-malloc-leak"): "the same",
}
WARNING = re.compile(r"^(\S+?):\d+:\d+: (?:warning|error): .*\[(?:CWE-\d+\] \[)?([\w.-]+)\]$", re.M)


def commands(source, path):
    """Each file once, however many programs it is a part of."""
    found = {}
    for entry in json.loads(pathlib.Path(path).read_text()):
        name = os.path.relpath(entry["file"], source)
        if name.startswith(("agent/", "certs/", "hotrestart/")):
            found.setdefault(name, entry)
    return sorted(found.items())


def analyze(source, kind, name, entry):
    """(what it says, what of it is not forgiven)"""
    words = shlex.split(entry["command"])
    options = [w for w in words[1:] if w.startswith(("-D", "-I", "-std=", "-isystem")) or (not w.startswith("-") and os.path.isdir(w))]
    done = subprocess.run([*ANALYZERS[kind], *options, "-include", f"{source}/tests/checks/analyze.h", entry["file"]], cwd=entry["directory"],
                          capture_output=True, text=True)
    said = [(os.path.relpath(os.path.join(entry["directory"], file), source), flag) for file, flag in WARNING.findall(done.stderr)]
    bad = [x for x in said if (kind, *x) not in FORGIVEN]
    if done.returncode and not said:
        bad = [(name, "cannot be analyzed")]
    return (done.stderr if bad else ""), bad, said


def main():
    source, path, kind = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
    files, bad, said = commands(source, path), [], []
    with concurrent.futures.ThreadPoolExecutor(2) as two:
        for text, more, all_said in two.map(lambda f: analyze(source, kind, *f), files):
            if more:
                print(text)
            bad += more
            said += all_said
    for key in FORGIVEN:
        if key[0] == kind and key[1:] not in said:
            print(f"{key[1]}: {key[2]} is forgiven, but does not come any more: take it off the list")
            bad.append(key)
    print(f"{kind}: {len(files)} files, {len(bad)} findings")
    return bool(bad) or len(files) < 50


if __name__ == "__main__":
    sys.exit(main())
