/* SPDX-License-Identifier: MIT */
/*
 * PURE. When a proxy that ended may be launched again: waits that double, and a purse of tokens.
 *
 * A proxy that had accepted for `stable_ms` is replaced at once and the waits start over; any other end doubles the
 * wait. Every relaunch takes a token, an immediate one too. Tokens come back one by one with unbroken serving, and all
 * together when changed content is launched.
 */
#pragma once

#include "agent/mono.h"

struct backoff_limits {
        int64_t initial_ms;
        int64_t max_ms; /* -1: none */
        int64_t stable_ms;
        int64_t refill_ms;
        int32_t tokens;
};

struct backoff {
        uint32_t n;            /* ends in a row that were not stable */
        int32_t tokens;        /* never negative */
        struct mono counted;   /* serving time up to here has been turned into tokens; never: nothing serves */
};

enum { BACKOFF_EXHAUSTED = 1 };

void backoff_init(struct backoff *b, const struct backoff_limits *l);

/**
 * backoff_serving() - something serves from now on: its time counts towards tokens
 */
void backoff_serving(struct backoff *b, struct mono now);

/**
 * backoff_refill() - turn unbroken serving into tokens; cheap, to be called before tokens are looked at
 */
void backoff_refill(struct backoff *b, const struct backoff_limits *l, struct mono now);

/**
 * backoff_ended() - the wanted proxy ended
 * @accepted:       since when it accepted, or MONO_NEVER
 * @ret_wait_ms:    how long to wait before the next launch
 *
 * Return: 0; BACKOFF_EXHAUSTED: there is no token for another launch.
 */
int backoff_ended(struct backoff *b, const struct backoff_limits *l, struct mono accepted, struct mono now,
                  int64_t *ret_wait_ms);

/** backoff_take() - a relaunch happens: take its token. Return: 0; BACKOFF_EXHAUSTED */
int backoff_take(struct backoff *b);

/** backoff_changed() - changed content is launched: all is forgiven */
void backoff_changed(struct backoff *b, const struct backoff_limits *l);
