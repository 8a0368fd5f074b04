/* SPDX-License-Identifier: MIT */
/* The life of one generation, by itself. How it lives beside others is test_succession.c's. */
#include <criterion/criterion.h>

#include <signal.h>

#include "agent/epoch.h"

static const struct epoch_limits limits = { .protocol = true, .ready_ms = 60000, .quiet_ms = 1000, .sample_ms = 100, .kill_ms = 5000 };

struct life {
        struct epoch e;
        struct epoch_limits l;
        int64_t now_ms;
        struct effects fx;
};

static struct mono at(int64_t ms)
{
        return (struct mono){ ms * 1000000 };
}

static void feed(struct life *f, int64_t at_ms, struct epoch_input in)
{
        f->now_ms = at_ms;
        f->fx.n = 0;
        epoch_step(&f->e, &f->l, &in, at(at_ms), &f->fx);
}

static bool did(const struct life *f, enum effect_kind kind, int64_t value)
{
        for (size_t i = 0; i < f->fx.n; i++)
                if (f->fx.list[i].kind == kind && f->fx.list[i].value == value)
                        return true;
        return false;
}

static struct life *born(void)
{
        static struct life f;

        f.l = limits;
        epoch_init(&f.e, 7, CONTENT_DISK);
        f.e.state = EPOCH_STARTING;
        feed(&f, 0, (struct epoch_input){ .event = ON_LAUNCHED, .pid = 42 });
        return &f;
}

static struct life *serving(void)
{
        struct life *f = born();

        feed(f, 100, (struct epoch_input){ .event = ON_DRAIN_LISTENERS });
        feed(f, 101, (struct epoch_input){ .event = ON_LOOKED, .lack = LACK_NOTHING });
        cr_assert_eq(f->e.state, EPOCH_SERVING);
        return f;
}

static void sample(struct life *f, int64_t at_ms, int64_t in_flight, uint64_t total)
{
        feed(f, at_ms, (struct epoch_input){ .event = ON_SAMPLED, .in_flight = in_flight, .requests_total = total });
}

static void drain(struct life *f, int64_t at_ms, int64_t term_by_ms, int64_t kill_by_ms)
{
        feed(f, at_ms, (struct epoch_input){ .event = ON_DRAIN_ORDER, .term_by = at(term_by_ms), .kill_by = at(kill_by_ms) });
}

Test(epoch, it_serves_when_a_look_lacks_nothing_and_not_when_it_says_that_it_is_up)
{
        struct life *f = born();

        feed(f, 100, (struct epoch_input){ .event = ON_DRAIN_LISTENERS });
        cr_assert_eq(f->e.state, EPOCH_STARTING);
        cr_assert(did(f, DO_LOOK, 0));
        feed(f, 110, (struct epoch_input){ .event = ON_LOOKED, .lack = LACK_STATIC_KEY });
        cr_assert_eq(f->e.state, EPOCH_STARTING);
        cr_assert(did(f, DO_REPORT, REPORT_NOT_ACCEPTING));
        feed(f, 111, (struct epoch_input){ .event = ON_TIME });
        cr_assert(did(f, DO_LOOK, 0));
        feed(f, 112, (struct epoch_input){ .event = ON_LOOKED, .lack = LACK_NOTHING });
        cr_assert_eq(f->e.state, EPOCH_SERVING);
        cr_assert_eq(f->e.accepted.ns, at(112).ns);
}

Test(epoch, the_pauses_between_looks_grow_to_250_ms_and_a_lack_is_told_once)
{
        struct life *f = born();
        int64_t now = 1000, pause = 0, reports = 0;

        feed(f, now, (struct epoch_input){ .event = ON_DRAIN_LISTENERS });
        for (int i = 0; i < 20; i++) {
                feed(f, now, (struct epoch_input){ .event = ON_LOOKED, .lack = LACK_QUEUE });
                reports += did(f, DO_REPORT, REPORT_NOT_ACCEPTING);
                pause = mono_ms_between(at(now), f->e.next_look);
                cr_assert(pause >= 1 && pause <= 250);
                now += pause;
                feed(f, now, (struct epoch_input){ .event = ON_TIME });
        }
        cr_assert_eq(pause, 250);
        cr_assert_eq(reports, 1);
}

Test(epoch, a_start_beyond_the_ready_timeout_is_reported_once_and_not_killed)
{
        struct life *f = born();

        cr_assert_eq(epoch_next(&f->e).ns, at(60000).ns);
        feed(f, 60000, (struct epoch_input){ .event = ON_TIME });
        cr_assert(did(f, DO_REPORT, REPORT_READY_LATE));
        cr_assert(!did(f, DO_SIGNAL, SIGKILL) && !did(f, DO_SIGNAL, SIGTERM));
        cr_assert(mono_is_never(epoch_next(&f->e)));
        feed(f, 70000, (struct epoch_input){ .event = ON_TIME });
        cr_assert_eq(f->fx.n, 0);
}

Test(epoch, one_that_has_not_said_that_it_is_up_is_ended_by_sigkill)
{
        struct life *f = born();

        drain(f, 50, 1000, 2000);
        cr_assert(did(f, DO_SIGNAL, SIGKILL));
        cr_assert(!did(f, DO_SIGNAL, SIGTERM));
        cr_assert_eq(f->e.state, EPOCH_STOPPING);

        f = born();
        feed(f, 50, (struct epoch_input){ .event = ON_TERM_ORDER, .kill_by = at(1000) });
        cr_assert(did(f, DO_SIGNAL, SIGKILL));
        cr_assert(!did(f, DO_SIGNAL, SIGTERM));
}

Test(epoch, a_drain_asks_to_close_closes_the_listeners_and_counts)
{
        struct life *f = serving();

        drain(f, 1000, 23000, 25000);
        cr_assert(did(f, DO_FAIL_HEALTHCHECK, 0) && did(f, DO_DRAIN_LISTENERS, 0) && did(f, DO_SAMPLE, 0));
        cr_assert(!did(f, DO_SIGNAL, SIGTERM));
        cr_assert_eq(epoch_next(&f->e).ns, at(1100).ns);
        feed(f, 1100, (struct epoch_input){ .event = ON_TIME });
        cr_assert(did(f, DO_SAMPLE, 0));
        cr_assert_eq(epoch_next(&f->e).ns, at(1200).ns);
}

Test(epoch, nothing_in_flight_means_zero_and_no_new_request_for_a_second_without_a_break)
{
        struct life *f = serving();

        drain(f, 0, 23000, 25000);
        sample(f, 100, 0, 50);
        sample(f, 1000, 0, 50);
        cr_assert_eq(f->e.state, EPOCH_DRAINING, "900 ms");
        sample(f, 1090, 0, 51);
        cr_assert_eq(f->e.state, EPOCH_DRAINING, "a request came and went between two samples");
        sample(f, 2000, 1, 52);
        sample(f, 2100, 0, 52);
        sample(f, 3099, 0, 52);
        cr_assert_eq(f->e.state, EPOCH_DRAINING, "one is in flight: the second starts over");
        sample(f, 3100, 0, 52);
        cr_assert(did(f, DO_SIGNAL, SIGTERM) && did(f, DO_REPORT, REPORT_DRAINED));
        cr_assert_eq(f->e.state, EPOCH_STOPPING);
}

Test(epoch, a_sample_that_nobody_answered_is_not_a_zero)
{
        struct life *f = serving();

        drain(f, 0, 23000, 25000);
        sample(f, 100, 0, 50);
        sample(f, 600, -1, 0);
        sample(f, 1200, 0, 50);
        cr_assert_eq(f->e.state, EPOCH_DRAINING);
        sample(f, 2200, 0, 50);
        cr_assert_eq(f->e.state, EPOCH_STOPPING);
}

Test(epoch, a_drain_that_overruns_ends_in_sigterm_and_sigkill_at_the_deadline)
{
        struct life *f = serving();

        drain(f, 0, 23000, 25000);
        sample(f, 22950, 4, 99);
        feed(f, 23000, (struct epoch_input){ .event = ON_TIME });
        cr_assert(did(f, DO_SIGNAL, SIGTERM) && did(f, DO_REPORT, REPORT_DRAIN_OVERRUN));
        cr_assert_eq(epoch_next(&f->e).ns, at(25000).ns, "not five seconds later: the stop's deadline overrules");
        feed(f, 25000, (struct epoch_input){ .event = ON_TIME });
        cr_assert(did(f, DO_SIGNAL, SIGKILL) && did(f, DO_REPORT, REPORT_KILLED));
}

Test(epoch, sigterm_that_does_nothing_is_followed_by_sigkill)
{
        struct life *f = serving();

        drain(f, 0, 23000, 25000);
        sample(f, 100, 0, 1);
        sample(f, 1100, 0, 1);
        cr_assert_eq(epoch_next(&f->e).ns, at(6100).ns);
        feed(f, 6100, (struct epoch_input){ .event = ON_TIME });
        cr_assert(did(f, DO_SIGNAL, SIGKILL));
        feed(f, 11100, (struct epoch_input){ .event = ON_TIME });
        cr_assert(did(f, DO_SIGNAL, SIGKILL), "and again");
}

Test(epoch, an_earlier_end_overrules_a_later_one_and_never_the_other_way_round)
{
        struct life *f = serving();

        drain(f, 0, 23000, 25000);
        drain(f, 10, 5000, 6000);
        cr_assert_eq(f->e.deadline.ns, at(5000).ns);
        drain(f, 20, 50000, 60000);
        cr_assert_eq(f->e.deadline.ns, at(5000).ns);
        cr_assert_eq(f->e.kill_by.ns, at(6000).ns);
}

Test(epoch, an_order_to_end_now_is_sigterm_at_once)
{
        struct life *f = serving();

        drain(f, 0, 23000, 25000);
        feed(f, 10, (struct epoch_input){ .event = ON_TERM_ORDER, .kill_by = at(1010) });
        cr_assert(did(f, DO_SIGNAL, SIGTERM));
        cr_assert_eq(epoch_next(&f->e).ns, at(1010).ns);
}

Test(epoch, without_the_protocol_it_serves_from_its_launch_and_ends_by_sigterm)
{
        static struct life f = { .l = { .kill_ms = 5000 } };

        epoch_init(&f.e, 1, CONTENT_DISK);
        f.e.state = EPOCH_STARTING;
        feed(&f, 5, (struct epoch_input){ .event = ON_LAUNCHED, .pid = 9 });
        cr_assert_eq(f.e.state, EPOCH_SERVING);
        cr_assert_eq(f.e.accepted.ns, at(5).ns);
        drain(&f, 10, 20000, 25000);
        cr_assert(did(&f, DO_SIGNAL, SIGTERM) && !did(&f, DO_DRAIN_LISTENERS, 0));
        cr_assert_eq(epoch_next(&f.e).ns, at(25000).ns, "it drains by itself and has the whole stop for it");
}

Test(epoch, after_its_end_nothing_that_comes_late_changes_it)
{
        struct life *f = serving();
        struct epoch before;

        feed(f, 200, (struct epoch_input){ .event = ON_ENDED });
        cr_assert_eq(f->e.state, EPOCH_GONE);
        cr_assert(mono_is_never(epoch_next(&f->e)));
        before = f->e;
        for (int ev = ON_LAUNCHED; ev <= ON_TIME; ev++) {
                if (ev == ON_DRAIN_ORDER || ev == ON_TERM_ORDER)
                        continue;
                feed(f, 300, (struct epoch_input){ .event = (enum epoch_event)ev });
                cr_assert_eq(f->fx.n, 0);
                cr_assert_eq(f->e.state, before.state);
        }
}

Test(epoch, each_state_has_a_name)
{
        for (uint32_t s = EPOCH_NONE; s <= EPOCH_GONE; s++)
                cr_assert_str_neq(epoch_state_name(s), "unknown");
        cr_assert_str_eq(epoch_state_name(EPOCH_GONE + 1), "unknown");
}
