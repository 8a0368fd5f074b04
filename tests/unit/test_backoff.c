/* SPDX-License-Identifier: MIT */
/* Waits that double, and the purse of tokens. */
#include <criterion/criterion.h>

#include "agent/backoff.h"

static const struct backoff_limits limits = { .initial_ms = 200, .max_ms = -1, .stable_ms = 10000, .refill_ms = 60000, .tokens = 10 };

static struct mono at(int64_t ms)
{
        return (struct mono){ ms * 1000000 };
}

/* One end of a proxy that accepted at `accepted_ms` (-1: never). Return: the wait, -1 if there is no token. */
static int64_t ended(struct backoff *b, const struct backoff_limits *l, int64_t accepted_ms, int64_t now_ms)
{
        int64_t wait = -2;

        if (backoff_ended(b, l, accepted_ms < 0 ? MONO_NEVER : at(accepted_ms), at(now_ms), &wait) == BACKOFF_EXHAUSTED) {
                cr_assert_eq(wait, -2, "a result was written beside the answer that there is none");
                return -1;
        }
        return wait;
}

Test(backoff, waits_double_from_200_ms_to_102_s_and_then_the_tokens_are_gone)
{
        struct backoff b;
        int64_t want = 200;

        backoff_init(&b, &limits);
        for (int i = 0; i < 10; i++, want *= 2) {
                cr_assert_eq(ended(&b, &limits, -1, 0), want, "end %d", i);
                cr_assert_eq(backoff_take(&b), 0);
        }
        cr_assert_eq(want, 204800);
        cr_assert_eq(ended(&b, &limits, -1, 0), -1);
        cr_assert_eq(backoff_take(&b), BACKOFF_EXHAUSTED);
        cr_assert_eq(b.tokens, 0);
}

Test(backoff, a_cap_holds_and_is_not_there_unless_asked_for)
{
        struct backoff_limits capped = limits;
        struct backoff b;

        capped.max_ms = 1000;
        backoff_init(&b, &capped);
        cr_assert_eq(ended(&b, &capped, -1, 0), 200);
        cr_assert_eq(ended(&b, &capped, -1, 0), 400);
        cr_assert_eq(ended(&b, &capped, -1, 0), 800);
        cr_assert_eq(ended(&b, &capped, -1, 0), 1000);
        cr_assert_eq(ended(&b, &capped, -1, 0), 1000);
}

Test(backoff, who_accepted_for_the_stable_time_is_replaced_at_once_and_n_starts_over)
{
        struct backoff b;

        backoff_init(&b, &limits);
        cr_assert_eq(ended(&b, &limits, -1, 0), 200);
        cr_assert_eq(ended(&b, &limits, 1000, 10999), 400, "one ms short of stable");
        cr_assert_eq(ended(&b, &limits, 1000, 11000), 0);
        cr_assert_eq(b.n, 0);
        cr_assert_eq(ended(&b, &limits, -1, 12000), 200);
}

Test(backoff, without_a_token_even_a_stable_one_is_not_replaced)
{
        struct backoff_limits one = limits;
        struct backoff b;

        one.tokens = 1;
        backoff_init(&b, &one);
        cr_assert_eq(ended(&b, &one, 0, 20000), 0);
        cr_assert_eq(backoff_take(&b), 0, "an immediate relaunch takes one too");
        cr_assert_eq(ended(&b, &one, 20000, 40000), -1);
}

Test(backoff, one_token_returns_for_each_refill_time_of_unbroken_serving)
{
        struct backoff b;

        backoff_init(&b, &limits);
        for (int i = 0; i < 5; i++)
                (void)backoff_take(&b);
        backoff_serving(&b, at(1000));
        backoff_refill(&b, &limits, at(60999));
        cr_assert_eq(b.tokens, 5);
        backoff_refill(&b, &limits, at(61000));
        cr_assert_eq(b.tokens, 6);
        backoff_refill(&b, &limits, at(120999));
        cr_assert_eq(b.tokens, 6, "the rest of a minute is not lost and not counted twice");
        backoff_refill(&b, &limits, at(181000));
        cr_assert_eq(b.tokens, 8);
        backoff_refill(&b, &limits, at(100 * 60000));
        cr_assert_eq(b.tokens, 10, "never more than there were");
}

Test(backoff, an_end_breaks_the_serving_that_tokens_return_for)
{
        struct backoff b;

        backoff_init(&b, &limits);
        (void)backoff_take(&b);
        (void)backoff_take(&b);
        backoff_serving(&b, at(0));
        (void)ended(&b, &limits, 0, 59999);
        backoff_refill(&b, &limits, at(200000));
        cr_assert_eq(b.tokens, 8, "nothing serves: nothing returns");
        backoff_serving(&b, at(200000));
        backoff_refill(&b, &limits, at(259999));
        cr_assert_eq(b.tokens, 8, "the broken minute does not count");
        backoff_refill(&b, &limits, at(260000));
        cr_assert_eq(b.tokens, 9);
}

Test(backoff, the_end_itself_still_brings_what_was_earned)
{
        struct backoff b;

        backoff_init(&b, &limits);
        for (int i = 0; i < 10; i++)
                (void)backoff_take(&b);
        backoff_serving(&b, at(0));
        cr_assert_eq(ended(&b, &limits, 0, 60000), 0);
        cr_assert_eq(b.tokens, 1);
}

Test(backoff, changed_content_forgives_all)
{
        struct backoff b;

        backoff_init(&b, &limits);
        for (int i = 0; i < 7; i++) {
                (void)ended(&b, &limits, -1, 0);
                (void)backoff_take(&b);
        }
        backoff_changed(&b, &limits);
        cr_assert_eq(b.tokens, 10);
        cr_assert_eq(ended(&b, &limits, -1, 0), 200);
}

Test(backoff, a_wait_is_a_number_however_many_ends_there_were)
{
        struct backoff_limits rich = limits;
        struct backoff b;
        int64_t last = 0;

        rich.tokens = 1000;
        backoff_init(&b, &rich);
        for (int i = 0; i < 1000; i++) {
                int64_t wait = ended(&b, &rich, -1, 0);

                cr_assert_geq(wait, last);
                cr_assert_gt(mono_after_ms(at(1000), wait).ns, at(1000).ns, "it does not fit into a point in time");
                last = wait;
        }
}
