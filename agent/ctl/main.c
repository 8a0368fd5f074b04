/* SPDX-License-Identifier: MIT */
/*
 * baton VERB: the client verbs. A table of verbs; each parses the same few options, finds the instance and asks its control
 * socket. Nothing here touches the instance but by HTTP. Here are the table and what is short: to stop, to drain, to wait.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/ctl/ctl.h"
#include "agent/duration.h"
#include "agent/instance.h"

enum { OPT_RUN_DIR = 256, OPT_NAME, OPT_JSON, OPT_FOLLOW, OPT_WATCH, OPT_UNDO, OPT_READY, OPT_EPOCH, OPT_TIMEOUT, OPT_NO_WAIT,
       OPT_OBSERVE, OPT_SELF, OPT_CANARY, OPT_TO };

/* ---- verbs that order and wait ----------------------------------------------------------------------- */

/* Over when nobody listens on the control socket any more. */
static int wait_gone(struct ctl *c)
{
        int64_t until = c->timeout_ms < 0 ? INT64_MAX : ctl_now_ms() + c->timeout_ms;
        CLEANUP(free_ptr) char *body = NULL;

        while (ctl_now_ms() < until) {
                int64_t left = until == INT64_MAX ? 3600000 : until - ctl_now_ms();
                struct instance_error e;
                char dir[256];
                int status;

                free(TAKE(body));
                status = ctl_request(c, "GET", "/v1/wait?epoch=4294967295&timeout_ms=3600000", left > 0 ? left : 1, &body);
                if (status == -ETIMEDOUT)
                        break;
                if (instance_find(c->found, "", dir, sizeof(dir), &e) != 0)
                        return EXIT_FINE;
                (void)usleep(10000); /* its agent is being replaced */
        }
        fprintf(stderr, "baton: timed out; the stop goes on\n");
        return EXIT_TIMED_OUT;
}

static int verb_stop(struct ctl *c)
{
        CLEANUP(free_ptr) char *body = NULL;
        int r = ctl_find(c);

        if (r == 0)
                r = ctl_judge(ctl_request(c, "POST", "/v1/stop", 10000, &body), body ? body : "");
        return r || c->no_wait ? r : wait_gone(c);
}

static int post(struct ctl *c, const char *path)
{
        CLEANUP(free_ptr) char *body = NULL;
        int r = ctl_find(c);

        return r ? r : ctl_judge(ctl_request(c, "POST", path, 10000, &body), body ? body : "");
}

static int verb_drain(struct ctl *c)
{
        return post(c, c->undo ? "/v1/drain?undo=1" : "/v1/drain");
}

/* `baton run &` and then `baton wait`: the instance may not be there yet. Without --timeout a moment must do. */
static void wait_here(struct ctl *c)
{
        enum { MOMENT_MS = 2000, PAUSE_US = 10000 };
        int64_t until = ctl_now_ms() + (c->timeout_ms < 0 ? MOMENT_MS : c->timeout_ms);
        struct instance_error e;

        while (instance_find(c->run_dir, c->name, c->found, sizeof(c->found), &e) != 0 && ctl_now_ms() < until)
                (void)usleep(PAUSE_US);
}

static int verb_wait(struct ctl *c)
{
        int64_t until = c->timeout_ms < 0 ? INT64_MAX : ctl_now_ms() + c->timeout_ms;
        char path[128];
        int r;

        if (!c->ready && c->epoch < 0) {
                fprintf(stderr, "baton wait: give --ready or --epoch N\n");
                return EXIT_USAGE;
        }
        if (c->ready && c->epoch >= 0) {
                fprintf(stderr, "baton wait: give --ready or --epoch N, not both\n");
                return EXIT_USAGE;
        }
        wait_here(c);
        do {
                CLEANUP(free_ptr) char *body = NULL;
                int64_t left = until == INT64_MAX ? 3600000 : until - ctl_now_ms();
                int status;

                left = left > 0 ? left : 0; /* no patience: ask once */
                r = ctl_find(c);
                if (r)
                        return r;
                (void)snprintf(path, sizeof(path), "/v1/wait?%s=%" PRId64 "&timeout_ms=%" PRId64, c->ready ? "ready" : "epoch",
                               c->ready ? 1 : c->epoch, left);
                status = ctl_request(c, "GET", path, left + 1000, &body);
                if (status > 0 && (status != 504 || until != INT64_MAX))
                        return ctl_judge(status, body);
                (void)usleep(10000); /* the agent was replaced: ask the next one */
        } while (ctl_now_ms() < until);
        fprintf(stderr, "baton: timed out\n");
        return EXIT_TIMED_OUT;
}

static int verb_version(struct ctl *c)
{
        printf(c->json ? "{\"version\":\"%s\"}\n" : "baton %s\n", BATON_VERSION);
        return EXIT_FINE;
}

static int later(struct ctl *c)
{
        fprintf(stderr, "baton %s: not in this version\n", c->verb);
        return EXIT_USAGE;
}

/* ---- the table -------------------------------------------------------------------------------------- */

/* Which options a verb takes, beside --run-dir and --name: a bit of each. */
enum { TAKES_JSON = 1, TAKES_FOLLOW = 2, TAKES_WATCH = 4, TAKES_UNDO = 8, TAKES_READY = 16, TAKES_EPOCH = 32, TAKES_TIMEOUT = 64, TAKES_NO_WAIT = 128,
       TAKES_TO = 256, TAKES_PROXY = 512, /* a command behind --, and how it is put to work */ TAKES_ITS_OWN = 1024, TAKES_ARGUMENT = 2048,
       TAKES_WORDS = 4096 /* METHOD PATH */ };

enum { TAKEN_BY_UPGRADE = TAKES_JSON | TAKES_TIMEOUT | TAKES_NO_WAIT | TAKES_PROXY };

static const struct verb {
        const char *name;
        const char *doc;
        unsigned takes;
        int (*run)(struct ctl *c);
} verbs[] = {
        { "status", "Show what runs, who serves, which listeners are held.", TAKES_JSON | TAKES_WATCH, verb_status },
        { "stop", "Stop gracefully and wait until the instance is gone.", TAKES_TIMEOUT | TAKES_NO_WAIT, verb_stop },
        { "drain", "Take readiness away but go on serving; --undo gives it back.", TAKES_UNDO, verb_drain },
        { "wait", "Wait until it is ready (--ready) or an epoch serves (--epoch N).", TAKES_READY | TAKES_EPOCH | TAKES_TIMEOUT, verb_wait },
        { "events", "Show what happened; --follow shows what happens.", TAKES_JSON | TAKES_FOLLOW, verb_events },
        { "why", "Say in one line why it is down or what went wrong last.", 0, verb_why },
        { "check", "Check a proxy and its config as an upgrade would; --diff compares with what runs.", TAKES_ITS_OWN, verb_check },
        { "version", "Print the version.", TAKES_JSON, verb_version },
        { "upgrade", "Put a new config, binary or command to work and wait until it serves.", TAKEN_BY_UPGRADE, verb_upgrade },
        { "reload", "The same as upgrade.", TAKEN_BY_UPGRADE, verb_upgrade },
        { "rollback", "Go back to what served before, or to an earlier epoch (--to N).", TAKES_JSON | TAKES_TIMEOUT | TAKES_NO_WAIT | TAKES_TO, verb_rollback },
        { "admin", "Ask the admin interface of the proxy that serves: admin GET|POST PATH.", TAKES_TIMEOUT | TAKES_WORDS, verb_admin },
        { "pause", "Hold automatic upgrades back.", 0, verb_pause },
        { "resume", "Let automatic upgrades go on.", 0, verb_resume },
        { "certs", "Show the certificates of a directory and whether they would be put to work.", TAKES_JSON | TAKES_ARGUMENT, verb_certs },
        { "stats", "Totals over all generations. Not in this version.", 0, later },
        { "top", "A live view. Not in this version.", 0, later },
        { "receipts", "What each handover cost. Not in this version.", 0, later },
};

enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static const struct {
        struct argp_option option;
        unsigned taken; /* 0: by every verb */
} options[] = {
        { { "run-dir", OPT_RUN_DIR, "DIR", 0, "the run directory of the instance", 0 }, 0 },
        { { "name", OPT_NAME, "NAME", 0, "the name of the instance (default)", 0 }, 0 },
        { { "json", OPT_JSON, NULL, 0, "for programs", 0 }, TAKES_JSON },
        { { "follow", OPT_FOLLOW, NULL, 0, "go on with what happens, until the instance ends", 0 }, TAKES_FOLLOW },
        { { "watch", OPT_WATCH, NULL, 0, "again whenever something changes", 0 }, TAKES_WATCH },
        { { "undo", OPT_UNDO, NULL, 0, "be ready again", 0 }, TAKES_UNDO },
        { { "ready", OPT_READY, NULL, 0, "until it is ready", 0 }, TAKES_READY },
        { { "epoch", OPT_EPOCH, "N", 0, "until this epoch, or a later one, serves", 0 }, TAKES_EPOCH },
        { { "timeout", OPT_TIMEOUT, "D", 0, "how long to be patient (for ever; admin: 10s)", 0 }, TAKES_TIMEOUT },
        { { "no-wait", OPT_NO_WAIT, NULL, 0, "do not wait for the end", 0 }, TAKES_NO_WAIT },
        { { "observe", OPT_OBSERVE, "D", 0, "watch it so long before it is final (as baton run was told)", 0 }, TAKES_PROXY },
        { { "self", OPT_SELF, NULL, 0, "replace baton itself", 0 }, TAKES_PROXY },
        { { "canary", OPT_CANARY, "PCT[,PCT...]", 0, "not in this version", 0 }, TAKES_PROXY },
        { { "to", OPT_TO, "EPOCH", 0, "to this epoch", 0 }, TAKES_TO },
        { { NULL, 'h', NULL, OPTION_HIDDEN, "the same as --help", 0 }, 0 },
};

enum { N_OPTIONS = sizeof(options) / sizeof(options[0]) };

/* Only what this verb takes: anything else is an error, not ignored. */
static void choose_options(const struct verb *v, struct argp_option ret[N_OPTIONS + 1])
{
        size_t n = 0;

        for (size_t i = 0; i < N_OPTIONS; i++)
                if (!options[i].taken || (options[i].taken & v->takes))
                        ret[n++] = options[i].option;
        ret[n] = (struct argp_option){ 0 };
}

static int64_t epoch_of(struct argp_state *state, const char *option, const char *arg)
{
        char *end;
        int64_t epoch;

        errno = 0;
        epoch = strtoll(arg, &end, 10);
        if (errno || *end || *arg < '0' || *arg > '9')
                argp_error(state, "%s: '%s' is no epoch", option, arg);
        return epoch;
}

static int64_t duration_of(struct argp_state *state, const char *option, const char *arg)
{
        int64_t ms = 0;

        if (duration_parse(arg, &ms) < 0)
                argp_error(state, "%s: '%s' is no duration: use ms, s, min or h", option, arg);
        return ms;
}

static error_t on_option(int key, char *arg, struct argp_state *state)
{
        struct ctl *c = state->input;

        switch (key) {
        case OPT_RUN_DIR:
                c->run_dir = arg;
                return 0;
        case OPT_NAME:
                c->name = arg;
                return 0;
        case OPT_JSON:
                c->json = true;
                return 0;
        case OPT_FOLLOW:
                c->follow = true;
                return 0;
        case OPT_WATCH:
                c->watch = true;
                return 0;
        case OPT_UNDO:
                c->undo = true;
                return 0;
        case OPT_READY:
                c->ready = true;
                return 0;
        case OPT_EPOCH:
                c->epoch = epoch_of(state, "--epoch", arg);
                return 0;
        case OPT_TO:
                c->to = epoch_of(state, "--to", arg);
                return 0;
        case OPT_TIMEOUT:
                c->timeout_ms = duration_of(state, "--timeout", arg);
                return 0;
        case OPT_OBSERVE:
                c->observe_ms = duration_of(state, "--observe", arg);
                return 0;
        case OPT_SELF:
                c->self = true;
                return 0;
        case OPT_CANARY:
                c->canary = arg;
                return 0;
        case OPT_NO_WAIT:
                c->no_wait = true;
                return 0;
        case 'h':
                argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
                return 0;
        case ARGP_KEY_ARG:
                if (c->takes_argument && !c->argument) {
                        c->argument = arg;
                        return 0;
                }
                if (c->takes_words && c->n_words < sizeof(c->words) / sizeof(c->words[0])) {
                        c->words[c->n_words++] = arg;
                        return 0;
                }
                argp_error(state, c->takes_proxy ? "unknown argument %s: write -- before the proxy" : "unknown argument %s", arg);
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static int usage(FILE *to)
{
        fprintf(to, "Usage: baton VERB [OPTIONS]\n\n  %-10s %s\n", "run", "Run a proxy and keep its ports open; see baton run --help.");
        for (size_t i = 0; i < N_VERBS; i++)
                fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].doc);
        fprintf(to, "\nEach verb has --help. Exit status: 0 done, 1 failed, 2 usage or invalid config, 3 no such instance,\n"
                    "4 timed out, 5 rolled back or refused.\n");
        return to == stdout ? EXIT_FINE : EXIT_USAGE;
}

/* How many letters two words share, wherever they stand; 0 unless that is at least two and most of both. */
static size_t likeness(const char *a, const char *b)
{
        size_t longer = strlen(a) > strlen(b) ? strlen(a) : strlen(b), n = 0;
        unsigned char left[256] = { 0 };

        if (longer > 32)
                return 0;
        for (const char *p = a; *p; p++)
                left[(unsigned char)*p]++;
        for (const char *p = b; *p; p++)
                if (left[(unsigned char)*p]) {
                        left[(unsigned char)*p]--;
                        n++;
                }
        return n >= 2 && 2 * n > longer ? n : 0;
}

static int unknown(const char *word)
{
        const char *best = likeness(word, "run") ? "run" : NULL;
        size_t most = likeness(word, "run");

        for (size_t i = 0; i < N_VERBS; i++) /* those of later versions stand last: at a draw they lose */
                if (likeness(word, verbs[i].name) > most) {
                        most = likeness(word, verbs[i].name);
                        best = verbs[i].name;
                }
        fprintf(stderr, "baton: unknown verb %s%s%s%s; see baton --help\n", word, best ? ": did you mean " : "", best ? best : "", best ? "?" : "");
        return EXIT_USAGE;
}

static bool asks_for_help(const char *word)
{
        return word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0);
}

/* What stands behind "--" is the proxy's, options included. Return: how many arguments are left for us */
static int cut_proxy(struct ctl *c, int argc, char **argv)
{
        for (int i = 2; i < argc; i++) {
                if (strcmp(argv[i], "--") != 0)
                        continue;
                c->proxy = argv + i + 1;
                c->n_proxy = (size_t)(argc - i - 1);
                argv[i] = NULL;
                return i;
        }
        return argc;
}

int main(int argc, char **argv)
{
        struct ctl c = { .run_dir = "", .name = "", .epoch = -1, .timeout_ms = -1, .to = -1, .observe_ms = -1 };
        char name[64];

        if (argc < 2)
                return usage(stderr);
        if (asks_for_help(argv[1]) || strcmp(argv[1], "help") == 0)
                return usage(stdout);
        if (strcmp(argv[1], "--version") == 0)
                argv[1] = "version";
        for (size_t i = 0; i < N_VERBS; i++) {
                struct argp_option taken[N_OPTIONS + 1];
                struct argp argp = { .options = taken, .parser = on_option, .doc = verbs[i].doc,
                                     .args_doc = verbs[i].takes & TAKES_PROXY      ? "[-- PROXY [ARGS...]]"
                                                 : verbs[i].takes & TAKES_ARGUMENT ? "DIR[:cert=F,key=F,ca=F]"
                                                  : verbs[i].takes & TAKES_WORDS    ? "GET|POST PATH"
                                                                                   : NULL };

                choose_options(&verbs[i], taken);
                if (strcmp(argv[1], verbs[i].name) != 0)
                        continue;
                c.verb = verbs[i].name;
                if (verbs[i].run == later && !asks_for_help(argv[2]))
                        return later(&c);
                if (verbs[i].takes & TAKES_ITS_OWN) {
                        c.argc = argc - 2;
                        c.argv = argv + 2;
                        return verbs[i].run(&c);
                }
                (void)snprintf(name, sizeof(name), "baton %s", verbs[i].name);
                argv[1] = name;
                argp_err_exit_status = EXIT_USAGE;
                c.takes_proxy = verbs[i].takes & TAKES_PROXY;
                c.takes_argument = verbs[i].takes & TAKES_ARGUMENT;
                c.takes_words = verbs[i].takes & TAKES_WORDS;
                argc = c.takes_proxy ? cut_proxy(&c, argc, argv) : argc;
                if (argp_parse(&argp, argc - 1, argv + 1, 0, NULL, &c) != 0)
                        return EXIT_USAGE;
                return verbs[i].run(&c);
        }
        return unknown(argv[1]);
}
