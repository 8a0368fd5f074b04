/* SPDX-License-Identifier: MIT */
/*
 * The one road: an event comes in, succession_step() decides, the state is stored, the effects are performed (perform.c). Nothing
 * here decides. Setting up is start.c's.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/commands.h"
#include "agent/image.h"
#include "agent/io_again.h"
#include "agent/log.h"
#include "agent/reports.h"

struct proc *agent_proc(struct agent *a, uint64_t epoch)
{
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (a->procs[i].used && a->procs[i].epoch == epoch)
                        return &a->procs[i];
        return NULL;
}

void agent_queue(struct agent *a, struct succession_input in)
{
        /* Cannot be: one or two for each effect that can bring one. */
        if (a->queued == sizeof(a->queue) / sizeof(a->queue[0])) {
                log_event(LOG_ERR, "agent.failed", F_STR("error", "too many events at once"),
                          F_STR("then", "another agent resumes"));
                abort();
        }
        a->queue[a->queued++] = in;
}

const struct proxy_args *agent_args(const struct agent *a, uint64_t epoch)
{
        const struct epoch *e = succession_look_up(&a->s, epoch);

        return e ? commands_args(a, e->command) : &a->args;
}

struct kit_maker agent_maker(const struct agent *a, uint64_t epoch)
{
        const struct epoch *e = succession_look_up(&a->s, epoch);
        struct kit_maker m = a->kits;

        if (e)
                m.command = e->command;
        m.args = agent_args(a, epoch);
        m.rules = a->certs.rules;
        m.n_rules = a->certs.n_rules;
        if (m.args->drain_time_s >= 0 && !a->options->drain_time_given)
                m.drain_time_s = m.args->drain_time_s;
        return m;
}

void agent_bootstrap(const struct agent *a, uint64_t epoch, struct bootstrap *ret)
{
        const struct kit_maker m = agent_maker(a, epoch);
        CLEANUP(free_ptr) char *text = NULL;
        size_t n = 0;

        (void)kit_read_snapshot(&m, epoch, &text, &n); /* without one there is --config-yaml */
        bootstrap_read(text, n, m.args->config_yaml, m.args->config_path, ret);
}

/* ---- the road --------------------------------------------------------------------------------------- */

/* Effects may only be performed when the state that names them is stored: the next agent repeats them from there. */
static void store(struct agent *a)
{
        static uint8_t image[IMAGE_BYTES_MAX];
        size_t n = image_write(&a->s, image, sizeof(image));
        int r = n == 0 ? -ENOBUFS : state_store(a->state, image, n);

        if (r < 0)
                log_event(LOG_ERR, "state.not-stored", F_STR("error", strerror(-r)),
                          F_STR("then", "a restart of the agent would go on from an older state"));
}

static void one_step(struct agent *a, const struct succession_input *in)
{
        static struct effects fx;
        struct effects *out = &fx;

        out->n = 0;
        succession_step(&a->s, &a->limits, in, clock_now(), out);
        agent_perform(a, out);
        commands_sweep(a);
}

void agent_perform(struct agent *a, struct effects *out)
{
        store(a);
        for (size_t i = 0; i < out->n; i++)
                perform(a, &out->list[i]);
}

void agent_feed(struct agent *a, const struct succession_input *in)
{
        if (a->feeding) { /* an effect that answers on the spot: no pointers in it, it can wait */
                agent_queue(a, *in);
                return;
        }
        a->feeding = true;
        if (in)
                one_step(a, in);
        for (size_t i = 0; i < a->queued; i++) {
                struct succession_input next = a->queue[i];

                one_step(a, &next);
        }
        a->queued = 0;
        a->feeding = false;
        agent_arm(a);
        watching_update(a);
        front_changed(a->front);
        if (a->control)
                control_changed(a->control);
}

void agent_arm(struct agent *a)
{
        struct mono next = succession_next(&a->s);
        struct mono now = clock_now();

        ev_timer_stop(a->loop, &a->clock);
        if (mono_is_never(next))
                return;
        ev_now_update(a->loop);
        ev_timer_set(&a->clock, mono_before(now, next) ? (double)(next.ns - now.ns) / 1e9 : 0., 0.);
        ev_timer_start(a->loop, &a->clock);
}

static void on_clock(struct ev_loop *loop, ev_timer *w, int revents)
{
        (void)loop;
        (void)revents;
        agent_feed(w->data, &(struct succession_input){ .event = ON_CLOCK });
}

/* ---- the keeper speaks ------------------------------------------------------------------------------ */

/* A process that dies closes its descriptors first and is our parent for a moment longer. */
static bool keeper_lives(const struct agent *a)
{
        enum { TIMES = 20, PAUSE_NS = 5 * 1000000 };

        for (int i = 0; i < TIMES && getppid() == a->keeper.keeper_pid; i++)
                (void)nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
        return getppid() == a->keeper.keeper_pid;
}

/*
 * Nobody reaps and nobody holds sockets any more: a proxy that lives on would be nobody's. But a keeper that has only closed
 * its end of the wire wants another agent, and the proxies are none of our business then.
 */
_Noreturn void agent_keeper_is_gone(struct agent *a, int error)
{
        if (keeper_lives(a)) {
                log_event(LOG_ERR, "keeper.unreachable", F_STR("error", strerror(-error)),
                          F_STR("then", "the agent ends, another one begins"));
                log_flush();
                exit(1);
        }
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (a->procs[i].used && a->procs[i].pidfd >= 0)
                        (void)syscall(SYS_pidfd_send_signal, a->procs[i].pidfd, SIGKILL, NULL, 0);
        log_event(LOG_ERR, "keeper.gone", F_STR("then", "every proxy was killed; start baton again"));
        log_flush();
        exit(1);
}

void agent_exited(struct agent *a, const struct wire_job *job)
{
        if (job->job >= WIRE_JOB_HELPER) {
                (void)keeper_link_ack_exit(a->link, job->job);
                if (!helper_ended(&a->validate, job))
                        (void)helper_ended(&a->preflight.run, job);
                return;
        }
        if (!succession_find(&a->s, job->job)) {
                (void)keeper_link_ack_exit(a->link, job->job);
                return;
        }
        report_exit(a, job);
        agent_feed(a, &(struct succession_input){ .event = ON_EXIT, .epoch = job->job, .exit_code = job->code,
                                                  .exit_status = job->status, .exited = { job->exited_ns },
                                                  .text = job->error ? a->kit_error : NULL });
}

static void on_user_signal(struct agent *a, const struct wire_signal *s)
{
        if (s->signo == SIGUSR1) {
                agent_feed(a, &(struct succession_input){ .event = ON_REOPEN_LOGS });
                return;
        }
        /* At a terminal it means that this is gone, and the keeper counts it as a stop. */
        if (s->signo == SIGHUP && !(a->keeper.flags & WIRE_TERMINAL)) {
                orders_upgrade(a);
                return;
        }
        agent_feed(a, &(struct succession_input){ .event = ON_STOP, .value = s->stop_count });
}

static void on_keeper(struct ev_loop *loop, ev_io *w, int revents)
{
        struct agent *a = w->data;
        struct keeper_event e;
        int r;

        io_again(loop, w, revents);
        while ((r = keeper_link_dispatch(a->link, &e)) == 0) {
                if (e.type == WIRE_EXITED)
                        agent_exited(a, &e.job);
                else if (e.type == WIRE_SIGNAL)
                        on_user_signal(a, &e.signal);
                else if (e.type == WIRE_SELF_ENDED)
                        self_told(a, e.ticket, e.text);
        }
        if (r < 0)
                agent_keeper_is_gone(a, r);
}

/* A request to the keeper may have brought news along: the descriptor will not say so again. */
static void on_prepare(struct ev_loop *loop, ev_prepare *w, int revents)
{
        struct agent *a = w->data;

        (void)revents;
        if (keeper_link_pending(a->link))
                ev_feed_event(loop, &a->keeper_io, EV_READ);
}

static void on_heartbeat(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct agent *a = w->data;

        (void)loop;
        (void)revents;
        (void)keeper_link_rearm(WIRE_HEARTBEAT_FD);
        if (a->doors.failed)
                start_control(a);
        if (a->control)
                control_beat(a->control);
}

void agent_watch(struct agent *a)
{
        ev_init(&a->clock, on_clock);
        a->clock.data = a;
        ev_io_init(&a->keeper_io, on_keeper, keeper_link_fd(a->link), EV_READ);
        a->keeper_io.data = a;
        ev_io_start(a->loop, &a->keeper_io);
        ev_prepare_init(&a->keeper_news, on_prepare);
        a->keeper_news.data = a;
        ev_prepare_start(a->loop, &a->keeper_news);
        ev_timer_init(&a->heartbeat, on_heartbeat, 0., WIRE_REARM_MS / 1e3);
        a->heartbeat.data = a;
        ev_timer_start(a->loop, &a->heartbeat);
        (void)keeper_link_rearm(WIRE_HEARTBEAT_FD);
}
