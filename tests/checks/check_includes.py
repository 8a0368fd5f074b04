#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_includes.py ROOT: the direction of dependencies and the purity of what decides.

- A PURE file (pure.txt) and the header of the same name include no header that does I/O. Each file of the list exists, and
  its head says PURE; whose head says so is on the list.
- A library (hotrestart, certs) includes neither agent/ nor an event loop.
- A callback of an ev_io calls io_again() (agent/io_again.h says why).
- tests/ may look everywhere; nobody looks into tests/ but tests.
"""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
LIBRARIES = ("hotrestart", "certs")
IMPURE = re.compile(
    r"^(unistd|stdio|fcntl|poll|time|pthread|threads|dirent|spawn|netdb|ev|syslog)\.h$"
    r"|^(sys|arpa|net|netinet|linux|openssl|systemd|curl|event2|ncurses|inotifytools)/"
    r"|^(microhttpd|yaml|libev)\.h$"
)
# sockaddr_un is a value like any other, and inet_pton() computes one.
TYPES_ONLY = {"sys/types.h", "sys/un.h", "sys/socket.h", "netinet/in.h", "arpa/inet.h"}
# snprintf() into a buffer is pure, but the header brings files along: only where text must be made.
STDIO_ALLOWED = {
    "agent/admin_plan.c",
    "agent/certs_option.c",
    "agent/duration.c",
    "agent/expand.c",
    "agent/held_name.c",
    "agent/json.c",
    "agent/key_name.c",
    "agent/listen_spec.c",
    "agent/listeners_page.c",
    "agent/proxy_words.c",
    "agent/succession_upgrade.c",
    "agent/upgrade.c",
    "agent/why.c",
    "hotrestart/names.c",
}
SAYS_PURE = re.compile(r"\A/\*[^\n]*\n(/\*|/\*\n \*) PURE\.")


def includes(path):
    return [name for _, name in INCLUDE.findall(path.read_text())]


def listed(root):
    lines = (root / "tests/checks/pure.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def list_findings(root):
    says = {str(p.relative_to(root)) for part in ("agent", *LIBRARIES) for p in (root / part).rglob("*.c")
            if SAYS_PURE.search(p.read_text())}
    for name in sorted(says - set(listed(root))):
        yield f"{name}: says that it is PURE and is not in pure.txt"
    for name in sorted(set(listed(root)) - says):
        yield f"pure.txt: {name} " + ("does not say that it is PURE" if (root / name).exists() else "is not in the tree")


def pure_findings(root):
    for name in listed(root):
        if not (root / name).exists():
            continue
        for path in (root / name, (root / name).with_suffix(".h")):
            if not path.exists():
                continue
            for header in includes(path):
                if header == "stdio.h" and name in STDIO_ALLOWED:
                    continue
                if IMPURE.search(header) and header not in TYPES_ONLY:
                    yield f"{path.relative_to(root)}: is PURE and includes <{header}>"


def library_findings(root):
    for library in LIBRARIES:
        others = tuple(f"{x}/" for x in LIBRARIES if x != library) + ("agent/", "tests/")
        for path in sorted((root / library).rglob("*.[ch]")):
            for header in includes(path):
                if header.startswith(others):
                    yield f"{path.relative_to(root)}: a library includes \"{header}\""
                if header in ("ev.h", "event.h", "uv.h", "libev/ev.h"):
                    yield f"{path.relative_to(root)}: a library includes an event loop, <{header}>"


def product_findings(root):
    for path in sorted((root / "agent").rglob("*.[ch]")):
        for header in includes(path):
            if header.startswith("tests/"):
                yield f"{path.relative_to(root)}: the product includes \"{header}\""


def watcher_findings(root):
    for path in sorted((root / "agent").rglob("*.c")):
        text = path.read_text()
        for callback in sorted(set(re.findall(r"^static void (\w+)\(struct ev_loop \*\w+, ev_io \*", text, re.M))):
            body = re.search(rf"^static void {callback}\(struct ev_loop .*?^}}", text, re.M | re.S)
            if not body or "io_again(" not in body[0]:
                yield f"{path.relative_to(root)}: {callback}() does not call io_again()"


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    findings = [*list_findings(root), *pure_findings(root), *library_findings(root), *product_findings(root), *watcher_findings(root)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
