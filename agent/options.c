/* SPDX-License-Identifier: MIT */
/*
 * What fills the struct from the table of options (options_table.h): one value, the sources, the whole. getopt_long() is driven from
 * the table; argp would want it a second time in its own form, and the file and the environment could not share it.
 */
#include "agent/options_parse.h"

#include <ctype.h>
#include <stdarg.h>
#include <strings.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/duration.h"
#include "agent/listen_spec.h"

bool options_probe_needs_sockets(const struct options *o)
{
        return strcmp(options_str(o, o->probe), "tcp") == 0 && (o->listen.n == 0 || o->handover == HANDOVER_NONE);
}

int options_complain(struct parse *p, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(p->error->text, sizeof(p->error->text), format, ap);
        va_end(ap);
        return OPTIONS_E_USAGE;
}

static const char *environment_name(int k, char *buf, size_t size)
{
        (void)snprintf(buf, size, "BATON_%s", option_keys[k].name);
        for (char *c = buf; *c; c++)
                *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        return buf;
}

int options_give(struct parse *p, enum source s, int k, const char *value)
{
        struct given *g = &p->given[s][k];

        if (option_keys[k].kind != K_LIST)
                g->n = 0; /* the last one counts */
        if (g->n == OPTIONS_LIST_MAX)
                return options_complain(p, "baton run: --%s is given more than %d times", option_keys[k].name, OPTIONS_LIST_MAX);
        g->values[g->n++] = value;
        return 0;
}

/* ---- strings of the struct -------------------------------------------------------------------------- */

static int keep(struct parse *p, const char *text, options_string *ret)
{
        size_t n = strlen(text) + 1;

        if (n > sizeof(p->out->strings) - p->out->n_strings)
                return options_complain(p, "baton run: options and proxy arguments are longer than %d bytes", OPTIONS_STRING_BYTES);
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
                (void)snprintf(buf, size, "%.240s:%u: %s", p->file, p->given[s][k].line, option_keys[k].name);
        else if (s == FROM_ENVIRONMENT)
                (void)snprintf(buf, size, "baton run: %s", environment_name(k, name, sizeof(name)));
        else
                (void)snprintf(buf, size, "baton run: --%s", option_keys[k].name);
        return buf;
}

static int parse_number(struct parse *p, enum source s, int k, const char *text, int64_t *ret)
{
        const struct option_key *key = &option_keys[k];
        char at[320], bound[32], *end;
        int64_t v;

        if (key->standard == -1 && (strcmp(text, "none") == 0 || strcmp(text, "off") == 0)) {
                *ret = -1;
                return 0;
        }
        if (key->kind == K_DURATION) {
                if (duration_parse(text, &v) < 0)
                        return options_complain(p, "%s: '%s' is no duration: use ms, s, min or h, as in 1.5s", where(p, s, k, at, sizeof(at)), text);
        } else {
                const char *digits = *text == '-' ? text + 1 : text; /* strtoll() would take spaces and a plus */

                errno = 0;
                v = strtoll(text, &end, 10);
                if (errno || *end || *digits < '0' || *digits > '9')
                        return options_complain(p, "%s: '%s' is no whole number", where(p, s, k, at, sizeof(at)), text);
        }
        if (v < key->min)
                return options_complain(p, "%s: %s is below %s", where(p, s, k, at, sizeof(at)), text,
                                        option_number_text(key, key->min, bound, sizeof(bound)));
        if (v > key->max)
                return options_complain(p, "%s: %s is above %s", where(p, s, k, at, sizeof(at)), text,
                                        option_number_text(key, key->max, bound, sizeof(bound)));
        *ret = v;
        return 0;
}

static int parse_choice(struct parse *p, enum source s, int k, const char *text, int64_t *ret)
{
        char at[320];

        for (const struct choice *c = option_keys[k].choices; c->name; c++)
                if (strcmp(c->name, text) == 0) {
                        *ret = c->value;
                        return 0;
                }
        return options_complain(p, "%s: '%s' is not one of %s", where(p, s, k, at, sizeof(at)), text, option_keys[k].argument);
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
        return options_complain(p, "%s: '%s' is neither true nor false", where(p, s, k, at, sizeof(at)), text);
}

static int set_value(struct parse *p, enum source s, int k, const char *text)
{
        char *base = (char *)p->out, at[320];
        struct options_list *list;

        switch (option_keys[k].kind) {
        case K_STRING:
                if (!*text)
                        return options_complain(p, "%s: it is empty", where(p, s, k, at, sizeof(at)));
                return keep(p, text, (options_string *)(void *)(base + option_keys[k].field));
        case K_LIST:
                if (!*text)
                        return options_complain(p, "%s: it is empty", where(p, s, k, at, sizeof(at)));
                list = (struct options_list *)(void *)(base + option_keys[k].field);
                return keep(p, text, &list->items[list->n++]);
        case K_FLAG:
                return parse_flag(p, s, k, text, (bool *)(base + option_keys[k].field));
        case K_INT:
        case K_DURATION:
                return parse_number(p, s, k, text, (int64_t *)(void *)(base + option_keys[k].field));
        case K_CHOICE:
                return parse_choice(p, s, k, text, (int64_t *)(void *)(base + option_keys[k].field));
        }
        return 0;
}

static bool differs_from_standard(const struct parse *p, int k)
{
        const char *base = (const char *)p->out;

        switch (option_keys[k].kind) {
        case K_STRING:
                return *options_str(p->out, *(const options_string *)(const void *)(base + option_keys[k].field)) != '\0';
        case K_LIST:
                return ((const struct options_list *)(const void *)(base + option_keys[k].field))->n > 0;
        case K_FLAG:
                return *(const bool *)(base + option_keys[k].field);
        case K_INT:
        case K_DURATION:
        case K_CHOICE:
                return *(const int64_t *)(const void *)(base + option_keys[k].field) != option_keys[k].standard;
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
                if (option_keys[k].kind == K_INT || option_keys[k].kind == K_DURATION || option_keys[k].kind == K_CHOICE)
                        *(int64_t *)(void *)((char *)o + option_keys[k].field) = option_keys[k].standard;
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
                if (option_keys[k].later && differs_from_standard(p, k))
                        return options_complain(p, "%s: not in this version", where(p, s, k, at, sizeof(at)));
        }
        p->out->drain_time_given = p->used[option_index("drain-time")] != FROM_DEFAULT;
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
                                int r = options_give(p, FROM_ENVIRONMENT, k, *e + n + 1);

                                if (r)
                                        return r;
                        }
        }
        return 0;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static int keep_proxy(struct parse *p, bool wanted)
{
        const char *const *words = p->n_proxy ? p->proxy : p->file_proxy;
        size_t n = p->n_proxy ? p->n_proxy : p->n_file_proxy;

        if (n == 0 && !wanted)
                return 0;
        if (n == 0) {
                (void)options_complain(p, "baton run: no proxy given: baton run [OPTIONS] -- PROXY [ARGS...]; see baton run --help");
                return OPTIONS_E_NO_PROXY;
        }
        if (!*words[0])
                return options_complain(p, "baton run: the name of the proxy is empty");
        if (n > OPTIONS_PROXY_ARGS_MAX)
                return options_complain(p, "baton run: the proxy has more than %d arguments", OPTIONS_PROXY_ARGS_MAX);
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
                        return options_complain(p, "baton run: --listen: '%s' is no IP:PORT, :PORT, [::]:PORT or unix:PATH, with or without NAME= before it",
                                                options_str(o, o->listen.items[i]));
        if (o->listen.n && o->handover == HANDOVER_ENVOY)
                return options_complain(p, "baton run: --listen: not in this version for an Envoy, which opens its listeners itself; "
                                        "--handover=listen-fds if this is none");
        if (o->listen.n && o->handover == HANDOVER_NONE)
                return options_complain(p, "baton run: --listen: with --handover=none the proxy is given no socket; leave --handover out, or use listen-fds");
        if (*probe && o->handover == HANDOVER_ENVOY)
                return options_complain(p, "baton run: --probe: an Envoy is asked itself; --handover=listen-fds or none if this is none");
        if (probe_spec_read(probe, &spec) < 0)
                return options_complain(p, "baton run: --probe: '%s' is neither tcp nor http://IP:PORT/PATH (localhost is an IP, too)", probe);
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
                return options_complain(p, "baton run: --name: '%s' cannot be the name of a folder", options_str(o, o->name));
        if (r == 0 && strlen(options_str(o, o->name)) > OPTIONS_NAME_MAX)
                return options_complain(p, "baton run: --name: at most %d characters leave room for the names of sockets", OPTIONS_NAME_MAX);
        if (o->statuses.n > OPTIONS_STATUS_MAX)
                return options_complain(p, "baton run: --status is given more than %d times", OPTIONS_STATUS_MAX);
        if (r == 0 && !*options_str(o, o->certs_warn))
                r = keep(p, "30,7,1", &o->certs_warn);
        if (r == 0 && !*admin)
                r = keep(p, "bootstrap", &o->admin);
        o->handover_detected = o->handover == HANDOVER_DETECT;
        if (o->handover_detected)
                o->handover = looks_like_envoy(o) ? HANDOVER_ENVOY : o->listen.n ? HANDOVER_LISTEN_FDS : HANDOVER_NONE;
        if (r == 0 && proxy_user_resolve(options_str(o, o->proxy_user), &o->user, &unknown) != 0)
                return options_complain(p, "baton run: --proxy-user: %s", unknown.text);
        if (r == 0 && o->n_proxy_args > 0 && o->handover != HANDOVER_ENVOY && *admin && strcmp(admin, "bootstrap") != 0 && strcmp(admin, "off") != 0)
                return options_complain(p, "baton run: --admin: only an Envoy has an admin interface; use off, or --handover=envoy");
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
                longs[k] = (struct option){ option_keys[k].name, option_keys[k].kind == K_FLAG ? optional_argument : required_argument, NULL, 'o' };
        longs[N_KEYS] = (struct option){ "print-options", optional_argument, NULL, 'p' };
        longs[N_KEYS + 1] = (struct option){ "help", no_argument, NULL, 'H' };
        optind = 0;
        opterr = 0;
        while ((c = getopt_long(argc, argv, "+:h", longs, &index)) != -1) {
                const char *word = argv[optind - (optarg && optarg == argv[optind - 1] ? 2 : 1)]; /* its value may stand behind it */
                int r = 0;

                if ((c == 'o' || c == 'p' || c == 'H') && !is_whole_name(word, longs[index].name))
                        return options_complain(p, "baton run: unknown option %.*s; see baton run --help", (int)strcspn(word, "="), word);
                switch (c) {
                case 'o':
                        r = options_give(p, FROM_COMMAND_LINE, index, optarg ? optarg : "true");
                        break;
                case 'p':
                        *ret_print = optarg ? optarg : "table";
                        if (strcmp(*ret_print, "table") != 0 && strcmp(*ret_print, "json") != 0)
                                r = options_complain(p, "baton run: --print-options: '%s' is neither table nor json", *ret_print);
                        break;
                case 'h':
                case 'H':
                        *ret_help = true;
                        break;
                case ':':
                        r = options_complain(p, "baton run: %s: its value is missing; see baton run --help", argv[optind - 1]);
                        break;
                default:
                        if (optopt) /* a letter, perhaps in the middle of a word */
                                r = options_complain(p, "baton run: unknown option -%c; see baton run --help", optopt);
                        else
                                r = options_complain(p, "baton run: unknown option %.*s; see baton run --help", (int)strcspn(word, "="), word);
                }
                if (r)
                        return r;
        }
        if (optind < argc && (optind == 0 || strcmp(argv[optind - 1], "--") != 0))
                return options_complain(p, "baton run: write -- before the proxy: baton run [OPTIONS] -- %s ...", argv[optind]);
        p->proxy = (const char *const *)argv + optind;
        p->n_proxy = (size_t)(argc - optind);
        return 0;
}

int options_parse(int argc, char **argv, char **environment, struct options *ret, struct options_error *reterr)
{
        static struct parse p; /* too large for a stack */
        const char *print = NULL, *file;
        bool help = false;
        int r, k = option_index("config");

        memset(&p, 0, offsetof(struct parse, file_text));
        p.out = ret;
        p.error = reterr;
        r = read_command_line(&p, argc, argv, &print, &help);
        if (r)
                return r;
        if (help) {
                options_print_help();
                return OPTIONS_HELP;
        }
        r = read_environment(&p, environment);
        file = p.given[FROM_COMMAND_LINE][k].n ? p.given[FROM_COMMAND_LINE][k].values[0]
               : p.given[FROM_ENVIRONMENT][k].n ? p.given[FROM_ENVIRONMENT][k].values[0]
                                                : NULL;
        if (r == 0 && file)
                r = options_read_file(&p, file);
        if (r == 0)
                r = apply(&p);
        if (r == 0)
                r = keep_proxy(&p, !print);
        if (r == 0)
                r = resolve(&p);
        if (r || !print)
                return r;
        if (strcmp(print, "json") == 0)
                options_print_json(&p);
        else
                options_print_table(&p);
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
