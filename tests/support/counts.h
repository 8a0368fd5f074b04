/* SPDX-License-Identifier: MIT */
/* How often a test repeats itself: few times in `./test`, all of them in `./test --long`. */
#pragma once

#include <stdlib.h>

static inline unsigned long count_of(unsigned long full, unsigned long quick)
{
        const char *wish = getenv("BATON_TEST_LONG");

        return wish && *wish == '1' ? full : quick;
}
