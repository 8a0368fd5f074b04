/* SPDX-License-Identifier: MIT */
/* The instrument first: a fault that is armed comes at its place, once, and disarmed ones never. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/fault.h"

Test(fault, the_armed_call_fails_and_no_other)
{
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        fault_arm(2, EIO);
        cr_assert_eq(write(fd, "x", 1), 1);
        cr_assert_eq(write(fd, "x", 1), 1);
        cr_assert_eq(write(fd, "x", 1), -1);
        cr_assert_eq(errno, EIO);
        cr_assert_eq(write(fd, "x", 1), 1);
        cr_assert(fault_fired());
        (void)close(fd);
}

Test(fault, a_fault_beyond_the_last_call_has_not_fired)
{
        fault_arm(3, EMFILE);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        cr_assert_geq(fd, 0);
        cr_assert_not(fault_fired());
        (void)close(fd);
}

Test(fault, a_call_that_allocates_fails_with_null)
{
        fault_arm(0, ENOMEM);
        void *p = malloc(16);
        cr_assert_null(p);
        cr_assert(fault_fired());
        free(p);
}

Test(fault, flags_and_modes_pass_through_the_wrappers)
{
        char path[] = "/tmp/baton-fault-XXXXXX";
        int fd = mkstemp(path), other;

        cr_assert_geq(fd, 0);
        (void)unlink(path);
        (void)close(fd);
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        cr_assert_geq(fd, 0);
        (void)unlink(path);
        other = fcntl(fd, F_DUPFD_CLOEXEC, 100);
        cr_assert_geq(other, 100);
        cr_assert_eq(fcntl(other, F_GETFD), FD_CLOEXEC);
        (void)close(other);
        (void)close(fd);
}

Test(fault, open_descriptors_are_counted)
{
        int before = open_fd_count(), fd = dup(0);

        cr_assert_eq(open_fd_count(), before + (fd >= 0));
        if (fd >= 0)
                (void)close(fd);
}
