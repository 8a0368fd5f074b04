/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>

#include <string.h>

#include "agent/held_name.h"

Test(held_name, what_is_named_is_found_again)
{
        static const uint64_t epochs[] = { 0, 1, 4294967295, UINT64_MAX };

        for (int k = 0; k < HELD_KINDS; k++)
                for (size_t i = 0; i < 4; i++) {
                        struct held_name n = held_name((enum held_kind)k, epochs[i]);
                        enum held_kind kind = HELD_KINDS;
                        uint64_t epoch = 7;

                        cr_assert(held_of_name(n.text, &kind, &epoch) && kind == (enum held_kind)k && epoch == epochs[i], "%s", n.text);
                }
        cr_assert_str_eq(held_name(HELD_BINARY, 12).text, "bin/12");
}

Test(held_name, other_names_are_not_taken_for_one)
{
        static const char names[][32] = { "", "kit", "kit/", "kit/x", "kit/1x", "kit/-1", "kit/plain", "kits/1", "ki/1", "listen/0/tcp://1.2.3.4:5",
                                          "status/:1", "out/4294967297", "kit/18446744073709551616", "/1" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                enum held_kind kind = HELD_KINDS;
                uint64_t epoch = 7;

                cr_assert(!held_of_name(names[i], &kind, &epoch) && kind == HELD_KINDS && epoch == 7, "%s", names[i]);
        }
}
