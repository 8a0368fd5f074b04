/* SPDX-License-Identifier: MIT */
/*
 * What happened to the requests: counts, latencies, the longest time without a success; for the whole run and for the
 * present slice of it. Prints one JSON object a line. Takes the time as an argument.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What can become of one request. The order is that of the output. */
enum outcome {
        DONE_OK,
        DONE_REFUSED,      /* nobody listens: ECONNREFUSED, or no such socket file */
        DONE_RESET,        /* reset before any byte of the answer, on a new connection */
        DONE_EOF,          /* closed before any byte of the answer, on a new connection */
        DONE_CUT,          /* ended in the middle of the answer */
        DONE_TIMEOUT,      /* no whole answer in time */
        DONE_NO_CONNECTION, /* connecting failed in another way, or took longer than the time-out */
        DONE_BAD_STATUS,   /* not 2xx */
        DONE_BAD_BODY,     /* 2xx with a body that was not expected */
        DONE_GARBAGE,      /* not HTTP */
        DONE_LOCAL,        /* the machine's fault, not the server's: no port, no descriptor */
        DONE_REUSED_RESET, /* no failures from here on: a kept connection was closed while the request was on its way; */
        DONE_REUSED_EOF,   /* every HTTP client repeats such a request */
        DONE_KINDS,
};

enum { REPORT_BODIES = 32, REPORT_STATUSES = 600, REPORT_BUCKETS = 1024, REPORT_SAMPLES = 24, REPORT_NAME_BYTES = 64,
       REPORT_CLIENTS = 1024 };

struct counts {
        char name[REPORT_NAME_BYTES];
        int64_t began_us;
        uint64_t outcomes[DONE_KINDS];
        uint64_t idle_closed;   /* a kept connection that was closed between two requests */
        uint64_t connections;
        int64_t longest_gap_us;        /* nobody had a success for so long */
        int64_t longest_client_gap_us; /* one of the clients had none for so long */
        int64_t latency_max_us;
        uint32_t latency[REPORT_BUCKETS];
        uint64_t statuses[REPORT_STATUSES];
        struct {
                size_t len;
                uint64_t n;
                int64_t first_us, last_us;
                char text[64];
        } bodies[REPORT_BODIES];
        uint64_t bodies_more;
        size_t n_samples;
        struct {
                int64_t at_us;
                enum outcome outcome;
                int error; /* errno or status, 0: none */
        } samples[REPORT_SAMPLES];
};

struct report {
        struct counts total, slice;
        unsigned n_slices, n_clients;
        bool histogram; /* print the latencies too, so that slices can be put together */
        int64_t began_us, last_ok_us;
        int64_t client_ok_us[REPORT_CLIENTS]; /* the last success of each, at first the beginning */
        int64_t stopped_us; /* 0: runs */
};

/* @n_clients: at most REPORT_CLIENTS */
void report_init(struct report *r, unsigned n_clients, int64_t now_us);

/* A request of a client ended; `began_us` is when it was begun, `error` an errno or an HTTP status that tells more. */
void report_add(struct report *r, unsigned client, enum outcome outcome, int64_t began_us, int64_t now_us, int error);
void report_body(struct report *r, const char *body, size_t len, int64_t now_us);

/* The latency that so large a share of the successes did not exceed, to about 3 %; 0 if there was none. */
int64_t report_percentile_us(const struct counts *c, double share);
void report_status(struct report *r, int status);
void report_idle_closed(struct report *r);
void report_connection(struct report *r);

/* Prints the present slice and begins the next one under a name. */
void report_mark(struct report *r, const char *name, int64_t now_us);

/* No request begins from now on. What is under way still counts, but a gap no longer does. */
void report_stop(struct report *r, int64_t now_us);

/* Prints the last slice, if there were marks, and the total. */
void report_end(struct report *r);
