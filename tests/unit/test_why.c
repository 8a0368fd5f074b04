/* SPDX-License-Identifier: MIT */
/* One line that explains, out of event lines. */
#include <criterion/criterion.h>

#include <string.h>

#include "agent/events.h"

static char words[1024];

static const char *why(const char *lines)
{
        why_explain(lines, strlen(lines), words, sizeof(words));
        return words;
}

#define EXITED "{\"event\":\"epoch.exited\",\"epoch\":3,\"reason\":\"signal:SEGV\",\"then\":\"relaunch in 0 ms\",\"time\":\"T1\"}\n"
#define ACCEPTED "{\"event\":\"epoch.accepted\",\"epoch\":4,\"time\":\"T2\"}\n"
#define EXHAUSTED "{\"event\":\"relaunch.exhausted\",\"reason\":\"epoch 3 ended\",\"then\":\"baton ends\",\"time\":\"T3\"}\n"
#define REJECTED "{\"event\":\"config.rejected\",\"epoch\":0,\"file\":\"/x.yaml\",\"reason\":\"no such field\",\"time\":\"T4\"}\n"
#define STOP "{\"event\":\"stop.asked\",\"times\":1,\"time\":\"T5\"}\n"
#define STARTED "{\"event\":\"baton.started\",\"version\":\"1\",\"time\":\"T6\"}\n"

Test(why, nothing_went_wrong)
{
        cr_expect_str_eq(why(""), "nothing has gone wrong");
        cr_expect_str_eq(why(ACCEPTED), "nothing has gone wrong");
        cr_expect_str_eq(why("garbage\n{\"event\":7}\n{\"x\":1}\n[]\n"), "nothing has gone wrong");
}

Test(why, an_exit_is_told_and_that_it_is_over)
{
        cr_expect_str_eq(why(EXITED), "the proxy ended: signal:SEGV, epoch 3; relaunch in 0 ms (T1)");
        cr_expect_str_eq(why(EXITED ACCEPTED), "the proxy ended: signal:SEGV, epoch 3; relaunch in 0 ms (T1); it serves again");
        cr_expect_str_eq(why(EXITED ACCEPTED ACCEPTED), "the proxy ended: signal:SEGV, epoch 3; relaunch in 0 ms (T1); it serves again");
}

Test(why, the_cause_is_told_not_what_followed_from_it)
{
        cr_expect_str_eq(why(EXITED EXHAUSTED EXITED), "no retry tokens are left: epoch 3 ended; baton ends (T3)");
        cr_expect_str_eq(why(EXITED REJECTED STOP EXITED), "the proxy rejects its config or arguments: no such field, file /x.yaml, epoch 0 (T4)");
        cr_expect_str_eq(why(ACCEPTED STOP EXITED), "a stop was asked for (T5)", "the exit was part of the stop");
}

Test(why, what_healed_does_not_hide_what_came_after)
{
        cr_expect(strncmp(why(REJECTED ACCEPTED EXITED), "the proxy ended", 15) == 0, "%s", words);
        cr_expect(strncmp(why(STOP EXITED ACCEPTED EXITED), "the proxy ended", 15) == 0, "%s", words);
}

Test(why, what_befell_an_earlier_instance_is_not_told_of_this_one)
{
        cr_expect_str_eq(why(EXHAUSTED STARTED), "nothing has gone wrong");
        cr_expect_str_eq(why(EXHAUSTED STARTED ACCEPTED), "nothing has gone wrong");
        cr_expect(strncmp(why(REJECTED STARTED ACCEPTED EXITED), "the proxy ended", 15) == 0, "%s", words);
}

Test(why, a_last_line_without_its_end_counts_if_it_is_whole)
{
        cr_expect(strncmp(why("{\"event\":\"epoch.exited\",\"reason\":\"exit:1\"}"), "the proxy ended: exit:1", 23) == 0, "%s", words);
        cr_expect_str_eq(why("{\"event\":\"epoch.exi"), "nothing has gone wrong");
}

Test(why, a_long_reason_is_cut_not_overrun)
{
        static char line[4096];
        char small[40];

        strcpy(line, "{\"event\":\"epoch.exited\",\"reason\":\"");
        memset(line + strlen(line), 'x', 400);
        strcat(line, "\"}\n");
        why_explain(line, strlen(line), small, sizeof(small));
        cr_expect_eq(strlen(small), sizeof(small) - 1);
        cr_expect(strncmp(small, "the proxy ended: xxx", 20) == 0, "%s", small);
}
