/* SPDX-License-Identifier: MIT */
/* PURE. SHA-256 of content, as plain data. All zeros: not known. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct digest {
        uint8_t bytes[32];
};

static inline bool digest_same(const struct digest *a, const struct digest *b)
{
        return memcmp(a, b, sizeof(*a)) == 0;
}

static inline bool digest_known(const struct digest *d)
{
        return !digest_same(d, &(struct digest){ { 0 } });
}
