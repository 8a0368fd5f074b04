/* SPDX-License-Identifier: MIT */
/* See clock.h. */
#include "agent/clock.h"

#include <stdio.h>
#include <time.h>

struct mono clock_now(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (struct mono){ (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec };
}

const char *clock_wall(char *buf, size_t size)
{
        struct timespec ts;
        struct tm tm;
        char seconds[32];

        (void)clock_gettime(CLOCK_REALTIME, &ts);
        if (!gmtime_r(&ts.tv_sec, &tm) || strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
                seconds[0] = '\0';
        (void)snprintf(buf, size, "%s.%03ldZ", seconds, ts.tv_nsec / 1000000);
        return buf;
}
