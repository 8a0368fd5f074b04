/* SPDX-License-Identifier: MIT */
/*
 * upgrade, reload, rollback, pause, resume. An order has a ticket that is drawn here: whatever agent answers, the same order is
 * never done twice, so it may be repeated until somebody has taken it. From then on it goes its way without this client, which
 * only asks how it ended.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/ctl/ctl.h"
#include "agent/order.h"

enum { ANSWER_MS = 10000, GRACE_MS = 500 /* beyond the patience of the user, for an answer that says that it is over */, HOUR_MS = 3600 * 1000, AGAIN_US = 10000, TRIES_MAX = 3, EXIT_LOST = 100 /* none: the order is unknown */ };

struct errand {
        struct ctl *ctl;
        const char *path;
        const char *what;       /* "the upgrade" */
        struct control_order order;
        const char *body;
        int64_t until;          /* INT64_MAX: for ever */
        char *answer;           /* to the last request */
};

static int64_t left(const struct errand *e, int64_t most)
{
        int64_t ms = e->until == INT64_MAX ? most : e->until - ctl_now_ms();

        return ms < 0 ? 0 : ms < most ? ms : most;
}

static bool out_of_time(const struct errand *e)
{
        return e->until != INT64_MAX && ctl_now_ms() >= e->until;
}

/* Nobody answered, or an agent that ends: is there, or will there be, another one? Return: 0: ask again; an exit status */
static int next_agent(struct errand *e, const char *too_late)
{
        if (!ctl_still_there(e->ctl)) {
                fprintf(stderr, "baton: the instance ended before %s did\n", e->what);
                return EXIT_NO_INSTANCE;
        }
        if (out_of_time(e)) {
                fprintf(stderr, "baton: timed out; %s %s\n", e->what, too_late);
                return EXIT_TIMED_OUT;
        }
        (void)usleep(AGAIN_US);
        return 0;
}

static bool is_answer(int status)
{
        return status == -ENOMEM || (status > 0 && status != 503 && status != 504);
}

/* Until an agent has taken it. Return: 0; an exit status */
static int place(struct errand *e)
{
        int status, r;

        do {
                free(TAKE(e->answer));
                status = ctl_post(e->ctl, e->path, e->body, left(e, ANSWER_MS - GRACE_MS) + GRACE_MS, &e->answer);
                if (is_answer(status))
                        return ctl_judge(status, e->answer ? e->answer : "");
                r = next_agent(e, "was not confirmed");
        } while (r == 0);
        return r;
}

/* Until it ended. Return: an exit status, or EXIT_LOST */
static int await(struct errand *e)
{
        char path[96];
        int status, r;

        do {
                (void)snprintf(path, sizeof(path), "/v1/ticket?id=%" PRIu64 "&timeout_ms=%" PRId64, e->order.ticket, left(e, HOUR_MS));
                free(TAKE(e->answer));
                status = ctl_request(e->ctl, "GET", path, left(e, HOUR_MS) + GRACE_MS, &e->answer);
                if (status == 404)
                        return EXIT_LOST;
                if (status == 200) {
                        if (e->ctl->json)
                                printf("%s", e->answer);
                        return show_end_of_order(e->answer, e->ctl->json);
                }
                if (is_answer(status))
                        return ctl_judge(status, e->answer ? e->answer : "");
                r = next_agent(e, "goes on");
        } while (r == 0);
        return r;
}

/*
 * An agent that had to start without its state does not know the order of the one before it. To upgrade, or to go back to a
 * named epoch, once more does no harm; "one back" done twice would go back two.
 */
static int place_and_await(struct errand *e)
{
        bool repeatable = strcmp(e->path, "/v1/upgrade") == 0 || e->order.has_target;

        for (int tries = 1;; tries++) {
                int r = place(e);

                if (r == 0 && e->ctl->no_wait && e->ctl->json)
                        printf("%s", e->answer);
                if (r != 0 || e->ctl->no_wait)
                        return r;
                r = await(e);
                if (r != EXIT_LOST)
                        return r;
                if (!repeatable || tries == TRIES_MAX) {
                        fprintf(stderr, "baton: the agent that took %s is gone, and the next one does not know it; see baton status\n", e->what);
                        return EXIT_FAILED;
                }
        }
}

static int draw_ticket(uint64_t *ret)
{
        do {
                if (getrandom(ret, sizeof(*ret), 0) != sizeof(*ret)) {
                        fprintf(stderr, "baton: no ticket can be drawn: %s\n", strerror(errno));
                        return EXIT_FAILED;
                }
                *ret >>= 1;
        } while (*ret == 0);
        return 0;
}

static int order(struct ctl *c, const char *path, const char *what, const struct control_order *o)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        struct errand e = { .ctl = c, .path = path, .what = what, .order = *o,
                            .until = c->timeout_ms < 0 ? INT64_MAX : ctl_now_ms() + c->timeout_ms };
        int r = ctl_find(c);

        if (r == 0)
                r = draw_ticket(&e.order.ticket);
        if (r != 0)
                return r;
        order_write(&e.order, &w);
        e.body = json_writer_text(&w);
        r = e.body ? place_and_await(&e) : EXIT_FAILED;
        free(e.answer);
        (void)fflush(stdout);
        return r;
}

/* The program's name as the agent understands it, whatever its own folder is. Return: 0; an exit status */
static int make_absolute(const char *cwd, char **argv, char **ret_program)
{
        if (!*argv[0]) {
                fprintf(stderr, "baton upgrade: the name of the proxy is empty\n");
                return EXIT_USAGE;
        }
        if (*argv[0] == '/' || !strchr(argv[0], '/'))
                return 0;
        if (!*cwd) {
                fprintf(stderr, "baton upgrade: %s starts from the current directory, and that has no name\n", argv[0]);
                return EXIT_USAGE;
        }
        if (asprintf(ret_program, "%s%s%s", cwd, cwd[1] ? "/" : "", strncmp(argv[0], "./", 2) == 0 ? argv[0] + 2 : argv[0]) < 0) {
                *ret_program = NULL;
                return EXIT_FAILED;
        }
        argv[0] = *ret_program;
        return 0;
}

int verb_upgrade(struct ctl *c)
{
        CLEANUP(free_ptr) char *cwd = get_current_dir_name(), *program = NULL;
        struct control_order o = CONTROL_ORDER_NULL;
        int r;

        if (c->canary) {
                fprintf(stderr, "baton %s: --canary: not in this version\n", c->verb);
                return EXIT_USAGE;
        }
        if (c->observe_ms > ORDER_OBSERVE_MS_MAX) {
                fprintf(stderr, "baton %s: --observe: at most a day\n", c->verb);
                return EXIT_USAGE;
        }
        o.observe_ms = c->observe_ms;
        o.self = c->self;
        if (c->proxy) {
                if (c->n_proxy == 0) {
                        fprintf(stderr, "baton %s: there is no proxy behind --\n", c->verb);
                        return EXIT_USAGE;
                }
                o.cwd = cwd && *cwd == '/' ? cwd : "";
                r = make_absolute(o.cwd, c->proxy, &program);
                if (r != 0)
                        return r;
                o.proxy = (const char *const *)c->proxy;
                o.n_proxy = c->n_proxy;
        }
        return order(c, "/v1/upgrade", "the upgrade", &o);
}

int verb_rollback(struct ctl *c)
{
        struct control_order o = CONTROL_ORDER_NULL;

        o.has_target = c->to >= 0;
        o.target = o.has_target ? (uint64_t)c->to : 0;
        return order(c, "/v1/rollback", "the rollback", &o);
}

/* To say it twice is to say it once: it is repeated until somebody has heard it. */
static int say(struct ctl *c, const char *path, const char *what)
{
        struct errand e = { .ctl = c, .path = path, .what = what, .body = "", .until = INT64_MAX };
        int r = ctl_find(c);

        if (r == 0)
                r = place(&e);
        free(e.answer);
        return r;
}

int verb_pause(struct ctl *c)
{
        return say(c, "/v1/pause", "the pause");
}

int verb_resume(struct ctl *c)
{
        return say(c, "/v1/resume", "the resume");
}
