/* SPDX-License-Identifier: MIT */
/* Addresses of --status and --admin: what is one, and what is said of what is none. */
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

/* ---- the front of the proxy's admin moves ------------------------------------------------------------ */

static int open_beside(const char *format, unsigned port, int beside, bool v6only, int *ret_fd)
{
        char address[64];

        (void)snprintf(address, sizeof(address), format, port);
        return control_open("admin", address, &(struct listen_how){ .beside = beside, .v6only = v6only }, ret_fd, error, sizeof(error));
}

Test(listen_address, an_overlapping_address_is_opened_before_ours_is_closed_and_nobody_else_gets_in)
{
        int all = -1, one = -1, other = -1, six = -1;
        char text[128], buf[128];
        unsigned port;

        cr_assert_eq(open_beside("0.0.0.0:%u", 0, -1, false, &all), 0);
        port = port_of(all);
        cr_expect_eq(open_beside("127.0.0.1:%u", port, -1, false, &one), -EADDRINUSE);
        cr_assert_eq(open_beside("127.0.0.1:%u", port, all, false, &one), 0, "%s", error);
        cr_expect_eq(open_beside("127.0.0.1:%u", port, -1, false, &other), -EADDRINUSE);
        (void)snprintf(text, sizeof(text), "127.0.0.1:%u", port);
        cr_expect_eq(open_beside("[::]:%u", port, -1, true, &six), 0, "IPv6 alone does not overlap: %s", error);
        (void)close(all);
        cr_expect_str_eq(control_address(one, buf, sizeof(buf)), text);
        (void)close(one);
        (void)close(six);
}

Test(listen_address, where_it_listens_is_told_in_the_syntax_of_the_option)
{
        char path[] = "/tmp/baton-test-admin-XXXXXX", want[64], buf[128];
        int fd = mkstemp(path), abstract = -1;

        (void)close(fd);
        (void)unlink(path);
        (void)snprintf(want, sizeof(want), "unix:%s", path);
        cr_assert_eq(control_open("admin", want, &(struct listen_how){ .mode = 0640, .beside = -1 }, &fd, error, sizeof(error)), 0, "%s", error);
        cr_expect_str_eq(control_address(fd, buf, sizeof(buf)), want);
        (void)close(fd);
        (void)unlink(path);
        (void)snprintf(want, sizeof(want), "unix:@%s", path);
        cr_assert_eq(control_open("admin", want, &(struct listen_how){ .beside = -1 }, &abstract, error, sizeof(error)), 0, "%s", error);
        cr_expect_str_eq(control_address(abstract, buf, sizeof(buf)), want);
        (void)close(abstract);
        cr_assert_eq(open_beside("[::1]:%u", 0, -1, false, &fd), 0);
        (void)snprintf(want, sizeof(want), "[::1]:%u", port_of(fd));
        cr_expect_str_eq(control_address(fd, buf, sizeof(buf)), want);
        (void)close(fd);
}
