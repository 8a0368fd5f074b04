/* SPDX-License-Identifier: MIT */
/*
 * What the files of the options share while they are read. Private to them.
 *
 *   options.c        one value; command line and environment; the whole
 *   options_file.c   the file of --config
 *   options_show.c   --help and --print-options
 *   options_table.c  the table
 */
#pragma once

#include "agent/options.h"
#include "agent/options_table.h"

enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_COMMAND_LINE };

/* What one source says: raw texts, not parsed yet. */
struct given {
        const char *values[OPTIONS_LIST_MAX];
        size_t n;
        unsigned line; /* in the file */
};

struct parse {
        struct given given[FROM_COMMAND_LINE + 1][N_KEYS];
        enum source used[N_KEYS];
        const char *const *proxy;
        size_t n_proxy;
        const char *file_proxy[OPTIONS_PROXY_ARGS_MAX];
        size_t n_file_proxy;
        const char *file;
        struct options *out;
        struct options_error *error;
        size_t n_file_text;
        char file_text[OPTIONS_STRING_BYTES]; /* the values of the file, one behind the other; last: it is not cleared */
};

/* What is wrong, as a whole line for the user. Return: OPTIONS_E_USAGE */
int options_complain(struct parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A source gives key @k a value, which must live as long as @p. Return: 0; OPTIONS_E_USAGE */
int options_give(struct parse *p, enum source s, int k, const char *value);

/* options_file.c. Return: 0; OPTIONS_E_USAGE */
int options_read_file(struct parse *p, const char *path);

/* options_show.c: on stdout */
void options_print_help(void);
void options_print_table(const struct parse *p);
void options_print_json(const struct parse *p);
