/* SPDX-License-Identifier: MIT */
/*
 * One stable admin interface in front of those of all generations: a request waits until a generation serves, is asked of that
 * one, and once more of the next if it dies over a GET. An answer is always whole and of exactly one generation. It knows the
 * admin client and the loop; who serves comes from the callback, HTTP is control_admin.c's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct admin;
struct ev_loop;
struct front;
struct front_request;

enum {
        FRONT_WAIT_MS = 10000,                /* for a generation that serves */
        FRONT_ANSWER_MS = 30000,
        FRONT_BYTES_MAX = 256 * 1024 * 1024,  /* of all answers that are not delivered yet, together */
        FRONT_ASKS_MAX = 4,                   /* at a time: the proxy answers one after the other, and baton asks, too */
};

struct front_ops {
        void *ud;
        /* Whose admin answers now? Return: false: nobody's; then @path is why, for people */
        bool (*target)(void *ud, uint64_t *ret_epoch, char *path, size_t size);
        void (*answered)(void *ud); /* some request is done; may come from within front_ask() */
};

/* All of it must stay until the request is dropped. */
struct front_call {
        const char *method; /* "GET" or "POST" */
        const char *target; /* as the client wrote it */
        const char *const *headers; /* to be passed on; NULL at the end */
        const char *body;
        size_t body_bytes;
        int64_t wait_ms;
};

struct front_answer {
        unsigned status;
        uint64_t epoch;      /* of the generation, or NO_EPOCH: of ours, and @reason is the text */
        const char *headers; /* the lines of its head, without the first */
        const char *body;
        size_t n;
        char reason[384];
};

struct front *front_new(struct ev_loop *loop, struct admin *admin, const struct front_ops *ops); /* or NULL */

/** front_ask() - Return: NULL if out of memory; else the caller's until front_drop() */
struct front_request *front_ask(struct front *f, const struct front_call *call);

/** front_look() - the answer, the request's as long as that lives; NULL: not yet */
const struct front_answer *front_look(const struct front_request *r);

/** front_drop() - answered, or nobody waits for it any more. NULL is harmless */
void front_drop(struct front_request *r);

void front_changed(struct front *f); /* another one may serve */
