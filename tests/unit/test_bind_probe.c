/* SPDX-License-Identifier: MIT */
/* Whether a listener could be bound, on real sockets. */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/bind_probe.h"
#include "agent/cleanup.h"

static const struct proxy_user ours;
static const struct bootstrap_listener shared = { .reuse_port = true, .binds = true }, alone = { .binds = true };

/* A listener of somebody else's on a free port of 127.0.0.1; its URL. */
static int listen_somewhere(bool reuse_port, char url[64])
{
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(in);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

        cr_assert(fd >= 0);
        if (reuse_port)
                cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
        cr_assert_eq(bind(fd, (struct sockaddr *)&in, len), 0);
        cr_assert_eq(listen(fd, 8), 0);
        cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
        (void)snprintf(url, 64, "tcp://127.0.0.1:%u", ntohs(in.sin_port));
        return fd;
}

Test(bind_probe, a_taken_port_is_in_use_and_free_again_when_its_owner_is_gone)
{
        char url[64];
        int fd = listen_somewhere(false, url);

        cr_expect_eq(bind_probe(url, &shared, &ours), -EADDRINUSE);
        cr_expect_eq(bind_probe(url, &alone, &ours), -EADDRINUSE);
        (void)close(fd);
        cr_expect_eq(bind_probe(url, &shared, &ours), 0);
        cr_expect_eq(bind_probe(url, &shared, &ours), 0, "the probe leaves nothing");
        cr_expect_eq(bind_probe(url, &alone, &ours), 0);
}

Test(bind_probe, a_port_that_is_shared_can_be_bound_by_those_who_share)
{
        char url[64];
        int fd = listen_somewhere(true, url);

        cr_expect_eq(bind_probe(url, &shared, &ours), 0);
        cr_expect_eq(bind_probe(url, &alone, &ours), -EADDRINUSE);
        (void)close(fd);
}

Test(bind_probe, a_probe_takes_no_connection_from_the_one_who_listens)
{
        char url[64];
        CLEANUP(close_fd) int fd = listen_somewhere(true, url);
        struct sockaddr_in in;
        socklen_t len = sizeof(in);

        cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
        for (int i = 0; i < 200; i++) {
                CLEANUP(close_fd) int client = socket(AF_INET, SOCK_STREAM, 0), accepted = -1;

                cr_assert_eq(bind_probe(url, &shared, &ours), 0);
                cr_assert_eq(connect(client, (struct sockaddr *)&in, len), 0);
                accepted = accept(fd, NULL, NULL);
                cr_assert(accepted >= 0);
        }
}

Test(bind_probe, an_address_of_another_host_needs_freebind)
{
        struct bootstrap_listener freebind = { .binds = true, .freebind = true };

        cr_expect_eq(bind_probe("tcp://192.0.2.1:4711", &shared, &ours), -EADDRNOTAVAIL);
        cr_expect_eq(bind_probe("tcp://192.0.2.1:4711", &freebind, &ours), 0);
}

Test(bind_probe, what_envoy_does_not_bind_is_not_tried)
{
        char url[64];
        int fd = listen_somewhere(false, url);
        struct bootstrap_listener unbound = { 0 }, elsewhere = { .binds = true, .elsewhere = true };

        cr_expect_eq(bind_probe(url, &unbound, &ours), 0);
        cr_expect_eq(bind_probe(url, &elsewhere, &ours), BIND_PROBE_UNKNOWN);
        cr_expect_eq(bind_probe("udp://127.0.0.1:1", &shared, &ours), BIND_PROBE_UNKNOWN);
        cr_expect_eq(bind_probe("tcp://a.name:1", &shared, &ours), BIND_PROBE_UNKNOWN);
        cr_expect_eq(bind_probe("tcp://127.0.0.1:port", &shared, &ours), BIND_PROBE_UNKNOWN);
        (void)close(fd);
}

Test(bind_probe, the_path_of_a_unix_socket_is_not_touched)
{
        char folder[] = "/tmp/baton-probe-XXXXXX", url[128], missing[128];
        struct stat before, after;
        int fd;

        cr_assert(mkdtemp(folder));
        (void)snprintf(url, sizeof(url), "unix://%s/s", folder);
        (void)snprintf(missing, sizeof(missing), "unix://%s/none/s", folder);
        cr_expect_eq(bind_probe(url, &alone, &ours), 0);
        cr_expect_neq(access(url + 7, F_OK), 0, "nothing was made");
        fd = creat(url + 7, 0600);
        cr_assert(fd >= 0 && fstat(fd, &before) == 0);
        cr_expect_eq(bind_probe(url, &alone, &ours), 0);
        cr_assert_eq(stat(url + 7, &after), 0);
        cr_expect_eq(before.st_ino, after.st_ino);
        cr_expect_eq(bind_probe(missing, &alone, &ours), -ENOENT);
        (void)close(fd);
        (void)unlink(url + 7);
        (void)rmdir(folder);
}

Test(bind_probe, an_abstract_name_is_in_use_while_somebody_has_it)
{
        CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        char url[sizeof(addr.sun_path) + 8];
        int n = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "baton-probe-%d", (int)getpid());

        (void)snprintf(url, sizeof(url), "unix://@%s", addr.sun_path + 1);
        cr_expect_eq(bind_probe(url, &alone, &ours), 0);
        cr_assert_eq(bind(fd, (struct sockaddr *)&addr, (socklen_t)(sizeof(sa_family_t) + 1 + (size_t)n)), 0);
        cr_expect_eq(bind_probe(url, &alone, &ours), -EADDRINUSE);
}

Test(bind_probe, what_is_opened_is_bound_and_the_proxys_and_does_not_listen)
{
        const struct proxy_user other = { .other = true, .uid = 4000000001, .gid = 4000000001 };
        struct hr_key key = { 0 };
        struct stat st;
        int fd = -1, second = -1, flags;

        if (geteuid() != 0)
                cr_skip_test("only root can become another user");
        (void)snprintf(key.url, sizeof(key.url), "%s", "tcp://127.0.0.1:0");
        cr_assert_eq(bind_open(&key, &shared, &other, &fd), 0);
        cr_expect(fstat(fd, &st) == 0 && st.st_uid == other.uid, "or its own next worker could not share the port");
        flags = fcntl(fd, F_GETFL);
        cr_expect(flags & O_NONBLOCK, "Envoy would accept nothing from a blocking one");
        cr_expect_eq(hr_listener_accepts(fd), 0);
        (void)snprintf(key.url, sizeof(key.url), "%s", "udp://127.0.0.1:0");
        cr_expect_eq(bind_open(&key, &shared, &other, &second), -EOPNOTSUPP);
        (void)close(fd);
}
