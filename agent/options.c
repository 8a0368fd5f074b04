/* SPDX-License-Identifier: MIT */
/*
 * The table of options and what fills the struct from it. getopt_long() is driven from the table; argp would want the table
 * a second time in its own form, and the file and the environment could not share it. Longer than most: the table, the four sources
 * that fill it and the two forms in which it is shown all walk over the same keys.
 */
#include "agent/options.h"

#include <ctype.h>
#include <stdarg.h>
#include <strings.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/duration.h"
#include "agent/json.h"
#include "agent/listen_spec.h"

enum kind { K_STRING, K_LIST, K_FLAG, K_INT, K_DURATION, K_CHOICE };
enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_COMMAND_LINE };

struct choice {
        const char *name;
        int64_t value;
};

static const struct choice handovers[] = { { "envoy", HANDOVER_ENVOY }, { "listen-fds", HANDOVER_LISTEN_FDS }, { "none", HANDOVER_NONE }, { 0 } };
static const struct choice exhausteds[] = { { "exit", ON_EXHAUSTED_EXIT }, { "wait", ON_EXHAUSTED_WAIT }, { 0 } };
static const struct choice clean_exits[] = { { "stop", ON_CLEAN_EXIT_STOP }, { "restart", ON_CLEAN_EXIT_RESTART }, { 0 } };
static const struct choice formats[] = { { "text", LOG_FORMAT_TEXT }, { "json", LOG_FORMAT_JSON }, { 0 } };
static const struct choice levels[] = { { "debug", LOG_DEBUG }, { "info", LOG_INFO }, { "notice", LOG_NOTICE },
                                        { "warning", LOG_WARNING }, { "error", LOG_ERR }, { 0 } };
static const struct choice cert_modes[] = { { "restart", CERTS_RESTART }, { "publish", CERTS_PUBLISH }, { 0 } };
static const struct choice cert_verifies[] = { { "strict", CERTS_STRICT }, { "pair", CERTS_PAIR }, { 0 } };

struct option_key {
        const char *name;
        const char *argument; /* as the help shows it; NULL: a flag */
        enum kind kind;
        size_t field;
        int64_t min, max, standard; /* durations in ms; -1 as standard: "none" or "off" */
        const struct choice *choices;
        bool later;           /* its part is not in this version */
        const char *help;
};

#define AT(f) offsetof(struct options, f)
#define DAY_MS (INT64_C(24) * 3600 * 1000)

static const struct option_key keys[] = {
        { "name", "NAME", K_STRING, AT(name), 0, 0, 0, NULL, false, "which instance this is (default)" },
        { "run-dir", "DIR", K_STRING, AT(run_dir), 0, 0, 0, NULL, false, "where sockets, state and snapshots lie" },
        { "config", "FILE", K_STRING, AT(config), 0, 0, 0, NULL, false, "options as JSON; see baton.json(5)" },
        { "status", "ADDR", K_LIST, AT(statuses), 0, 0, 0, NULL, false, "serve readiness and metrics at IP:PORT, :PORT, [::]:PORT or unix:PATH" },
        { "admin", "bootstrap|off|ADDR", K_STRING, AT(admin), 0, 0, 0, NULL, false, "where the proxy's admin interface answers, whoever serves; bootstrap: at the address in its config [bootstrap]" },
        { "watch", "PATH", K_LIST, AT(watch), 0, 0, 0, NULL, false, "upgrade when it changes, too, as when the config of the proxy does; may be repeated" },
        { "no-auto-upgrade", NULL, K_FLAG, AT(no_auto_upgrade), 0, 0, 0, NULL, false, "only report changed files; an upgrade has to be asked for" },
        { "debounce", "D", K_DURATION, AT(debounce_ms), 0, 3600000, 100, NULL, false, "how long files must be still before they are looked at" },
        { "splay", "D", K_DURATION, AT(splay_ms), 0, DAY_MS, 0, NULL, false, "random delay before an upgrade that nobody asked for" },
        { "certs", "DIR[:cert=F,key=F,ca=F]", K_LIST, AT(certs), 0, 0, 0, NULL, false, "certificates that are checked before the proxy gets them; may be repeated" },
        { "certs-mode", "restart|publish", K_CHOICE, AT(certs_mode), 0, 0, CERTS_RESTART, cert_modes, false, "how changed certificates are put to work" },
        { "certs-verify", "strict|pair", K_CHOICE, AT(certs_verify), 0, 0, CERTS_STRICT, cert_verifies, false, "with the root file, or only key and certificate" },
        { "certs-rsa-bits", "N", K_INT, AT(certs_rsa_bits), 0, 65536, 2048, NULL, false, "a shorter RSA key is refused" },
        { "certs-ec-bits", "N", K_INT, AT(certs_ec_bits), 0, 65536, 256, NULL, false, "a shorter elliptic key is refused" },
        { "certs-warn", "DAYS[,DAYS...]", K_STRING, AT(certs_warn), 0, 0, 0, NULL, false, "days before the end at which a warning is said (30,7,1)" },
        { "retry-tokens", "N", K_INT, AT(retry_tokens), 0, 1000000, 10, NULL, false, "relaunches before giving up" },
        { "retry-initial", "D", K_DURATION, AT(retry_initial_ms), 1, 3600000, 200, NULL, false, "first wait; each further one doubles" },
        { "retry-max", "D", K_DURATION, AT(retry_max_ms), 1, DAY_MS, -1, NULL, false, "longest wait" },
        { "stable", "D", K_DURATION, AT(stable_ms), 0, DAY_MS, 10000, NULL, false, "after so long a crash is answered at once" },
        { "token-refill", "D", K_DURATION, AT(token_refill_ms), 1, DAY_MS, 60000, NULL, false, "serving time that earns a token back" },
        { "on-exhausted", "exit|wait", K_CHOICE, AT(on_exhausted), 0, 0, ON_EXHAUSTED_EXIT, exhausteds, false, "what to do without tokens" },
        { "on-clean-exit", "stop|restart", K_CHOICE, AT(on_clean_exit), 0, 0, ON_CLEAN_EXIT_STOP, clean_exits, false, "what exit 0 of the proxy means" },
        { "ready-timeout", "D", K_DURATION, AT(ready_timeout_ms), 1, DAY_MS, 60000, NULL, false, "a start that takes longer is reported, an upgrade rolled back" },
        { "drain-time", "D", K_DURATION, AT(drain_time_ms), 0, DAY_MS, 45000, NULL, false, "how long an old generation may finish requests" },
        { "stop-delay", "D", K_DURATION, AT(stop_delay_ms), 0, 3600000, 0, NULL, false, "go on accepting so long after a stop was asked for" },
        { "stop-timeout", "D", K_DURATION, AT(stop_timeout_ms), 0, DAY_MS, 25000, NULL, false, "the whole stop" },
        { "hold-time", "D", K_DURATION, AT(hold_time_ms), 0, DAY_MS, 30000, NULL, false, "how long clients may wait while nothing serves" },
        { "standby", NULL, K_FLAG, AT(standby), 0, 0, 0, NULL, true, "keep a parked successor" },
        { "max-draining", "N", K_INT, AT(max_draining), 0, 64, -1, NULL, true, "generations that may drain at once" },
        { "hang-timeout", "D", K_DURATION, AT(hang_timeout_ms), 1, DAY_MS, -1, NULL, true, "replace a proxy that hangs for so long" },
        { "observe", "D", K_DURATION, AT(observe_ms), 0, DAY_MS, 0, NULL, false, "watch an upgrade so long before it is final" },
        { "handover", "envoy|listen-fds|none", K_CHOICE, AT(handover), 0, 0, HANDOVER_DETECT, handovers, false, "how the proxy gets its sockets (detected)" },
        { "listen", "[NAME=]ADDR", K_LIST, AT(listen), 0, 0, 0, NULL, false, "socket that baton opens for a proxy that is no Envoy; may be repeated" },
        { "probe", "tcp|URL", K_STRING, AT(probe), 0, 0, 0, NULL, false, "how readiness of a proxy that is no Envoy is found out" },
        { "state-dir", "DIR", K_STRING, AT(state_dir), 0, 0, 0, NULL, false, "what served last, kept over a reboot" },
        { "proxy-user", "USER[:GROUP]", K_STRING, AT(proxy_user), 0, 0, 0, NULL, false, "who the proxy runs as: a name or number, or USER:GROUP" },
        { "expand-env", NULL, K_FLAG, AT(expand_env), 0, 0, 0, NULL, false, "replace ${VAR} and ${VAR:-default} in the proxy's config" },
        { "allow-listener-loss", NULL, K_FLAG, AT(allow_listener_loss), 0, 0, 0, NULL, false, "do not wait for listeners of the control plane" },
        { "stats-interval", "D", K_DURATION, AT(stats_interval_ms), 0, DAY_MS, 10000, NULL, true, "between two samples of the statistics" },
        { "log-format", "text|json", K_CHOICE, AT(log_format), 0, 0, LOG_FORMAT_TEXT, formats, false, "one line an event either way" },
        { "log-level", "L", K_CHOICE, AT(log_level), 0, 0, LOG_NOTICE, levels, false, "debug, info, notice, warning or error" },
};

enum { N_KEYS = sizeof(keys) / sizeof(keys[0]) };

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

const char *options_handover(const struct options *o)
{
        const struct choice *c = handovers;

        while (c->name && c->value != o->handover)
                c++;
        return c->name ? c->name : "";
}

bool options_probe_needs_sockets(const struct options *o)
{
        return strcmp(options_str(o, o->probe), "tcp") == 0 && (o->listen.n == 0 || o->handover == HANDOVER_NONE);
}

const char *options_names(size_t n)
{
        return n < N_KEYS ? keys[n].name : NULL;
}

bool options_want_value(const char *word)
{
        for (int k = 0; k < N_KEYS; k++)
                if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, keys[k].name) == 0)
                        return keys[k].kind != K_FLAG;
        return false;
}

static int complain(struct parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int complain(struct parse *p, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(p->error->text, sizeof(p->error->text), format, ap);
        va_end(ap);
        return OPTIONS_E_USAGE;
}

static int key_index(const char *name)
{
        for (int i = 0; i < N_KEYS; i++)
                if (strcmp(keys[i].name, name) == 0)
                        return i;
        return -1;
}

static const char *environment_name(int k, char *buf, size_t size)
{
        (void)snprintf(buf, size, "BATON_%s", keys[k].name);
        for (char *c = buf; *c; c++)
                *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        return buf;
}

static int give(struct parse *p, enum source s, int k, const char *value)
{
        struct given *g = &p->given[s][k];

        if (keys[k].kind != K_LIST)
                g->n = 0; /* the last one counts */
        if (g->n == OPTIONS_LIST_MAX)
                return complain(p, "baton run: --%s is given more than %d times", keys[k].name, OPTIONS_LIST_MAX);
        g->values[g->n++] = value;
        return 0;
}

/* ---- strings of the struct -------------------------------------------------------------------------- */

static int keep(struct parse *p, const char *text, options_string *ret)
{
        size_t n = strlen(text) + 1;

        if (n > sizeof(p->out->strings) - p->out->n_strings)
                return complain(p, "baton run: options and proxy arguments are longer than %d bytes", OPTIONS_STRING_BYTES);
        *ret = p->out->n_strings;
        memcpy(p->out->strings + *ret, text, n);
        p->out->n_strings += (uint32_t)n;
        return 0;
}

/* ---- one value -------------------------------------------------------------------------------------- */

static const char *where(const struct parse *p, enum source s, int k, char *buf, size_t size)
{
        char name[64];

        if (s == FROM_FILE)
                (void)snprintf(buf, size, "%.240s:%u: %s", p->file, p->given[s][k].line, keys[k].name);
        else if (s == FROM_ENVIRONMENT)
                (void)snprintf(buf, size, "baton run: %s", environment_name(k, name, sizeof(name)));
        else
                (void)snprintf(buf, size, "baton run: --%s", keys[k].name);
        return buf;
}

static const char *bound_text(const struct option_key *key, int64_t v, char *buf, size_t size)
{
        if (key->kind == K_DURATION)
                return duration_text(v, buf, size);
        (void)snprintf(buf, size, "%" PRId64, v);
        return buf;
}

static int parse_number(struct parse *p, enum source s, int k, const char *text, int64_t *ret)
{
        const struct option_key *key = &keys[k];
        char at[320], bound[32], *end;
        int64_t v;

        if (key->standard == -1 && (strcmp(text, "none") == 0 || strcmp(text, "off") == 0)) {
                *ret = -1;
                return 0;
        }
        if (key->kind == K_DURATION) {
                if (duration_parse(text, &v) < 0)
                        return complain(p, "%s: '%s' is no duration: use ms, s, min or h, as in 1.5s", where(p, s, k, at, sizeof(at)), text);
        } else {
                const char *digits = *text == '-' ? text + 1 : text; /* strtoll() would take spaces and a plus */

                errno = 0;
                v = strtoll(text, &end, 10);
                if (errno || *end || *digits < '0' || *digits > '9')
                        return complain(p, "%s: '%s' is no whole number", where(p, s, k, at, sizeof(at)), text);
        }
        if (v < key->min)
                return complain(p, "%s: %s is below %s", where(p, s, k, at, sizeof(at)), text, bound_text(key, key->min, bound, sizeof(bound)));
        if (v > key->max)
                return complain(p, "%s: %s is above %s", where(p, s, k, at, sizeof(at)), text, bound_text(key, key->max, bound, sizeof(bound)));
        *ret = v;
        return 0;
}

static int parse_choice(struct parse *p, enum source s, int k, const char *text, int64_t *ret)
{
        char at[320];

        for (const struct choice *c = keys[k].choices; c->name; c++)
                if (strcmp(c->name, text) == 0) {
                        *ret = c->value;
                        return 0;
                }
        return complain(p, "%s: '%s' is not one of %s", where(p, s, k, at, sizeof(at)), text, keys[k].argument);
}

static int parse_flag(struct parse *p, enum source s, int k, const char *text, bool *ret)
{
        static const char *const yes[] = { "true", "1", "yes", "on" }, *const no[] = { "false", "0", "no", "off", "" };
        char at[320];

        for (size_t i = 0; i < 4; i++)
                if (strcasecmp(text, yes[i]) == 0) {
                        *ret = true;
                        return 0;
                }
        for (size_t i = 0; i < 5; i++)
                if (strcasecmp(text, no[i]) == 0) {
                        *ret = false;
                        return 0;
                }
        return complain(p, "%s: '%s' is neither true nor false", where(p, s, k, at, sizeof(at)), text);
}

static int set_value(struct parse *p, enum source s, int k, const char *text)
{
        char *base = (char *)p->out, at[320];
        struct options_list *list;

        switch (keys[k].kind) {
        case K_STRING:
                if (!*text)
                        return complain(p, "%s: it is empty", where(p, s, k, at, sizeof(at)));
                return keep(p, text, (options_string *)(void *)(base + keys[k].field));
        case K_LIST:
                if (!*text)
                        return complain(p, "%s: it is empty", where(p, s, k, at, sizeof(at)));
                list = (struct options_list *)(void *)(base + keys[k].field);
                return keep(p, text, &list->items[list->n++]);
        case K_FLAG:
                return parse_flag(p, s, k, text, (bool *)(base + keys[k].field));
        case K_INT:
        case K_DURATION:
                return parse_number(p, s, k, text, (int64_t *)(void *)(base + keys[k].field));
        case K_CHOICE:
                return parse_choice(p, s, k, text, (int64_t *)(void *)(base + keys[k].field));
        }
        return 0;
}

static bool differs_from_standard(const struct parse *p, int k)
{
        const char *base = (const char *)p->out;

        switch (keys[k].kind) {
        case K_STRING:
                return *options_str(p->out, *(const options_string *)(const void *)(base + keys[k].field)) != '\0';
        case K_LIST:
                return ((const struct options_list *)(const void *)(base + keys[k].field))->n > 0;
        case K_FLAG:
                return *(const bool *)(base + keys[k].field);
        case K_INT:
        case K_DURATION:
        case K_CHOICE:
                return *(const int64_t *)(const void *)(base + keys[k].field) != keys[k].standard;
        }
        return false;
}

static void set_standards(struct options *o)
{
        memset(o, 0, offsetof(struct options, strings));
        o->version = OPTIONS_VERSION;
        o->bytes = sizeof(*o);
        o->strings[0] = '\0';
        o->n_strings = 1;
        for (int k = 0; k < N_KEYS; k++)
                if (keys[k].kind == K_INT || keys[k].kind == K_DURATION || keys[k].kind == K_CHOICE)
                        *(int64_t *)(void *)((char *)o + keys[k].field) = keys[k].standard;
}

static int apply(struct parse *p)
{
        char at[320];

        set_standards(p->out);
        for (int k = 0; k < N_KEYS; k++) {
                enum source s = FROM_COMMAND_LINE;

                while (s > FROM_DEFAULT && p->given[s][k].n == 0)
                        s--;
                p->used[k] = s;
                if (s == FROM_DEFAULT)
                        continue;
                for (size_t i = 0; i < p->given[s][k].n; i++) {
                        int r = set_value(p, s, k, p->given[s][k].values[i]);

                        if (r)
                                return r;
                }
                if (keys[k].later && differs_from_standard(p, k))
                        return complain(p, "%s: not in this version", where(p, s, k, at, sizeof(at)));
        }
        p->out->drain_time_given = p->used[key_index("drain-time")] != FROM_DEFAULT;
        return 0;
}

/* ---- sources ---------------------------------------------------------------------------------------- */

static int read_environment(struct parse *p, char **environment)
{
        char name[64];

        for (int k = 0; k < N_KEYS; k++) {
                size_t n = strlen(environment_name(k, name, sizeof(name)));

                for (char **e = environment; *e; e++)
                        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=' && (*e)[n + 1]) { /* an empty one is none, as in a shell */
                                int r = give(p, FROM_ENVIRONMENT, k, *e + n + 1);

                                if (r)
                                        return r;
                        }
        }
        return 0;
}

/* @k: the option that it is for; -1: a word of the proxy */
static int file_value(struct parse *p, const struct json *doc, json_node value, int k, const char **ret)
{
        const char *name = k < 0 ? "proxy" : keys[k].name;
        char *text = p->file_text + p->n_file_text;
        int r = json_text(doc, value, text, sizeof(p->file_text) - p->n_file_text);
        bool flag = k >= 0 && keys[k].kind == K_FLAG;
        bool word = r == 0 && !json_is_string(doc, value) && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0);

        if (r < 0)
                return complain(p, "%s:%u: %s: the file says more than %d bytes", p->file, json_line(doc, value), name, OPTIONS_STRING_BYTES);
        if (flag && !word)
                return complain(p, "%s:%u: %s: true or false is wanted here", p->file, json_line(doc, value), name);
        if (r != 0 || (!flag && word) || (!json_is_string(doc, value) && strcmp(text, "null") == 0))
                return complain(p, "%s:%u: %s: a %s is wanted here", p->file, json_line(doc, value), name, k < 0 ? "word in quotes" : "string or a number");
        p->n_file_text += strlen(text) + 1;
        *ret = text;
        return 0;
}

static int file_proxy(struct parse *p, const struct json *doc, json_node value)
{
        if (!json_is_array(doc, value) || json_size(doc, value) == 0 || json_size(doc, value) > OPTIONS_PROXY_ARGS_MAX)
                return complain(p, "%s:%u: proxy: an array of words is wanted here", p->file, json_line(doc, value));
        for (size_t i = 0; i < json_size(doc, value); i++) {
                int r = file_value(p, doc, json_at(doc, value, i), -1, &p->file_proxy[p->n_file_proxy]);

                if (r)
                        return r;
                p->n_file_proxy++;
        }
        return 0;
}

static int file_member(struct parse *p, const struct json *doc, json_node key)
{
        json_node value = json_value_of(doc, key);
        char name[64] = "";
        const char *text;
        int k, r;

        if (json_string(doc, key, name, sizeof(name)) != 0)
                name[0] = '\0';
        if (strcmp(name, "proxy") == 0)
                return p->n_file_proxy ? complain(p, "%s:%u: proxy: stands there twice", p->file, json_line(doc, key)) : file_proxy(p, doc, value);
        k = key_index(name);
        if (k < 0)
                return complain(p, "%s:%u: %s: unknown option", p->file, json_line(doc, key), name);
        if (strcmp(name, "config") == 0)
                return complain(p, "%s:%u: config: a file does not name another one", p->file, json_line(doc, key));
        if (p->given[FROM_FILE][k].n)
                return complain(p, "%s:%u: %s: stands there twice", p->file, json_line(doc, key), name);
        p->given[FROM_FILE][k].line = json_line(doc, key);
        if (!json_is_array(doc, value)) {
                r = file_value(p, doc, value, k, &text);
                return r ? r : give(p, FROM_FILE, k, text);
        }
        if (keys[k].kind != K_LIST)
                return complain(p, "%s:%u: %s: one value is wanted, not a list", p->file, json_line(doc, key), name);
        for (size_t i = 0; i < json_size(doc, value); i++) {
                r = file_value(p, doc, json_at(doc, value, i), k, &text);
                if (r == 0)
                        r = give(p, FROM_FILE, k, text);
                if (r)
                        return r;
        }
        return 0;
}

static int slurp(const char *path, char **ret, size_t *ret_n)
{
        enum { MOST = 1024 * 1024 };
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        CLEANUP(free_ptr) char *text = malloc(MOST);
        size_t have = 0;

        if (fd < 0)
                return -errno;
        if (!text)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(fd, text + have, MOST - have);

                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                have += (size_t)n;
                if (have == MOST)
                        return -EFBIG;
        }
        *ret_n = have;
        *ret = TAKE(text);
        return 0;
}

static int read_file(struct parse *p, const char *path)
{
        CLEANUP(free_ptr) char *text = NULL;
        struct json doc;
        struct json_error error;
        size_t n = 0;
        int r = slurp(path, &text, &n);

        p->file = path;
        if (r < 0)
                return complain(p, "%s: cannot read it: %s", path, strerror(-r));
        if (json_parse(text, n, &doc, &error) != 0)
                return complain(p, "%s:%u:%u: %s", path, error.line, error.column, error.text);
        r = json_is_object(&doc, JSON_ROOT) ? 0 : complain(p, "%s:1: an object is wanted: { \"option\": value, ... }", path);
        for (size_t i = 0; r == 0 && i < json_size(&doc, JSON_ROOT); i++)
                r = file_member(p, &doc, json_key_at(&doc, JSON_ROOT, i));
        json_done(&doc);
        return r;
}

/* ---- help and --print-options ----------------------------------------------------------------------- */

static const char *standard_text(const struct option_key *k, char *buf, size_t size)
{
        buf[0] = '\0';
        if (k->kind == K_DURATION || k->kind == K_INT) {
                if (k->standard < 0)
                        (void)snprintf(buf, size, "none");
                else
                        (void)bound_text(k, k->standard, buf, size);
        }
        for (const struct choice *c = k->choices; c && c->name; c++)
                if (c->value == k->standard)
                        (void)snprintf(buf, size, "%s", c->name);
        return buf;
}

static void print_help(void)
{
        char left[64], standard[32];

        printf("Usage: baton run [OPTIONS] -- PROXY [ARGS...]\n\nRun PROXY and keep its ports open whatever happens to it.\n\n");
        for (int k = 0; k < N_KEYS; k++) {
                (void)snprintf(left, sizeof(left), "--%s%s%s", keys[k].name, keys[k].argument ? "=" : "", keys[k].argument ? keys[k].argument : "");
                (void)standard_text(&keys[k], standard, sizeof(standard));
                printf("  %-36s %s%s%s%s%s\n", left, keys[k].help, *standard ? " [" : "", standard, *standard ? "]" : "",
                       keys[k].later ? " (not in this version)" : "");
        }
        printf("  %-36s %s\n", "--print-options[=json]", "show every option and where its value comes from");
        printf("  %-36s %s\n\n", "-h, --help", "show this help");
        printf("Each option may also be given as BATON_<OPTION> or in the file of --config. Durations: ms, s, min, m, h.\n");
}

static void value_text(const struct options *o, int k, char *buf, size_t size)
{
        const char *base = (const char *)o;
        int64_t v = 0;

        buf[0] = '\0';
        if (keys[k].kind == K_INT || keys[k].kind == K_DURATION || keys[k].kind == K_CHOICE)
                v = *(const int64_t *)(const void *)(base + keys[k].field);
        switch (keys[k].kind) {
        case K_STRING:
                (void)snprintf(buf, size, "%s", options_str(o, *(const options_string *)(const void *)(base + keys[k].field)));
                return;
        case K_LIST:
                return;
        case K_FLAG:
                (void)snprintf(buf, size, "%s", *(const bool *)(base + keys[k].field) ? "true" : "false");
                return;
        case K_INT:
        case K_DURATION:
                if (v < 0)
                        (void)snprintf(buf, size, "none");
                else
                        (void)bound_text(&keys[k], v, buf, size);
                return;
        case K_CHOICE:
                for (const struct choice *c = keys[k].choices; c->name; c++)
                        if (c->value == v)
                                (void)snprintf(buf, size, "%s", c->name);
                return;
        }
}

static void print_table(const struct parse *p)
{
        static const char *const sources[] = { "default", "file", "environment", "command line" };
        char text[4096];

        for (int k = 0; k < N_KEYS; k++) {
                const struct options_list *list = (const struct options_list *)(const void *)((const char *)p->out + keys[k].field);

                if (keys[k].kind != K_LIST) {
                        value_text(p->out, k, text, sizeof(text));
                        printf("%-20s %-28s %s\n", keys[k].name, *text ? text : "-", sources[p->used[k]]);
                        continue;
                }
                for (uint32_t i = 0; i < list->n; i++)
                        printf("%-20s %-28s %s\n", keys[k].name, options_str(p->out, list->items[i]), sources[p->used[k]]);
                if (list->n == 0)
                        printf("%-20s %-28s %s\n", keys[k].name, "-", sources[p->used[k]]);
        }
        for (uint32_t i = 0; i < p->out->n_proxy_args; i++)
                printf("%-20s %s\n", "proxy", options_proxy_arg(p->out, i));
}

static void print_json(const struct parse *p)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        char text[4096];

        json_begin_object(&w);
        for (int k = 0; k < N_KEYS; k++) {
                const struct options_list *list = (const struct options_list *)(const void *)((const char *)p->out + keys[k].field);

                value_text(p->out, k, text, sizeof(text));
                if (strcmp(keys[k].name, "handover") == 0 && p->out->handover_detected)
                        continue; /* the file may be used with another proxy */
                if (strcmp(keys[k].name, "config") == 0 || (keys[k].kind == K_LIST ? list->n == 0 : !*text))
                        continue;
                json_key(&w, keys[k].name);
                if (keys[k].kind == K_FLAG) {
                        json_bool_value(&w, strcmp(text, "true") == 0);
                        continue;
                }
                if (keys[k].kind != K_LIST) {
                        json_string_value(&w, text);
                        continue;
                }
                json_begin_array(&w);
                for (uint32_t i = 0; i < list->n; i++)
                        json_string_value(&w, options_str(p->out, list->items[i]));
                json_end_array(&w);
        }
        if (p->out->n_proxy_args > 0)
                json_key(&w, "proxy"), json_begin_array(&w);
        for (uint32_t i = 0; i < p->out->n_proxy_args; i++)
                json_string_value(&w, options_proxy_arg(p->out, i));
        if (p->out->n_proxy_args > 0)
                json_end_array(&w);
        json_end_object(&w);
        printf("%s\n", json_writer_text(&w) ? json_writer_text(&w) : "");
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static int keep_proxy(struct parse *p, bool wanted)
{
        const char *const *words = p->n_proxy ? p->proxy : p->file_proxy;
        size_t n = p->n_proxy ? p->n_proxy : p->n_file_proxy;

        if (n == 0 && !wanted)
                return 0;
        if (n == 0) {
                (void)complain(p, "baton run: no proxy given: baton run [OPTIONS] -- PROXY [ARGS...]; see baton run --help");
                return OPTIONS_E_NO_PROXY;
        }
        if (!*words[0])
                return complain(p, "baton run: the name of the proxy is empty");
        if (n > OPTIONS_PROXY_ARGS_MAX)
                return complain(p, "baton run: the proxy has more than %d arguments", OPTIONS_PROXY_ARGS_MAX);
        for (size_t i = 0; i < n; i++) {
                int r = keep(p, words[i], &p->out->proxy_args[i]);

                if (r)
                        return r;
        }
        p->out->n_proxy_args = (uint32_t)n;
        p->out->proxy_from_file = p->n_proxy == 0;
        return 0;
}

/* Any word before the first option that is called something with "envoy". */
static bool looks_like_envoy(const struct options *o)
{
        for (uint32_t i = 0; i < o->n_proxy_args && *options_proxy_arg(o, i) != '-'; i++) {
                const char *word = options_proxy_arg(o, i), *slash = strrchr(word, '/');

                if (strstr(slash ? slash + 1 : word, "envoy"))
                        return true;
        }
        return false;
}

/* Where the proxy gets its sockets from, and how it is known to be ready. */
static int check_handover(struct parse *p)
{
        const struct options *o = p->out;
        const char *probe = options_str(o, o->probe);
        struct listen_spec listen;
        struct probe_spec spec;

        for (uint32_t i = 0; i < o->listen.n; i++)
                if (listen_spec_read(options_str(o, o->listen.items[i]), &listen) < 0)
                        return complain(p, "baton run: --listen: '%s' is no IP:PORT, :PORT, [::]:PORT or unix:PATH, with or without NAME= before it",
                                        options_str(o, o->listen.items[i]));
        if (o->listen.n && o->handover == HANDOVER_ENVOY)
                return complain(p, "baton run: --listen: not in this version for an Envoy, which opens its listeners itself; "
                                   "--handover=listen-fds if this is none");
        if (o->listen.n && o->handover == HANDOVER_NONE)
                return complain(p, "baton run: --listen: with --handover=none the proxy is given no socket; leave --handover out, or use listen-fds");
        if (*probe && o->handover == HANDOVER_ENVOY)
                return complain(p, "baton run: --probe: an Envoy is asked itself; --handover=listen-fds or none if this is none");
        if (probe_spec_read(probe, &spec) < 0)
                return complain(p, "baton run: --probe: '%s' is neither tcp nor http://IP:PORT/PATH (localhost is an IP, too)", probe);
        return 0;
}

static int resolve(struct parse *p)
{
        struct options *o = p->out;
        const char *admin = options_str(o, o->admin);
        struct proxy_user_error unknown;
        int r = 0;

        if (!*options_str(o, o->name))
                r = keep(p, "default", &o->name);
        if (r == 0 && (strchr(options_str(o, o->name), '/') || *options_str(o, o->name) == '.'))
                return complain(p, "baton run: --name: '%s' cannot be the name of a folder", options_str(o, o->name));
        if (r == 0 && strlen(options_str(o, o->name)) > OPTIONS_NAME_MAX)
                return complain(p, "baton run: --name: at most %d characters leave room for the names of sockets", OPTIONS_NAME_MAX);
        if (o->statuses.n > OPTIONS_STATUS_MAX)
                return complain(p, "baton run: --status is given more than %d times", OPTIONS_STATUS_MAX);
        if (r == 0 && !*options_str(o, o->certs_warn))
                r = keep(p, "30,7,1", &o->certs_warn);
        if (r == 0 && !*admin)
                r = keep(p, "bootstrap", &o->admin);
        o->handover_detected = o->handover == HANDOVER_DETECT;
        if (o->handover_detected)
                o->handover = looks_like_envoy(o) ? HANDOVER_ENVOY : o->listen.n ? HANDOVER_LISTEN_FDS : HANDOVER_NONE;
        if (r == 0 && proxy_user_resolve(options_str(o, o->proxy_user), &o->user, &unknown) != 0)
                return complain(p, "baton run: --proxy-user: %s", unknown.text);
        if (r == 0 && o->n_proxy_args > 0 && o->handover != HANDOVER_ENVOY && *admin && strcmp(admin, "bootstrap") != 0 && strcmp(admin, "off") != 0)
                return complain(p, "baton run: --admin: only an Envoy has an admin interface; use off, or --handover=envoy");
        return r ? r : check_handover(p);
}

/*
 * getopt_long() takes any beginning of a name, and the first of several if they are of one kind. What is short for one
 * option today is short for two tomorrow: only the whole name will do.
 */
static bool is_whole_name(const char *word, const char *name)
{
        return strcspn(word + 2, "=") == strlen(name);
}

static int read_command_line(struct parse *p, int argc, char **argv, const char **ret_print, bool *ret_help)
{
        struct option longs[N_KEYS + 3] = { 0 };
        int c, index;

        for (int k = 0; k < N_KEYS; k++)
                longs[k] = (struct option){ keys[k].name, keys[k].kind == K_FLAG ? optional_argument : required_argument, NULL, 'o' };
        longs[N_KEYS] = (struct option){ "print-options", optional_argument, NULL, 'p' };
        longs[N_KEYS + 1] = (struct option){ "help", no_argument, NULL, 'H' };
        optind = 0;
        opterr = 0;
        while ((c = getopt_long(argc, argv, "+:h", longs, &index)) != -1) {
                const char *word = argv[optind - (optarg && optarg == argv[optind - 1] ? 2 : 1)]; /* its value may stand behind it */
                int r = 0;

                if ((c == 'o' || c == 'p' || c == 'H') && !is_whole_name(word, longs[index].name))
                        return complain(p, "baton run: unknown option %.*s; see baton run --help", (int)strcspn(word, "="), word);
                switch (c) {
                case 'o':
                        r = give(p, FROM_COMMAND_LINE, index, optarg ? optarg : "true");
                        break;
                case 'p':
                        *ret_print = optarg ? optarg : "table";
                        if (strcmp(*ret_print, "table") != 0 && strcmp(*ret_print, "json") != 0)
                                r = complain(p, "baton run: --print-options: '%s' is neither table nor json", *ret_print);
                        break;
                case 'h':
                case 'H':
                        *ret_help = true;
                        break;
                case ':':
                        r = complain(p, "baton run: %s: its value is missing; see baton run --help", argv[optind - 1]);
                        break;
                default:
                        if (optopt) /* a letter, perhaps in the middle of a word */
                                r = complain(p, "baton run: unknown option -%c; see baton run --help", optopt);
                        else
                                r = complain(p, "baton run: unknown option %.*s; see baton run --help", (int)strcspn(word, "="), word);
                }
                if (r)
                        return r;
        }
        if (optind < argc && (optind == 0 || strcmp(argv[optind - 1], "--") != 0))
                return complain(p, "baton run: write -- before the proxy: baton run [OPTIONS] -- %s ...", argv[optind]);
        p->proxy = (const char *const *)argv + optind;
        p->n_proxy = (size_t)(argc - optind);
        return 0;
}

int options_parse(int argc, char **argv, char **environment, struct options *ret, struct options_error *reterr)
{
        static struct parse p; /* too large for a stack */
        const char *print = NULL, *file;
        bool help = false;
        int r, k = key_index("config");

        memset(&p, 0, offsetof(struct parse, file_text));
        p.out = ret;
        p.error = reterr;
        r = read_command_line(&p, argc, argv, &print, &help);
        if (r)
                return r;
        if (help) {
                print_help();
                return OPTIONS_HELP;
        }
        r = read_environment(&p, environment);
        file = p.given[FROM_COMMAND_LINE][k].n ? p.given[FROM_COMMAND_LINE][k].values[0]
               : p.given[FROM_ENVIRONMENT][k].n ? p.given[FROM_ENVIRONMENT][k].values[0]
                                                : NULL;
        if (r == 0 && file)
                r = read_file(&p, file);
        if (r == 0)
                r = apply(&p);
        if (r == 0)
                r = keep_proxy(&p, !print);
        if (r == 0)
                r = resolve(&p);
        if (r || !print)
                return r;
        if (strcmp(print, "json") == 0)
                print_json(&p);
        else
                print_table(&p);
        return OPTIONS_PRINT;
}

int options_seal(const struct options *o, int *ret_fd)
{
        CLEANUP(close_fd) int fd = memfd_create("baton-options", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        size_t bytes = offsetof(struct options, strings) + o->n_strings;

        if (fd < 0)
                return -errno;
        if (write(fd, o, bytes) != (ssize_t)bytes)
                return -ENOSPC;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int options_map(int fd, const struct options **ret)
{
        const struct options *o;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if ((size_t)st.st_size <= offsetof(struct options, strings))
                return -EPROTO;
        o = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (o == MAP_FAILED)
                return -errno;
        if (o->version != OPTIONS_VERSION || o->bytes != sizeof(*o) ||
            offsetof(struct options, strings) + o->n_strings != (size_t)st.st_size) {
                (void)munmap((void *)o, (size_t)st.st_size);
                return -EPROTO;
        }
        *ret = o;
        return 0;
}
