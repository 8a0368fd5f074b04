/* SPDX-License-Identifier: MIT */
/* Every system call behind the page fails once: a page is whole or not there, nothing stays open or mapped. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"
#include "tests/support/fault.h"

static const struct hr_segment_layout layout = { 11, 104 };

static uint64_t id(void)
{
        return HR_BASE_ID_MAX - (uint64_t)getpid();
}

static void clean(void)
{
        (void)hr_segment_remove(id());
}

TestSuite(hr_segment, .init = clean, .fini = clean);

Test(hr_segment, a_page_that_could_not_be_made_whole_is_not_there)
{
        int before = open_fd_count(), n;

        for (n = 0;; n++) {
                int r;

                fault_arm(n, ENOSPC);
                r = hr_segment_create(id(), &layout, geteuid(), getegid());
                if (!fault_fired()) {
                        cr_assert_eq(r, 0);
                        break;
                }
                cr_assert_eq(r, -ENOSPC, "call %d", n);
                cr_assert_eq(hr_segment_initializing(id()), -ENOENT, "call %d leaves a page that reserves its base id", n);
                cr_assert_eq(open_fd_count(), before, "call %d leaks", n);
        }
        cr_assert_eq(n, 3, "shm_open, fchmod, write: %d calls were tried", n);
}

static int maps(void)
{
        FILE *f = fopen("/proc/self/maps", "re");
        char line[512];
        int n = 0;

        while (f && fgets(line, sizeof(line), f))
                n += strstr(line, "envoy_shared_memory") != NULL;
        if (f)
                (void)fclose(f);
        return n;
}

static int begin(uint64_t base_id)
{
        return hr_segment_begin(base_id, &layout);
}

Test(hr_segment, a_flag_that_could_not_be_reached_is_told)
{
        int (*const operations[])(uint64_t base_id) = { hr_segment_initializing, hr_segment_clear, begin };
        int before = open_fd_count();

        cr_assert_eq(hr_segment_create(id(), &layout, geteuid(), getegid()), 0);
        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
                for (int n = 0;; n++) {
                        int r;

                        fault_arm(n, EMFILE);
                        r = operations[i](id());
                        cr_assert_eq(open_fd_count(), before, "operation %zu, call %d leaks", i, n);
                        cr_assert_eq(maps(), 0, "operation %zu, call %d leaves a mapping", i, n);
                        if (!fault_fired()) {
                                cr_assert_eq(r, 0);
                                cr_assert_eq(n, 3, "shm_open, fstat, mmap: %d calls were tried", n);
                                break;
                        }
                        cr_assert_eq(r, -EMFILE, "operation %zu, call %d", i, n);
                }
        cr_assert_eq(hr_segment_initializing(id()), 1, "only the last operation set it");
}
