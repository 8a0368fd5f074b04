/* SPDX-License-Identifier: MIT */
/* Lines to a stderr that nobody reads. poll() is made to lie: others may fill the pipe right after it told the truth. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/stderr_line.h"

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
        (void)timeout;
        for (nfds_t i = 0; i < n; i++)
                fds[i].revents = fds[i].events;
        return (int)n;
}

static void fill(int fd)
{
        static const char page[4096];
        int flags = fcntl(fd, F_GETFL);

        cr_assert(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
        while (write(fd, page, sizeof(page)) > 0)
                ;
        while (write(fd, page, 1) > 0)
                ;
        cr_assert(errno == EAGAIN);
        cr_assert(fcntl(fd, F_SETFL, flags) == 0);
}

/* A line that waits ends the test by this signal. */
static void stderr_becomes(int fd)
{
        cr_assert(dup2(fd, STDERR_FILENO) == STDERR_FILENO);
        (void)signal(SIGALRM, SIG_DFL);
        (void)alarm(10);
}

Test(stderr_line, is_lost_rather_than_waited_for_when_a_pipe_is_full)
{
        int p[2];

        cr_assert(pipe2(p, O_CLOEXEC) == 0);
        fill(p[1]);
        stderr_becomes(p[1]);
        cr_assert_not(stderr_line("lost\n", 5));
        cr_assert_eq(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0, "whoever shares the pipe must not find it non-blocking");
}

Test(stderr_line, is_lost_rather_than_waited_for_when_a_socket_is_full)
{
        int p[2];

        cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) == 0);
        fill(p[1]);
        stderr_becomes(p[1]);
        cr_assert_not(stderr_line("lost\n", 5));
}

Test(stderr_line, arrives_whole_when_there_is_room)
{
        char text[16] = "";
        int p[2];

        cr_assert(pipe2(p, O_CLOEXEC) == 0);
        stderr_becomes(p[1]);
        cr_assert(stderr_line("here\n", 5));
        cr_assert(read(p[0], text, sizeof(text)) == 5);
        cr_assert(strncmp(text, "here\n", 5) == 0);
}

Test(stderr_line, to_nobody_is_an_error)
{
        int p[2];

        cr_assert(pipe2(p, O_CLOEXEC) == 0);
        (void)close(p[0]);
        (void)signal(SIGPIPE, SIG_IGN); /* as both processes do */
        stderr_becomes(p[1]);
        (void)close(p[1]);
        cr_assert_not(stderr_line("lost\n", 5));
}
