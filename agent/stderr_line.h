/* SPDX-License-Identifier: MIT */
/*
 * One line to a stderr that perhaps nobody reads: it is written whole and at once, or lost. To ask poll() and then to write
 * is not enough: the proxies write into the same pipe, and what was free may be full a moment later. To set O_NONBLOCK on
 * stderr is too much: the proxies share its open file description. So the pipe is opened once more, for this line.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Not allowed to open it (it was made by another user), or no /proc: then as well as poll() can tell. */
static inline bool stderr_line_polled(const char *line, size_t n)
{
        struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

        return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && write(STDERR_FILENO, line, n) >= 0;
}

/** stderr_line() - Return: false if it was lost. More than PIPE_BUF is cut: only that much a pipe takes whole. */
static inline bool stderr_line(const char *line, size_t n)
{
        struct stat st;
        bool written;
        int fd;

        if (n > PIPE_BUF)
                n = PIPE_BUF;
        if (fstat(STDERR_FILENO, &st) < 0)
                return false;
        if (S_ISSOCK(st.st_mode))
                return send(STDERR_FILENO, line, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
        if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
                return write(STDERR_FILENO, line, n) >= 0; /* a file does not wait for readers */
        fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return stderr_line_polled(line, n);
        written = write(fd, line, n) >= 0;
        (void)close(fd);
        return written;
}
