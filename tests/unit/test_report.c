/* SPDX-License-Identifier: MIT */
/* Event names are an interface: each is there, once, and of one form. */
#include <criterion/criterion.h>

#include <string.h>

#include "agent/succession.h"

Test(report, each_report_has_a_name_of_its_own_in_lower_case_with_one_dot)
{
        for (int r = REPORT_LAUNCHED; r <= REPORT_STOPPED; r++) {
                const char *name = report_name((enum report_kind)r), *dot;

                cr_assert(name, "report %d has none", r);
                dot = strchr(name, '.');
                cr_assert(dot && dot != name && dot[1] && !strchr(dot + 1, '.'), "%s", name);
                cr_assert_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz.-"), strlen(name), "%s", name);
                for (int other = REPORT_LAUNCHED; other < r; other++)
                        cr_assert_str_neq(name, report_name((enum report_kind)other));
        }
        cr_assert_str_eq(report_name((enum report_kind)(REPORT_STOPPED + 1)), "unknown");
}

Test(report, each_lack_has_words_and_nothing_has_none)
{
        cr_assert_str_eq(look_lack_text(LACK_NOTHING), "");
        for (int l = LACK_DRAIN_LISTENERS; l <= LACK_READY; l++) {
                cr_assert(look_lack_text((enum look_lack)l), "lack %d", l);
                cr_assert_gt(strlen(look_lack_text((enum look_lack)l)), 10);
        }
        cr_assert_str_eq(look_lack_text((enum look_lack)(LACK_READY + 1)), "unknown");
}
