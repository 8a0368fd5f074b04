/* SPDX-License-Identifier: MIT */
/*
 * The keeper's image of any origin: what is taken is sound (names that end, numbers in their place), and what is made
 * of it again is read as the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/keeper/keeper_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keeper k, again;

/* Far less than all of it is ever touched by an input. */
static void forget(struct keeper *p)
{
        memset(p, 0, offsetof(struct keeper, table));
        p->table.n = p->table.text_bytes = 0;
}

static void check(const struct keeper *p)
{
        uint32_t at = 0;

        if (p->table.n > TABLE_MAX || p->jobs.top > JOBS_MAX || p->pid <= 0 || !memchr(p->version, 0, sizeof(p->version)))
                abort();
        for (uint32_t i = 0; i < p->table.n; i++) {
                size_t n = strlen(table_name(&p->table, i));

                if (p->table.name[i] != at || n == 0 || n >= WIRE_NAME_BYTES || p->table.fd[i] < 0)
                        abort();
                at += (uint32_t)n + 1;
        }
        for (uint32_t i = 0; i < p->jobs.top; i++)
                if (p->jobs.list[i].used && (p->jobs.list[i].pidfd >= 0) != (p->jobs.list[i].record.code == 0))
                        abort();
        if (at != p->table.text_bytes)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        void *copy = malloc(size ? size : 1), *written, *twice;
        size_t n;

        if (!copy)
                return 0;
        memcpy(copy, data, size);
        forget(&k);
        forget(&again);
        if (keeper_image_read(copy, size, &k) == 0) {
                check(&k);
                n = keeper_image_bytes(&k);
                written = malloc(2 * n);
                if (!written)
                        abort();
                twice = (char *)written + n;
                keeper_image_write(&k, written);
                if (keeper_image_read(written, n, &again) != 0 || keeper_image_bytes(&again) != n)
                        abort();
                keeper_image_write(&again, twice);
                if (memcmp(written, twice, n) != 0)
                        abort();
                free(written);
        }
        free(copy);
        return 0;
}
