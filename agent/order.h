/* SPDX-License-Identifier: MIT */
/*
 * PURE. What a client wants of an upgrade or a rollback, as the JSON object that travels in the body of its request. The same
 * file reads and writes it, so that client and agent cannot differ.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/json.h"

enum { ORDER_BYTES_MAX = 64 * 1024, ORDER_WORDS_MAX = 1024, ORDER_OBSERVE_MS_MAX = 24 * 3600 * 1000 };

struct control_order {
        uint64_t ticket; /* by which its end can be asked for, below 2^63; the client chooses it, so that a repeat is no second order */
        bool has_target;
        uint64_t target;    /* "to": the epoch to go back to */
        int64_t observe_ms; /* -1: not given */
        bool self;
        const char *cwd; /* of the client: what relative names of the command start from; "" if not given */
        const char *const *proxy; /* the new command; none: the running one */
        size_t n_proxy;
};

#define CONTROL_ORDER_NULL ((struct control_order){ .observe_ms = -1, .cwd = "" })

/* An order and what its pointers lead to. */
struct order {
        struct control_order o;
        char *bytes;
        const char **words;
};

struct order_error {
        const char *member; /* what is wrong: static */
        char text[96];
};

/**
 * order_read() - @text may be empty: an order without wishes. A ticket that is not given is 0 here, and drawn by whoever asked
 *
 * Members that nobody knows are stepped over: newer clients may send them. Known ones stand there once, with the right type,
 * and no text has a byte that would be lost on the way (NUL, or what is not UTF-8: U+FFFD).
 *
 * Return: 0: order_done() it; -EBADMSG, -ENOMEM: with @reterr.
 */
int order_read(const char *text, size_t n, struct order *ret, struct order_error *reterr);
void order_done(struct order *o);

/** order_write() - one JSON object of what is given in it */
void order_write(const struct control_order *o, struct json_writer *w);
