/* SPDX-License-Identifier: MIT */
/* What a keeper hands on to the next version of itself, as bytes. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "agent/keeper/keeper_image.h"

enum { BYTES_MAX = 8192, AT_VERSION = 4, AT_BYTES = 8, AT_CORE_BYTES = 12, AT_CORE = 32 };

static struct keeper k, other;
static _Alignas(8) unsigned char bytes[BYTES_MAX], again[BYTES_MAX];

static void fill(void)
{
        k = (struct keeper){ .pid = 41, .started = { 5 }, .nofile_soft = 1024, .nofile_hard = 4096, .flags = WIRE_NOTIFIES,
                             .launched = true, .null_fd = 3, .signal_fd = 4, .heartbeat_fd = 5, .errors_fd = 6, .notify_fd = -1,
                             .replaced = 7, .ticket = 99, .version = "0.1.0" };
        k.agent = (struct agent_process){ .pid = 42, .starts = 3, .working = true, .start_at = MONO_NEVER, .kill_at = MONO_NEVER,
                                          .warned = { 9 } };
        k.talk = (struct talk){ .fd = 8, .listed = true, .tell_hup = true };
        k.stop = (struct stop){ .timeout_ms = 25000 };
        k.jobs.top = 4;
        k.jobs.list[1] = (struct job){ .record = { .job = 1, .pid = 43 }, .pidfd = 9, .used = true };
        k.jobs.list[3] = (struct job){ .record = { .job = 2, .pid = 44, .code = 1 }, .pidfd = -1, .used = true, .tell = true };
        (void)table_put(&k.table, "options", 10);
        (void)table_put(&k.table, "listen/0/tcp://127.0.0.1:80", 11);
}

static size_t write_it(void)
{
        size_t n = keeper_image_bytes(&k);

        cr_assert_leq(n, (size_t)BYTES_MAX);
        keeper_image_write(&k, bytes);
        return n;
}

static uint32_t get(size_t at)
{
        uint32_t v;

        memcpy(&v, bytes + at, sizeof(v));
        return v;
}

static void set(size_t at, uint32_t v)
{
        memcpy(bytes + at, &v, sizeof(v));
}

Test(keeper_image, what_is_written_is_read_and_means_the_same)
{
        size_t n;

        fill();
        n = write_it();
        cr_assert_eq(keeper_image_read(bytes, n, &other), 0);
        cr_assert_eq(keeper_image_bytes(&other), n);
        keeper_image_write(&other, again);
        cr_expect_eq(memcmp(bytes, again, n), 0);
        cr_expect_eq(other.agent.pid, 42);
        cr_expect(mono_is_never(other.agent.kill_at));
        cr_expect(other.talk.listed && other.talk.tell_hup && !other.talk.tell_usr1);
        cr_expect_eq(other.jobs.top, 4);
        cr_expect(!other.jobs.list[0].used && other.jobs.list[3].used && other.jobs.list[3].tell, "each in its place");
        cr_expect_eq(table_fd(&other.table, "listen/0/tcp://127.0.0.1:80"), 11);
}

Test(keeper_image, the_time_that_a_stop_may_last_is_handed_on)
{
        fill();
        k.stop.timeout_ms = 1234;
        cr_assert_eq(keeper_image_read(bytes, write_it(), &other), 0);
        cr_expect_eq(other.stop.timeout_ms, 1234);
        cr_expect_eq(other.stop.phase, KEEPER_RUNS);
}

Test(keeper_image, one_of_a_newer_version_is_not_taken_for_what_it_is_not)
{
        size_t n;

        fill();
        n = write_it();
        set(AT_VERSION, get(AT_VERSION) + 1);
        cr_expect_eq(keeper_image_read(bytes, n, &other), KEEPER_IMAGE_E_NEWER);
}

/* So the next version can tell old images from its own, and this one does not take one that says so falsely. */
Test(keeper_image, another_size_of_its_parts_needs_another_version)
{
        size_t n;

        fill();
        n = write_it();
        memmove(bytes + AT_CORE + get(AT_CORE_BYTES) + 8, bytes + AT_CORE + get(AT_CORE_BYTES), n - AT_CORE - get(AT_CORE_BYTES));
        set(AT_CORE_BYTES, get(AT_CORE_BYTES) + 8);
        set(AT_BYTES, (uint32_t)n + 8);
        cr_expect_eq(keeper_image_read(bytes, n + 8, &other), -EINVAL);
}

Test(keeper_image, no_part_of_an_image_is_taken_for_one)
{
        size_t n;

        fill();
        n = write_it();
        for (size_t cut = 0; cut < n; cut++) {
                memset(&other, 0, sizeof(other.jobs));
                other.table.n = other.table.text_bytes = other.jobs.top = 0;
                cr_assert_neq(keeper_image_read(bytes, cut, &other), 0, "%zu of %zu bytes", cut, n);
        }
}

Test(keeper_image, jobs_that_cannot_be_are_refused)
{
        const size_t job = AT_CORE + 304, pid = job + 8, pidfd = job + 40, slot = job + 44;
        static const uint32_t bad_slots[] = { JOBS_MAX, 3 /* that of the next */, UINT32_MAX };
        size_t n;

        fill();
        n = write_it();
        cr_assert_eq(get(pid), 43);
        cr_assert_eq(get(slot), 1);
        for (size_t i = 0; i < 3; i++) {
                memset(&other, 0, sizeof(other));
                set(slot, bad_slots[i]);
                cr_expect_eq(keeper_image_read(bytes, n, &other), -EINVAL, "slot %u", bad_slots[i]);
        }
        set(slot, 1);
        set(pidfd, UINT32_MAX);
        memset(&other, 0, sizeof(other));
        cr_expect_eq(keeper_image_read(bytes, n, &other), -EINVAL, "it lives and nobody could signal it");
        set(pidfd, 9);
        set(pid, 0);
        memset(&other, 0, sizeof(other));
        cr_expect_eq(keeper_image_read(bytes, n, &other), -EINVAL, "pid 0 is ourselves");
}
