/* SPDX-License-Identifier: MIT */
/* Datagrams with and without descriptors, on real sockets. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hotrestart/internal.h"
#include "tests/support/fault.h"
#include "tests/support/hr_pair.h"

static const struct hr_message stats = { .type = HR_STATS, .fd = -1 };
static const struct hr_message drain = { .type = HR_DRAIN_LISTENERS, .fd = -1 };
static const uint8_t no_protobuf[] = { 0, 0, 0, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff };

static struct sockaddr_un name_in(const char *folder, enum hr_role role)
{
        struct sockaddr_un addr;
        char path[64];

        (void)snprintf(path, sizeof(path), "%s/s", folder);
        cr_assert_eq(hr_name(path, 1, 0, role, &addr), 0);
        return addr;
}

static char *new_folder(char *text)
{
        strcpy(text, "/tmp/hrXXXXXX");
        cr_assert(mkdtemp(text));
        return text;
}

static void remove_folder(const char *folder, const struct sockaddr_un *addr)
{
        (void)unlink(addr->sun_path);
        cr_assert_eq(rmdir(folder), 0);
}

Test(hr_fdpass, a_request_that_was_looked_at_stays_until_it_is_taken)
{
        struct hr_pair p = hr_pair_open();
        struct hr_message m;
        struct sockaddr_un peer;

        cr_assert_eq(hr_peek(p.envoy, &m, &peer), HR_NOTHING);
        cr_assert_eq(hr_take(p.envoy), HR_NOTHING);
        cr_assert_eq(hr_send(p.us, &p.envoy_name, &stats, -1), 0);
        cr_assert_eq(hr_send(p.us, &p.envoy_name, &drain, -1), 0);
        for (int i = 0; i < 3; i++) {
                cr_assert_eq(hr_peek(p.envoy, &m, &peer), 0);
                cr_assert_eq(m.type, HR_STATS);
        }
        cr_assert_eq(memcmp(&peer, &p.our_name, sizeof(peer)), 0, "not the sender's bound name");
        cr_assert_eq(hr_take(p.envoy), 0);
        cr_assert_eq(hr_peek(p.envoy, &m, &peer), 0);
        cr_assert_eq(m.type, HR_DRAIN_LISTENERS);
        cr_assert_eq(hr_take(p.envoy), 0);
        cr_assert_eq(hr_peek(p.envoy, &m, &peer), HR_NOTHING);
        hr_pair_close(&p);
}

Test(hr_fdpass, garbage_is_dropped_one_datagram_at_a_time_and_the_request_behind_it_is_found)
{
        static uint8_t full[HR_DATAGRAM_BYTES + 1];
        const struct {
                const void *bytes;
                size_t n;
        } rows[] = { { "", 0 }, { "four", 4 }, { no_protobuf, sizeof(no_protobuf) }, { full, HR_DATAGRAM_BYTES },
                     { full, sizeof(full) }, { "\0\0\0\0\0\0\0\x40\x0a\x02", 10 } };
        struct hr_pair p = hr_pair_open();
        struct hr_message m;
        struct sockaddr_un peer;

        memset(full, 0xff, sizeof(full));
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                hr_pair_throw(p.us, &p.envoy_name, rows[i].bytes, rows[i].n, -1, 0);
                cr_assert_eq(hr_send(p.us, &p.envoy_name, &stats, -1), 0);
                cr_assert_eq(hr_peek(p.envoy, &m, &peer), HR_GARBAGE, "row %zu", i);
                cr_assert_eq(hr_peek(p.envoy, &m, &peer), 0, "row %zu", i);
                cr_assert_eq(m.type, HR_STATS);
                cr_assert_eq(hr_take(p.envoy), 0);
        }
        hr_pair_close(&p);
}

Test(hr_fdpass, descriptors_that_come_with_a_request_are_closed)
{
        struct hr_pair p = hr_pair_open();
        uint8_t bytes[64];
        size_t n;
        struct hr_message m;
        struct sockaddr_un peer;
        int before = open_fd_count();

        cr_assert_eq(hr_encode(&stats, bytes, sizeof(bytes), &n), 0);
        for (int n_fds = 1; n_fds <= 40; n_fds += 13) {
                hr_pair_throw(p.us, &p.envoy_name, bytes, n, STDIN_FILENO, n_fds);
                (void)hr_peek(p.envoy, &m, &peer);
                (void)hr_peek(p.envoy, &m, &peer);
                (void)hr_take(p.envoy);
                cr_assert_eq(open_fd_count(), before, "%d descriptors with it", n_fds);
                cr_assert_eq(hr_peek(p.envoy, &m, &peer), HR_NOTHING);
        }
        hr_pair_close(&p);
}

static uint64_t inode_of(int fd)
{
        struct stat st;

        cr_assert_eq(fstat(fd, &st), 0);
        return st.st_ino;
}

Test(hr_fdpass, a_reply_carries_one_descriptor_that_is_closed_on_exec)
{
        struct hr_pair p = hr_pair_open();
        struct hr_message m = { .type = HR_REPLY_PASS, .fd = p.envoy };
        uint8_t bytes[HR_DATAGRAM_BYTES];
        struct sockaddr_un peer;
        size_t n;
        int fd;

        cr_assert_eq(hr_send(p.envoy, &p.our_name, &m, p.envoy), 0);
        cr_assert_eq(hr_receive(p.us, 0, bytes, sizeof(bytes), &n, &peer, &fd), 0);
        cr_assert(fd >= 0 && fd != p.envoy);
        cr_assert_eq(inode_of(fd), inode_of(p.envoy));
        cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        (void)close(fd);
        hr_pair_close(&p);
}

Test(hr_fdpass, more_than_one_descriptor_is_garbage_and_all_of_them_are_closed)
{
        struct hr_pair p = hr_pair_open();
        uint8_t bytes[HR_DATAGRAM_BYTES];
        size_t n;
        int before = open_fd_count(), fd;

        /* 2 fit into the buffer of the kernel's padding, 16 into ours, 17 and 40 are cut (MSG_CTRUNC) */
        for (const int *n_fds = (const int[]){ 2, 3, 16, 17, 40, 0 }; *n_fds; n_fds++) {
                hr_pair_throw(p.envoy, &p.our_name, "12345678", 8, STDIN_FILENO, *n_fds);
                fd = 77;
                cr_assert_eq(hr_receive(p.us, 0, bytes, sizeof(bytes), &n, NULL, &fd), HR_GARBAGE, "%d", *n_fds);
                cr_assert_eq(fd, -1);
                cr_assert_eq(open_fd_count(), before, "%d descriptors: some are left", *n_fds);
        }
        hr_pair_close(&p);
}

/* The kernel cuts the descriptor off when there is no room in our table: that is not a reply without one. */
Test(hr_fdpass, a_descriptor_that_found_no_room_is_not_taken_for_none)
{
        struct hr_pair p = hr_pair_open();
        struct hr_message m = { .type = HR_REPLY_PASS, .fd = p.envoy };
        uint8_t bytes[HR_DATAGRAM_BYTES];
        struct rlimit full, limit;
        size_t n;
        int fd, lowest_free = dup(p.us);

        (void)close(lowest_free);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &m, p.envoy), 0);
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        full = limit;
        full.rlim_cur = (rlim_t)lowest_free;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &full), 0);
        cr_assert_eq(hr_receive(p.us, 0, bytes, sizeof(bytes), &n, NULL, &fd), HR_GARBAGE);
        cr_assert_eq(fd, -1);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        hr_pair_close(&p);
}

Test(hr_fdpass, a_number_without_a_descriptor_and_a_descriptor_without_a_number_are_not_sent)
{
        struct hr_pair p = hr_pair_open();
        struct hr_message number = { .type = HR_REPLY_PASS, .fd = 5 }, nothing = { .type = HR_REPLY_PASS, .fd = -1 };
        uint8_t bytes[64];
        size_t n;

        cr_assert_eq(hr_send(p.envoy, &p.our_name, &number, -1), -EINVAL);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &nothing, STDIN_FILENO), -EINVAL);
        cr_assert_eq(hr_receive(p.us, 0, bytes, sizeof(bytes), &n, NULL, NULL), HR_NOTHING);
        cr_assert_eq(hr_send(p.envoy, &p.our_name, &nothing, -1), 0);
        hr_pair_close(&p);
}

Test(hr_fdpass, nobody_there_is_told_apart_from_a_full_queue)
{
        char folder[32];
        struct hr_pair p = hr_pair_open();
        struct sockaddr_un missing = name_in(new_folder(folder), HR_ROLE_PARENT), abstract;
        int fd, r = 0;

        cr_assert_eq(hr_name("@hr_nobody", 1, 0, HR_ROLE_PARENT, &abstract), 0);
        cr_assert_eq(hr_send(p.us, &abstract, &stats, -1), HR_NO_PEER);
        cr_assert_eq(hr_send(p.us, &missing, &stats, -1), HR_NO_PEER, "no file");
        cr_assert_eq(hr_bind(&missing, 0600, &fd), 0);
        (void)close(fd);
        cr_assert_eq(hr_send(p.us, &missing, &stats, -1), HR_NO_PEER, "a file of the dead");
        for (int i = 0; i < 10000 && r == 0; i++)
                r = hr_send(p.us, &p.envoy_name, &stats, -1);
        cr_assert_eq(r, HR_WOULD_BLOCK);
        cr_assert_eq(hr_take(p.envoy), 0);
        cr_assert_eq(hr_send(p.us, &p.envoy_name, &stats, -1), 0);
        remove_folder(folder, &missing);
        hr_pair_close(&p);
}

Test(hr_fdpass, a_path_has_its_mode_from_birth_and_takes_the_place_of_a_dead_socket)
{
        char folder[32];
        struct sockaddr_un addr = name_in(new_folder(folder), HR_ROLE_CHILD);
        struct stat st;
        int first, second;

        (void)umask(0);
        cr_assert_eq(hr_bind(&addr, 0600, &first), 0);
        cr_assert(fcntl(first, F_GETFD) & FD_CLOEXEC);
        cr_assert(fcntl(first, F_GETFL) & O_NONBLOCK);
        cr_assert_eq(stat(addr.sun_path, &st), 0);
        cr_assert_eq(st.st_mode & 07777, 0600);
        cr_assert_eq(hr_bind(&addr, 0622, &second), 0);
        cr_assert_eq(stat(addr.sun_path, &st), 0);
        cr_assert_eq(st.st_mode & 07777, 0622);
        (void)close(first);
        (void)close(second);
        remove_folder(folder, &addr);
}

Test(hr_fdpass, a_file_that_is_no_socket_is_left_alone)
{
        char folder[32];
        struct sockaddr_un addr = name_in(new_folder(folder), HR_ROLE_CHILD);
        struct stat st;
        int before, fd = open(addr.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        cr_assert_geq(fd, 0);
        (void)close(fd);
        before = open_fd_count();
        cr_assert_eq(hr_bind(&addr, 0600, &fd), -EADDRINUSE);
        cr_assert(stat(addr.sun_path, &st) == 0 && S_ISREG(st.st_mode));
        cr_assert_eq(open_fd_count(), before);
        remove_folder(folder, &addr);
}

Test(hr_fdpass, an_abstract_name_is_taken_once)
{
        struct hr_pair p = hr_pair_open();
        int fd;

        cr_assert_eq(hr_bind(&p.our_name, 0, &fd), -EADDRINUSE);
        hr_pair_close(&p);
}

/* Why names are always passed whole: the kernel counts the zeros. */
Test(hr_fdpass, the_short_form_of_an_abstract_name_is_another_name)
{
        struct hr_pair p = hr_pair_open();
        socklen_t shorter = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(p.envoy_name.sun_path + 1));

        cr_assert_eq(sendto(p.us, "", 0, 0, (const struct sockaddr *)&p.envoy_name, shorter), -1);
        cr_assert_eq(errno, ECONNREFUSED);
        cr_assert_eq(sendto(p.us, "", 0, 0, (const struct sockaddr *)&p.envoy_name, sizeof(p.envoy_name)), 0);
        hr_pair_close(&p);
}

Test(hr_fdpass, a_packet_is_passed_on_as_it_is_and_one_that_nobody_takes_is_dropped)
{
        struct hr_pair p = hr_pair_open();
        struct sockaddr_un nobody = p.envoy_name;
        char packet[] = "any bytes \0 at all", got[64];

        nobody.sun_path[sizeof(nobody.sun_path) - 1] = 'x';
        cr_assert_eq(hr_relay(p.us, &p.envoy_name), HR_NOTHING);
        hr_pair_throw(p.envoy, &p.our_name, packet, sizeof(packet), -1, 0);
        cr_assert_eq(hr_relay(p.us, &p.envoy_name), 0);
        cr_assert_eq(recv(p.envoy, got, sizeof(got), MSG_DONTWAIT), (ssize_t)sizeof(packet));
        cr_assert_eq(memcmp(got, packet, sizeof(packet)), 0);
        hr_pair_throw(p.envoy, &p.our_name, packet, sizeof(packet), -1, 0);
        cr_assert_eq(hr_relay(p.us, &nobody), HR_NO_PEER);
        cr_assert_eq(hr_relay(p.us, &p.envoy_name), HR_NOTHING, "it was not kept for later");
        hr_pair_close(&p);
}

Test(hr_fdpass, a_packet_for_which_there_is_no_room_stays_and_is_passed_on_later)
{
        struct hr_pair from = hr_pair_open(), to = hr_pair_open();
        char got[64];
        int n = 0;

        while (sendto(to.envoy, "full", 4, MSG_DONTWAIT, (const struct sockaddr *)&to.our_name, sizeof(to.our_name)) == 4)
                n++;
        cr_assert_gt(n, 0);
        cr_assert_eq(sendto(from.envoy, "kept packet", 11, 0, (const struct sockaddr *)&from.our_name, sizeof(from.our_name)), 11);
        cr_assert_eq(hr_relay(from.us, &to.our_name), HR_WOULD_BLOCK);
        cr_assert_eq(hr_relay(from.us, &to.our_name), HR_WOULD_BLOCK);
        for (int i = 0; i < n; i++)
                cr_assert_eq(recv(to.us, got, sizeof(got), MSG_DONTWAIT), 4);
        cr_assert_eq(hr_relay(from.us, &to.our_name), 0);
        cr_assert_eq(recv(to.us, got, sizeof(got), MSG_DONTWAIT), 11);
        cr_assert_eq(memcmp(got, "kept packet", 11), 0);
        cr_assert_eq(sendto(from.envoy, "tiny", 4, 0, (const struct sockaddr *)&from.our_name, sizeof(from.our_name)), 4);
        cr_assert_eq(hr_relay(from.us, &to.our_name), 0, "less than a message is dropped");
        cr_assert_eq(hr_relay(from.us, &to.our_name), HR_NOTHING);
        cr_assert_eq(recv(to.us, got, sizeof(got), MSG_DONTWAIT), -1);
        hr_pair_close(&from);
        hr_pair_close(&to);
}
