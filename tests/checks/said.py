# SPDX-License-Identifier: MIT
"""What the sources say: events with their fields, options, verbs. The one place that knows how these are written in C."""
import re

# log_event(LEVEL, "NAME", F_STR("field", ...)...); fail(a, ..., "NAME") is the agent's short way, say("NAME", "field=...") the
# keeper's; report_names[] is a table of names; what could not be logged is a finished line in the text.
CALL = re.compile(r'\blog_event\(\s*[^,"]+,\s*"([a-z][a-z.-]*)"(.*?)\);', re.S)
FIELD = re.compile(r'\bF_[A-Z]+\("(\w+)"')
SAY = re.compile(r'\bsay\("([a-z][a-z.-]*)",\s*"([^;]*?)",\s*\S', re.S)
NAMES = tuple(re.compile(p) for p in (
    r'\bfail\(a, [^"]*"([a-z][a-z.-]*\.[a-z-]+)"', r'\bsay\("([a-z][a-z.-]*)"', r'\]\s*=\s*"([a-z]+\.[a-z-]+)"',
    r'\bevent=([a-z]+\.[a-z-]+)'))


def events(root):
    """{event: the names of its fields, as far as they stand in the call}"""
    fields = {}
    for path in sorted((root / "agent").rglob("*.c")):
        text = path.read_text()
        for pattern in NAMES:
            for name in pattern.findall(text):
                fields.setdefault(name, set())
        for name, rest in CALL.findall(text):
            fields.setdefault(name, set()).update(FIELD.findall(rest))
        for name, words in SAY.findall(text):
            fields[name] |= set(re.findall(r"\b(\w+)=", words))
    if len(fields) < 30:
        raise SystemExit(f"only {len(fields)} events were found in the sources: said.py does not see them any more")
    return fields


def run_options(root):
    """The options of `baton run`."""
    table = re.search(r"\bstruct option_key \w+\[\w*\] = \{(.*?)\n\};", (root / "agent/options_table.c").read_text(), re.S)[1]
    found = re.findall(r'^\s+\{ "([a-z-]+)", (?:"|NULL)', table, re.M)
    found += re.findall(r'longs\[\w+[^]]*\] = \(struct option\)\{ "([a-z-]+)"', (root / "agent/options.c").read_text())
    if len(found) < 30:
        raise SystemExit(f"only {len(found)} options were found in agent/options_table.c and options.c: said.py does not see them any more")
    return found


def verbs(root):
    """Of the client and `run`, and the options of the client's verbs."""
    text = (root / "agent/ctl/main.c").read_text()
    names = re.findall(r'\{ "([a-z]+)", "[^"]+", [A-Z0-9_ |]+, \w+ \}', text) + ["run"]
    options = re.findall(r'\{ \{ "([a-z-]+)", OPT_', text)
    options += re.findall(r'strcmp\(word, "--([a-z-]+)"\)', (root / "agent/ctl/check.c").read_text())
    if len(names) < 15 or len(options) < 8:
        raise SystemExit(f"{len(names)} verbs and {len(options)} options in agent/ctl/main.c: said.py does not see them any more")
    return names, options
