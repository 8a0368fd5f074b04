/* SPDX-License-Identifier: MIT */
/* The keeper replaces itself by the next version of its program. Private to this folder. */
#pragma once

#include "agent/keeper/keeper.h"

enum {
        SELF_TRY_MS = 10000, /* so long a new version has to say that it can take over */
};

/**
 * self_begin() - try the program at @path, and if it is good become it
 * @path:    absolute; "": where our own program was when it was started
 * @ticket:  what the end is told with; a repeat with that of the one that is tried is no second one. 0: none
 *
 * Returns at once; the end is told by WIRE_SELF_ENDED, by whoever is the keeper then.
 *
 * Return: 0; -EALREADY: one is tried now; -ESHUTDOWN: all is ending; -EINVAL; another -errno: nothing was begun.
 */
int self_begin(struct keeper *k, const char *path, uint64_t ticket);

void self_sweep(struct keeper *k); /* before anything is reaped: what a try that ended has left running shall go */
bool self_reaped(struct keeper *k, pid_t pid, int code, int status); /* false: not the try */
void self_tick(struct keeper *k, struct mono now); /* does not return if this keeper is replaced */
struct mono self_deadline(const struct keeper *k);
bool self_is_tried(const struct keeper *k);

/** self_map() - an image in a sealed memfd. Return: 0, to be unmapped; -errno */
int self_map(int fd, const void **ret, size_t *ret_bytes);

/* try.c: the whole life of `baton run --try`; @argv begins with the name of the agent and TRIAL_WORD. Return: its exit status */
int try_run(const char *agent_path, char **argv);
