/* SPDX-License-Identifier: MIT */
/* See plain.h. */
#include "agent/plain.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/launch.h"

extern char **environ;

/* One number for every agent of the instance: what an agent before us started is found again, not started twice. */
enum { JOB = WIRE_JOB_HELPER, CANNOT_EXECUTE = 1, KILLED = 128 };

static int launch_it(struct agent *a, struct wire_job *job, int *ret_pidfd)
{
        static const char *const names[] = { "kit/plain" };
        CLEANUP(close_fd) int record = -1;
        struct launch l = {
                .argv = (const char *const *)a->args.all,
                .envp = (const char *const *)environ,
                .path = a->args.program,
                .flags = LAUNCH_DEATH_SIGNAL,
                .oom_score_adj = INT32_MIN,
                .nofile_soft = a->keeper.nofile_soft,
                .nofile_hard = a->keeper.nofile_hard,
        };
        int r;

        kit_run_as(&l, &a->options->user);
        r = launch_seal(&l, &record);
        if (r == 0)
                r = keeper_link_hold(a->link, names, &record, 1);
        return r < 0 ? r : keeper_link_launch(a->link, JOB, names[0], job, ret_pidfd);
}

_Noreturn static void end(struct agent *a, int status)
{
        (void)keeper_link_end(a->link, status);
        exit(status);
}

/* As a shell tells it: 128 and the signal. */
_Noreturn static void ended(struct agent *a, const struct wire_job *job)
{
        if (job->error) {
                fprintf(stderr, "baton run: cannot execute %s: %s\n", a->args.program, strerror((int)job->error));
                end(a, CANNOT_EXECUTE);
        }
        end(a, job->code == CLD_EXITED ? job->status : KILLED + job->status);
}

_Noreturn void plain_run(struct agent *a)
{
        CLEANUP(close_fd) int pidfd = -1;
        struct wire_job job = { 0 };
        struct mono kill_at = MONO_NEVER;
        int r = launch_it(a, &job, &pidfd);

        if (r < 0) {
                fprintf(stderr, "baton run: cannot start %s: %s\n", a->args.program, strerror(-r));
                end(a, 1);
        }
        (void)keeper_link_working(a->link, a->options->stop_timeout_ms);
        if (a->keeper.stop_count > 0) { /* before this agent was there to be told */
                kill_at = mono_after_ms(clock_now(), a->options->stop_timeout_ms);
                (void)syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0);
        }
        while (job.code == 0) {
                struct pollfd p = { .fd = keeper_link_fd(a->link), .events = POLLIN };
                struct keeper_event e;

                (void)keeper_link_rearm(WIRE_HEARTBEAT_FD);
                if (!keeper_link_pending(a->link))
                        (void)poll(&p, 1, mono_is_never(kill_at) ? WIRE_REARM_MS : 100);
                while ((r = keeper_link_dispatch(a->link, &e)) == 0) {
                        if (e.type == WIRE_EXITED && e.job.job == JOB)
                                job = e.job;
                        if (e.type != WIRE_SIGNAL || e.signal.signo == SIGUSR1 || e.signal.signo == SIGHUP)
                                continue;
                        kill_at = mono_is_never(kill_at) ? mono_after_ms(clock_now(), a->options->stop_timeout_ms) : clock_now();
                        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0);
                }
                if (r < 0)
                        exit(1); /* the keeper is gone, and the proxy with it: it asked for that */
                if (!mono_before(clock_now(), kill_at))
                        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        }
        ended(a, &job);
}
