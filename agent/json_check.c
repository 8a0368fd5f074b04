/* SPDX-License-Identifier: MIT */
/*
 * PURE. Is a text JSON (RFC 8259), and if not, where and why? jsmn finds tokens but forgives much: [1 2], {"a"}, 01, "\x01".
 * So every text goes through here first. No recursion: a deep text is an error, not a full stack.
 */
#include <string.h>

#include "agent/json.h"

struct check {
        const char *p, *end;
        const char *wrong; /* what is wrong at p; NULL: nothing yet */
        unsigned depth;
        char open[JSON_DEPTH_MAX]; /* '{' or '[' */
};

static bool fail(struct check *c, const char *why)
{
        if (!c->wrong)
                c->wrong = why;
        return false;
}

static char peek(const struct check *c)
{
        return c->p < c->end ? *c->p : '\0';
}

static void space(struct check *c)
{
        while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
                c->p++;
}

static bool digits(struct check *c)
{
        if (peek(c) < '0' || peek(c) > '9')
                return fail(c, c->p == c->end ? "it ends in the middle of a number" : "a digit is wanted here");
        while (peek(c) >= '0' && peek(c) <= '9')
                c->p++;
        return true;
}

static bool number(struct check *c)
{
        if (peek(c) == '-')
                c->p++;
        if (peek(c) == '0')
                c->p++;
        else if (!digits(c))
                return false;
        if (peek(c) >= '0' && peek(c) <= '9')
                return fail(c, "a number does not begin with 0");
        if (peek(c) == '.') {
                c->p++;
                if (!digits(c))
                        return false;
        }
        if (peek(c) == 'e' || peek(c) == 'E') {
                c->p++;
                if (peek(c) == '+' || peek(c) == '-')
                        c->p++;
                return digits(c);
        }
        return true;
}

static bool escape(struct check *c)
{
        c->p++;
        if (c->p == c->end)
                return fail(c, "it ends in the middle of a string");
        if (*c->p != 'u')
                return memchr("\"\\/bfnrt", *c->p, 8) ? (c->p++, true) : fail(c, "no such escape; a backslash is \\\\");
        c->p++;
        for (int i = 0; i < 4; i++, c->p++)
                if (c->p == c->end || !((*c->p >= '0' && *c->p <= '9') || (*c->p >= 'a' && *c->p <= 'f') || (*c->p >= 'A' && *c->p <= 'F')))
                        return fail(c, "\\u wants four hexadecimal digits");
        return true;
}

static bool string(struct check *c)
{
        c->p++;
        while (c->p < c->end && *c->p != '"') {
                if ((unsigned char)*c->p < 0x20)
                        return fail(c, *c->p == '\n' ? "a string ends before its line does" : "a control character in a string is written as \\u00XX");
                if (*c->p != '\\')
                        c->p++;
                else if (!escape(c))
                        return false;
        }
        if (c->p == c->end)
                return fail(c, "it ends in the middle of a string");
        c->p++;
        return true;
}

static bool word(struct check *c)
{
        static const char *const words[] = { "true", "false", "null" };

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                size_t n = strlen(words[i]);

                if ((size_t)(c->end - c->p) >= n && memcmp(c->p, words[i], n) == 0) {
                        c->p += n;
                        return true;
                }
        }
        return fail(c, c->p == c->end ? "it ends too early" : "a value is wanted here");
}

/* Up to the colon. */
static bool key(struct check *c)
{
        space(c);
        if (peek(c) != '"')
                return fail(c, c->p == c->end ? "it ends too early" : "a name in double quotes is wanted here");
        if (!string(c))
                return false;
        space(c);
        if (peek(c) != ':')
                return fail(c, c->p == c->end ? "it ends too early" : "a colon is wanted here");
        c->p++;
        return true;
}

/* An opening bracket. Return: is the container still open, so that a value follows? */
static bool begin(struct check *c)
{
        char bracket = *c->p;

        if (c->depth == JSON_DEPTH_MAX)
                return fail(c, "it is nested too deeply");
        c->open[c->depth++] = bracket;
        c->p++;
        space(c);
        if (peek(c) == (bracket == '{' ? '}' : ']')) {
                c->p++;
                c->depth--;
                return false;
        }
        return bracket == '[' || key(c);
}

/* Behind a value: closes what ends here. Return: does another value follow? */
static bool behind(struct check *c)
{
        while (c->depth > 0) {
                bool object = c->open[c->depth - 1] == '{';

                space(c);
                if (peek(c) == ',') {
                        c->p++;
                        return !object || key(c);
                }
                if (peek(c) != (object ? '}' : ']'))
                        return fail(c, c->p == c->end ? "it ends too early"
                                       : object       ? "a comma or } is wanted here"
                                                      : "a comma or ] is wanted here");
                c->p++;
                c->depth--;
        }
        return false;
}

static void value(struct check *c)
{
        do {
                space(c);
                if (peek(c) == '{' || peek(c) == '[') {
                        if (begin(c))
                                continue; /* its first value */
                } else if (peek(c) == '"') {
                        (void)string(c);
                } else if (peek(c) == '-' || (peek(c) >= '0' && peek(c) <= '9')) {
                        (void)number(c);
                } else {
                        (void)word(c);
                }
                if (c->wrong || !behind(c))
                        return;
        } while (!c->wrong);
}

const char *json_check(const char *text, size_t n, size_t *ret_at)
{
        struct check c = { .p = text, .end = text + n };

        value(&c);
        if (!c.wrong)
                space(&c);
        if (c.p < c.end)
                (void)fail(&c, "something stands behind the value");
        *ret_at = (size_t)(c.p - text);
        return c.wrong;
}
