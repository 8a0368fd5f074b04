/* SPDX-License-Identifier: MIT */
/*
 * What a check needs from the outside world: one program run with a deadline, one private copy of a text. Neither outlives the
 * check: SIGINT, SIGTERM and SIGHUP wait until both are gone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>

#include "agent/proxy_user.h"

enum { CHECK_OUTPUT_BYTES = 64 * 1024 };

struct check_guard {
        const struct proxy_user *user; /* who the program runs as; NULL: as we do */
        sigset_t before;
        int signal_fd;
};

/** check_guard_begin() - from here on the signals wait. Return: 0; -errno */
int check_guard_begin(struct check_guard *ret);

/** check_guard_end() - a signal that came in the meantime takes effect here */
void check_guard_end(struct check_guard *g);

struct check_output {
        int error;        /* errno of a failed exec, else 0 */
        bool timed_out;
        int status;       /* of its exit, -1 if it did not exit by itself */
        int signal;       /* that ended it, or 0 */
        size_t n;
        char text[CHECK_OUTPUT_BYTES + 1]; /* what it said on stdout and stderr, NUL-terminated; more is read and forgotten */
};

/**
 * check_run() - run it to its end, or for @timeout_ms; with all that it started it is killed then
 * Return: 0: see @ret; -EINTR: a signal came, and it was killed; -errno: it could not be started.
 */
int check_run(const struct check_guard *g, const char *path, char *const *argv, int64_t timeout_ms, struct check_output *ret);

struct check_copy {
        char folder[256], file[320]; /* "": there is none */
};

/** check_copy_make() - a file of a private folder that nobody but @user may read. Return: 0; -errno */
int check_copy_make(const struct proxy_user *user, const char *extension, const char *text, size_t n, struct check_copy *ret);
void check_copy_remove(struct check_copy *c);
