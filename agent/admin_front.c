/* SPDX-License-Identifier: MIT */
/* See admin_front.h. */
#include "agent/admin_front.h"

#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/admin.h"
#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/epoch.h"

/* A proxy that has died is known to be dead a moment later; and one whose queue is full has room again. */
enum { AGAIN_MS = 20, CUT_MAX = 2 /* a request that kills whom it is asked of must not go on with the next ones */ };

enum front_state { FRONT_WAITS, FRONT_ASKS, FRONT_DONE };

struct front_request {
        struct front *front;
        struct front_request *next, **back;
        struct front_call call;
        enum front_state state;
        struct mono until;     /* waits no longer for somebody who serves... */
        struct mono turn_until; /* ...and for its turn with whoever does */
        struct mono not_before;
        unsigned cuts;         /* how often an answer broke off */
        uint64_t epoch;        /* who is asked */
        struct admin_request *asking;
        char *body, *headers;  /* what answer points to */
        struct front_answer answer;
};

struct front {
        struct ev_loop *loop;
        struct admin *admin;
        struct front_ops ops;
        struct front_request *first, **last; /* in the order in which they came */
        unsigned asks;
        size_t room;
        ev_timer timer;
};

/* ---- ends ------------------------------------------------------------------------------------------- */

static void finish(struct front_request *r)
{
        r->state = FRONT_DONE;
        r->front->ops.answered(r->front->ops.ud);
}

static void refuse(struct front_request *r, unsigned status, const char *reason)
{
        r->answer = (struct front_answer){ .status = status, .epoch = NO_EPOCH };
        (void)snprintf(r->answer.reason, sizeof(r->answer.reason), "%s", reason);
        finish(r);
}

static void take_answer(struct front_request *r, int status, size_t n)
{
        r->headers = strdup(admin_headers(r->asking));
        r->body = admin_take_body(r->asking);
        r->answer = (struct front_answer){ .status = (unsigned)status, .epoch = r->epoch, .headers = r->headers ? r->headers : "",
                                           .body = r->body ? r->body : "", .n = n };
        finish(r);
}

/* Nothing was sent, or nothing was changed by it. */
static void ask_again(struct front_request *r)
{
        struct mono now = clock_now();

        r->state = FRONT_WAITS;
        r->not_before = mono_after_ms(now, AGAIN_MS);
}

static void be_patient(struct front_request *r)
{
        struct mono now = clock_now();

        r->until = mono_after_ms(now, r->call.wait_ms);
        r->turn_until = mono_after_ms(now, r->call.wait_ms > FRONT_ANSWER_MS ? r->call.wait_ms : FRONT_ANSWER_MS);
}

static void broke_off(struct front_request *r)
{
        if (strcmp(r->call.method, "GET") != 0) {
                refuse(r, 502, "the proxy ended, or hung up, while it was asked; whether it has done it is not known");
                return;
        }
        if (++r->cuts == CUT_MAX) {
                refuse(r, 502, "the proxy ended, or hung up, while it answered, and so did the next one");
                return;
        }
        be_patient(r);
        ask_again(r);
}

static void pump(struct front *f);

static void on_answer(void *userdata, int status, const char *body, size_t n)
{
        struct front_request *r = userdata;
        struct front *f = r->front;

        (void)body;
        f->asks--;
        if (status > 0)
                take_answer(r, status, n);
        else if (status == -ECONNREFUSED)
                ask_again(r);
        else if (status == -ETIMEDOUT)
                refuse(r, 504, "the proxy's admin has not answered within 30 s");
        else if (status == -EFBIG)
                refuse(r, 502, "the answer has no room: its head may have 8 KiB, all answers under way together 256 MiB; ask for less (?filter=, ?usedonly), or again");
        else
                broke_off(r);
        r->asking = NULL;
        pump(f);
}

/* ---- asks ------------------------------------------------------------------------------------------- */

static void ask(struct front *f, struct front_request *r, uint64_t epoch, const char *path)
{
        const struct admin_call call = {
                .unix_path = path, .method = r->call.method, .path = r->call.target, .headers = r->call.headers, .body = r->call.body,
                .body_bytes = r->call.body_bytes, .timeout_ms = FRONT_ANSWER_MS, .room = &f->room,
        };

        if (admin_call(f->admin, &call, on_answer, r, &r->asking) < 0) {
                refuse(r, 503, "no memory, or no libcurl, to ask the proxy");
                return;
        }
        r->state = FRONT_ASKS;
        r->epoch = epoch;
        f->asks++;
}

static void give_up(struct front_request *r, bool somebody, const char *why)
{
        char reason[sizeof(r->answer.reason)];

        if (somebody)
                (void)snprintf(reason, sizeof(reason), "the proxy's admin takes no connection, or too many ask");
        else
                (void)snprintf(reason, sizeof(reason), "%s; waited %" PRId64 " ms", why, r->call.wait_ms);
        refuse(r, 503, reason);
}

static void arm(struct front *f, struct mono at, struct mono now)
{
        ev_timer_stop(f->loop, &f->timer);
        if (mono_is_never(at))
                return;
        ev_now_update(f->loop);
        ev_timer_set(&f->timer, mono_before(now, at) ? (double)(at.ns - now.ns) / 1e9 : 0., 0.);
        ev_timer_start(f->loop, &f->timer);
}

/* Whoever can be asked is; who has waited too long is told; then the next moment at which one of these may be true. */
static void pump(struct front *f)
{
        struct mono now = clock_now(), next = MONO_NEVER;
        uint64_t epoch = NO_EPOCH;
        char path[256];
        bool somebody = f->ops.target(f->ops.ud, &epoch, path, sizeof(path));

        for (struct front_request *r = f->first; r; r = r->next) {
                if (r->state != FRONT_WAITS)
                        continue;
                if (somebody && f->asks < FRONT_ASKS_MAX && !mono_before(now, r->not_before)) {
                        ask(f, r, epoch, path);
                        continue;
                }
                if (!mono_before(now, somebody ? r->turn_until : r->until)) {
                        give_up(r, somebody, path);
                        continue;
                }
                next = mono_min(next, somebody ? r->turn_until : r->until);
                if (somebody && mono_before(now, r->not_before))
                        next = mono_min(next, r->not_before);
        }
        arm(f, next, now);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
        (void)loop;
        (void)revents;
        pump(w->data);
}

void front_changed(struct front *f)
{
        if (f && f->first)
                pump(f);
}

/* ---- requests --------------------------------------------------------------------------------------- */

struct front *front_new(struct ev_loop *loop, struct admin *admin, const struct front_ops *ops)
{
        struct front *f = calloc(1, sizeof(*f));

        if (!f)
                return NULL;
        *f = (struct front){ .loop = loop, .admin = admin, .ops = *ops, .room = FRONT_BYTES_MAX };
        f->last = &f->first;
        ev_init(&f->timer, on_timer);
        f->timer.data = f;
        return f;
}

struct front_request *front_ask(struct front *f, const struct front_call *call)
{
        struct front_request *r = calloc(1, sizeof(*r));

        if (!r)
                return NULL;
        *r = (struct front_request){ .front = f, .back = f->last, .call = *call, .not_before = clock_now() };
        be_patient(r);
        *f->last = r;
        f->last = &r->next;
        pump(f);
        return r;
}

const struct front_answer *front_look(const struct front_request *r)
{
        return r->state == FRONT_DONE ? &r->answer : NULL;
}

void front_drop(struct front_request *r)
{
        struct front *f;

        if (!r)
                return;
        f = r->front;
        if (r->state == FRONT_ASKS) {
                admin_cancel(r->asking);
                f->asks--;
        }
        if (r->state == FRONT_DONE)
                f->room += r->answer.n;
        *r->back = r->next;
        if (r->next)
                r->next->back = r->back;
        else
                f->last = r->back;
        free(r->body);
        free(r->headers);
        free(r);
        front_changed(f); /* its turn is the next one's */
}
