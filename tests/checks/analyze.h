/* SPDX-License-Identifier: MIT */
/*
 * Put before each file by analyze.py: what the analyzers do not know, and everything here relies on. Behind a call that failed
 * errno is above 0, so that `return -errno` is below 0, and whoever looks at a result has one.
 */
#pragma once

#include <errno.h>

static inline int *errno_of_a_failure(void)
{
#ifdef __clang_analyzer__ /* follows no minus before an unknown value: one stands for all */
        static int e;

        e = EIO;
        return &e;
#else
        int *e = __errno_location();

        if (*e <= 0)
                __builtin_unreachable();
        return e;
#endif
}

#undef errno
#define errno (*errno_of_a_failure())
