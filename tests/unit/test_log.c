/* SPDX-License-Identifier: MIT */
/* Log lines: one event one line whatever is in it, never a wait for whoever does not read. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <limits.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/json.h"
#include "agent/late.h"
#include "agent/log.h"
#include "agent/options.h"

static int pipe_fds[2];
static char text[256 * 1024];

/* What goes to stderr comes here. Criterion's own stderr is given back at the end. */
static int begin(int64_t format, int64_t level)
{
        int saved = dup(STDERR_FILENO);

        (void)unsetenv("JOURNAL_STREAM");
        cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
        cr_assert(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
        log_setup(format, level);
        return saved;
}

static void end(int saved)
{
        size_t have = 0;
        ssize_t n;

        (void)dup2(saved, STDERR_FILENO);
        (void)close(saved);
        (void)close(pipe_fds[1]);
        while ((n = read(pipe_fds[0], text + have, sizeof(text) - 1 - have)) > 0)
                have += (size_t)n;
        text[have] = '\0';
        (void)close(pipe_fds[0]);
}

static size_t lines(void)
{
        size_t n = 0;

        for (const char *p = text; (p = strchr(p, '\n')); p++)
                n++;
        return n;
}

Test(log, fields_are_written_and_empty_ones_left_out)
{
        int saved = begin(LOG_FORMAT_TEXT, LOG_NOTICE);

        log_event(LOG_WARNING, "epoch.exited", F_UINT("epoch", 3), F_INT("pid", -1), F_STR("reason", "signal:SEGV"), F_STR("none", ""),
                  F_STR("null", NULL), F_BOOL("ok", true));
        end(saved);
        cr_expect(strncmp(text, "time=20", 7) == 0, "%s", text);
        cr_expect_str_eq(strchr(text, ' '), " level=warning event=epoch.exited epoch=3 pid=-1 reason=signal:SEGV ok=true\n");
}

Test(log, a_value_cannot_break_out_of_its_field_or_line)
{
        int saved = begin(LOG_FORMAT_TEXT, LOG_NOTICE);

        log_event(LOG_NOTICE, "x", F_STR("a", "two words"), F_STR("b", "\"q\"=\\"), F_STR("c", "line\nlevel=error\r\x1b[31m\x7f"), F_STR("d", "k=v"));
        end(saved);
        cr_expect_eq(lines(), 1);
        cr_expect_str_eq(strstr(text, " a="), " a=\"two words\" b=\"\\\"q\\\"=\\\\\" c=\"line\\x0alevel=error\\x0d\\x1b[31m\\x7f\" d=\"k=v\"\n");
}

Test(log, less_important_than_the_level_is_not_written)
{
        int saved = begin(LOG_FORMAT_TEXT, LOG_WARNING);

        log_event(LOG_NOTICE, "quiet", F_INT("n", 1));
        log_event(LOG_ERR, "loud", F_INT("n", 1));
        end(saved);
        cr_expect(!strstr(text, "quiet") && strstr(text, "level=error event=loud"), "%s", text);
}

static void expect_json_lines(size_t n)
{
        size_t i = 0;

        for (char *p = text; *p; i++) {
                char *newline = strchr(p, '\n');
                struct json d;
                struct json_error e;

                cr_assert(newline, "the last line has no end: %zu bytes", strlen(p));
                cr_assert_eq(json_parse(p, (size_t)(newline - p), &d, &e), 0, "%u:%u: %s", e.line, e.column, e.text);
                json_done(&d);
                p = newline + 1;
        }
        cr_expect_eq(i, n);
}

Test(log, a_json_line_is_json_and_one_line)
{
        int saved = begin(LOG_FORMAT_JSON, LOG_NOTICE);

        log_event(LOG_NOTICE, "x", F_STR("a", "\"\\\n\xff"), F_INT("n", -1), F_UINT("u", UINT64_MAX), F_BOOL("b", false));
        end(saved);
        expect_json_lines(1);
        cr_expect(strstr(text, "\"event\":\"x\",\"level\":\"notice\",\"a\":\"\\\"\\\\\\u000a\xef\xbf\xbd\",\"n\":-1,\"u\":18446744073709551615,\"b\":false}"), "%s", text);
}

Test(log, the_longest_value_still_is_one_whole_line_that_a_pipe_takes_at_once)
{
        static char big[3][1024];
        static const int64_t formats[] = { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

        for (size_t f = 0; f < 2; f++) {
                for (int with = 0; with < 2; with++) {
                        int saved;

                        for (size_t i = 0; i < 3; i++) {
                                memset(big[i], with ? '\x01' : 'x', sizeof(big[i]) - 1); /* \x01 is six characters in JSON */
                                big[i][sizeof(big[i]) - 1] = '\0';
                        }
                        saved = begin(formats[f], LOG_NOTICE);
                        log_event(LOG_NOTICE, "big", F_STR("a", big[0]), F_STR("b", big[1]), F_STR("c", big[2]));
                        log_event(LOG_NOTICE, "next", F_INT("n", 1));
                        end(saved);
                        cr_expect_eq(lines(), 2, "format %zu: %zu lines", f, lines());
                        cr_expect_leq(strcspn(text, "\n") + 1, PIPE_BUF);
                        cr_expect(strstr(text, "next"));
                        if (f == 1)
                                expect_json_lines(2);
                }
        }
}

Test(log, a_pipe_that_nobody_reads_costs_lines_not_time_and_they_are_counted)
{
        int saved = begin(LOG_FORMAT_TEXT, LOG_NOTICE);

        for (int i = 0; i < 5000; i++)
                log_event(LOG_NOTICE, "flood", F_INT("i", i), F_STR("text", "something long enough to fill a pipe before five thousand of it"));
        cr_assert(read(pipe_fds[0], text, 32768) > 0); /* somebody reads again */
        log_event(LOG_NOTICE, "after", F_INT("n", 1));
        end(saved);
        cr_expect(strstr(text, "event=log.dropped lines="), "no word of the lost lines");
        cr_expect(strstr(text, "event=after"));
}

/* ---- the journal ------------------------------------------------------------------------------------ */

static int journal_fd = -1;
static struct sockaddr_un journal_name = { .sun_family = AF_UNIX };
static socklen_t journal_len;
static int sent_to_journal;

int __real_connect(int fd, const struct sockaddr *a, socklen_t n);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n)
{
        const struct sockaddr_un *to = (const void *)a;

        if (a->sa_family != AF_UNIX || strcmp(to->sun_path, "/run/systemd/journal/socket") != 0)
                return __real_connect(fd, a, n);
        return __real_connect(fd, (const void *)&journal_name, journal_len);
}

/* Where the real one would wait, this one only counts. */
static int count_sent(const char *file, const char *line, const char *func, const char *format, ...)
{
        (void)file;
        (void)line;
        (void)func;
        (void)format;
        sent_to_journal++;
        return 0;
}

static int begin_journal(void)
{
        int saved = dup(STDERR_FILENO);
        char stream[64];
        struct stat st;

        cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
        cr_assert(dup2(pipe_fds[1], STDERR_FILENO) >= 0 && fstat(STDERR_FILENO, &st) == 0);
        (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
        (void)setenv("JOURNAL_STREAM", stream, 1);
        journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        journal_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                                  (size_t)snprintf(journal_name.sun_path + 1, 64, "baton_test_log_%d", (int)getpid()));
        cr_assert_eq(bind(journal_fd, (const void *)&journal_name, journal_len), 0);
        log_setup(LOG_FORMAT_TEXT, LOG_NOTICE);
        late.sd_journal_send_with_location_ = count_sent;
        return saved;
}

Test(log, a_journal_that_hangs_costs_lines_not_time_and_they_are_counted)
{
        int saved = begin_journal(), writer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        char byte;

        log_event(LOG_NOTICE, "before", F_INT("n", 1));
        while (sendto(writer, "x", 1, 0, (const void *)&journal_name, journal_len) == 1)
                ;
        log_event(LOG_NOTICE, "lost", F_INT("n", 1));
        log_event(LOG_NOTICE, "lost", F_INT("n", 2));
        cr_expect_eq(sent_to_journal, 1, "to send would have been to wait");
        while (recv(journal_fd, &byte, 1, 0) == 1)
                ;
        log_event(LOG_NOTICE, "after", F_INT("n", 1));
        (void)close(writer);
        (void)close(journal_fd);
        end(saved);
        cr_expect_eq(sent_to_journal, 2);
        cr_expect(strstr(text, "event=log.dropped lines="), "no word of the lost lines: %s", text);
}
