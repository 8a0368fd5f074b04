/* SPDX-License-Identifier: MIT */
/*
 * baton check: would an upgrade to this config and this proxy be tried? All that its preflight looks at is looked at here,
 * by a client, with or without an instance: options, arguments, the proxy and its versions, the config by the proxy's own
 * judgement, the static listeners. Nothing is touched: the instance is asked for its status and no more, sockets are bound and
 * never listen, the proxy reads a private copy of the config that is gone at the end.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/ctl/check.h"
#include "agent/duration.h"
#include "agent/instance.h"
#include "agent/json.h"
#include "agent/kit.h"
#include "agent/proxy_words.h"

enum { TIMEOUT_MS = 10000, STATUS_MS = 10000 };

extern char **environ;

/* ---- what is wrong ---------------------------------------------------------------------------------- */

void check_clean(char *text)
{
        for (unsigned char *p = (unsigned char *)text; *p; p++)
                if (*p < ' ' || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
                        *p = *p == '\n' || *p == '\t' ? ' ' : '?';
}

void check_add_problem(struct check *c, bool invalid, const char *what, const char *format, ...)
{
        struct check_problem *more = reallocarray(c->problems, c->n_problems + 1, sizeof(*more)), *p;
        va_list ap;

        if (!more)
                return;
        c->problems = more;
        p = &more[c->n_problems++];
        p->invalid = invalid;
        (void)snprintf(p->what, sizeof(p->what), "%s", what);
        va_start(ap, format);
        (void)vsnprintf(p->reason, sizeof(p->reason), format, ap);
        va_end(ap);
        check_clean(p->what);
        check_clean(p->reason);
}

void check_add_note(struct check *c, const char *text)
{
        if (c->n_notes < sizeof(c->notes) / sizeof(c->notes[0]))
                c->notes[c->n_notes++] = text;
}

static int verdict(const struct check *c)
{
        int status = EXIT_FINE;

        for (size_t i = 0; i < c->n_problems; i++)
                if (status != EXIT_USAGE)
                        status = c->problems[i].invalid ? EXIT_USAGE : EXIT_FAILED;
        return status;
}

/* The texts are those of `run`: what is wrong is the same. */
static const char *without_verb(const char *text)
{
        static const char verb[] = "baton run: ";

        return strncmp(text, verb, strlen(verb)) == 0 ? text + strlen(verb) : text;
}

/* ---- the command line ------------------------------------------------------------------------------- */

static void print_help(void)
{
        printf("Usage: baton check [--diff] [--json] [--timeout=D] [OPTIONS] [-- PROXY [ARGS...]]\n\n"
               "Tell whether an upgrade to this proxy and config would be tried. Nothing is changed, no instance is needed.\n\n"
               "  --diff        compare with the instance that runs: listeners, workers, versions\n"
               "  --json        for programs\n"
               "  --timeout=D   how long each run of the proxy may take [10s]\n\n"
               "Every option of baton run is taken, too; see baton run --help. Without PROXY it is the running command.\n"
               "Exit status: 0 it would be tried, 1 it would fail, 2 invalid config or arguments, 3 --diff finds no instance.\n");
}

struct words {
        int n;
        char *list[OPTIONS_PROXY_ARGS_MAX + 2 * OPTIONS_LIST_MAX + 128];
};

static int add_word(struct words *w, const char *word)
{
        if ((size_t)w->n + 1 >= sizeof(w->list) / sizeof(w->list[0]))
                return -E2BIG;
        w->list[w->n++] = (char *)word;
        w->list[w->n] = NULL;
        return 0;
}

/* Ours out of the options of `run`. Return: 0; 1: help was asked for and given; -1: said what is wrong */
static int take_ours(struct check *c, int argc, char **argv, struct words *w)
{
        bool options = true;

        (void)add_word(w, "baton check");
        for (int i = 0; i < argc; i++) {
                const char *word = argv[i], *duration = NULL;

                if (options && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
                        print_help();
                        return 1;
                }
                if (options && strcmp(word, "--diff") == 0) {
                        c->diff = true;
                } else if (options && strcmp(word, "--json") == 0) {
                        c->json = true;
                } else if (options && (strcmp(word, "--timeout") == 0 || strncmp(word, "--timeout=", 10) == 0)) {
                        duration = word[9] ? word + 10 : i + 1 < argc ? argv[++i] : "";
                        if (duration_parse(duration, &c->timeout_ms) < 0 || c->timeout_ms <= 0) {
                                check_add_problem(c, true, "options", "--timeout: '%s' is no duration: use ms, s, min or h", duration);
                                return -1;
                        }
                } else if (add_word(w, word) < 0 || (options && options_want_value(word) && i + 1 < argc && add_word(w, argv[++i]) < 0)) {
                        check_add_problem(c, true, "options", "more than %zu words", sizeof(w->list) / sizeof(w->list[0]) - 2);
                        return -1;
                }
                options = options && strcmp(word, "--") != 0;
        }
        return 0;
}

static int ask_status(struct check *c, const struct options *o, char **ret_body)
{
        struct instance_error e = { 0 };
        int status;

        if (instance_find(options_str(o, o->run_dir), options_str(o, o->name), c->ctl->found, sizeof(c->ctl->found), &e) != 0) {
                if (c->diff)
                        check_add_problem(c, false, "instance", "%s", e.text);
                return EXIT_NO_INSTANCE;
        }
        status = ctl_request(c->ctl, "GET", "/v1/status", STATUS_MS, ret_body);
        if (status == 200)
                return EXIT_FINE;
        check_add_problem(c, false, "instance", "it does not tell its status: %s", status < 0 ? strerror(-status) : "it refuses");
        return EXIT_FAILED;
}

/* The words live as long as the process. Return: false: the instance does not name its command */
static bool add_running_command(const char *body, struct words *w)
{
        struct json d;
        struct json_error e;
        json_node list;
        bool added = false;

        if (json_parse(body, strlen(body), &d, &e) != 0)
                return false;
        list = json_get(&d, JSON_ROOT, "command");
        if (strcmp(w->list[w->n - 1], "--") != 0)
                (void)add_word(w, "--");
        for (json_node i = json_first(&d, list); i != JSON_NONE; i = json_next(&d, list, i)) {
                static char text[OPTIONS_STRING_BYTES];
                char *word = json_string(&d, i, text, sizeof(text)) == 0 ? strdup(text) : NULL;

                added = word && add_word(w, word) == 0;
                if (!added)
                        break;
        }
        json_done(&d);
        return added;
}

/* Return: an exit status; EXIT_FINE: options and arguments are read, or *ret_over: all is said */
static int read_options(struct check *c, struct words *w, bool *ret_over)
{
        static struct options o;
        static const char *argv[OPTIONS_PROXY_ARGS_MAX + 1];
        CLEANUP(free_ptr) char *body = NULL;
        struct options_error error = { 0 };
        struct proxy_args_error refused = { "out of memory" };
        int r = options_parse(w->n, w->list, environ, &o, &error);

        if (r == OPTIONS_E_NO_PROXY) {
                int status = ask_status(c, &o, &body);

                if (status == EXIT_NO_INSTANCE && c->diff)
                        return status;
                if (status == EXIT_FINE && !add_running_command(body, w)) {
                        check_add_problem(c, true, "arguments", "the instance does not tell what it runs: write it behind --");
                        return EXIT_USAGE;
                }
                if (status == EXIT_FINE)
                        r = options_parse(w->n, w->list, environ, &o, &error);
        }
        if (r == OPTIONS_HELP || r == OPTIONS_PRINT) {
                *ret_over = true;
                return EXIT_FINE;
        }
        c->options = &o;
        c->guard.user = &o.user;
        if (r != 0) {
                check_add_problem(c, true, "options", "%s", without_verb(error.text));
                return EXIT_USAGE;
        }
        for (size_t i = 0; i < o.n_proxy_args; i++)
                argv[i] = options_proxy_arg(&o, i);
        r = proxy_args_read(argv, o.n_proxy_args, o.handover == HANDOVER_ENVOY, &c->args, &refused);
        if (r != 0)
                check_add_problem(c, true, "arguments", "%s", without_verb(refused.text));
        else if (c->args.plain)
                check_add_problem(c, true, "arguments", "with these the proxy is run plainly, once: there is nothing to check");
        return verdict(c);
}

/* ---- the instance ----------------------------------------------------------------------------------- */

static void read_status(struct check *c, const char *body)
{
        struct json d;
        struct json_error e;
        json_node epochs, listeners;
        char handover[16];

        c->running = (struct check_running){ .epoch = -1 };
        if (json_parse(body, strlen(body), &d, &e) != 0)
                return;
        if (json_string(&d, json_get(&d, JSON_ROOT, "handover"), handover, sizeof(handover)) == 0 &&
            (strcmp(handover, "envoy") == 0) != (c->options->handover == HANDOVER_ENVOY))
                check_add_problem(c, false, "instance", "it runs with --handover %s, and no upgrade changes that", handover);
        epochs = json_get(&d, JSON_ROOT, "epochs");
        for (json_node i = json_first(&d, epochs); i != JSON_NONE; i = json_next(&d, epochs, i)) {
                char state[32];

                if (json_string(&d, json_get(&d, i, "state"), state, sizeof(state)) != 0 || strcmp(state, "serving") != 0)
                        continue;
                (void)json_int(&d, json_get(&d, i, "epoch"), &c->running.epoch);
                (void)json_string(&d, json_get(&d, i, "version"), c->running.version, sizeof(c->running.version));
        }
        listeners = json_get(&d, JSON_ROOT, "listeners");
        c->running.urls = calloc(json_size(&d, listeners) + 1, sizeof(*c->running.urls));
        for (json_node i = json_first(&d, listeners); c->running.urls && i != JSON_NONE; i = json_next(&d, listeners, i)) {
                int64_t workers = 0, held = 0;

                (void)json_int(&d, json_get(&d, i, "workers"), &workers);
                (void)json_int(&d, json_get(&d, i, "held"), &held);
                if (workers > c->running.workers)
                        c->running.workers = workers;
                if (held > 0 && json_string(&d, json_get(&d, i, "address"), c->running.urls[c->running.n_urls], HR_URL_BYTES) == 0)
                        c->running.n_urls++;
        }
        json_done(&d);
}

/* ---- the proxy -------------------------------------------------------------------------------------- */

/* Return: false: it did not run to an end of its own; why is a problem by now */
static bool run_proxy(struct check *c, char *const *argv, const char *doing, struct check_output *out)
{
        char text[32];
        int r = check_run(&c->guard, c->args.program, argv, c->timeout_ms, out);

        c->interrupted = r == -EINTR;
        if (r < 0 && !c->interrupted)
                check_add_problem(c, false, "proxy", "cannot run it: %s", strerror(-r));
        if (r < 0)
                return false;
        if (out->error)
                check_add_problem(c, false, "proxy", "%s cannot be executed: %s", c->args.program, strerror(out->error));
        else if (out->timed_out)
                check_add_problem(c, false, "proxy", "%s did not end within %s", doing, duration_text(c->timeout_ms, text, sizeof(text)));
        else if (out->signal)
                check_add_problem(c, false, "proxy", "%s was ended by signal %d (%s)", doing, out->signal, strsignal(out->signal));
        return !out->error && !out->timed_out && !out->signal;
}

static const char *last_line(char *text)
{
        char *line;

        for (size_t n = strlen(text); n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'); n--)
                text[n - 1] = '\0';
        line = strrchr(text, '\n');
        return line ? line + 1 : text;
}

static bool is_executable(struct check *c)
{
        struct stat st;
        const char *path = c->args.program;

        if (stat(path, &st) < 0)
                check_add_problem(c, false, "proxy", "%s: %s", path, strerror(errno));
        else if (!S_ISREG(st.st_mode))
                check_add_problem(c, false, "proxy", "%s is not a file", path);
        else if (access(path, X_OK) < 0)
                check_add_problem(c, false, "proxy", "%s cannot be executed: %s", path, strerror(errno));
        else
                return true;
        return false;
}

/* The words before the first option, a wrapper's too, and one option. */
static bool ask_proxy(struct check *c, const char *option, struct check_output *out)
{
        static char *argv[OPTIONS_PROXY_ARGS_MAX + 2];
        size_t n = 0;

        while (c->args.all[n] && *c->args.all[n] != '-' && n < OPTIONS_PROXY_ARGS_MAX) {
                argv[n] = c->args.all[n];
                n++;
        }
        argv[n] = (char *)option;
        argv[n + 1] = NULL;
        if (!run_proxy(c, argv, option, out))
                return false;
        if (out->status == 0)
                return true;
        check_add_problem(c, false, "proxy", "%s ended with status %d: %s", option, out->status, last_line(out->text));
        return false;
}

/* "...version: HASH/1.40.0/Clean/RELEASE/BoringSSL" */
static void read_version(struct check *c, const char *text)
{
        const char *at = strstr(text, "version: "), *slash = at ? strchr(at, '/') : NULL;

        if (slash)
                (void)snprintf(c->version, sizeof(c->version), "%.*s", (int)strcspn(slash + 1, "/\n"), slash + 1);
        check_clean(c->version);
}

static void read_hot_restart_version(struct check *c, const char *text)
{
        const struct hr_segment_layout want = HR_SEGMENT_DEFAULT;
        struct hr_segment_layout have = { 0 };
        bool told = proxy_words_version(text, strlen(text), &have, c->hot_restart_version, sizeof(c->hot_restart_version));

        check_clean(c->hot_restart_version);
        if (!told || have.version != want.version || have.bytes != want.bytes)
                check_add_problem(c, false, "hot restart version", "it is '%s', and baton speaks %" PRIu64 ".%" PRIu64,
                                  c->hot_restart_version, want.version, want.bytes);
}

static bool check_proxy(struct check *c)
{
        static struct check_output out;

        if (!is_executable(c))
                return false;
        if (c->options->handover != HANDOVER_ENVOY)
                return true;
        if (!ask_proxy(c, "--version", &out))
                return false;
        read_version(c, out.text);
        if (ask_proxy(c, "--hot-restart-version", &out))
                read_hot_restart_version(c, out.text);
        return !c->interrupted;
}

/* ---- the config ------------------------------------------------------------------------------------- */

static void validate(struct check *c, const struct check_copy *copy, const char *yaml)
{
        static struct check_output out;
        CLEANUP(free_strv) char **argv = NULL;
        char words[1024];

        if (proxy_args_compose_validate(&c->args, c->args.config_path ? copy->file : NULL, yaml, &argv) < 0 ||
            !run_proxy(c, argv, "--mode validate", &out) || out.status == 0)
                return;
        if (proxy_words(out.text, out.n, out.status, words, sizeof(words)))
                check_add_problem(c, true, "config", "%s", words);
        else
                check_add_problem(c, false, "proxy", "--mode validate ended with status %d: %s", out.status, last_line(out.text));
}

/* The copy's name is nothing to the user: what the proxy says of it is said of the file. */
static void name_the_file(struct check *c, const struct check_copy *copy, size_t since)
{
        for (size_t i = since; *copy->file && i < c->n_problems; i++) {
                char *reason = c->problems[i].reason, *at = strstr(reason, copy->file), rest[sizeof(c->problems[i].reason)];

                if (!at)
                        continue;
                (void)snprintf(rest, sizeof(rest), "%s", at + strlen(copy->file));
                (void)snprintf(at, sizeof(c->problems[i].reason) - (size_t)(at - reason), "%s%s", c->args.config_path, rest);
        }
}

/* @runs: the proxy can be asked. Return: false: the config cannot be read */
static bool check_config(struct check *c, bool runs)
{
        CLEANUP(free_ptr) char *text = NULL;
        CLEANUP(free_ptr) char *yaml = NULL;
        CLEANUP(check_copy_remove) struct check_copy copy = { 0 };
        char words[1024] = "out of memory", admin[300] = "/nowhere";
        size_t n = 0, before = c->n_problems;
        int r = 0;

        if (c->args.config_path)
                r = kit_read_config(c->args.config_path, c->options->expand_env ? environ : NULL, NULL, 0, &text, &n, words, sizeof(words));
        if (r != 0) {
                check_add_problem(c, r == KIT_E_CONFIG, "config", "%s", words);
                return false;
        }
        bootstrap_read(text, n, c->args.config_yaml, c->args.config_path, &c->facts);
        if (c->args.config_path)
                r = check_copy_make(&c->options->user, kit_extension(c->args.config_path), text, n, &copy);
        if (r < 0) {
                check_add_problem(c, false, "config", "cannot make a copy to be validated: %s", strerror(-r));
                return true;
        }
        if (*copy.folder)
                (void)snprintf(admin, sizeof(admin), "%s/admin", copy.folder);
        r = bootstrap_merge_admin(c->args.config_yaml, admin, &yaml);
        if (r < 0)
                check_add_problem(c, r == -EINVAL, "config", "--config-yaml %s", r == -EINVAL ? "is not a YAML mapping" : "cannot be merged");
        else if (runs)
                validate(c, &copy, yaml);
        name_the_file(c, &copy, before);
        return true;
}

/*
 * What it is told, else as many as there are CPUs. Which ones, differs: Envoy 1.36 counts those on line, 1.40 those that it may
 * run on, and with --cpuset-threads both do. Return: -1 where the two are not the same
 */
static int64_t count_workers(struct check *c)
{
        int64_t told = proxy_args_concurrency(&c->args), online = sysconf(_SC_NPROCESSORS_ONLN);
        cpu_set_t set;

        if (told >= 0)
                return told > 0 ? told : 1;
        check_add_note(c, "without --concurrency the proxy counts its CPUs itself, and a limit of its cgroup may count: workers are a guess");
        if (sched_getaffinity(0, sizeof(set), &set) < 0)
                return -1;
        for (size_t i = 0; c->args.kept[i]; i++)
                if (strcmp(c->args.kept[i], "--cpuset-threads") == 0)
                        return CPU_COUNT(&set);
        return CPU_COUNT(&set) == online ? online : -1;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static void look_at_all(struct check *c)
{
        bool runs = check_proxy(c);

        check_certs(c);
        if (c->options->handover != HANDOVER_ENVOY) {
                check_add_note(c, "not an Envoy: nothing to validate but that it can be executed, and that it can have its sockets");
                check_sockets(c);
                return;
        }
        c->workers = count_workers(c);
        if (!c->interrupted && check_config(c, runs) && !c->interrupted)
                check_listeners(c);
}

static int check(struct check *c, int argc, char **argv, bool *ret_over)
{
        static struct words w;
        CLEANUP(free_ptr) char *body = NULL;
        int r = take_ours(c, argc, argv, &w);

        *ret_over = r > 0;
        if (r != 0)
                return r > 0 ? EXIT_FINE : EXIT_USAGE;
        r = read_options(c, &w, ret_over);
        if (r != EXIT_FINE || *ret_over)
                return r;
        r = ask_status(c, c->options, &body);
        if (c->diff && r != EXIT_FINE)
                return r;
        if (r == EXIT_FINE)
                read_status(c, body);
        look_at_all(c);
        return verdict(c);
}

int verb_check(struct ctl *ctl)
{
        struct check c = { .ctl = ctl, .timeout_ms = TIMEOUT_MS, .workers = -1, .running = { .epoch = -1 } };
        bool over = false;
        int r = check_guard_begin(&c.guard);

        if (r < 0) {
                fprintf(stderr, "baton check: %s\n", strerror(-r));
                return EXIT_FAILED;
        }
        r = check(&c, ctl->argc, ctl->argv, &over);
        check_guard_end(&c.guard);
        if (!over && !c.interrupted && c.json)
                check_show_json(&c);
        else if (!over && !c.interrupted)
                check_show_table(&c);
        proxy_args_done(&c.args);
        bootstrap_done(&c.facts);
        free(c.running.urls);
        free(c.rows);
        free(c.problems);
        return c.interrupted ? EXIT_FAILED : r;
}
