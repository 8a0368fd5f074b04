/* SPDX-License-Identifier: MIT */
/* Envoy's page, byte by byte. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"
#include "tests/support/fault.h"
#include "tests/support/hr_pair.h"

static const struct hr_segment_layout x86_64 = { 11, 104 }, aarch64 = { 11, 120 };

static void clean(void)
{
        (void)hr_segment_remove(hr_test_base_id());
}

TestSuite(hr_segment, .init = clean, .fini = clean);

static void create(const struct hr_segment_layout *layout)
{
        int r = hr_segment_create(hr_test_base_id(), layout, geteuid(), getegid());

        cr_assert_eq(r, 0, "%s", strerror(-r));
}

static int open_page(void)
{
        char name[64];
        int fd;

        cr_assert_eq(hr_segment_name(hr_test_base_id(), name, sizeof(name)), 0);
        fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
        cr_assert_geq(fd, 0);
        return fd;
}

static void expect_page(const struct hr_segment_layout *layout, size_t second_kind_at)
{
        uint8_t want[120] = { [0] = (uint8_t)layout->bytes, [8] = 11, [32] = 0x90 }, got[121];
        struct stat st;
        int fd;

        want[second_kind_at] = 0x90;
        create(layout);
        fd = open_page();
        cr_assert_eq(read(fd, got, sizeof(got)), (ssize_t)layout->bytes);
        cr_assert_arr_eq(got, want, layout->bytes);
        cr_assert_eq(fstat(fd, &st), 0);
        cr_assert_eq(st.st_mode & 07777, 0600);
        (void)close(fd);
}

/* size, version, two robust shared mutexes as glibc lays them out, flags */
Test(hr_segment, the_page_is_what_an_envoy_on_x86_64_makes)
{
        (void)umask(0);
        expect_page(&x86_64, 16 + 40 + 16);
}

Test(hr_segment, the_page_for_aarch64_has_longer_mutexes)
{
        expect_page(&aarch64, 16 + 48 + 16);
}

Test(hr_segment, a_base_id_is_reserved_once)
{
        int before;

        create(&x86_64);
        before = open_fd_count();
        cr_assert_eq(hr_segment_create(hr_test_base_id(), &x86_64, geteuid(), getegid()), -EEXIST);
        cr_assert_eq(open_fd_count(), before);
        cr_assert_eq(hr_segment_initializing(hr_test_base_id()), 0, "the first one is still there");
        cr_assert_eq(hr_segment_remove(hr_test_base_id()), 0);
        create(&x86_64);
}

static uint8_t flags(size_t at)
{
        uint8_t byte = 0xff;
        int fd = open_page();

        cr_assert_eq(pread(fd, &byte, 1, (off_t)at), 1);
        (void)close(fd);
        return byte;
}

static void set_flags(size_t at, uint8_t byte)
{
        int fd = open_page();

        cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
        (void)close(fd);
}

Test(hr_segment, the_flag_is_set_by_the_one_who_starts_and_seen_by_the_next)
{
        uint64_t id = hr_test_base_id();

        create(&x86_64);
        cr_assert_eq(hr_segment_initializing(id), 0);
        cr_assert_eq(hr_segment_begin(id, &x86_64), 0);
        cr_assert_eq(hr_segment_initializing(id), 1);
        cr_assert_eq(flags(96), 1);
        cr_assert_eq(hr_segment_begin(id, &x86_64), HR_SEGMENT_BUSY);
        cr_assert_eq(hr_segment_clear(id), 0);
        cr_assert_eq(hr_segment_initializing(id), 0);
        cr_assert_eq(flags(96), 0);
        cr_assert_eq(hr_segment_begin(id, &x86_64), 0);
}

Test(hr_segment, only_the_one_flag_is_touched)
{
        uint64_t id = hr_test_base_id();

        create(&aarch64);
        set_flags(112, 0xfe);
        cr_assert_eq(hr_segment_initializing(id), 0);
        cr_assert_eq(hr_segment_begin(id, &aarch64), 0);
        cr_assert_eq(flags(112), 0xff);
        cr_assert_eq(hr_segment_clear(id), 0);
        cr_assert_eq(flags(112), 0xfe);
}

Test(hr_segment, a_page_of_another_layout_is_not_touched)
{
        uint64_t id = hr_test_base_id();
        int fd;

        create(&x86_64);
        cr_assert_eq(hr_segment_begin(id, &aarch64), -EINVAL);
        set_flags(8, 12); /* another version */
        cr_assert_eq(hr_segment_begin(id, &x86_64), -EINVAL);
        cr_assert_eq(flags(96), 0);
        fd = open_page();
        cr_assert_eq(ftruncate(fd, 8), 0);
        (void)close(fd);
        cr_assert_eq(hr_segment_initializing(id), -EINVAL);
        cr_assert_eq(hr_segment_clear(id), -EINVAL);
        cr_assert_eq(hr_segment_begin(id, &x86_64), -EINVAL);
}

Test(hr_segment, a_page_that_is_not_there_is_told_and_can_be_removed_all_the_same)
{
        uint64_t id = hr_test_base_id();

        cr_assert_eq(hr_segment_initializing(id), -ENOENT);
        cr_assert_eq(hr_segment_clear(id), -ENOENT);
        cr_assert_eq(hr_segment_begin(id, &x86_64), -ENOENT);
        cr_assert_eq(hr_segment_remove(id), 0);
        cr_assert_eq(hr_segment_remove(HR_BASE_ID_MAX + 1), -EINVAL);
}

Test(hr_segment, only_layouts_that_we_know_are_read_from_a_version)
{
        const char *const bad[] = { "", "11", "11.", "11.104x", ".104", "10.104", "12.104", "11.112", "11.0", "-11.104", "11.-104",
                                    "disabled", "11 .104", "11.104.1", "18446744073709551627.104" };
        struct hr_segment_layout l = { 0 };

        cr_assert_eq(hr_segment_layout_parse("11.104", &l), 0);
        cr_assert(l.version == 11 && l.bytes == 104);
        cr_assert_eq(hr_segment_layout_parse("11.120\n", &l), 0);
        cr_assert(l.version == 11 && l.bytes == 120);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                cr_assert_eq(hr_segment_layout_parse(bad[i], &l), -EINVAL, "%s", bad[i]);
        cr_assert_eq(l.bytes, 120);
}
