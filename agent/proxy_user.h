/* SPDX-License-Identifier: MIT */
/*
 * Who the proxy runs as. Looked up once, when the options are parsed, and kept with them: an agent that starts later must not
 * depend on a directory service, nor find somebody else under the name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/cleanup.h"

enum { PROXY_GROUPS_MAX = 64 };

struct proxy_user {
        bool other; /* than baton itself; else nothing below counts, and nothing is changed */
        uint32_t uid, gid, n_groups;
        uint32_t groups[PROXY_GROUPS_MAX];
};

struct proxy_user_error {
        char text[384];
};

enum { PROXY_USER_E_REFUSED = 1 };

/**
 * proxy_user_resolve() - may block: it asks the system's user database
 * @text:  USER, UID, USER:GROUP, UID:GID; "": as baton itself
 *
 * A number needs no entry; without one its group is the same number and it has no others. Refused as well what this process has
 * no right to do.
 *
 * Return: 0; PROXY_USER_E_REFUSED: @reterr says why.
 */
int proxy_user_resolve(const char *text, struct proxy_user *ret, struct proxy_user_error *reterr);

/** proxy_user_become() - for good, between fork and exec. Return: 0; -errno */
int proxy_user_become(const struct proxy_user *u);

/* What a thread was before it began to see files as the proxy does. */
struct proxy_user_view {
        bool entered;
        uid_t uid;
        gid_t gid;
        int dumpable;
        int n_groups; /* -1: left as they are */
        gid_t groups[PROXY_GROUPS_MAX];
};

/**
 * proxy_user_view() - until proxy_user_leave(), what this thread opens is opened by the proxy's right, and a socket is its own
 *
 * All else goes by the right of this process: a low port can be bound, signals reach who they reach. For a few system calls in
 * between; AS_THE_PROXY() does it for the rest of a block.
 */
struct proxy_user_view proxy_user_view(const struct proxy_user *u);
void proxy_user_leave(struct proxy_user_view *v);
#define AS_THE_PROXY(u) CLEANUP(proxy_user_leave) __attribute__((unused)) struct proxy_user_view as_the_proxy_ = proxy_user_view(u)

/** proxy_user_reaches() - may it pass through all folders to this path, and to what is in it? Return: 0; -EACCES and the like */
int proxy_user_reaches(const struct proxy_user *u, const char *folder);
