/* SPDX-License-Identifier: MIT */
/* See control_server.h, and the second half of control.h. */
#include "agent/control_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/events.h"
#include "agent/io_again.h"
#include "agent/log.h"

enum { CONNECTIONS_MAX = 256, STATUS_CONNECTIONS_MAX = 1024, CONNECTIONS_PER_IP_MAX = 256, IDLE_S = 30, GONE_S = 30,
       MANY_SUSPENDED = CONNECTIONS_MAX / 2, GONE_MANY_S = 1 };

/* ---- answers ---------------------------------------------------------------------------------------- */

enum MHD_Result control_answer(struct MHD_Connection *c, unsigned status, const char *type, const char *text, size_t n)
{
        struct MHD_Response *r = MHD_create_response_from_buffer(n, (void *)text, MHD_RESPMEM_MUST_COPY);
        enum MHD_Result ok;

        if (!r)
                return MHD_NO;
        (void)MHD_add_response_header(r, "Content-Type", type);
        (void)MHD_add_response_header(r, "Cache-Control", "no-store");
        if (status == 405)
                (void)MHD_add_response_header(r, "Allow", "GET, HEAD, POST");
        ok = MHD_queue_response(c, status, r);
        MHD_destroy_response(r);
        return ok;
}

enum MHD_Result control_answer_json(struct MHD_Connection *c, unsigned status, struct json_writer *w)
{
        const char *text;

        json_raw_end(w, "\n");
        text = json_writer_text(w);
        return text ? control_answer(c, status, "application/json", text, w->n) : MHD_NO;
}

enum MHD_Result control_answer_error(struct MHD_Connection *c, unsigned status, const char *error, const char *detail)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;

        json_begin_object(&w);
        json_key(&w, "error"), json_string_value(&w, error);
        json_key(&w, "detail"), json_string_value(&w, detail);
        json_end_object(&w);
        return control_answer_json(c, status, &w);
}

enum MHD_Result control_answer_text(struct MHD_Connection *c, unsigned status, const char *text)
{
        return control_answer(c, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* ---- who asks --------------------------------------------------------------------------------------- */

static bool same_user(struct MHD_Connection *c)
{
        const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct ucred peer;
        socklen_t n = sizeof(peer);

        return i && getsockopt(i->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

bool control_from_here(struct MHD_Connection *c)
{
        const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        const struct sockaddr *a = i ? i->client_addr : NULL;

        if (!a)
                return false;
        if (a->sa_family == AF_UNIX)
                return same_user(c);
        if (a->sa_family == AF_INET)
                return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
        if (a->sa_family == AF_INET6) {
                const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;

                return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
        }
        return false;
}

/* ---- those that wait -------------------------------------------------------------------------------- */

/* Soon when so many wait that the dead among them may be what keeps others from an answer. */
static void watch_suspended(struct control *c)
{
        bool many = c->n_suspended >= MANY_SUSPENDED;

        if (c->n_suspended == 0) {
                ev_timer_stop(c->loop, &c->gone);
                return;
        }
        if (ev_is_active(&c->gone) && (!many || c->n_suspended > MANY_SUSPENDED))
                return;
        ev_timer_stop(c->loop, &c->gone);
        ev_timer_set(&c->gone, many ? GONE_MANY_S : GONE_S, 0.);
        ev_timer_start(c->loop, &c->gone);
}

void control_suspend(struct control_request *r)
{
        struct control *c = r->control;

        r->next = c->suspended;
        r->back = &c->suspended;
        if (r->next)
                r->next->back = &r->next;
        c->suspended = r;
        c->n_suspended++;
        watch_suspended(c);
        MHD_suspend_connection(r->connection);
}

static void unlink_request(struct control_request *r)
{
        if (!r->back)
                return;
        *r->back = r->next;
        if (r->next)
                r->next->back = r->back;
        r->back = NULL;
        r->next = NULL;
        r->control->n_suspended--;
}

/* ---- requests --------------------------------------------------------------------------------------- */

/* The first that is heard of a request. What it returns is the state of on_request(); without memory the connection is ended there. */
static void *on_target(void *userdata, const char *target, struct MHD_Connection *connection)
{
        struct control_server *s = userdata;
        struct control_request *r = calloc(1, sizeof(*r));

        if (r)
                *r = (struct control_request){ .control = s->control, .server = s, .connection = connection, .target = strdup(target) };
        return r;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *body, size_t *body_n, void **state)
{
        struct control_server *s = userdata;
        struct control_request *r = *state;

        (void)version;
        if (!r || !r->target)
                return MHD_NO;
        if (!r->begun) {
                r->begun = true;
                return MHD_YES;
        }
        if (*body_n > 0) {
                char *more = r->n + *body_n > ORDER_BYTES_MAX ? NULL : realloc(r->body, r->n + *body_n);

                r->too_large |= !more;
                if (more) {
                        memcpy(more + r->n, body, *body_n);
                        r->body = more;
                        r->n += *body_n;
                }
                *body_n = 0;
                return MHD_YES;
        }
        if (r->gone)
                return MHD_NO;
        if (r->too_large)
                return control_answer_error(connection, 413, "too large", "a body may have 64 KiB");
        if (s->kind == CONTROL_PRIVATE && !same_user(connection)) {
                log_event(LOG_WARNING, "control.refused", F_STR("reason", "another user"));
                return control_answer_error(connection, 403, "forbidden", "control is for the user that runs baton, and for root");
        }
        return control_route(r, method, url);
}

static void on_completed(void *userdata, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
        struct control_request *r = *state;

        (void)userdata;
        (void)connection;
        (void)why;
        if (!r)
                return;
        unlink_request(r);
        control_admin_drop(r);
        free(r->target);
        free(r->body);
        free(r);
        *state = NULL;
}

/* ---- inside the loop -------------------------------------------------------------------------------- */

static void run_all(struct control *c)
{
        if (c->running) {
                c->again = true;
                return;
        }
        c->running = true;
        do {
                c->again = false;
                for (size_t i = 0; i < CONTROL_SERVERS_MAX; i++)
                        if (c->servers[i].daemon)
                                (void)MHD_run(c->servers[i].daemon);
        } while (c->again);
        c->running = false;
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
        struct control_server *s = w->data;

        io_again(loop, w, revents);
        run_all(s->control);
}

void control_beat(struct control *c)
{
        run_all(c);
}

static void wake_suspended(struct control *c)
{
        struct mono now = clock_now();
        struct control_request *next;
        bool any = false;

        c->wake = false;
        for (struct control_request *r = c->suspended; r; r = next) {
                next = r->next;
                if (!control_come_true(r) && mono_before(now, r->until))
                        continue;
                unlink_request(r);
                MHD_resume_connection(r->connection);
                any = true;
        }
        if (any)
                run_all(c);
}

/*
 * MHD does not watch a suspended connection, and while it waits nothing is written that could fail. Killed clients would fill
 * the limit of connections. Not by reading: who has only shut down its sending side waits for the answer like anybody.
 */
static bool client_is_gone(const struct control_request *r)
{
        const union MHD_ConnectionInfo *i = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct pollfd p = { .fd = i ? i->connect_fd : -1 };

        return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

static void on_gone(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct control *c = w->data;
        struct control_request *next;

        (void)loop;
        (void)revents;
        for (struct control_request *r = c->suspended; r; r = next) {
                next = r->next;
                if (!client_is_gone(r))
                        continue;
                r->gone = true;
                unlink_request(r);
                MHD_resume_connection(r->connection);
        }
        run_all(c);
        watch_suspended(c);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct control *c = w->data;

        (void)loop;
        (void)revents;
        wake_suspended(c);
        run_all(c);
}

static void end_server(struct control *c, struct control_server *s)
{
        ev_io_stop(c->loop, &s->io);
        MHD_stop_daemon(s->daemon);
        s->daemon = NULL;
}

/* Those that accept no more and have nobody left. */
static void end_left(struct control *c)
{
        for (size_t i = 0; i < CONTROL_SERVERS_MAX; i++) {
                struct control_server *s = &c->servers[i];
                const union MHD_DaemonInfo *info;

                if (!s->daemon || s->listen_fd >= 0)
                        continue;
                info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
                if (!info || info->num_connections == 0)
                        end_server(c, s);
        }
}

/* Before the loop sleeps: how long may it? */
static void on_prepare(struct ev_loop *loop, ev_prepare *w, int revents)
{
        struct control *c = w->data;
        struct mono now = clock_now(), until = MONO_NEVER;
        double wait = -1;

        (void)revents;
        end_left(c);
        for (size_t i = 0; i < CONTROL_SERVERS_MAX; i++) {
                MHD_UNSIGNED_LONG_LONG ms;

                if (c->servers[i].daemon && MHD_get_timeout(c->servers[i].daemon, &ms) == MHD_YES && (wait < 0 || (double)ms / 1e3 < wait))
                        wait = (double)ms / 1e3;
        }
        for (struct control_request *r = c->suspended; r; r = r->next)
                until = c->wake ? now : mono_min(until, r->until);
        if (!mono_is_never(until)) {
                double left = mono_before(now, until) ? (double)(until.ns - now.ns) / 1e9 : 0;

                if (wait < 0 || left < wait)
                        wait = left;
        }
        ev_timer_stop(loop, &c->timer);
        if (wait < 0)
                return;
        ev_timer_set(&c->timer, wait, 0.);
        ev_timer_start(loop, &c->timer);
}

static void on_event_added(void *userdata)
{
        struct control *c = userdata;

        /* Not from here: an event may be said in the middle of anything. The loop wakes the followers, see on_prepare(). */
        c->wake = true;
}

void control_changed(struct control *c)
{
        on_event_added(c);
}

/* libmicrohttpd does not trust itself any more. Its own answer is abort(), and a core file; ours is the next agent. */
static void on_panic(void *ud, const char *file, unsigned line, const char *reason)
{
        (void)ud;
        (void)file;
        (void)line;
        log_event(LOG_ERR, "agent.failed", F_STR("error", reason ? reason : "the HTTP server failed"), F_STR("then", "another agent resumes"));
        log_flush();
        exit(1);
}

int control_new(struct ev_loop *loop, const struct control_ops *ops, struct control **ret)
{
        struct control *c;

        if (late_mhd() < 0)
                return -ELIBACC;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        MHD_set_panic_func(on_panic, NULL);
        c->loop = loop;
        c->ops = *ops;
        ev_init(&c->timer, on_timer);
        ev_init(&c->gone, on_gone);
        c->gone.data = c;
        ev_prepare_init(&c->prepare, on_prepare);
        c->timer.data = c;
        c->prepare.data = c;
        ev_prepare_start(loop, &c->prepare);
        events_on_add(on_event_added, c);
        *ret = c;
        return 0;
}

static struct control_server *free_place(struct control *c)
{
        for (size_t i = 0; i < CONTROL_SERVERS_MAX; i++)
                if (!c->servers[i].daemon)
                        return &c->servers[i];
        return NULL;
}

int control_serve(struct control *c, int listen_fd, enum control_kind kind)
{
        struct control_server *s = free_place(c);
        const union MHD_DaemonInfo *info;

        if (!s)
                return -ENOSPC;
        *s = (struct control_server){ .control = c, .kind = kind, .listen_fd = listen_fd };
        s->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s,
                                     MHD_OPTION_LISTEN_SOCKET, listen_fd,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)(kind == CONTROL_PRIVATE ? CONNECTIONS_MAX : STATUS_CONNECTIONS_MAX),
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                     MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)CONNECTIONS_PER_IP_MAX,
                                     MHD_OPTION_URI_LOG_CALLBACK, on_target, s,
                                     MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                                     MHD_OPTION_END);
        info = s->daemon ? MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (!info)
                return -ENOMEM;
        ev_io_init(&s->io, on_io, info->epoll_fd, EV_READ);
        s->io.data = s;
        ev_io_start(c->loop, &s->io);
        return 0;
}

/* Whose handshake is complete has got in: accepted before the listener goes. */
void control_leave(struct control *c, int listen_fd)
{
        enum { ROUNDS = 16 };

        for (size_t i = 0; i < CONTROL_SERVERS_MAX; i++) {
                struct control_server *s = &c->servers[i];

                if (!s->daemon || s->listen_fd != listen_fd)
                        continue;
                for (int n = 0; n < ROUNDS; n++)
                        run_all(c);
                (void)MHD_quiesce_daemon(s->daemon);
                close_fd(&s->listen_fd);
        }
}

void control_free(struct control *c)
{
        struct control_request *next;

        if (!c)
                return;
        events_on_add(NULL, NULL);
        c->closing = true;
        for (struct control_request *r = c->suspended; r; r = next) {
                next = r->next;
                unlink_request(r);
                MHD_resume_connection(r->connection);
        }
        for (size_t i = 0; i < CONTROL_SERVERS_MAX; i++) {
                if (!c->servers[i].daemon)
                        continue;
                for (int rounds = 0; rounds < 3; rounds++) /* the resumed ones are answered, and the answers go out */
                        (void)MHD_run(c->servers[i].daemon);
                end_server(c, &c->servers[i]);
        }
        ev_timer_stop(c->loop, &c->gone);
        ev_timer_stop(c->loop, &c->timer);
        ev_prepare_stop(c->loop, &c->prepare);
        free(c);
}
