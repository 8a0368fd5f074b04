/* SPDX-License-Identifier: MIT */
/* See control.h. */
#include "agent/control.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/events.h"
#include "agent/late.h"
#include "agent/log.h"

enum { SERVERS_MAX = 16, CONNECTIONS_MAX = 256, STATUS_CONNECTIONS_MAX = 1024, CONNECTIONS_PER_IP_MAX = 256, BODY_BYTES_MAX = 64 * 1024,
       IDLE_S = 30, PAGE_BYTES = 16 * 1024, SAMPLE_WAIT_MS = 500, GONE_S = 30, MANY_SUSPENDED = CONNECTIONS_MAX / 2, GONE_MANY_S = 1 };

#define WAIT_MS_MAX (INT64_C(10) * 366 * 24 * 3600 * 1000)

struct server {
        struct control *control;
        struct MHD_Daemon *daemon;
        enum control_kind kind;
        ev_io io;
};

/* One request: its body, and what it waits for. */
struct request {
        struct control *control;
        struct server *server;
        struct MHD_Connection *connection;
        struct request *next, **back; /* among the suspended ones; back is NULL when it runs */
        char *body;
        size_t n;
        bool too_large;
        bool waits, for_ready, for_sample, follows;
        bool gone; /* its client is: only to be ended */
        uint64_t for_epoch, after;
        struct mono until;
};

struct control {
        struct ev_loop *loop;
        struct control_ops ops;
        struct server servers[SERVERS_MAX];
        size_t n_servers;
        struct request *suspended;
        size_t n_suspended;
        ev_timer gone;       /* runs while something is suspended: are the clients still there? */
        ev_timer timer;      /* MHD's own timeouts and the waits of clients */
        ev_prepare prepare;
        bool running; /* inside MHD_run: no second time */
        bool again;
        bool wake;    /* something happened that a suspended request may wait for */
        bool closing; /* nothing waits any more */
};

/* ---- answers ---------------------------------------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, const char *text, size_t n)
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

static enum MHD_Result answer_json(struct MHD_Connection *c, unsigned status, struct json_writer *w)
{
        const char *text;

        json_raw_end(w, "\n");
        text = json_writer_text(w);
        return text ? answer(c, status, "application/json", text, w->n) : MHD_NO;
}

static enum MHD_Result answer_error(struct MHD_Connection *c, unsigned status, const char *error, const char *detail)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;

        json_begin_object(&w);
        json_key(&w, "error"), json_string_value(&w, error);
        json_key(&w, "detail"), json_string_value(&w, detail);
        json_end_object(&w);
        return answer_json(c, status, &w);
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status, const char *text)
{
        return answer(c, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* ---- who asks --------------------------------------------------------------------------------------- */

static bool same_user(struct MHD_Connection *c)
{
        const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct ucred peer;
        socklen_t n = sizeof(peer);

        return i && getsockopt(i->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static bool from_here(struct MHD_Connection *c)
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

/* ---- GET -------------------------------------------------------------------------------------------- */

static enum MHD_Result get_ready(struct request *r)
{
        char reason[256] = "";
        bool ready = r->control->ops.ready(r->control->ops.ud, reason, sizeof(reason) - 1);

        strcat(reason, "\n");
        return answer_text(r->connection, ready ? 200 : 503, ready ? "ready\n" : reason);
}

static enum MHD_Result get_live(struct request *r)
{
        char reason[256] = "";
        bool live = r->control->ops.live(r->control->ops.ud, reason, sizeof(reason) - 1);

        strcat(reason, "\n");
        return answer_text(r->connection, live ? 200 : 503, live ? "live\n" : reason);
}

static enum MHD_Result get_metrics(struct request *r)
{
        struct metrics_writer w = { 0 };
        enum MHD_Result ok = MHD_NO;

        r->control->ops.metrics(r->control->ops.ud, &w);
        if (json_writer_text(&w.text))
                ok = answer(r->connection, 200, "text/plain; version=0.0.4; charset=utf-8", json_writer_text(&w.text), w.text.n);
        json_writer_done(&w.text);
        return ok;
}

static enum MHD_Result get_page(struct request *r)
{
        static const char page[] =
                "<!doctype html><meta charset=utf-8><title>baton</title><h1>baton " BATON_VERSION "</h1>"
                "<ul><li><a href=/healthz/ready>readiness</a><li><a href=/healthz/live>liveness</a>"
                "<li><a href=/v1/status>status</a><li><a href=/metrics>metrics</a></ul>\n";

        return answer(r->connection, 200, "text/html; charset=utf-8", page, sizeof(page) - 1);
}

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

static void suspend(struct request *r)
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

static void unlink_request(struct request *r)
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

/* A whole number from 0 to @most. Return: false: it is there, but is none */
static bool argument(struct MHD_Connection *c, const char *name, int64_t standard, int64_t most, int64_t *ret)
{
        const char *text = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, name);
        char *end;

        *ret = standard;
        if (!text)
                return true;
        errno = 0;
        *ret = strtoll(text, &end, 10);
        return *text >= '0' && *text <= '9' && !*end && !errno && *ret <= most;
}

static enum MHD_Result bad_argument(struct request *r, const char *name)
{
        return answer_error(r->connection, 400, "bad argument", name);
}

/* An epoch that serves, or did and was followed by a later one. */
static bool epoch_reached(struct control *c, uint64_t epoch)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        struct json doc;
        struct json_error e;
        bool reached = false;

        c->ops.status(c->ops.ud, &w);
        if (!json_writer_text(&w) || json_parse(w.text, w.n, &doc, &e) != 0)
                return false;
        for (size_t i = 0; i < json_size(&doc, json_get(&doc, JSON_ROOT, "epochs")); i++) {
                json_node one = json_at(&doc, json_get(&doc, JSON_ROOT, "epochs"), i);
                int64_t number = -1;
                char state[16] = "";

                (void)json_int(&doc, json_get(&doc, one, "epoch"), &number);
                (void)json_string(&doc, json_get(&doc, one, "state"), state, sizeof(state));
                reached |= strcmp(state, "serving") == 0 && number >= (int64_t)epoch;
        }
        json_done(&doc);
        return reached;
}

static bool come_true(struct request *r)
{
        char reason[256];

        if (r->follows)
                return events_last() > r->after;
        if (r->for_sample)
                return !r->control->ops.sampling(r->control->ops.ud, false);
        return r->for_ready ? r->control->ops.ready(r->control->ops.ud, reason, sizeof(reason)) : epoch_reached(r->control, r->for_epoch);
}

/* A proxy that does not answer in time leaves the figures of its last sample. */
static enum MHD_Result get_status(struct request *r)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;

        if (!r->waits && !r->control->closing && r->control->ops.sampling(r->control->ops.ud, true)) {
                r->waits = r->for_sample = true;
                r->until = mono_after_ms(clock_now(), SAMPLE_WAIT_MS);
        }
        if (r->for_sample && !r->control->closing && !come_true(r) && mono_before(clock_now(), r->until)) {
                suspend(r);
                return MHD_YES;
        }
        r->control->ops.status(r->control->ops.ud, &w);
        return answer_json(r->connection, 200, &w);
}

static enum MHD_Result get_wait(struct request *r)
{
        if (r->control->closing)
                return answer_error(r->connection, 503, "ending", "the instance is ending");
        if (!r->waits) {
                int64_t ready, epoch, timeout_ms;

                if (!argument(r->connection, "ready", 0, 1, &ready))
                        return bad_argument(r, "ready: 0 or 1");
                if (!argument(r->connection, "epoch", 0, INT64_MAX, &epoch))
                        return bad_argument(r, "epoch: a number");
                if (!argument(r->connection, "timeout_ms", 60000, WAIT_MS_MAX, &timeout_ms))
                        return bad_argument(r, "timeout_ms: milliseconds, up to ten years");
                r->waits = true;
                r->for_ready = ready;
                r->for_epoch = (uint64_t)epoch;
                r->until = mono_after_ms(clock_now(), timeout_ms);
        }
        if (come_true(r))
                return get_status(r);
        if (!mono_before(clock_now(), r->until))
                return answer_error(r->connection, 504, "timed out", "what was waited for did not happen in time");
        suspend(r);
        return MHD_YES;
}

/* Lines from r->after on. -1 ends the stream; 0 suspends the connection until there is more. */
static ssize_t more_events(void *userdata, uint64_t pos, char *buf, size_t max)
{
        struct request *r = userdata;
        size_t have = 0, n;
        const char *line;

        (void)pos;
        while (r->after < events_last()) {
                line = events_get(r->after + 1, &n);
                if (line && n + 1 > max - have && have > 0)
                        break;
                r->after++;
                if (!line || n + 1 > max)
                        continue;
                memcpy(buf + have, line, n);
                buf[have + n] = '\n';
                have += n + 1;
        }
        if (have > 0)
                return (ssize_t)have;
        if (!r->follows || r->gone || r->control->closing)
                return MHD_CONTENT_READER_END_OF_STREAM;
        suspend(r);
        return 0;
}

static enum MHD_Result get_events(struct request *r)
{
        struct MHD_Response *response;
        enum MHD_Result ok;
        int64_t after, follow;

        if (!argument(r->connection, "after", 0, INT64_MAX, &after))
                return bad_argument(r, "after: the number of an event");
        if (!argument(r->connection, "follow", 0, 1, &follow))
                return bad_argument(r, "follow: 0 or 1");
        r->after = (uint64_t)after;
        r->follows = follow;
        r->until = MONO_NEVER;
        if (r->after + 1 < events_first())
                r->after = events_first() - 1;
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PAGE_BYTES, more_events, r, NULL);
        if (!response)
                return MHD_NO;
        (void)MHD_add_response_header(response, "Content-Type", "application/x-ndjson");
        ok = MHD_queue_response(r->connection, 200, response);
        MHD_destroy_response(response);
        return ok;
}

/* ---- POST ------------------------------------------------------------------------------------------- */

static enum MHD_Result post(struct request *r, enum control_command command)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        char detail[512] = "";
        int answer_code = r->control->ops.command(r->control->ops.ud, command, &(struct control_args){ r->body, r->n }, detail, sizeof(detail));

        if (answer_code == CONTROL_NOT_IN_THIS_VERSION)
                return answer_error(r->connection, 501, "not in this version", detail);
        json_begin_object(&w);
        json_key(&w, "ok"), json_bool_value(&w, true);
        json_end_object(&w);
        return answer_json(r->connection, 202, &w);
}

static enum MHD_Result post_stop(struct request *r)
{
        return post(r, CONTROL_STOP);
}

static enum MHD_Result post_drain(struct request *r)
{
        int64_t undo;

        if (!argument(r->connection, "undo", 0, 1, &undo))
                return bad_argument(r, "undo: 0 or 1");
        return post(r, undo ? CONTROL_DRAIN_UNDO : CONTROL_DRAIN);
}

static enum MHD_Result post_upgrade(struct request *r)
{
        return post(r, CONTROL_UPGRADE);
}

static enum MHD_Result post_rollback(struct request *r)
{
        return post(r, CONTROL_ROLLBACK);
}

static enum MHD_Result post_pause(struct request *r)
{
        return post(r, CONTROL_PAUSE);
}

static enum MHD_Result post_resume(struct request *r)
{
        return post(r, CONTROL_RESUME);
}

static enum MHD_Result later(struct request *r)
{
        return answer_error(r->connection, 501, "not in this version", "not in this version");
}

/* ---- routes ----------------------------------------------------------------------------------------- */

enum { BY_CONTROL = 1, BY_STATUS = 2, HERE_ONLY = 4 };

static const struct route {
        const char *method, *path;
        unsigned flags;
        enum MHD_Result (*run)(struct request *r);
} routes[] = {
        { "GET", "/v1/status", BY_CONTROL | BY_STATUS, get_status },
        { "GET", "/v1/events", BY_CONTROL, get_events },
        { "GET", "/v1/wait", BY_CONTROL, get_wait },
        { "GET", "/v1/receipts", BY_CONTROL, later },
        { "GET", "/v1/stats", BY_CONTROL, later },
        { "POST", "/v1/stop", BY_CONTROL, post_stop },
        { "POST", "/v1/drain", BY_CONTROL, post_drain },
        { "POST", "/v1/upgrade", BY_CONTROL, post_upgrade },
        { "POST", "/v1/rollback", BY_CONTROL, post_rollback },
        { "POST", "/v1/pause", BY_CONTROL, post_pause },
        { "POST", "/v1/resume", BY_CONTROL, post_resume },
        { "GET", "/healthz/ready", BY_CONTROL | BY_STATUS, get_ready },
        { "GET", "/healthz/live", BY_CONTROL | BY_STATUS, get_live },
        { "GET", "/metrics", BY_CONTROL | BY_STATUS, get_metrics },
        { "GET", "/stats/prometheus", BY_CONTROL | BY_STATUS, get_metrics },
        { "GET", "/", BY_STATUS, get_page },
        { "POST", "/quitquitquit", BY_STATUS | HERE_ONLY, post_stop },
        { "POST", "/drain", BY_STATUS | HERE_ONLY, post_drain },
};

static enum MHD_Result route(struct request *r, const char *method, const char *path)
{
        unsigned by = r->server->kind == CONTROL_PRIVATE ? BY_CONTROL : BY_STATUS;
        bool known = false;

        if (strcmp(method, "HEAD") == 0)
                method = "GET";
        for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
                if (!(routes[i].flags & by) || strcmp(routes[i].path, path) != 0)
                        continue;
                known = true;
                if (strcmp(routes[i].method, method) != 0)
                        continue;
                if ((routes[i].flags & HERE_ONLY) && !from_here(r->connection))
                        return answer_error(r->connection, 403, "forbidden", "only from this machine");
                return routes[i].run(r);
        }
        return known ? answer_error(r->connection, 405, "method not allowed", method) : answer_error(r->connection, 404, "not found", path);
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *body, size_t *body_n, void **state)
{
        struct server *s = userdata;
        struct request *r = *state;

        (void)version;
        if (!r) {
                r = calloc(1, sizeof(*r));
                if (!r)
                        return MHD_NO;
                *r = (struct request){ .control = s->control, .server = s, .connection = connection };
                *state = r;
                return MHD_YES;
        }
        if (*body_n > 0) {
                char *more = r->n + *body_n > BODY_BYTES_MAX ? NULL : realloc(r->body, r->n + *body_n);

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
                return answer_error(connection, 413, "too large", "a body may have 64 KiB");
        if (s->kind == CONTROL_PRIVATE && !same_user(connection)) {
                log_event(LOG_WARNING, "control.refused", F_STR("reason", "another user"));
                return answer_error(connection, 403, "forbidden", "control is for the user that runs baton, and for root");
        }
        return route(r, method, url);
}

static void on_completed(void *userdata, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
        struct request *r = *state;

        (void)userdata;
        (void)connection;
        (void)why;
        if (!r)
                return;
        unlink_request(r);
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
                for (size_t i = 0; i < c->n_servers; i++)
                        (void)MHD_run(c->servers[i].daemon);
        } while (c->again);
        c->running = false;
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
        struct server *s = w->data;

        (void)loop;
        (void)revents;
        run_all(s->control);
}

static void wake_suspended(struct control *c)
{
        struct mono now = clock_now();
        struct request *next;
        bool any = false;

        c->wake = false;
        for (struct request *r = c->suspended; r; r = next) {
                next = r->next;
                if (!come_true(r) && mono_before(now, r->until))
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
static bool client_is_gone(const struct request *r)
{
        const union MHD_ConnectionInfo *i = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct pollfd p = { .fd = i ? i->connect_fd : -1 };

        return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

static void on_gone(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct control *c = w->data;
        struct request *next;

        (void)loop;
        (void)revents;
        for (struct request *r = c->suspended; r; r = next) {
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

/* Before the loop sleeps: how long may it? */
static void on_prepare(struct ev_loop *loop, ev_prepare *w, int revents)
{
        struct control *c = w->data;
        struct mono now = clock_now(), until = MONO_NEVER;
        double wait = -1;

        (void)revents;
        for (size_t i = 0; i < c->n_servers; i++) {
                MHD_UNSIGNED_LONG_LONG ms;

                if (MHD_get_timeout(c->servers[i].daemon, &ms) == MHD_YES && (wait < 0 || (double)ms / 1e3 < wait))
                        wait = (double)ms / 1e3;
        }
        for (struct request *r = c->suspended; r; r = r->next)
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

int control_new(struct ev_loop *loop, const struct control_ops *ops, struct control **ret)
{
        struct control *c;

        if (late_mhd() < 0)
                return -ELIBACC;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
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

int control_serve(struct control *c, int listen_fd, enum control_kind kind)
{
        struct server *s = &c->servers[c->n_servers];
        const union MHD_DaemonInfo *info;

        if (c->n_servers == SERVERS_MAX)
                return -ENOSPC;
        *s = (struct server){ .control = c, .kind = kind };
        s->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s,
                                     MHD_OPTION_LISTEN_SOCKET, listen_fd,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)(kind == CONTROL_PRIVATE ? CONNECTIONS_MAX : STATUS_CONNECTIONS_MAX),
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                     MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)CONNECTIONS_PER_IP_MAX,
                                     MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                                     MHD_OPTION_END);
        info = s->daemon ? MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (!info)
                return -ENOMEM;
        ev_io_init(&s->io, on_io, info->epoll_fd, EV_READ);
        s->io.data = s;
        ev_io_start(c->loop, &s->io);
        c->n_servers++;
        return 0;
}

void control_free(struct control *c)
{
        struct request *next;

        if (!c)
                return;
        events_on_add(NULL, NULL);
        c->closing = true;
        for (struct request *r = c->suspended; r; r = next) {
                next = r->next;
                unlink_request(r);
                MHD_resume_connection(r->connection);
        }
        for (size_t i = 0; i < c->n_servers; i++) {
                for (int rounds = 0; rounds < 3; rounds++) /* the resumed ones are answered, and the answers go out */
                        (void)MHD_run(c->servers[i].daemon);
                ev_io_stop(c->loop, &c->servers[i].io);
                MHD_stop_daemon(c->servers[i].daemon);
        }
        ev_timer_stop(c->loop, &c->gone);
        ev_timer_stop(c->loop, &c->timer);
        ev_prepare_stop(c->loop, &c->prepare);
        free(c);
}
