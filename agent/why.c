/* SPDX-License-Identifier: MIT */
/* PURE. What went wrong last, in one line, out of the event lines. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/events.h"

enum { ALWAYS = 6 }; /* so many of the reasons count whatever was before; the others only if nothing worse was */

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
        { "stop.asked", "a stop was asked for" }, /* before what it brings about */
        { "epoch.exited", "the proxy ended" },
        { "epoch.not-accepting", "the proxy runs but does not accept yet" },
        { "sockets.silenced", "nothing has served for longer than the hold time" },
        { "keeper.gone", "the keeper was killed" },
        { "epoch.accepted", NULL },
};

static void add(char *ret, size_t size, const char *before, const char *text)
{
        size_t at = strlen(ret);

        if (*text)
                (void)snprintf(ret + at, size - at, "%s%s", before, text);
}

static void explain(const struct json *doc, const char *words, char *ret, size_t size)
{
        static const struct {
                const char *field, *before;
        } details[] = { { "reason", ": " }, { "error", ": " }, { "file", ", file " }, { "epoch", ", epoch " }, { "then", "; " } };
        char text[512];

        (void)snprintf(ret, size, "%s", words);
        for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++)
                if (json_text(doc, json_get(doc, JSON_ROOT, details[i].field), text, sizeof(text)) == 0)
                        add(ret, size, details[i].before, text);
        if (json_text(doc, json_get(doc, JSON_ROOT, "time"), text, sizeof(text)) == 0)
                add(ret, size, " (", text), add(ret, size, "", ")");
}

static bool asked_for(const struct json *doc)
{
        char then[16];

        return json_string(doc, json_get(doc, JSON_ROOT, "then"), then, sizeof(then)) == 0 && strcmp(then, "as asked") == 0;
}

static void take(const char *line, size_t n, int *rank, char *ret, size_t size)
{
        struct json doc;
        struct json_error e;
        char event[64];

        if (json_parse(line, n, &doc, &e) != 0)
                return;
        if (json_string(&doc, json_get(&doc, JSON_ROOT, "event"), event, sizeof(event)) != 0)
                event[0] = '\0';
        if (asked_for(&doc))
                event[0] = '\0'; /* the end of a stop explains nothing: the stop does */
        if (strcmp(event, "baton.started") == 0) {
                *rank = 100; /* the file outlives instances: this is another one */
                *ret = '\0';
        }
        for (int i = 0; i < (int)(sizeof(reasons) / sizeof(reasons[0])); i++) {
                if (strcmp(event, reasons[i].event) != 0)
                        continue;
                if (!reasons[i].words) {
                        *rank = 100;
                        if (*ret && !strstr(ret, "; it serves again"))
                                add(ret, size, "", "; it serves again");
                } else if (i <= *rank || i < ALWAYS) {
                        explain(&doc, reasons[i].words, ret, size);
                        *rank = i;
                }
        }
        json_done(&doc);
}

void why_explain(const char *text, size_t n, char *ret, size_t size)
{
        int rank = 100;

        *ret = '\0';
        for (const char *p = text; p < text + n;) {
                const char *end = memchr(p, '\n', (size_t)(text + n - p));

                if (!end)
                        end = text + n;
                take(p, (size_t)(end - p), &rank, ret, size);
                p = end + 1;
        }
        if (!*ret)
                (void)snprintf(ret, size, "nothing has gone wrong");
}
