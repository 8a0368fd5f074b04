#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_hardening.py COMPILE_COMMANDS PROGRAM...: what a release is hardened with is found in the programs, not in the build files alone.

Position independent, relocations read-only and bound at the start, no executable stack, stack canaries, checked libc calls, on x86
a landing pad where a function begins; and probes of large stack frames, which only the compiler's command line shows.
"""
import json
import pathlib
import platform
import shlex
import subprocess
import sys

X86 = platform.machine() == "x86_64"
FLAGS = ["-fstack-protector-strong", "-fstack-clash-protection", "-U_FORTIFY_SOURCE"] + (["-fcf-protection"] if X86 else [])


def tool(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout


def missing(program):
    head, segments = tool("readelf", "-hW", program), tool("readelf", "-lW", program)
    dynamic, symbols = tool("readelf", "-dW", program), tool("readelf", "--dyn-syms", "-W", program)
    stack = [line for line in segments.splitlines() if "GNU_STACK" in line]
    if "DYN (" not in head or "PIE" not in dynamic:
        yield "position independent code (PIE)"
    if "GNU_RELRO" not in segments:
        yield "read-only relocations (RELRO)"
    if "NOW" not in dynamic:
        yield "binding at the start (BIND_NOW)"
    if not stack or "RWE" in stack[0]:
        yield "a stack that is not executable"
    if "__stack_chk_fail" not in symbols:
        yield "stack canaries"
    if "_chk@" not in symbols.replace("__stack_chk", ""):
        yield "checked libc calls (_FORTIFY_SOURCE)"
    if "TEXTREL" in dynamic:
        yield "code that is never written to"
    if X86 and "endbr64" not in tool("objdump", "-d", "--disassemble=main", program):
        yield "landing pads (-fcf-protection)"


def unflagged(commands):
    for entry in json.loads(pathlib.Path(commands).read_text()):
        words = shlex.split(entry["command"])
        lacks = [f for f in FLAGS if f not in words]
        if not any(w in words for w in ("-D_FORTIFY_SOURCE=3", "-D_FORTIFY_SOURCE=2")):
            lacks.append("-D_FORTIFY_SOURCE")
        if lacks:
            yield f"{entry['file']}: compiled without {' '.join(lacks)}"


def main():
    findings = [f"{program}: has no {what}" for program in sys.argv[2:] for what in missing(program)]
    findings += unflagged(sys.argv[1])
    for finding in findings:
        print(finding)
    return bool(findings) or len(sys.argv) < 5


if __name__ == "__main__":
    sys.exit(main())
