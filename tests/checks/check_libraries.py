#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_libraries.py OBJDUMP KEEPER AGENT: what the loader must have read before each program's main().

The keeper needs libc alone: nothing else may fail or change under PID 1. The agent needs the few small libraries that a
launch takes; the large ones are loaded behind it (agent/late.h), and one that slips in here makes every start slower.
"""
import re
import subprocess
import sys

SANITIZERS = {"libasan", "libubsan"}
# libdl, libm, libgcc and the loader by their names: which of them a compiler asks for is its own business.
ALLOWED = {
    "keeper": {"libc", "libgcc_s", "ld-linux-x86-64", "ld-linux-aarch64"},
    "agent": {"libc", "libm", "libdl", "libgcc_s", "ld-linux-x86-64", "ld-linux-aarch64", "libev", "libprotobuf-c",
              "libyaml-0", "libz", "libcrypto"},  # the last costs a millisecond; what is launched is hashed before
}


def needed(objdump, program):
    out = subprocess.run([objdump, "-p", program], check=True, capture_output=True, text=True).stdout
    return {name.split(".so")[0] for name in re.findall(r"^\s*NEEDED\s+(\S+)", out, re.M)}


def main():
    objdump, programs = sys.argv[1], dict(zip(("keeper", "agent"), sys.argv[2:4]))
    bad = 0
    for name, program in programs.items():
        libraries = needed(objdump, program)
        if "libc" not in libraries:
            print(f"{name}: not even libc is found in {program}: this check reads the wrong thing")
            bad = 1
        for library in sorted(libraries - ALLOWED[name] - SANITIZERS):
            print(f"{name}: needs {library} before its main()")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
