/* SPDX-License-Identifier: MIT */
/*
 * The HTTP servers: control on a Unix socket for the same user and root, status on whatever addresses the user gives. Routes
 * and limits are here (docs/operations.md lists them); what is true and what is done comes from the callbacks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/json.h"
#include "agent/metrics/metrics.h"

struct control;
struct ev_loop;

enum control_command {
        CONTROL_STOP, CONTROL_DRAIN, CONTROL_DRAIN_UNDO, CONTROL_UPGRADE, CONTROL_ROLLBACK, CONTROL_PAUSE, CONTROL_RESUME,
};

enum { CONTROL_NOT_IN_THIS_VERSION = 1 };

struct control_args {
        const char *body; /* of the request, at most 64 KB */
        size_t n;
};

struct control_ops {
        void *ud;
        void (*status)(void *ud, struct json_writer *w);
        /* Is a sample of what the proxies do under way? With @start one is begun, unless the last is not a second old. */
        bool (*sampling)(void *ud, bool start);
        bool (*ready)(void *ud, char *reason, size_t n);
        bool (*live)(void *ud, char *reason, size_t n);
        /* Return: 0; CONTROL_NOT_IN_THIS_VERSION; @detail is for people */
        int (*command)(void *ud, enum control_command c, const struct control_args *args, char *detail, size_t n);
        void (*metrics)(void *ud, struct metrics_writer *w);
};

enum control_kind { CONTROL_PRIVATE, CONTROL_STATUS };

int control_new(struct ev_loop *loop, const struct control_ops *ops, struct control **ret); /* 0; -ENOMEM */
int control_serve(struct control *c, int listen_fd, enum control_kind kind);                /* 0; -errno; fd is its from now on */
void control_changed(struct control *c); /* something may have become true that a client waits for */
void control_free(struct control *c);

/** control_open_unix() - a listening socket; a stale file of that name goes. Return: 0; -errno */
int control_open_unix(const char *path, unsigned mode, int *ret_fd);

/** control_open_status() - for one --status ADDR. Return: 0; -errno with @reterr for people */
int control_open_status(const char *address, int *ret_fd, char *reterr, size_t size);
