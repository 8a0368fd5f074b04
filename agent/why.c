/* SPDX-License-Identifier: MIT */
/* PURE. What went wrong last, in one line, out of the event lines. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/events.h"

/* In the table: so many of the reasons count whatever was before, the others only if nothing worse was; behind all of it. */
enum { ALWAYS = 6, STOP_ASKED = ALWAYS, NOTHING = 100 };

/* Events that explain, and how. Later ones overrule earlier ones; one that heals takes the explanation back. */
static const struct {
        const char *event;
        const char *words; /* NULL: heals */
} reasons[] = {
        { "config.rejected", "the proxy rejects its config or arguments" },
        { "relaunch.exhausted", "no retry tokens are left" },
        { "launch.failed", "the proxy cannot be executed" },
        { "kit.failed", "a launch cannot be prepared" },
        { "run-dir.refused", "the run directory cannot be used" },
        { "status.refused", "the status address cannot be used" },
        [STOP_ASKED] = { "stop.asked", "a stop was asked for" }, /* before what it brings about */
        { "epoch.exited", "the proxy ended" },
        { "epoch.not-accepting", "the proxy runs but does not accept yet" },
        { "sockets.silenced", "nothing has served for longer than the hold time" },
        { "keeper.gone", "the keeper was killed" },
        { "epoch.accepted", NULL },
};

/* What has been told so far. */
struct story {
        char *text;
        size_t size;
        int rank;          /* which reason it is; NOTHING: whatever comes is told */
        bool healed;       /* and said so */
        bool of_upgrade;   /* something that was tried and not taken: what served went on */
        int64_t untaken;   /* the epoch of that */
        int64_t served;    /* the newest epoch that is known to have accepted */
};

static void add(char *ret, size_t size, const char *before, const char *text)
{
        size_t at = strlen(ret);

        if (*text)
                (void)snprintf(ret + at, size - at, "%s%s", before, text);
}

static void explain(const struct json *doc, const char *words, struct story *s)
{
        static const struct {
                const char *field, *before;
        } details[] = { { "reason", ": " }, { "error", ": " }, { "file", ", file " }, { "epoch", ", epoch " }, { "then", "; " } };
        char text[512];

        (void)snprintf(s->text, s->size, "%s", words);
        for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++)
                if (json_text(doc, json_get(doc, JSON_ROOT, details[i].field), text, sizeof(text)) == 0)
                        add(s->text, s->size, details[i].before, text);
        if (json_text(doc, json_get(doc, JSON_ROOT, "time"), text, sizeof(text)) == 0)
                add(s->text, s->size, " (", text), add(s->text, s->size, "", ")");
        s->healed = s->of_upgrade = false;
}

static void heal(struct story *s)
{
        if (*s->text && !s->healed)
                add(s->text, s->size, "", s->of_upgrade ? "; a later one was committed" : "; it serves again");
        s->healed = true;
        s->rank = NOTHING;
}

static bool field_is(const struct json *doc, const char *field, const char *value)
{
        char text[16];

        return json_string(doc, json_get(doc, JSON_ROOT, field), text, sizeof(text)) == 0 && strcmp(text, value) == 0;
}

static int64_t number(const struct json *doc, const char *field)
{
        int64_t n = -1;

        (void)json_int(doc, json_get(doc, JSON_ROOT, field), &n);
        return n;
}

/*
 * What was tried and not taken has hurt nobody, so it does not hide what comes after it; and it is told whatever was before,
 * its own candidate's death above all. Only a stop stays what it is: it takes everything back that was under way.
 */
static void take_untaken(const struct json *doc, const char *how, struct story *s)
{
        char words[48];

        if (s->rank == STOP_ASKED)
                return;
        (void)snprintf(words, sizeof(words), "%s was %s", field_is(doc, "kind", "rollback") ? "a rollback" : "an upgrade", how);
        explain(doc, words, s);
        s->rank = NOTHING;
        s->of_upgrade = true;
        s->untaken = number(doc, "epoch");
}

/* Return: it was one of these, and nothing more is to be done */
static bool take_upgrade(const struct json *doc, const char *event, struct story *s)
{
        if (strcmp(event, "upgrade.refused") == 0)
                take_untaken(doc, "refused", s);
        else if (strcmp(event, "upgrade.rolled-back") == 0)
                take_untaken(doc, "rolled back", s);
        else if (strcmp(event, "upgrade.committed") == 0)
                heal(s);
        else if (strcmp(event, "epoch.exited") == 0)
                return s->untaken >= 0 && number(doc, "epoch") == s->untaken && s->untaken > s->served;
        else
                return false;
        return true;
}

static void take_reason(const struct json *doc, const char *event, struct story *s)
{
        for (int i = 0; i < (int)(sizeof(reasons) / sizeof(reasons[0])); i++) {
                if (strcmp(event, reasons[i].event) != 0)
                        continue;
                if (!reasons[i].words) {
                        s->served = number(doc, "epoch") > s->served ? number(doc, "epoch") : s->served;
                        if (!s->of_upgrade)
                                heal(s);
                } else if (i <= s->rank || i < ALWAYS) {
                        explain(doc, reasons[i].words, s);
                        s->rank = i;
                }
        }
}

static void take(const char *line, size_t n, struct story *s)
{
        struct json doc;
        struct json_error e;
        char event[64];

        if (json_parse(line, n, &doc, &e) != 0)
                return;
        if (json_string(&doc, json_get(&doc, JSON_ROOT, "event"), event, sizeof(event)) != 0)
                event[0] = '\0';
        if (field_is(&doc, "then", "as asked"))
                event[0] = '\0'; /* the end of a stop explains nothing: the stop does */
        if (strcmp(event, "baton.started") == 0) { /* the file outlives instances: this is another one */
                *s = (struct story){ .text = s->text, .size = s->size, .rank = NOTHING, .untaken = -1, .served = -1 };
                *s->text = '\0';
        }
        if (!take_upgrade(&doc, event, s))
                take_reason(&doc, event, s);
        json_done(&doc);
}

void why_explain(const char *text, size_t n, char *ret, size_t size)
{
        struct story s = { .text = ret, .size = size, .rank = NOTHING, .untaken = -1, .served = -1 };

        *ret = '\0';
        for (const char *p = text; p < text + n;) {
                const char *end = memchr(p, '\n', (size_t)(text + n - p));

                if (!end)
                        end = text + n;
                take(p, (size_t)(end - p), &s);
                p = end + 1;
        }
        if (!*ret)
                (void)snprintf(ret, size, "nothing has gone wrong");
}
