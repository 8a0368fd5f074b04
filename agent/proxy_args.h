/* SPDX-License-Identifier: MIT */
/*
 * The proxy's command line: what of it is baton's business, what is refused, and what each launch makes of it. Knows Envoy's
 * options that matter here; for any other proxy the words are passed on as they are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROXY_NOTICES_MAX = 8 };

struct proxy_args {
        char **all;              /* every word, NULL-terminated */
        char **kept;             /* Envoy: without what baton sets itself; NULL-terminated */
        char *program;           /* absolute path of the first word, or the word itself if it is not found */
        const char *config_path; /* or NULL */
        const char *config_yaml; /* or NULL */
        bool plain;              /* --help, --version, --mode validate: run it as it is, no supervision */
        int64_t drain_time_s;    /* --drain-time-s, -1: not given */
        size_t n_notices;
        char notices[PROXY_NOTICES_MAX][160];
};

struct proxy_args_error {
        char text[512];
};

enum { PROXY_ARGS_E_REFUSED = 1 };

/**
 * proxy_args_read() - once at the start
 * @argv:   the words stay the caller's, and must outlive @ret
 * @envoy:  it is an Envoy; else every word is passed on
 * Return: 0: proxy_args_done() it; PROXY_ARGS_E_REFUSED: an argument that baton must set itself, @reterr says why; -ENOMEM.
 */
int proxy_args_read(const char *const *argv, size_t n, bool envoy, struct proxy_args *ret, struct proxy_args_error *reterr);

void proxy_args_done(struct proxy_args *a);

struct launch_params {
        uint64_t epoch, base_id;
        const char *socket_path;
        const char *config_path; /* NULL: the proxy has none */
        const char *config_yaml;
        int64_t drain_time_s;
        int64_t parent_shutdown_time_s;
};

/** proxy_args_compose() - the words of one launch; the caller frees them all. Return: 0; -ENOMEM */
int proxy_args_compose(const struct proxy_args *a, const struct launch_params *p, char ***ret_argv);

/** proxy_args_compose_version() - the words of `PROXY --hot-restart-version`: those before its first option. Return: 0; -ENOMEM */
int proxy_args_compose_version(const struct proxy_args *a, char ***ret_argv);

/** proxy_args_compose_validate() - the words of `PROXY --mode validate` on a snapshot. Return: 0; -ENOMEM */
int proxy_args_compose_validate(const struct proxy_args *a, const char *config_path, const char *config_yaml, char ***ret_argv);
