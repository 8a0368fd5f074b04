/* SPDX-License-Identifier: MIT */
/* Proxies that do not speak the protocol: when one is ready, upgrades beside and one after another, what is silenced. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/script.h"

enum { CODE_EXITED = 1, CODE_KILLED = 2 };

static struct succession_limits limits(void)
{
        struct succession_limits l = script_limits();

        l.epoch.protocol = false;
        l.epoch.silent_ms = 1000;
        l.drain_ms = 45000;
        return l;
}

/* Before its first launch; the first key is a socket that baton opened, the second one of LISTEN_FDS. */
static struct script *shares(const struct succession_limits *l)
{
        struct script *w = script_new(l);

        (void)escrow_held_by_keeper(&w->s.escrow, script_key(0), 5000);
        (void)escrow_held_for_good(&w->s.escrow, script_key(1), 5001);
        return w;
}

static void begin(struct script *w)
{
        w->quiet = true;
        script_feed(w, 0, (struct succession_input){ .event = ON_BEGIN });
        w->quiet = false;
}

static struct script *serving(bool one_by_one)
{
        struct succession_limits l = limits();
        struct script *w;

        l.one_by_one = one_by_one;
        w = one_by_one ? script_new(&l) : shares(&l);
        begin(w);
        return w;
}

static void says(struct script *w, int64_t at_ms, uint64_t epoch, bool ready)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_READINESS, .epoch = epoch, .value = ready });
}

static struct outcome outcome_of(const struct script *w, uint64_t ticket)
{
        struct outcome o = { .result = RESULT_PENDING };

        cr_assert_eq(succession_ticket(&w->s, ticket, &o), TICKET_DONE);
        return o;
}

/* ---- ready ------------------------------------------------------------------------------------------ */

Test(plain, one_that_has_spoken_is_waited_for_after_its_death_and_one_that_never_did_is_not)
{
        struct script *w = serving(false);

        script_crash(w, 20000, 0);
        cr_assert(script_expect(w, "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched) (accepted gap=0) forget:0\n"));
        says(w, 21000, 1, false);
        w->text_bytes = 0;
        script_crash(w, 40000, 1);
        says(w, 40500, 3, true); /* a kit: not launched yet */
        says(w, 41000, 2, true);
        cr_assert(script_expect(w, "  40000 exit             launch:2 kit:3<-2 (exited 0)\n"
                                   "  40000 process          (launched)\n"
                                   "  40500 readiness       \n"
                                   "  41000 readiness        (accepted gap=1000) forget:1\n"));
}

Test(plain, while_nothing_else_serves_one_that_is_not_ready_in_time_is_reported_and_lives)
{
        struct script *w = serving(false);

        says(w, 1000, 0, true);
        script_crash(w, 20000, 0);
        w->text_bytes = 0;
        script_run(w, 500000);
        cr_assert(script_expect(w, "  80000 clock            (ready-late)\n"), "nor is the socket silenced under it");
}

Test(plain, with_a_probe_its_answer_is_what_counts_and_stable_counts_from_there)
{
        struct succession_limits l = limits();
        struct script *w;

        l.epoch.probe = true;
        w = shares(&l);
        begin(w);
        cr_assert_not(succession_ready(&w->s, NULL));
        says(w, 5000, 0, true);
        cr_assert(succession_ready(&w->s, NULL));
        w->text_bytes = 0;
        script_crash(w, 14999, 0);
        cr_assert(script_expect(w, "  14999 exit             (exited 200) (waiting 200) watch-content-since-now\n"), "served for 9999 ms");
        script_run(w, 15199);
        cr_assert(script_expect(w, "  15199 clock            launch:1 kit:2<-1\n"
                                   "  15199 process          (launched) probe:1\n"));
}

/* ---- silence ---------------------------------------------------------------------------------------- */

Test(plain, after_the_hold_time_what_baton_opened_is_silenced_and_heard_again_before_the_next_launch)
{
        struct succession_limits l = limits();
        struct script *w;

        l.backoff.initial_ms = 60000;
        w = shares(&l);
        begin(w);
        script_exit(w, 1000, 0, CODE_EXITED, 1);
        w->text_bytes = 0;
        script_run(w, 61000);
        cr_assert(script_expect(w, "  31000 clock            silence:0 (silenced)\n"
                                   "  61000 clock            revive:0 (revived) launch:1 kit:2<-1\n"
                                   "  61000 process          (launched) (accepted gap=60000) forget:0\n"));
}

Test(plain, a_first_start_that_never_succeeds_does_not_let_clients_wait_for_ever)
{
        struct succession_limits l = limits();
        struct script *w;

        l.backoff.initial_ms = 60000;
        l.epoch.probe = true;
        w = shares(&l);
        begin(w);
        script_exit(w, 20000, 0, CODE_EXITED, 1);
        w->text_bytes = 0;
        script_run(w, 79999);
        cr_assert(script_expect(w, "  30000 clock            silence:0 (silenced)\n"), "since the begin, not since its end; of LISTEN_FDS none is");
}

Test(plain, a_stop_hushes_and_closes_what_baton_opened_and_leaves_the_rest_alone)
{
        struct script *w = serving(false);

        script_stop(w, 1000, 1);
        script_run(w, 2000);
        script_exit(w, 3000, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, "   1000 stop             (asked 1) hush:0\n"
                                   "   1100 clock            term:0 silence:0 close:0\n"
                                   "   3000 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
        cr_assert_eq(w->s.escrow.keys[1].inode, 5001);
}

/* ---- upgrades beside -------------------------------------------------------------------------------- */

Test(plain, a_candidate_that_says_nothing_serves_a_second_after_its_exec_and_the_old_one_is_told_to_end)
{
        struct script *w = serving(false);
        uint64_t c = script_candidate(w, 1000, 1);

        cr_assert_eq(c, 2);
        script_run(w, 60000);
        cr_assert(script_expect(w, "   2000 clock            kit:3<-2 forget:1 (committed) term:0\n"
                                   "  57000 clock            (killed) kill:0\n"), "SIGKILL at drain time + 10 s");
        cr_assert_eq(outcome_of(w, 1).result, RESULT_COMMITTED);
}

Test(plain, a_candidate_that_has_spoken_must_say_that_it_is_ready)
{
        struct script *w = serving(false);
        uint64_t c = script_candidate(w, 1000, 1);

        says(w, 1500, c, false);
        script_run(w, 30000);
        cr_assert(script_expect(w, "   1500 readiness       \n"));
        says(w, 30000, c, true);
        cr_assert(script_expect(w, "  30000 readiness        kit:3<-2 forget:1 (committed) term:0\n"));
        says(w, 30001, c, true);
        cr_assert_eq(w->s.served, c);
}

Test(plain, a_candidate_that_is_not_ready_in_time_ends_and_nothing_has_happened)
{
        struct script *w = serving(false);
        uint64_t c = script_candidate(w, 1000, 1);

        says(w, 1500, c, false);
        w->text_bytes = 0;
        script_run(w, 61000);
        cr_assert(script_expect(w, "  61000 clock            term:2 (rolled-back)\n"));
        cr_assert_eq(outcome_of(w, 1).result, RESULT_ROLLED_BACK);
        cr_assert_str_eq(outcome_of(w, 1).reason, "it did not accept within 60000 ms: it has neither said READY=1 nor answered the probe");
        cr_assert_eq(succession_serving(&w->s)->number, 0);
        cr_assert_eq(w->s.escrow.keys[0].inode, 5000);
}

Test(plain, a_candidate_that_dies_is_refused_and_the_old_one_serves_on)
{
        struct script *w = serving(false);

        script_exit(w, 1900, script_candidate(w, 1000, 1), CODE_EXITED, 3);
        cr_assert_str_eq(outcome_of(w, 1).reason, "the new proxy ended before it accepted: exit status 3");
        cr_assert_eq(succession_serving(&w->s)->number, 0);
        script_run(w, 100000);
        cr_assert(script_expect(w, "   1900 exit             (exited -2) (rolled-back) forget:2\n"));
}

Test(plain, under_observation_the_old_one_serves_on_and_takes_over_if_the_new_one_dies)
{
        struct script *w = serving(false);

        w->quiet = true;
        script_upgrade(w, 1000, 1, 10000);
        script_preflight(w, 1000, 2, NULL);
        w->quiet = false;
        says(w, 2000, 2, true);
        script_crash(w, 11999, 2);
        cr_assert_str_eq(outcome_of(w, 1).reason, "the new proxy ended while it was under observation: killed by signal 11");
        w->quiet = true;
        script_upgrade(w, 20000, 2, 10000);
        script_preflight(w, 20000, w->s.upgrade.candidate, NULL);
        says(w, 21000, w->s.upgrade.candidate, true);
        script_run(w, 30999);
        cr_assert_eq(succession_serving(&w->s)->number, 0);
        script_run(w, 31000);
        cr_assert_eq(outcome_of(w, 2).result, RESULT_COMMITTED);
}

Test(plain, when_the_old_one_dies_one_under_observation_serves_at_once)
{
        struct script *w = serving(false);

        w->quiet = true;
        script_upgrade(w, 1000, 1, 10000);
        script_preflight(w, 1000, 2, NULL);
        says(w, 2000, 2, true);
        script_crash(w, 3000, 0);
        cr_assert_eq(outcome_of(w, 1).result, RESULT_COMMITTED);
        cr_assert_eq(succession_serving(&w->s)->number, 2);
}

/* ---- one after another ------------------------------------------------------------------------------ */

Test(plain, one_after_another_the_new_one_is_launched_when_the_old_one_has_ended)
{
        struct script *w = serving(true);
        uint64_t c = script_candidate(w, 1000, 1);

        w->text_bytes = 0;
        script_run(w, 1500);
        cr_assert_eq(succession_look_up(&w->s, 0)->state, EPOCH_STOPPING);
        script_exit(w, 3000, 0, CODE_EXITED, 0);
        script_run(w, 4000);
        cr_assert(script_expect(w, "   3000 exit             (exited -2) launch:2\n"
                                   "   3000 process          (launched)\n"
                                   "   4000 clock            kit:3<-2 forget:0 forget:1 (committed)\n"));
        cr_assert_eq(outcome_of(w, 1).gap_ns, 1000 * INT64_C(1000000));
        cr_assert_eq(succession_serving(&w->s)->number, c);
}

Test(plain, one_after_another_the_old_one_comes_back_when_the_new_one_fails)
{
        struct script *w = serving(true);
        uint64_t c = script_candidate(w, 1000, 1);

        script_exit(w, 3000, 0, CODE_EXITED, 0);
        w->text_bytes = 0;
        script_exit(w, 3500, c, CODE_EXITED, 1);
        cr_assert(script_expect(w, "   3500 exit             (exited -2) (rolled-back) launch:1 kit:3<-1 forget:2\n"
                                   "   3500 process          (launched) (accepted gap=500) forget:0\n"));
        cr_assert_eq(outcome_of(w, 1).result, RESULT_ROLLED_BACK);
        cr_assert(w->s.last.kind == LAST_UPGRADE && w->s.last.result == RESULT_ROLLED_BACK, "that is what status tells");
        cr_assert_eq(w->s.backoff.tokens, 10);
        cr_assert_eq(w->s.crashes_recovered, 0);
}

Test(plain, one_after_another_the_old_one_comes_back_only_when_the_new_one_has_gone)
{
        struct script *w = serving(true);
        uint64_t c = script_candidate(w, 1000, 1);

        script_exit(w, 3000, 0, CODE_EXITED, 0);
        says(w, 3100, c, false);
        w->text_bytes = 0;
        script_run(w, 63000);
        cr_assert(script_expect(w, "  63000 clock            term:2 (rolled-back)\n"));
        script_exit(w, 64000, c, CODE_EXITED, 0);
        cr_assert_eq(succession_serving(&w->s)->number, 1);
}

Test(plain, one_after_another_a_rollback_meanwhile_brings_the_old_one_back)
{
        struct script *w = serving(true);

        (void)script_candidate(w, 1000, 1);
        w->quiet = true;
        script_rollback(w, 1100, 2, NO_EPOCH);
        cr_assert_eq(outcome_of(w, 2).result, RESULT_COMMITTED);
        cr_assert_null(succession_serving(&w->s));
        script_exit(w, 3000, 0, CODE_EXITED, 0);
        cr_assert_eq(succession_serving(&w->s)->number, 1);
}

Test(plain, one_after_another_a_stop_meanwhile_launches_nobody)
{
        struct script *w = serving(true);

        (void)script_candidate(w, 1000, 1);
        script_stop(w, 1100, 1);
        w->text_bytes = 0;
        script_exit(w, 3000, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, "   3000 exit             (exited -1) forget:0 forget:1 (stopped 0) end:0\n"));
}

Test(plain, one_after_another_in_an_outage_nobody_is_waited_for_and_the_relaunch_is_called_off)
{
        struct script *w = serving(true);
        uint64_t c;

        script_crash(w, 100, 0);
        c = script_candidate(w, 150, 1);
        script_run(w, 1000);
        cr_assert_eq(succession_look_up(&w->s, 1)->state, EPOCH_KIT);
        script_crash(w, 1100, c);
        cr_assert_eq(succession_serving(&w->s)->number, 1);
}

/* ---- the agent dies --------------------------------------------------------------------------------- */

static struct resume_fact runs(uint64_t epoch)
{
        return (struct resume_fact){ .epoch = epoch, .kit_held = true, .job_known = true, .pid = (int)(1000 + epoch) };
}

Test(plain, the_next_agent_waits_for_the_one_that_ends_and_launches_the_candidate)
{
        struct script *w = serving(true);
        struct resume_fact facts[] = { runs(0) };
        uint64_t c = script_candidate(w, 1000, 1);

        script_die(w, facts, 1);
        w->quiet = true;
        script_preflight(w, 1001, c, NULL);
        script_exit(w, 3000, 0, CODE_EXITED, 0);
        script_run(w, 4000);
        cr_assert_eq(succession_serving(&w->s)->number, c);
}

Test(plain, the_next_agent_probes_on_and_knows_who_was_silent_and_until_when)
{
        struct succession_limits l = limits();
        struct resume_fact facts[] = { runs(0), runs(2) };
        struct script *w = serving(false);
        uint64_t c = script_candidate(w, 1000, 1);

        w->text_bytes = 0;
        script_run(w, 1500);
        script_die(w, facts, 2);
        script_run(w, 2000);
        cr_assert_eq(succession_serving(&w->s)->number, c);
        l.epoch.probe = true;
        w = shares(&l);
        begin(w);
        script_die(w, facts, 1);
        cr_assert(script_expect(w, "      0 resume           probe:0 kit:1<-0\n"));
}

Test(plain, without_a_state_the_lowest_that_lives_serves_and_the_others_are_told_to_end)
{
        struct succession_limits l = limits();
        struct resume_fact facts[] = { { .epoch = 4, .job_known = true, .alive = true, .listens = true, .pid = 1004 },
                                       { .epoch = 7, .job_known = true, .alive = true, .listens = true, .pid = 1007 } };
        struct script *w = shares(&l);

        succession_rebuild(&w->s, &l, facts, 2, (struct mono){ 0 });
        script_die(w, facts, 2);
        cr_assert_eq(succession_serving(&w->s)->number, 4);
        cr_assert(strstr(w->text, " term:7"), "%s", w->text);
}
