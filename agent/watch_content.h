/* SPDX-License-Identifier: MIT */
/*
 * While nothing may be launched: tell (ON_CONTENT) when the config on disk differs from a baseline in its bytes, or when the path of
 * the proxy's program leads to another file. This is not the watching of a serving instance (see watching.h: a program that is
 * replaced under one that serves is only told as stale): it runs only during a wait. What it compares with is kept from one wait to
 * the next, from the first relaunch on, until something has served again: what was mended while a start ran is a change, and what was
 * tried is none. A new agent begins anew.
 */
#pragma once

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "agent/effects.h"

struct agent;
struct kit_maker;

struct content_wait {
        bool on;
        uint64_t epoch;          /* whose command line names what is looked at */
        ev_timer look;           /* each second: has one of the two moved? */
        ev_timer settle;         /* the config has not moved for the debounce */
        struct stat seen_config, seen_program; /* at the last look; all 0: it was not there */
        bool based;              /* there is a baseline: these */
        uint64_t served;         /* what had served when it was taken */
        char *config;            /* NULL: none, or it could not be read */
        size_t config_bytes;
        struct stat program;
};

void watch_content(struct agent *a, uint64_t epoch, enum content_watch how);

/** watch_content_tried() - what is on disk is about to be read for a kit, whoever saw it first; @program: as it was pinned */
void watch_content_tried(struct agent *a, const struct kit_maker *m, const struct stat *program);
