/* SPDX-License-Identifier: MIT */
/* See table.h. Searches one by one: a few hundred short strings are compared faster than anything is hashed. */
#include "agent/keeper/table.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static uint32_t find(const struct table *t, const char *name)
{
        uint32_t i = 0;

        while (i < t->n && strcmp(table_name(t, i), name) != 0)
                i++;
        return i;
}

int table_fd(const struct table *t, const char *name)
{
        uint32_t i = find(t, name);

        return i < t->n ? t->fd[i] : -1;
}

int table_put(struct table *t, const char *name, int fd)
{
        size_t bytes = strnlen(name, WIRE_NAME_BYTES) + 1;
        uint32_t i;

        if (bytes < 2 || bytes > WIRE_NAME_BYTES)
                return -EINVAL;
        i = find(t, name);
        if (i < t->n) {
                (void)close(t->fd[i]);
                t->fd[i] = fd;
                return 0;
        }
        if (t->n == TABLE_MAX)
                return -ENOSPC;
        memcpy(t->text + t->text_bytes, name, bytes);
        t->name[t->n] = t->text_bytes;
        t->fd[t->n] = fd;
        t->text_bytes += (uint32_t)bytes;
        t->n++;
        return 0;
}

void table_drop(struct table *t, const char *name)
{
        uint32_t i = find(t, name);
        uint32_t from, bytes;

        if (i == t->n)
                return;
        (void)close(t->fd[i]);
        from = t->name[i];
        bytes = (uint32_t)strlen(table_name(t, i)) + 1;
        memmove(t->text + from, t->text + from + bytes, t->text_bytes - from - bytes);
        t->text_bytes -= bytes;
        t->n--;
        for (; i < t->n; i++) {
                t->fd[i] = t->fd[i + 1];
                t->name[i] = t->name[i + 1] - bytes;
        }
}
