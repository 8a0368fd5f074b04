/* SPDX-License-Identifier: MIT */
/*
 * How a next version is tried before anything is replaced by it. The keeper runs `baton run --try` of the new program
 * with copies of what it would have to take over, at the descriptors below and no others: a version that goes astray
 * can reach neither the wire nor a listen socket. That one runs its own `baton-agent --try` in the same way. Each says
 * what it found by one struct and exits with 0; whoever says nothing has not passed.
 *
 * The two ends may come from different versions: what is here keeps its place, and anything new goes behind it.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#define TRIAL_MAGIC 0x79727462u
#define TRIAL_WORD "--try"
#define TAKE_OVER_WORD "--taken-over=" /* and the number of the descriptor of the image */

enum {
        TRIAL_IMAGE_FD = 3,   /* the keeper's image, sealed */
        TRIAL_VERDICT_FD = 4, /* a pipe */
        TRIAL_OPTIONS_FD = 5, /* the sealed options, if there are any */
        TRIAL_STATE_FD = 6,   /* the agent's state file, only to be read, if there is one */
        TRIAL_FDS_END = 7,
        TRIAL_TEXT_BYTES = 256,
        VERSION_BYTES = 32,
};

struct trial_verdict {
        uint32_t magic;
        uint32_t good;         /* 1: it can take over */
        uint32_t wire_version; /* that it speaks */
        uint32_t reserved;
        char version[VERSION_BYTES];
        char text[TRIAL_TEXT_BYTES]; /* why not */
};
static_assert(sizeof(struct trial_verdict) == 304, "another version reads these bytes as well");
