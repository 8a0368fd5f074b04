/* SPDX-License-Identifier: MIT */
/*
 * The HTTP servers: control on a Unix socket for the same user and root, status on whatever addresses the user gives, the
 * front of the proxy's admin. Routes and limits are here (docs/operations.md lists them); what is true and what is done comes
 * from the callbacks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/json.h"
#include "agent/metrics/metrics.h"
#include "agent/order.h"

struct control;
struct ev_loop;
struct front;

enum control_command {
        CONTROL_STOP, CONTROL_DRAIN, CONTROL_DRAIN_UNDO, CONTROL_UPGRADE, CONTROL_ROLLBACK, CONTROL_PAUSE, CONTROL_RESUME,
};

enum { CONTROL_REFUSED = 1 };

enum control_ticket { CONTROL_TICKET_UNKNOWN, CONTROL_TICKET_WAITS, CONTROL_TICKET_DONE };

struct control_ops {
        void *ud;
        void (*status)(void *ud, bool own, struct json_writer *w); /* @own: for the user himself, and not for everybody who reaches it */
        /* Is a sample of what the proxies do under way? With @start one is begun, unless the last is not a second old. */
        bool (*sampling)(void *ud, bool start);
        bool (*ready)(void *ud, char *reason, size_t n);
        bool (*live)(void *ud, char *reason, size_t n);
        /*
         * Only upgrade and rollback carry an order, with a ticket that is never 0; for the rest it is CONTROL_ORDER_NULL. It is
         * read during the call alone. A ticket that is known already is no second order. Return: 0: taken, and stored;
         * CONTROL_REFUSED: at once, with @detail for people; -errno
         */
        int (*command)(void *ud, enum control_command c, const struct control_order *o, char *detail, size_t n);
        /*
         * How far is the order of this ticket? With @w, unless it is unknown, one object: {"ticket":N,"state":"waiting|done",
         * "kind":"upgrade","result":"committed|refused|rolled_back|unknown","from":2|null,"to":3|null,"reason":"","gap_ms":0.0}
         */
        enum control_ticket (*ticket)(void *ud, uint64_t id, struct json_writer *w);
        void (*metrics)(void *ud, struct metrics_writer *w);
        struct front *front; /* asks the proxy's admin; NULL: there is none */
};

enum control_kind { CONTROL_PRIVATE, CONTROL_STATUS, CONTROL_ADMIN };

int control_new(struct ev_loop *loop, const struct control_ops *ops, struct control **ret); /* 0; -ENOMEM; -ELIBACC: libmicrohttpd cannot be loaded */
int control_serve(struct control *c, int listen_fd, enum control_kind kind);                /* 0; -errno; fd is its from now on */
/** control_leave() - accept no more on a listener and close it; who is connected there is answered for the last time */
void control_leave(struct control *c, int listen_fd);
void control_changed(struct control *c); /* something may have become true that a client waits for */

/**
 * control_beat() - to be called every few seconds
 *
 * When there was no descriptor for a connection libmicrohttpd looks away from its listen socket and looks again in the run after
 * the next, for which nothing may ever give a reason.
 */
void control_beat(struct control *c);
void control_free(struct control *c);

/** control_open_unix() - a listening socket; a stale file of that name goes. Return: 0; -errno */
int control_open_unix(const char *path, unsigned mode, int *ret_fd);

struct listen_how {
        unsigned mode; /* of a Unix socket; 0: as the umask says */
        bool v6only;
        int beside;    /* a listening socket of ours that is about to be closed: the addresses may overlap; -1: none */
};

/** control_open() - a listening socket at an address as options take it. @option: what the words call it. Return: 0; -errno with @reterr for people */
int control_open(const char *option, const char *address, const struct listen_how *how, int *ret_fd, char *reterr, size_t size);

/** control_open_status() - for one --status ADDR. Return: as above */
int control_open_status(const char *address, int *ret_fd, char *reterr, size_t size);

/** control_file() - the path of a Unix socket's address; NULL: there is no file */
const char *control_file(const char *address);

/** control_address() - where a socket listens, in the same syntax; a port 0 has become one. Return: @buf, "" if it is none */
const char *control_address(int fd, char *buf, size_t size);
