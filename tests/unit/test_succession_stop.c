/* SPDX-License-Identifier: MIT */
/* How it all ends. */
#include <criterion/criterion.h>

#include <signal.h>
#include <string.h>

#include "tests/support/script.h"

enum { CODE_EXITED = 1 };

static struct script *serving(int64_t stop_delay_ms)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.stop_delay_ms = stop_delay_ms;
        w = script_begin(&l);
        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        return w;
}

/* Nothing new begins, and what has begun is accepted, before the listeners go. */
#define HUSHED "  10000 stop             (asked 1) hush:0\n"
#define DRAINS "  10100 clock            fail-health:0 drain-listeners:0 sample:0 (draining) silence:0 close:0\n"

Test(stop, it_ends_with_0_when_nothing_has_been_in_flight_for_a_second)
{
        struct script *w = serving(0);

        script_stop(w, 10000, 1);
        script_run(w, 10100);
        w->quiet = true; /* a sample every 100 ms */
        script_sample(w, 10110, 0, 2, 9);
        script_sample(w, 10210, 0, 0, 9);
        script_sample(w, 11209, 0, 0, 9);
        w->quiet = false;
        script_sample(w, 11210, 0, 0, 9);
        script_exit(w, 11220, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, HUSHED DRAINS
                                   "  11210 sample           (drained) term:0\n"
                                   "  11220 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(stop, who_serves_dies_in_the_delay_while_an_old_one_drains_and_the_ports_refuse_at_once)
{
        struct script *w = serving(20000);

        script_up(w, 1100, script_candidate(w, 1000, 1), 1);
        script_stop(w, 1200, 1);
        w->text_bytes = 0;
        script_crash(w, 1250, 2);
        cr_assert(strstr(w->text, " silence:0 close:0"), "%s", w->text);
        cr_assert(w->s.end == END_NOT && epoch_alive(succession_find(&w->s, 0)), "what is in flight at the old one goes on");
}

Test(stop, what_is_in_flight_has_until_2_s_before_the_timeout_and_then_there_are_signals)
{
        struct script *w = serving(0);

        script_stop(w, 10000, 1);
        script_run(w, 10100);
        w->quiet = true;
        script_run(w, 32900);
        w->quiet = false;
        script_sample(w, 32950, 0, 3, 9);
        script_run(w, 34999);
        script_crash(w, 35001, 0);
        cr_assert(script_expect(w, HUSHED DRAINS
                                   "  32950 sample          \n"
                                   "  33000 clock            (drain-overrun) term:0\n"
                                   "  35000 clock            (killed) kill:0\n"
                                   "  35001 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(stop, with_a_short_timeout_the_margin_is_a_tenth)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.stop_timeout_ms = 5000;
        w = script_begin(&l);
        script_up(w, 50, 0, 1);
        script_stop(w, 10000, 1);
        w->quiet = true;
        script_run(w, 14450);
        w->quiet = false;
        w->text_bytes = 0;
        script_run(w, 15000);
        cr_assert(script_expect(w, "  14500 clock            (drain-overrun) term:0\n"
                                   "  15000 clock            (killed) kill:0\n"));
}

Test(stop, a_second_one_means_now)
{
        struct script *w = serving(0);

        script_stop(w, 10000, 1);
        script_run(w, 10100);
        script_stop(w, 10150, 2);
        script_run(w, 12000);
        script_crash(w, 12000, 0);
        cr_assert(script_expect(w, HUSHED DRAINS
                                   "  10150 stop             (asked 2) term:0\n"
                                   "  11150 clock            (killed) kill:0\n"
                                   "  12000 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(stop, a_second_one_while_the_queues_run_empty_means_now)
{
        struct script *w = serving(0);

        script_stop(w, 10000, 1);
        script_stop(w, 10050, 2);
        script_exit(w, 10060, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, HUSHED
                                   "  10050 stop             (asked 2) term:0 silence:0 close:0\n"
                                   "  10060 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(stop, two_at_once_mean_now_too)
{
        struct script *w = serving(0);

        script_stop(w, 10000, 2);
        script_exit(w, 10020, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, "  10000 stop             (asked 2) term:0 silence:0 close:0\n"
                                   "  10020 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(stop, being_told_of_the_same_one_again_changes_nothing)
{
        struct script *w = serving(5000);

        script_stop(w, 10000, 1);
        w->text_bytes = 0;
        script_stop(w, 10001, 1);
        script_stop(w, 10002, 0);
        cr_assert(script_expect(w, "  10001 stop            \n"
                                   "  10002 stop            \n"));
}

Test(stop, during_the_stop_delay_it_goes_on_accepting_but_is_not_ready)
{
        struct script *w = serving(5000);

        script_stop(w, 10000, 1);
        cr_assert_not(succession_ready(&w->s, NULL));
        script_ask(w, 11000, 0, 1);
        script_run(w, 15150);
        cr_assert(script_expect(w, "  10000 stop             (asked 1)\n"
                                   "  11000 PassListenSocket take pass-nothing\n"
                                   "  11020 clock            watch-listeners:0\n"
                                   "  15000 clock            hush:0\n"
                                   "  15100 clock            fail-health:0 drain-listeners:0 sample:0 (draining) silence:0 close:0\n"));
}

Test(stop, the_delay_is_part_of_the_timeout)
{
        struct script *w = serving(60000);

        script_stop(w, 10000, 1);
        script_run(w, 35000);
        cr_assert(script_expect(w, "  10000 stop             (asked 1)\n"
                                   "  33000 clock            fail-health:0 drain-listeners:0 sample:0 (draining) silence:0 close:0 (drain-overrun) term:0\n"
                                   "  35000 clock            (killed) kill:0\n"));
}

Test(stop, a_crash_during_the_delay_is_not_answered)
{
        struct script *w = serving(5000);

        script_stop(w, 10000, 1);
        script_crash(w, 12000, 0);
        script_run(w, 100000);
        cr_assert(script_expect(w, "  10000 stop             (asked 1)\n"
                                   "  12000 exit             (exited -1) close:0 forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(stop, one_that_is_starting_is_killed)
{
        struct script *w = script_begin(&(struct succession_limits){ 0 });
        struct succession_limits l = script_limits();

        l.stop_delay_ms = 5000; /* nobody could use it */
        w = script_begin(&l);
        script_ask(w, 10, 0, 0);
        w->text_bytes = 0;
        script_stop(w, 20, 1);
        script_ask(w, 21, 0, 1);
        script_exit(w, 22, 0, 2, SIGKILL);
        cr_assert(script_expect(w, "     20 stop             (asked 1) kill:0\n"
                                   "     21 PassListenSocket take pass-nothing\n"
                                   "     22 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(stop, while_it_waits_it_ends_at_once)
{
        struct script *w = serving(5000);

        script_crash(w, 100, 0);
        script_stop(w, 150, 1);
        script_run(w, 100000);
        cr_assert(script_expect(w, "    100 exit             (exited 200) (waiting 200) watch-content-since-now\n"
                                   "    150 stop             (asked 1) silence:0 close:0 forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(stop, while_it_waits_for_a_verdict_it_ends_at_once)
{
        struct succession_limits l = script_limits();
        struct script *w = script_begin(&l);

        script_exit(w, 10, 0, CODE_EXITED, 1);
        script_stop(w, 20, 1);
        script_validated(w, 30, 0, true);
        script_run(w, 100000);
        cr_assert(script_expect(w, "     10 exit             (exited 200) validate:0 (waiting 200) watch-content-since-snapshot\n"
                                   "     20 stop             (asked 1) forget:0 forget:1 (stopped 0) end:0\n"
                                   "     30 validated       \n"));
}

Test(stop, while_it_waits_for_a_mended_file_it_ends_at_once)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.wait_exhausted = true;
        w = script_begin(&l);
        script_exit(w, 10, 0, CODE_EXITED, 1);
        script_validated(w, 20, 0, true);
        w->text_bytes = 0;
        script_stop(w, 30, 1);
        script_content(w, 40);
        cr_assert(script_expect(w, "     30 stop             (asked 1) forget:0 forget:1 (stopped 0) end:0\n"
                                   "     40 content         \n"));
}

Test(stop, before_the_first_launch_it_launches_nothing)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.wait_exhausted = true;
        w = script_new(&l);
        w->kits_fail = true;
        script_feed(w, 0, (struct succession_input){ .event = ON_BEGIN });
        w->text_bytes = 0;
        w->kits_fail = false;
        script_stop(w, 500, 1);
        script_run(w, 100000);
        cr_assert(script_expect(w, "    500 stop             (asked 1) (stopped 0) end:0\n"));
}

Test(stop, without_the_protocol_it_is_sigterm_and_then_sigkill_at_the_timeout)
{
        struct succession_limits l = script_limits();
        struct script *w;

        l.epoch.protocol = false;
        w = script_begin(&l);
        script_stop(w, 1000, 1);
        script_run(w, 26000);
        script_crash(w, 26001, 0);
        cr_assert(script_expect(w, "   1000 stop             (asked 1) term:0\n"
                                   "  26000 clock            (killed) kill:0\n"
                                   "  26001 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
}
