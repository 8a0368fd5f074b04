/* SPDX-License-Identifier: MIT */
/* See validate.h. */
#include "agent/validate.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/log.h"
#include "agent/proxy_words.h"

enum { VALIDATE_MS = 10000, OUTPUT_BYTES = 64 * 1024 };

static void names_of(uint64_t job, char kit[48], char out[48])
{
        (void)snprintf(kit, 48, "kit/%" PRIu64, job);
        (void)snprintf(out, 48, "out/%" PRIu64, job);
}

static void drop_names(struct agent *a)
{
        char kit[48], out[48];
        const char *names[] = { kit, out };

        names_of(a->validate_job, kit, out);
        (void)keeper_link_drop(a->link, names, 2);
}

static void drop(struct agent *a)
{
        drop_names(a);
        close_fd(&a->validate_out);
        close_fd(&a->validate_pidfd);
        ev_timer_stop(a->loop, &a->validate_timer);
        a->validate_running = false;
}

static void finish(struct agent *a, bool rejected)
{
        uint64_t epoch = a->validate_epoch;

        drop(a);
        agent_feed(a, &(struct succession_input){ .event = ON_VALIDATED, .epoch = epoch, .value = rejected });
}

static void kill_run(struct agent *a)
{
        if (a->validate_pidfd >= 0)
                (void)syscall(SYS_pidfd_send_signal, a->validate_pidfd, SIGKILL, NULL, 0);
}

static void on_timeout(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct agent *a = w->data;

        (void)loop;
        (void)revents;
        kill_run(a);
        log_event(LOG_WARNING, "validate.timeout", F_UINT("epoch", a->validate_epoch));
        finish(a, false);
}

void validate_start(struct agent *a, uint64_t epoch)
{
        CLEANUP(close_fd) int record = -1;
        struct wire_job job;
        char kit[48], out[48];
        const char *names[] = { kit, out };
        int fds[2], r;

        if (a->validate_running && a->validate_epoch == epoch)
                return;
        if (a->validate_running) { /* what it says about other content must not be taken for the answer */
                kill_run(a);
                drop(a);
        }
        a->validate_job = WIRE_JOB_HELPER + (uint64_t)getpid() * 65536 + ++a->jobs; /* not one of a dead agent's */
        a->validate_epoch = epoch;
        names_of(a->validate_job, kit, out);
        a->validate_out = memfd_create("validate", MFD_CLOEXEC);
        r = a->validate_out < 0 ? -errno : kit_validate_record(&a->kits, epoch, out, &record);
        if (r == 0) {
                fds[0] = record;
                fds[1] = a->validate_out;
                r = keeper_link_hold(a->link, names, fds, 2);
        }
        if (r == 0)
                r = keeper_link_launch(a->link, a->validate_job, kit, &job, &a->validate_pidfd);
        if (r < 0) {
                log_event(LOG_WARNING, "validate.failed", F_UINT("epoch", epoch), F_STR("error", strerror(-r)));
                drop_names(a); /* its number never comes again: nobody else would */
                close_fd(&a->validate_out);
                agent_queue(a, (struct succession_input){ .event = ON_VALIDATED, .epoch = epoch });
                return;
        }
        a->validate_running = true;
        ev_init(&a->validate_timer, on_timeout);
        a->validate_timer.data = a;
        ev_timer_set(&a->validate_timer, VALIDATE_MS / 1e3, 0.);
        ev_timer_start(a->loop, &a->validate_timer);
}

void validate_ended(struct agent *a, const struct wire_job *job)
{
        static char text[OUTPUT_BYTES];
        int status = job->code == CLD_EXITED ? job->status : -1;
        bool rejected;
        ssize_t n;

        (void)keeper_link_ack_exit(a->link, job->job);
        if (!a->validate_running || job->job != a->validate_job)
                return;
        n = pread(a->validate_out, text, sizeof(text), 0);
        rejected = proxy_words(text, n > 0 ? (size_t)n : 0, status, a->rejected, sizeof(a->rejected));
        if (job->error) {
                (void)snprintf(a->rejected, sizeof(a->rejected), "cannot execute %s: %s", a->args.program, strerror((int)job->error));
                rejected = true;
        }
        finish(a, rejected);
}
