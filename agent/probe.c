/* SPDX-License-Identifier: MIT */
/*
 * See readiness.h. One connection at a time, looked at again after a pause that grows: first until somebody has accepted it, then
 * by whom. One that another generation has accepted is closed, and the next may be luckier. What comes of it is one event.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/accepted.h"
#include "agent/cleanup.h"
#include "agent/listen_spec.h"
#include "agent/log.h"
#include "agent/readiness.h"

enum { LOOK_FIRST_MS = 2, LOOK_SLOWEST_MS = 100, AGAIN_FIRST_MS = 10, AGAIN_SLOWEST_MS = 200, ANSWER_MS = 5000, ANSWER_BYTES_MAX = 1024 * 1024 };

struct probe {
        struct proc *proc;
        struct probe_spec spec;
        uint32_t key;      /* PROBE_TCP: whose turn it is */
        int fd;            /* -1: none */
        int64_t pause_ms;  /* until the next look at the connection */
        int64_t again_ms;  /* until the next connection, if that one comes to nothing */
        ev_timer timer;
        struct admin_request *request;
};

static void wait_ms(struct probe *p, int64_t ms)
{
        ev_timer_stop(p->proc->agent->loop, &p->timer);
        ev_timer_set(&p->timer, (double)ms / 1e3, 0.);
        ev_timer_start(p->proc->agent->loop, &p->timer);
}

static void again(struct probe *p)
{
        close_fd(&p->fd);
        wait_ms(p, p->again_ms);
        p->again_ms = p->again_ms * 2 > AGAIN_SLOWEST_MS ? AGAIN_SLOWEST_MS : p->again_ms * 2;
}

static void look_later(struct probe *p)
{
        wait_ms(p, p->pause_ms);
        p->pause_ms = p->pause_ms * 2 > LOOK_SLOWEST_MS ? LOOK_SLOWEST_MS : p->pause_ms * 2;
}

/* Frees the probe. */
static void ready(struct probe *p)
{
        struct proc *proc = p->proc;

        probe_free(TAKE(proc->probe));
        agent_feed(proc->agent, &(struct succession_input){ .event = ON_READINESS, .epoch = proc->epoch, .value = 1 });
}

/* ---- where to ---------------------------------------------------------------------------------------- */

/* A socket that is bound to all addresses is reached by the loopback. */
static void to_loopback(struct sockaddr_storage *addr)
{
        struct sockaddr_in *in = (struct sockaddr_in *)addr;
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)addr;

        if (addr->ss_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_ANY))
                in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (addr->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
                in6->sin6_addr = in6addr_loopback;
}

/* Return: false: every socket has had its turn */
static bool next_socket(struct probe *p, struct sockaddr_storage *ret, socklen_t *ret_len)
{
        const struct agent *a = p->proc->agent;

        for (; p->key < a->s.escrow.n; p->key++) {
                *ret_len = sizeof(*ret);
                if (a->sockets[p->key] < 0 || hr_listener_accepts(a->sockets[p->key]) != 1 ||
                    getsockname(a->sockets[p->key], (struct sockaddr *)ret, ret_len) < 0)
                        continue;
                to_loopback(ret);
                return true;
        }
        return false;
}

static void begin(struct probe *p)
{
        struct sockaddr_storage addr;
        socklen_t len = 0;
        int type;

        if (p->spec.kind == PROBE_HTTP) {
                (void)hr_key_address(&p->spec.key, &addr, &len, &type);
        } else if (!next_socket(p, &addr, &len)) {
                ready(p);
                return;
        }
        p->pause_ms = LOOK_FIRST_MS;
        p->fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (p->fd < 0 || (connect(p->fd, (const struct sockaddr *)&addr, len) < 0 && errno != EINPROGRESS))
                again(p); /* nobody listens yet, or the queue is full */
        else
                look_later(p);
}

/* ---- who has it -------------------------------------------------------------------------------------- */

static void on_answer(void *userdata, int status, const char *body, size_t n)
{
        struct probe *p = userdata;

        (void)body;
        (void)n;
        p->request = NULL;
        log_event(LOG_DEBUG, "probe.answered", F_UINT("epoch", p->proc->epoch), F_INT("status", status));
        if (status >= 200 && status < 400)
                ready(p);
        else
                again(p);
}

static void accepted(struct probe *p)
{
        if (p->spec.kind == PROBE_TCP) {
                close_fd(&p->fd);
                p->key++;
                begin(p);
                return;
        }
        if (admin_request_over(p->proc->agent->admin, TAKE_FD(p->fd), p->spec.key.url + strlen("tcp://"), p->spec.path, ANSWER_MS,
                               ANSWER_BYTES_MAX, on_answer, p, &p->request) < 0)
                again(p);
}

static bool alone(const struct agent *a)
{
        size_t n = 0;

        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                n += epoch_alive(&a->s.epochs[i]);
        return n <= 1;
}

/* Who has the other end cannot be told: it is not on this machine, or was closed at once. Bytes or an end come from somebody. */
static void look_from_here(struct probe *p)
{
        char byte;
        ssize_t n = recv(p->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN)
                again(p);
        else if (!alone(p->proc->agent)) /* and it may have been the one that serves */
                again(p);
        else if (n >= 0 || p->spec.kind == PROBE_HTTP)
                accepted(p);
        else
                look_later(p);
}

static void look(struct probe *p)
{
        struct sockaddr_storage peer;
        socklen_t len = sizeof(int), peer_len = sizeof(peer);
        uint64_t inode = 0;
        int error = 0;

        if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
                again(p);
                return;
        }
        if (getpeername(p->fd, (struct sockaddr *)&peer, &peer_len) < 0) {
                look_later(p);
                return;
        }
        switch (accepted_inode(p->fd, &inode)) {
        case 0:
                if (accepted_by(&p->proc->agent->options->user, p->proc->pid, inode))
                        accepted(p);
                else
                        again(p);
                return;
        case ACCEPTED_NOT:
                look_later(p);
                return;
        default:
                look_from_here(p);
        }
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct probe *p = w->data;
        const struct epoch *e = succession_look_up(&p->proc->agent->s, p->proc->epoch);

        (void)loop;
        (void)revents;
        if (!e || e->state != EPOCH_STARTING) { /* its number may be somebody else's by now */
                probe_free(TAKE(p->proc->probe));
                return;
        }
        if (p->fd < 0)
                begin(p);
        else
                look(p);
}

/* ---- begin and end ----------------------------------------------------------------------------------- */

/* From within an effect: whatever there is to say is said from the loop. */
void probe_start(struct proc *proc)
{
        struct probe *p = proc->probe ? NULL : calloc(1, sizeof(*p));

        if (!p)
                return; /* it is under way; or there is no memory, and --ready-timeout says that it does not become ready */
        *p = (struct probe){ .proc = proc, .fd = -1, .again_ms = AGAIN_FIRST_MS };
        (void)probe_spec_read(options_str(proc->agent->options, proc->agent->options->probe), &p->spec); /* options.c has read it */
        ev_init(&p->timer, on_timer);
        p->timer.data = p;
        proc->probe = p;
        wait_ms(p, 0);
}

struct probe *probe_free(struct probe *p)
{
        if (!p)
                return NULL;
        ev_timer_stop(p->proc->agent->loop, &p->timer);
        admin_cancel(p->request);
        close_fd(&p->fd);
        free(p);
        return NULL;
}
