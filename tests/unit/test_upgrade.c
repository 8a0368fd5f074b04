/* SPDX-License-Identifier: MIT */
/* Who asked for what, what waits and what came of it; without any candidate. Its life is test_succession_upgrade.c's. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "agent/escrow.h"
#include "agent/upgrade.h"

static struct upgrade u;

static struct run disk(void)
{
        return (struct run){ .kind = RUN_UPGRADE, .copy_of = NO_EPOCH };
}

static struct run back_to(uint64_t epoch)
{
        return (struct run){ .kind = RUN_ROLLBACK, .copy_of = epoch };
}

static int ask(uint64_t ticket, struct run what)
{
        return upgrade_ask(&u, ticket, &what);
}

static struct outcome committed(uint64_t from, uint64_t to)
{
        return (struct outcome){ .from = from, .to = to, .result = RESULT_COMMITTED };
}

static struct outcome refused(const char *reason)
{
        struct outcome how = { .from = NO_EPOCH, .to = NO_EPOCH, .gap_ns = -1, .result = RESULT_REFUSED };

        (void)snprintf(how.reason, sizeof(how.reason), "%s", reason);
        return how;
}

static void decide(struct outcome how)
{
        upgrade_decide(&u, &how);
}

static enum ticket_state state_of(uint64_t ticket)
{
        struct outcome o;

        return upgrade_ticket(&u, ticket, &o);
}

static struct outcome outcome_of(uint64_t ticket)
{
        struct outcome o = { .reason = "nothing was written" };

        cr_assert_eq(upgrade_ticket(&u, ticket, &o), TICKET_DONE);
        return o;
}

Test(upgrade, a_ticket_waits_until_its_run_is_decided_and_then_says_what_came_of_it)
{
        upgrade_init(&u);
        cr_assert_eq(state_of(7), TICKET_UNKNOWN);
        cr_assert_eq(ask(7, disk()), 0);
        cr_assert_eq(state_of(7), TICKET_WAITS, "it waits for its turn");
        cr_assert(upgrade_begin(&u));
        cr_assert_eq(state_of(7), TICKET_WAITS, "it is under way");
        decide(committed(3, 4));
        cr_assert_eq(outcome_of(7).result, RESULT_COMMITTED);
        cr_assert(outcome_of(7).from == 3 && outcome_of(7).to == 4 && outcome_of(7).kind == RUN_UPGRADE);
        cr_assert_eq(u.counts[RUN_UPGRADE][RESULT_COMMITTED], 1);
}

Test(upgrade, nobody_has_ticket_0)
{
        upgrade_init(&u);
        cr_assert_eq(ask(0, disk()), 0);
        cr_assert(upgrade_begin(&u), "it is done all the same");
        cr_assert_eq(state_of(0), TICKET_UNKNOWN);
        cr_assert_eq(u.n_tickets, 0);
}

Test(upgrade, one_is_under_way_at_a_time_and_the_others_follow_in_their_order)
{
        upgrade_init(&u);
        (void)ask(1, disk());
        (void)ask(2, back_to(5));
        (void)ask(3, back_to(6));
        cr_assert(upgrade_begin(&u) && u.now.kind == RUN_UPGRADE);
        cr_assert(!upgrade_begin(&u));
        decide(committed(0, 1));
        cr_assert(upgrade_begin(&u) && u.now.copy_of == 5);
        decide(refused("no"));
        cr_assert(upgrade_begin(&u) && u.now.copy_of == 6);
        decide(committed(1, 2));
        cr_assert(!upgrade_begin(&u));
        cr_assert_eq(outcome_of(1).to, 1);
        cr_assert_str_eq(outcome_of(2).reason, "no");
        cr_assert_eq(outcome_of(3).to, 2);
}

Test(upgrade, who_asks_for_what_waits_already_shares_its_run_and_its_outcome)
{
        upgrade_init(&u);
        for (uint64_t ticket = 1; ticket <= 20; ticket++)
                cr_assert_eq(ask(ticket, disk()), 0);
        cr_assert_eq(u.n_next, 1);
        cr_assert(upgrade_begin(&u));
        decide(committed(0, 1));
        cr_assert(!upgrade_begin(&u));
        for (uint64_t ticket = 1; ticket <= 20; ticket++)
                cr_assert_eq(outcome_of(ticket).to, 1);
}

Test(upgrade, what_is_under_way_may_have_read_the_disk_already_so_a_new_request_is_a_run_of_its_own)
{
        upgrade_init(&u);
        (void)ask(1, disk());
        (void)upgrade_begin(&u);
        (void)ask(2, disk());
        decide(refused("broken"));
        cr_assert_eq(state_of(2), TICKET_WAITS);
        cr_assert(upgrade_begin(&u));
        decide(committed(0, 2));
        cr_assert_eq(outcome_of(1).result, RESULT_REFUSED);
        cr_assert_eq(outcome_of(2).result, RESULT_COMMITTED);
}

Test(upgrade, requests_for_different_things_are_not_one)
{
        struct run other = disk();

        other.command = 9;
        upgrade_init(&u);
        (void)ask(1, disk());
        (void)ask(2, other);
        (void)ask(3, back_to(4));
        (void)ask(4, back_to(5));
        cr_assert_eq(u.n_next, 4);
}

Test(upgrade, the_longest_observation_that_anybody_wants_is_kept)
{
        struct run what = disk();

        upgrade_init(&u);
        what.observe_ms = 10;
        (void)ask(1, what);
        what.observe_ms = 500;
        (void)ask(2, what);
        what.observe_ms = 20;
        (void)ask(3, what);
        cr_assert(u.n_next == 1 && u.next[0].observe_ms == 500);
}

Test(upgrade, a_ticket_that_comes_again_is_known_and_asks_for_nothing)
{
        struct run what = disk();
        struct outcome how = refused("no");

        upgrade_init(&u);
        (void)ask(1, what);
        cr_assert_eq(ask(1, back_to(3)), UPGRADE_KNOWN);
        cr_assert_eq(u.n_next, 1);
        (void)upgrade_begin(&u);
        decide(committed(0, 1));
        cr_assert_eq(ask(1, what), UPGRADE_KNOWN);
        cr_assert_eq(upgrade_settle(&u, 1, &what, &how), UPGRADE_KNOWN);
        cr_assert_eq(outcome_of(1).result, RESULT_COMMITTED);
        cr_assert(!upgrade_begin(&u));
}

Test(upgrade, the_ninth_thing_that_waits_is_too_much_and_a_request_that_joins_is_not)
{
        upgrade_init(&u);
        for (uint64_t i = 0; i < RUNS_MAX; i++)
                cr_assert_eq(ask(i + 1, back_to(i)), 0);
        cr_assert_eq(ask(100, back_to(100)), UPGRADE_FULL);
        cr_assert_eq(state_of(100), TICKET_UNKNOWN);
        cr_assert_eq(ask(101, back_to(0)), 0);
        cr_assert_eq(state_of(101), TICKET_WAITS);
}

Test(upgrade, the_oldest_ticket_makes_room_but_never_one_whose_owner_waits)
{
        struct run what = disk();
        struct outcome how = refused("no");

        upgrade_init(&u);
        for (uint64_t ticket = 1; ticket <= TICKETS_MAX; ticket++)
                cr_assert_eq(ask(ticket, what), 0);
        cr_assert_eq(ask(1000, what), UPGRADE_FULL, "all of them wait");
        cr_assert_eq(upgrade_settle(&u, 1001, &what, &how), UPGRADE_FULL);
        cr_assert_eq(state_of(1), TICKET_WAITS);
        (void)upgrade_begin(&u);
        decide(committed(0, 1));
        cr_assert_eq(ask(1002, what), 0);
        cr_assert_eq(state_of(1), TICKET_UNKNOWN, "too long ago");
        cr_assert_eq(outcome_of(2).to, 1);
}

Test(upgrade, what_is_decided_at_once_counts_and_answers_and_leaves_what_waits_alone)
{
        struct run what = back_to(2);
        struct outcome how = refused("it serves already");

        upgrade_init(&u);
        (void)ask(1, disk());
        cr_assert_eq(upgrade_settle(&u, 2, &what, &how), 0);
        cr_assert_str_eq(outcome_of(2).reason, "it serves already");
        cr_assert_eq(outcome_of(2).kind, RUN_ROLLBACK);
        cr_assert_eq(u.counts[RUN_ROLLBACK][RESULT_REFUSED], 1);
        cr_assert_eq(state_of(1), TICKET_WAITS);
        cr_assert(upgrade_begin(&u));
        decide(committed(0, 1));
        cr_assert_eq(outcome_of(1).result, RESULT_COMMITTED, "the run that was settled had a number of its own");
}

Test(upgrade, none_of_those_that_wait_is_tried_once_they_are_refused_and_each_is_told_why)
{
        upgrade_init(&u);
        (void)ask(1, disk());
        (void)upgrade_begin(&u);
        (void)ask(2, disk());
        (void)ask(3, back_to(4));
        upgrade_refuse_waiting(&u, "a stop was asked for");
        cr_assert_str_eq(outcome_of(2).reason, "a stop was asked for");
        cr_assert_str_eq(outcome_of(3).reason, "a stop was asked for");
        cr_assert_eq(state_of(1), TICKET_WAITS, "what is under way is not theirs");
        decide(refused("x"));
        cr_assert(!upgrade_begin(&u));
}

Test(upgrade, an_outcome_of_long_ago_is_done_but_what_came_of_it_is_not_known)
{
        upgrade_init(&u);
        for (uint64_t ticket = 1; ticket <= OUTCOMES_MAX + 1; ticket++) {
                (void)ask(ticket, disk());
                (void)upgrade_begin(&u);
                decide(committed(ticket, ticket + 1));
        }
        cr_assert_eq(outcome_of(1).run, 0);
        for (uint64_t ticket = 2; ticket <= OUTCOMES_MAX + 1; ticket++)
                cr_assert(outcome_of(ticket).run == ticket && outcome_of(ticket).from == ticket);
        cr_assert_eq(u.counts[RUN_UPGRADE][RESULT_COMMITTED], OUTCOMES_MAX + 1);
}

Test(upgrade, a_command_line_is_needed_as_long_as_something_under_way_or_waiting_runs_it)
{
        struct run what = disk();

        upgrade_init(&u);
        cr_assert(!upgrade_uses(&u, 0), "nothing is under way, not even with the command line of the start");
        what.command = 3;
        (void)ask(1, what);
        cr_assert(upgrade_uses(&u, 3) && !upgrade_uses(&u, 2));
        (void)upgrade_begin(&u);
        cr_assert(upgrade_uses(&u, 3));
        decide(refused("no"));
        cr_assert(!upgrade_uses(&u, 3));
}

Test(upgrade, each_kind_and_result_has_a_name)
{
        cr_assert_str_eq(run_kind_name(RUN_UPGRADE), "upgrade");
        cr_assert_str_eq(run_kind_name(RUN_ROLLBACK), "rollback");
        cr_assert_str_eq(run_kind_name(RUN_KINDS), "unknown");
        cr_assert_str_eq(run_result_name(RESULT_PENDING), "pending");
        cr_assert_str_eq(run_result_name(RESULT_COMMITTED), "committed");
        cr_assert_str_eq(run_result_name(RESULT_REFUSED), "refused");
        cr_assert_str_eq(run_result_name(RESULT_ROLLED_BACK), "rolled_back");
        cr_assert_str_eq(run_result_name(RESULTS), "unknown");
}
