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

#define UPGRADING "{\"event\":\"upgrade.started\",\"epoch\":5,\"kind\":\"upgrade\",\"time\":\"U0\"}\n"
#define REFUSED "{\"event\":\"upgrade.refused\",\"epoch\":5,\"reason\":\"port 80 is taken\",\"then\":\"epoch 4 serves on\",\"time\":\"U1\"}\n"
#define BACK "{\"event\":\"upgrade.rolled-back\",\"epoch\":5,\"kind\":\"rollback\",\"reason\":\"it hung\",\"then\":\"epoch 4 serves on\",\"time\":\"U2\"}\n"
#define COMMITTED "{\"event\":\"upgrade.committed\",\"from\":4,\"to\":6,\"time\":\"U3\"}\n"
#define SUPERSEDED "{\"event\":\"upgrade.superseded\",\"epoch\":5,\"time\":\"U4\"}\n"
#define EXITED_5 "{\"event\":\"epoch.exited\",\"epoch\":5,\"reason\":\"signal:SEGV\",\"then\":\"no more\",\"time\":\"T7\"}\n"
#define EXITED_4 "{\"event\":\"epoch.exited\",\"epoch\":4,\"reason\":\"signal:ABRT\",\"then\":\"relaunch in 0 ms\",\"time\":\"T8\"}\n"

#define REFUSED_WORDS "an upgrade was refused: port 80 is taken, epoch 5; epoch 4 serves on (U1)"
#define EXITED_4_WORDS "the proxy ended: signal:ABRT, epoch 4; relaunch in 0 ms (T8)"

Test(why, what_was_tried_and_not_taken_is_told_with_its_cause)
{
        cr_expect_str_eq(why(ACCEPTED UPGRADING REFUSED), REFUSED_WORDS);
        cr_expect_str_eq(why(ACCEPTED BACK), "a rollback was rolled back: it hung, epoch 5; epoch 4 serves on (U2)");
        cr_expect_str_eq(why(ACCEPTED UPGRADING COMMITTED), "nothing has gone wrong");
        cr_expect_str_eq(why(ACCEPTED UPGRADING SUPERSEDED), "nothing has gone wrong");
}

Test(why, a_refused_upgrade_does_not_hide_a_later_crash)
{
        cr_expect_str_eq(why(ACCEPTED REFUSED EXITED_4), EXITED_4_WORDS);
        cr_expect_str_eq(why(ACCEPTED REFUSED EXITED_4 EXHAUSTED EXITED_4), "no retry tokens are left: epoch 3 ended; baton ends (T3)");
        cr_expect_str_eq(why(ACCEPTED REFUSED STOP), "a stop was asked for (T5)");
}

Test(why, a_crash_that_is_over_does_not_hide_an_upgrade_refused_later)
{
        cr_expect_str_eq(why(EXITED ACCEPTED REFUSED), REFUSED_WORDS);
        cr_expect_str_eq(why(REJECTED ACCEPTED REFUSED), REFUSED_WORDS);
        cr_expect_str_eq(why(EXITED ACCEPTED REFUSED BACK), "a rollback was rolled back: it hung, epoch 5; epoch 4 serves on (U2)");
}

Test(why, the_death_of_a_candidate_is_part_of_its_refusal)
{
        cr_expect_str_eq(why(ACCEPTED UPGRADING EXITED_5 REFUSED), REFUSED_WORDS);
        cr_expect_str_eq(why(ACCEPTED UPGRADING REFUSED EXITED_5), REFUSED_WORDS);
        cr_expect_str_eq(why(ACCEPTED UPGRADING REFUSED EXITED_5 EXITED_4), EXITED_4_WORDS);
}

Test(why, the_number_of_a_refusal_never_hides_the_death_of_what_served)
{
#define REFUSED_4 "{\"event\":\"upgrade.refused\",\"epoch\":4,\"reason\":\"broken\",\"time\":\"U5\"}\n"
        cr_expect_str_eq(why(ACCEPTED REFUSED_4 EXITED_4), EXITED_4_WORDS);
}

Test(why, a_commit_heals)
{
        cr_expect_str_eq(why(ACCEPTED REFUSED UPGRADING COMMITTED), REFUSED_WORDS "; a later one was committed");
        cr_expect_str_eq(why(ACCEPTED REFUSED COMMITTED COMMITTED), REFUSED_WORDS "; a later one was committed");
        cr_expect_str_eq(why(EXITED_4 COMMITTED), EXITED_4_WORDS "; it serves again");
        cr_expect_str_eq(why(EXITED_4 ACCEPTED COMMITTED), EXITED_4_WORDS "; it serves again");
        cr_expect_str_eq(why(ACCEPTED REFUSED COMMITTED EXITED_4), EXITED_4_WORDS);
        cr_expect_str_eq(why(EXHAUSTED COMMITTED REFUSED), REFUSED_WORDS);
}

Test(why, what_served_on_does_not_serve_again)
{
        cr_expect_str_eq(why(ACCEPTED REFUSED UPGRADING ACCEPTED), REFUSED_WORDS, "the next candidate accepts");
}

Test(why, a_stop_is_not_a_refused_upgrade)
{
        cr_expect_str_eq(why(ACCEPTED UPGRADING STOP REFUSED EXITED_5), "a stop was asked for (T5)");
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
