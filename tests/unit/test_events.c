/* SPDX-License-Identifier: MIT */
/* The file of events: numbers go on over agents, its size has a limit, the newest are at hand. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/events.h"

static char dir[64];
static int fd = -1;

static void before(void)
{
        char path[80];

        (void)snprintf(dir, sizeof(dir), "/tmp/baton-test-events-XXXXXX");
        cr_assert(mkdtemp(dir));
        (void)snprintf(path, sizeof(path), "%s/events", dir);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        cr_assert(fd >= 0);
}

static void after(void)
{
        char path[80];

        (void)snprintf(path, sizeof(path), "%s/events", dir), (void)unlink(path);
        (void)snprintf(path, sizeof(path), "%s/events.1", dir), (void)unlink(path);
        (void)rmdir(dir);
}

TestSuite(events, .init = before, .fini = after);

static void add(const char *text)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;

        events_begin(&w);
        json_key(&w, "text"), json_string_value(&w, text);
        events_add(&w);
}

static int64_t number_in(const char *line, size_t n)
{
        struct json d;
        struct json_error e;
        int64_t seq = -1;

        cr_assert_eq(json_parse(line, n, &d, &e), 0, "%.*s", (int)n, line);
        (void)json_int(&d, json_get(&d, JSON_ROOT, "seq"), &seq);
        json_done(&d);
        return seq;
}

Test(events, an_event_before_the_file_is_open_is_forgotten)
{
        add("early");
        cr_expect_eq(events_last(), 0);
        cr_assert_eq(events_open(fd, dir), 0);
        add("first");
        cr_expect_eq(events_last(), 1);
}

Test(events, each_event_is_one_line_with_its_number_and_both_clocks)
{
        char text[512];
        const char *line;
        ssize_t n;
        size_t bytes;

        cr_assert_eq(events_open(fd, dir), 0);
        add("a\nb");
        add("c");
        n = pread(fd, text, sizeof(text) - 1, 0);
        cr_assert(n > 0);
        text[n] = '\0';
        cr_expect_eq(text[n - 1], '\n');
        cr_expect_eq(number_in(text, strcspn(text, "\n")), 1);
        cr_expect_eq(number_in(strchr(text, '\n') + 1, strlen(strchr(text, '\n') + 1) - 1), 2);
        cr_expect(strstr(text, "\"time\":\"20") && strstr(text, "\"mono_ns\":"), "%s", text);
        line = events_get(2, &bytes);
        cr_assert(line);
        cr_expect(strncmp(strchr(text, '\n') + 1, line, bytes) == 0);
}

Test(events, numbers_go_on_where_the_file_of_the_agent_before_ends)
{
        const char *line;
        size_t n;

        cr_assert(dprintf(fd, "{\"seq\":41,\"event\":\"a\"}\nrubbish\n{\"seq\":42,\"event\":\"b\"}\n") > 0);
        cr_assert_eq(events_open(fd, dir), 0);
        cr_expect_eq(events_last(), 42);
        line = events_get(41, &n);
        cr_assert(line && n);
        cr_expect_eq(number_in(line, n), 41);
        add("next");
        cr_expect_eq(events_last(), 43);
}

Test(events, half_a_line_of_an_agent_that_died_does_not_count)
{
        size_t n;

        cr_assert(dprintf(fd, "{\"seq\":7,\"event\":\"a\"}\n{\"seq\":8,\"ev") > 0);
        cr_assert_eq(events_open(fd, dir), 0);
        cr_expect_eq(events_last(), 7);
        cr_expect_null(events_get(8, &n));
}

Test(events, only_the_newest_are_kept_in_memory)
{
        size_t n;

        cr_assert_eq(events_open(fd, dir), 0);
        for (int i = 0; i < EVENTS_KEPT + 10; i++)
                add("x");
        cr_expect_eq(events_first(), 11);
        cr_expect_null(events_get(10, &n));
        cr_expect_null(events_get(0, &n));
        cr_expect_null(events_get(events_last() + 1, &n));
        cr_expect_not_null(events_get(11, &n));
        cr_expect_not_null(events_get(events_last(), &n));
}

Test(events, the_file_has_a_limit_and_nothing_between_two_files_is_lost)
{
        static char big[60000];
        char path[80];
        struct stat st, old;
        CLEANUP(free_ptr) char *text = malloc(EVENTS_BYTES_MAX + 1);
        int64_t last;

        memset(big, 'x', sizeof(big) - 1);
        cr_assert_eq(events_open(fd, dir), 0);
        for (int i = 0; i < 100; i++)
                add(big);
        (void)snprintf(path, sizeof(path), "%s/events.1", dir);
        cr_assert_eq(fstat(fd, &st), 0);
        cr_assert_eq(stat(path, &old), 0);
        cr_expect(st.st_size <= EVENTS_BYTES_MAX && old.st_size <= EVENTS_BYTES_MAX);
        cr_expect_eq(old.st_mode & 07777, 0600);
        /* the last of the old file and the first of the new one are neighbours */
        CLEANUP(close_fd) int old_fd = open(path, O_RDONLY | O_CLOEXEC);
        cr_assert_eq(read(old_fd, text, (size_t)old.st_size), old.st_size);
        text[old.st_size - 1] = '\0';
        last = number_in(strrchr(text, '\n') + 1, strlen(strrchr(text, '\n') + 1));
        cr_assert_eq(pread(fd, text, 61000, 0), 61000);
        cr_expect_eq(number_in(text, strcspn(text, "\n")), last + 1);
}

static int told;

static void on_told(void *userdata)
{
        (void)userdata;
        told++;
}

Test(events, whoever_follows_is_told_of_each)
{
        cr_assert_eq(events_open(fd, dir), 0);
        events_on_add(on_told, NULL);
        add("a");
        add("b");
        events_on_add(NULL, NULL);
        add("c");
        cr_expect_eq(told, 2);
}
