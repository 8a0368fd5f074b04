/* SPDX-License-Identifier: MIT */
/*
 * A small repeatable generator (splitmix64) for random histories: a seed printed by a failed test replays it on any
 * machine. Never two draws in one argument list: which comes first is up to the compiler.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct prng {
        uint64_t state; /* the seed */
};

static inline uint64_t prng_next(struct prng *p)
{
        uint64_t z = (p->state += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

/* From 0 to limit - 1; the slight bias of the remainder does not matter here. */
static inline uint64_t prng_below(struct prng *p, uint64_t limit)
{
        return limit ? prng_next(p) % limit : 0;
}

static inline bool prng_one_in(struct prng *p, uint64_t n)
{
        return prng_below(p, n) == 0;
}
