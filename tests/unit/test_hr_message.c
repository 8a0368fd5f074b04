/* SPDX-License-Identifier: MIT */
/* Messages, held against the bytes that Envoys send. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

struct golden {
        struct hr_message message;
        const char *bytes; /* with the length */
        size_t n;
};

#define BYTES(text) text, sizeof(text) - 1
#define LENGTH "\0\0\0\0\0\0\0"

static const struct golden goldens[] = {
        { { .type = HR_TEST_CONNECTION, .fd = -1 }, BYTES(LENGTH "\x04\x0a\x02\x3a\x00") },
        { { .type = HR_SHUTDOWN_ADMIN, .fd = -1 }, BYTES(LENGTH "\x04\x0a\x02\x12\x00") },
        { { .type = HR_STATS, .fd = -1 }, BYTES(LENGTH "\x04\x0a\x02\x1a\x00") },
        { { .type = HR_DRAIN_LISTENERS, .fd = -1 }, BYTES(LENGTH "\x04\x0a\x02\x22\x00") },
        { { .type = HR_TERMINATE, .fd = -1 }, BYTES(LENGTH "\x04\x0a\x02\x2a\x00") },
        { { .type = HR_PASS_LISTEN_SOCKET, .key = { .url = "tcp://0.0.0.0:10000" }, .fd = -1 },
          BYTES(LENGTH "\x19\x0a\x17\x0a\x15\x0a\x13tcp://0.0.0.0:10000") },
        { { .type = HR_PASS_LISTEN_SOCKET, .key = { .url = "tcp://0.0.0.0:10000", .worker = 1 }, .fd = -1 },
          BYTES(LENGTH "\x1b\x0a\x19\x0a\x17\x0a\x13tcp://0.0.0.0:10000\x10\x01") },
        { { .type = HR_PASS_LISTEN_SOCKET, .key = { .url = "tcp://1.2.3.4:5", .netns = "/n" }, .fd = -1 },
          BYTES(LENGTH "\x19\x0a\x17\x0a\x15\x0a\x0ftcp://1.2.3.4:5\x1a\x02/n") },
        { { .type = HR_REPLY_PASS, .fd = -1 },
          BYTES(LENGTH "\x0f\x12\x0d\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01") },
        { { .type = HR_REPLY_PASS, .fd = 37 }, BYTES(LENGTH "\x06\x12\x04\x0a\x02\x08\x25") },
        { { .type = HR_REPLY_SHUTDOWN_ADMIN, .fd = -1, .start_time_unix_s = 1700000000, .enable_reuse_port_default = true },
          BYTES(LENGTH "\x0c\x12\x0a\x12\x08\x08\x80\xe2\xcf\xaa\x06\x10\x01") },
        { { .type = HR_REPLY_STATS, .fd = -1 }, BYTES(LENGTH "\x04\x12\x02\x1a\x00") },
        { { .type = HR_REPLY_STATS, .fd = -1, .memory_allocated = 300, .num_connections = 2 },
          BYTES(LENGTH "\x09\x12\x07\x1a\x05\x08\xac\x02\x10\x02") },
        { { .type = HR_REPLY_UNRECOGNIZED, .fd = -1 }, BYTES(LENGTH "\x02\x18\x01") },
        { { .type = HR_EMPTY, .fd = -1 }, BYTES(LENGTH "\x00") },
};

enum { GOLDENS = sizeof(goldens) / sizeof(goldens[0]) };

static void expect_same(const struct hr_message *got, const struct hr_message *want)
{
        cr_assert_eq(got->type, want->type, "%s, not %s", hr_type_name(got->type), hr_type_name(want->type));
        cr_assert(hr_key_equal(&got->key, &want->key), "%s %s %u", got->key.url, got->key.netns, got->key.worker);
        cr_assert_eq(got->fd, want->fd);
        cr_assert_eq(got->start_time_unix_s, want->start_time_unix_s);
        cr_assert_eq(got->enable_reuse_port_default, want->enable_reuse_port_default);
        cr_assert_eq(got->memory_allocated, want->memory_allocated);
        cr_assert_eq(got->num_connections, want->num_connections);
}

Test(hr_message, each_message_is_the_bytes_that_envoy_sends)
{
        for (size_t i = 0; i < GOLDENS; i++) {
                const struct golden *g = &goldens[i];
                uint8_t bytes[HR_DATAGRAM_BYTES];
                size_t n = 0;

                cr_assert_eq(hr_encode(&g->message, bytes, sizeof(bytes), &n), 0, "row %zu", i);
                cr_assert_eq(n, g->n, "row %zu: %zu bytes, not %zu", i, n, g->n);
                cr_assert_arr_eq(bytes, g->bytes, g->n, "row %zu", i);
        }
}

Test(hr_message, the_bytes_that_envoy_sends_are_understood)
{
        for (size_t i = 0; i < GOLDENS; i++) {
                const struct golden *g = &goldens[i];
                struct hr_message m;

                cr_assert_eq(hr_decode((const uint8_t *)g->bytes + HR_HEADER_BYTES, g->n - HR_HEADER_BYTES, &m), 0, "row %zu", i);
                expect_same(&m, &g->message);
        }
}

static int decode(const char *bytes, size_t n, struct hr_message *ret)
{
        return hr_decode((const uint8_t *)bytes, n, ret);
}

Test(hr_message, fields_of_newer_envoys_are_stepped_over)
{
        struct hr_message m;

        /* a Stats reply with counter deltas (3), gauges (4) and the tags of 1.40 (6, 7) */
        cr_assert_eq(decode(BYTES("\x12\x20\x1a\x1e\x08\x07\x10\x03\x1a\x05\x0a\x01" "a\x10\x02\x22\x05\x0a\x01" "b\x10\x09\x32\x05"
                                  "\x0a\x01" "a\x12\x00\x3a\x01\x0a"), &m), -EBADMSG, "a map entry that is cut short");
        cr_assert_eq(decode(BYTES("\x12\x1b\x1a\x19\x08\x07\x10\x03\x1a\x05\x0a\x01" "a\x10\x02\x22\x05\x0a\x01" "b\x10\x09\x32\x05"
                                  "\x0a\x01" "a\x12\x00"), &m), 0);
        cr_assert_eq(m.type, HR_REPLY_STATS);
        cr_assert(m.memory_allocated == 7 && m.num_connections == 3);
        /* a forwarded packet with its listener (6) and namespace (7) */
        cr_assert_eq(decode(BYTES("\x0a\x08\x32\x06\x32\x01x\x3a\x01y"), &m), 0);
        cr_assert_eq(m.type, HR_FORWARDED_UDP);
}

Test(hr_message, a_request_that_nobody_knows_is_told_from_garbage)
{
        struct hr_message m;

        cr_assert_eq(decode(BYTES("\x0a\x03\xf2\x07\x00"), &m), 0);
        cr_assert_eq(m.type, HR_UNKNOWN_REQUEST);
        cr_assert_eq(decode(BYTES("\x0a\x00"), &m), 0);
        cr_assert_eq(m.type, HR_UNKNOWN_REQUEST);
        cr_assert_eq(decode(BYTES("\x12\x00"), &m), 0);
        cr_assert_eq(m.type, HR_UNKNOWN_REPLY);
        cr_assert_eq(decode(BYTES("\x18\x00"), &m), 0);
        cr_assert_eq(m.type, HR_UNKNOWN_REQUEST);
}

Test(hr_message, bytes_that_are_no_message_are_refused)
{
        const char *const bad[] = { "\xff\xff\xff\xff", "\x0a\x7f\x12", "\x0a", "\x0a\x02\x12", "\x12\x04\x0a\x02\x08" };
        const size_t bytes[] = { 4, 3, 1, 3, 5 };
        struct hr_message m = { .type = HR_STATS };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                cr_assert_eq(decode(bad[i], bytes[i], &m), -EBADMSG, "row %zu", i);
        cr_assert_eq(m.type, HR_STATS, "written although it failed");
}

/* In Envoy's table a number without a descriptor is one of its own: the absent field says 0, which is a number. */
Test(hr_message, a_pass_reply_without_its_field_says_0_and_not_nothing)
{
        struct hr_message m;

        cr_assert_eq(decode(BYTES("\x12\x02\x0a\x00"), &m), 0);
        cr_assert_eq(m.type, HR_REPLY_PASS);
        cr_assert_eq(m.fd, 0);
}

static int decode_address(const char *text, size_t n, struct hr_message *ret)
{
        uint8_t bytes[512] = { 0x0a, (uint8_t)(0x80 | ((n + 6) & 0x7f)), (uint8_t)((n + 6) >> 7), 0x0a,
                               (uint8_t)(0x80 | ((n + 3) & 0x7f)), (uint8_t)((n + 3) >> 7), 0x0a,
                               (uint8_t)(0x80 | (n & 0x7f)), (uint8_t)(n >> 7) };

        memcpy(bytes + 9, text, n);
        return hr_decode(bytes, n + 9, ret);
}

Test(hr_message, a_text_that_does_not_fit_or_is_no_text_is_refused)
{
        struct hr_message m;
        char text[HR_URL_BYTES];

        memset(text, 'u', sizeof(text));
        cr_assert_eq(decode_address(text, HR_URL_BYTES - 1, &m), 0);
        cr_assert_eq(strlen(m.key.url), HR_URL_BYTES - 1);
        cr_assert_eq(decode_address(text, HR_URL_BYTES, &m), -EBADMSG);
        cr_assert_eq(decode_address(BYTES("tcp://1.2.3.4:5\0x"), &m), -EBADMSG);
        cr_assert_eq(decode_address(BYTES("tcp://1.2.3.4:5\n"), &m), -EBADMSG);
        cr_assert_eq(decode_address(BYTES("\x1b[31m"), &m), -EBADMSG);
        cr_assert_eq(decode_address(BYTES("\x7f"), &m), -EBADMSG);
        cr_assert_eq(decode_address("", 0, &m), 0);
        cr_assert_str_eq(m.key.url, "");
}

Test(hr_message, what_cannot_be_said_is_not_sent)
{
        struct hr_message m = { .type = HR_PASS_LISTEN_SOCKET };
        const enum hr_type never[] = { HR_FORWARDED_UDP, HR_UNKNOWN_REQUEST, HR_UNKNOWN_REPLY, (enum hr_type)99 };
        uint8_t bytes[HR_DATAGRAM_BYTES];
        size_t n;

        for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
                cr_assert_eq(hr_encode(&(struct hr_message){ .type = never[i] }, bytes, sizeof(bytes), &n), -EINVAL);
        memset(m.key.url, 'u', sizeof(m.key.url)); /* without an end */
        cr_assert_eq(hr_encode(&m, bytes, sizeof(bytes), &n), -EINVAL);
        m.key.url[HR_URL_BYTES - 1] = '\0';
        cr_assert_eq(hr_encode(&m, bytes, sizeof(bytes), &n), 0);
        memset(m.key.netns, 'n', sizeof(m.key.netns));
        cr_assert_eq(hr_encode(&m, bytes, sizeof(bytes), &n), -EINVAL);
}

Test(hr_message, a_buffer_that_is_one_byte_too_small_is_told)
{
        uint8_t bytes[12];
        size_t n = 77;

        cr_assert_eq(hr_encode(&(struct hr_message){ .type = HR_STATS }, bytes, 11, &n), -ENOBUFS);
        cr_assert_eq(n, 77);
        cr_assert_eq(hr_encode(&(struct hr_message){ .type = HR_STATS }, bytes, 12, &n), 0);
}

Test(hr_message, every_type_has_a_name_of_its_own)
{
        for (int i = 0; i <= HR_EMPTY; i++)
                for (int j = 0; j < i; j++)
                        cr_assert_str_neq(hr_type_name((enum hr_type)i), hr_type_name((enum hr_type)j));
        cr_assert_str_eq(hr_type_name((enum hr_type)(HR_EMPTY + 1)), "?");
        cr_assert_str_eq(hr_type_name((enum hr_type)-1), "?");
}
