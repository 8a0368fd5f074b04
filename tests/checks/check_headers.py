#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_headers.py ROOT CC public|internal [CFLAGS...]: every header compiles alone.

Public headers are held to plain C11 with every warning an error, since any project may include them; internal ones to
what the project itself is compiled with.
"""
import pathlib
import subprocess
import sys

PUBLIC = ("hotrestart/hotrestart.h", "certs/certs.h")
PARTS = ("agent", "hotrestart", "certs", "tests/support")


def main():
    root, cc, kind, flags = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3], sys.argv[4:]
    if kind == "public":
        headers = PUBLIC
        flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{root}"]
    else:
        headers = sorted(str(p.relative_to(root)) for part in PARTS for p in (root / part).rglob("*.h"))
        headers = [h for h in headers if h not in PUBLIC]
        flags = ["-std=gnu11", "-D_GNU_SOURCE", '-DBATON_VERSION="0"', "-Wall", "-Wextra", f"-I{root}", *flags]
    bad = 0
    for header in headers:
        run = subprocess.run([cc, *flags, "-fsyntax-only", "-x", "c", "-"], input=f'#include "{header}"\n', text=True,
                             capture_output=True)
        if run.returncode:
            print(f"{header} does not compile alone:\n{run.stderr}")
            bad = 1
    print(f"{len(headers)} {kind} headers")
    return bad or (0 if headers else 1)


if __name__ == "__main__":
    sys.exit(main())
