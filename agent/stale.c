/* SPDX-License-Identifier: MIT */
/* See stale.h. */
#include "agent/stale.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/json.h"
#include "agent/same_file.h"

/* A sure answer: it holds until the file is another one, or another generation serves. */
struct verdict {
        bool known, stale;
        struct stat file;
        uint64_t epoch;
};

static bool take_verdict(struct verdict *v, int differs, const struct stat *file, uint64_t served)
{
        *v = (struct verdict){ differs >= 0, differs > 0, *file, served };
        return v->stale;
}

static bool still_holds(const struct verdict *v, const struct stat *now, uint64_t served)
{
        return v->known && v->epoch == served && same_file(&v->file, now);
}

/* Return: 1: it differs; 0: it does not; -1: being replaced, or gone, or nothing of ours is left to read it with: nothing is known */
static int differs(const struct kit_maker *m, uint64_t epoch)
{
        CLEANUP(free_ptr) char *a = NULL;
        CLEANUP(free_ptr) char *b = NULL;
        size_t n, k;

        if (kit_read_content(m, &a, &n) != 0 || kit_read_snapshot(m, epoch, &b, &k) < 0)
                return -1;
        return n != k || memcmp(a, b, n) != 0;
}

/* As the config of what serves was read: a newer copy of certificates is another matter. Not told apart where there are several. */
static bool rules_of_served(const struct agent *a, struct kit_maker *m, struct rewrite *rule, char *to, size_t size)
{
        const struct epoch *e = succession_look_up(&a->s, a->s.served);

        if (!e || m->n_rules == 0 || e->certs_to == a->certs.last)
                return true;
        if (m->n_rules > 1)
                return false;
        (void)snprintf(to, size, "%s/certs/%" PRIu64, a->run_dir, e->certs);
        *rule = (struct rewrite){ m->rules[0].from, to };
        m->rules = rule;
        return true;
}

static bool config_differs(const struct agent *a)
{
        static struct verdict last;
        struct kit_maker m = agent_maker(a, a->s.served);
        struct rewrite rule;
        char to[512];
        struct stat st;

        if (a->s.served == NO_EPOCH || !m.protocol || !m.args->config_path)
                return false;
        if (stat(m.args->config_path, &st) < 0)
                return errno == ENOENT; /* the next start would fail */
        if (still_holds(&last, &st, a->s.served))
                return last.stale;
        if (!rules_of_served(a, &m, &rule, to, sizeof(to)))
                return false;
        return take_verdict(&last, differs(&m, a->s.served), &st, a->s.served);
}

/* The file, or what --watch names: that is compared by what was seen last. */
bool stale_config(const struct agent *a)
{
        const struct epoch *e = succession_look_up(&a->s, a->s.served);
        bool other = e && digest_known(&a->s.disk) && digest_known(&e->digest) && !digest_same(&a->s.disk, &e->digest);

        return config_differs(a) || (other && a->options->watch.n > 0 && !cert_sets_stale(a));
}

bool stale_binary(struct agent *a)
{
        const struct proc *p = agent_proc(a, a->s.served);
        struct stat now, pinned;

        if (!p || p->binary_fd < 0)
                return false;
        if (stat(agent_args(a, a->s.served)->program, &now) < 0)
                return errno == ENOENT;
        return fstat(p->binary_fd, &pinned) == 0 && (now.st_dev != pinned.st_dev || now.st_ino != pinned.st_ino);
}

/* Are these the words of the file's "proxy"? Return: as differs(); what is no JSON is being written, or baton would refuse it */
static int names_other_words(const char *path, char *const *words)
{
        CLEANUP(free_ptr) char *text = NULL;
        CLEANUP(json_done) struct json doc = { 0 };
        struct json_error error;
        static char word[OPTIONS_STRING_BYTES];
        json_node proxy, at;
        size_t n;

        if (kit_read_file(path, &text, &n) < 0 || json_parse(text, n, &doc, &error) != 0)
                return -1;
        proxy = json_get(&doc, JSON_ROOT, "proxy");
        if (!json_is_array(&doc, proxy))
                return 1;
        for (at = json_first(&doc, proxy); *words && at != JSON_NONE; at = json_next(&doc, proxy, at), words++)
                if (json_string(&doc, at, word, sizeof(word)) != 0 || strcmp(word, *words) != 0)
                        return 1;
        return *words || at != JSON_NONE;
}

bool stale_command(const struct agent *a)
{
        static struct verdict last;
        const char *path = options_str(a->options, a->options->config);
        struct stat st;

        if (a->s.served == NO_EPOCH || !a->options->proxy_from_file)
                return false;
        if (stat(path, &st) < 0)
                return errno == ENOENT; /* the next start would fail */
        if (still_holds(&last, &st, a->s.served))
                return last.stale;
        return take_verdict(&last, names_other_words(path, agent_args(a, a->s.served)->all), &st, a->s.served);
}
