/* SPDX-License-Identifier: MIT */
/* PURE. See expand.h. */
#include "agent/expand.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct out {
        char *text;
        size_t n, room;
};

/* One NAME or NAME:-default between the braces. */
struct variable {
        const char *name, *standard; /* standard: NULL if there is none */
        size_t name_n, standard_n;
};

static int append(struct out *o, const char *text, size_t n)
{
        if (n > EXPAND_BYTES_MAX - o->n)
                return EXPAND_E_TOO_LARGE;
        if (o->n + n + 1 > o->room) {
                size_t room = 2 * (o->n + n + 1);
                char *more = realloc(o->text, room);

                if (!more)
                        return -ENOMEM;
                o->text = more;
                o->room = room;
        }
        if (n > 0)
                memcpy(o->text + o->n, text, n);
        o->n += n;
        o->text[o->n] = '\0';
        return 0;
}

static bool begins_name(char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static size_t name_length(const char *p, size_t n)
{
        size_t i = 0;

        if (n == 0 || !begins_name(*p))
                return 0;
        while (i < n && (begins_name(p[i]) || (p[i] >= '0' && p[i] <= '9')))
                i++;
        return i;
}

/* @p: what stands between the braces. Return: NULL; or what is wrong with it */
static const char *read_variable(const char *p, size_t n, struct variable *ret)
{
        size_t name_n = name_length(p, n);

        if (name_n == 0)
                return "a name is wanted: letters, digits and _, no digit in front";
        *ret = (struct variable){ .name = p, .name_n = name_n };
        if (name_n == n)
                return NULL;
        if (n < name_n + 2 || memcmp(p + name_n, ":-", 2) != 0)
                return "only ${NAME} and ${NAME:-default} are known; write $${ for a literal ${";
        ret->standard = p + name_n + 2;
        ret->standard_n = n - name_n - 2;
        return memmem(ret->standard, ret->standard_n, "${", 2) ? "a default cannot hold another variable" : NULL;
}

static const char *value_of(char *const *environment, const struct variable *v)
{
        for (char *const *e = environment; *e; e++)
                if (strncmp(*e, v->name, v->name_n) == 0 && (*e)[v->name_n] == '=')
                        return *e + v->name_n + 1;
        return NULL;
}

/* Bytes of the config that a line for people may show. */
static void shown(const char *p, size_t n, char ret[64])
{
        size_t at = 0;

        for (; at < n && at < 60; at++)
                ret[at] = p[at] > ' ' && p[at] < 0x7f ? p[at] : '?';
        ret[at] = '\0';
}

static int complain(struct expand_error *e, const char *inside, size_t n, const char *format)
{
        char word[64];

        shown(inside, n, word);
        (void)snprintf(e->text, sizeof(e->text), "${%s%s", word, format);
        return EXPAND_E_TEXT;
}

/* @p: behind "${". Return: as expand_env(); *ret_used: how much of it was the variable, the closing brace included */
static int take_variable(const char *p, size_t n, char *const *environment, struct out *o, size_t *ret_used, struct expand_error *e)
{
        const char *newline = memchr(p, '\n', n), *close = memchr(p, '}', newline ? (size_t)(newline - p) : n);
        size_t inside = close ? (size_t)(close - p) : name_length(p, n);
        struct variable v;
        const char *wrong, *value;
        char text[128];

        if (!close)
                return complain(e, p, inside, " is not closed on its line");
        wrong = read_variable(p, inside, &v);
        if (wrong) {
                (void)snprintf(text, sizeof(text), "}: %s", wrong);
                return complain(e, p, inside, text);
        }
        *ret_used = inside + 1;
        value = value_of(environment, &v);
        if (value && (*value || !v.standard))
                return append(o, value, strlen(value));
        if (!v.standard)
                return complain(e, v.name, v.name_n, "} is not set, and has no default");
        return append(o, v.standard, v.standard_n);
}

static unsigned line_of(const char *text, const char *at)
{
        unsigned line = 1;

        for (const char *p = text; p < at; p++)
                line += *p == '\n';
        return line;
}

int expand_env(const char *text, size_t n, char *const *environment, char **ret, size_t *ret_n, struct expand_error *reterr)
{
        struct out o = { 0 };
        const char *p = text, *end = text + n;
        int r = append(&o, "", 0);

        while (r == 0 && p < end) {
                const char *dollar = memchr(p, '$', (size_t)(end - p));
                size_t used = 1, left;

                r = append(&o, p, (size_t)((dollar ? dollar : end) - p));
                p = dollar ? dollar : end;
                left = (size_t)(end - p);
                if (r != 0 || !dollar)
                        break;
                if (left >= 3 && memcmp(p, "$${", 3) == 0) {
                        r = append(&o, "${", 2);
                        used = 3;
                } else if (left >= 2 && p[1] == '{') {
                        r = take_variable(p + 2, left - 2, environment, &o, &used, reterr);
                        used += 2;
                } else {
                        r = append(&o, p, 1);
                }
                if (r == 0)
                        p += used;
        }
        if (r != 0) {
                free(o.text);
                if (r > 0)
                        reterr->line = line_of(text, p);
                if (r == EXPAND_E_TOO_LARGE)
                        (void)snprintf(reterr->text, sizeof(reterr->text), "with its variables replaced it is larger than %d MB", EXPAND_BYTES_MAX / 1024 / 1024);
                return r;
        }
        *ret = o.text;
        *ret_n = o.n;
        return 0;
}
