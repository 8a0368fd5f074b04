/* SPDX-License-Identifier: MIT */
/* The load client judges others, so its own reading of HTTP is tested first. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/hammer_http.h"

/* Feeds a text in pieces of `step` bytes and tells how far it was taken. */
static int feed(struct http_response *r, const char *text, size_t step, size_t *ret_used)
{
        size_t at = 0, size = strlen(text);
        int e = 0;

        http_init(r);
        while (at < size && e == 0) {
                size_t n = size - at < step ? size - at : step, used = 0;

                e = http_feed(r, text + at, n, &used);
                at += used;
        }
        *ret_used = at;
        return e;
}

static void expect_whole(const char *text, int status, const char *body)
{
        for (size_t step = 1; step <= strlen(text); step++) {
                struct http_response r;
                size_t used = 0;

                cr_assert_eq(feed(&r, text, step, &used), HTTP_E_COMPLETE, "step %zu", step);
                cr_assert_eq(used, strlen(text));
                cr_assert_eq(r.status, status);
                cr_assert_eq(r.body_len, strlen(body));
                cr_assert(memcmp(r.body, body, r.body_len) == 0);
        }
}

Test(hammer_http, a_body_with_a_length_is_whole_however_it_is_cut)
{
        expect_whole("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello");
}

Test(hammer_http, a_body_in_chunks_is_put_together)
{
        expect_whole("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n", 200,
                     "hello");
}

Test(hammer_http, an_interim_answer_is_not_the_answer)
{
        expect_whole("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 503, "");
}

Test(hammer_http, an_answer_without_a_body_ends_with_its_head)
{
        expect_whole("HTTP/1.1 204 None\r\nX: y\r\n\r\n", 204, "");
}

Test(hammer_http, a_body_without_a_length_is_whole_only_when_the_connection_ends)
{
        struct http_response r;
        size_t used = 0;

        cr_assert_eq(feed(&r, "HTTP/1.0 200 OK\r\n\r\nhello", 7, &used), 0);
        cr_assert(http_end(&r));
        cr_assert(r.close);
}

Test(hammer_http, an_end_in_the_middle_is_a_cut)
{
        struct http_response r;
        size_t used = 0;

        cr_assert_eq(feed(&r, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", 100, &used), 0);
        cr_assert(r.started);
        cr_assert_not(http_end(&r));
}

Test(hammer_http, bytes_behind_the_answer_are_left_alone)
{
        struct http_response r;
        size_t used = 0;

        cr_assert_eq(feed(&r, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nXtra", 100, &used), HTTP_E_COMPLETE);
        cr_assert_eq(used, strlen("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX"));
}

Test(hammer_http, what_is_not_http_is_refused)
{
        static const char bad[][64] = { "SSH-2.0-x\r\n", "HTTP/1.1 abc x\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
                                        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n" };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct http_response r;
                size_t used = 0;

                cr_assert_eq(feed(&r, bad[i], 5, &used), -EPROTO, "row %zu", i);
        }
}
