/* SPDX-License-Identifier: MIT */
/* Launch records of any origin: what launch_check() calls sound can be walked to its end without leaving it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/keeper/record.h"
#include "agent/keeper/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const char *base, uint32_t offset, uint32_t n)
{
        const char *s = base + offset;

        for (uint32_t i = 0; i < n; i++)
                s += strlen(s) + 1;
        return (size_t)(s - base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *base = (const char *)data;
        struct launch_record r;

        if (launch_check(data, size) != 0)
                return 0;
        memcpy(&r, data, sizeof(r));
        if (r.n_args == 0 || walk(base, r.args, r.n_args) > size || walk(base, r.env, r.n_env) > size)
                abort();
        if (walk(base, r.path, 1) > size || walk(base, r.cwd, 1) > size || strlen(base + r.binary) >= WIRE_NAME_BYTES ||
            strlen(base + r.out) >= WIRE_NAME_BYTES || strlen(base + r.err) >= WIRE_NAME_BYTES)
                abort();
        for (uint32_t i = 0; i < r.n_listen; i++)
                if (i >= LAUNCH_LISTEN_MAX || !*(base + r.listen[i]) || walk(base, r.listen_name[i], 1) > size)
                        abort();
        if (r.n_groups > LAUNCH_GROUPS_MAX)
                abort();
        return 0;
}
