/* SPDX-License-Identifier: MIT */
/* Datagrams to messages. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

/* Room for a header and n bytes that follow a pattern. */
static uint8_t *message(size_t n)
{
        uint8_t *bytes = malloc(n + HR_HEADER_BYTES);

        cr_assert(bytes);
        for (int i = 0; i < HR_HEADER_BYTES; i++)
                bytes[i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
        for (size_t i = 0; i < n; i++)
                bytes[HR_HEADER_BYTES + i] = (uint8_t)(i * 7 + i / 256);
        return bytes;
}

/* Cut as Envoy cuts. Return: what the last datagram gave. */
static int feed_cut(struct hr_frame *f, const uint8_t *bytes, size_t total, const uint8_t **ret, size_t *ret_n)
{
        int r = -1;

        for (size_t at = 0; at < total; at += HR_DATAGRAM_BYTES) {
                size_t n = total - at < HR_DATAGRAM_BYTES ? total - at : HR_DATAGRAM_BYTES;

                r = hr_frame_feed(f, bytes + at, n, ret, ret_n);
                if (at + n < total)
                        cr_assert_eq(r, HR_FRAME_MORE);
        }
        return r;
}

static void expect_whole(size_t n)
{
        struct hr_frame f = HR_FRAME_NULL;
        uint8_t *bytes = message(n);
        const uint8_t *got;
        size_t got_n;

        for (int round = 0; round < 2; round++) { /* the second with the room of the first */
                cr_assert_eq(feed_cut(&f, bytes, n + HR_HEADER_BYTES, &got, &got_n), 0, "%zu bytes", n);
                cr_assert_eq(got_n, n);
                cr_assert_eq(memcmp(got, bytes + HR_HEADER_BYTES, n), 0);
        }
        hr_frame_done(&f);
        free(bytes);
}

Test(hr_frame, what_fits_into_4096_bytes_with_its_length_is_one_datagram)
{
        expect_whole(0);
        expect_whole(1);
        expect_whole(HR_DATAGRAM_BYTES - HR_HEADER_BYTES);
}

Test(hr_frame, what_is_longer_goes_on_in_datagrams_without_a_length)
{
        expect_whole(HR_DATAGRAM_BYTES - HR_HEADER_BYTES + 1);
        expect_whole(2 * HR_DATAGRAM_BYTES - HR_HEADER_BYTES);
        expect_whole(300000);
}

Test(hr_frame, an_empty_message_is_a_message)
{
        struct hr_frame f = HR_FRAME_NULL;
        const uint8_t zeros[HR_HEADER_BYTES] = { 0 }, *got = NULL;
        size_t n = 1;

        cr_assert_eq(hr_frame_feed(&f, zeros, sizeof(zeros), &got, &n), 0);
        cr_assert(got && n == 0);
        hr_frame_done(&f);
}

Test(hr_frame, a_datagram_too_short_for_a_length_is_dropped_and_the_next_one_counts)
{
        struct hr_frame f = HR_FRAME_NULL;
        uint8_t *good = message(3);
        const uint8_t *got;
        size_t n;

        for (size_t i = 0; i < HR_HEADER_BYTES; i++)
                cr_assert_eq(hr_frame_feed(&f, good, i, &got, &n), -EBADMSG, "%zu bytes", i);
        cr_assert_eq(hr_frame_feed(&f, good, 11, &got, &n), 0);
        cr_assert_eq(n, 3);
        hr_frame_done(&f);
        free(good);
}

Test(hr_frame, more_than_was_announced_is_dropped_and_the_next_one_counts)
{
        struct hr_frame f = HR_FRAME_NULL;
        uint8_t *good = message(5000);
        uint8_t rest[HR_DATAGRAM_BYTES] = { 0 };
        const uint8_t *got;
        size_t n;

        good[HR_HEADER_BYTES - 1]--; /* the last byte of the second datagram is one too many */
        cr_assert_eq(hr_frame_feed(&f, good, HR_DATAGRAM_BYTES, &got, &n), HR_FRAME_MORE);
        cr_assert_eq(hr_frame_feed(&f, rest, 5008 - HR_DATAGRAM_BYTES, &got, &n), -EBADMSG);
        cr_assert_eq(hr_frame_feed(&f, (const uint8_t[]){ 0, 0, 0, 0, 0, 0, 0, 1, 1, 2 }, 10, &got, &n), -EBADMSG); /* in one */
        cr_assert_eq(hr_frame_feed(&f, (const uint8_t[]){ 0, 0, 0, 0, 0, 0, 0, 1, 9 }, 9, &got, &n), 0);
        cr_assert(n == 1 && got[0] == 9);
        hr_frame_done(&f);
        free(good);
}

Test(hr_frame, an_absurd_length_is_garbage_and_costs_no_memory)
{
        struct hr_frame f = HR_FRAME_NULL;
        uint8_t header[HR_HEADER_BYTES + 1] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1 };
        uint8_t over[] = { 0, 0, 0, 0, 4, 0, 0, 1 }, most[] = { 0, 0, 0, 0, 4, 0, 0, 0 };
        const uint8_t *got;
        size_t n;

        cr_assert_eq(hr_frame_feed(&f, header, sizeof(header), &got, &n), -EBADMSG);
        cr_assert_eq(hr_frame_feed(&f, over, sizeof(over), &got, &n), -EBADMSG);
        cr_assert_eq(hr_frame_feed(&f, most, sizeof(most), &got, &n), HR_FRAME_MORE);
        cr_assert_eq(f.room, 0, "%zu bytes taken for nothing but a number", f.room);
        hr_frame_done(&f);
}
