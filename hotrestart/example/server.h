/* SPDX-License-Identifier: MIT */
/*
 * baton-example-server: a small HTTP/1.1 server whose listeners survive it, because it speaks Envoy's hot restart protocol
 * through libhotrestart. It shows how a server of one's own is run by `baton run --handover envoy`, stands in for Envoy where
 * there is none, and takes orders to misbehave at one exact step (fault.c), which no real Envoy does.
 *
 *      main.c      options, the steps of a start, the event loop
 *      protocol.c  both roles: child of whoever was before, parent of whoever comes next
 *      http.c      connections of listeners and of the admin socket     admin.c     the pages that a supervisor reads
 *
 * One thread, one epoll descriptor; a "worker" is one more SO_REUSEPORT socket for each address. The start blocks, as Envoy's
 * does: until its parent has answered there is nothing to serve. TCP and Unix sockets only; no TLS, no HTTP/2, no request
 * bodies beyond reading past them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hotrestart/hotrestart.h"

enum { LISTENERS_MAX = 256, ADDRESSES_MAX = 16, FAULTS_MAX = 8, IN_BYTES = 16384, CONNECTIONS_MAX = 8192 };

/* ---- fault.c ---------------------------------------------------------------------------------------- */

enum fault_step {
        BEFORE_SHUTDOWN_ADMIN,
        AFTER_SHUTDOWN_ADMIN,
        BEFORE_PASS, /* a socket is asked for */
        AFTER_SOCKETS,
        BEFORE_DRAIN_LISTENERS,
        AFTER_DRAIN_LISTENERS,
        ON_HARVEST, /* a successor asks for a socket */
        ON_DRAIN,   /* a successor says DrainListeners */
        ON_TERM,    /* SIGTERM, or Terminate */
};

enum fault_what { FAULT_CRASH, FAULT_HANG, FAULT_GARBAGE, FAULT_LATE };

struct fault {
        enum fault_step step;
        enum fault_what what;
        unsigned nth; /* BEFORE_PASS, ON_HARVEST: which one of them, from 0 */
        int64_t ms;   /* FAULT_LATE */
        bool done;    /* each happens once */
};

/* What a fault sends garbage to: a bound socket of ours and the name it is aimed at. */
struct fault_target {
        int fd;
        const struct sockaddr_un *peer;
};

/** fault_parse() - "STEP[-N]:WHAT[:MS]". Return: 0; -EINVAL */
int fault_parse(const char *text, struct fault *ret);

/** fault_file() - take the orders of a file, one a line, and remove it: the next start is a good one. Return: 0, also without file; -EINVAL */
int fault_file(const char *path, struct fault *faults, size_t *n);

/** fault_at() - do what is ordered for this step, if anything is and it has not happened yet */
void fault_at(struct fault *faults, size_t n, enum fault_step step, unsigned nth, struct fault_target target);

/* ---- options.c -------------------------------------------------------------------------------------- */

struct options {
        const char *config_path; /* opened, as Envoy would, and not read: the listeners are on the command line */
        char admin_path[108];    /* from --config-yaml; "": no admin */
        unsigned admin_mode;
        uint64_t restart_epoch, base_id;
        const char *socket_path;
        unsigned socket_mode;
        unsigned concurrency;
        int64_t parent_shutdown_s;
        const char *listen[ADDRESSES_MAX];
        size_t n_listen;
        const char *body;
        bool validate;
        bool skip_no_parent;
        struct fault faults[FAULTS_MAX];
        size_t n_faults;
};

/** options_read() - Return: 0; 1: something was printed instead, exit 0; -EINVAL, having said why */
int options_read(int argc, char **argv, struct options *ret);

/* ---- what runs -------------------------------------------------------------------------------------- */

struct server;

/* What an epoll event leads to. */
struct watch {
        void (*ready)(struct server *s, struct watch *w, uint32_t events);
        int fd;
};

struct listener {
        struct watch watch;
        struct hr_key key;
        uint64_t connections;
};

struct connection {
        struct watch watch;
        struct connection *next, *prev;
        struct listener *listener; /* NULL: the admin's */
        char in[IN_BYTES];
        size_t in_bytes, skip_bytes; /* of a body that nobody reads */
        char *out;
        size_t out_bytes, out_done;
        int64_t due_ms; /* the answer is held back until then; 0: not */
        bool busy, close_after, dead;
};

struct server {
        struct options opt;
        int epoll_fd, signal_fd;
        struct listener listeners[LISTENERS_MAX];
        size_t n_listeners;
        struct watch admin;
        struct connection *connections;
        size_t n_connections;
        int64_t resume_ms; /* accepting is paused until then; 0: it is not */
        bool draining, unhealthy, stopping;
        uint64_t requests, requests_active;
        unsigned harvests; /* sockets that a successor asked for */
        int64_t started_ms;

        struct hr_child child;         /* towards the one before us */
        bool has_parent;
        int64_t terminate_ms;          /* when to tell it that it may go; 0: not */
        struct watch parent_role;      /* requests of the one after us */
        int udp_fds[2];
        struct sockaddr_un successor;  /* where its answers go */
};

/* ---- main.c ----------------------------------------------------------------------------------------- */

int64_t now_ms(void);
int server_watch(struct server *s, struct watch *w, uint32_t events);
void server_unwatch(struct server *s, struct watch *w);
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* ---- protocol.c ------------------------------------------------------------------------------------- */

/** protocol_open() - attach the page, bind the four names. Return: 0; -errno, having said why */
int protocol_open(struct server *s);

/** protocol_inherit() - ShutdownAdmin, then every socket: asked for, or opened. Blocks. Return: 0; -errno, having said why */
int protocol_inherit(struct server *s);

/** protocol_up() - we serve: the flag is cleared, our parent is told. Return: 0; -errno */
int protocol_up(struct server *s);

/** protocol_listen() - answer to whoever comes next. Return: 0; -errno */
int protocol_listen(struct server *s);

/** protocol_goodbye() - Terminate to our parent, if it was not told yet. Blocks no longer than a moment. */
void protocol_goodbye(struct server *s);

void protocol_close(struct server *s);

/** listeners_stop() - what DrainListeners orders: no new connection, the old ones end with their next answer */
void listeners_stop(struct server *s);

/* ---- http.c, admin.c -------------------------------------------------------------------------------- */

void http_on_listener(struct server *s, struct watch *w, uint32_t events);

/** http_time() - answers that were held back, accepting that was paused. Return: milliseconds until the next one, -1: none */
int http_time(struct server *s);

/** http_sweep() - free what was closed; only between two rounds of events */
void http_sweep(struct server *s);
void http_close_all(struct server *s);

/** admin_page() - Return: the HTTP status; @ret_body is to be freed, NULL without memory */
int admin_page(struct server *s, const char *method, const char *path, char **ret_body);

/** admin_open() - listen on the pipe of --config-yaml, if there is one. Return: 0; -errno, having said why */
int admin_open(struct server *s);
