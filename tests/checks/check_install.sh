#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_install.sh ROOT WORK: a release is configured without tests, installed to one prefix, again to another one that was
# not known when it was configured, moved to a third place, and works there; somebody else's program compiles and links
# against what was installed, by pkg-config alone.
set -eu

root=$1
work=$2
short=$(mktemp -d) # a run directory has a short path
trap 'rm -rf "$short"' EXIT

quietly() {
        "$@" >"$work.log" 2>&1 || { tail -n 40 "$work.log"; exit 1; }
}

no() {
        echo "$*"
        exit 1
}

quietly cmake -S "$root" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DBATON_WERROR=ON \
        -DCMAKE_INSTALL_PREFIX="$work/prefix"
quietly cmake --build "$work/build"
rm -rf "$work/prefix" "$work/other" "$work/moved" "$work/staged"

unit=lib/systemd/system/baton@.service
quietly cmake --install "$work/build"
grep -q "^ExecStart=$work/prefix/bin/baton run" "$work/prefix/$unit" || no "the unit names another program than the one installed"
quietly cmake --install "$work/build" --prefix "$work/other"
grep -q "^ExecStart=$work/other/bin/baton run" "$work/other/$unit" || no "the unit does not know of --prefix"
quietly env DESTDIR="$work/staged" cmake --install "$work/build" --prefix /usr
grep -q "^ExecStart=/usr/bin/baton run" "$work/staged/usr/$unit" || no "the unit is not for where DESTDIR goes to"
rm -rf "$work/prefix" # nothing may look for it there any more

mv "$work/other" "$work/moved"
"$work/moved/bin/baton" version
for program in baton-agent baton-ctl baton-watch; do
        [ -x "$work/moved/libexec/baton/$program" ] || no "libexec/baton/$program is missing"
done
"$work/moved/bin/baton" run --run-dir "$short/r" --on-clean-exit stop -- /bin/true 2>"$work.log" || { cat "$work.log"; exit 1; }
BATON_RUN_DIR=$short/r "$work/moved/bin/baton" events | grep -q epoch.clean-exit || no "it did not run what it was given"
for program in "$work/moved/bin/baton" "$work"/moved/libexec/baton/*; do
        strip -o "$short/stripped" "$program"
        ! grep -q -a -F -e "$root" -e "$work/build" "$short/stripped" || no "$program knows the folder that it was built from"
done
python3 "$root/tests/checks/check_hardening.py" "$work/build/compile_commands.json" "$work/moved/bin/baton" "$work"/moved/libexec/baton/* ||
        no "a release is not hardened"
if find "$work/moved" -name '*fault*' | grep .; then
        no "a program for tests is installed"
fi

for file in include/hotrestart/hotrestart.h share/doc/baton/protocol.md share/man/man1/baton.1 share/man/man5/baton.json.5 \
        share/man/man7/baton-events.7 share/bash-completion/completions/baton; do
        [ -s "$work/moved/$file" ] || no "$file is missing"
done
pc=$(find "$work/moved" -name libhotrestart.pc)
cat >"$work/user.c" <<'END'
#include <hotrestart/hotrestart.h>
int main(void)
{
        uint8_t bytes[HR_DATAGRAM_BYTES];
        size_t n = 0;
        struct hr_message said = { .type = HR_DRAIN_LISTENERS }, heard = { 0 };
        return hr_encode(&said, bytes, sizeof(bytes), &n) != 0 || hr_decode(bytes + 8, n - 8, &heard) != 0 || heard.type != said.type;
}
END
# shellcheck disable=SC2046 # words are wanted
PKG_CONFIG_PATH=$(dirname "$pc") cc -std=c11 -Wall -Werror "$work/user.c" \
        $(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs libhotrestart) -o "$work/user"
"$work/user"
