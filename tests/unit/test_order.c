/* SPDX-License-Identifier: MIT */
/* The body of an order: what is read out of it, and what is not taken. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/order.h"

static struct order_error e;

static const char *refused(const char *text)
{
        struct order o;

        e = (struct order_error){ .member = "none" };
        cr_assert_eq(order_read(text, strlen(text), &o, &e), -EBADMSG, "%s is an order", text);
        return e.member;
}

Test(order, nothing_is_an_order_without_wishes)
{
        const char *const texts[] = { "", "{}", "{\"x\":{\"self\":true}}" };

        for (size_t i = 0; i < 3; i++) {
                struct order o;

                cr_assert_eq(order_read(texts[i], strlen(texts[i]), &o, &e), 0, "%s: %s", texts[i], e.text);
                cr_expect_eq(o.o.ticket, 0);
                cr_expect(!o.o.has_target && !o.o.self);
                cr_expect_eq(o.o.observe_ms, -1);
                cr_expect_str_eq(o.o.cwd, "");
                cr_expect(o.o.n_proxy == 0 && !o.o.proxy);
                order_done(&o);
        }
}

Test(order, all_that_is_written_is_read_again)
{
        const char *const proxy[] = { "envoy", "", "a\n\"\\b", "\xf0\x9f\x98\x80" };
        struct control_order given = { .ticket = INT64_MAX, .has_target = true, .target = 0, .observe_ms = 0, .self = true, .cwd = "/",
                                       .proxy = proxy, .n_proxy = 4 };
        struct json_writer w = JSON_WRITER_NULL;
        struct order o;

        order_write(&given, &w);
        cr_assert_eq(order_read(w.text, w.n, &o, &e), 0, "%s: %s", e.member, e.text);
        cr_expect_eq(o.o.ticket, INT64_MAX);
        cr_expect(o.o.has_target && o.o.target == 0 && o.o.self);
        cr_expect_eq(o.o.observe_ms, 0);
        cr_expect_str_eq(o.o.cwd, "/");
        cr_assert_eq(o.o.n_proxy, 4);
        for (size_t i = 0; i < 4; i++)
                cr_expect_str_eq(o.o.proxy[i], proxy[i]);
        cr_expect_null(o.o.proxy[4], "it is an argv");
        order_done(&o);
        json_writer_done(&w);
}

Test(order, what_is_wrong_is_named)
{
        cr_expect_str_eq(refused("{\"to\":-1}"), "to");
        cr_expect_str_eq(e.text, "the number of an epoch is wanted");
        cr_expect_str_eq(refused("{\"self\":true,\"self\":true}"), "self");
        cr_expect_str_eq(e.text, "it stands there twice");
        cr_expect_str_eq(refused("{\"proxy\":[\"x\"],\"proxy\":[\"y\"]}"), "proxy");
        cr_expect_str_eq(refused("{\"proxy\":[\"x\", null]}"), "proxy");
        cr_expect_str_eq(refused("{\"self\":tru}"), "body");
        cr_expect_str_eq(refused("true"), "body");
        cr_expect_str_eq(refused("{\"observe_ms\":1e3}"), "observe_ms");
}

Test(order, a_text_that_would_arrive_as_another_is_refused)
{
        cr_expect_str_eq(refused("{\"proxy\":[\"a\\u0000b\"]}"), "proxy");
        cr_expect_str_eq(refused("{\"proxy\":[\"\\udc00\"]}"), "proxy");
        cr_expect_str_eq(refused("{\"proxy\":[\"a\xff\"]}"), "proxy");
        cr_expect_str_eq(refused("{\"proxy\":[\"\xc3\"]}"), "proxy");
        cr_expect_str_eq(refused("{\"cwd\":\"/\xef\xbf\xbd\"}"), "cwd");
}

Test(order, a_body_is_at_most_as_long_as_is_said)
{
        char *text = malloc(ORDER_BYTES_MAX + 2);
        struct order o;

        memset(text, ' ', ORDER_BYTES_MAX + 2);
        text[0] = '{';
        text[ORDER_BYTES_MAX - 1] = '}';
        cr_assert_eq(order_read(text, ORDER_BYTES_MAX, &o, &e), 0);
        order_done(&o);
        text[ORDER_BYTES_MAX - 1] = ' ';
        text[ORDER_BYTES_MAX] = '}';
        cr_expect_eq(order_read(text, ORDER_BYTES_MAX + 1, &o, &e), -EBADMSG);
        cr_expect_str_eq(e.text, "it is too large");
        free(text);
}
