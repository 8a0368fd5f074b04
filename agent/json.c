/* SPDX-License-Identifier: MIT */
/* PURE. See json.h. */
#define JSMN_STATIC
#define JSMN_PARENT_LINKS
#include <jsmn.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/json.h"

/* ---- reading ---------------------------------------------------------------------------------------- */

static const jsmntok_t *token(const struct json *j, json_node n)
{
        return n < 0 || n >= j->n_tokens ? NULL : (const jsmntok_t *)j->tokens + n;
}

static void locate(const char *text, size_t at, struct json_error *ret, const char *what)
{
        ret->line = ret->column = 1;
        for (size_t i = 0; i < at; i++) {
                ret->column++;
                if (text[i] == '\n') {
                        ret->line++;
                        ret->column = 1;
                }
        }
        (void)snprintf(ret->text, sizeof(ret->text), "%s", what);
}

int json_parse(const char *text, size_t n, struct json *ret, struct json_error *reterr)
{
        const char *wrong;
        jsmn_parser p;
        jsmntok_t *tokens;
        size_t at = 0;
        int count;

        if (n > JSON_BYTES_MAX) {
                locate(text, 0, reterr, "it is too large");
                return -EFBIG;
        }
        wrong = json_check(text, n, &at);
        if (wrong) {
                locate(text, at, reterr, wrong);
                return -EBADMSG;
        }
        jsmn_init(&p);
        count = jsmn_parse(&p, text, n, NULL, 0);
        tokens = count > 0 ? calloc((size_t)count, sizeof(*tokens)) : NULL;
        jsmn_init(&p);
        if (tokens)
                count = jsmn_parse(&p, text, n, tokens, (unsigned)count);
        if (!tokens || count <= 0) { /* the check lets nothing through that jsmn does not understand */
                locate(text, 0, reterr, count > 0 ? "out of memory" : "not JSON");
                free(tokens);
                return count > 0 ? -ENOMEM : -EBADMSG;
        }
        *ret = (struct json){ .text = text, .n = n, .tokens = tokens, .n_tokens = count };
        return 0;
}

void json_done(struct json *j)
{
        free(j->tokens);
        *j = (struct json){ 0 };
}

/* The token after everything that belongs to this one. */
static json_node skip(const struct json *j, json_node n)
{
        int end = token(j, n)->end;

        for (n++; n < j->n_tokens && token(j, n)->start < end; n++)
                ;
        return n;
}

bool json_is_object(const struct json *j, json_node n)
{
        return token(j, n) && token(j, n)->type == JSMN_OBJECT;
}

bool json_is_array(const struct json *j, json_node n)
{
        return token(j, n) && token(j, n)->type == JSMN_ARRAY;
}

bool json_is_string(const struct json *j, json_node n)
{
        return token(j, n) && token(j, n)->type == JSMN_STRING;
}

size_t json_size(const struct json *j, json_node n)
{
        return json_is_object(j, n) || json_is_array(j, n) ? (size_t)token(j, n)->size : 0;
}

json_node json_value_of(const struct json *j, json_node key)
{
        return token(j, key) && token(j, key)->size == 1 ? key + 1 : JSON_NONE;
}

static json_node child(const struct json *j, json_node n, size_t i)
{
        json_node c = n + 1;

        if (i >= json_size(j, n))
                return JSON_NONE;
        for (; i > 0; i--)
                c = skip(j, json_is_object(j, n) ? c + 1 : c);
        return c;
}

json_node json_key_at(const struct json *j, json_node object, size_t i)
{
        return json_is_object(j, object) ? child(j, object, i) : JSON_NONE;
}

json_node json_at(const struct json *j, json_node array, size_t i)
{
        return json_is_array(j, array) ? child(j, array, i) : JSON_NONE;
}

json_node json_first(const struct json *j, json_node array)
{
        return json_at(j, array, 0);
}

json_node json_next(const struct json *j, json_node array, json_node element)
{
        json_node n = token(j, element) ? skip(j, element) : JSON_NONE;

        return token(j, n) && token(j, n)->start < token(j, array)->end ? n : JSON_NONE;
}

json_node json_get(const struct json *j, json_node object, const char *key)
{
        size_t n = json_is_object(j, object) ? json_size(j, object) : 0;
        json_node c = object + 1;

        for (size_t i = 0; i < n; i++) {
                const jsmntok_t *t = token(j, c);

                if ((size_t)(t->end - t->start) == strlen(key) && memcmp(j->text + t->start, key, strlen(key)) == 0)
                        return json_value_of(j, c);
                c = skip(j, c + 1);
        }
        return JSON_NONE;
}

unsigned json_line(const struct json *j, json_node n)
{
        struct json_error e;

        locate(j->text, token(j, n) ? (size_t)token(j, n)->start : 0, &e, "");
        return e.line;
}

static size_t put_utf8(uint32_t c, char out[4])
{
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char)(0xc0 | c >> 6);
                out[1] = (char)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (char)(0xe0 | c >> 12);
                out[1] = (char)(0x80 | (c >> 6 & 0x3f));
                out[2] = (char)(0x80 | (c & 0x3f));
                return 3;
        }
        out[0] = (char)(0xf0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 0x3f));
        out[2] = (char)(0x80 | (c >> 6 & 0x3f));
        out[3] = (char)(0x80 | (c & 0x3f));
        return 4;
}

static uint32_t hex4(const char *p)
{
        char text[5] = { p[0], p[1], p[2], p[3], '\0' };

        return (uint32_t)strtoul(text, NULL, 16); /* jsmn has checked the digits */
}

/* One escape sequence behind its backslash. Return: how many characters it takes */
static size_t unescape(const char *p, const char *end, char out[4], size_t *ret_n)
{
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *known = strchr(from, *p);
        uint32_t c;

        if (*p != 'u') {
                out[0] = known ? to[known - from] : *p;
                *ret_n = 1;
                return 1;
        }
        c = hex4(p + 1);
        if (c >= 0xd800 && c < 0xdc00 && end - p >= 11 && p[5] == '\\' && p[6] == 'u') {
                c = 0x10000 + ((c - 0xd800) << 10) + ((hex4(p + 7) - 0xdc00) & 0x3ff);
                *ret_n = put_utf8(c, out);
                return 11;
        }
        *ret_n = put_utf8(c >= 0xd800 && c < 0xe000 ? 0xfffd : c ? c : 0xfffd, out);
        return 5;
}

int json_string(const struct json *j, json_node n, char *ret, size_t size)
{
        const jsmntok_t *t = token(j, n);
        const char *p, *end;
        size_t at = 0;

        if (!t || !json_is_string(j, n))
                return JSON_E_TYPE;
        end = j->text + t->end;
        for (p = j->text + t->start; p < end;) {
                char out[4];
                size_t k = 1;

                if (*p == '\\') {
                        p++;
                        p += unescape(p, end, out, &k);
                } else {
                        out[0] = *p++;
                }
                if (at + k >= size)
                        return -EMSGSIZE;
                memcpy(ret + at, out, k);
                at += k;
        }
        ret[at] = '\0';
        return 0;
}

int json_text(const struct json *j, json_node n, char *ret, size_t size)
{
        const jsmntok_t *t = token(j, n);
        size_t bytes;

        if (json_is_string(j, n))
                return json_string(j, n, ret, size);
        if (!t || t->type != JSMN_PRIMITIVE)
                return JSON_E_TYPE;
        bytes = (size_t)(t->end - t->start);
        if (bytes >= size)
                return -EMSGSIZE;
        memcpy(ret, j->text + t->start, bytes);
        ret[bytes] = '\0';
        return 0;
}

int json_int(const struct json *j, json_node n, int64_t *ret)
{
        char text[32], *end;
        long long v;

        if (json_is_string(j, n) || json_text(j, n, text, sizeof(text)) != 0)
                return JSON_E_TYPE;
        errno = 0;
        v = strtoll(text, &end, 10);
        if (errno || *end || end == text)
                return JSON_E_TYPE;
        *ret = v;
        return 0;
}

int json_bool(const struct json *j, json_node n, bool *ret)
{
        char text[8];

        if (json_is_string(j, n) || json_text(j, n, text, sizeof(text)) != 0)
                return JSON_E_TYPE;
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
                return JSON_E_TYPE;
        *ret = text[0] == 't';
        return 0;
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static void add(struct json_writer *w, const char *text, size_t n)
{
        if (w->n + n + 1 > w->room) {
                size_t room = (w->n + n + 1) * 2 + 256;
                char *more = realloc(w->text, room);

                if (!more) {
                        w->failed = true;
                        return;
                }
                w->text = more;
                w->room = room;
        }
        memcpy(w->text + w->n, text, n);
        w->n += n;
        w->text[w->n] = '\0';
}

static void value_begins(struct json_writer *w)
{
        if (w->comma)
                add(w, ",", 1);
        w->comma = true;
}

static void open_(struct json_writer *w, const char *bracket)
{
        value_begins(w);
        add(w, bracket, 1);
        w->comma = false;
}

static void close_(struct json_writer *w, const char *bracket)
{
        add(w, bracket, 1);
        w->comma = true;
}

void json_begin_object(struct json_writer *w)
{
        open_(w, "{");
}

void json_end_object(struct json_writer *w)
{
        close_(w, "}");
}

void json_begin_array(struct json_writer *w)
{
        open_(w, "[");
}

void json_end_array(struct json_writer *w)
{
        close_(w, "]");
}

/* How long a valid UTF-8 sequence starts here, or 0. */
static size_t sequence(const unsigned char *p)
{
        size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;

        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
            (p[0] == 0xf4 && p[1] > 0x8f))
                return 0;
        return n;
}

bool json_is_utf8(const char *text)
{
        const unsigned char *p = (const unsigned char *)text;
        size_t n;

        while (*p && (n = sequence(p)) > 0)
                p += n;
        return !*p;
}

static void quoted(struct json_writer *w, const char *text)
{
        const unsigned char *p = (const unsigned char *)text;
        char escape[8];

        add(w, "\"", 1);
        while (*p) {
                size_t n = sequence(p);

                if (n == 0) {
                        add(w, "\xef\xbf\xbd", 3);
                        n = 1;
                } else if (*p == '"' || *p == '\\') {
                        escape[0] = '\\';
                        escape[1] = (char)*p;
                        add(w, escape, 2);
                } else if (*p < 0x20 || *p == 0x7f) {
                        add(w, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", *p));
                } else {
                        add(w, (const char *)p, n);
                }
                p += n;
        }
        add(w, "\"", 1);
}

void json_key(struct json_writer *w, const char *key)
{
        value_begins(w);
        quoted(w, key);
        add(w, ":", 1);
        w->comma = false;
}

void json_string_value(struct json_writer *w, const char *text)
{
        value_begins(w);
        quoted(w, text);
}

void json_raw(struct json_writer *w, const char *text, size_t n)
{
        value_begins(w);
        add(w, text, n);
}

void json_raw_end(struct json_writer *w, const char *text)
{
        add(w, text, strlen(text));
}

void json_int_value(struct json_writer *w, int64_t v)
{
        char text[24];

        json_raw(w, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, v));
}

void json_uint_value(struct json_writer *w, uint64_t v)
{
        char text[24];

        json_raw(w, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, v));
}

void json_double_value(struct json_writer *w, double v)
{
        char text[40];

        if (!isfinite(v))
                json_null(w);
        else
                json_raw(w, text, (size_t)snprintf(text, sizeof(text), "%.6g", v));
}

void json_bool_value(struct json_writer *w, bool v)
{
        json_raw(w, v ? "true" : "false", v ? 4 : 5);
}

void json_null(struct json_writer *w)
{
        json_raw(w, "null", 4);
}

const char *json_writer_text(const struct json_writer *w)
{
        return w->failed ? NULL : w->text ? w->text : "";
}

void json_writer_done(struct json_writer *w)
{
        free(w->text);
        *w = JSON_WRITER_NULL;
}
