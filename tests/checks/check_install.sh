#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_install.sh ROOT WORK: a release is configured without tests and with any prefix, installed, moved to another
# place, and works there; somebody else's program compiles and links against what was installed.
set -eu

root=$1
work=$2
cmake -S "$root" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DBATON_WERROR=ON \
        -DCMAKE_INSTALL_PREFIX="$work/prefix" >"$work.log" 2>&1 || { cat "$work.log"; exit 1; }
cmake --build "$work/build" >"$work.log" 2>&1 || { tail -n 40 "$work.log"; exit 1; }
rm -rf "$work/prefix" "$work/moved"
cmake --install "$work/build" >"$work.log" 2>&1 || { cat "$work.log"; exit 1; }

mv "$work/prefix" "$work/moved"
"$work/moved/bin/baton" version
for program in baton-agent baton-ctl; do
        [ -x "$work/moved/libexec/baton/$program" ] || { echo "libexec/baton/$program is missing"; exit 1; }
done
grep -q "ExecStart=$work/prefix/bin/baton run" "$work/moved/lib/systemd/system/baton@.service"
if find "$work/moved" -name '*fault*' | grep .; then
        echo "a program for tests is installed"
        exit 1
fi

header=$(find "$work/moved" -name hotrestart.h)
library=$(find "$work/moved" -name libhotrestart.a)
printf '#include <hotrestart/hotrestart.h>\nint main(void) { return (int)hr_index(3); }\n' >"$work/user.c"
cc -std=c11 -Wall -Werror -I"$(dirname "$(dirname "$header")")" "$work/user.c" "$library" -lprotobuf-c -o "$work/user"
"$work/user"
