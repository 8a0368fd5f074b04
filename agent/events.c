/* SPDX-License-Identifier: MIT */
/* See events.h. */
#include "agent/events.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/clock.h"

static struct {
        int fd;
        char run_dir[256];
        uint64_t seq; /* of the newest */
        size_t bytes; /* of the file */
        char *lines[EVENTS_KEPT];
        void (*told)(void *userdata);
        void *userdata;
} events = { .fd = -1 };

static char **slot(uint64_t seq)
{
        return &events.lines[seq % EVENTS_KEPT];
}

static void keep(uint64_t seq, const char *line, size_t n)
{
        free(*slot(seq));
        *slot(seq) = strndup(line, n);
}

/* What an agent before us wrote: the numbers go on, and followers can still be served. */
static void read_back(const char *text, size_t n)
{
        for (const char *p = text; p < text + n;) {
                const char *end = memchr(p, '\n', (size_t)(text + n - p));
                struct json doc;
                struct json_error e;
                int64_t seq = 0;

                if (!end)
                        return;
                if (json_parse(p, (size_t)(end - p), &doc, &e) == 0) {
                        (void)json_int(&doc, json_get(&doc, JSON_ROOT, "seq"), &seq);
                        json_done(&doc);
                }
                if (seq > 0) {
                        events.seq = (uint64_t)seq;
                        keep(events.seq, p, (size_t)(end - p));
                }
                p = end + 1;
        }
}

int events_open(int fd, const char *run_dir)
{
        enum { TAIL = 256 * 1024 };
        CLEANUP(free_ptr) char *text = malloc(TAIL);
        struct stat st;
        off_t from;
        ssize_t n;

        if (fstat(fd, &st) < 0)
                return -errno;
        (void)snprintf(events.run_dir, sizeof(events.run_dir), "%s", run_dir);
        events.bytes = (size_t)st.st_size;
        from = st.st_size > TAIL ? st.st_size - TAIL : 0;
        n = text ? pread(fd, text, TAIL, from) : -1;
        if (n > 0) {
                const char *start = from ? memchr(text, '\n', (size_t)n) : text;

                if (start)
                        read_back(start + (from ? 1 : 0), (size_t)(text + n - start) - (from ? 1 : 0));
        }
        events.fd = fd;
        return 0;
}

void events_on_add(void (*told)(void *userdata), void *userdata)
{
        events.told = told;
        events.userdata = userdata;
}

void events_begin(struct json_writer *w)
{
        char time[40];

        json_begin_object(w);
        json_key(w, "seq"), json_uint_value(w, events.seq + 1);
        json_key(w, "time"), json_string_value(w, clock_wall(time, sizeof(time)));
        json_key(w, "mono_ns"), json_int_value(w, clock_now().ns);
}

/* The file that everybody has open is copied aside and cut: its descriptor is the keeper's too, so it cannot be renamed away. */
static void rotate(void)
{
        char path[320];
        int old;

        (void)snprintf(path, sizeof(path), "%s/events.1", events.run_dir);
        old = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (old >= 0) {
                off_t at = 0;

                while (copy_file_range(events.fd, &at, old, NULL, EVENTS_BYTES_MAX, 0) > 0)
                        ;
                (void)close(old);
        }
        if (ftruncate(events.fd, 0) == 0)
                events.bytes = 0;
}

void events_add(struct json_writer *w)
{
        json_end_object(w);
        if (events.fd < 0 || !json_writer_text(w))
                return;
        events.seq++;
        keep(events.seq, w->text, w->n);
        json_raw_end(w, "\n");
        if (events.bytes + w->n > EVENTS_BYTES_MAX)
                rotate();
        if (pwrite(events.fd, w->text, w->n, (off_t)events.bytes) == (ssize_t)w->n)
                events.bytes += w->n;
        if (events.told)
                events.told(events.userdata);
}

uint64_t events_last(void)
{
        return events.seq;
}

uint64_t events_first(void)
{
        uint64_t first = events.seq > EVENTS_KEPT ? events.seq - EVENTS_KEPT + 1 : 1;

        while (first <= events.seq && !*slot(first))
                first++;
        return first;
}

const char *events_get(uint64_t seq, size_t *ret_n)
{
        if (seq == 0 || seq > events.seq || seq + EVENTS_KEPT <= events.seq || !*slot(seq))
                return NULL;
        *ret_n = strlen(*slot(seq));
        return *slot(seq);
}
