/* SPDX-License-Identifier: MIT */
/* PURE. What the descriptors of one epoch are called in the keeper's table: the kind and the number, as in kit/7. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum held_kind {
        HELD_RECORD, /* kit/N: the launch record */
        HELD_PARENT, /* parent/N child/N udp/N: the protocol's sockets */
        HELD_CHILD,
        HELD_UDP,
        HELD_BINARY, /* bin/N: the pinned executable */
        HELD_NOTIFY, /* notify/N: where it says READY=1 */
        HELD_KINDS,
};

enum { HELD_NAME_BYTES = 32 };

struct held_name {
        char text[HELD_NAME_BYTES];
};

struct held_name held_name(enum held_kind kind, uint64_t epoch);

/** held_of_name() - Return: false if it is not the name of an epoch's descriptor; nothing is written then */
bool held_of_name(const char *name, enum held_kind *ret_kind, uint64_t *ret_epoch);
