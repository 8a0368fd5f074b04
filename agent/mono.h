/* SPDX-License-Identifier: MIT */
/*
 * Points in time are structs and durations are integers whose names end in their unit, so the compiler tells them apart.
 * Nothing here reads a clock: clock.h does.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mono {
        int64_t ns; /* CLOCK_MONOTONIC */
};

#define MONO_NEVER ((struct mono){ INT64_MAX })

static inline struct mono mono_after_ms(struct mono t, int64_t ms)
{
        return (struct mono){ t.ns + ms * 1000000 };
}

static inline bool mono_before(struct mono a, struct mono b)
{
        return a.ns < b.ns;
}

static inline bool mono_is_never(struct mono t)
{
        return t.ns == INT64_MAX;
}

/* Milliseconds from a to b, rounded up, so that a timer set to it does not fire early. */
static inline int64_t mono_ms_between(struct mono a, struct mono b)
{
        return (b.ns - a.ns + 999999) / 1000000;
}

static inline struct mono mono_min(struct mono a, struct mono b)
{
        return mono_before(a, b) ? a : b;
}
