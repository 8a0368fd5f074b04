/* SPDX-License-Identifier: MIT */
/*
 * Is what lies on disk still what was put to work? baton-watch, a child of the agent, says where to look again; when nothing has
 * moved for --debounce the content is read and its digest becomes ON_SEEN. What follows from that is succession_auto.c's.
 */
#pragma once

#include <ev.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/digest.h"
#include "agent/options.h"

struct agent;
struct kit_maker;

struct watching {
        struct agent *agent;
        char config[PATH_MAX];  /* of the command that is watched for; "" : it has none */
        int pid, pidfd, in, out; /* of baton-watch; 0 and -1: it does not run */
        ev_io said, ended;
        ev_timer again;          /* it could not be started, or has died */
        ev_timer settle;         /* nothing has moved for the debounce */
        ev_timer hourly;
        double since;            /* the first of the changes that are waited for; 0: none */
        size_t n;                /* of a line that is not complete */
        char line[PATH_MAX + 512];
        bool warned;             /* that it cannot be started */
        bool died;               /* and that was said */
};

/** watching_start() - from the loop's first turn on; costs nothing where nothing is to be watched */
void watching_start(struct agent *a);

/** watching_update() - another command may be the one whose config counts */
void watching_update(struct agent *a);

/** watching_digest() - of what is read for a kit, as it is now */
struct digest watching_digest(const struct agent *a, const struct kit_maker *m);
