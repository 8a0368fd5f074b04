/* SPDX-License-Identifier: MIT */
/*
 * Helper runs: a program that the keeper runs for us, such as `PROXY --mode validate`, its output caught in a memfd, with a
 * deadline. One at a time in each struct.
 */
#pragma once

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/keeper/wire.h"

struct agent;

enum { HELPER_OUTPUT_BYTES = 64 * 1024, HELPER_OUT_NAME_BYTES = 48 };

struct helper_result {
        bool timed_out;
        const struct wire_job *job; /* NULL: it timed out */
        const char *text;           /* what it printed, both outputs in one; not terminated */
        size_t n;
};

struct helper {
        struct agent *agent;
        bool running;
        uint64_t job;
        int out, pidfd;
        ev_timer timer;
        void (*done)(struct agent *a, const struct helper_result *r);
};

void helper_init(struct helper *h, struct agent *a, void (*done)(struct agent *a, const struct helper_result *r));

/** helper_begin() - a number for the next run; @ret_out is the name of its output, for the launch record */
void helper_begin(struct helper *h, char ret_out[HELPER_OUT_NAME_BYTES]);

/**
 * helper_run() - after helper_begin()
 * @record:  the launch record; stays the caller's
 *
 * Return: 0: done() is called from the loop; -errno: it is not.
 */
int helper_run(struct helper *h, int record, int64_t timeout_ms);

/** helper_cancel() - its end is nobody's business any more; it is killed */
void helper_cancel(struct helper *h);

/** helper_ended() - the keeper says that a job ended. Return: false: it is not ours */
bool helper_ended(struct helper *h, const struct wire_job *job);
