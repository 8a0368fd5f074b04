/* SPDX-License-Identifier: MIT */
/* The client verbs: what they share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_INSTANCE = 3, EXIT_TIMED_OUT = 4 };

struct ctl {
        const char *verb;
        const char *run_dir, *name; /* as given, "" if not */
        char found[256];            /* the run directory of a living instance */
        bool json, follow, watch, undo, ready, no_wait;
        int64_t epoch;              /* -1 */
        int64_t timeout_ms;         /* -1: none */
        int64_t seen;               /* number of the newest event that was */
        int argc;                   /* what stands behind a verb that reads its words itself */
        char **argv;
};

/* http.c: one request to control.sock. Return: the HTTP status, or -errno (-ETIMEDOUT); the caller frees *ret_body */
int ctl_request(const struct ctl *c, const char *method, const char *path, int64_t timeout_ms, char **ret_body);
/* The body goes to @line line by line as it comes. Return: as above */
int ctl_stream(const struct ctl *c, const char *path, void (*line)(const char *text, size_t n, void *userdata), void *userdata);

/* show.c: for people */
void show_status(const char *json);
void show_event(const char *line, size_t n);

/* check.c */
int verb_check(struct ctl *c);
