/* SPDX-License-Identifier: MIT */
/* Upgrades that nobody asks for: what on disk is news, and what is not. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "agent/image.h"
#include "tests/support/script.h"

enum { GOOD = 1, OTHER = 2, BROKEN = 3 };

/* Epoch 0 serves, with what lies on disk. */
static struct script *serving_with(bool no_auto)
{
        struct succession_limits limits = script_limits();
        struct script *w;

        limits.no_auto = no_auto;
        w = script_new(&limits);
        w->disk = GOOD;
        w->quiet = true;
        script_feed(w, 0, (struct succession_input){ .event = ON_BEGIN });
        script_up(w, 50, 0, 1);
        script_seen(w, 60, GOOD, 0);
        w->quiet = false;
        w->text_bytes = 0;
        return w;
}

static struct script *serving(void)
{
        return serving_with(false);
}

static uint64_t upgrades(const struct script *w)
{
        return w->s.upgrade.runs;
}

Test(automatic, other_content_is_an_upgrade_and_the_same_is_none)
{
        struct script *w = serving();

        script_seen(w, 100, GOOD, 0);
        cr_expect_eq(upgrades(w), 0);
        script_seen(w, 200, OTHER, 0);
        script_run(w, 200);
        cr_expect_eq(upgrades(w), 1);
        script_seen(w, 300, OTHER, 0);
        script_run(w, 10000);
        cr_expect_eq(upgrades(w), 1, "it is being tried");
}

Test(automatic, content_that_was_refused_is_not_tried_again_until_it_changes)
{
        struct script *w = serving();

        script_seen(w, 100, BROKEN, 0);
        script_run(w, 100);
        script_preflight(w, 200, w->s.upgrade.candidate, "broken");
        for (int64_t at = 300; at < 2000; at += 100)
                script_seen(w, at, BROKEN, 0);
        cr_expect_eq(upgrades(w), 1);
        script_seen(w, 3000, OTHER, 0);
        script_run(w, 3000);
        cr_expect_eq(upgrades(w), 2);
}

Test(automatic, content_that_was_changed_back_is_what_serves_and_the_broken_one_is_news_again)
{
        struct script *w = serving();

        script_seen(w, 100, BROKEN, 0);
        script_run(w, 100);
        script_preflight(w, 200, w->s.upgrade.candidate, "broken");
        script_seen(w, 300, GOOD, 0);
        script_run(w, 400);
        cr_expect_eq(upgrades(w), 1);
        script_seen(w, 500, BROKEN, 0);
        script_run(w, 500);
        cr_expect_eq(upgrades(w), 2);
}

Test(automatic, a_splay_delays_it_a_change_back_in_that_time_ends_it_and_another_agent_goes_on)
{
        struct script *w = serving();

        script_seen(w, 100, OTHER, 5000);
        script_run(w, 5099);
        cr_expect_eq(upgrades(w), 0);
        script_seen(w, 5099, GOOD, 5000);
        script_run(w, 20000);
        cr_expect_eq(upgrades(w), 0);
        script_seen(w, 20000, OTHER, 5000);
        script_die(w, &(struct resume_fact){ .epoch = 0, .job_known = true, .alive = true, .pid = 1000 }, 1);
        script_seen(w, 20010, OTHER, 5000);
        script_run(w, 25001);
        cr_expect_eq(upgrades(w), 1, "at the time that was drawn first");
}

Test(automatic, while_it_is_paused_or_switched_off_a_change_is_told_once_and_waits)
{
        struct script *w = serving();

        script_feed(w, 100, (struct succession_input){ .event = ON_PAUSE, .value = 1 });
        w->text_bytes = 0;
        script_seen(w, 200, OTHER, 0);
        script_seen(w, 300, OTHER, 0);
        cr_expect(script_expect(w, "    200 seen             (changed)\n"
                                   "    300 seen            \n"));
        cr_expect_eq(upgrades(w), 0);
        script_feed(w, 400, (struct succession_input){ .event = ON_PAUSE, .value = 0 });
        script_run(w, 400);
        cr_expect_eq(upgrades(w), 1);

        w = serving_with(true);
        script_seen(w, 200, OTHER, 0);
        script_feed(w, 400, (struct succession_input){ .event = ON_PAUSE, .value = 0 });
        script_run(w, 10000);
        cr_expect_eq(upgrades(w), 0);
}

Test(automatic, changes_while_one_is_under_way_are_one_more_and_it_takes_the_last)
{
        struct script *w = serving();

        script_seen(w, 100, OTHER, 0);
        script_run(w, 100);
        for (uint8_t disk = 10; disk < 200; disk++)
                script_seen(w, 100 + disk, disk, 0);
        script_run(w, 1000);
        cr_expect_eq(upgrades(w), 2);
        script_preflight(w, 1100, w->s.upgrade.candidate, "broken");
        cr_expect_eq(w->s.taken.bytes[0], 199);
        script_run(w, 10000);
        cr_expect_eq(upgrades(w), 2);
}

Test(automatic, where_a_relaunch_waits_a_change_is_tried_at_once)
{
        struct script *w = serving();

        script_crash(w, 1000, 0); /* it was not stable: 200 ms */
        script_seen(w, 1050, OTHER, 60000);
        cr_expect_neq(succession_find(&w->s, w->s.wanted)->digest.bytes[0], GOOD);
        cr_expect_eq(upgrades(w), 0);
}

Test(automatic, without_the_state_nothing_is_news_until_it_changes)
{
        struct script *w = serving();

        w->s.taken = w->s.disk = (struct digest){ { 0 } };
        w->s.epochs[0].digest = (struct digest){ { 0 } };
        script_seen(w, 100, OTHER, 0);
        script_run(w, 1000);
        cr_expect_eq(upgrades(w), 0);
        script_seen(w, 1100, GOOD, 0);
        script_run(w, 1100);
        cr_expect_eq(upgrades(w), 1);
}

Test(automatic, an_instance_that_ends_takes_nothing)
{
        struct script *w = serving();

        script_stop(w, 100, 1);
        script_seen(w, 150, OTHER, 0);
        script_run(w, 200);
        cr_expect_eq(upgrades(w), 0);
}
