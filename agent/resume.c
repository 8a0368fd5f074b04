/* SPDX-License-Identifier: MIT */
/*
 * See resume.h. It gathers facts: what the keeper holds and has launched, what the stored state says, who waits for an answer.
 * What follows from them is decided in succession_resume.c.
 */
#include "agent/accepted.h"
#include "agent/resume.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/commands.h"
#include "agent/image.h"
#include "agent/listen_fds.h"
#include "agent/log.h"
#include "agent/reports.h"

/* Stored as closed, and the agent that stored it died before it closed it. */
static bool was_closed(const struct agent *a, const struct hr_key *key)
{
        uint32_t k = escrow_find(&a->s.escrow, key);

        return k == NO_KEY || escrow_socket(&a->s.escrow.keys[k]) == 0;
}

/* Those of LISTEN_FDS: the keeper never gives them up. */
static void take_inherited(struct agent *a, struct inventory *inv)
{
        for (size_t i = 0; i < inv->n_inherited; i++) {
                struct hr_key key;
                uint64_t inode;
                uint32_t k = NO_KEY;

                listen_fds_key(inv->inherited[i].fd, (uint32_t)strtoul(strchr(inv->inherited[i].name, '/') + 1, NULL, 10), &key);
                if (a->options->handover == HANDOVER_LISTEN_FDS && hr_listener_inode(inv->inherited[i].fd, &inode) == 0)
                        k = escrow_held_for_good(&a->s.escrow, &key, inode);
                if (k != NO_KEY)
                        a->sockets[k] = TAKE_FD(inv->inherited[i].fd);
                close_fd(&inv->inherited[i].fd);
        }
}

void resume_sockets(struct agent *a, struct inventory *inv, bool loaded)
{
        take_inherited(a, inv);
        for (size_t i = 0; i < inv->n_listen; i++) {
                struct hr_key key;
                uint64_t inode;
                uint32_t k = NO_KEY;

                if (key_of_name(inv->listens[i].name, &key) && !(loaded && was_closed(a, &key)) &&
                    hr_listener_inode(inv->listens[i].fd, &inode) == 0)
                        k = escrow_held_by_keeper(&a->s.escrow, &key, inode);
                if (k == NO_KEY) { /* nobody accepts from what nobody knows */
                        const char *name = inv->listens[i].name;

                        (void)keeper_link_drop(a->link, &name, 1);
                        close_fd(&inv->listens[i].fd);
                        continue;
                }
                close_fd(&a->sockets[k]);
                a->sockets[k] = inv->listens[i].fd;
        }
        for (uint32_t i = 0; i < a->s.escrow.n; i++)
                if (a->sockets[i] < 0)
                        escrow_not_held(&a->s.escrow, i);
}

static bool is_listener(const void *arg, uint64_t inode)
{
        const struct escrow *e = arg;

        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode == inode && !hr_key_is_udp(&e->keys[i].key))
                        return true;
        return false;
}

/* A process that has been told to drain has closed them, but for those of UDP. Return: true also if it cannot be looked into */
static bool holds_a_listener(const struct agent *a, int pid)
{
        return process_has(&a->options->user, pid, is_listener, &a->s.escrow) != 0;
}

/* Without a usable state: what runs is taken as it is. Envoy's own flag tells a starting one from one that accepts. */
static void rebuild(struct agent *a, struct inventory *inv)
{
        struct resume_fact facts[GENERATIONS_MAX * 3];
        size_t n = 0;

        succession_init(&a->s, &a->limits);
        resume_sockets(a, inv, false);

        for (size_t i = 0; i < inv->n_jobs; i++) {
                const struct wire_job *j = &inv->jobs[i].job;
                struct resume_fact f = { .epoch = j->job, .job_known = true, .alive = j->code == 0, .pid = j->pid,
                                         .launched = { j->launched_ns } };

                if (j->job >= WIRE_JOB_HELPER)
                        continue;
                (void)kit_base_id(a->run_dir, j->job, &f.base_id);
                f.command = kit_command(a->run_dir, j->job);
                f.listens = f.alive && holds_a_listener(a, j->pid);
                f.initializing = a->limits.epoch.protocol && hr_segment_initializing(f.base_id) != 0;
                facts[n++] = f;
        }
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (inv->kits[i].epoch != NO_EPOCH)
                        facts[n++] = (struct resume_fact){ .epoch = inv->kits[i].epoch, .kit_held = true,
                                                            .command = kit_command(a->run_dir, inv->kits[i].epoch) };
        succession_rebuild(&a->s, &a->limits, facts, n, clock_now());
}

static bool is_running(const struct inventory *inv, uint64_t epoch, bool *ret_known)
{
        for (size_t i = 0; i < inv->n_jobs; i++)
                if (inv->jobs[i].job.job == epoch) {
                        *ret_known = true;
                        return inv->jobs[i].job.code == 0;
                }
        *ret_known = false;
        return false;
}

/*
 * What was done last could not be stored: then the state names those that have gone, of whose end nobody will hear any more, and not
 * those that run. Each order to launch was stored before it was given, each end before it was acknowledged.
 */
static bool contradicted(const struct agent *a, const struct inventory *inv)
{
        bool known = false;

        for (size_t i = 0; i < inv->n_jobs; i++)
                if (inv->jobs[i].job.job < WIRE_JOB_HELPER && inv->jobs[i].job.code == 0 && !succession_look_up(&a->s, inv->jobs[i].job.job))
                        return true;
        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                const struct epoch *e = &a->s.epochs[i];
                bool runs = e->state != EPOCH_NONE && is_running(inv, e->number, &known);

                if (runs && (e->state == EPOCH_KIT || e->state == EPOCH_GONE))
                        return true;
                if (epoch_alive(e) && e->state != EPOCH_STARTING && !known)
                        return true;
        }
        return false;
}

/* Return: false if the state was lost, and with it what was owed to whom. */
static bool load(struct agent *a, struct inventory *inv)
{
        static uint8_t image[IMAGE_BYTES_MAX];
        bool fresh = a->keeper.flags & WIRE_FRESH;
        size_t n = 0;
        int r = fresh ? STATE_E_EMPTY : state_load(a->state, image, sizeof(image), &n);

        if (r == 0)
                r = image_read(image, n, &a->s);
        if (r == 0 && contradicted(a, inv))
                r = -ESTALE;
        if (r == 0) {
                resume_sockets(a, inv, true);
                return true;
        }
        log_event(LOG_WARNING, "state.rebuilt", F_BOOL("fresh", fresh), F_INT("answer", r),
                  F_STR("then", "rebuilt from the keeper's list; tokens and waits start over"));
        rebuild(a, inv);
        return false;
}

/* The process of an epoch, as the keeper knows it; and whether its main thread waits for an answer of ours. */
static void adopt_process(struct proc *p, bool rebuilt, const struct wire_job *job, int pidfd, struct resume_fact *f)
{
        f->job_known = true;
        f->pid = job->pid;
        p->pid = job->pid;
        p->pidfd = pidfd;
        if (job->code != 0)
                return;
        proc_listen(p);
        f->waits_for_reply = proc_waits_for_reply(p);
        f->hangs = rebuilt && f->waits_for_reply && proc_hangs(p);
}

static void adopt_kit(struct agent *a, struct inventory *inv, size_t i, const struct epoch *e, bool rebuilt, struct resume_fact *ret)
{
        int *fds = inv->kits[i].fds;
        int pidfd = -1;
        const struct wire_job *job = inventory_job(inv, e->number, &pidfd);
        struct proc *p;

        *ret = (struct resume_fact){
                .epoch = e->number,
                .kit_held = fds[HELD_RECORD] >= 0 && (!a->kits.protocol || fds[HELD_CHILD] >= 0),
        };
        close_fd(&fds[HELD_RECORD]);
        proc_open(a, e->number, e->base_id, TAKE_FD(fds[HELD_PARENT]), TAKE_FD(fds[HELD_CHILD]), TAKE_FD(fds[HELD_UDP]));
        p = agent_proc(a, e->number);
        if (!p)
                return;
        p->binary_fd = TAKE_FD(fds[HELD_BINARY]);
        if (p->binary_fd < 0 || fstat(p->binary_fd, &p->binary) < 0)
                p->binary = (struct stat){ .st_ino = 0 };
        p->notify_fd = TAKE_FD(fds[HELD_NOTIFY]);
        if (job)
                adopt_process(p, rebuilt, job, pidfd, ret);
}

static size_t adopt_kits(struct agent *a, struct inventory *inv, bool rebuilt, struct resume_fact facts[GENERATIONS_MAX])
{
        size_t n = 0;

        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                const struct epoch *e = succession_find(&a->s, inv->kits[i].epoch);

                if (e)
                        adopt_kit(a, inv, i, e, rebuilt, &facts[n++]);
                for (int k = 0; k < HELD_KINDS; k++)
                        close_fd(&inv->kits[i].fds[k]);
        }
        return n;
}

/* Helper runs of a dead agent: nobody waits for their verdict. */
static void end_helpers(struct inventory *inv)
{
        for (size_t i = 0; i < inv->n_jobs; i++) {
                if (inv->jobs[i].job.job < WIRE_JOB_HELPER || inv->jobs[i].pidfd < 0)
                        continue;
                (void)syscall(SYS_pidfd_send_signal, inv->jobs[i].pidfd, SIGKILL, NULL, 0);
                close_fd(&inv->jobs[i].pidfd);
        }
}

static bool known_epoch(void *userdata, uint64_t epoch)
{
        struct agent *a = userdata;

        return succession_find(&a->s, epoch) != NULL;
}

void resume(struct agent *a, struct inventory *inv)
{
        static struct effects out;
        struct resume_fact facts[GENERATIONS_MAX];
        bool whole = load(a, inv);
        size_t n;

        commands_take(a, inv);
        n = adopt_kits(a, inv, !whole, facts);

        end_helpers(inv);
        inventory_drop_strangers(a, inv);
        kit_sweep(a->run_dir, known_epoch, a);
        commands_sweep(a);
        log_event(LOG_WARNING, "agent.restarted", F_UINT("starts", a->keeper.agent_starts), F_STR("state", succession_state_name(&a->s)));
        out.n = 0;
        a->feeding = true;
        succession_resume(&a->s, &a->limits, facts, n, clock_now(), &out);
        agent_perform(a, &out);
        a->feeding = false;
        agent_feed(a, NULL);
        if (succession_serving(&a->s)) /* the agent that saw it accept may have died before it could say so */
                report_ready(a);
        for (size_t i = 0; i < inv->n_jobs; i++)
                if (inv->jobs[i].job.code != 0)
                        agent_exited(a, &inv->jobs[i].job);
        if (a->keeper.stop_count > a->s.stops)
                agent_feed(a, &(struct succession_input){ .event = ON_STOP, .value = a->keeper.stop_count });
}
