/* SPDX-License-Identifier: MIT */
/*
 * The protocol with one generation, as its parent and as its child: reads requests and names them as events, sends what
 * the succession decided. Decides nothing and remembers nothing that the succession does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "agent/accepted.h"
#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/io_again.h"
#include "agent/log.h"
#include "agent/readiness.h"

enum { REQUESTS_A_ROUND = 64, QUEUE_SAMPLES_MAX = KEYS_MAX, UDP_WAIT_MS = 2, UDP_WAITS_MAX = 250, REPLY_AGAIN_MS = 5 };

/* How long the accept queues are when the proxy says DrainListeners: the gate wants to see them move afterwards. */
static size_t sample_queues(struct agent *a, uint64_t epoch, struct look_key *ret)
{
        size_t n = 0;

        for (uint32_t i = 0; i < a->s.escrow.n; i++) {
                const struct escrow_claim *c = escrow_claim(&a->s.escrow, i, epoch);

                if (c->epoch != epoch || !c->passed || a->sockets[i] < 0)
                        continue;
                ret[n] = (struct look_key){ .key = i };
                if (hr_listener_queue(a->sockets[i], &ret[n].waiting) < 0)
                        ret[n].waiting = UINT32_MAX; /* not known: any later figure counts as shorter */
                n++;
        }
        return n;
}

static void request_arrived(struct proc *p, const struct hr_message *m)
{
        static struct look_key queues[QUEUE_SAMPLES_MAX];
        struct look look = { .keys = queues };
        struct succession_input in = { .event = ON_REQUEST, .epoch = p->epoch, .request = m->type, .key = &m->key };

        if (m->type == HR_DRAIN_LISTENERS) {
                look.n = sample_queues(p->agent, p->epoch, queues);
                in.look = &look;
        }
        log_event(LOG_DEBUG, "protocol.request", F_UINT("epoch", p->epoch), F_STR("request", hr_type_name(m->type)),
                  F_STR("url", m->type == HR_PASS_LISTEN_SOCKET ? m->key.url : ""), F_UINT("worker", m->key.worker));
        agent_feed(p->agent, &in);
}

/* Envoy asks by the socket that it wants to be answered at. Answering anybody else would shift what it reads next. */
static bool from_the_proxy(const struct proc *p, const struct sockaddr_un *peer)
{
        return memcmp(peer->sun_path, p->replies_to.sun_path, sizeof(peer->sun_path)) == 0;
}

static void on_request_readable(struct ev_loop *loop, ev_io *w, int revents)
{
        struct proc *p = w->data;
        uint64_t epoch = p->epoch;
        struct hr_message m;
        struct sockaddr_un peer;

        io_again(loop, w, revents);
        for (int i = 0; i < REQUESTS_A_ROUND && p->used && p->epoch == epoch; i++) {
                int r = hr_peek(p->parent_fd, &m, &peer);

                if (r == 0 && !from_the_proxy(p, &peer))
                        r = hr_take(p->parent_fd) < 0 ? HR_NOTHING : HR_GARBAGE;
                if (r == HR_GARBAGE) {
                        log_event(LOG_WARNING, "protocol.garbage", F_UINT("epoch", p->epoch));
                        continue;
                }
                if (r != 0)
                        return;
                request_arrived(p, &m);
        }
}

static void on_reply_readable(struct ev_loop *loop, ev_io *w, int revents)
{
        io_again(loop, w, revents);
        look_read(w->data);
}

/*
 * A draining Envoy passes packets of new UDP sessions on to its successor, and blocks its main thread when nobody reads them:
 * they are read even where there is none to give them to. A queue of such sockets holds ten: a busy one is waited for, but not
 * so long that it stops who drains.
 */
static void on_forwarded(struct ev_loop *loop, ev_io *w, int revents)
{
        struct proc *p = w->data;
        const struct proc *to = agent_proc(p->agent, succession_packets_to(&p->agent->s, p->epoch));
        int r = 0;

        io_again(loop, w, revents);
        for (int i = 0; i < REQUESTS_A_ROUND && r != HR_NOTHING && r >= 0; i++) {
                r = to && to->parent_fd >= 0 ? hr_relay(w->fd, &to->packets_to) : hr_take(w->fd);
                if (r == HR_WOULD_BLOCK && p->udp_waits < UDP_WAITS_MAX) {
                        p->udp_waits++;
                        ev_io_stop(loop, w);
                        ev_timer_set(&p->udp_room, UDP_WAIT_MS / 1e3, 0.);
                        ev_timer_start(loop, &p->udp_room);
                        return;
                }
                if (r == HR_WOULD_BLOCK)
                        r = hr_take(w->fd);
                else if (r == 0)
                        p->udp_waits = 0;
        }
}

static void on_room(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct proc *p = w->data;

        (void)revents;
        ev_io_start(loop, &p->udp_io);
}

static enum hr_type reply_type(enum owed_kind kind)
{
        switch (kind) {
        case OWED_SHUTDOWN_ADMIN:
                return HR_REPLY_SHUTDOWN_ADMIN;
        case OWED_PASS:
                return HR_REPLY_PASS;
        case OWED_STATS:
                return HR_REPLY_STATS;
        case OWED_NOTHING: /* never sent */
        case OWED_UNRECOGNIZED:
                break;
        }
        return HR_REPLY_UNRECOGNIZED;
}

/* Return: as hr_send(). What could not be sent is sent later, as long as the process lives: nobody would ask for it again. */
static int reply(struct proc *p, enum owed_kind kind, uint32_t key)
{
        struct hr_message m = { .type = reply_type(kind), .fd = -1 };
        const struct agent *a = p->agent;
        int pass = -1;
        int r;

        if (kind == OWED_SHUTDOWN_ADMIN) {
                m.start_time_unix_s = (uint64_t)a->unix_start_s;
                m.enable_reuse_port_default = true; /* or it would ask for worker 0 alone */
        }
        if (kind == OWED_PASS && key != NO_KEY && a->sockets[key] >= 0)
                m.fd = pass = a->sockets[key];
        ev_timer_stop(a->loop, &p->reply_again);
        r = hr_send(p->parent_fd, &p->replies_to, &m, pass);
        if (r != 0) {
                p->reply = kind;
                p->reply_key = key;
                ev_timer_set(&p->reply_again, REPLY_AGAIN_MS / 1e3, 0.);
                ev_timer_start(a->loop, &p->reply_again);
        }
        return r;
}

static void on_reply_again(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct proc *p = w->data;

        (void)loop;
        (void)revents;
        reply(p, p->reply, p->reply_key);
}

void proc_open(struct agent *a, uint64_t epoch, uint64_t base_id, int parent_fd, int child_fd, int udp_fd)
{
        struct proc *p = agent_proc(a, epoch);
        char path[HR_PATH_MAX + 1];
        struct sockaddr_un envoy;

        for (size_t i = 0; !p && i < GENERATIONS_MAX; i++)
                if (!a->procs[i].used)
                        p = &a->procs[i];
        if (!p)
                return; /* cannot be: there are as many slots as generations */
        if (p->used)
                proc_close(p);
        *p = (struct proc){ .agent = a, .used = true, .epoch = epoch, .base_id = base_id, .pidfd = -1, .binary_fd = -1,
                            .notify_fd = -1, .parent_fd = parent_fd, .child_fd = child_fd, .udp_fd = udp_fd };
        if (parent_fd < 0)
                return;
        if (kit_socket_path(a->run_dir, epoch, path, sizeof(path)) < 0 ||
            hr_name(path, base_id, hr_index(epoch + 1), HR_ROLE_PARENT, &envoy) < 0 ||
            hr_name(path, base_id, hr_index(epoch + 1), HR_ROLE_CHILD, &p->replies_to) < 0 ||
            hr_name(path, base_id, hr_index(epoch + 1), HR_ROLE_UDP_CHILD, &p->packets_to) < 0)
                return; /* cannot be: the kit was made with the same names */
        hr_child_init(&p->child, child_fd, &envoy);
        ev_io_init(&p->parent_io, on_request_readable, parent_fd, EV_READ);
        ev_io_init(&p->child_io, on_reply_readable, child_fd, EV_READ);
        ev_io_init(&p->udp_io, on_forwarded, udp_fd, EV_READ);
        p->parent_io.data = p;
        p->child_io.data = p;
        p->udp_io.data = p;
        ev_init(&p->udp_room, on_room);
        p->udp_room.data = p;
        ev_init(&p->reply_again, on_reply_again);
        p->reply_again.data = p;
}

void proc_listen(struct proc *p)
{
        notify_listen(p);
        if (p->parent_fd < 0)
                return;
        ev_io_start(p->agent->loop, &p->parent_io);
        ev_io_start(p->agent->loop, &p->child_io);
        if (p->udp_fd >= 0)
                ev_io_start(p->agent->loop, &p->udp_io);
}

void proc_close(struct proc *p)
{
        struct admin_request **requests[] = { &p->sampling, &p->watching, &p->ordering, &p->asking };

        look_abort(p);
        p->probe = probe_free(p->probe);
        if (p->notify_fd >= 0)
                ev_io_stop(p->agent->loop, &p->notify_io);
        for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
                if (*requests[i])
                        admin_cancel(TAKE(*requests[i]));
        if (p->parent_fd >= 0) {
                ev_io_stop(p->agent->loop, &p->parent_io);
                ev_io_stop(p->agent->loop, &p->child_io);
                ev_io_stop(p->agent->loop, &p->udp_io);
                ev_timer_stop(p->agent->loop, &p->udp_room);
                ev_timer_stop(p->agent->loop, &p->reply_again);
                hr_child_done(&p->child);
        }
        close_fd(&p->parent_fd);
        close_fd(&p->child_fd);
        close_fd(&p->udp_fd);
        close_fd(&p->notify_fd);
        close_fd(&p->binary_fd);
        close_fd(&p->pidfd);
        free(p->listeners);
        *p = (struct proc){ .pidfd = -1, .notify_fd = -1, .parent_fd = -1, .child_fd = -1, .udp_fd = -1, .binary_fd = -1 };
}

void proc_take(struct proc *p)
{
        if (p->parent_fd >= 0)
                (void)hr_take(p->parent_fd);
}

void proc_reply(struct proc *p, enum owed_kind kind, uint32_t key)
{
        int r = p->parent_fd < 0 || kind == OWED_NOTHING ? 0 : reply(p, kind, key);

        if (r != 0)
                log_event(LOG_WARNING, "protocol.reply-failed", F_UINT("epoch", p->epoch), F_STR("reply", hr_type_name(reply_type(kind))),
                          F_STR("error", r == HR_NO_PEER       ? "the proxy is gone"
                                         : r == HR_WOULD_BLOCK ? "the proxy does not read its replies, or there is no memory for one"
                                                               : strerror(-r)));
}

void proc_drain_listeners(struct proc *p)
{
        struct hr_message m = { .type = HR_DRAIN_LISTENERS, .fd = -1 };
        int r;

        if (p->parent_fd < 0)
                return;
        look_abort(p);
        /* Needs no answer, so it may go past a sync that is under way. */
        r = hr_send(p->child_fd, &p->child.envoy, &m, -1);
        p->drain_owed = r == HR_WOULD_BLOCK;
        if (r != 0 && r != HR_WOULD_BLOCK)
                log_event(LOG_WARNING, "protocol.drain-failed", F_UINT("epoch", p->epoch),
                          F_STR("error", r == HR_NO_PEER ? "the proxy is gone" : strerror(-r)));
}

/* Nothing that it asked lies before us. To be looked at last: who blocks for an answer has sent its request before. */
static bool nothing_asked(const struct proc *p)
{
        struct hr_message m;
        struct sockaddr_un peer;

        return hr_peek(p->parent_fd, &m, &peer) == HR_NOTHING;
}

/* It is dead or about to be: the kernel may take a while to take its memory apart, and tells nothing else of it meanwhile. */
static bool is_ending(int pid)
{
        enum { PF_EXITING = 0x4 };
        struct proc_stat st;

        return !proc_stat_read(pid, &st) || st.state == 'Z' || st.state == 'X' || (st.flags & PF_EXITING);
}

/* To look into a process of another user is a right of its own (CAP_SYS_PTRACE); that user has it. */
static ssize_t read_as_the_proxy(const struct proc *p, const char *path, char *buf, size_t n)
{
        AS_THE_PROXY(&p->agent->options->user);
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

        return fd < 0 ? -1 : read(fd, buf, n);
}

/*
 * Does the proxy's main thread wait for an answer? It blocks in recvmsg() for nothing else. The kernel says "running" for
 * a thread that has been woken and has not run yet, so an answer that was sent just now is not taken for a missing one.
 */
bool proc_waits_for_reply(const struct proc *p)
{
        char path[64], text[128];

        if (p->parent_fd < 0 || p->pid <= 0 || is_ending(p->pid) || !nothing_asked(p))
                return false;
        (void)snprintf(path, sizeof(path), "/proc/%d/syscall", p->pid);
        for (int tries = 0; tries < 50; tries++) {
                ssize_t n = read_as_the_proxy(p, path, text, sizeof(text) - 1);

                if (n <= 0)
                        return !is_ending(p->pid) && nothing_asked(p); /* not allowed to look: rather an answer too many than a hang */
                text[n] = '\0';
                if (strncmp(text, "running", 7) != 0)
                        return strtol(text, NULL, 10) == SYS_recvmsg && nothing_asked(p);
                (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
        return false;
}

/* For a second without a break. Only asked when nobody knows of an answer that is owed. */
bool proc_hangs(const struct proc *p)
{
        for (int i = 0; i < 20; i++) {
                if (!proc_waits_for_reply(p))
                        return false;
                (void)nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
        }
        return true;
}
