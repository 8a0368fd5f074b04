/* SPDX-License-Identifier: MIT */
/* See log.h. */
#include "agent/log.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/events.h"
#include "agent/json.h"
#include "agent/late.h"
#include "agent/options.h"
#include "agent/stderr_line.h"

enum { LINE_BYTES = 2048, TEXT_BYTES_MAX = 2048 };

static struct {
        int64_t format, level;
        unsigned dropped;
        bool journal, known;
} log_state = { .level = LOG_NOTICE };

static const char *level_name(int priority)
{
        static const char *const names[] = { "error", "error", "error", "error", "warning", "notice", "info", "debug" };

        return names[priority & 7];
}

/* systemd names the device and inode of the stream that leads to the journal. */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long dev, ino;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
}

/*
 * sd_journal_send() waits when the journal's queue is full, for as long as a journal that hangs. So a socket of our own is
 * asked first whether there is room. A new one each time: one that was kept would be connected to a journal of the past.
 */
static bool journal_has_room(void)
{
        static const struct sockaddr_un journal = { AF_UNIX, "/run/systemd/journal/socket" };
        CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct pollfd p = { .fd = fd, .events = POLLOUT };

        return fd >= 0 && connect(fd, (const struct sockaddr *)&journal, sizeof(journal)) == 0 && poll(&p, 1, 0) == 1 &&
               (p.revents & POLLOUT);
}

void log_setup(int64_t format, int64_t level)
{
        log_state.format = format;
        log_state.level = level;
        if (!log_state.known) {
                log_state.known = true; /* first: a missing library is said in the log */
                log_state.journal = stderr_is_journal() && late_journal() == 0;
        }
}

void log_flush(void)
{
        char line[80];

        if (log_state.dropped == 0)
                return;
        if (stderr_line(line, (size_t)snprintf(line, sizeof(line), "level=warning event=log.dropped lines=%u\n", log_state.dropped)))
                log_state.dropped = 0;
}

static bool plain(const char *text)
{
        for (const unsigned char *p = (const unsigned char *)text; *p; p++)
                if (*p <= ' ' || *p == '"' || *p == '=' || *p == '\\' || *p >= 0x7f)
                        return false;
        return *text != '\0';
}

static size_t put_text(char *line, size_t at, size_t size, const char *text)
{
        if (plain(text)) {
                size_t n = strnlen(text, size - at - 1); /* what does not fit is cut */

                memcpy(line + at, text, n);
                return at + n;
        }
        at += (size_t)snprintf(line + at, size - at, "\"");
        for (const unsigned char *p = (const unsigned char *)text; *p && at + 8 < size; p++) {
                if (*p == '"' || *p == '\\')
                        at += (size_t)snprintf(line + at, size - at, "\\%c", *p);
                else if (*p < ' ' || *p == 0x7f)
                        at += (size_t)snprintf(line + at, size - at, "\\x%02x", *p);
                else
                        line[at++] = (char)*p;
        }
        line[at] = '\0';
        return at + (size_t)snprintf(line + at, size - at, "\"");
}

static size_t put_field(char *line, size_t at, size_t size, const struct log_field *f)
{
        if (at + strlen(f->name) + 40 >= size)
                return at; /* a line is never longer than a pipe takes whole */
        if (f->type == LOG_F_STRING && (!f->text || !*f->text))
                return at;
        at += (size_t)snprintf(line + at, size - at, " %s=", f->name);
        switch (f->type) {
        case LOG_F_STRING:
                return put_text(line, at, size, f->text);
        case LOG_F_INT:
                return at + (size_t)snprintf(line + at, size - at, "%" PRId64, f->i);
        case LOG_F_UINT:
                return at + (size_t)snprintf(line + at, size - at, "%" PRIu64, f->u);
        case LOG_F_BOOL:
                return at + (size_t)snprintf(line + at, size - at, "%s", f->u ? "true" : "false");
        }
        return at;
}

static size_t text_line(char *line, size_t size, int priority, const char *event, const struct log_field *fields, size_t n)
{
        char time[40];
        size_t at = (size_t)snprintf(line, size, "time=%s level=%s event=%s", clock_wall(time, sizeof(time)), level_name(priority), event);

        for (size_t i = 0; i < n; i++)
                at = put_field(line, at, size - 2, &fields[i]);
        if (at > size - 2)
                at = size - 2;
        line[at++] = '\n';
        return at;
}

static void write_text(struct json_writer *w, const char *text, size_t most)
{
        char cut[TEXT_BYTES_MAX];

        if (strlen(text) <= most) {
                json_string_value(w, text);
                return;
        }
        (void)snprintf(cut, sizeof(cut), "%.*s...", (int)most, text);
        json_string_value(w, cut);
}

/* @most: bytes of one text; longer ones are cut */
static void write_fields(struct json_writer *w, int priority, const char *event, const struct log_field *fields, size_t n, size_t most)
{
        json_key(w, "event"), json_string_value(w, event);
        json_key(w, "level"), json_string_value(w, level_name(priority));
        for (size_t i = 0; i < n; i++) {
                if (fields[i].type == LOG_F_STRING && (!fields[i].text || !*fields[i].text))
                        continue;
                json_key(w, fields[i].name);
                switch (fields[i].type) {
                case LOG_F_STRING:
                        write_text(w, fields[i].text, most);
                        break;
                case LOG_F_INT:
                        json_int_value(w, fields[i].i);
                        break;
                case LOG_F_UINT:
                        json_uint_value(w, fields[i].u);
                        break;
                case LOG_F_BOOL:
                        json_bool_value(w, fields[i].u);
                        break;
                }
        }
}

/* A pipe takes PIPE_BUF at once; a line that is longer once it is escaped gets shorter texts. */
static void line_of_json(struct json_writer *w, int priority, const char *event, const struct log_field *fields, size_t n)
{
        char time[40];

        for (size_t most = TEXT_BYTES_MAX / 2; most > 8; most /= 2) {
                json_writer_done(w);
                json_begin_object(w);
                json_key(w, "time"), json_string_value(w, clock_wall(time, sizeof(time)));
                write_fields(w, priority, event, fields, n, most);
                json_end_object(w);
                json_raw_end(w, "\n");
                if (w->n <= PIPE_BUF)
                        return;
        }
}

static void to_stderr(int priority, const char *event, const struct log_field *fields, size_t n)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        char line[LINE_BYTES];
        bool written;

        if (log_state.format == LOG_FORMAT_JSON) {
                line_of_json(&w, priority, event, fields, n);
                written = json_writer_text(&w) && stderr_line(w.text, w.n);
        } else {
                written = stderr_line(line, text_line(line, sizeof(line), priority, event, fields, n));
        }
        if (!written)
                log_state.dropped++;
}

static void to_journal(int priority, const char *event, const struct log_field *fields, size_t n)
{
        char line[LINE_BYTES];
        size_t bytes = text_line(line, sizeof(line), priority, event, fields, n);

        line[bytes - 1] = '\0';
        if (!journal_has_room() ||
            sd_journal_send("PRIORITY=%d", priority, "BATON_EVENT=%s", event, "MESSAGE=%s", strstr(line, "event="), NULL) < 0)
                log_state.dropped++;
}

void log_fields(int priority, const char *event, const struct log_field *fields, size_t n)
{
        if (priority <= LOG_NOTICE) {
                CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;

                events_begin(&w);
                write_fields(&w, priority, event, fields, n, SIZE_MAX);
                events_add(&w);
        }
        if (priority > log_state.level)
                return;
        if (log_state.dropped)
                log_flush();
        if (log_state.journal)
                to_journal(priority, event, fields, n);
        else
                to_stderr(priority, event, fields, n);
}
