/* SPDX-License-Identifier: MIT */
/*
 * The options of `baton run`: command line over BATON_* over the file of --config over defaults, into one immutable struct
 * that lies in a sealed memfd. It holds no pointers: strings are offsets, see options_str().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/proxy_user.h"

#ifndef OPTIONS_VERSION
#define OPTIONS_VERSION 1
#endif

enum {
        OPTIONS_STATUS_MAX = 8,
        OPTIONS_NAME_MAX = 50, /* behind /tmp/baton-UID/ it still is a short enough run directory */
        OPTIONS_LIST_MAX = 64,
        OPTIONS_PROXY_ARGS_MAX = 1024,
        OPTIONS_STRING_BYTES = 256 * 1024,
};

enum handover { HANDOVER_DETECT, HANDOVER_ENVOY, HANDOVER_LISTEN_FDS, HANDOVER_NONE };
enum on_exhausted { ON_EXHAUSTED_EXIT, ON_EXHAUSTED_WAIT };
enum on_clean_exit { ON_CLEAN_EXIT_STOP, ON_CLEAN_EXIT_RESTART };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum certs_mode { CERTS_RESTART, CERTS_PUBLISH };
enum certs_verify { CERTS_STRICT, CERTS_PAIR };

/* Offset of a string; 0 is the empty one. */
typedef uint32_t options_string;

struct options_list {
        uint32_t n;
        options_string items[OPTIONS_LIST_MAX];
};

struct options {
        uint32_t version;
        uint32_t bytes; /* of this struct: another size is another layout */
        options_string name, run_dir, config, admin, probe, state_dir, proxy_user, certs_warn;
        struct options_list statuses, watch, certs, listen;
        bool no_auto_upgrade, standby, expand_env, allow_listener_loss;
        int64_t debounce_ms, splay_ms, retry_initial_ms, retry_max_ms /* -1: none */, stable_ms, token_refill_ms;
        int64_t ready_timeout_ms, drain_time_ms, stop_delay_ms, stop_timeout_ms, hold_time_ms;
        int64_t hang_timeout_ms /* -1: off */, observe_ms, stats_interval_ms;
        int64_t retry_tokens, max_draining /* -1: none */;
        int64_t handover;      /* enum handover, resolved */
        bool handover_detected;
        int64_t certs_rsa_bits, certs_ec_bits;
        int64_t on_exhausted, on_clean_exit, log_format, certs_mode, certs_verify;
        int64_t log_level;     /* LOG_DEBUG... */
        struct proxy_user user; /* --proxy-user, as it was found at the start */
        bool drain_time_given; /* else Envoy's --drain-time-s counts */
        bool proxy_from_file;  /* that of --config, and not the command line, names the proxy; in what was padding: older ones say no */
        uint32_t n_proxy_args;
        options_string proxy_args[OPTIONS_PROXY_ARGS_MAX];
        uint32_t n_strings; /* bytes used */
        char strings[OPTIONS_STRING_BYTES];
};

struct options_error {
        char text[1024];
};

enum { OPTIONS_E_USAGE = 1, OPTIONS_HELP = 2, OPTIONS_PRINT = 3, OPTIONS_E_NO_PROXY = 4 };

/**
 * options_parse() - all sources into one struct
 * @argv:  of `baton run`, without the "run": options, then `--`, then the proxy
 *
 * Return: 0; OPTIONS_E_USAGE: @reterr is a whole line for the user, exit with 2; OPTIONS_E_NO_PROXY: the same, and all that is
 * wrong is that no proxy is named: @ret has the rest, with "" for the name if none is given; OPTIONS_HELP, OPTIONS_PRINT: what was
 * asked for has been printed on stdout, exit with 0.
 */
int options_parse(int argc, char **argv, char **environment, struct options *ret, struct options_error *reterr);

/** options_seal() - into a memfd that nobody can change. Return: 0; -errno */
int options_seal(const struct options *o, int *ret_fd);

/** options_map() - for good: it is never unmapped. Return: 0; -EPROTO: of another version; -errno */
int options_map(int fd, const struct options **ret);

static inline const char *options_str(const struct options *o, options_string s)
{
        return s < sizeof(o->strings) ? o->strings + s : "";
}

static inline const char *options_proxy_arg(const struct options *o, size_t i)
{
        return options_str(o, o->proxy_args[i]);
}

/** options_want_value() - is this word an option whose value is the next word? */
bool options_want_value(const char *word);

/** options_probe_needs_sockets() - --probe=tcp, and no --listen: only LISTEN_FDS could be asked */
bool options_probe_needs_sockets(const struct options *o);

/** options_handover() - the name of what was given or detected */
const char *options_handover(const struct options *o);

/** options_names() - the n-th long option, or NULL: for the tests that hold the manual against the table */
const char *options_names(size_t n);
