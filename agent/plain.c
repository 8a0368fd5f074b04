/* SPDX-License-Identifier: MIT */
/*
 * `baton run -- envoy --version` and the like: what ends by itself is run once, as it is. No run directory is claimed and
 * nothing is supervised, so there is nothing to decide: its exit status is baton's.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/cleanup.h"

enum { PLAIN_JOB = 0, STATUS_FAILED = 1, STATUS_BY_SIGNAL = 128, PLAIN_STOP_MS = 5000 };

static int launch(struct agent *a, struct wire_job *ret_job, int *ret_pidfd)
{
        CLEANUP(close_fd) int record = -1;
        const char *name = "kit/plain";
        int r = kit_plain_record(&a->kits, &record);

        if (r == 0)
                r = keeper_link_hold(a->link, &name, &record, 1);
        if (r == 0) /* a job that an agent before us launched is not launched again */
                r = keeper_link_launch(a->link, PLAIN_JOB, name, ret_job, ret_pidfd);
        if (r == 0)
                r = keeper_link_working(a->link, PLAIN_STOP_MS);
        return r;
}

static int status_of(const struct agent *a, const struct wire_job *job)
{
        if (job->error) {
                fprintf(stderr, "baton run: cannot execute %s: %s\n", a->args.program, strerror((int)job->error));
                return STATUS_FAILED;
        }
        return job->code == CLD_EXITED ? job->status : STATUS_BY_SIGNAL + job->status;
}

/* Until the keeper is silent. Return: true when the job has ended */
static bool take_news(struct agent *a, struct wire_job *job, int pidfd)
{
        struct keeper_event e;

        while (keeper_link_dispatch(a->link, &e) == 0) {
                if (e.type == WIRE_EXITED && e.job.job == PLAIN_JOB)
                        *job = e.job;
                else if (e.type == WIRE_SIGNAL && pidfd >= 0)
                        (void)syscall(SYS_pidfd_send_signal, pidfd, e.signal.signo, NULL, 0);
        }
        return job->code != 0;
}

int plain_run(struct agent *a)
{
        CLEANUP(close_fd) int pidfd = -1;
        struct wire_job job = { 0 };
        int r = launch(a, &job, &pidfd);

        if (r < 0) {
                fprintf(stderr, "baton run: cannot start %s: %s\n", a->args.program, strerror(-r));
                return STATUS_FAILED;
        }
        while (job.code == 0 && !take_news(a, &job, pidfd)) {
                struct pollfd p = { .fd = keeper_link_fd(a->link), .events = POLLIN };

                (void)poll(&p, 1, WIRE_REARM_MS);
                if (p.revents & (POLLHUP | POLLERR))
                        return STATUS_FAILED; /* the keeper is gone, and the proxy with it */
                (void)keeper_link_rearm(WIRE_HEARTBEAT_FD);
        }
        return status_of(a, &job);
}
