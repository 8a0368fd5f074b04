/* SPDX-License-Identifier: MIT */
/* Every system call behind steering fails once: the error comes up unchanged, no descriptor is left, the next try is good. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"
#include "tests/support/fault.h"

static const struct hr_steer all = { .count = 1 };
static uint64_t inodes[4];
static size_t n_inodes;

static int attach(int fd)
{
        return hr_steer_attach(fd, &all);
}

static int members(int fd)
{
        n_inodes = 77;
        return hr_steer_members(fd, inodes, 4, &n_inodes);
}

Test(hr_steer, a_failed_call_is_told_and_leaves_nothing_open_and_the_next_one_works)
{
        const struct { int (*call)(int fd); int calls; } operations[] = { { attach, 3 }, { hr_steer_detach, 3 }, { members, 4 } };
        struct hr_key key = { .url = "tcp://127.0.0.1:0" };
        int fd = -1, before, n;

        cr_assert_eq(hr_listener_open(&key, true, 16, &fd), 0);
        before = open_fd_count();
        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
                for (n = 0;; n++) {
                        int r;

                        fault_arm(n, ENOBUFS);
                        r = operations[i].call(fd);
                        if (!fault_fired()) {
                                cr_assert_eq(r, 0, "operation %zu: %s", i, strerror(-r));
                                break;
                        }
                        cr_assert_eq(r, -ENOBUFS, "operation %zu, call %d", i, n);
                        cr_assert_eq(n_inodes, i == 2 ? 77 : 0, "operation %zu, call %d: written although it failed", i, n);
                        cr_assert_eq(open_fd_count(), before, "operation %zu, call %d leaks", i, n);
                }
                cr_assert_geq(n, operations[i].calls, "operation %zu: %d calls were tried", i, n);
        }
        cr_assert_eq(n_inodes, 1);
        (void)close(fd);
}

/* The answer stops before its end: what came is no list. */
Test(hr_steer, an_answer_without_an_end_is_an_error)
{
        struct hr_key key = { .url = "tcp://127.0.0.1:0" };
        int fd = -1;

        cr_assert_eq(hr_listener_open(&key, true, 16, &fd), 0);
        fault_arm(3, EAGAIN);
        cr_assert_eq(members(fd), -EBADMSG);
        cr_assert(fault_fired());
        (void)close(fd);
}
