/* SPDX-License-Identifier: MIT */
/* The front of the proxy's admin, before generations that the test plays: who is asked, when again, and what a client gets. */
#include <criterion/criterion.h>

#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/admin.h"
#include "agent/admin_front.h"
#include "agent/cleanup.h"
#include "agent/control.h"
#include "agent/escrow.h"

enum { CLIENTS = 16, GENERATIONS = 3, WHOLE = 100000 /* fits into the buffer of a socket: one loop plays both ends */ };

enum manner { ANSWERS, CUTS, HANGS };

static struct ev_loop *loop;
static struct front *front;
static char dir[] = "/tmp/baton-test-front-XXXXXX";

/* One generation: its admin socket, and how it behaves. */
static struct generation {
        ev_io io, connections[CLIENTS];
        size_t n;
        enum manner manner;
        unsigned asked;
        char path[64], last[8192];
} generations[GENERATIONS];

static uint64_t serving = NO_EPOCH;

static void on_ask(struct ev_loop *l, ev_io *w, int revents)
{
        struct generation *g = w->data;
        char text[256];
        ssize_t n = read(w->fd, g->last, sizeof(g->last) - 1);

        (void)revents;
        if (g->manner == HANGS && n > 0) {
                g->asked++;
                return;
        }
        ev_io_stop(l, w);
        if (n > 0) {
                char *body = calloc(1, WHOLE);

                g->asked++;
                g->last[n] = '\0';
                memset(body, '0' + (int)(g - generations), WHOLE);
                n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\ncontent-type: text/odd\r\ncontent-length: %d\r\n\r\n", WHOLE);
                cr_assert_eq(write(w->fd, text, (size_t)n), n);
                for (ssize_t at = 0, all = g->manner == CUTS ? 5 : WHOLE, k; at < all; at += k > 0 ? k : 0)
                        k = write(w->fd, body + at, (size_t)(all - at));
                free(body);
        }
        (void)close(w->fd);
}

static void on_connect(struct ev_loop *l, ev_io *w, int revents)
{
        struct generation *g = w->data;
        int fd = accept(w->fd, NULL, NULL); 
        ev_io *c = &g->connections[g->n++ % CLIENTS];

        (void)revents;
        cr_assert_geq(fd, 0);
        ev_io_init(c, on_ask, fd, EV_READ);
        c->data = g;
        ev_io_start(l, c);
}

static void generation_open(unsigned i, enum manner manner)
{
        struct generation *g = &generations[i];
        int fd;

        (void)snprintf(g->path, sizeof(g->path), "%s/%u", dir, i);
        g->manner = manner;
        cr_assert_eq(control_open_unix(g->path, 0600, &fd), 0);
        ev_io_init(&g->io, on_connect, fd, EV_READ);
        g->io.data = g;
        ev_io_start(loop, &g->io);
}

static void generation_close(unsigned i)
{
        ev_io_stop(loop, &generations[i].io);
        (void)close(generations[i].io.fd);
}

static bool target(void *ud, uint64_t *ret_epoch, char *path, size_t size)
{
        (void)ud;
        (void)snprintf(path, size, "%s", serving == NO_EPOCH ? "nobody serves" : generations[serving].path);
        *ret_epoch = serving;
        return serving != NO_EPOCH;
}

static void serve(uint64_t epoch)
{
        serving = epoch;
        front_changed(front);
}

static void answered(void *ud)
{
        (void)ud;
}

static void set_up(void)
{
        struct front_ops ops = { .target = target, .answered = answered };

        cr_assert(mkdtemp(dir));
        loop = ev_loop_new(EVFLAG_AUTO);
        front = front_new(loop, admin_new(loop), &ops);
}

static struct front_request *ask(const char *method, int64_t wait_ms)
{
        return front_ask(front, &(struct front_call){ .method = method, .target = "/x?a#b", .wait_ms = wait_ms });
}

static const struct front_answer *wait_for(const struct front_request *r)
{
        while (!front_look(r))
                ev_run(loop, EVRUN_ONCE);
        return front_look(r);
}

static void expect_refused(const struct front_request *r, unsigned status, const char *words)
{
        const struct front_answer *a = wait_for(r);

        cr_expect_eq(a->status, status, "%u", a->status);
        cr_expect_eq(a->epoch, NO_EPOCH);
        cr_expect(strstr(a->reason, words), "%s", a->reason);
}

static void expect_whole(const struct front_request *r, uint64_t epoch)
{
        const struct front_answer *a = wait_for(r);

        cr_assert_eq(a->status, 200, "%u %s", a->status, a->reason);
        cr_expect_eq(a->epoch, epoch);
        cr_assert_eq(a->n, WHOLE);
        for (size_t i = 0; i < WHOLE; i++)
                cr_assert_eq(a->body[i], '0' + (int)epoch);
        cr_expect(strstr(a->headers, "content-type: text/odd\r\n"));
}

TestSuite(admin_front, .init = set_up, .timeout = 60);

Test(admin_front, a_request_waits_until_somebody_serves_and_no_longer_than_it_may)
{
        struct front_request *early = ask("GET", 60000), *impatient = ask("GET", 30);

        generation_open(0, ANSWERS);
        expect_refused(impatient, 503, "nobody serves");
        cr_expect_null(front_look(early));
        serve(0);
        expect_whole(early, 0);
        cr_expect(strncmp(generations[0].last, "GET /x?a#b HTTP/1.1\r\n", 21) == 0, "as the client wrote it: %.60s", generations[0].last);
        front_drop(early);
        front_drop(impatient);
}

Test(admin_front, a_get_that_is_cut_off_is_asked_again_of_the_next_and_never_mixed)
{
        struct front_request *r;

        generation_open(0, CUTS);
        generation_open(1, ANSWERS);
        serve(0);
        r = ask("GET", 60000);
        while (generations[0].asked == 0)
                ev_run(loop, EVRUN_ONCE);
        generation_close(0);
        serving = NO_EPOCH;
        for (int i = 0; i < 20; i++)
                ev_run(loop, EVRUN_NOWAIT);
        cr_expect_null(front_look(r));
        serve(1);
        expect_whole(r, 1);
        cr_expect_eq(generations[0].asked, 1);
        front_drop(r);
}

Test(admin_front, a_post_that_is_cut_off_is_not_done_twice)
{
        struct front_request *r;

        generation_open(0, CUTS);
        serve(0);
        r = ask("POST", 60000);
        expect_refused(r, 502, "is not known");
        cr_expect_eq(generations[0].asked, 1);
        front_drop(r);
}

Test(admin_front, what_cuts_every_answer_off_is_not_asked_for_ever)
{
        struct front_request *r;

        generation_open(0, CUTS);
        serve(0);
        r = ask("GET", 60000);
        expect_refused(r, 502, "so did the next one");
        cr_expect_eq(generations[0].asked, 2);
        front_drop(r);
}

Test(admin_front, whoever_was_not_even_connected_is_asked_again_a_post_too)
{
        struct front_request *r;

        generation_open(0, ANSWERS);
        generation_close(0); /* its file is there, and nobody listens: as after kill -9 */
        serve(0);
        r = ask("POST", 60000);
        for (int i = 0; i < 20; i++)
                ev_run(loop, EVRUN_NOWAIT);
        cr_expect_null(front_look(r));
        generation_open(1, ANSWERS);
        serve(1);
        expect_whole(r, 1);
        front_drop(r);
}

Test(admin_front, so_many_are_asked_at_a_time_and_who_goes_makes_room)
{
        struct front_request *r[FRONT_ASKS_MAX + 2];

        generation_open(0, HANGS);
        serve(0);
        for (size_t i = 0; i < FRONT_ASKS_MAX + 2; i++)
                r[i] = ask("GET", 60000);
        while (generations[0].asked < FRONT_ASKS_MAX)
                ev_run(loop, EVRUN_ONCE);
        for (int i = 0; i < 50; i++)
                ev_run(loop, EVRUN_NOWAIT);
        cr_expect_eq(generations[0].asked, FRONT_ASKS_MAX);
        front_drop(r[0]);
        front_drop(r[FRONT_ASKS_MAX]); /* of those that wait */
        while (generations[0].asked < FRONT_ASKS_MAX + 1)
                ev_run(loop, EVRUN_ONCE);
        for (size_t i = 1; i < FRONT_ASKS_MAX + 2; i++)
                if (i != FRONT_ASKS_MAX)
                        front_drop(r[i]);
}

static int told = 1;

static void on_told(void *userdata, int status, const char *body, size_t n)
{
        (void)userdata, (void)body, (void)n;
        told = status;
}

Test(admin_front, an_answer_without_room_is_an_error_and_leaves_the_room_as_it_was)
{
        struct admin *admin = admin_new(loop);
        struct admin_request *r;
        size_t room = WHOLE / 2;
        struct admin_call call = { .method = "GET", .path = "/", .timeout_ms = 60000, .room = &room };

        generation_open(0, ANSWERS);
        call.unix_path = generations[0].path;
        cr_assert_eq(admin_call(admin, &call, on_told, NULL, &r), 0);
        while (told == 1)
                ev_run(loop, EVRUN_ONCE);
        cr_expect_eq(told, -EFBIG);
        cr_expect_eq(room, WHOLE / 2);
}
