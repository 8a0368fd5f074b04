/* SPDX-License-Identifier: MIT */
/* Every system call behind a listen socket fails once: the error comes up unchanged, nothing is left open. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"
#include "tests/support/fault.h"

static struct hr_key key_of(const char *url)
{
        struct hr_key k = { 0 };

        strcpy(k.url, url);
        return k;
}

Test(hr_listener, a_failed_open_leaves_no_socket_and_passes_the_error_on)
{
        const char *const urls[] = { "tcp://127.0.0.1:0", "tcp://[::1]:0", "udp://127.0.0.1:0", "unix://@hr_fault" };
        const int calls[] = { 5, 6, 4, 3 };

        for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
                struct hr_key k = key_of(urls[i]);
                int before = open_fd_count(), n;

                for (n = 0;; n++) {
                        int fd = -77, r;

                        fault_arm(n, ENOBUFS);
                        r = hr_listener_open(&k, i != 3, 16, &fd);
                        if (!fault_fired()) {
                                cr_assert_eq(r, 0);
                                (void)close(fd);
                                break;
                        }
                        cr_assert_eq(r, -ENOBUFS, "%s: call %d", urls[i], n);
                        cr_assert_eq(fd, -77, "%s: call %d: written although it failed", urls[i], n);
                        cr_assert_eq(open_fd_count(), before, "%s: call %d leaks", urls[i], n);
                }
                cr_assert_eq(n, calls[i], "%s: %d calls were tried", urls[i], n);
        }
}

static int queue(int fd)
{
        uint32_t waiting;

        return hr_listener_queue(fd, &waiting);
}

static int inode(int fd)
{
        uint64_t ino;

        return hr_listener_inode(fd, &ino);
}

Test(hr_listener, a_failed_question_or_order_is_told_and_the_next_one_works)
{
        int (*const operations[])(int fd) = { hr_listener_silence, hr_listener_revive, hr_listener_accepts, queue, inode };
        struct hr_key tcp = key_of("tcp://127.0.0.1:0"), pipe = key_of("unix://@hr_fault");
        int fds[2], before;

        cr_assert_eq(hr_listener_open(&tcp, true, 16, &fds[0]), 0);
        cr_assert_eq(hr_listener_open(&pipe, false, 16, &fds[1]), 0);
        before = open_fd_count();
        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
                for (size_t s = 0; s < 2; s++)
                        for (int n = 0;; n++) {
                                int r;

                                fault_arm(n, EIO);
                                r = operations[i](fds[s]);
                                if (!fault_fired()) {
                                        cr_assert_geq(r, 0, "operation %zu", i);
                                        cr_assert_gt(n, 0, "operation %zu met no fault at all", i);
                                        break;
                                }
                                cr_assert_eq(r, -EIO, "operation %zu, call %d", i, n);
                                cr_assert_eq(open_fd_count(), before, "operation %zu, call %d leaks", i, n);
                        }
        (void)close(fds[0]);
        (void)close(fds[1]);
}

/* A socket that is not listening any more is silent already. */
Test(hr_listener, silencing_what_is_silent_is_no_failure)
{
        struct hr_key tcp = key_of("tcp://127.0.0.1:0");
        int fd;

        cr_assert_eq(hr_listener_open(&tcp, false, 16, &fd), 0);
        fault_arm(2, ENOTCONN);
        cr_assert_eq(hr_listener_silence(fd), 0);
        cr_assert(fault_fired());
        (void)close(fd);
}
