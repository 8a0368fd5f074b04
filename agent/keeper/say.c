/* SPDX-License-Identifier: MIT */
/*
 * The keeper's own troubles, one line each on stderr. A stderr that nobody reads must not stop the keeper: what
 * would block is lost. No stdio stream and no heap.
 */
#include <stdarg.h>
#include <stdio.h>

#include "agent/keeper/keeper.h"
#include "agent/stderr_line.h"

void say(const char *event, const char *format, ...)
{
        char line[1024];
        va_list args;
        int n, m;

        n = snprintf(line, sizeof(line), "level=error event=%s ", event);
        va_start(args, format);
        m = vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
        va_end(args);
        if (m < 0)
                return;
        n += m;
        if ((size_t)n > sizeof(line) - 1)
                n = (int)sizeof(line) - 1;
        line[n] = '\n'; /* in place of the NUL */
        (void)stderr_line(line, (size_t)n + 1);
}
