/* SPDX-License-Identifier: MIT */
/* A new agent goes on where the stored state says. Random deaths are tests/property/test_succession.c's. */
#include <criterion/criterion.h>

#include <signal.h>

#include "tests/support/script.h"

static struct script *begun(void)
{
        struct succession_limits l = script_limits();

        return script_begin(&l);
}

static struct resume_fact runs(uint64_t epoch, bool waits)
{
        return (struct resume_fact){ .epoch = epoch, .kit_held = true, .job_known = true, .pid = (int)(1000 + epoch), .waits_for_reply = waits };
}

static struct resume_fact kit(uint64_t epoch)
{
        return (struct resume_fact){ .epoch = epoch, .kit_held = true };
}

Test(resume, one_that_serves_is_looked_at_and_nothing_else_happens)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(0, false), kit(1) };

        script_up(w, 50, 0, 1);
        w->text_bytes = 0;
        script_run(w, 5000);
        script_die(w, facts, 2);
        script_look(w, 5001, 0, 1);
        cr_assert(script_expect(w, "   5000 resume           look:0\n"
                                   "   5001 look            \n"));
        cr_assert(w->s.kit_ready);
}

Test(resume, a_launch_that_the_keeper_does_not_know_is_repeated)
{
        struct script *w = begun();
        struct resume_fact facts[] = { kit(0), kit(1) };

        w->s.epochs[0].pid = 0; /* the answer never came */
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "      0 resume           launch:0\n"
                                   "      0 process          (launched)\n"));
}

Test(resume, a_launch_that_the_keeper_knows_is_not_done_again)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(0, false), kit(1) };

        w->s.epochs[0].pid = 0;
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "      0 resume           (launched)\n"));
        cr_assert_eq(succession_find(&w->s, 0)->pid, 1000);
}

Test(resume, an_owed_answer_is_given_only_to_one_that_waits_for_it)
{
        struct script *w = begun();
        struct resume_fact waits[] = { runs(0, true), kit(1) }, done[] = { runs(0, false), kit(1) };

        script_ask(w, 10, 0, 0);
        w->text_bytes = 0;
        script_die(w, waits, 2);
        script_die(w, done, 2);
        cr_assert(script_expect(w, "     10 resume           pass-nothing\n"
                                   "     10 resume          \n"));
}

Test(resume, a_kit_that_was_not_finished_is_made_again_under_its_number)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(0, false) };

        script_die(w, facts, 1);
        cr_assert(script_expect(w, "      0 resume           kit:1<-0\n"));
}

Test(resume, waits_keep_their_end_and_tokens_their_number)
{
        struct script *w = begun();
        struct resume_fact facts[] = { kit(1) };

        script_up(w, 50, 0, 1);
        script_crash(w, 100, 0);
        w->text_bytes = 0;
        script_run(w, 200);
        script_die(w, facts, 1);
        script_run(w, 299);
        cr_assert(script_expect(w, "    200 resume           watch-content-since-now\n"));
        script_run(w, 300);
        cr_assert(script_expect(w, "    300 clock            launch:1 kit:2<-1\n"
                                   "    300 process          (launched)\n"));
}

Test(resume, a_verdict_that_was_asked_for_is_asked_for_again)
{
        struct script *w = begun();
        struct resume_fact facts[] = { kit(1) };

        script_exit(w, 100, 0, 1, 1);
        w->text_bytes = 0;
        script_die(w, facts, 1);
        cr_assert(script_expect(w, "    100 resume           validate:0 watch-content-since-snapshot\n"));
}

Test(resume, a_drain_goes_on_with_its_deadlines)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(0, false), kit(1) };

        script_up(w, 50, 0, 1);
        script_stop(w, 10000, 1);
        w->text_bytes = 0;
        w->now_ms = 10050;
        script_die(w, facts, 2);
        script_run(w, 10100);
        w->now_ms = 10150;
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "  10050 resume           look:0 hush:0\n"
                                   "  10100 clock            fail-health:0 drain-listeners:0 sample:0 (draining) silence:0 close:0\n"
                                   "  10150 resume           fail-health:0 drain-listeners:0\n"));
        w->quiet = true;
        script_run(w, 32950);
        w->quiet = false;
        script_run(w, 33000);
        cr_assert(script_expect(w, "  33000 clock            (drain-overrun) term:0\n"));
}

Test(resume, a_signal_that_may_have_been_lost_is_sent_again)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(0, false), kit(1) };

        script_up(w, 50, 0, 1);
        script_stop(w, 10000, 2);
        w->text_bytes = 0;
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "  10000 resume           term:0\n"));

        w = begun();
        script_stop(w, 10, 1);
        w->text_bytes = 0;
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "     10 resume           kill:0\n"));
}

Test(resume, an_end_that_was_decided_is_carried_out)
{
        struct script *w = begun();
        struct resume_fact facts[] = { kit(1) };

        script_up(w, 50, 0, 1);
        script_exit(w, 20000, 0, 1, 0);
        w->text_bytes = 0;
        script_die(w, facts, 1);
        cr_assert(script_expect(w, "  20000 resume           end:0\n"));
}

Test(resume, sockets_that_may_not_have_been_silenced_are_silenced_again_and_revived_ones_revived)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(1, false), kit(2) };

        script_up(w, 50, 0, 2);
        w->quiet = true;
        script_crash(w, 20000, 0);
        script_run(w, 50000);
        w->quiet = false;
        w->text_bytes = 0;
        script_die(w, facts, 2);
        script_ask(w, 50001, 1, 1);
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "  50000 resume           silence:0 silence:1\n"
                                   "  50001 PassListenSocket revive:1 (revived) take pass:1\n"
                                   "  50001 resume           silence:0 revive:1\n"));
}

Test(resume, a_kill_is_repeated_as_a_kill)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(0, false), kit(1) };

        script_up(w, 50, 0, 1);
        script_stop(w, 10000, 2);
        script_run(w, 11000);
        w->text_bytes = 0;
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "  11000 resume           kill:0\n"));
}

Test(resume, a_drain_asked_for_by_the_user_is_asked_for_again)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(0, false), kit(1) };

        script_up(w, 50, 0, 1);
        script_feed(w, 100, (struct succession_input){ .event = ON_UNREADY, .value = 1 });
        w->text_bytes = 0;
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "    100 resume           fail-health:0 look:0\n"));
}

Test(resume, without_the_protocol_a_launch_that_went_unnoticed_counts_as_serving)
{
        struct succession_limits l = script_limits();
        struct resume_fact facts[] = { runs(0, false), kit(1) };
        struct script *w;

        l.epoch.protocol = false;
        w = script_new(&l);
        succession_step(&w->s, &l, &(struct succession_input){ .event = ON_BEGIN }, (struct mono){ 0 }, &w->fx);
        succession_step(&w->s, &l, &(struct succession_input){ .event = ON_KIT_READY }, (struct mono){ 0 }, &w->fx);
        script_die(w, facts, 2);
        script_run(w, 100000);
        cr_assert(script_expect(w, "      0 resume           (launched) (accepted) kit:1<-0\n"));
        cr_assert(succession_ready(&w->s, NULL));
        cr_assert_eq(w->s.served, 0);
}

Test(resume, a_revival_that_was_lost_when_the_outage_ended_is_repeated)
{
        struct script *w = begun();
        struct resume_fact facts[] = { runs(1, false), kit(2) };

        script_up(w, 50, 0, 1);
        w->quiet = true;
        script_crash(w, 20000, 0);
        script_ask(w, 20010, 1, 0);
        script_say(w, 49999, 1, HR_DRAIN_LISTENERS);
        script_run(w, 50000);
        script_look(w, 50001, 1, 1);
        w->quiet = false;
        w->text_bytes = 0;
        script_die(w, facts, 2);
        cr_assert(script_expect(w, "  50001 resume           look:1 revive:0\n"));
}

/* ---- without a state -------------------------------------------------------------------------------- */

static struct succession *rebuilt(const struct resume_fact *facts, size_t n)
{
        static struct succession s;
        static struct succession_limits l;
        const struct hr_key key = { .url = "tcp://127.0.0.1:80" };

        l = script_limits();
        succession_init(&s, &l);
        (void)escrow_held_by_keeper(&s.escrow, &key, 77);
        succession_rebuild(&s, &l, facts, n, (struct mono){ 5000000000 });
        return &s;
}

Test(rebuild, who_accepts_is_serving_and_never_on_trial)
{
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 3, .job_known = true },
                                                                     { .epoch = 7, .job_known = true, .alive = true, .pid = 9, .base_id = 4 },
                                                                     { .epoch = 8, .kit_held = true } }, 3);

        cr_assert(succession_serving(s) && succession_serving(s)->number == 7 && s->served == 7);
        cr_assert_eq(s->escrow.keys[0].by[CLAIM_WANTED].epoch, 7);
        cr_assert_eq(s->next_number, 9, "a number is given once");
        cr_assert(mono_is_never(s->outage) && mono_is_never(s->relaunch_at));
}

Test(rebuild, what_may_have_been_silenced_or_hushed_is_revived)
{
        static struct effects fx;
        struct succession_limits l = script_limits();
        const struct resume_fact facts[] = { { .epoch = 7, .job_known = true, .alive = true, .listens = true, .pid = 9, .base_id = 4 } };
        struct succession *s = rebuilt(facts, 1);
        bool revived = false;

        succession_resume(s, &l, facts, 1, (struct mono){ 5000000000 }, &fx);
        for (size_t i = 0; i < fx.n; i++)
                revived = revived || (fx.list[i].kind == DO_REVIVE && fx.list[i].key == 0);
        cr_assert(revived);
        cr_assert(!s->silenced_once, "a second start that fails is no reason to refuse");
}

static const struct epoch *rebuilt_epoch(struct succession *s, uint64_t number)
{
        return succession_find(s, number);
}

Test(rebuild, of_several_that_listen_the_lowest_serves_and_those_above_it_drain)
{
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 5, .alive = true, .pid = 1 }, /* listens no more */
                                                                     { .epoch = 7, .alive = true, .listens = true, .pid = 2, .command = 3 },
                                                                     { .epoch = 9, .alive = true, .listens = true, .pid = 3 },
                                                                     { .epoch = 11, .alive = true, .initializing = true, .pid = 4 } }, 4);

        cr_assert_eq(succession_serving(s)->number, 7);
        cr_assert(rebuilt_epoch(s, 5)->state == EPOCH_DRAINING && rebuilt_epoch(s, 5)->ordered && !mono_is_never(rebuilt_epoch(s, 5)->deadline));
        cr_assert(rebuilt_epoch(s, 9)->state == EPOCH_DRAINING && rebuilt_epoch(s, 9)->ordered);
        cr_assert(rebuilt_epoch(s, 11)->state == EPOCH_STOPPING && !mono_is_never(rebuilt_epoch(s, 11)->deadline), "on trial without a trial");
        cr_assert_eq(s->next_number, 12);
        cr_assert_eq(s->upgrade.commands, 3, "a number of a command line is given once");
}

Test(rebuild, one_that_was_launched_a_moment_ago_beside_another_is_ended_at_once_and_not_told_to_drain)
{
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 5, .alive = true, .pid = 1, .launched = { 1 } },
                                                                     { .epoch = 7, .alive = true, .listens = true, .pid = 2, .launched = { 1 } },
                                                                     { .epoch = 9, .alive = true, .pid = 3, .launched = { 4900000000 } } }, 3);

        cr_assert_eq(rebuilt_epoch(s, 9)->state, EPOCH_STOPPING);
        cr_assert_eq(rebuilt_epoch(s, 5)->state, EPOCH_DRAINING);
}

Test(rebuild, if_none_listens_the_one_that_starts_is_wanted_and_not_those_that_drain)
{
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 5, .alive = true, .pid = 1 },
                                                                     { .epoch = 6, .alive = true, .initializing = true, .pid = 2 } }, 2);

        cr_assert_eq(s->wanted, 6);
        cr_assert_eq(rebuilt_epoch(s, 5)->state, EPOCH_DRAINING);
        cr_assert_eq(rebuilt_epoch(s, 6)->state, EPOCH_STARTING);
}

static size_t repeated(struct succession *s, enum effect_kind kind)
{
        static struct effects fx;
        struct succession_limits l = script_limits();
        size_t n = 0;

        fx.n = 0;
        succession_resume(s, &l, NULL, 0, (struct mono){ 5000000000 }, &fx);
        for (size_t i = 0; i < fx.n; i++)
                n += fx.list[i].kind == kind;
        return n;
}

Test(rebuild, what_was_hushed_for_an_upgrade_that_is_forgotten_gets_connections_again)
{
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 7, .job_known = true, .alive = true, .listens = true } }, 1);

        cr_assert_eq(repeated(s, DO_REVIVE), 1);
}

Test(rebuild, groups_stay_steered_until_who_was_in_the_way_has_ended)
{
        static struct effects fx;
        struct succession_limits l = script_limits();
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 5, .job_known = true, .alive = true },
                                                                     { .epoch = 7, .job_known = true, .alive = true, .listens = true } }, 2);

        cr_assert(succession_serving(s) && succession_serving(s)->number == 7);
        cr_assert_eq(repeated(s, DO_UNSTEER), 0, "sockets of the one that drains may be in the group");
        fx.n = 0;
        succession_step(s, &l, &(struct succession_input){ .event = ON_EXIT, .epoch = 5, .exit_code = CLD_EXITED }, (struct mono){ 6000000000 }, &fx);
        cr_assert(fx.n > 0 && s->escrow.keys[0].steer == 0);
        cr_assert(s->steered_for == NO_EPOCH);
}

Test(rebuild, groups_are_not_steered_when_nobody_is_in_the_way)
{
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 7, .job_known = true, .alive = true, .listens = true } }, 1);

        cr_assert_eq(repeated(s, DO_UNSTEER), 1);
}

Test(rebuild, who_still_starts_is_waited_for_and_its_clients_not_for_ever)
{
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 7, .job_known = true, .alive = true, .initializing = true } }, 1);

        cr_assert(!succession_serving(s) && s->wanted == 7 && succession_find(s, 7)->state == EPOCH_STARTING);
        cr_assert_eq(s->hold_until.ns, INT64_C(35000000000));
        cr_assert(mono_is_never(s->relaunch_at));
}

Test(rebuild, when_nothing_lives_what_the_newest_kit_was_made_for_comes_back_and_not_what_is_on_disk)
{
        static struct effects fx;
        struct succession_limits l = script_limits();
        struct succession *s = rebuilt((const struct resume_fact[]){ { .epoch = 7, .job_known = true },
                                                                     { .epoch = 6, .kit_held = true },
                                                                     { .epoch = 8, .kit_held = true } }, 3);
        bool copied = false;

        cr_assert(!succession_serving(s) && !mono_is_never(s->relaunch_at) && s->hold_until.ns == INT64_C(35000000000));
        succession_step(s, &l, &(struct succession_input){ .event = ON_CLOCK }, (struct mono){ 5000000000 }, &fx);
        for (size_t i = 0; i < fx.n; i++)
                copied = copied || (fx.list[i].kind == DO_MAKE_KIT && fx.list[i].epoch == 9 && fx.list[i].value == 8);
        cr_assert(copied);
}
