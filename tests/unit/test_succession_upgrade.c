/* SPDX-License-Identifier: MIT */
/* Upgrades and rollbacks: the candidate beside what serves, its commit, what leaves, and everything that can go wrong. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/image.h"
#include "tests/support/script.h"

enum { CODE_EXITED = 1, FIRST = 1u << 0, SECOND = 1u << 1, WORKERS = 3u << 4 /* 1 and 2 of the first */ };

static struct succession_limits limits;

/* Epoch 0 serves on these keys. */
static struct script *serving(unsigned mask)
{
        struct script *w;

        if (!limits.drain_ms) {
                limits = script_limits();
                limits.drain_ms = 45000;
        }
        w = script_begin(&limits);
        script_up_on(w, 50, 0, mask);
        w->text_bytes = 0;
        return w;
}

static struct script *serving_without_tokens(void)
{
        limits = script_limits();
        limits.drain_ms = 45000;
        limits.backoff.tokens = 0;
        return serving(FIRST);
}

static struct outcome outcome_of(const struct script *w, uint64_t ticket)
{
        struct outcome o = { .result = RESULT_PENDING };

        cr_assert_eq(upgrade_ticket(&w->s.upgrade, ticket, &o), TICKET_DONE);
        return o;
}

static bool was(const struct script *w, uint64_t ticket, enum run_result result, const char *reason)
{
        struct outcome o = outcome_of(w, ticket);

        if (o.result == result && strcmp(o.reason, reason) == 0)
                return true;
        fprintf(stderr, "ticket %lu: %s \"%s\"\n", (unsigned long)ticket, run_result_name(o.result), o.reason);
        return false;
}

static bool waits(const struct script *w, uint64_t ticket)
{
        return upgrade_ticket(&w->s.upgrade, ticket, &(struct outcome){ 0 }) == TICKET_WAITS;
}

static uint64_t serves(const struct script *w)
{
        const struct epoch *e = succession_serving(&w->s);

        return e ? e->number : NO_EPOCH;
}

/* ---- it goes well ----------------------------------------------------------------------------------- */

Test(upgrades, a_candidate_is_prepared_checked_launched_and_once_it_accepts_it_serves_and_the_old_one_drains)
{
        struct script *w = serving(FIRST);

        script_upgrade(w, 1000, 1, -1);
        cr_assert_str_eq(succession_state_name(&w->s), "upgrading");
        script_preflight(w, 1100, 2, NULL);
        script_ask(w, 1130, 2, 0);
        script_say(w, 1140, 2, HR_DRAIN_LISTENERS);
        cr_assert(serves(w) == 0 && waits(w, 1));
        script_look(w, 1141, 2, 1);
        w->quiet = true;
        script_sample(w, 1200, 0, 0, 5);
        script_run(w, 2190);
        w->quiet = false;
        script_sample(w, 2200, 0, 0, 5);
        script_exit(w, 2300, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, "   1000 upgrade          kit:2<-disk (started)\n"
                                   "   1000 kit-ready        preflight:2\n"
                                   "   1100 preflight        launch:2\n"
                                   "   1100 process          (launched)\n"
                                   "   1130 PassListenSocket take pass:0\n"
                                   "   1140 DrainListeners   take look:2\n"
                                   "   1141 look             kit:3<-2 forget:1 (committed) fail-health:0 drain-listeners:0 sample:0 (draining)\n"
                                   "   2200 sample           (drained) term:0\n"
                                   "   2300 exit             (exited -2) forget:0\n"));
        cr_assert(serves(w) == 2 && was(w, 1, RESULT_COMMITTED, ""));
        cr_assert(outcome_of(w, 1).from == 0 && outcome_of(w, 1).to == 2 && outcome_of(w, 1).gap_ns == 0);
        cr_assert_eq(w->s.history[0], 0);
}

Test(upgrades, the_snapshot_that_served_is_kept_for_a_rollback_and_its_process_is_not)
{
        struct script *w = serving(FIRST);

        script_up(w, 1100, script_candidate(w, 1000, 1), 1);
        script_run(w, 2000);
        w->text_bytes = 0;
        script_exit(w, 2001, 0, CODE_EXITED, 0);
        cr_assert(succession_find(&w->s, 0) && succession_find(&w->s, 0)->shed);
        cr_assert(script_expect(w, "   2001 exit             (exited -2) forget:0\n"));
}

Test(upgrades, under_observation_both_accept_and_the_commit_comes_at_its_end)
{
        struct script *w = serving(FIRST);

        script_upgrade(w, 1000, 1, 5000);
        script_preflight(w, 1001, 2, NULL);
        w->text_bytes = 0;
        script_up(w, 1100, 2, 1);
        cr_assert(serves(w) == 0 && w->s.upgrade.state == UPGRADE_WARMING);
        script_run(w, 6099);
        script_look(w, 6099, 2, 1); /* one that somebody else asked for */
        cr_assert_eq(serves(w), 0);
        script_run(w, 6101);
        script_look(w, 6102, 2, 1);
        cr_assert_eq(serves(w), 2);
        cr_assert(script_expect(w, "   1100 look             (warming)\n"
                                   "   6099 look            \n"
                                   "   6100 clock            look:2\n"
                                   "   6102 look             kit:3<-2 forget:1 (committed) fail-health:0 drain-listeners:0 sample:0 (draining)\n"));
}

Test(upgrades, two_requests_at_once_are_two_runs_when_the_first_has_begun_and_the_second_begins_when_it_is_over)
{
        struct script *w = serving(FIRST);

        script_upgrade(w, 1000, 1, -1);
        script_upgrade(w, 1001, 2, -1);
        script_upgrade(w, 1002, 3, -1);
        w->text_bytes = 0;
        script_preflight(w, 1100, 2, NULL);
        script_up(w, 1200, 2, 1);
        cr_assert(was(w, 1, RESULT_COMMITTED, "") && waits(w, 2) && waits(w, 3));
        script_preflight(w, 1300, w->s.upgrade.candidate, NULL);
        script_up(w, 1400, w->s.upgrade.candidate, 1);
        cr_assert(script_expect(w, "   1100 preflight        launch:2\n"
                                   "   1100 process          (launched)\n"
                                   "   1200 look             kit:3<-2 forget:1 (committed) fail-health:0 drain-listeners:0 sample:0 (draining) kit:4<-disk (started)\n"
                                   "   1200 kit-ready        preflight:4\n"
                                   "   1300 clock            sample:0\n"
                                   "   1300 preflight        launch:4\n"
                                   "   1300 process          (launched)\n"
                                   "   1400 clock            sample:0\n"
                                   "   1400 look             kit:5<-4 forget:3 (committed) fail-health:2 drain-listeners:2 sample:2 (draining)\n"));
        cr_assert(outcome_of(w, 2).to == outcome_of(w, 3).to && outcome_of(w, 2).run == outcome_of(w, 3).run);
        cr_assert_eq(w->s.upgrade.now.id, 0);
}

Test(upgrades, each_of_many_that_drain_has_a_deadline_of_its_own)
{
        struct script *w = serving(FIRST);

        w->quiet = true;
        for (int i = 1; i <= 12; i++)
                script_up(w, 1000 * i + 100, script_candidate(w, 1000 * i, (uint64_t)i), 1);
        for (size_t i = 0, draining = 0; i < GENERATIONS_MAX; i++) {
                const struct epoch *e = &w->s.epochs[i];

                draining += e->state == EPOCH_DRAINING;
                cr_assert(e->state != EPOCH_DRAINING || !mono_is_never(e->deadline));
                cr_assert(i < GENERATIONS_MAX - 1 || draining == 12);
        }
        script_run(w, 1100 + 55000);
        cr_assert_eq(succession_find(&w->s, 0)->state, EPOCH_STOPPING);
        cr_assert_eq(succession_find(&w->s, 2)->state, EPOCH_DRAINING);
}

/* ---- it is refused ---------------------------------------------------------------------------------- */

Test(upgrades, what_cannot_be_prepared_is_refused_with_its_reason_and_nothing_else_happens)
{
        struct script *w = serving(FIRST);

        w->kits_fail = true;
        script_upgrade(w, 1000, 1, -1);
        cr_assert(script_expect(w, "   1000 upgrade          kit:2<-disk (started)\n"
                                   "   1000 kit-failed       (refused) forget:2\n"));
        cr_assert(was(w, 1, RESULT_REFUSED, "its launch cannot be prepared") && serves(w) == 0);
}

Test(upgrades, what_does_not_pass_the_checks_is_refused_with_its_reason_and_never_launched)
{
        struct script *w = serving(FIRST);

        script_upgrade(w, 1000, 1, -1);
        script_preflight(w, 1100, 2, "the port is taken");
        cr_assert(script_expect(w, "   1000 upgrade          kit:2<-disk (started)\n"
                                   "   1000 kit-ready        preflight:2\n"
                                   "   1100 preflight        (refused) forget:2\n"));
        cr_assert(was(w, 1, RESULT_REFUSED, "the port is taken") && serves(w) == 0);
        cr_assert_str_eq(w->s.last.reason, "the port is taken");
        script_crash(w, 20000, 0); /* and what served comes back, not what was refused */
        cr_assert_eq(succession_find(&w->s, w->s.wanted)->origin, 0);
}

Test(upgrades, a_launch_that_fails_is_rolled_back)
{
        struct script *w = serving(FIRST);

        (void)script_candidate(w, 1000, 1);
        script_feed(w, 1100, (struct succession_input){ .event = ON_LAUNCH_FAILED, .epoch = 2, .text = "exec: not found" });
        cr_assert(script_expect(w, "   1100 launch-failed    (exited -2) (rolled-back) forget:2\n"));
        cr_assert(was(w, 1, RESULT_ROLLED_BACK, "exec: not found") && serves(w) == 0);
}

Test(upgrades, a_candidate_that_ends_before_it_accepts_is_rolled_back_and_takes_no_token)
{
        struct script *w = serving(FIRST);

        (void)script_candidate(w, 1000, 1);
        script_ask(w, 1100, 2, 0);
        w->text_bytes = 0;
        script_crash(w, 1200, 2);
        cr_assert(script_expect(w, "   1200 exit             (exited -2) (rolled-back) forget:2\n"));
        cr_assert(was(w, 1, RESULT_ROLLED_BACK, "the new proxy ended before it accepted: killed by signal 11"));
        cr_assert(serves(w) == 0 && w->s.backoff.tokens == 10 && w->s.escrow.trial == NO_EPOCH);
}

Test(upgrades, a_candidate_that_ends_under_observation_is_rolled_back)
{
        struct script *w = serving(FIRST);

        script_upgrade(w, 1000, 1, 5000);
        script_preflight(w, 1001, 2, NULL);
        script_up(w, 1100, 2, 1);
        script_exit(w, 1200, 2, CODE_EXITED, 3);
        cr_assert(was(w, 1, RESULT_ROLLED_BACK, "the new proxy ended while it was under observation: exit status 3"));
        cr_assert_eq(serves(w), 0);
}

Test(upgrades, a_candidate_that_does_not_accept_in_time_is_ended_and_the_reason_is_what_it_lacks)
{
        struct script *w = serving(FIRST);

        (void)script_candidate(w, 1000, 1);
        script_run(w, 61000);
        cr_assert(script_expect(w, "  61000 clock            kill:2 (rolled-back)\n"));
        cr_assert(was(w, 1, RESULT_ROLLED_BACK, "it did not accept within 60000 ms: the proxy has not said that it is up") && serves(w) == 0);
}

Test(upgrades, a_candidate_that_loses_a_listener_under_observation_is_rolled_back)
{
        struct script *w = serving(FIRST | SECOND);

        script_upgrade(w, 1000, 1, 5000);
        script_preflight(w, 1001, 2, NULL);
        script_up(w, 1100, 2, 2);
        w->text_bytes = 0;
        script_feed(w, 2000, (struct succession_input){
                                     .event = ON_LOOK, .epoch = 2,
                                     .look = &(struct look){ .keys = (struct look_key[]){ { 0, 0, 0, false }, { 1, 5001, 0, true } }, .n = 2,
                                                             .statics = (const char[2][HR_URL_BYTES]){ "tcp://127.0.0.1:8080", "tcp://127.0.0.1:8081" },
                                                             .n_statics = 2, .admin_answered = true } });
        cr_assert(script_expect(w, "   2000 look             fail-health:2 drain-listeners:2 sample:2 (draining) (rolled-back)\n"));
        cr_assert(outcome_of(w, 1).result == RESULT_ROLLED_BACK && serves(w) == 0);
}

Test(upgrades, one_that_is_busy_under_observation_has_a_moment_to_answer_and_not_for_ever)
{
        struct script *w = serving(FIRST);

        script_upgrade(w, 1000, 1, 5000);
        script_preflight(w, 1001, 2, NULL);
        script_up(w, 1100, 2, 1);
        for (int64_t at = 6100; at < 66100; at += 100)
                script_feed(w, at, (struct succession_input){ .event = ON_LOOK, .epoch = 2, .look = &(struct look){ .harvest_failed = true } });
        cr_assert(waits(w, 1), "it accepted at 1100, was judged at 6100 and has 60 s to answer");
        script_run(w, 66100);
        cr_assert_eq(outcome_of(w, 1).result, RESULT_ROLLED_BACK);
        cr_assert_eq(serves(w), 0);
}

Test(upgrades, two_listeners_with_one_name_in_the_candidate_are_refused_before_it_has_a_socket_that_is_not_its_own)
{
        struct script *w = serving(FIRST);

        (void)script_candidate(w, 1000, 1);
        script_ask(w, 1100, 2, 0);
        w->text_bytes = 0;
        script_ask(w, 1110, 2, 0);
        cr_assert(script_expect(w, "   1110 PassListenSocket (ambiguous) take pass-nothing kill:2 (rolled-back)\n"));
        cr_assert(outcome_of(w, 1).result == RESULT_ROLLED_BACK);
        cr_assert_eq(w->s.escrow.keys[0].inode, 5000, "what serves has kept its own");
}

Test(upgrades, the_ninth_that_waits_is_told_so)
{
        struct script *w = serving(FIRST);

        w->quiet = true;
        script_upgrade(w, 1000, 1, -1);
        for (uint64_t i = 0; i <= RUNS_MAX; i++)
                script_feed(w, 1001, (struct succession_input){ .event = ON_UPGRADE, .ticket = 10 + i, .command = i + 1, .observe_ms = -1 });
        cr_assert(was(w, 10 + RUNS_MAX, RESULT_REFUSED, "too many upgrades wait already"));
        cr_assert(waits(w, 10) && waits(w, 9 + RUNS_MAX));
}

Test(upgrades, one_for_which_no_slot_is_free_is_refused_and_the_old_ones_drain_on)
{
        struct script *w = serving(FIRST);

        w->quiet = true;
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (w->s.epochs[i].state == EPOCH_NONE) {
                        epoch_init(&w->s.epochs[i], 100 + i, CONTENT_DISK);
                        w->s.epochs[i].state = EPOCH_DRAINING;
                        w->s.epochs[i].deadline = (struct mono){ INT64_C(1000000000000) };
                }
        script_upgrade(w, 1000, 1, -1);
        cr_assert(was(w, 1, RESULT_REFUSED, "too many generations live: wait until old ones have drained"));
        cr_assert(w->s.upgrade.candidate == NO_EPOCH && serves(w) == 0);
}

Test(upgrades, a_udp_listener_that_came_between_preparation_and_launch_makes_it_prepared_anew_from_the_same_snapshot)
{
        struct script *w = serving(FIRST);
        const struct hr_key udp = { .url = "udp://127.0.0.1:53" };

        script_upgrade(w, 1000, 1, -1);
        (void)escrow_held_by_keeper(&w->s.escrow, &udp, 99);
        w->text_bytes = 0;
        script_preflight(w, 1100, 2, NULL);
        cr_assert(script_expect(w, "   1100 preflight        kit:3<-2\n"
                                   "   1100 kit-ready        preflight:3\n"));
        cr_assert(waits(w, 1) && w->s.upgrade.state == UPGRADE_CHECKING);
}

/* ---- what serves ends meanwhile --------------------------------------------------------------------- */

Test(upgrades, a_crash_during_the_checks_is_answered_as_always_and_the_upgrade_goes_on)
{
        struct script *w = serving(FIRST);

        script_upgrade(w, 15000, 1, -1);
        w->text_bytes = 0;
        script_crash(w, 15010, 0);
        script_preflight(w, 15020, 2, NULL);
        script_up(w, 15050, 1, 1);
        script_up(w, 15100, 2, 1);
        cr_assert(script_expect(w, "  15010 exit             launch:1 kit:3<-1 (exited 0)\n"
                                   "  15010 process          (launched)\n"
                                   "  15020 preflight        launch:2\n"
                                   "  15020 process          (launched)\n"
                                   "  15050 look             (accepted gap=40) forget:0\n"
                                   "  15100 look             kit:4<-2 forget:3 (committed) fail-health:1 drain-listeners:1 sample:1 (draining)\n"));
        cr_assert(serves(w) == 2 && was(w, 1, RESULT_COMMITTED, "") && outcome_of(w, 1).from == 1);
}

Test(upgrades, if_the_candidate_accepts_first_after_a_crash_it_serves_and_the_relaunched_one_is_ended)
{
        struct script *w = serving(FIRST);

        (void)script_candidate(w, 15000, 1);
        w->text_bytes = 0;
        script_crash(w, 15010, 0);
        script_up(w, 15100, 2, 1);
        cr_assert(script_expect(w, "  15010 exit             launch:1 kit:3<-1 (exited 0)\n"
                                   "  15010 process          (launched)\n"
                                   "  15100 look             kit:4<-2 forget:0 forget:3 (committed) kill:1\n"));
        cr_assert(serves(w) == 2 && outcome_of(w, 1).gap_ns == 90000000);
        script_crash(w, 15200, 3); /* the one that was ended: nothing follows from it */
        cr_assert(serves(w) == 2 && mono_is_never(w->s.outage) && w->s.backoff.tokens == 10);
}

/* What serves on the keys dies while 2, which listens on the first, is under observation, and 2 was looked at since. */
static struct script *dies_under_observation(unsigned keys)
{
        struct script *w = serving(keys);

        script_upgrade(w, 15000, 1, 60000);
        script_preflight(w, 15001, 2, NULL);
        script_up(w, 15100, 2, 1);
        w->text_bytes = 0;
        script_crash(w, 15200, 0);
        script_look(w, 15202, 2, 1);
        return w;
}

Test(upgrades, when_what_serves_dies_the_one_under_observation_is_judged_at_once_and_serves)
{
        struct script *w = dies_under_observation(FIRST);

        cr_assert(script_expect(w, "  15200 exit             launch:1 kit:3<-1 (exited 0) look:2\n"
                                   "  15200 process          (launched)\n"
                                   "  15202 look             kit:4<-2 forget:0 forget:3 (committed) kill:1\n"));
        cr_assert_eq(serves(w), 2);
}

/* What waits in the socket that only the dead one had is accepted by its successor: a commit would close it. */
Test(upgrades, when_what_serves_dies_one_under_observation_that_listens_on_less_waits_for_the_one_that_comes_back)
{
        struct script *w = dies_under_observation(FIRST | SECOND);

        script_up_on(w, 15250, 1, FIRST | SECOND);
        cr_assert(script_expect(w, "  15200 exit             launch:1 kit:3<-1 (exited 0) look:2\n"
                                   "  15200 process          (launched)\n"
                                   "  15202 look            \n"
                                   "  15250 look             (accepted gap=50) forget:0\n"));
        cr_assert(serves(w) == 1 && waits(w, 1));
        script_run(w, 75100);
        w->text_bytes = 0;
        script_look(w, 75101, 2, 1);
        cr_assert(script_expect(w, "  75101 look             kit:4<-2 forget:3 (committed) hush:1\n"));
        cr_assert_eq(serves(w), 2);
}

Test(upgrades, it_serves_at_once_if_the_one_that_comes_back_dies_too)
{
        struct script *w = dies_under_observation(FIRST | SECOND);

        script_crash(w, 15220, 1);
        script_look(w, 15222, 2, 1);
        cr_assert_eq(serves(w), 2);
        cr_assert_eq(w->s.escrow.keys[1].inode, 0, "nobody accepts from it");
}

Test(upgrades, one_under_observation_that_takes_all_connections_alone_since_a_moment_may_have_a_queue)
{
        struct script *w = serving(FIRST);
        struct look_key busy = { .key = 0, .inode = 5000, .waiting = 3 };
        const struct look look = { .keys = &busy, .n = 1, .statics = (const char[1][HR_URL_BYTES]){ "tcp://127.0.0.1:8080" }, .n_statics = 1,
                                   .admin_answered = true };

        script_upgrade(w, 15000, 1, 60000);
        script_preflight(w, 15001, 2, NULL);
        script_ask(w, 15010, 2, 0);
        script_feed(w, 15020, (struct succession_input){ .event = ON_REQUEST, .epoch = 2, .request = HR_DRAIN_LISTENERS, .look = &look });
        script_feed(w, 15021, (struct succession_input){ .event = ON_LOOK, .epoch = 2, .look = &look });
        cr_assert_eq(w->s.upgrade.state, UPGRADE_WARMING);
        script_crash(w, 15030, 0);
        script_feed(w, 15031, (struct succession_input){ .event = ON_LOOK, .epoch = 2, .look = &look });
        cr_assert(waits(w, 1), "it is the only one that accepts, and was ended for it");
        script_look(w, 15131, 2, 1);
        cr_assert_eq(serves(w), 2);
}

Test(upgrades, out_of_tokens_the_candidate_may_serve_yet)
{
        struct script *w = serving_without_tokens();

        (void)script_candidate(w, 15000, 1);
        w->text_bytes = 0;
        script_crash(w, 15010, 0);
        script_up(w, 15100, 2, 1);
        cr_assert(script_expect(w, "  15010 exit             (exited -1) (exhausted)\n"
                                   "  15100 look             kit:3<-2 forget:0 forget:1 (committed)\n"));
        cr_assert(serves(w) == 2 && w->s.end == END_NOT && !w->s.exhausted);
}

Test(upgrades, out_of_tokens_and_the_candidate_fails_too_is_the_end)
{
        struct script *w = serving_without_tokens();

        (void)script_candidate(w, 15000, 1);
        w->text_bytes = 0;
        script_crash(w, 15010, 0);
        script_crash(w, 15100, 2);
        cr_assert(script_expect(w, "  15010 exit             (exited -1) (exhausted)\n"
                                   "  15100 exit             (exited -2) (rolled-back) forget:2 close:0 forget:0 forget:1 (stopped 1) end:1\n"));
        cr_assert_eq(outcome_of(w, 1).result, RESULT_ROLLED_BACK);
}

Test(upgrades, out_of_tokens_with_another_upgrade_waiting_that_one_is_tried_before_the_end)
{
        struct script *w = serving_without_tokens();

        (void)script_candidate(w, 15000, 1);
        script_upgrade(w, 15001, 2, -1);
        w->text_bytes = 0;
        script_crash(w, 15010, 0);
        script_crash(w, 15100, 2);
        cr_assert(waits(w, 2) && w->s.end == END_NOT);
        script_preflight(w, 15200, w->s.upgrade.candidate, "no");
        cr_assert(was(w, 2, RESULT_REFUSED, "no") && w->s.end == END_SAID && w->s.end_status == 1);
}

Test(upgrades, a_rollback_asked_for_when_no_token_is_left_and_nothing_serves_ends_it_and_is_not_waited_for_for_ever)
{
        struct script *w = serving_without_tokens();

        (void)script_candidate(w, 15000, 1);
        script_upgrade(w, 15001, 2, -1);
        script_crash(w, 15010, 0);
        script_rollback(w, 15020, 3, NO_EPOCH);
        cr_assert(w->s.end != END_NOT && w->s.end_status == 1);
        script_crash(w, 15030, 2);
        cr_assert_eq(w->s.end, END_SAID);
}

Test(upgrades, with_on_exhausted_wait_a_mended_config_that_is_upgraded_to_brings_it_back)
{
        struct script *w;

        limits = script_limits();
        limits.drain_ms = 45000;
        limits.backoff.tokens = 0;
        limits.wait_exhausted = true;
        w = serving(FIRST);
        script_crash(w, 15000, 0);
        cr_assert(w->s.waits_for_content && w->s.escrow.keys[0].silenced);
        w->text_bytes = 0;
        script_up(w, 16100, script_candidate(w, 16000, 1), 1);
        cr_assert(script_expect(w, "  16100 look             kit:3<-2 forget:0 forget:1 (committed)\n"));
        cr_assert(serves(w) == 2 && !w->s.waits_for_content && w->s.backoff.tokens == 0);
}

Test(upgrades, exit_0_of_what_serves_during_a_trial_ends_the_candidate_too)
{
        struct script *w = serving(FIRST);

        (void)script_candidate(w, 15000, 1);
        w->text_bytes = 0;
        script_exit(w, 15010, 0, CODE_EXITED, 0);
        script_crash(w, 15020, 2);
        cr_assert(script_expect(w, "  15010 exit             (clean-exit) kill:2 (rolled-back) silence:0 close:0\n"
                                   "  15010 clock            (killed) kill:2\n"
                                   "  15020 exit             (exited -1) forget:0 forget:1 forget:2 (stopped 0) end:0\n"));
        cr_assert(was(w, 1, RESULT_ROLLED_BACK, "baton is ending"));
}

/* ---- a stop ----------------------------------------------------------------------------------------- */

Test(upgrades, a_stop_in_each_state_decides_the_run_and_ends_the_candidate)
{
        for (int state = UPGRADE_PREPARING; state <= UPGRADE_WARMING; state++) {
                struct script *w = serving(FIRST);

                w->quiet = true;
                script_upgrade(w, 1000, 1, 5000);
                if (state == UPGRADE_PREPARING)
                        w->s.upgrade.state = UPGRADE_PREPARING;
                if (state >= UPGRADE_STARTING)
                        script_preflight(w, 1001, 2, NULL);
                if (state >= UPGRADE_WARMING)
                        script_up(w, 1100, 2, 1);
                cr_assert_eq(w->s.upgrade.state, (uint32_t)state);
                script_upgrade(w, 1150, 2, -1);
                script_stop(w, 1200, 1);
                cr_assert(was(w, 1, state >= UPGRADE_STARTING ? RESULT_ROLLED_BACK : RESULT_REFUSED, "a stop was asked for"));
                cr_assert(was(w, 2, RESULT_REFUSED, "a stop was asked for"));
                if (state >= UPGRADE_STARTING)
                        script_crash(w, 1250, 2);
                script_run(w, 1400);
                script_exit(w, 1500, 0, CODE_EXITED, 0);
                cr_assert(w->s.end == END_SAID && w->s.end_status == 0, "state %d", state);
                script_upgrade(w, 1600, 3, -1);
                cr_assert_eq(outcome_of(w, 3).result, RESULT_REFUSED);
        }
}

Test(upgrades, a_stop_while_sockets_leave_drains_both_and_ends)
{
        struct script *w = serving(FIRST | SECOND);

        script_up(w, 1100, script_candidate(w, 1000, 1), 1);
        w->text_bytes = 0;
        script_stop(w, 1150, 1);
        script_run(w, 1260);
        cr_assert(script_expect(w, "   1150 stop             (asked 1) hush:0 hush:1\n"
                                   "   1200 clock            count-leaving\n"
                                   "   1250 clock            fail-health:0 drain-listeners:0 sample:0 (draining) fail-health:2 drain-listeners:2 sample:2 (draining) silence:0 silence:1 close:0 close:1\n"));
        script_exit(w, 1300, 0, CODE_EXITED, 0);
        script_exit(w, 1400, 2, CODE_EXITED, 0);
        cr_assert_eq(w->s.end, END_SAID);
}

/* ---- what leaves ------------------------------------------------------------------------------------ */

Test(leaving, a_listener_that_goes_is_hushed_its_queue_emptied_by_the_old_one_and_then_it_refuses)
{
        struct script *w = serving(FIRST | SECOND);
        uint64_t e = script_candidate(w, 1000, 1);

        w->text_bytes = 0;
        script_up(w, 1100, e, 1);
        script_run(w, 1200);
        script_left(w, 1201, 2);
        script_run(w, 1301);
        script_left(w, 1302, 0);
        cr_assert(script_expect(w, "   1100 look             kit:3<-2 forget:1 (committed) hush:1\n"
                                   "   1200 clock            count-leaving\n"
                                   "   1201 left            \n"
                                   "   1301 clock            count-leaving\n"
                                   "   1302 left             fail-health:0 drain-listeners:0 sample:0 (draining) (removed) silence:1 close:1\n"));
        cr_assert(w->s.leave == LEAVE_NOT && w->s.escrow.keys[1].inode == 0);
}

Test(leaving, workers_that_go_get_no_new_connection_for_a_second_and_are_closed_the_highest_first)
{
        struct script *w = serving(FIRST | WORKERS);
        uint64_t e = script_candidate(w, 1000, 1);

        w->text_bytes = 0;
        script_up(w, 1100, e, 1);
        script_run(w, 2100);
        script_left(w, 2101, 0);
        w->quiet = true;
        script_run(w, 3100);
        w->quiet = false;
        script_run(w, 3101);
        script_exit(w, 3200, 0, CODE_EXITED, 0);
        cr_assert(script_expect(w, "   1100 look             kit:3<-2 forget:1 (committed) steer:0->1\n"
                                   "   2100 clock            count-leaving\n"
                                   "   2101 left             fail-health:0 drain-listeners:0 sample:0 (draining)\n"
                                   "   3101 clock            silence:2 close:2 silence:1 close:1 sample:0\n"
                                   "   3200 exit             (exited -2) unsteer:0 forget:0\n"));
}

Test(leaving, workers_that_come_get_no_connection_before_the_commit)
{
        struct script *w = serving(FIRST);
        uint64_t e = script_candidate(w, 1000, 1);

        w->text_bytes = 0;
        script_ask(w, 1100, e, 0);
        script_ask(w, 1101, e, 4);
        script_ask(w, 1102, e, 5);
        script_say(w, 1103, e, HR_DRAIN_LISTENERS);
        script_look_on(w, 1104, e, FIRST | WORKERS);
        cr_assert(script_expect(w, "   1100 PassListenSocket take pass:0\n"
                                   "   1101 PassListenSocket steer:0->1 take pass-nothing\n"
                                   "   1102 PassListenSocket take pass-nothing\n"
                                   "   1103 DrainListeners   take look:2\n"
                                   "   1104 look             hold:1 hold:2 unsteer:0 kit:3<-2 forget:1 (committed) fail-health:0 drain-listeners:0 sample:0 (draining)\n"));
}

Test(leaving, the_groups_are_steered_past_a_candidate_that_failed_until_it_is_gone)
{
        struct script *w = serving(FIRST);
        uint64_t e = script_candidate(w, 1000, 1);

        script_ask(w, 1100, e, 0);
        script_ask(w, 1101, e, 4);
        w->text_bytes = 0;
        script_run(w, 61000);
        cr_assert(script_expect(w, "  61000 clock            kill:2 (rolled-back)\n"));
        script_crash(w, 61100, e);
        cr_assert(script_expect(w, "  61100 exit             (exited -2) unsteer:0 forget:2\n"));
}

Test(leaving, the_end_of_a_failed_one_does_not_send_connections_to_the_next_on_trial)
{
        struct script *w = serving(FIRST);
        uint64_t failed = script_candidate(w, 1000, 1), e;

        script_ask(w, 1100, failed, 0);
        script_ask(w, 1101, failed, 4);
        script_run(w, 61000);
        e = script_candidate(w, 61001, 2);
        script_ask(w, 61010, e, 0);
        script_ask(w, 61011, e, 4);
        w->text_bytes = 0;
        script_crash(w, 61100, failed);
        cr_assert(script_expect(w, "  61100 exit             (exited -2) forget:2\n"));
        script_say(w, 61110, e, HR_DRAIN_LISTENERS);
        script_look_on(w, 61111, e, FIRST | 1u << 4);
        cr_assert(script_expect(w, "  61110 DrainListeners   take look:3\n"
                                   "  61111 look             hold:1 unsteer:0 kit:4<-3 forget:1 (committed) fail-health:0 drain-listeners:0 sample:0 (draining)\n"));
}

/* What it opened may stand before or behind what the next one opened: places are not known. Who is not heard tries again. */
Test(leaving, workers_that_were_opened_beside_a_failed_one_are_not_steered_past_but_hushed_when_they_go)
{
        struct script *w = serving(FIRST);
        uint64_t failed = script_candidate(w, 1000, 1), e;

        script_ask(w, 1100, failed, 0);
        script_ask(w, 1101, failed, 4);
        script_run(w, 61000);
        e = script_candidate(w, 61001, 2);
        script_up_on(w, 61010, e, FIRST | WORKERS);
        script_crash(w, 61100, failed);
        script_exit(w, 61200, 0, CODE_EXITED, 0);
        cr_assert_eq(serves(w), e);
        w->text_bytes = 0;
        script_up_on(w, 62100, script_candidate(w, 62000, 3), FIRST | 1u << 4);
        script_run(w, 62200);
        script_left(w, 62201, 0);
        cr_assert(script_expect(w, "  62100 look             kit:6<-5 forget:4 (committed) hush:2\n"
                                   "  62200 clock            count-leaving\n"
                                   "  62201 left             fail-health:3 drain-listeners:3 sample:3 (draining) silence:2 close:2\n"));
}

Test(leaving, if_the_old_one_ends_what_only_it_accepted_from_is_closed_at_once)
{
        struct script *w = serving(FIRST | SECOND);
        uint64_t e = script_candidate(w, 1000, 1);

        script_up(w, 1100, e, 1);
        w->text_bytes = 0;
        script_crash(w, 1150, 0);
        cr_assert(script_expect(w, "   1150 exit             (exited -2) (removed) silence:1 close:1 forget:0\n"));
        cr_assert_eq(w->s.leave, LEAVE_NOT);
}

Test(leaving, if_the_new_one_dies_meanwhile_the_old_one_goes_on_accepting_until_it_is_back_or_five_seconds)
{
        struct script *w = serving(FIRST | SECOND);
        uint64_t e = script_candidate(w, 15000, 1);

        script_up(w, 15100, e, 1);
        w->text_bytes = 0;
        script_crash(w, 15150, e);
        script_run(w, 15200);
        script_left(w, 15201, 0);
        script_run(w, 15301);
        script_left(w, 15302, 0);
        cr_assert_eq(succession_find(&w->s, 0)->ordered, 0, "it is all there is");
        script_run(w, 15350);
        script_up(w, 15390, w->s.wanted, 1);
        script_run(w, 15402);
        script_left(w, 15403, 0);
        cr_assert(script_expect(w, "  15150 exit             (exited 200) (waiting 200) watch-content-since-now\n"
                                   "  15200 clock            count-leaving\n"
                                   "  15201 left            \n"
                                   "  15301 clock            count-leaving\n"
                                   "  15302 left            \n"
                                   "  15350 clock            launch:3 kit:4<-3\n"
                                   "  15350 process          (launched)\n"
                                   "  15390 look             (accepted gap=240) forget:2\n"
                                   "  15402 clock            count-leaving\n"
                                   "  15403 left             fail-health:0 drain-listeners:0 sample:0 (draining) (removed) silence:1 close:1\n"));

        w = serving(FIRST | SECOND);
        w->quiet = true;
        script_up(w, 15100, script_candidate(w, 15000, 1), 1);
        script_crash(w, 15150, 2);
        for (int64_t at = 15201; at <= 21000; at += 100)
                script_left(w, at, 0);
        cr_assert(succession_find(&w->s, 0)->ordered && w->s.leave == LEAVE_NOT);
}

Test(leaving, a_queue_that_never_empties_is_not_waited_for_for_ever)
{
        struct script *w = serving(FIRST | SECOND);
        uint64_t e = script_candidate(w, 1000, 1);

        w->quiet = true;
        script_up(w, 1100, e, 1);
        for (int64_t at = 1201; at <= 6201; at += 100)
                script_left(w, at, 3);
        cr_assert(w->s.leave == LEAVE_NOT && succession_find(&w->s, 0)->ordered);
}

Test(leaving, the_next_upgrade_waits_until_all_has_left)
{
        struct script *w = serving(FIRST | SECOND);
        uint64_t e = script_candidate(w, 1000, 1);

        script_up(w, 1100, e, 1);
        script_upgrade(w, 1110, 2, -1);
        cr_assert(w->s.upgrade.now.id == 0 && waits(w, 2));
        script_run(w, 1200);
        script_left(w, 1201, 0);
        cr_assert(w->s.upgrade.now.id != 0);
}

/* ---- requests of those that are neither wanted nor on trial ----------------------------------------- */

Test(upgrades, what_a_failed_candidate_still_asks_for_takes_nothing_from_the_one_that_serves)
{
        struct script *w = serving(FIRST | SECOND);
        uint64_t e = script_candidate(w, 1000, 1);

        script_ask(w, 1100, e, 0);
        script_ask(w, 1110, e, 0); /* a name twice: it is ended */
        cr_assert_eq(outcome_of(w, 1).result, RESULT_ROLLED_BACK);
        w->text_bytes = 0;
        script_ask(w, 1111, e, 1); /* but has not ended yet */
        cr_assert(escrow_asked_by(&w->s.escrow, 1, 0));
        script_look(w, 1120, 0, 2);
        cr_assert(script_expect(w, "   1111 PassListenSocket take pass-nothing\n"
                                   "   1120 look            \n"));
        cr_assert(w->s.escrow.keys[1].inode, "a crash would refuse");
}

Test(upgrades, a_predecessor_that_still_accepts_shares_what_is_held_and_one_that_drains_gets_nothing)
{
        struct script *w = serving(FIRST | SECOND);
        uint64_t e = script_candidate(w, 1000, 1);

        script_up_on(w, 1100, e, FIRST | 1u << 2);
        w->text_bytes = 0;
        script_ask(w, 1110, 0, 2);
        script_run(w, 1200);
        script_left(w, 1201, 0);
        w->text_bytes = 0;
        script_ask(w, 1300, 0, 2);
        cr_assert(script_expect(w, "   1300 PassListenSocket take pass-nothing\n"));
        cr_assert(escrow_asked_by(&w->s.escrow, escrow_find(&w->s.escrow, script_key(2)), e));
}

/* ---- rollback --------------------------------------------------------------------------------------- */

Test(rollbacks, before_the_commit_it_takes_the_upgrade_back)
{
        struct script *w = serving(FIRST);

        (void)script_candidate(w, 1000, 1);
        script_upgrade(w, 1001, 2, -1);
        w->text_bytes = 0;
        script_rollback(w, 1100, 3, NO_EPOCH);
        cr_assert(script_expect(w, "   1100 rollback         kill:2 (rolled-back)\n"));
        cr_assert(was(w, 1, RESULT_ROLLED_BACK, "a rollback was asked for") && was(w, 2, RESULT_REFUSED, "a rollback was asked for"));
        cr_assert(was(w, 3, RESULT_COMMITTED, "") && outcome_of(w, 3).to == 0 && serves(w) == 0);
}

Test(rollbacks, after_the_commit_the_content_and_the_command_that_served_before_come_back_as_a_new_epoch)
{
        struct script *w = serving(FIRST);

        script_feed(w, 1000, (struct succession_input){ .event = ON_UPGRADE, .ticket = 1, .command = 4, .observe_ms = -1 });
        script_preflight(w, 1001, 2, NULL);
        script_up(w, 1100, 2, 1);
        cr_assert_eq(succession_find(&w->s, 2)->command, 4);
        script_run(w, 2000);
        w->text_bytes = 0;
        script_rollback(w, 2000, 2, NO_EPOCH);
        script_preflight(w, 2001, w->s.upgrade.candidate, NULL);
        script_up(w, 2100, w->s.upgrade.candidate, 1);
        cr_assert(script_expect(w, "   2000 rollback         kit:4<-0 (started)\n"
                                   "   2000 kit-ready        preflight:4\n"
                                   "   2001 preflight        launch:4\n"
                                   "   2001 process          (launched)\n"
                                   "   2100 clock            sample:0\n"
                                   "   2100 look             kit:5<-4 forget:3 (committed) fail-health:2 drain-listeners:2 sample:2 (draining)\n"));
        cr_assert(was(w, 2, RESULT_COMMITTED, "") && outcome_of(w, 2).kind == RUN_ROLLBACK);
        cr_assert(succession_serving(&w->s)->origin == 0 && succession_serving(&w->s)->command == 0);
}

Test(rollbacks, when_nothing_else_has_served_there_is_nothing_to_go_back_to)
{
        struct script *w = serving(FIRST);

        script_rollback(w, 1000, 1, NO_EPOCH);
        cr_assert(was(w, 1, RESULT_REFUSED, "there is nothing to go back to: nothing else has served"));
        script_rollback(w, 1001, 2, 0);
        cr_assert(was(w, 2, RESULT_REFUSED, "that epoch serves already"));
        script_rollback(w, 1002, 3, 77);
        cr_assert(was(w, 3, RESULT_REFUSED, "the content of epoch 77 is not kept: it never served, or too long ago"));
        script_rollback(w, 1003, 4, 1);
        cr_assert(was(w, 4, RESULT_REFUSED, "the content of epoch 1 is not kept: it never served, or too long ago"));
}

static uint64_t upgrade_to(struct script *w, int64_t at_ms, uint64_t ticket)
{
        uint64_t e = script_candidate(w, at_ms, ticket);
        uint64_t old = serves(w);

        script_up(w, at_ms + 100, e, 1);
        script_exit(w, at_ms + 200, old, CODE_EXITED, 0);
        return e;
}

Test(rollbacks, four_that_served_before_are_kept_and_no_fifth)
{
        struct script *w = serving(FIRST);
        uint64_t e[6] = { 0 };

        w->quiet = true;
        for (uint64_t i = 1; i < 6; i++)
                e[i] = upgrade_to(w, 1000 * (int64_t)i, i);
        for (int i = 0; i < HISTORY_MAX; i++)
                cr_assert_eq(w->s.history[i], e[4 - i]);
        cr_assert(!succession_find(&w->s, e[0]));
        script_rollback(w, 10000, 10, e[0]);
        cr_assert_eq(outcome_of(w, 10).result, RESULT_REFUSED);
        script_rollback(w, 10001, 11, e[1]);
        cr_assert(waits(w, 11) && succession_find(&w->s, w->s.upgrade.candidate)->copy_of == e[1]);
}

Test(rollbacks, one_that_has_the_content_that_serves_is_no_way_back)
{
        struct script *w = serving(FIRST);
        uint64_t a, back;

        w->quiet = true;
        a = upgrade_to(w, 1000, 1);
        (void)upgrade_to(w, 2000, 2);
        script_rollback(w, 3000, 3, a); /* serves: a's content; before it: what was upgraded to, a, 0 */
        script_preflight(w, 3001, w->s.upgrade.candidate, NULL);
        back = w->s.upgrade.candidate;
        script_up(w, 3100, back, 1);
        script_rollback(w, 4000, 4, a); /* once more the same */
        script_preflight(w, 4001, w->s.upgrade.candidate, NULL);
        script_up(w, 4100, w->s.upgrade.candidate, 1);
        cr_assert_neq(w->s.history[0], back, "the same once more is nothing to go back to");
        script_rollback(w, 5000, 5, NO_EPOCH);
        cr_assert_neq(w->s.upgrade.now.copy_of, back, "its content serves already");
}

Test(rollbacks, what_is_refused_or_rolled_back_is_no_way_back)
{
        struct script *w = serving(FIRST);
        uint64_t e = script_candidate(w, 1000, 1);

        script_crash(w, 1100, e);
        script_rollback(w, 1200, 2, e);
        cr_assert_eq(outcome_of(w, 2).result, RESULT_REFUSED);
        script_rollback(w, 1300, 3, NO_EPOCH);
        cr_assert_eq(outcome_of(w, 3).result, RESULT_REFUSED);
}

/* ---- pause ------------------------------------------------------------------------------------------ */

Test(upgrades, what_is_asked_for_explicitly_is_done_also_while_paused)
{
        struct script *w = serving(FIRST);

        script_feed(w, 900, (struct succession_input){ .event = ON_PAUSE, .value = 1 });
        cr_assert(w->s.paused);
        script_upgrade(w, 1000, 1, -1);
        cr_assert_neq(w->s.upgrade.now.id, 0);
        script_feed(w, 1100, (struct succession_input){ .event = ON_PAUSE, .value = 0 });
        cr_assert(!w->s.paused);
}

Test(upgrades, an_order_without_a_command_means_the_one_that_runs_when_its_turn_comes)
{
        struct script *w = serving(FIRST);

        script_feed(w, 1000, (struct succession_input){ .event = ON_UPGRADE, .ticket = 1, .command = 1, .observe_ms = -1 });
        script_feed(w, 1001, (struct succession_input){ .event = ON_UPGRADE, .ticket = 2, .command = COMMAND_RUNNING, .observe_ms = -1 });
        script_preflight(w, 1100, w->s.upgrade.candidate, NULL);
        script_up(w, 1200, w->s.upgrade.candidate, 1);
        cr_assert(succession_command(&w->s) == 1 && w->s.upgrade.now.id, "the second begins");
        cr_assert_eq(w->s.upgrade.now.command, 1);
        cr_assert_eq(w->s.upgrade.commands, 1, "and takes no number");
}

Test(upgrades, a_second_rollback_joins_the_first_instead_of_taking_it_back)
{
        struct script *w = serving(FIRST);

        script_upgrade(w, 1000, 1, -1);
        script_preflight(w, 1100, w->s.upgrade.candidate, NULL);
        script_up(w, 1200, w->s.upgrade.candidate, 1);
        script_exit(w, 1300, 0, CODE_EXITED, 0);
        script_rollback(w, 2000, 2, NO_EPOCH);
        script_rollback(w, 2001, 3, NO_EPOCH);
        cr_assert(waits(w, 2) && waits(w, 3));
        script_preflight(w, 2100, w->s.upgrade.candidate, NULL);
        script_up(w, 2200, w->s.upgrade.candidate, 1);
        cr_assert(was(w, 2, RESULT_COMMITTED, "") && was(w, 3, RESULT_COMMITTED, ""));
        cr_assert_eq(w->s.upgrade.counts[RUN_ROLLBACK][RESULT_COMMITTED], 1);
}

Test(upgrades, a_candidate_that_takes_too_long_is_not_killed_while_nothing_serves)
{
        struct script *w = serving(FIRST);
        uint64_t epoch;

        script_upgrade(w, 1000, 1, -1);
        epoch = w->s.upgrade.candidate;
        script_preflight(w, 1100, epoch, NULL);
        w->s.backoff.tokens = 0;
        script_crash(w, 2000, 0);
        w->text_bytes = 0;
        script_run(w, 1100 + 3 * limits.epoch.ready_ms);
        cr_assert(waits(w, 1) && succession_find(&w->s, epoch)->state == EPOCH_STARTING);
        script_up(w, 1200 + 3 * limits.epoch.ready_ms, epoch, 1);
        cr_assert(was(w, 1, RESULT_COMMITTED, "") && serves(w) == epoch);
}

Test(upgrades, content_that_is_read_from_disk_once_more_is_no_other_and_nothing_to_go_back_to)
{
        struct script *w = serving(FIRST);
        uint64_t epoch;

        w->quiet = true;
        script_upgrade(w, 1000, 1, -1);
        epoch = w->s.upgrade.candidate;
        script_feed(w, 1010, (struct succession_input){ .event = ON_KIT_READY, .epoch = epoch, .base_id = 100 + epoch, .is_copy = true, .original = 0 });
        script_preflight(w, 1100, epoch, NULL);
        script_up(w, 1200, epoch, 1);
        cr_assert(serves(w) == epoch && w->s.history[0] == NO_EPOCH);
        script_rollback(w, 2000, 2, NO_EPOCH);
        cr_assert_eq(outcome_of(w, 2).result, RESULT_REFUSED);
}

Test(upgrades, packets_are_taken_only_from_one_that_drains_and_go_to_the_one_that_is_wanted)
{
        struct script *w = serving(FIRST);
        uint64_t epoch;

        w->quiet = true;
        cr_assert_eq(succession_packets_to(&w->s, 0), NO_EPOCH, "it serves");
        cr_assert_eq(succession_packets_to(&w->s, 77), NO_EPOCH, "there is none");
        epoch = script_candidate(w, 1000, 1);
        cr_assert_eq(succession_packets_to(&w->s, epoch), NO_EPOCH, "on trial");
        script_up(w, 1200, epoch, 1);
        cr_assert_eq(succession_packets_to(&w->s, 0), epoch);
        script_exit(w, 2000, 0, CODE_EXITED, 0);
        cr_assert_eq(succession_packets_to(&w->s, 0), NO_EPOCH, "whoever speaks in its name is a stranger");
}
