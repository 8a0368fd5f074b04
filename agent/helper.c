/* SPDX-License-Identifier: MIT */
/* See helper.h. */
#include "agent/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/cleanup.h"

static void names_of(uint64_t job, char kit[HELPER_OUT_NAME_BYTES], char out[HELPER_OUT_NAME_BYTES])
{
        (void)snprintf(kit, HELPER_OUT_NAME_BYTES, "kit/%" PRIu64, job);
        (void)snprintf(out, HELPER_OUT_NAME_BYTES, "out/%" PRIu64, job);
}

static void drop(struct helper *h)
{
        char kit[HELPER_OUT_NAME_BYTES], out[HELPER_OUT_NAME_BYTES];
        const char *names[] = { kit, out };

        names_of(h->job, kit, out);
        (void)keeper_link_drop(h->agent->link, names, 2); /* its number never comes again: nobody else would */
        close_fd(&h->out);
        close_fd(&h->pidfd);
        ev_timer_stop(h->agent->loop, &h->timer);
        h->running = false;
}

void helper_cancel(struct helper *h)
{
        if (!h->running)
                return;
        if (h->pidfd >= 0)
                (void)syscall(SYS_pidfd_send_signal, h->pidfd, SIGKILL, NULL, 0);
        drop(h);
}

static void on_timeout(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct helper *h = w->data;

        (void)loop;
        (void)revents;
        helper_cancel(h);
        h->done(h->agent, &(struct helper_result){ .timed_out = true, .text = "" });
}

void helper_init(struct helper *h, struct agent *a, void (*done)(struct agent *a, const struct helper_result *r))
{
        *h = (struct helper){ .agent = a, .out = -1, .pidfd = -1, .done = done };
        ev_init(&h->timer, on_timeout);
        h->timer.data = h;
}

void helper_begin(struct helper *h, char ret_out[HELPER_OUT_NAME_BYTES])
{
        char kit[HELPER_OUT_NAME_BYTES];

        helper_cancel(h);
        h->job = WIRE_JOB_HELPER + (uint64_t)getpid() * 65536 + ++h->agent->jobs; /* not one of a dead agent's */
        names_of(h->job, kit, ret_out);
}

/* It has its full length from the start and can never get longer: what prints without end fails instead of filling the memory. */
static int output_new(void)
{
        int fd = memfd_create("helper", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r = fd < 0 ? -errno : 0;

        if (fd >= 0 && (ftruncate(fd, HELPER_OUTPUT_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) < 0)) {
                r = -errno;
                (void)close(fd);
        }
        return r < 0 ? r : fd;
}

int helper_run(struct helper *h, int record, int64_t timeout_ms)
{
        char kit[HELPER_OUT_NAME_BYTES], out[HELPER_OUT_NAME_BYTES];
        const char *names[] = { kit, out };
        struct wire_job job;
        int fds[2], r;

        names_of(h->job, kit, out);
        h->out = output_new();
        fds[0] = record;
        fds[1] = h->out;
        r = h->out < 0 ? h->out : keeper_link_hold(h->agent->link, names, fds, 2);
        if (r == 0)
                r = keeper_link_launch(h->agent->link, h->job, kit, &job, &h->pidfd);
        if (r < 0) {
                drop(h);
                return r;
        }
        h->running = true;
        ev_timer_set(&h->timer, (double)timeout_ms / 1e3, 0.);
        ev_timer_start(h->agent->loop, &h->timer);
        return 0;
}

bool helper_ended(struct helper *h, const struct wire_job *job)
{
        static char text[HELPER_OUTPUT_BYTES];
        struct helper_result r = { .job = job, .text = text };
        ssize_t n;

        if (!h->running || job->job != h->job)
                return false;
        n = pread(h->out, text, sizeof(text), 0);
        while (n > 0 && text[n - 1] == '\0') /* nothing was written there */
                n--;
        r.n = n > 0 ? (size_t)n : 0;
        drop(h);
        h->done(h->agent, &r);
        return true;
}
