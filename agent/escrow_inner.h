/* SPDX-License-Identifier: MIT */
/*
 * PURE. What the rules about the table of sockets share. Private to them.
 *
 *   escrow.c        what is held, handed on, silenced, closed; what a look shows
 *   escrow_trial.c  an epoch on trial, its commit, and what leaves then
 */
#pragma once

#include "agent/escrow.h"

static inline bool escrow_is_tcp(const struct escrow_key *k)
{
        return !hr_key_is_udp(&k->key) && !hr_key_is_unix(&k->key);
}

/* What was opened for an epoch is held like any other. */
static inline void escrow_keep_opened(struct escrow_key *k)
{
        if (k->opened)
                k->inode = k->opened;
        k->opened = 0;
}

/* What the look brought for this key. Return: NULL: nothing, it did not ask for it */
static inline const struct look_key *escrow_looked_at(const struct look *look, uint32_t key)
{
        for (size_t i = 0; i < look->n; i++)
                if (look->keys[i].key == key)
                        return &look->keys[i];
        return NULL;
}

/* Ours is closed; whoever else has the socket keeps it. */
void escrow_close_key(struct escrow *e, uint32_t i, struct effects *out);

/* Who connects is refused, whoever else has the socket. Not UDP, where nobody connects, and not what is inherited. */
void escrow_silence_key(struct escrow *e, uint32_t i, struct effects *out);
