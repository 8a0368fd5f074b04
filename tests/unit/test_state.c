/* SPDX-License-Identifier: MIT */
/* The file of two slots: whatever happens to the newer one, the older one is there. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/state.h"

enum { MAX_BYTES = 256, INDEX_BYTES = 4096, HEADER_BYTES = 32, SLOT_BYTES = HEADER_BYTES + MAX_BYTES };

static int new_file(void)
{
        int fd = memfd_create("state", MFD_CLOEXEC);

        cr_assert_geq(fd, 0);
        return fd;
}

static struct state_file *opened(int fd)
{
        struct state_file *s = NULL;

        cr_assert_eq(state_open(fd, MAX_BYTES, &s), 0);
        return s;
}

static void store(struct state_file *s, const char *text)
{
        cr_assert_eq(state_store(s, text, strlen(text)), 0);
}

/* What the next agent would load: "" with the answer in *ret if nothing. */
static const char *loaded(int fd, int *ret)
{
        static char text[MAX_BYTES + 1];
        struct state_file *s = opened(fd);
        size_t n = 0;

        *ret = state_load(s, text, MAX_BYTES, &n);
        text[*ret == 0 ? n : 0] = '\0';
        (void)state_free(s);
        return text;
}

static void expect(int fd, const char *want)
{
        int r;

        cr_assert_str_eq(loaded(fd, &r), want);
        cr_assert_eq(r, 0);
}

Test(state, the_newest_is_loaded_and_it_takes_turns)
{
        int fd = new_file();
        struct state_file *s = opened(fd);
        char text[16] = "image 0";

        for (int i = 0; i < 10; i++) {
                text[6] = (char)('0' + i);
                store(s, text);
                expect(fd, text);
        }
        (void)state_free(s);
        (void)close(fd);
}

Test(state, who_opens_it_again_goes_on_where_the_other_one_was)
{
        int fd = new_file();

        for (int i = 0; i < 5; i++) {
                struct state_file *s = opened(fd);
                char text[16] = "agent 0";

                text[6] = (char)('0' + i);
                store(s, text);
                (void)state_free(s);
                expect(fd, text);
        }
        (void)close(fd);
}

Test(state, a_new_file_is_empty_and_not_corrupt)
{
        int fd = new_file(), r;

        (void)loaded(fd, &r);
        cr_assert_eq(r, STATE_E_EMPTY);
        (void)close(fd);
}

/* The bytes of a store in the order in which they are written: the body, then the header. */
static void write_torn(int fd, unsigned slot, const uint8_t *whole, size_t body_bytes, size_t written)
{
        off_t at = (off_t)(INDEX_BYTES + slot * SLOT_BYTES);
        size_t body = written < body_bytes ? written : body_bytes, header = written - body;

        cr_assert_eq(pwrite(fd, whole + HEADER_BYTES, body, at + HEADER_BYTES), (ssize_t)body);
        cr_assert_eq(pwrite(fd, whole, header, at), (ssize_t)header);
}

static void expect_after_a_tear(int fd, const uint8_t *whole, size_t total, size_t written, const char *older, const char *newer)
{
        struct state_file *next;
        uint8_t now[SLOT_BYTES];
        int r;

        /* The bytes that are missing may be what was there before: then nothing is torn. */
        cr_assert_eq(pread(fd, now, sizeof(now), INDEX_BYTES), (ssize_t)sizeof(now));
        cr_assert_str_eq(loaded(fd, &r), memcmp(now, whole, total) == 0 ? newer : older, "torn after %zu of %zu bytes", written, total);
        cr_assert_eq(r, 0);
        next = opened(fd);
        store(next, "a store after it");
        expect(fd, "a store after it");
        (void)state_free(next);
}

Test(state, a_write_that_is_torn_at_any_byte_leaves_the_older_one)
{
        static const char older[] = "the older image", newer[] = "and this is the newer one";
        size_t total = HEADER_BYTES + sizeof(newer) - 1;
        uint8_t before[2 * SLOT_BYTES], whole[SLOT_BYTES];
        int fd = new_file();
        struct state_file *s = opened(fd);

        store(s, "first, in the slot that is to be torn");
        store(s, older);
        cr_assert_eq(ftruncate(fd, INDEX_BYTES + 2 * SLOT_BYTES), 0);
        cr_assert_eq(pread(fd, before, sizeof(before), INDEX_BYTES), (ssize_t)sizeof(before));
        store(s, newer);
        cr_assert_eq(pread(fd, whole, sizeof(whole), INDEX_BYTES), (ssize_t)sizeof(whole));
        for (size_t written = 0; written < total; written++) {
                cr_assert_eq(pwrite(fd, before, sizeof(before), INDEX_BYTES), (ssize_t)sizeof(before));
                write_torn(fd, 0, whole, sizeof(newer) - 1, written);
                expect_after_a_tear(fd, whole, total, written, older, newer);
        }
        (void)state_free(s);
        (void)close(fd);
}

Test(state, a_damaged_newest_gives_way_to_the_older_one_and_two_damaged_ones_are_told)
{
        int fd = new_file(), r;
        struct state_file *s = opened(fd);

        store(s, "one");
        store(s, "two");
        cr_assert_eq(pwrite(fd, "X", 1, INDEX_BYTES + SLOT_BYTES + HEADER_BYTES), 1);
        expect(fd, "one");
        cr_assert_eq(pwrite(fd, "X", 1, INDEX_BYTES + HEADER_BYTES), 1);
        (void)loaded(fd, &r);
        cr_assert_eq(r, STATE_E_CORRUPT);
        (void)state_free(s);
        (void)close(fd);
}

Test(state, after_a_spoiled_slot_of_any_number_the_next_state_is_the_newest)
{
        static const uint64_t numbers[] = { 0, 1, 2, 3, INT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MAX + 1, (uint64_t)INT64_MAX + 2, UINT64_MAX - 1, UINT64_MAX };
        enum { NUMBER_AT = 16 };

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
                for (int loads = 0; loads < 2; loads++) {
                        int fd = new_file(), r;
                        struct state_file *s = opened(fd);
                        char text[MAX_BYTES];
                        size_t n;

                        store(s, "one");
                        store(s, "two");
                        (void)state_free(s);
                        cr_assert_eq(pwrite(fd, "X", 1, INDEX_BYTES + SLOT_BYTES + HEADER_BYTES), 1);
                        cr_assert_eq(pwrite(fd, &numbers[i], sizeof(numbers[i]), INDEX_BYTES + SLOT_BYTES + NUMBER_AT), (ssize_t)sizeof(numbers[i]));
                        cr_assert_str_eq(loaded(fd, &r), "one");
                        s = opened(fd);
                        if (loads)
                                cr_assert_eq(state_load(s, text, sizeof(text), &n), 0);
                        store(s, "three");
                        expect(fd, "three");
                        store(s, "four");
                        expect(fd, "four");
                        (void)state_free(s);
                        (void)close(fd);
                }
}

Test(state, an_image_of_another_version_is_told_from_a_corrupt_one)
{
        uint32_t version = 99;
        int fd = new_file(), r;
        struct state_file *s = opened(fd);

        store(s, "one");
        cr_assert_eq(pwrite(fd, &version, sizeof(version), INDEX_BYTES + 8), (ssize_t)sizeof(version));
        (void)loaded(fd, &r);
        cr_assert_eq(r, STATE_E_VERSION);
        (void)state_free(s);
        (void)close(fd);
}

Test(state, what_is_too_large_is_refused_and_changes_nothing)
{
        static char large[MAX_BYTES + 1];
        int fd = new_file();
        struct state_file *s = opened(fd);
        size_t n;
        char small[2];

        store(s, "one");
        cr_assert_eq(state_store(s, large, sizeof(large)), -EFBIG);
        cr_assert_eq(state_store(s, large, MAX_BYTES), 0);
        store(s, "three");
        expect(fd, "three");
        cr_assert_eq(state_load(s, small, sizeof(small), &n), -EMSGSIZE);
        (void)state_free(s);
        (void)close(fd);
}
