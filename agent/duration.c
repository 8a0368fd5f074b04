/* SPDX-License-Identifier: MIT */
/* PURE. See duration.h. */
#include "agent/duration.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
        const char *name;
        int64_t ms;
} units[] = { { "ms", 1 }, { "s", 1000 }, { "", 1000 }, { "min", 60000 }, { "m", 60000 }, { "h", 3600000 } };

#define LONGEST_MS (INT64_C(10) * 366 * 24 * 3600 * 1000)

int duration_parse(const char *text, int64_t *ret_ms)
{
        int64_t whole = 0, part = 0, scale = 1;
        const char *p = text;

        if (*p < '0' || *p > '9')
                return -EINVAL;
        for (; *p >= '0' && *p <= '9'; p++) {
                if (whole > LONGEST_MS)
                        return -ERANGE;
                whole = whole * 10 + (*p - '0');
        }
        if (*p == '.') {
                if (p[1] < '0' || p[1] > '9')
                        return -EINVAL;
                for (p++; *p >= '0' && *p <= '9'; p++) {
                        if (scale >= 1000000)
                                continue; /* below what is counted */
                        part = part * 10 + (*p - '0');
                        scale *= 10;
                }
        }
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                if (strcmp(p, units[i].name) != 0)
                        continue;
                if (whole > LONGEST_MS / units[i].ms)
                        return -ERANGE;
                *ret_ms = whole * units[i].ms + part * units[i].ms / scale;
                return 0;
        }
        return -EINVAL;
}

const char *duration_text(int64_t ms, char *buf, size_t size)
{
        if (ms < 0)
                (void)snprintf(buf, size, "none");
        else if (ms % 3600000 == 0 && ms > 0)
                (void)snprintf(buf, size, "%" PRId64 "h", ms / 3600000);
        else if (ms % 60000 == 0 && ms > 0)
                (void)snprintf(buf, size, "%" PRId64 "min", ms / 60000);
        else if (ms % 1000 == 0)
                (void)snprintf(buf, size, "%" PRId64 "s", ms / 1000);
        else
                (void)snprintf(buf, size, "%" PRId64 "ms", ms);
        return buf;
}
