/* SPDX-License-Identifier: MIT */
/*
 * Who has accepted a connection? That connect() succeeds proves nothing where the listen socket is held by others too: the
 * kernel completes connections into its queue. But the other end of a connection has an inode only once it was accepted, and
 * the descriptors of a process tell whose it is. Asks the kernel, never blocks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/proxy_user.h"

enum { ACCEPTED_NOT = 1, ACCEPTED_UNKNOWN = 2 };

/**
 * accepted_inode() - of the other end of a connected stream socket
 *
 * Return: 0; ACCEPTED_NOT: it waits in the queue; ACCEPTED_UNKNOWN: it is not on this machine, or the kernel does not tell.
 */
int accepted_inode(int fd, uint64_t *ret);

/** accepted_by() - has a process of this session, or one that descends from its leader, that socket? True if nobody may look */
bool accepted_by(const struct proxy_user *u, int leader, uint64_t inode);

/**
 * process_has() - an open socket whose inode @fits
 *
 * Looked at by the proxy's right. Return: 1; 0; -errno: it may not be looked into, or has gone.
 */
int process_has(const struct proxy_user *u, int pid, bool (*fits)(const void *arg, uint64_t inode), const void *arg);

/* What the kernel says of a process. */
struct proc_stat {
        char state; /* as in proc(5): Z a zombie */
        int parent;
        unsigned flags; /* of the kernel: PF_... */
};

/** proc_stat_read() - Return: false: it has gone, or may not be looked at */
bool proc_stat_read(int pid, struct proc_stat *ret);

/** belongs_to() - is this process of the session of @leader, or descends from it? */
bool belongs_to(int leader, int pid);
