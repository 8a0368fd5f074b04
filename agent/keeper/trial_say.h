/* SPDX-License-Identifier: MIT */
/* How both programs of a version say that they can take over, or why not: see trial.h. Apart from it: this writes. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/keeper/trial.h"
#include "agent/keeper/wire.h"

/* trial_say() - the verdict of a version, to who tries it. Return: the exit status that goes with it */
static inline __attribute__((format(printf, 2, 3))) int trial_say(bool good, const char *format, ...)
{
        struct trial_verdict v = { .magic = TRIAL_MAGIC, .good = good, .wire_version = WIRE_VERSION };
        va_list args;

        (void)snprintf(v.version, sizeof(v.version), "%s", BATON_VERSION);
        va_start(args, format);
        (void)vsnprintf(v.text, sizeof(v.text), format, args);
        va_end(args);
        return write(TRIAL_VERDICT_FD, &v, sizeof(v)) == (ssize_t)sizeof(v) && good ? 0 : 1;
}
