/* SPDX-License-Identifier: MIT */
/* Who serves and what comes next: starts, crashes, waits, tokens, content. The stop is test_succession_stop.c's. */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "agent/kit.h"
#include "tests/support/script.h"

enum { CODE_EXITED = 1 };

static const struct succession_limits *usual(void)
{
        static struct succession_limits l;

        l = script_limits();
        return &l;
}

Test(succession, a_first_start_launches_and_serves_once_it_accepts)
{
        struct script *w = script_new(usual());

        script_feed(w, 0, (struct succession_input){ .event = ON_BEGIN });
        script_say(w, 40, 0, HR_SHUTDOWN_ADMIN);
        script_ask(w, 41, 0, 0);
        script_say(w, 45, 0, HR_DRAIN_LISTENERS);
        script_look(w, 46, 0, 1);
        script_say(w, 47, 0, HR_TERMINATE);
        cr_assert(script_expect(w, "      0 begin            kit:0<-disk\n"
                                   "      0 kit-ready        launch:0 kit:1<-0\n"
                                   "      0 process          (launched)\n"
                                   "     40 ShutdownAdmin    take reply-admin\n"
                                   "     41 PassListenSocket take pass-nothing\n"
                                   "     45 DrainListeners   take look:0\n"
                                   "     46 look             hold:0 (accepted)\n"
                                   "     47 Terminate        take\n"));
        cr_assert_str_eq(succession_state_name(&w->s), "serving");
}

Test(succession, a_crash_of_one_that_was_stable_is_answered_at_once_with_the_same_sockets)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 2);
        w->text_bytes = 0;
        script_crash(w, 20000, 0);
        script_ask(w, 20030, 1, 0);
        script_ask(w, 20031, 1, 1);
        script_say(w, 20040, 1, HR_DRAIN_LISTENERS);
        script_look(w, 20041, 1, 2);
        cr_assert(script_expect(w, "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched)\n"
                                   "  20030 PassListenSocket take pass:0\n"
                                   "  20031 PassListenSocket take pass:1\n"
                                   "  20040 DrainListeners   take look:1\n"
                                   "  20041 look             (accepted gap=41) forget:0\n"));
        cr_assert_eq(w->s.backoff.tokens, 9);
        cr_assert_eq(w->s.backoff.n, 0);
}

Test(succession, a_proxy_that_cannot_start_gets_eleven_launches_and_doubling_waits_and_then_it_ends_with_1)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        for (int64_t at = 100, wait = 100, i = 0; i <= 10; i++) {
                script_crash(w, at, (uint64_t)i);
                wait *= 2;
                at += wait;
        }
        cr_assert(script_expect(w, "    100 exit             (exited 200) (waiting 200) watch-content-since-now\n"
                                   "    300 clock            launch:1 kit:2<-1\n"
                                   "    300 process          (launched)\n"
                                   "    300 exit             (exited 400) (waiting 400) watch-content-since-now\n"
                                   "    700 clock            launch:2 kit:3<-2\n"
                                   "    700 process          (launched)\n"
                                   "    700 kit-ready        forget:1\n"
                                   "    700 exit             (exited 800) (waiting 800) watch-content-since-now\n"
                                   "   1500 clock            launch:3 kit:4<-3\n"
                                   "   1500 process          (launched)\n"
                                   "   1500 kit-ready        forget:2\n"
                                   "   1500 exit             (exited 1600) (waiting 1600) watch-content-since-now\n"
                                   "   3100 clock            launch:4 kit:5<-4\n"
                                   "   3100 process          (launched)\n"
                                   "   3100 kit-ready        forget:3\n"
                                   "   3100 exit             (exited 3200) (waiting 3200) watch-content-since-now\n"
                                   "   6300 clock            launch:5 kit:6<-5\n"
                                   "   6300 process          (launched)\n"
                                   "   6300 kit-ready        forget:4\n"
                                   "   6300 exit             (exited 6400) (waiting 6400) watch-content-since-now\n"
                                   "  12700 clock            launch:6 kit:7<-6\n"
                                   "  12700 process          (launched)\n"
                                   "  12700 kit-ready        forget:5\n"
                                   "  12700 exit             (exited 12800) (waiting 12800) watch-content-since-now\n"
                                   "  25500 clock            launch:7 kit:8<-7\n"
                                   "  25500 process          (launched)\n"
                                   "  25500 kit-ready        forget:6\n"
                                   "  25500 exit             (exited 25600) (waiting 25600) watch-content-since-now\n"
                                   "  30100 clock            silence:0 (silenced)\n"
                                   "  51100 clock            launch:8 kit:9<-8\n"
                                   "  51100 process          (launched)\n"
                                   "  51100 kit-ready        forget:7\n"
                                   "  51100 exit             silence:0 (silenced) (exited 51200) (waiting 51200) watch-content-since-now\n"
                                   " 102300 clock            launch:9 kit:10<-9\n"
                                   " 102300 process          (launched)\n"
                                   " 102300 kit-ready        forget:8\n"
                                   " 102300 exit             silence:0 (silenced) (exited 102400) (waiting 102400) watch-content-since-now\n"
                                   " 204700 clock            launch:10 kit:11<-10\n"
                                   " 204700 process          (launched)\n"
                                   " 204700 kit-ready        forget:9\n"
                                   " 204700 exit             silence:0 (silenced) (exited -1) (exhausted) close:0 forget:0 forget:10 forget:11 (stopped 1) end:1\n"));
}

Test(succession, with_on_exhausted_wait_the_ports_refuse_until_the_file_is_mended)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.wait_exhausted = true;
        l.backoff.tokens = 1;
        w = script_begin(&l);
        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_crash(w, 100, 0);
        script_crash(w, 400, 1);
        script_run(w, 4000000);
        cr_assert_str_eq(succession_state_name(&w->s), "failed");
        script_content(w, 4000000);
        script_up(w, 4000100, 3, 1);
        cr_assert(script_expect(w, "    100 exit             (exited 200) (waiting 200) watch-content-since-now\n"
                                   "    300 clock            launch:1 kit:2<-1\n"
                                   "    300 process          (launched)\n"
                                   "    400 exit             (exited -1) (exhausted) silence:0 (silenced) watch-content-since-now\n"
                                   "4000000 content          (changed) kit:3<-disk forget:2\n"
                                   "4000000 kit-ready        launch:3 kit:4<-3\n"
                                   "4000000 process          (launched)\n"
                                   "4000000 kit-ready        forget:1\n"
                                   "4000100 look             (accepted gap=4000000) forget:0\n"));
        cr_assert_eq(w->s.backoff.tokens, 1);
}

Test(succession, a_mended_file_cuts_a_wait_short_and_brings_all_tokens_back)
{
        struct script *w = script_begin(usual());

        script_exit(w, 10, 0, CODE_EXITED, 1);
        script_validated(w, 20, 0, false);
        script_exit(w, 300, 1, CODE_EXITED, 1);
        script_validated(w, 310, 1, false);
        cr_assert_eq(w->s.backoff.tokens, 9);
        w->text_bytes = 0;
        script_content(w, 400);
        cr_assert(script_expect(w, "    400 content          (changed) kit:3<-disk forget:2\n"
                                   "    400 kit-ready        launch:3 kit:4<-3\n"
                                   "    400 process          (launched)\n"
                                   "    400 kit-ready        forget:1\n"));
        cr_assert_eq(w->s.backoff.tokens, 10);
        cr_assert_eq(w->s.backoff.n, 0);
}

Test(succession, while_nothing_is_awaited_a_changed_file_starts_nothing)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_content(w, 1000);
        cr_assert(script_expect(w, "   1000 content         \n"));
}

Test(succession, a_config_that_the_proxy_rejects_at_the_first_start_ends_it_with_2)
{
        struct script *w = script_begin(usual());

        script_exit(w, 10, 0, CODE_EXITED, 1);
        script_run(w, 1000); /* the wait is over before the answer is there */
        script_validated(w, 1000, 0, true);
        cr_assert(script_expect(w, "     10 exit             (exited 200) validate:0 (waiting 200) watch-content-since-snapshot\n"
                                   "   1000 validated        (rejected) forget:0 forget:1 (stopped 2) end:2\n"));
}

Test(succession, a_verdict_on_content_that_was_changed_meanwhile_ends_nothing)
{
        struct script *w = script_begin(usual());

        script_exit(w, 10, 0, CODE_EXITED, 1);
        script_content(w, 20);
        script_exit(w, 30, 2, CODE_EXITED, 1);
        w->text_bytes = 0;
        script_validated(w, 40, 0, true);
        script_validated(w, 50, 2, false);
        script_run(w, 230);
        cr_assert(script_expect(w, "     40 validated        validate:2\n"
                                   "     50 validated       \n"
                                   "    230 clock            launch:3 kit:4<-3\n"
                                   "    230 process          (launched)\n"
                                   "    230 kit-ready        forget:2\n"));
}

Test(succession, a_rejected_config_with_on_exhausted_wait_waits_for_the_file)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.wait_exhausted = true;
        w = script_begin(&l);
        script_exit(w, 10, 0, CODE_EXITED, 1);
        script_validated(w, 30, 0, true);
        script_run(w, 1000000);
        script_content(w, 1000000);
        cr_assert(script_expect(w, "     10 exit             (exited 200) validate:0 (waiting 200) watch-content-since-snapshot\n"
                                   "     30 validated        (rejected) watch-content-since-snapshot\n"
                                   "1000000 content          (changed) kit:2<-disk forget:1\n"
                                   "1000000 kit-ready        launch:2 kit:3<-2\n"
                                   "1000000 process          (launched)\n"
                                   "1000000 kit-ready        forget:0\n"));
}

Test(succession, a_config_that_is_not_to_blame_is_tried_again)
{
        struct script *w = script_begin(usual());

        script_exit(w, 10, 0, CODE_EXITED, 1);
        script_validated(w, 30, 0, false);
        script_run(w, 300);
        cr_assert(script_expect(w, "     10 exit             (exited 200) validate:0 (waiting 200) watch-content-since-snapshot\n"
                                   "     30 validated       \n"
                                   "    210 clock            launch:1 kit:2<-1\n"
                                   "    210 process          (launched)\n"
                                   "    210 kit-ready        forget:0\n"));
}

Test(succession, nobody_asks_for_a_verdict_on_content_that_has_served)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_exit(w, 100, 0, CODE_EXITED, 1);
        cr_assert(script_expect(w, "    100 exit             (exited 200) (waiting 200) watch-content-since-now\n"));
}

Test(succession, exit_0_that_nobody_asked_for_stops_all)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_exit(w, 20000, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, "  20000 exit             (clean-exit) close:0 forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(succession, exit_0_is_as_a_crash_with_on_clean_exit_restart)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.restart_clean = true;
        w = script_begin(&l);
        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_exit(w, 20000, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched)\n"));
}

Test(succession, after_the_hold_time_the_ports_refuse_and_the_next_that_asks_revives_them)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_crash(w, 20000, 0);
        script_crash(w, 50010, 1); /* after 30 s of a start that led nowhere */
        script_ask(w, 50300, 2, 0);
        script_say(w, 50310, 2, HR_DRAIN_LISTENERS);
        script_look(w, 50311, 2, 1);
        cr_assert(script_expect(w, "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched)\n"
                                   "  50000 clock            silence:0 (silenced)\n"
                                   "  50010 exit             silence:0 (silenced) (exited 200) (waiting 200) watch-content-since-now\n"
                                   "  50210 clock            launch:2 kit:3<-2\n"
                                   "  50210 process          (launched)\n"
                                   "  50210 kit-ready        forget:1\n"
                                   "  50300 PassListenSocket revive:0 (revived) take pass:0\n"
                                   "  50310 DrainListeners   take look:2\n"
                                   "  50311 look             (accepted gap=30311) forget:0\n"));
}

Test(succession, what_was_revived_for_a_start_that_hangs_refuses_again_after_the_hold_time)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        w->quiet = true;
        script_crash(w, 20000, 0);
        script_crash(w, 60000, 1);
        w->quiet = false;
        script_ask(w, 60300, 2, 0);
        script_run(w, 10000000);
        cr_assert(script_expect(w, "  60200 clock            launch:2 kit:3<-2\n"
                                   "  60200 process          (launched)\n"
                                   "  60200 kit-ready        forget:1\n"
                                   "  60300 PassListenSocket revive:0 (revived) take pass:0\n"
                                   "  90300 clock            silence:0 (silenced)\n"
                                   " 120200 clock            (ready-late)\n"));
}

Test(succession, one_that_is_silenced_while_it_starts_is_revived_when_it_accepts)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_crash(w, 20000, 0);
        script_ask(w, 20010, 1, 0);
        script_run(w, 60000);
        script_say(w, 60000, 1, HR_DRAIN_LISTENERS);
        script_look(w, 60001, 1, 1);
        cr_assert(script_expect(w, "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched)\n"
                                   "  20010 PassListenSocket take pass:0\n"
                                   "  50000 clock            silence:0 (silenced)\n"
                                   "  60000 DrainListeners   take look:1\n"
                                   "  60001 look             revive:0 (revived) (accepted gap=40001) forget:0\n"));
        cr_assert_not(escrow_any_silenced(&w->s.escrow));
}

Test(succession, what_a_dead_generation_left_in_its_queue_gets_no_answer_and_revives_nothing)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_crash(w, 100, 0);
        script_run(w, 250);
        w->s.hold_until = (struct mono){ 280 * INT64_C(1000000) };
        script_run(w, 290);
        script_ask(w, 290, 0, 0);
        cr_assert(script_expect(w, "    100 exit             (exited 200) (waiting 200) watch-content-since-now\n"
                                   "    280 clock            silence:0 (silenced)\n"
                                   "    290 PassListenSocket take\n"));
        cr_assert(escrow_any_silenced(&w->s.escrow));
}

Test(succession, changed_content_that_fails_gives_way_to_what_served_before)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_crash(w, 100, 0);
        script_content(w, 150);
        script_crash(w, 200, 2);
        script_run(w, 1000);
        script_up(w, 1000, 4, 1);
        cr_assert(script_expect(w, "    100 exit             (exited 200) (waiting 200) watch-content-since-now\n"
                                   "    150 content          (changed) kit:2<-disk forget:1\n"
                                   "    150 kit-ready        launch:2 kit:3<-2\n"
                                   "    150 process          (launched)\n"
                                   "    200 exit             (exited 200) kit:4<-0 forget:3 (waiting 200) watch-content-since-now\n"
                                   "    400 clock            launch:4 kit:5<-4\n"
                                   "    400 process          (launched)\n"
                                   "    400 kit-ready        forget:2\n"
                                   "   1000 look             (accepted gap=900) forget:0\n"));
        cr_assert_eq(succession_find(&w->s, 4)->origin, 0, "the content of epoch 0");
}

Test(succession, a_kit_that_cannot_be_made_is_tried_again_and_the_launch_waits_for_it)
{
        struct script *w = script_begin(usual());

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        w->kits_fail = true;
        script_crash(w, 20000, 0);
        script_crash(w, 30000, 1);
        script_run(w, 31500);
        w->kits_fail = false;
        script_run(w, 32500);
        cr_assert(script_expect(w, "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched)\n"
                                   "  20000 kit-failed       forget:2\n"
                                   "  21000 clock            kit:3<-0\n"
                                   "  21000 kit-failed       forget:3\n"
                                   "  22000 clock            kit:4<-0\n"
                                   "  22000 kit-failed       forget:4\n"
                                   "  23000 clock            kit:5<-0\n"
                                   "  23000 kit-failed       forget:5\n"
                                   "  24000 clock            kit:6<-0\n"
                                   "  24000 kit-failed       forget:6\n"
                                   "  25000 clock            kit:7<-0\n"
                                   "  25000 kit-failed       forget:7\n"
                                   "  26000 clock            kit:8<-0\n"
                                   "  26000 kit-failed       forget:8\n"
                                   "  27000 clock            kit:9<-0\n"
                                   "  27000 kit-failed       forget:9\n"
                                   "  28000 clock            kit:10<-0\n"
                                   "  28000 kit-failed       forget:10\n"
                                   "  29000 clock            kit:11<-0\n"
                                   "  29000 kit-failed       forget:11\n"
                                   "  30000 clock            kit:12<-0\n"
                                   "  30000 kit-failed       forget:12\n"
                                   "  30000 exit             (exited 200) (waiting 200) watch-content-since-now\n"
                                   "  31000 clock            kit:13<-0\n"
                                   "  31000 kit-failed       forget:13 (waiting 400) watch-content-since-now\n"
                                   "  31400 clock            kit:14<-0\n"
                                   "  31400 kit-failed       forget:14 (waiting 800) watch-content-since-now\n"
                                   "  32200 clock            kit:15<-0\n"
                                   "  32200 kit-ready        launch:15 kit:16<-15\n"
                                   "  32200 process          (launched)\n"
                                   "  32200 kit-ready        forget:1\n"));
}

Test(succession, a_first_kit_that_cannot_be_made_ends_it_with_1_or_with_2_if_the_config_is_to_blame)
{
        static const int answers[] = { -ENOSPC, KIT_E_CONFIG };

        for (size_t i = 0; i < 2; i++) {
                struct script *w = script_new(usual());
                char want[160];

                w->kits_fail = true;
                w->kits_answer = answers[i];
                script_feed(w, 0, (struct succession_input){ .event = ON_BEGIN });
                (void)snprintf(want, sizeof(want), "      0 begin            kit:0<-disk\n"
                                                   "      0 kit-failed       forget:0 (stopped %d) end:%d\n", (int)i + 1, (int)i + 1);
                cr_assert(script_expect(w, want));
        }
}

Test(succession, a_mended_file_that_cannot_be_read_yet_is_read_again_and_not_what_was_rejected)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.wait_exhausted = true;
        w = script_begin(&l);
        script_exit(w, 10, 0, CODE_EXITED, 1);
        script_feed(w, 30, (struct succession_input){ .event = ON_VALIDATED, .value = 1 });
        w->text_bytes = 0;
        w->kits_fail = true;
        script_feed(w, 1000, (struct succession_input){ .event = ON_CONTENT, .value = CHANGED_RELAUNCH });
        w->kits_fail = false;
        script_run(w, 2000);
        cr_assert(script_expect(w, "   1000 content          (changed) kit:2<-disk forget:1\n"
                                   "   1000 kit-failed       forget:2\n"
                                   "   2000 clock            kit:3<-disk\n"
                                   "   2000 kit-ready        launch:3 kit:4<-3\n"
                                   "   2000 process          (launched)\n"
                                   "   2000 kit-ready        forget:0\n"));
}

Test(succession, what_is_kept_is_not_compared_with_the_refused_content_when_it_fails)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.kept = true;
        w = script_begin(&l);
        script_exit(w, 10, 0, CODE_EXITED, 1);
        w->text_bytes = 0;
        script_feed(w, 30, (struct succession_input){ .event = ON_VALIDATED, .value = 1 });
        script_exit(w, 50, 2, CODE_EXITED, 1);
        cr_assert(script_expect(w, "     30 validated        (rejected) (kept) kit:2<--2 forget:1\n"
                                   "     30 kit-ready        launch:2 kit:3<-2\n"
                                   "     30 process          (launched)\n"
                                   "     30 kit-ready        forget:0\n"
                                   "     50 exit             (exited 400) validate:2 (waiting 400) watch-content-since-now\n"));
}

/* Who inherits UDP sockets reads them only after it said Terminate, and when it says that stands in the arguments of its kit. */
Test(succession, a_kit_from_before_a_udp_listener_came_is_made_anew_before_its_launch)
{
        struct script *w = script_begin(usual());
        const struct hr_key udp = { .url = "udp://127.0.0.1:53" };

        script_up(w, 50, 0, 1);
        cr_assert_neq(escrow_held_by_keeper(&w->s.escrow, &udp, 77), NO_KEY);
        w->text_bytes = 0;
        script_crash(w, 20000, 0);
        cr_assert(script_expect(w, "  20000 exit             kit:2<-1 (exited 0)\n"
                                   "  20000 kit-ready        forget:1 launch:2 kit:3<-2\n"
                                   "  20000 process          (launched)\n"));
}

Test(succession, listeners_from_outside_are_looked_at_once_a_second_and_asked_for_when_they_changed)
{
        struct script *w = script_begin(usual());
        struct look_key keys[2] = { { .key = 0, .inode = 5000, .listed = true }, { .key = 1, .inode = 0 } };
        struct look look = { .keys = keys, .n = 2, .lds = true, .admin_answered = true, .lds_answered = true, .listeners_known = true };

        script_ask(w, 10, 0, 0);
        script_ask(w, 11, 0, 1);
        script_say(w, 20, 0, HR_DRAIN_LISTENERS);
        w->text_bytes = 0;
        script_feed(w, 100, (struct succession_input){ .event = ON_LOOK, .epoch = 0, .look = &look });
        script_run(w, 1100);
        script_feed(w, 1101, (struct succession_input){ .event = ON_LISTENERS, .epoch = 0, .value = 0 });
        script_run(w, 2101);
        script_feed(w, 2102, (struct succession_input){ .event = ON_LISTENERS, .epoch = 0, .value = 1 });
        keys[0].inode = 0; /* the control plane took it away */
        keys[1].inode = 77;
        script_feed(w, 2110, (struct succession_input){ .event = ON_LOOK, .epoch = 0, .look = &look });
        cr_assert(script_expect(w, "    100 look             hold:0 (accepted)\n"
                                   "   1100 clock            watch-listeners:0\n"
                                   "   1101 listeners       \n"
                                   "   2101 clock            watch-listeners:0\n"
                                   "   2102 listeners        look:0\n"
                                   "   2110 look             (removed) close:0 hold:1\n"));
}

Test(succession, a_socket_that_is_asked_for_while_a_look_is_under_way_is_not_taken_for_a_removed_one)
{
        struct script *w = script_begin(usual());
        struct look_key keys[2] = { { .key = 0, .inode = 5000, .listed = true }, { .key = 1, .inode = 5001, .listed = true } };
        struct look look = { .keys = keys, .n = 2, .lds = true, .admin_answered = true, .lds_answered = true, .listeners_known = true };
        uint64_t next;

        script_ask(w, 10, 0, 0);
        script_ask(w, 11, 0, 1);
        script_say(w, 20, 0, HR_DRAIN_LISTENERS);
        script_feed(w, 100, (struct succession_input){ .event = ON_LOOK, .epoch = 0, .look = &look });
        script_exit(w, 20000, 0, CLD_KILLED, 9);
        next = w->s.wanted;
        script_ask(w, 20010, next, 0);
        script_say(w, 20020, next, HR_DRAIN_LISTENERS);
        w->text_bytes = 0;
        script_ask(w, 20030, next, 1); /* its control plane has just named it: the look that began before has only key 0 */
        look.n = 1;
        script_feed(w, 20040, (struct succession_input){ .event = ON_LOOK, .epoch = next, .look = &look });
        look.n = 2;
        keys[1].inode = 0; /* and now it waits for its routes */
        keys[1].listed = false;
        look.warming = true;
        script_feed(w, 20050, (struct succession_input){ .event = ON_LOOK, .epoch = next, .look = &look });
        keys[1].inode = 5001;
        keys[1].listed = true;
        look.warming = false;
        script_feed(w, 20060, (struct succession_input){ .event = ON_LOOK, .epoch = next, .look = &look });
        cr_assert(script_expect(w, "  20030 PassListenSocket take pass:1\n"
                                   "  20040 look             (not-accepting)\n"
                                   "  20041 clock            look:1\n"
                                   "  20050 look             (not-accepting)\n"
                                   "  20052 clock            look:1\n"
                                   "  20060 look             (accepted gap=60) forget:0\n"));
}

Test(succession, a_failed_look_at_one_that_serves_is_repeated_until_it_succeeds_and_then_no_more)
{
        struct script *w = script_begin(usual());
        struct look failed = { .harvest_failed = true };
        struct resume_fact facts[] = { { .epoch = 0, .job_known = true, .pid = 1000 }, { .epoch = 1, .kit_held = true } };

        script_up(w, 50, 0, 1);
        w->now_ms = 100;
        w->text_bytes = 0;
        script_die(w, facts, 2);
        script_feed(w, 110, (struct succession_input){ .event = ON_LOOK, .epoch = 0, .look = &failed });
        script_run(w, 1110);
        script_feed(w, 1111, (struct succession_input){ .event = ON_LISTENERS, .epoch = 0, .value = 0 });
        script_look(w, 1120, 0, 1);
        script_run(w, 1000000);
        cr_assert(script_expect(w, "    100 resume           look:0\n"
                                   "    110 look            \n"
                                   "   1110 clock            watch-listeners:0\n"
                                   "   1111 listeners        look:0\n"
                                   "   1120 look            \n"));
        cr_assert(mono_is_never(succession_next(&w->s)));
}

Test(succession, a_look_that_brings_no_answer_is_asked_for_again)
{
        struct script *w = script_begin(usual());

        script_say(w, 10, 0, HR_DRAIN_LISTENERS);
        script_run(w, 20010);
        script_look(w, 20011, 0, 0);
        script_run(w, 1000000);
        cr_assert(script_expect(w, "     10 DrainListeners   take look:0\n"
                                   "  10010 clock            look:0\n"
                                   "  20010 clock            look:0\n"
                                   "  20011 look             (accepted)\n"));
}

Test(succession, drain_makes_it_unready_and_the_next_generation_too_until_it_is_undone)
{
        struct script *w = script_begin(usual());
        const char *reason;

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_feed(w, 100, (struct succession_input){ .event = ON_UNREADY, .value = 1 });
        cr_assert_not(succession_ready(&w->s, &reason));
        cr_assert_str_eq(reason, "drain asked for");
        script_crash(w, 20000, 0);
        script_up(w, 20100, 1, 1);
        script_feed(w, 21000, (struct succession_input){ .event = ON_UNREADY, .value = 0 });
        cr_assert(succession_ready(&w->s, NULL));
        cr_assert(script_expect(w, "    100 unready          (asked) fail-health:0\n"
                                   "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched)\n"
                                   "  20100 look             (accepted gap=100) fail-health:1 forget:0\n"
                                   "  21000 unready          (undone) pass-health:1\n"));
}

Test(succession, readiness_is_there_only_while_a_generation_serves)
{
        struct script *w = script_new(usual());
        const char *reason;

        cr_assert_not(succession_ready(&w->s, &reason));
        cr_assert_str_eq(reason, "starting");
        w = script_begin(usual());
        script_say(w, 10, 0, HR_DRAIN_LISTENERS);
        cr_assert_not(succession_ready(&w->s, &reason), "that it is up proves nothing");
        script_look(w, 11, 0, 0);
        cr_assert(succession_ready(&w->s, &reason));
        cr_assert_str_eq(reason, "");
        script_crash(w, 20000, 0);
        cr_assert_not(succession_ready(&w->s, &reason));
        cr_assert_str_eq(reason, "recovering");
        script_stop(w, 20001, 1);
        cr_assert_not(succession_ready(&w->s, &reason));
        cr_assert_str_eq(reason, "stopping");
}

Test(succession, without_the_protocol_a_generation_serves_from_its_launch)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.epoch.protocol = false;
        w = script_new(&l);
        script_feed(w, 0, (struct succession_input){ .event = ON_BEGIN });
        script_crash(w, 20000, 0);
        script_exit(w, 20100, 1, CODE_EXITED, 1);
        cr_assert(script_expect(w, "      0 begin            kit:0<-disk\n"
                                   "      0 kit-ready        launch:0 kit:1<-0\n"
                                   "      0 process          (launched) (accepted)\n"
                                   "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched) (accepted gap=0) forget:0\n"
                                   "  20100 exit             (exited 200) (waiting 200) watch-content-since-now\n"));
}
