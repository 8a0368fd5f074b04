/* SPDX-License-Identifier: MIT */
/* See hammer_http.h. */
#include "tests/support/hammer_http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_init(struct http_response *r)
{
        *r = (struct http_response){ .phase = HTTP_STATUS, .left = -1 };
}

static void keep_body(struct http_response *r, const char *data, size_t size)
{
        size_t room = sizeof(r->body) - r->body_len;
        size_t n = size < room ? size : room;

        memcpy(r->body + r->body_len, data, n);
        r->body_len += n;
}

/* Collects one line without its end. True when the line is whole; what is longer than our buffer is dropped. */
static bool take_line(struct http_response *r, const char *data, size_t size, size_t *used)
{
        while (*used < size) {
                char c = data[(*used)++];

                if (c == '\n') {
                        if (r->line_len && r->line[r->line_len - 1] == '\r')
                                r->line_len--;
                        r->line[r->line_len] = '\0';
                        r->line_len = 0;
                        return true;
                }
                if (r->line_len < sizeof(r->line) - 1)
                        r->line[r->line_len++] = c;
        }
        return false;
}

static const char *header_value(const char *line, const char *name)
{
        size_t n = strlen(name);

        if (strncasecmp(line, name, n) != 0 || line[n] != ':')
                return NULL;
        return line + n + 1 + strspn(line + n + 1, " \t");
}

static int on_header(struct http_response *r)
{
        const char *value;
        char *end;

        value = header_value(r->line, "content-length");
        if (value) {
                r->left = strtoll(value, &end, 10);
                return end == value || r->left < 0 ? -EPROTO : 0;
        }
        value = header_value(r->line, "transfer-encoding");
        if (value && strcasestr(value, "chunked"))
                r->chunked = true;
        value = header_value(r->line, "connection");
        if (value && strcasestr(value, "close"))
                r->close = true;
        return 0;
}

static void on_head_end(struct http_response *r)
{
        if (r->status / 100 == 1) { /* an interim answer: the real one follows */
                bool started = r->started;

                http_init(r);
                r->started = started;
        } else if (r->status == 204 || r->status == 304 || (!r->chunked && r->left == 0)) {
                r->phase = HTTP_DONE;
        } else if (r->chunked) {
                r->phase = HTTP_CHUNK_SIZE;
        } else {
                r->phase = r->left > 0 ? HTTP_BODY : HTTP_BODY_TO_END;
        }
}

static int on_line(struct http_response *r)
{
        char *end;

        if (r->phase == HTTP_STATUS) {
                if (strncmp(r->line, "HTTP/1.", 7) != 0 || strlen(r->line) < 12)
                        return -EPROTO;
                r->close = r->line[7] == '0';
                r->status = atoi(r->line + 9);
                r->phase = HTTP_HEADER;
                return r->status < 100 || r->status > 599 ? -EPROTO : 0;
        }
        if (r->phase == HTTP_HEADER) {
                if (r->line[0])
                        return on_header(r);
                on_head_end(r);
        } else if (r->phase == HTTP_CHUNK_SIZE) {
                r->left = strtoll(r->line, &end, 16);
                if (end == r->line || r->left < 0)
                        return -EPROTO;
                r->phase = r->left ? HTTP_CHUNK : HTTP_TRAILER;
        } else if (r->phase == HTTP_CHUNK_END) {
                if (r->line[0])
                        return -EPROTO;
                r->phase = HTTP_CHUNK_SIZE;
        } else if (r->phase == HTTP_TRAILER && !r->line[0]) {
                r->phase = HTTP_DONE;
        }
        return 0;
}

static void take_body(struct http_response *r, const char *data, size_t size, size_t *used)
{
        size_t n = size - *used;

        if (r->phase != HTTP_BODY_TO_END && (int64_t)n > r->left)
                n = (size_t)r->left;
        keep_body(r, data + *used, n);
        *used += n;
        if (r->phase == HTTP_BODY_TO_END)
                return;
        r->left -= (int64_t)n;
        if (r->left == 0)
                r->phase = r->phase == HTTP_BODY ? HTTP_DONE : HTTP_CHUNK_END;
}

int http_feed(struct http_response *r, const char *data, size_t size, size_t *ret_used)
{
        size_t used = 0;
        int e;

        if (size)
                r->started = true;
        while (used < size && r->phase != HTTP_DONE) {
                if (r->phase == HTTP_BODY || r->phase == HTTP_CHUNK || r->phase == HTTP_BODY_TO_END) {
                        take_body(r, data, size, &used);
                } else if (take_line(r, data, size, &used)) {
                        e = on_line(r);
                        if (e < 0)
                                return e;
                }
        }
        *ret_used = used;
        return r->phase == HTTP_DONE ? HTTP_E_COMPLETE : 0;
}

bool http_end(struct http_response *r)
{
        if (r->phase != HTTP_BODY_TO_END)
                return false;
        r->phase = HTTP_DONE;
        return true;
}
