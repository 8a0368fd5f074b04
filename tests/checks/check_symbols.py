#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_symbols.py ROOT CC NM [CFLAGS...]: a PURE file calls nothing but what computes.

The includes tell what a file could do; its undefined symbols tell what it does. Each PURE file is compiled by itself
and everything it wants from outside must be defined in another PURE file or be on the short list below.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

COMPUTES = re.compile(
    r"^(mem(cpy|move|set|cmp|chr|rchr|mem|pcpy)|str(len|nlen|cmp|ncmp|chr|rchr|str|spn|cspn|casecmp|ncasecmp|tol|toul|"
    r"toll|toull|tod|dup|ndup|chrnul)|stpcpy|stpncpy|[vs]*n?printf|v?snprintf|sscanf|malloc|calloc|realloc|reallocarray|"
    r"free|qsort|bsearch|abs|labs|llabs|inet_(pton|ntop)|hton[sl]|ntoh[sl]|abort|__assert_fail|__errno_location|"
    r"__(stack_chk_fail|isoc99_\w+|isoc23_\w+|ctype_b_loc|ctype_tolower_loc|ctype_toupper_loc|memcpy_chk|memset_chk|"
    r"memmove_chk|snprintf_chk|vsnprintf_chk|stpcpy_chk)|_GLOBAL_OFFSET_TABLE_|sigabbrev_np|strerror(name_np)?|"
    r"is(alnum|alpha|digit|print|space|xdigit|cntrl|upper|lower)|to(upper|lower)|random_r|log|log2|pow|exp|floor|ceil|"
    r"round|sqrt|fmin|fmax|(ll)?div|protobuf_c_\w+|s?printf)$"
)
# protobuf-c makes names such as envoy__hot_restart_message__unpack.
GENERATED = re.compile(r"^[a-z_]+__\w+__(init|pack|unpack|get_packed_size|pack_to_buffer|free_unpacked|descriptor)$")
FORBIDDEN_ANYWAY = {"printf", "sprintf", "vprintf"}


def symbols(root, path, cc, nm, flags):
    """What the file wants from outside, and what it defines."""
    with tempfile.NamedTemporaryFile(suffix=".o") as obj:
        command = [cc, "-std=gnu11", "-D_GNU_SOURCE", "-O0", "-fno-builtin-printf", f"-I{root}", *flags, "-c", str(path),
                   "-o", obj.name]
        subprocess.run(command, check=True)
        out = subprocess.run([nm, "-P", obj.name], check=True, capture_output=True, text=True).stdout
    pairs = [line.split()[:2] for line in out.splitlines() if len(line.split()) >= 2]
    return {n.split("@")[0] for n, kind in pairs if kind == "U"}, {n for n, kind in pairs if kind.isupper() and kind != "U"}


def main():
    root, cc, nm, flags = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3], sys.argv[4:]
    wanted, pure = {}, set()
    for line in (root / "tests/checks/pure.txt").read_text().splitlines():
        name = line.strip()
        if name and not name.startswith("#"):
            wanted[name], defined = symbols(root, root / name, cc, nm, flags)
            pure |= defined
    bad = 0
    for name, undefined in wanted.items():
        for symbol in sorted(undefined - pure):
            if symbol in FORBIDDEN_ANYWAY or not (COMPUTES.match(symbol) or GENERATED.match(symbol)):
                print(f"{name}: is PURE and calls {symbol}(), which is neither PURE nor mere computation")
                bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
