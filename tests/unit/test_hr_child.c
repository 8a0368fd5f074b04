/* SPDX-License-Identifier: MIT */
/* The child role, with an Envoy that the test plays. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"
#include "tests/support/fault.h"
#include "tests/support/hr_pair.h"

static struct hr_message pass_of(const char *url, uint32_t worker)
{
        struct hr_message m = { .type = HR_PASS_LISTEN_SOCKET, .key = { .worker = worker }, .fd = -1 };

        strcpy(m.key.url, url);
        return m;
}

static const struct hr_message drain = { .type = HR_DRAIN_LISTENERS, .fd = -1 };
static const struct hr_message nothing = { .type = HR_REPLY_PASS, .fd = -1 };
static const struct hr_message unrecognized = { .type = HR_REPLY_UNRECOGNIZED, .fd = -1 };

/* What plays the Envoy answers with a socket; which one is told by its inode. */
static void give(struct hr_pair *p, int fd)
{
        struct hr_message m = { .type = HR_REPLY_PASS, .fd = fd };

        cr_assert_eq(hr_send(p->envoy, &p->our_name, &m, fd), 0);
}

static uint64_t read_inode(struct hr_child *c)
{
        struct hr_message m;
        uint64_t inode = 0;
        int fd;

        cr_assert_eq(hr_child_read(c, &m, &fd), 0);
        cr_assert_eq(m.type, HR_REPLY_PASS);
        cr_assert_geq(fd, 0);
        cr_assert_eq(hr_listener_inode(fd, &inode), 0);
        (void)close(fd);
        return inode;
}

static void expect_nothing(struct hr_child *c)
{
        struct hr_message m;
        int fd;

        cr_assert_eq(hr_child_read(c, &m, &fd), HR_NOTHING);
}

Test(hr_child, replies_come_with_their_sockets_in_the_order_of_the_questions)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message first = pass_of("tcp://127.0.0.1:80", 0), second = pass_of("tcp://127.0.0.1:80", 1), m;
        struct sockaddr_un peer;
        uint64_t envoy, us;
        int fd;

        hr_child_init(&c, p.us, &p.envoy_name);
        cr_assert(hr_listener_inode(p.envoy, &envoy) == 0 && hr_listener_inode(p.us, &us) == 0);
        cr_assert_eq(hr_child_ask(&c, &first), 0);
        cr_assert_eq(hr_child_ask(&c, &second), 0);
        cr_assert_eq(c.outstanding, 2);
        for (uint32_t worker = 0; worker < 2; worker++) {
                cr_assert_eq(hr_peek(p.envoy, &m, &peer), 0);
                cr_assert_eq(m.key.worker, worker);
                cr_assert_eq(hr_take(p.envoy), 0);
                give(&p, worker ? p.us : p.envoy);
        }
        cr_assert_eq(read_inode(&c), envoy);
        cr_assert_eq(read_inode(&c), us);
        cr_assert_eq(c.outstanding, 0);
        cr_assert_eq(hr_child_ask(&c, &first), 0);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &nothing, -1), 0);
        cr_assert_eq(hr_child_read(&c, &m, &fd), 0);
        cr_assert(m.type == HR_REPLY_PASS && m.fd == -1 && fd == -1);
        expect_nothing(&c);
        hr_child_done(&c);
        hr_pair_close(&p);
}

Test(hr_child, no_more_than_eight_questions_are_open_and_orders_do_not_count)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message ask = pass_of("tcp://127.0.0.1:80", 0), m;
        int fd;

        cr_assert_eq(HR_OUTSTANDING_MAX, 8);
        hr_child_init(&c, p.us, &p.envoy_name);
        cr_assert_eq(hr_child_ask(&c, &drain), 0);
        cr_assert_eq(c.outstanding, 0);
        for (int i = 0; i < HR_OUTSTANDING_MAX; i++)
                cr_assert_eq(hr_child_ask(&c, &ask), 0, "%d", i);
        cr_assert_eq(hr_child_ask(&c, &ask), HR_WOULD_BLOCK);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &nothing, -1), 0);
        cr_assert_eq(hr_child_ask(&c, &ask), HR_WOULD_BLOCK, "the answer has not been read");
        cr_assert_eq(hr_child_read(&c, &m, &fd), 0);
        cr_assert_eq(hr_take(p.envoy), 0); /* so that it is no full queue */
        cr_assert_eq(hr_child_ask(&c, &ask), 0);
        cr_assert_eq(hr_child_ask(&c, &ask), HR_WOULD_BLOCK);
        hr_child_done(&c);
        hr_pair_close(&p);
}

Test(hr_child, an_address_that_envoy_would_not_survive_is_not_asked_for)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message bad = pass_of("tcp://localhost:80", 0), m;
        struct sockaddr_un peer;

        hr_child_init(&c, p.us, &p.envoy_name);
        cr_assert_eq(hr_child_ask(&c, &bad), -EINVAL);
        cr_assert_eq(hr_peek(p.envoy, &m, &peer), HR_NOTHING);
        cr_assert_eq(c.outstanding, 0);
        hr_pair_close(&p);
}

Test(hr_child, replies_to_a_predecessor_of_ours_are_dropped_with_their_sockets_until_the_marker_is_answered)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message ask = pass_of("tcp://127.0.0.1:80", 0), m;
        struct sockaddr_un peer;
        uint64_t us;
        int before = open_fd_count();

        cr_assert_eq(hr_listener_inode(p.us, &us), 0);
        hr_child_init(&c, p.us, &p.envoy_name);
        give(&p, p.envoy); /* lies there already */
        cr_assert_eq(hr_child_sync(&c), 0);
        cr_assert(c.syncing);
        cr_assert_eq(hr_child_ask(&c, &ask), HR_WOULD_BLOCK);
        give(&p, p.envoy); /* was under way */
        expect_nothing(&c);
        cr_assert(c.syncing);
        cr_assert_eq(hr_peek(p.envoy, &m, &peer), 0);
        cr_assert_eq(m.type, HR_EMPTY);
        cr_assert_eq(hr_take(p.envoy), 0);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &unrecognized, -1), 0);
        expect_nothing(&c);
        cr_assert_not(c.syncing);
        cr_assert_eq(open_fd_count(), before, "sockets of dropped replies are left");
        cr_assert_eq(hr_child_ask(&c, &ask), 0);
        give(&p, p.us);
        cr_assert_eq(read_inode(&c), us);
        hr_child_done(&c);
        hr_pair_close(&p);
}

Test(hr_child, a_marker_forgets_open_questions_and_a_message_that_was_cut_off)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message ask = pass_of("tcp://127.0.0.1:80", 0), m;
        int fd;

        hr_child_init(&c, p.us, &p.envoy_name);
        cr_assert_eq(hr_child_ask(&c, &ask), 0);
        hr_pair_throw(p.envoy, &p.our_name, "\0\0\0\0\0\0\0\x64\x12", 9, -1, 0);
        expect_nothing(&c);
        cr_assert_eq(c.frame.have, 1);
        cr_assert_eq(hr_child_sync(&c), 0);
        cr_assert_eq(c.outstanding, 0);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &unrecognized, -1), 0);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &nothing, -1), 0);
        cr_assert_eq(hr_child_read(&c, &m, &fd), 0);
        cr_assert_eq(m.type, HR_REPLY_PASS);
        hr_child_done(&c);
        hr_pair_close(&p);
}

/* Taken for a reply it would shift all that follow by one. */
Test(hr_child, a_late_answer_to_the_marker_of_another_life_is_no_reply)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message ask = pass_of("tcp://127.0.0.1:80", 0);
        uint64_t us;

        cr_assert_eq(hr_listener_inode(p.us, &us), 0);
        hr_child_init(&c, p.us, &p.envoy_name);
        cr_assert_eq(hr_child_ask(&c, &ask), 0);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &unrecognized, -1), 0);
        give(&p, p.us);
        cr_assert_eq(read_inode(&c), us);
        cr_assert_eq(c.outstanding, 0);
        hr_child_done(&c);
        hr_pair_close(&p);
}

Test(hr_child, a_number_alone_is_no_socket_and_a_socket_without_a_number_is_closed)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message m;
        uint8_t bytes[64];
        size_t n;
        int fd = 77, before = open_fd_count();

        hr_child_init(&c, p.us, &p.envoy_name);
        cr_assert_eq(hr_encode(&(struct hr_message){ .type = HR_REPLY_PASS, .fd = 0 }, bytes, sizeof(bytes), &n), 0);
        hr_pair_throw(p.envoy, &p.our_name, bytes, n, -1, 0);
        cr_assert_eq(hr_child_read(&c, &m, &fd), 0);
        cr_assert(m.fd == -1 && fd == -1);
        cr_assert_eq(hr_encode(&nothing, bytes, sizeof(bytes), &n), 0);
        hr_pair_throw(p.envoy, &p.our_name, bytes, n, STDIN_FILENO, 1);
        cr_assert_eq(hr_child_read(&c, &m, &fd), 0);
        cr_assert(m.fd == -1 && fd == -1);
        cr_assert_eq(hr_encode(&(struct hr_message){ .type = HR_REPLY_STATS }, bytes, sizeof(bytes), &n), 0);
        hr_pair_throw(p.envoy, &p.our_name, bytes, n, STDIN_FILENO, 1);
        cr_assert_eq(hr_child_read(&c, &m, &fd), 0);
        cr_assert(m.type == HR_REPLY_STATS && fd == -1);
        cr_assert_eq(open_fd_count(), before);
        hr_child_done(&c);
        hr_pair_close(&p);
}

Test(hr_child, garbage_is_told_its_sockets_are_closed_and_the_reply_behind_it_is_found)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message m;
        int fd, before = open_fd_count();

        hr_child_init(&c, p.us, &p.envoy_name);
        hr_pair_throw(p.envoy, &p.our_name, "four", 4, STDIN_FILENO, 1);
        hr_pair_throw(p.envoy, &p.our_name, "\0\0\0\0\0\0\0\x02\xff\xff", 10, STDIN_FILENO, 1);
        hr_pair_throw(p.envoy, &p.our_name, "12345678", 8, STDIN_FILENO, 20);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &nothing, -1), 0);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(hr_child_read(&c, &m, &fd), HR_GARBAGE);
        cr_assert_eq(hr_child_read(&c, &m, &fd), 0);
        cr_assert_eq(open_fd_count(), before);
        hr_child_done(&c);
        hr_pair_close(&p);
}

/* Stats of an Envoy with many clusters: hundreds of kilobytes, all of it maps that we step over. */
Test(hr_child, a_reply_that_cannot_be_read_is_told_until_the_next_marker_and_a_strangers_is_not)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message m;
        int fd;

        hr_child_init(&c, p.us, &p.envoy_name);
        hr_pair_throw(p.us, &p.our_name, "stranger", 8, STDIN_FILENO, 20);
        cr_assert_eq(hr_child_read(&c, &m, &fd), HR_GARBAGE);
        cr_expect(!c.shifted);
        hr_pair_throw(p.envoy, &p.our_name, "four", 4, -1, 0);
        cr_assert_eq(hr_child_read(&c, &m, &fd), HR_GARBAGE);
        cr_expect(c.shifted);
        cr_assert_eq(hr_child_sync(&c), 0);
        cr_expect(!c.shifted);
        hr_pair_throw(p.envoy, &p.our_name, "12345678", 8, STDIN_FILENO, 20);
        cr_assert_eq(hr_child_read(&c, &m, &fd), HR_GARBAGE);
        cr_expect(!c.shifted, "of another life no reply can be missed");
        hr_child_done(&c);
        hr_pair_close(&p);
}

Test(hr_child, a_reply_of_many_datagrams_is_one_reply)
{
        enum { PADDING = 9000, TOTAL = HR_HEADER_BYTES + 3 + 3 + 2 + 3 + PADDING };
        static uint8_t bytes[TOTAL];
        const size_t inner = 2 + 3 + PADDING, outer = inner + 3;
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message m;
        uint8_t *at = bytes;
        int fd;

        at[6] = (uint8_t)((outer + 3) >> 8);
        at[7] = (uint8_t)(outer + 3);
        at += HR_HEADER_BYTES;
        *at++ = 0x12;
        *at++ = (uint8_t)(0x80 | (outer & 0x7f));
        *at++ = (uint8_t)(outer >> 7);
        *at++ = 0x1a;
        *at++ = (uint8_t)(0x80 | (inner & 0x7f));
        *at++ = (uint8_t)(inner >> 7);
        *at++ = 0x10;
        *at++ = 5; /* num_connections */
        *at++ = 0x1a;
        *at++ = (uint8_t)(0x80 | (PADDING & 0x7f));
        *at++ = (uint8_t)(PADDING >> 7);
        hr_child_init(&c, p.us, &p.envoy_name);
        hr_pair_throw(p.envoy, &p.our_name, bytes, HR_DATAGRAM_BYTES, -1, 0);
        hr_pair_throw(p.envoy, &p.our_name, bytes + HR_DATAGRAM_BYTES, HR_DATAGRAM_BYTES, -1, 0);
        expect_nothing(&c);
        hr_pair_throw(p.envoy, &p.our_name, bytes + 2 * HR_DATAGRAM_BYTES, TOTAL - 2 * HR_DATAGRAM_BYTES, -1, 0);
        cr_assert_eq(hr_child_read(&c, &m, &fd), 0);
        cr_assert_eq(m.type, HR_REPLY_STATS);
        cr_assert_eq(m.num_connections, 5);
        hr_child_done(&c);
        hr_pair_close(&p);
}

Test(hr_child, an_envoy_that_is_gone_is_told)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;
        struct hr_message ask = pass_of("tcp://127.0.0.1:80", 0);

        hr_child_init(&c, p.us, &p.envoy_name);
        (void)close(p.envoy);
        cr_assert_eq(hr_child_ask(&c, &ask), HR_NO_PEER);
        cr_assert_eq(hr_child_sync(&c), HR_NO_PEER);
        cr_assert_not(c.syncing);
        cr_assert_eq(c.outstanding, 0);
        (void)close(p.us);
}
