/* SPDX-License-Identifier: MIT */
/*
 * What happened, for `baton events` and `baton why`: RUN_DIR/events, one JSON object a line, at most 4 MB and the same again in
 * events.1; the newest ones also in memory, for whoever follows.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/json.h"

enum { EVENTS_KEPT = 1024, EVENTS_BYTES_MAX = 4 * 1024 * 1024 };

/** events_open() - @fd stays the caller's; sequence numbers go on where the file ends. Return: 0; -errno */
int events_open(int fd, const char *run_dir);

void events_begin(struct json_writer *w);      /* opens the object and writes seq, time and mono_ns */
void events_add(struct json_writer *w);        /* closes it and keeps it; before events_open() it is forgotten */

uint64_t events_last(void);                    /* sequence number of the newest, 0: none */
/** events_get() - the line of a number, without newline, or NULL if it is not kept (any more) */
const char *events_get(uint64_t seq, size_t *ret_n);
uint64_t events_first(void);                   /* the oldest that is kept in memory */
void events_on_add(void (*told)(void *userdata), void *userdata);

/**
 * why_explain() - the newest lines of an event file into a few words about why it is down, or what went wrong last
 * @text:  JSON lines
 */
void why_explain(const char *text, size_t n, char *ret, size_t size);
