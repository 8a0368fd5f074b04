/* SPDX-License-Identifier: MIT */
/* See control.h: routes, and what each answers. The server beneath is control_server.c's. */
#include "agent/control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/control_server.h"
#include "agent/events.h"

enum { PAGE_BYTES = 16 * 1024, SAMPLE_WAIT_MS = 500 };

/* ---- GET -------------------------------------------------------------------------------------------- */

static enum MHD_Result get_ready(struct control_request *r)
{
        char reason[256] = "";
        bool ready = r->control->ops.ready(r->control->ops.ud, reason, sizeof(reason) - 1);

        strcat(reason, "\n");
        return control_answer_text(r->connection, ready ? 200 : 503, ready ? "ready\n" : reason);
}

static enum MHD_Result get_live(struct control_request *r)
{
        char reason[256] = "";
        bool live = r->control->ops.live(r->control->ops.ud, reason, sizeof(reason) - 1);

        strcat(reason, "\n");
        return control_answer_text(r->connection, live ? 200 : 503, live ? "live\n" : reason);
}

static enum MHD_Result get_metrics(struct control_request *r)
{
        struct metrics_writer w = { 0 };
        enum MHD_Result ok = MHD_NO;

        r->control->ops.metrics(r->control->ops.ud, &w);
        if (json_writer_text(&w.text))
                ok = control_answer(r->connection, 200, "text/plain; version=0.0.4; charset=utf-8", json_writer_text(&w.text), w.text.n);
        json_writer_done(&w.text);
        return ok;
}

static enum MHD_Result get_page(struct control_request *r)
{
        static const char page[] =
                "<!doctype html><meta charset=utf-8><title>baton</title><h1>baton " BATON_VERSION "</h1>"
                "<ul><li><a href=/healthz/ready>readiness</a><li><a href=/healthz/live>liveness</a>"
                "<li><a href=/v1/status>status</a><li><a href=/metrics>metrics</a></ul>\n";

        return control_answer(r->connection, 200, "text/html; charset=utf-8", page, sizeof(page) - 1);
}

/* A whole number from 0 to @most. Return: false: it is there, but is none */
bool control_argument(struct MHD_Connection *c, const char *name, int64_t standard, int64_t most, int64_t *ret)
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

enum MHD_Result control_bad_argument(struct control_request *r, const char *name)
{
        return control_answer_error(r->connection, 400, "bad argument", name);
}

/* An epoch that serves, or did and was followed by a later one. */
static bool epoch_reached(struct control *c, uint64_t epoch)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        struct json doc;
        struct json_error e;
        bool reached = false;

        c->ops.status(c->ops.ud, true, &w);
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

bool control_come_true(struct control_request *r)
{
        const struct control_ops *ops = &r->control->ops;
        char reason[256];

        switch (r->waits) {
        case WAIT_NOTHING:
                return true;
        case WAIT_READY:
                return ops->ready(ops->ud, reason, sizeof(reason));
        case WAIT_EPOCH:
                return epoch_reached(r->control, r->awaited);
        case WAIT_SAMPLE:
                return !ops->sampling(ops->ud, false);
        case WAIT_EVENTS:
                return events_last() > r->awaited;
        case WAIT_TICKET:
                return ops->ticket(ops->ud, r->awaited, NULL) != CONTROL_TICKET_WAITS;
        case WAIT_ADMIN:
                return control_admin_answered(r);
        }
        return true;
}

static bool may_wait(struct control_request *r)
{
        return !r->control->closing && !control_come_true(r) && mono_before(clock_now(), r->until);
}

/* A proxy that does not answer in time leaves the figures of its last sample. */
static enum MHD_Result get_status(struct control_request *r)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        const struct control_ops *ops = &r->control->ops;

        if (r->waits == WAIT_NOTHING && !r->control->closing && ops->sampling(ops->ud, true)) {
                r->waits = WAIT_SAMPLE;
                r->until = mono_after_ms(clock_now(), SAMPLE_WAIT_MS);
        }
        if (r->waits == WAIT_SAMPLE && may_wait(r)) {
                control_suspend(r);
                return MHD_YES;
        }
        ops->status(ops->ud, r->server->kind == CONTROL_PRIVATE, &w);
        return control_answer_json(r->connection, 200, &w);
}

static enum MHD_Result timed_out(struct control_request *r)
{
        return control_answer_error(r->connection, 504, "timed out", "what was waited for did not happen in time");
}

enum MHD_Result control_ending(struct control_request *r)
{
        return control_answer_error(r->connection, 503, "ending", "the instance is ending");
}

static enum MHD_Result get_wait(struct control_request *r)
{
        if (r->control->closing)
                return control_ending(r);
        if (r->waits == WAIT_NOTHING) {
                int64_t ready, epoch, timeout_ms;

                if (!control_argument(r->connection, "ready", 0, 1, &ready))
                        return control_bad_argument(r, "ready: 0 or 1");
                if (!control_argument(r->connection, "epoch", 0, INT64_MAX, &epoch))
                        return control_bad_argument(r, "epoch: a number");
                if (!control_argument(r->connection, "timeout_ms", 60000, WAIT_MS_MAX, &timeout_ms))
                        return control_bad_argument(r, "timeout_ms: milliseconds, up to ten years");
                r->waits = ready ? WAIT_READY : WAIT_EPOCH;
                r->awaited = (uint64_t)epoch;
                r->until = mono_after_ms(clock_now(), timeout_ms);
        }
        if (control_come_true(r))
                return get_status(r);
        if (!mono_before(clock_now(), r->until))
                return timed_out(r);
        control_suspend(r);
        return MHD_YES;
}

/* How the order of a ticket ended; waits until it has. What is known is told even by an instance that ends. */
static enum MHD_Result get_ticket(struct control_request *r)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        const struct control_ops *ops = &r->control->ops;

        if (r->waits == WAIT_NOTHING) {
                int64_t id, timeout_ms;

                if (!control_argument(r->connection, "id", 0, INT64_MAX, &id) || id == 0)
                        return control_bad_argument(r, "id: the number of a ticket");
                if (!control_argument(r->connection, "timeout_ms", 60000, WAIT_MS_MAX, &timeout_ms))
                        return control_bad_argument(r, "timeout_ms: milliseconds, up to ten years");
                r->waits = WAIT_TICKET;
                r->awaited = (uint64_t)id;
                r->until = mono_after_ms(clock_now(), timeout_ms);
        }
        switch (ops->ticket(ops->ud, r->awaited, &w)) {
        case CONTROL_TICKET_UNKNOWN:
                return control_answer_error(r->connection, 404, "unknown ticket", "no order of this number is known");
        case CONTROL_TICKET_DONE:
                return control_answer_json(r->connection, 200, &w);
        case CONTROL_TICKET_WAITS:
                break;
        }
        if (r->control->closing)
                return control_ending(r);
        if (!mono_before(clock_now(), r->until))
                return timed_out(r);
        control_suspend(r);
        return MHD_YES;
}

/* Lines from r->awaited on. -1 ends the stream; 0 suspends the connection until there is more. */
static ssize_t more_events(void *userdata, uint64_t pos, char *buf, size_t max)
{
        struct control_request *r = userdata;
        size_t have = 0, n;
        const char *line;

        (void)pos;
        while (r->awaited < events_last()) {
                line = events_get(r->awaited + 1, &n);
                if (line && n + 1 > max - have && have > 0)
                        break;
                r->awaited++;
                if (!line || n + 1 > max)
                        continue;
                memcpy(buf + have, line, n);
                buf[have + n] = '\n';
                have += n + 1;
        }
        if (have > 0)
                return (ssize_t)have;
        if (r->waits != WAIT_EVENTS || r->gone || r->control->closing)
                return MHD_CONTENT_READER_END_OF_STREAM;
        control_suspend(r);
        return 0;
}

static enum MHD_Result get_events(struct control_request *r)
{
        struct MHD_Response *response;
        enum MHD_Result ok;
        int64_t after, follow;

        if (!control_argument(r->connection, "after", 0, INT64_MAX, &after))
                return control_bad_argument(r, "after: the number of an event");
        if (!control_argument(r->connection, "follow", 0, 1, &follow))
                return control_bad_argument(r, "follow: 0 or 1");
        r->awaited = (uint64_t)after;
        r->waits = follow ? WAIT_EVENTS : WAIT_NOTHING;
        r->until = MONO_NEVER;
        if (r->awaited + 1 < events_first())
                r->awaited = events_first() - 1;
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PAGE_BYTES, more_events, r, NULL);
        if (!response)
                return MHD_NO;
        (void)MHD_add_response_header(response, "Content-Type", "application/x-ndjson");
        ok = MHD_queue_response(r->connection, 200, response);
        MHD_destroy_response(response);
        return ok;
}

/* ---- POST ------------------------------------------------------------------------------------------- */

static enum MHD_Result give(struct control_request *r, enum control_command command, const struct control_order *o)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        char detail[512] = "";
        int code = r->control->ops.command(r->control->ops.ud, command, o, detail, sizeof(detail));

        if (code == CONTROL_REFUSED)
                return control_answer_error(r->connection, 409, "refused", detail);
        if (code < 0)
                return control_answer_error(r->connection, 500, "failed", *detail ? detail : strerror(-code));
        json_begin_object(&w);
        json_key(&w, "ok"), json_bool_value(&w, true);
        if (o->ticket)
                json_key(&w, "ticket"), json_uint_value(&w, o->ticket);
        json_end_object(&w);
        return control_answer_json(r->connection, 202, &w);
}

static enum MHD_Result post(struct control_request *r, enum control_command command)
{
        return give(r, command, &CONTROL_ORDER_NULL);
}

/* Of a client that does not choose one. Return: 0; -errno */
static int draw_ticket(uint64_t *ret)
{
        do {
                if (getrandom(ret, sizeof(*ret), 0) != sizeof(*ret))
                        return -errno;
                *ret >>= 1; /* below 2^63: JSON's readers have no more */
        } while (*ret == 0);
        return 0;
}

static enum MHD_Result post_order(struct control_request *r, enum control_command command)
{
        CLEANUP(order_done) struct order order = { 0 };
        struct order_error e;
        char detail[128];
        int err;

        if (r->control->closing) /* nothing is stored any more */
                return control_ending(r);
        err = order_read(r->body, r->n, &order, &e);
        if (err < 0) {
                (void)snprintf(detail, sizeof(detail), "%s: %s", e.member, e.text);
                return control_answer_error(r->connection, err == -ENOMEM ? 500 : 400, "bad argument", detail);
        }
        if (order.o.ticket == 0)
                err = draw_ticket(&order.o.ticket);
        if (err < 0)
                return control_answer_error(r->connection, 500, "failed", "no ticket can be drawn");
        return give(r, command, &order.o);
}

static enum MHD_Result post_stop(struct control_request *r)
{
        return post(r, CONTROL_STOP);
}

static enum MHD_Result post_drain(struct control_request *r)
{
        int64_t undo;

        if (!control_argument(r->connection, "undo", 0, 1, &undo))
                return control_bad_argument(r, "undo: 0 or 1");
        return post(r, undo ? CONTROL_DRAIN_UNDO : CONTROL_DRAIN);
}

static enum MHD_Result post_upgrade(struct control_request *r)
{
        return post_order(r, CONTROL_UPGRADE);
}

static enum MHD_Result post_rollback(struct control_request *r)
{
        return post_order(r, CONTROL_ROLLBACK);
}

static enum MHD_Result post_pause(struct control_request *r)
{
        return post(r, CONTROL_PAUSE);
}

static enum MHD_Result post_resume(struct control_request *r)
{
        return post(r, CONTROL_RESUME);
}

static enum MHD_Result later(struct control_request *r)
{
        return control_answer_error(r->connection, 501, "not in this version", "not in this version");
}

/* ---- routes ----------------------------------------------------------------------------------------- */

enum { BY_CONTROL = 1, BY_STATUS = 2, HERE_ONLY = 4 };

static const struct route {
        const char *method, *path;
        unsigned flags;
        enum MHD_Result (*run)(struct control_request *r);
} routes[] = {
        { "GET", "/v1/status", BY_CONTROL | BY_STATUS, get_status },
        { "GET", "/v1/events", BY_CONTROL, get_events },
        { "GET", "/v1/wait", BY_CONTROL, get_wait },
        { "GET", "/v1/ticket", BY_CONTROL, get_ticket },
        { "GET", "/v1/admin", BY_CONTROL, control_admin_get },
        { "POST", "/v1/admin", BY_CONTROL, control_admin_post },
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

enum MHD_Result control_route(struct control_request *r, const char *method, const char *path)
{
        unsigned by = r->server->kind == CONTROL_PRIVATE ? BY_CONTROL : BY_STATUS;
        bool known = false;

        if (r->server->kind == CONTROL_ADMIN)
                return control_admin_front(r, method);
        if (strcmp(method, "HEAD") == 0)
                method = "GET";
        for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
                if (!(routes[i].flags & by) || strcmp(routes[i].path, path) != 0)
                        continue;
                known = true;
                if (strcmp(routes[i].method, method) != 0)
                        continue;
                if ((routes[i].flags & HERE_ONLY) && !control_from_here(r->connection))
                        return control_answer_error(r->connection, 403, "forbidden", "only from this machine");
                return routes[i].run(r);
        }
        return known ? control_answer_error(r->connection, 405, "method not allowed", method) : control_answer_error(r->connection, 404, "not found", path);
}

