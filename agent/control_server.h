/* SPDX-License-Identifier: MIT */
/*
 * The server beneath control.c: connections, bodies, answers, who asks, and requests that wait. It knows libmicrohttpd and
 * the loop; what a request means and when its wait is over is control.c's.
 */
#pragma once

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/control.h"
#include "agent/late.h"
#include "agent/mono.h"

enum { CONTROL_SERVERS_MAX = 16 };

/* What a request waits for while it is suspended. */
enum control_wait { WAIT_NOTHING, WAIT_READY, WAIT_EPOCH, WAIT_SAMPLE, WAIT_EVENTS, WAIT_TICKET, WAIT_ADMIN };

struct control_server {
        struct control *control;
        struct MHD_Daemon *daemon; /* NULL: this place is free */
        enum control_kind kind;
        int listen_fd;             /* -1: it accepts no more, and ends with its last connection */
        ev_io io;
};

/* One request: its body, and what it waits for. */
struct control_request {
        struct control *control;
        struct control_server *server;
        struct MHD_Connection *connection;
        char *target; /* as the client wrote it: MHD takes it apart */
        bool begun;
        struct control_admin *admin; /* what is asked of the proxy, see control_admin.c */
        struct control_request *next, **back; /* among the suspended ones; back is NULL when it runs */
        char *body;
        size_t n;
        bool too_large;
        bool gone; /* its client is: only to be ended */
        enum control_wait waits;
        uint64_t awaited; /* epoch, ticket, or the event behind which it goes on */
        struct mono until;
};

struct control {
        struct ev_loop *loop;
        struct control_ops ops;
        struct control_server servers[CONTROL_SERVERS_MAX];
        struct control_request *suspended;
        size_t n_suspended;
        ev_timer gone;       /* runs while something is suspended: are the clients still there? */
        ev_timer timer;      /* MHD's own timeouts and the waits of clients */
        ev_prepare prepare;
        bool running; /* inside MHD_run: no second time */
        bool again;
        bool wake;    /* something happened that a suspended request may wait for */
        bool closing; /* nothing waits any more */
};

/* control.c: what the server asks of it */
enum MHD_Result control_route(struct control_request *r, const char *method, const char *path);
bool control_come_true(struct control_request *r);

/* control_admin.c: requests for the proxy's admin */
enum MHD_Result control_admin_front(struct control_request *r, const char *method); /* at its stable address */
enum MHD_Result control_admin_get(struct control_request *r);                       /* /v1/admin */
enum MHD_Result control_admin_post(struct control_request *r);
bool control_admin_answered(const struct control_request *r);
void control_admin_drop(struct control_request *r);

#define WAIT_MS_MAX (INT64_C(10) * 366 * 24 * 3600 * 1000) /* the longest that a client may wait for an answer */

/* What it may answer. */
enum MHD_Result control_answer(struct MHD_Connection *c, unsigned status, const char *type, const char *text, size_t n);
enum MHD_Result control_answer_json(struct MHD_Connection *c, unsigned status, struct json_writer *w);
enum MHD_Result control_answer_error(struct MHD_Connection *c, unsigned status, const char *error, const char *detail);
enum MHD_Result control_ending(struct control_request *r);
bool control_argument(struct MHD_Connection *c, const char *name, int64_t standard, int64_t most, int64_t *ret); /* false: it is no number, or above @most */
enum MHD_Result control_bad_argument(struct control_request *r, const char *name);
enum MHD_Result control_answer_text(struct MHD_Connection *c, unsigned status, const char *text);

void control_suspend(struct control_request *r); /* until control_come_true() or r->until: then it is routed again */
bool control_from_here(struct MHD_Connection *c); /* loopback, or a Unix socket and the same user */
