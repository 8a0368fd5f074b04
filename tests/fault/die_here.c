/* SPDX-License-Identifier: MIT */
/*
 * Places for the agent to die at, linked in front of the real functions with --wrap, so that the product has none.
 * BATON_DIE_AT names a file with "PLACE N": at the N-th call of PLACE, counted since the start of this agent, the file is
 * removed and the agent kills itself: after the call, or before it where the place ends in "-before". Without the file
 * nothing happens; it is looked for at each call, so that a test can put it there at any moment.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/state.h"
#include "hotrestart/hotrestart.h"

int __real_state_store(struct state_file *s, const void *bytes, size_t n);
int __wrap_state_store(struct state_file *s, const void *bytes, size_t n);
int __real_hr_send(int fd, const struct sockaddr_un *peer, const struct hr_message *m, int pass_fd);
int __wrap_hr_send(int fd, const struct sockaddr_un *peer, const struct hr_message *m, int pass_fd);
int __real_hr_take(int fd);
int __wrap_hr_take(int fd);
int __real_hr_steer_attach(int fd, const struct hr_steer *s);
int __wrap_hr_steer_attach(int fd, const struct hr_steer *s);
int __real_hr_steer_detach(int fd);
int __wrap_hr_steer_detach(int fd);
int __real_hr_listener_hush(int fd);
int __wrap_hr_listener_hush(int fd);

/* The count starts with the file: what happened before it was put there does not matter. */
static void here(const char *place)
{
        const char *path = getenv("BATON_DIE_AT");
        char text[64] = "", wanted[48] = "";
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        int n = 0;

        if (fd < 0)
                return;
        if (read(fd, text, sizeof(text) - 1) <= 0 || sscanf(text, "%47s %d", wanted, &n) != 2 || strcmp(wanted, place) != 0) {
                (void)close(fd);
                return;
        }
        if (n <= 1) {
                (void)unlink(path);
                (void)kill(getpid(), SIGKILL);
        }
        n = snprintf(text, sizeof(text), "%s %d\n", wanted, n - 1);
        if (pwrite(fd, text, (size_t)n, 0) != n || ftruncate(fd, n) < 0)
                abort();
        (void)close(fd);
}

int __wrap_state_store(struct state_file *s, const void *bytes, size_t n)
{
        int r;

        here("store-before");
        r = __real_state_store(s, bytes, n);
        here("store");
        return r;
}

int __wrap_hr_send(int fd, const struct sockaddr_un *peer, const struct hr_message *m, int pass_fd)
{
        int r;

        here("send-before");
        r = __real_hr_send(fd, peer, m, pass_fd);
        here("send");
        return r;
}

int __wrap_hr_take(int fd)
{
        int r;

        here("take-before");
        r = __real_hr_take(fd);
        here("take");
        return r;
}

/* One place for both: what is between two changes of the way is what matters. */
int __wrap_hr_steer_attach(int fd, const struct hr_steer *s)
{
        int r;

        here("steer-before");
        r = __real_hr_steer_attach(fd, s);
        here("steer");
        return r;
}

int __wrap_hr_steer_detach(int fd)
{
        int r;

        here("steer-before");
        r = __real_hr_steer_detach(fd);
        here("steer");
        return r;
}

int __wrap_hr_listener_hush(int fd)
{
        int r;

        here("hush-before");
        r = __real_hr_listener_hush(fd);
        here("hush");
        return r;
}
