/* SPDX-License-Identifier: MIT */
/* Random lives against the purse, and against a simpler way to count: tokens never negative, never above their number. */
#include <criterion/criterion.h>

#include <inttypes.h>

#include "agent/backoff.h"
#include "tests/support/counts.h"
#include "tests/support/prng.h"

static int64_t below(struct prng *rng, uint64_t limit)
{
        return (int64_t)prng_below(rng, limit);
}

struct life {
        struct backoff b;
        struct backoff_limits l;
        int64_t now_ms, serving_ms; /* -1: nothing serves */
        int64_t returned;           /* tokens for this unbroken serving, counted minute by minute */
        int32_t tokens;
};

static struct mono at(int64_t ms)
{
        return (struct mono){ ms * 1000000 };
}

/* The model earns at every whole refill time since serving began, one by one. */
static void earn(struct life *f)
{
        while (f->serving_ms >= 0 && f->serving_ms + (f->returned + 1) * f->l.refill_ms <= f->now_ms) {
                f->returned++;
                f->tokens += f->tokens < f->l.tokens;
        }
}

static void end(struct life *f, uint64_t seed)
{
        struct mono accepted = f->serving_ms < 0 ? MONO_NEVER : at(f->serving_ms);
        bool stable = f->serving_ms >= 0 && f->now_ms - f->serving_ms >= f->l.stable_ms;
        int64_t wait = -1;
        int r = backoff_ended(&f->b, &f->l, accepted, at(f->now_ms), &wait);

        f->serving_ms = -1;
        cr_assert_eq(r, f->tokens > 0 ? 0 : BACKOFF_EXHAUSTED, "seed %" PRIu64, seed);
        cr_assert_eq(f->b.n == 0, stable, "seed %" PRIu64, seed);
        if (r != 0)
                return;
        cr_assert(stable ? wait == 0 : wait >= (f->l.max_ms >= 0 && f->l.max_ms < f->l.initial_ms ? f->l.max_ms : f->l.initial_ms),
                  "seed %" PRIu64 ": waits %" PRId64, seed, wait);
        cr_assert(f->l.max_ms < 0 || wait <= f->l.max_ms, "seed %" PRIu64, seed);
        cr_assert_eq(backoff_take(&f->b), 0);
        f->tokens--;
}

static void one_step(struct life *f, struct prng *rng, uint64_t seed)
{
        f->now_ms += below(rng, 100000);
        earn(f);
        switch (prng_below(rng, 4)) {
        case 0:
                end(f, seed);
                break;
        case 1:
                if (f->serving_ms < 0) {
                        backoff_serving(&f->b, at(f->now_ms));
                        f->serving_ms = f->now_ms;
                        f->returned = 0;
                }
                break;
        case 2:
                backoff_refill(&f->b, &f->l, at(f->now_ms));
                cr_assert_eq(f->b.tokens, f->tokens, "seed %" PRIu64 ": %d tokens, not %d", seed, f->b.tokens, f->tokens);
                break;
        default:
                if (prng_one_in(rng, 20)) {
                        backoff_refill(&f->b, &f->l, at(f->now_ms));
                        backoff_changed(&f->b, &f->l);
                        f->tokens = f->l.tokens;
                }
        }
        cr_assert(f->b.tokens >= 0 && f->b.tokens <= f->l.tokens, "seed %" PRIu64 ": %d tokens", seed, f->b.tokens);
}

Test(backoff, the_purse_agrees_with_one_that_is_counted_token_by_token)
{
        for (uint64_t seed = 1; seed <= count_of(100000, 5000); seed++) {
                struct prng rng = { seed };
                struct life f = { .serving_ms = -1 };

                f.l.initial_ms = 1 + below(&rng, 1000);
                f.l.max_ms = prng_one_in(&rng, 2) ? -1 : below(&rng, 10000);
                f.l.stable_ms = below(&rng, 50000);
                f.l.refill_ms = 1000 + below(&rng, 100000);
                f.l.tokens = (int32_t)(1 + below(&rng, 12));
                f.tokens = f.l.tokens;
                backoff_init(&f.b, &f.l);
                for (int i = 0; i < 100; i++)
                        one_step(&f, &rng, seed);
        }
}
