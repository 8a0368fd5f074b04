/* SPDX-License-Identifier: MIT */
/* Addresses of --status: what is one, and what is said of what is none. */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/control.h"

static char error[256];

Test(listen_address, what_is_no_address_is_told)
{
        static const char *const bad[] = {
                "", "8080", "localhost:80", "1.2.3:80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4: 1",
                "::1:80", "[::1]", "[::1]:", "[1.2.3.4]:80", "[::1:80", "::1]:80", "[]:80", "1.2.3.4:80x", "999.1.1.1:80",
                "1.2.3.4:99999999999999999999", ":", "http://1.2.3.4:80",
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                int fd = -1;

                cr_expect_eq(control_open_status(bad[i], &fd, error, sizeof(error)), -EINVAL, "%s", bad[i]);
                cr_expect(strstr(error, "IP:PORT") && strstr(error, bad[i]), "%s", error);
                cr_expect_eq(fd, -1);
        }
}

static unsigned port_of(int fd)
{
        struct sockaddr_in6 a = { 0 };
        socklen_t n = sizeof(a);

        cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
        return ntohs(a.sin6_port); /* where IPv4 has it too */
}

Test(listen_address, addresses_of_both_families_and_of_files)
{
        static const char *const good[] = { "127.0.0.1:0", ":0", "[::]:0", "[::1]:0" };

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                int fd = -1, on = 0;
                socklen_t n = sizeof(on);

                cr_assert_eq(control_open_status(good[i], &fd, error, sizeof(error)), 0, "%s", error);
                cr_expect_eq(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n), 0);
                cr_expect(on);
                cr_expect_gt(port_of(fd), 0);
                cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
                (void)close(fd);
        }
}

Test(listen_address, a_taken_port_is_told_with_the_systems_reason)
{
        char address[32];
        int fd = -1, second = -1;

        cr_assert_eq(control_open_status("127.0.0.1:0", &fd, error, sizeof(error)), 0);
        (void)snprintf(address, sizeof(address), "127.0.0.1:%u", port_of(fd));
        cr_expect_eq(control_open_status(address, &second, error, sizeof(error)), -EADDRINUSE);
        cr_expect(strstr(error, address) && strstr(error, "Address already in use"), "%s", error);
        cr_expect_eq(second, -1);
        (void)close(fd);
}

Test(listen_address, a_stale_socket_goes_but_somebodys_file_does_not)
{
        char dir[] = "/tmp/baton-test-listen-XXXXXX", address[80];
        struct stat st;
        int fd = -1;

        cr_assert(mkdtemp(dir));
        (void)snprintf(address, sizeof(address), "unix:%s/s", dir);
        cr_assert_eq(control_open_status(address, &fd, error, sizeof(error)), 0, "%s", error);
        (void)close(fd); /* its file stays */
        cr_assert_eq(control_open_status(address, &fd, error, sizeof(error)), 0, "%s", error);
        cr_assert_eq(stat(address + 5, &st), 0);
        cr_expect_eq(st.st_mode & 07777, 0666);
        (void)close(fd);
        (void)unlink(address + 5);
        fd = open(address + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        (void)close(fd);
        cr_expect_eq(control_open_status(address, &fd, error, sizeof(error)), -EEXIST);
        cr_expect(strstr(error, "File exists"), "%s", error);
        cr_expect_eq(unlink(address + 5), 0, "it is still there");
        (void)rmdir(dir);
}

Test(listen_address, a_path_too_long_for_a_socket_is_told)
{
        char address[300];
        int fd = -1;

        memset(address, 'x', sizeof(address) - 1);
        address[sizeof(address) - 1] = '\0';
        memcpy(address, "unix:/tmp/", 10);
        cr_expect_eq(control_open_status(address, &fd, error, sizeof(error)), -ENAMETOOLONG);
        cr_expect(*error);
}
