/* SPDX-License-Identifier: MIT */
/*
 * The descriptors that the keeper holds, by name. It owns them and never looks into them. A fixed piece of
 * untouched memory: the names lie one behind the other, so that few names touch few pages and a run of names
 * is at once the payload of a WIRE_HELD. No allocation, no I/O but close().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/keeper/wire.h"

/* All the listen sockets that an agent can know (4096), the launch kits of 64 generations, and the rest. */
enum { TABLE_MAX = 5120 };

struct table {
        uint32_t n;
        uint32_t text_bytes;
        int fd[TABLE_MAX];
        uint32_t name[TABLE_MAX]; /* offset into text */
        char text[TABLE_MAX * WIRE_NAME_BYTES];
};

/** table_fd() - the descriptor held under @name; the table keeps it. Return: it, or -1 */
int table_fd(const struct table *t, const char *name);

/**
 * table_put() - hold a descriptor
 * @name:  1 to WIRE_NAME_BYTES - 1 characters; what was held under it before is closed
 * @fd:    the table owns it from here, but only if the answer is 0
 *
 * Return: 0; -EINVAL for such a name; -ENOSPC.
 */
int table_put(struct table *t, const char *name, int fd);

/** table_drop() - close what is held under @name; an unknown name is as good */
void table_drop(struct table *t, const char *name);

static inline const char *table_name(const struct table *t, uint32_t i)
{
        return t->text + t->name[i];
}
