/* SPDX-License-Identifier: MIT */
/* PURE. See backoff.h. */
#include "agent/backoff.h"

void backoff_init(struct backoff *b, const struct backoff_limits *l)
{
        *b = (struct backoff){ .n = 0, .tokens = l->tokens, .counted = MONO_NEVER };
}

void backoff_serving(struct backoff *b, struct mono now)
{
        b->counted = now;
}

void backoff_refill(struct backoff *b, const struct backoff_limits *l, struct mono now)
{
        int64_t refill_ns = l->refill_ms * 1000000;
        int64_t due;

        if (mono_is_never(b->counted))
                return;
        if (refill_ns <= 0) {
                b->tokens = l->tokens;
                b->counted = now;
                return;
        }
        if (now.ns - b->counted.ns < refill_ns)
                return;
        due = (now.ns - b->counted.ns) / refill_ns;
        b->counted.ns += due * refill_ns;
        if (due > l->tokens - b->tokens)
                due = l->tokens - b->tokens;
        b->tokens += (int32_t)due;
}

static int64_t wait_ms(const struct backoff *b, const struct backoff_limits *l)
{
        int64_t wait = l->initial_ms;

        for (uint32_t i = 1; i < b->n && wait < INT64_MAX / 4000000; i++)
                wait *= 2;
        return l->max_ms >= 0 && wait > l->max_ms ? l->max_ms : wait;
}

int backoff_ended(struct backoff *b, const struct backoff_limits *l, struct mono accepted, struct mono now,
                  int64_t *ret_wait_ms)
{
        bool stable = !mono_is_never(accepted) && !mono_before(now, mono_after_ms(accepted, l->stable_ms));

        backoff_refill(b, l, now);
        b->counted = MONO_NEVER;
        b->n = stable ? 0 : b->n + 1;
        if (b->tokens <= 0)
                return BACKOFF_EXHAUSTED;
        *ret_wait_ms = stable ? 0 : wait_ms(b, l);
        return 0;
}

int backoff_take(struct backoff *b)
{
        if (b->tokens <= 0)
                return BACKOFF_EXHAUSTED;
        b->tokens--;
        return 0;
}

void backoff_changed(struct backoff *b, const struct backoff_limits *l)
{
        b->n = 0;
        b->tokens = l->tokens;
}
