/* SPDX-License-Identifier: MIT */
/* PURE. See held_name.h. */
#include "agent/held_name.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[HELD_KINDS] = {
        [HELD_RECORD] = "kit", [HELD_PARENT] = "parent", [HELD_CHILD] = "child", [HELD_UDP] = "udp", [HELD_BINARY] = "bin", [HELD_NOTIFY] = "notify",
};

struct held_name held_name(enum held_kind kind, uint64_t epoch)
{
        struct held_name n;

        (void)snprintf(n.text, sizeof(n.text), "%s/%" PRIu64, kinds[kind], epoch);
        return n;
}

bool held_of_name(const char *name, enum held_kind *ret_kind, uint64_t *ret_epoch)
{
        const char *slash = strchr(name, '/');
        uint64_t epoch;
        char *end;

        if (!slash || slash[1] < '0' || slash[1] > '9')
                return false;
        errno = 0;
        epoch = strtoull(slash + 1, &end, 10);
        if (errno || *end)
                return false;
        for (int k = 0; k < HELD_KINDS; k++) {
                size_t n = strlen(kinds[k]);

                if ((size_t)(slash - name) != n || memcmp(name, kinds[k], n) != 0)
                        continue;
                *ret_kind = (enum held_kind)k;
                *ret_epoch = epoch;
                return true;
        }
        return false;
}
