/* SPDX-License-Identifier: MIT */
/* `baton check`: what it finds out, and what shows it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/bootstrap.h"
#include "agent/ctl/check_run.h"
#include "agent/ctl/ctl.h"
#include "agent/options.h"
#include "agent/proxy_args.h"

enum check_change { CHANGE_NONE, CHANGE_PASSED, CHANGE_OPENED, CHANGE_CLOSED };

struct check_problem {
        bool invalid; /* the config or the arguments: exit status 2, else 1 */
        char what[HR_URL_BYTES], reason[1024];
};

struct check_row {
        char address[HR_URL_BYTES];
        bool reuse_port;
        enum check_change change;
        char note[64];
};

/* What the instance says of itself, if one runs. */
struct check_running {
        int64_t epoch, workers; /* epoch -1: none serves */
        char version[64];
        size_t n_urls;
        char (*urls)[HR_URL_BYTES];
};

struct check {
        struct ctl *ctl;
        struct check_guard guard;
        bool diff, json, interrupted;
        int64_t timeout_ms;
        const struct options *options;
        struct proxy_args args;
        char version[64], hot_restart_version[64];
        int64_t workers; /* -1: not known */
        struct bootstrap facts;
        struct check_running running;
        struct check_row *rows;
        size_t n_rows;
        struct check_problem *problems;
        size_t n_problems;
        const char *notes[8];
        size_t n_notes;
};

/* One line, and nothing in it that steers a terminal: it may be the words of a proxy or of a config. */
void check_clean(char *text);

/* @invalid: the config or the arguments. Both are shown at the end; a note changes no verdict and lives as long as the process */
void check_add_problem(struct check *c, bool invalid, const char *what, const char *format, ...) __attribute__((format(printf, 4, 5)));
void check_add_note(struct check *c, const char *text);

/* check_listeners.c: rows, problems, notes */
void check_listeners(struct check *c); /* of the config, as far as it names them; with --diff also those that go */
void check_certs(struct check *c);     /* as they lie there now: what `run` would refuse at its start */
void check_sockets(struct check *c);   /* without the protocol: what --listen names */

/* check_show.c */
void check_show_table(const struct check *c);
void check_show_json(const struct check *c);
