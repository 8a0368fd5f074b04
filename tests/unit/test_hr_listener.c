/* SPDX-License-Identifier: MIT */
/* Listen sockets against the kernel: what silence, revival and a queue's length mean. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"
#include "tests/support/fault.h"

struct place {
        char url[32]; /* port 0 */
};

static struct hr_key key_of(const char *url)
{
        struct hr_key k = { 0 };

        strcpy(k.url, url);
        return k;
}

static int open_at(const char *url, bool reuse_port)
{
        struct hr_key k = key_of(url);
        int fd = -1, r = hr_listener_open(&k, reuse_port, 64, &fd);

        cr_assert_eq(r, 0, "%s: %s", url, strerror(-r));
        return fd;
}

/* Return: a connected socket, or -errno. */
static int try_connect(int listener)
{
        struct sockaddr_storage addr;
        socklen_t len = sizeof(addr);
        int fd;

        cr_assert_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
        fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_geq(fd, 0);
        if (connect(fd, (const struct sockaddr *)&addr, len) == 0)
                return fd;
        len = (socklen_t)errno;
        (void)close(fd);
        return -(int)len;
}

static uint32_t queue(int fd)
{
        uint32_t n = UINT32_MAX;
        int r = hr_listener_queue(fd, &n);

        cr_assert_eq(r, 0, "%s", strerror(-r));
        return n;
}

static void accept_one(int listener)
{
        struct pollfd p = { .fd = listener, .events = POLLIN };
        int fd;

        cr_assert_eq(poll(&p, 1, 20000), 1);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        cr_assert_geq(fd, 0);
        (void)close(fd);
}

static struct criterion_test_params places(void)
{
        static struct place rows[] = { { "tcp://127.0.0.1:0" }, { "tcp://[::1]:0" } };

        return cr_make_param_array(struct place, rows, 2);
}

ParameterizedTestParameters(hr_listener, a_new_socket_listens_never_blocks_and_is_closed_on_exec)
{
        return places();
}

ParameterizedTest(struct place *p, hr_listener, a_new_socket_listens_never_blocks_and_is_closed_on_exec)
{
        int fd = open_at(p->url, true), client;

        cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
        cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        cr_assert_eq(hr_listener_accepts(fd), 1);
        client = try_connect(fd);
        cr_assert_geq(client, 0);
        accept_one(fd);
        (void)close(client);
        (void)close(fd);
}

ParameterizedTestParameters(hr_listener, a_silenced_socket_refuses_whoever_holds_copies_and_a_revived_one_accepts_again)
{
        return places();
}

ParameterizedTest(struct place *p, hr_listener, a_silenced_socket_refuses_whoever_holds_copies_and_a_revived_one_accepts_again)
{
        int fd = open_at(p->url, false), copy = dup(fd), client;

        for (int round = 0; round < 3; round++) {
                cr_assert_eq(hr_listener_silence(copy), 0);
                cr_assert_eq(hr_listener_accepts(fd), 0);
                cr_assert_eq(try_connect(fd), -ECONNREFUSED);
                cr_assert_eq(hr_listener_silence(fd), 0, "twice is once");
                cr_assert_eq(hr_listener_revive(copy), 0);
                cr_assert_eq(hr_listener_accepts(fd), 1);
                client = try_connect(fd);
                cr_assert_geq(client, 0);
                accept_one(fd);
                (void)close(client);
        }
        (void)close(copy);
        (void)close(fd);
}

Test(hr_listener, a_hushed_socket_lets_no_connection_begin_and_a_revived_one_does_again)
{
        int fd = open_at("tcp://127.0.0.1:0", true), client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct sockaddr_in addr;
        socklen_t len = sizeof(addr);

        cr_assert(getsockname(fd, (struct sockaddr *)&addr, &len) == 0 && client >= 0);
        cr_assert_eq(hr_listener_hush(fd), 0);
        cr_assert(connect(client, (struct sockaddr *)&addr, len) < 0 && errno == EINPROGRESS, "on loopback an answer is there at once");
        cr_assert_eq(queue(fd), 0);
        cr_assert_eq(hr_listener_revive(fd), 0);
        cr_assert_eq(hr_listener_revive(fd), 0, "twice is once");
        (void)close(client);
        client = try_connect(fd);
        cr_assert_geq(client, 0);
        accept_one(fd);
        (void)close(client);
        (void)close(fd);
}

ParameterizedTestParameters(hr_listener, the_queue_is_as_long_as_what_nobody_has_accepted)
{
        return places();
}

ParameterizedTest(struct place *p, hr_listener, the_queue_is_as_long_as_what_nobody_has_accepted)
{
        int fd = open_at(p->url, false), clients[3];

        cr_assert_eq(queue(fd), 0);
        for (uint32_t i = 0; i < 3; i++) {
                clients[i] = try_connect(fd);
                cr_assert_geq(clients[i], 0);
                /* connect() may be back before the last step on the other side */
                for (int tries = 0; queue(fd) != i + 1 && tries < 20000; tries++)
                        (void)poll(NULL, 0, 1);
                cr_assert_eq(queue(fd), i + 1);
        }
        accept_one(fd);
        cr_assert_eq(queue(fd), 2);
        for (int i = 0; i < 3; i++)
                (void)close(clients[i]);
        (void)close(fd);
}

Test(hr_listener, a_unix_socket_tells_its_queue_and_is_neither_silenced_nor_unlinked)
{
        char path[] = "/tmp/hrlXXXXXX", url[64];
        int fd, clients[2];

        cr_assert(mkdtemp(path));
        (void)snprintf(url, sizeof(url), "unix://%s/u", path);
        fd = open_at(url, false);
        cr_assert_eq(queue(fd), 0);
        clients[0] = try_connect(fd);
        clients[1] = try_connect(fd);
        cr_assert(clients[0] >= 0 && clients[1] >= 0);
        cr_assert_eq(queue(fd), 2);
        accept_one(fd);
        cr_assert_eq(queue(fd), 1);
        cr_assert_eq(hr_listener_silence(fd), 0);
        cr_assert_eq(hr_listener_accepts(fd), 1);
        (void)close(clients[0]);
        clients[0] = try_connect(fd);
        cr_assert_geq(clients[0], 0);
        {
                struct hr_key k = key_of(url);
                int second;

                cr_assert_eq(hr_listener_open(&k, false, 1, &second), -EADDRINUSE);
        }
        (void)close(clients[0]);
        (void)close(clients[1]);
        (void)close(fd);
        cr_assert_eq(unlink(url + 7), 0);
        cr_assert_eq(rmdir(path), 0);
}

Test(hr_listener, what_finds_a_full_queue_is_counted_as_dropped)
{
        enum { TRIES = 8 };
        struct hr_key k = key_of("tcp://127.0.0.1:0");
        struct sockaddr_storage addr;
        socklen_t len = sizeof(addr);
        int listener = -1, clients[TRIES];
        uint32_t before = 1, after = 0;

        cr_assert_eq(hr_listener_open(&k, false, 0, &listener), 0);
        cr_assert_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
        cr_assert_eq(hr_listener_drops(listener, &before), 0);
        cr_assert_eq(before, 0);
        for (size_t i = 0; i < TRIES; i++) {
                clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                (void)connect(clients[i], (const struct sockaddr *)&addr, len);
        }
        cr_assert_eq(hr_listener_drops(listener, &after), 0);
        cr_assert_gt(after, 0);
        for (size_t i = 0; i < TRIES; i++)
                (void)close(clients[i]);
        (void)close(listener);
}

Test(hr_listener, a_udp_socket_has_no_queue_and_nothing_to_silence)
{
        int fd = open_at("udp://127.0.0.1:0", true);

        cr_assert_eq(queue(fd), 0);
        cr_assert_eq(hr_listener_silence(fd), 0);
        cr_assert_eq(hr_listener_revive(fd), 0);
        cr_assert_eq(hr_listener_accepts(fd), 0);
        (void)close(fd);
}

static uint64_t inode(int fd)
{
        uint64_t n = 0;

        cr_assert_eq(hr_listener_inode(fd, &n), 0);
        return n;
}

static void url_of(int fd, const char *format, char *ret, size_t size)
{
        struct sockaddr_storage addr;
        socklen_t len = sizeof(addr);

        cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
        (void)snprintf(ret, size, format, ntohs(((const struct sockaddr_in *)&addr)->sin_port)); /* the same place in both */
}

Test(hr_listener, copies_have_one_inode_and_sockets_of_one_address_have_two)
{
        char url[32];
        int fd = open_at("tcp://127.0.0.1:0", true), copy = dup(fd), second;

        url_of(fd, "tcp://127.0.0.1:%u", url, sizeof(url));
        second = open_at(url, true);
        cr_assert_eq(inode(fd), inode(copy));
        cr_assert_neq(inode(fd), inode(second));
        (void)close(fd);
        (void)close(copy);
        (void)close(second);
}

Test(hr_listener, an_address_is_taken_once_without_reuse_port)
{
        struct hr_key k = key_of("");
        int fd = open_at("tcp://127.0.0.1:0", false), second, before;

        url_of(fd, "tcp://127.0.0.1:%u", k.url, sizeof(k.url));
        before = open_fd_count();
        cr_assert_eq(hr_listener_open(&k, false, 1, &second), -EADDRINUSE);
        cr_assert_eq(hr_listener_open(&k, true, 1, &second), -EADDRINUSE);
        cr_assert_eq(open_fd_count(), before);
        (void)close(fd);
}

Test(hr_listener, all_of_ipv6_leaves_all_of_ipv4_free)
{
        char url[32];
        int six = open_at("tcp://[::]:0", false), four;

        url_of(six, "tcp://0.0.0.0:%u", url, sizeof(url));
        four = open_at(url, false);
        (void)close(six);
        (void)close(four);
}

Test(hr_listener, what_is_no_address_or_lies_in_another_namespace_is_not_opened)
{
        struct hr_key k = key_of("tcp://localhost:80");
        int fd, before = open_fd_count();

        cr_assert_eq(hr_listener_open(&k, false, 1, &fd), -EINVAL);
        k = key_of("tcp://127.0.0.1:0");
        strcpy(k.netns, "/run/netns/x");
        cr_assert_eq(hr_listener_open(&k, false, 1, &fd), -EOPNOTSUPP);
        k = key_of("tcp://192.0.2.1:0"); /* of nobody's interface */
        cr_assert_eq(hr_listener_open(&k, false, 1, &fd), -EADDRNOTAVAIL);
        cr_assert_eq(open_fd_count(), before);
}

Test(hr_listener, what_is_no_socket_is_told)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        uint32_t n;

        cr_assert_eq(hr_listener_silence(fd), -ENOTSOCK);
        cr_assert_eq(hr_listener_revive(fd), -ENOTSOCK);
        cr_assert_eq(hr_listener_accepts(fd), -ENOTSOCK);
        cr_assert_eq(hr_listener_queue(fd, &n), -ENOTSOCK);
        (void)close(fd);
}
