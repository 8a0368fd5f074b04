/* SPDX-License-Identifier: MIT */
/* See proxy_args.h. */
#include "agent/proxy_args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cleanup.h"

enum action { PASS_ON, REFUSE, DROP, OURS, CONFIG_PATH, CONFIG_YAML, DRAIN_TIME, PLAIN, MODE };

static const struct {
        const char *name;
        bool value; /* takes one */
        enum action action;
        const char *reason;
} rules[] = {
        { "--base-id", true, REFUSE, "baton gives each launch a base id of its own" },
        { "--use-dynamic-base-id", false, REFUSE, "baton gives each launch a base id of its own" },
        { "--restart-epoch", true, REFUSE, "baton counts the epochs" },
        { "--socket-path", true, REFUSE, "baton is the hot restart parent and gives each launch its own sockets" },
        { "--parent-shutdown-time-s", true, DROP, "baton decides when an old generation ends" },
        { "--disable-hot-restart", false, DROP, "baton needs hot restart; nobody else takes part in it" },
        { "--skip-hot-restart-parent-stats", false, OURS, NULL },
        { "--skip-hot-restart-on-no-parent", false, OURS, NULL },
        { "--drain-time-s", true, DRAIN_TIME, NULL },
        { "--config-path", true, CONFIG_PATH, NULL },
        { "-c", true, CONFIG_PATH, NULL },
        { "--config-yaml", true, CONFIG_YAML, NULL },
        { "--help", false, PLAIN, NULL },
        { "-h", false, PLAIN, NULL },
        { "--version", false, PLAIN, NULL },
        { "--hot-restart-version", false, PLAIN, NULL },
        { "--mode", true, MODE, NULL },
};

/* "--name" or "--name=value". Return: the rule, or -1; *ret_value: the part behind '=', or NULL */
static int rule_of(const char *word, const char **ret_value)
{
        size_t n = strcspn(word, "=");

        *ret_value = word[n] ? word + n + 1 : NULL;
        for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
                if (strlen(rules[i].name) == n && strncmp(word, rules[i].name, n) == 0)
                        return (int)i;
        return -1;
}

static void notice(struct proxy_args *a, const char *name, const char *reason)
{
        if (a->n_notices < PROXY_NOTICES_MAX)
                (void)snprintf(a->notices[a->n_notices++], sizeof(a->notices[0]), "%s is ignored: %s", name, reason);
}

/* As execvp() would find it, once: every later launch runs the same file. */
static char *find_program(const char *word)
{
        const char *path = getenv("PATH");
        char full[4096];

        if (strchr(word, '/'))
                return strdup(word[0] != '/' && realpath(word, full) ? full : word);
        for (const char *p = path ? path : "/usr/local/bin:/usr/bin:/bin"; *p;) {
                size_t n = strcspn(p, ":");

                if (n > 0 && snprintf(full, sizeof(full), "%.*s/%s", (int)n, p, word) < (int)sizeof(full) && access(full, X_OK) == 0)
                        return strdup(full);
                p += n + (p[n] == ':');
        }
        return strdup(word);
}

static int refuse(struct proxy_args_error *e, const char *name, const char *reason)
{
        (void)snprintf(e->text, sizeof(e->text), "baton run: %s cannot be given to the proxy: %s", name, reason);
        return PROXY_ARGS_E_REFUSED;
}

static int take_rule(struct proxy_args *a, size_t rule, const char *value, const char *word, size_t *n_kept, struct proxy_args_error *e)
{
        char *end;

        switch (rules[rule].action) {
        case REFUSE:
                return refuse(e, rules[rule].name, rules[rule].reason);
        case DROP:
                notice(a, rules[rule].name, rules[rule].reason);
                return 0;
        case OURS:
                return 0;
        case CONFIG_PATH:
                a->config_path = value;
                return 0;
        case CONFIG_YAML:
                a->config_yaml = value;
                return 0;
        case DRAIN_TIME:
                a->drain_time_s = strtoll(value, &end, 10);
                return *end || *value < '0' || *value > '9' || a->drain_time_s < 0 || a->drain_time_s > 86400 ? refuse(e, "--drain-time-s", "it is no number of seconds up to a day") : 0;
        case PLAIN:
                a->plain = true;
                return 0;
        case MODE:
                if (strcmp(value, "serve") != 0)
                        a->plain = true;
                return 0;
        case PASS_ON:
                a->kept[(*n_kept)++] = (char *)word;
                return 0;
        }
        return 0;
}

void proxy_args_done(struct proxy_args *a)
{
        free(a->all); /* the words are the caller's */
        free(a->kept);
        free(a->program);
        *a = (struct proxy_args){ .drain_time_s = -1 };
}

int proxy_args_read(const char *const *argv, size_t n, bool envoy, struct proxy_args *ret, struct proxy_args_error *reterr)
{
        CLEANUP(proxy_args_done) struct proxy_args a = { .drain_time_s = -1 };
        size_t n_kept = 0;
        bool options = false;

        a.all = calloc(n + 1, sizeof(*a.all));
        a.kept = calloc(n + 1, sizeof(*a.kept));
        a.program = find_program(argv[0]);
        if (!a.all || !a.kept || !a.program)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                a.all[i] = (char *)argv[i];
        for (size_t i = 0; envoy && i < n; i++) {
                const char *value;
                int rule = rule_of(argv[i], &value), r;

                options = options || argv[i][0] == '-';
                if (rule < 0 || !options) {
                        a.kept[n_kept++] = (char *)argv[i];
                        continue;
                }
                if (rules[rule].value && !value) {
                        if (i + 1 == n)
                                return refuse(reterr, argv[i], "its value is missing");
                        value = argv[++i];
                }
                r = take_rule(&a, (size_t)rule, value, argv[i], &n_kept, reterr);
                if (r)
                        return r;
        }
        *ret = a;
        a = (struct proxy_args){ 0 };
        return 0;
}

int64_t proxy_args_concurrency(const struct proxy_args *a)
{
        static const char name[] = "--concurrency";
        enum { N = sizeof(name) - 1, MOST = 100000 };

        for (size_t i = 0; a->kept[i]; i++) {
                const char *word = a->kept[i], *value;
                char *end;
                long long v;

                if (strncmp(word, name, N) != 0)
                        continue;
                value = word[N] == '=' ? word + N + 1 : word[N] ? NULL : a->kept[i + 1];
                if (!value || *value < '0' || *value > '9')
                        continue;
                v = strtoll(value, &end, 10);
                return *end || v > MOST ? -1 : v;
        }
        return -1;
}

struct words {
        char **list;
        size_t n;
        bool failed;
};

static void say(struct words *w, const char *text)
{
        char *copy = strdup(text);

        if (!copy)
                w->failed = true;
        else
                w->list[w->n++] = copy;
}

static void say_number(struct words *w, const char *name, uint64_t v)
{
        char text[24];

        (void)snprintf(text, sizeof(text), "%" PRIu64, v);
        say(w, name);
        say(w, text);
}

/* Return: how many words the option takes that says where and how the proxy logs; 0 for any other word. */
static size_t about_its_log(const char *word)
{
        static const char *const names[] = { "-l", "--log-level", "--log-path", "--log-format" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                size_t n = strlen(names[i]);

                if (strncmp(word, names[i], n) == 0 && (word[n] == '\0' || word[n] == '='))
                        return word[n] ? 1 : 2;
        }
        return 0;
}

static int begin(const struct proxy_args *a, bool keep_log, struct words *w)
{
        size_t n = 0;

        while (a->kept[n])
                n++;
        *w = (struct words){ .list = calloc(n + 32, sizeof(char *)) };
        if (!w->list)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                size_t skip = keep_log ? 0 : about_its_log(a->kept[i]);

                if (skip == 0)
                        say(w, a->kept[i]);
                else
                        i += skip - 1;
        }
        return 0;
}

static int finish(struct words *w, char ***ret_argv)
{
        if (w->failed) {
                free_strv(&w->list);
                return -ENOMEM;
        }
        *ret_argv = w->list;
        return 0;
}

int proxy_args_compose(const struct proxy_args *a, const struct launch_params *p, char ***ret_argv)
{
        struct words w;
        int r = begin(a, true, &w);

        if (r < 0)
                return r;
        if (p->config_path) {
                say(&w, "--config-path");
                say(&w, p->config_path);
        }
        if (p->config_yaml) {
                say(&w, "--config-yaml");
                say(&w, p->config_yaml);
        }
        say_number(&w, "--restart-epoch", p->epoch + 1);
        say_number(&w, "--base-id", p->base_id);
        say(&w, "--socket-path");
        say(&w, p->socket_path);
        say(&w, "--skip-hot-restart-parent-stats");
        say_number(&w, "--drain-time-s", (uint64_t)p->drain_time_s);
        say_number(&w, "--parent-shutdown-time-s", (uint64_t)p->parent_shutdown_time_s);
        return finish(&w, ret_argv);
}

int proxy_args_compose_version(const struct proxy_args *a, char ***ret_argv)
{
        struct words w = { 0 };
        size_t n = 0;

        while (a->kept[n] && a->kept[n][0] != '-')
                n++;
        w.list = calloc(n + 2, sizeof(char *));
        if (!w.list)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                say(&w, a->kept[i]);
        say(&w, "--hot-restart-version");
        return finish(&w, ret_argv);
}

int proxy_args_compose_validate(const struct proxy_args *a, const char *config_path, const char *config_yaml, char ***ret_argv)
{
        struct words w;
        int r = begin(a, false, &w); /* its verdict shall reach us, whatever the user wants to see of it otherwise */

        if (r < 0)
                return r;
        if (config_path) {
                say(&w, "--config-path");
                say(&w, config_path);
        }
        if (config_yaml) {
                say(&w, "--config-yaml");
                say(&w, config_yaml);
        }
        say(&w, "--mode");
        say(&w, "validate");
        say(&w, "--log-level");
        say(&w, "error");
        return finish(&w, ret_argv);
}
