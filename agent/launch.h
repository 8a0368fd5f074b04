/* SPDX-License-Identifier: MIT */
/*
 * Launch records: everything that the keeper's child needs to know between fork and exec, made by the agent in
 * advance. What a record says is decided elsewhere; here it is only written down.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/keeper/record.h"
#include "agent/keeper/wire.h"

/* All pointers are only read during launch_seal(); NULL stands for "" or for an empty list. */
struct launch {
        const char *const *argv; /* NULL-terminated, at least one word */
        const char *const *envp; /* the whole environment; LISTEN_* in it are left out, ours come instead */
        const char *path;        /* what to execute, as long as it leads to the binary or none is given */
        const char *binary;      /* name of a held descriptor: what to execute if the path leads elsewhere by now */
        const char *cwd;
        const char *out, *err;   /* names of held descriptors for 1 and 2; not given: inherited untouched */
        uint32_t flags;          /* LAUNCH_SET_IDS, LAUNCH_DEATH_SIGNAL, LAUNCH_CHOWN_OUTPUT */
        uid_t uid;
        gid_t gid;
        const gid_t *groups;
        size_t n_groups;         /* at most LAUNCH_GROUPS_MAX */
        int32_t oom_score_adj;   /* INT32_MIN: leave it */
        const char *const *listen;       /* names of held descriptors that become 3... */
        const char *const *listen_names; /* what LISTEN_FDNAMES calls them, n_listen of them; NULL: "unknown" */
        size_t n_listen;         /* at most LAUNCH_LISTEN_MAX */
        uint64_t nofile_soft, nofile_hard; /* 0: leave it */
};

/**
 * launch_seal() - write a launch record into a new sealed memfd
 * @l:       what to launch
 * @ret_fd:  the caller owns it, and gives it to the keeper by keeper_link_hold() under a name such as kit/7
 *
 * The descriptor is close-on-exec; nobody can change the record any more. Does not block.
 *
 * Return: 0; -EINVAL if it breaks a limit or has neither path nor binary nor words; -E2BIG above
 * LAUNCH_BYTES_MAX; -ENOMEM; another -errno of memfd_create().
 */
int launch_seal(const struct launch *l, int *ret_fd);
