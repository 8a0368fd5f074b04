/* SPDX-License-Identifier: MIT */
/* Who has accepted a connection: nobody yet, this process, another one. */
#include <criterion/criterion.h>

#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/accepted.h"

static const struct proxy_user ourselves;

struct pair {
        int listener, client, server;
};

/* On the loopback, or a Unix socket with a name that the kernel chooses. */
static struct pair connected(int family)
{
        struct sockaddr_storage addr = { .ss_family = (sa_family_t)family };
        socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(sa_family_t);
        struct pair p = { socket(family, SOCK_STREAM, 0), socket(family, SOCK_STREAM, 0), -1 };

        if (family == AF_INET)
                ((struct sockaddr_in *)&addr)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (family == AF_INET6)
                ((struct sockaddr_in6 *)&addr)->sin6_addr = in6addr_loopback;
        if (bind(p.listener, (struct sockaddr *)&addr, len) < 0 && family == AF_INET6)
                cr_skip_test("no IPv6 here");
        len = sizeof(addr);
        cr_assert_eq(listen(p.listener, 8), 0);
        cr_assert_eq(getsockname(p.listener, (struct sockaddr *)&addr, &len), 0);
        cr_assert_eq(connect(p.client, (struct sockaddr *)&addr, len), 0);
        return p;
}

static void done(struct pair p)
{
        (void)close(p.listener);
        (void)close(p.client);
        (void)close(p.server);
}

static void expect_told(int family)
{
        struct pair p = connected(family);
        struct stat st;
        uint64_t inode = 0;

        cr_assert_eq(accepted_inode(p.client, &inode), ACCEPTED_NOT, "it waits in the queue");
        p.server = accept(p.listener, NULL, NULL);
        cr_assert(p.server >= 0 && fstat(p.server, &st) == 0);
        cr_assert_eq(accepted_inode(p.client, &inode), 0);
        cr_assert_eq(inode, st.st_ino);
        cr_assert(accepted_by(&ourselves, getpid(), inode), "whoever leads: it descends from itself");
        done(p);
}

Test(accepted, of_a_tcp_connection)
{
        expect_told(AF_INET);
}

Test(accepted, of_one_over_ipv6)
{
        expect_told(AF_INET6);
}

Test(accepted, of_one_over_a_unix_socket)
{
        expect_told(AF_UNIX);
}

Test(accepted, another_session_has_not_what_we_have)
{
        struct pair p = connected(AF_INET);
        uint64_t inode = 0;
        pid_t other = fork();

        if (other == 0) {
                (void)close(p.listener);
                (void)setsid();
                (void)pause();
                _exit(0);
        }
        p.server = accept(p.listener, NULL, NULL);
        cr_assert_eq(accepted_inode(p.client, &inode), 0);
        cr_assert_not(accepted_by(&ourselves, other, inode));
        cr_assert(belongs_to(getpid(), other), "it descends from us all the same");
        cr_assert_not(belongs_to(other, getpid()));
        (void)kill(other, SIGKILL);
        (void)waitpid(other, NULL, 0);
        done(p);
}

Test(accepted, of_one_that_is_closed_nothing_is_known)
{
        struct pair p = connected(AF_INET);
        uint64_t inode = 0;

        cr_assert_eq(accepted_inode(p.listener, &inode), ACCEPTED_UNKNOWN, "not connected at all");
        (void)shutdown(p.listener, SHUT_RD); /* resets what waits */
        cr_assert_eq(accepted_inode(p.client, &inode), ACCEPTED_UNKNOWN);
        done(p);
}
