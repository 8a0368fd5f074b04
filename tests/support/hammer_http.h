/* SPDX-License-Identifier: MIT */
/*
 * Reads one HTTP/1.1 response, in pieces as they arrive. Knows lengths, chunks and bodies that end with the
 * connection; refuses anything else. Keeps the first bytes of the body, nothing more. No I/O.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_LINE_BYTES = 512, HTTP_BODY_BYTES = 64 };

enum http_phase {
        HTTP_STATUS,
        HTTP_HEADER,
        HTTP_BODY,       /* `left` bytes of it */
        HTTP_BODY_TO_END, /* as long as the connection lives */
        HTTP_CHUNK_SIZE,
        HTTP_CHUNK,
        HTTP_CHUNK_END, /* the empty line after a chunk */
        HTTP_TRAILER,
        HTTP_DONE,
};

enum { HTTP_E_COMPLETE = 1 };

struct http_response {
        enum http_phase phase;
        bool started; /* a byte has come */
        int status;
        bool close;   /* the server will close the connection */
        bool chunked;
        int64_t left; /* -1: no length given */
        size_t line_len;
        size_t body_len; /* of what is kept */
        char line[HTTP_LINE_BYTES];
        char body[HTTP_BODY_BYTES];
};

void http_init(struct http_response *r);

/**
 * http_feed() - take what came
 * @ret_used: how much of it belongs to this response
 *
 * Return: 0: more must come; HTTP_E_COMPLETE; -EPROTO.
 */
int http_feed(struct http_response *r, const char *data, size_t size, size_t *ret_used);

/* The connection ended: true if that is how this response says that it is complete. */
bool http_end(struct http_response *r);
