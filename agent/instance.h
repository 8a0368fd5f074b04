/* SPDX-License-Identifier: MIT */
/*
 * Which run directory: --run-dir, $BATON_RUN_DIR, $RUNTIME_DIRECTORY, /run/baton/NAME, $XDG_RUNTIME_DIR/baton/NAME,
 * /tmp/baton-UID/NAME. The agent wants one that it can make and lock; a client verb one where a control.sock answers it.
 */
#pragma once

#include <stddef.h>

enum { INSTANCE_PATH_BYTES = 256, INSTANCE_CANDIDATES_MAX = 6 };

struct instance_candidates {
        size_t n;
        char paths[INSTANCE_CANDIDATES_MAX][INSTANCE_PATH_BYTES];
        int explicit_first; /* the first was named by the user: no other is tried */
};

/** instance_candidates() - in order. @run_dir, @name: from the options, "" if not given; the rest from the environment */
void instance_candidates(const char *run_dir, const char *name, struct instance_candidates *ret);

enum { INSTANCE_E_USAGE = 1, INSTANCE_E_TAKEN = 2, INSTANCE_E_NONE = 3 };

struct instance_error {
        char text[512];
};

/**
 * instance_create_and_lock() - make the directory (0711) and lock it
 * @ret_lock:  the locked directory; the lock lasts as long as a copy of this descriptor is open
 *
 * Return: 0; INSTANCE_E_USAGE: the path is too long for socket names; INSTANCE_E_TAKEN: a living instance has it;
 * INSTANCE_E_NONE: no candidate can be used. @reterr is a whole line for the user.
 */
int instance_create_and_lock(const char *run_dir, const char *name, char *ret_dir, size_t size, int *ret_lock,
                             struct instance_error *reterr);

/** instance_of_lock() - the path of a lock descriptor. Return: 0; -errno */
int instance_of_lock(int lock_fd, char *ret_dir, size_t size);

/** instance_find() - the run directory whose control socket may be connected to, the first in order.
 * Return: 0; INSTANCE_E_NONE with all that was tried */
int instance_find(const char *run_dir, const char *name, char *ret_dir, size_t size, struct instance_error *reterr);
