/* SPDX-License-Identifier: MIT */
/* A disk that fails under the state file: the older image stays, the next try is good, nothing is leaked. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/state.h"
#include "tests/support/fault.h"

enum { MAX_BYTES = 64, INDEX_BYTES = 4096, HEADER_BYTES = 32 };

static void expect(struct state_file *s, const char *want)
{
        char text[MAX_BYTES + 1] = "";
        size_t n = 0;

        cr_assert_eq(state_load(s, text, MAX_BYTES, &n), 0);
        text[n] = '\0';
        cr_assert_str_eq(text, want);
}

Test(state, a_store_that_fails_leaves_the_older_image_and_the_next_one_is_good)
{
        for (int n = 0;; n++) {
                int fd = memfd_create("state", MFD_CLOEXEC), r;
                struct state_file *s = NULL, *next = NULL;
                char before[HEADER_BYTES], after[HEADER_BYTES];

                cr_assert_eq(state_open(fd, MAX_BYTES, &s), 0);
                cr_assert_eq(state_store(s, "one", 3), 0);
                cr_assert_eq(state_store(s, "two", 3), 0);
                cr_assert_eq(pread(fd, before, sizeof(before), INDEX_BYTES), (ssize_t)sizeof(before));
                fault_arm(n, ENOSPC);
                r = state_store(s, "three", 5);
                if (!fault_fired()) {
                        cr_assert_eq(n, 2, "%d writes: the body and the header", n);
                        (void)state_free(s);
                        (void)close(fd);
                        return;
                }
                cr_assert_eq(r, -ENOSPC);
                cr_assert_eq(pread(fd, after, sizeof(after), INDEX_BYTES), (ssize_t)sizeof(after));
                cr_assert_arr_eq(before, after, sizeof(before), "the number comes last");
                cr_assert_eq(state_open(fd, MAX_BYTES, &next), 0);
                expect(next, "two");
                (void)state_free(next);
                cr_assert_eq(state_store(s, "four", 4), 0);
                expect(s, "four");
                (void)state_free(s);
                (void)close(fd);
        }
}

Test(state, a_read_that_fails_costs_at_most_the_newer_image_and_never_brings_a_wrong_one)
{
        int fd = memfd_create("state", MFD_CLOEXEC);
        struct state_file *s = NULL;

        cr_assert_eq(state_open(fd, MAX_BYTES, &s), 0);
        cr_assert_eq(state_store(s, "one", 3), 0);
        cr_assert_eq(state_store(s, "two", 3), 0);
        for (int n = 0;; n++) {
                char text[MAX_BYTES];
                size_t bytes = 99;
                int r;

                fault_arm(n, EIO);
                r = state_load(s, text, MAX_BYTES, &bytes);
                if (!fault_fired()) {
                        cr_assert_gt(n, 2);
                        break;
                }
                cr_assert(r == 0 && bytes == 3 && (memcmp(text, "one", 3) == 0 || memcmp(text, "two", 3) == 0), "failing read %d", n);
        }
        (void)state_free(s);
        (void)close(fd);
}

Test(state, an_open_that_fails_leaks_nothing)
{
        int fd = memfd_create("state", MFD_CLOEXEC), before = open_fd_count();

        for (int n = 0;; n++) {
                struct state_file *s = NULL;
                int r;

                fault_arm(n, EMFILE);
                r = state_open(fd, MAX_BYTES, &s);
                if (!fault_fired()) {
                        cr_assert(r == 0 && s);
                        (void)state_free(s);
                        break;
                }
                if (r != 0)
                        cr_assert(r < 0 && !s);
                (void)state_free(s);
                cr_assert_eq(open_fd_count(), before, "failing call %d", n);
        }
        (void)close(fd);
}
