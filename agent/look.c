/* SPDX-License-Identifier: MIT */
/*
 * One look at a generation: every key it asked for is harvested, its admin socket is asked for the facts of the gate, and
 * when all of it is there (or nothing more has come for 2 s) one event says what was seen. Also the small questions to the
 * admin: has the list of listeners changed, what is in flight.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/in_flight.h"
#include "agent/listeners_page.h"
#include "agent/log.h"

enum { LOOK_MS = 2000, ADMIN_MS = 2000, ORDER_MS = 5000, RETRY_MS = 5, PAGE_BYTES_MAX = 16 * 1024 * 1024 };

struct look_run {
        struct proc *proc;
        bool harvest_done, harvest_failed;
        bool sync_owed; /* until it is sent nothing is asked: what would come first is the answer to somebody else's question */
        size_t n, asked, answered;
        struct admin_request *facts_request, *listeners_request;
        bool facts_known, listeners_known;
        struct listener_facts facts;
        char *listed; /* JSON of /listeners */
        size_t listed_bytes;
        ev_timer timeout, retry;
        struct look_key keys[KEYS_MAX];
        int fds[KEYS_MAX];
};

/* ---- the run ---------------------------------------------------------------------------------------- */

/* Which keys /listeners names: those of the look, and the held ones that nobody asked for again. */
static bool mark_listed(struct look_run *run, struct look_key *keys, size_t n)
{
        CLEANUP(listeners_page_done) struct listeners_page page = LISTENERS_PAGE_NULL;

        if (!run->listed || listeners_page_read(run->listed, run->listed_bytes, &page) != 0)
                return false;
        for (size_t i = 0; i < n; i++)
                keys[i].listed = listeners_page_has(&page, &run->proc->agent->s.escrow.keys[keys[i].key].key);
        return true;
}

/* A listener that binds no port has no socket that could be missing. */
static void forget_unbound(struct bootstrap *b)
{
        size_t n = 0;

        for (size_t i = 0; i < b->n_urls; i++) {
                if (!b->listeners[i].binds)
                        continue;
                memmove(b->urls[n], b->urls[i], sizeof(b->urls[n]));
                b->listeners[n++] = b->listeners[i];
        }
        b->n_urls = n;
}

/* What the bootstrap itself says. Read once for each content: a large one takes a while. */
const struct bootstrap *look_content(struct agent *a, const struct epoch *e)
{
        struct content_facts *f = &a->facts[e && e->trial];

        for (size_t i = 0; e && i < sizeof(a->facts) / sizeof(a->facts[0]); i++)
                if (a->facts[i].known && a->facts[i].origin == e->origin)
                        return &a->facts[i].b;
        if (!e)
                return &f->b;
        bootstrap_done(&f->b);
        *f = (struct content_facts){ .known = true, .origin = e->origin };
        agent_bootstrap(a, e->number, &f->b);
        forget_unbound(&f->b);
        (void)malloc_trim(0); /* what parsing a large one took would stay with us for ever */
        return &f->b;
}

static void run_free(struct look_run *run)
{
        struct agent *a = run->proc->agent;

        ev_timer_stop(a->loop, &run->timeout);
        ev_timer_stop(a->loop, &run->retry);
        if (run->facts_request)
                admin_cancel(TAKE(run->facts_request));
        if (run->listeners_request)
                admin_cancel(TAKE(run->listeners_request));
        for (size_t i = 0; i < run->n; i++)
                close_fd(&run->fds[i]);
        free(run->listed);
        free(run);
}

void look_abort(struct proc *p)
{
        p->look_again = false;
        if (p->look)
                run_free(TAKE(p->look));
}

/* Held keys that the generation never asked for belong to the judgement too: were they removed, or are they late? */
static size_t add_unasked(struct look_run *run)
{
        const struct escrow *e = &run->proc->agent->s.escrow;
        size_t n = run->n;

        for (uint32_t i = 0; i < e->n && n < KEYS_MAX; i++)
                if (e->keys[i].inode && !escrow_asked_by(e, i, run->proc->epoch))
                        run->keys[n++] = (struct look_key){ .key = i };
        return n;
}

/* DO_HOLD wants the socket only if it is another one than we hold: not every socket needs a second descriptor for the look. */
static bool is_held(const struct look_run *run, const struct look_key *k)
{
        const struct agent *a = run->proc->agent;

        return k->inode && a->s.escrow.keys[k->key].inode == k->inode && a->sockets[k->key] >= 0;
}

/* What was not kept for being held, and is not held any more, is not there to be held: look again. */
static bool lost_meanwhile(const struct look_run *run)
{
        for (size_t i = 0; i < run->n; i++)
                if (run->keys[i].inode && run->fds[i] < 0 && !is_held(run, &run->keys[i]))
                        return true;
        return false;
}

static void ask_version(struct proc *p);

static void run_finish(struct look_run *run)
{
        struct proc *p = run->proc;
        struct agent *a = p->agent;
        uint64_t epoch = p->epoch;
        bool again = p->look_again;
        size_t n = add_unasked(run);
        const struct bootstrap *facts = look_content(a, succession_find(&a->s, epoch));
        struct look look = {
                .keys = run->keys,
                .n = n,
                .statics = (const char (*)[HR_URL_BYTES])facts->urls,
                .n_statics = facts->n_urls,
                .lds = bootstrap_listeners_from_outside(facts),
                .harvest_failed = run->harvest_failed || !run->harvest_done || lost_meanwhile(run),
                .admin_answered = run->facts_known,
                .lds_answered = run->facts.lds_answers > 0,
                .warming = run->facts.warming > 0,
                .create_failures = run->facts.create_failures,
        };

        look.listeners_known = mark_listed(run, run->keys, n);
        for (size_t i = 0; i < run->n; i++)
                a->looked[run->keys[i].key] = TAKE_FD(run->fds[i]);
        p->look = NULL;
        p->look_again = false;
        ev_timer_stop(a->loop, &run->timeout);
        agent_feed(a, &(struct succession_input){ .event = ON_LOOK, .epoch = epoch, .look = &look });
        for (size_t i = 0; i < run->n; i++)
                close_fd(&a->looked[run->keys[i].key]); /* what was not kept */
        run_free(run);
        p = agent_proc(a, epoch);
        if (!p)
                return;
        ask_version(p);
        if (again && !p->look)
                look_start(p);
}

static void run_check(struct look_run *run)
{
        if ((run->harvest_done || run->harvest_failed) && !run->facts_request && !run->listeners_request)
                run_finish(run);
}

/* Answers to a dead agent, or to a look that ran out of time, must not be taken for ours. Return: false: ask nothing yet */
static bool sync_sent(struct look_run *run)
{
        struct proc *p = run->proc;
        int r;

        if (!run->sync_owed)
                return true;
        r = hr_child_sync(&p->child);
        if (r == HR_WOULD_BLOCK) {
                ev_timer_again(p->agent->loop, &run->retry);
                return false;
        }
        if (r != 0) {
                run->harvest_failed = true;
                return false;
        }
        run->sync_owed = false;
        p->child_used = true;
        return true;
}

static void ask_more(struct look_run *run)
{
        struct proc *p = run->proc;
        struct agent *a = p->agent;

        if (run->harvest_failed || !sync_sent(run))
                return;
        while (!p->child.syncing && run->asked < run->n) {
                struct hr_message m = { .type = HR_PASS_LISTEN_SOCKET, .fd = -1,
                                        .key = a->s.escrow.keys[run->keys[run->asked].key].key };
                int r = hr_child_ask(&p->child, &m);

                if (r == HR_WOULD_BLOCK && p->child.outstanding > 0)
                        return; /* its answers bring us back */
                if (r == HR_WOULD_BLOCK) {
                        ev_timer_again(a->loop, &run->retry);
                        return;
                }
                if (r != 0) {
                        run->harvest_failed = true;
                        return;
                }
                p->child_used = true;
                run->asked++;
        }
}

static void answer_came(struct look_run *run, const struct hr_message *m, int fd)
{
        struct look_key *k;

        if (run->harvest_failed || run->answered >= run->asked) { /* nobody can tell whose it is, or nobody asked for it */
                close_fd(&fd);
                return;
        }
        k = &run->keys[run->answered];
        run->fds[run->answered] = fd;
        ev_timer_again(run->proc->agent->loop, &run->timeout); /* thousands of keys may take longer than one, all together */
        if (m->type == HR_REPLY_PASS && fd >= 0) {
                if (hr_listener_inode(fd, &k->inode) < 0)
                        k->inode = 0;
                if (hr_listener_queue(fd, &k->waiting) < 0)
                        k->waiting = 0;
                if (is_held(run, k))
                        close_fd(&run->fds[run->answered]);
        }
        run->answered++;
}

void look_read(struct proc *p)
{
        struct hr_message m;
        int fd, r;

        while (p->used && (r = hr_child_read(&p->child, &m, &fd)) != HR_NOTHING) {
                if (p->look && p->child.shifted)
                        p->look->harvest_failed = true;
                if (r == HR_GARBAGE)
                        continue; /* a stranger's harms nobody */
                if (r < 0)
                        break;
                if (p->look)
                        answer_came(p->look, &m, fd);
                else
                        close_fd(&fd);
        }
        if (!p->used || !p->look)
                return;
        ask_more(p->look);
        p->look->harvest_done = !p->look->sync_owed && !p->child.syncing && p->look->answered == p->look->n;
        run_check(p->look);
}

static void on_retry(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct look_run *run = w->data;

        (void)revents;
        ev_timer_stop(loop, w);
        look_read(run->proc);
}

static void on_timeout(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct look_run *run = w->data;

        (void)loop;
        (void)revents;
        run_finish(run);
}

static void on_facts(void *userdata, int status, const char *body, size_t n)
{
        struct look_run *run = userdata;

        run->facts_request = NULL;
        run->facts_known = status == 200;
        if (run->facts_known)
                listener_facts_read(body, n, &run->facts);
        run_check(run);
}

static void on_listed(void *userdata, int status, const char *body, size_t n)
{
        struct look_run *run = userdata;

        run->listeners_request = NULL;
        if (status == 200) {
                run->listed = malloc(n ? n : 1);
                run->listed_bytes = run->listed ? n : 0;
                if (run->listed)
                        memcpy(run->listed, body, n);
        }
        run_check(run);
}

static void ask_admin(struct look_run *run, bool lds)
{
        struct proc *p = run->proc;
        char path[HR_PATH_MAX + 16];

        if (kit_admin_path(p->agent->run_dir, p->epoch, path, sizeof(path)) < 0)
                return;
        (void)admin_request(p->agent->admin, path, "GET", LISTENER_FACTS_QUERY, ADMIN_MS, PAGE_BYTES_MAX, on_facts, run,
                            &run->facts_request);
        if (lds)
                (void)admin_request(p->agent->admin, path, "GET", LISTENERS_QUERY, ADMIN_MS, PAGE_BYTES_MAX,
                                    on_listed, run, &run->listeners_request);
}

void look_start(struct proc *p)
{
        struct agent *a = p->agent;
        struct epoch *e = succession_find(&a->s, p->epoch);
        const struct bootstrap *facts;
        struct look_run *run;

        if (p->look) {
                p->look_again = true;
                return;
        }
        if (!e || p->parent_fd < 0)
                return;
        facts = look_content(a, e);
        run = calloc(1, sizeof(*run));
        if (!run)
                return; /* the next look comes by itself */
        run->proc = p;
        for (uint32_t i = 0; i < a->s.escrow.n; i++)
                if (escrow_asked_by(&a->s.escrow, i, p->epoch))
                        run->keys[run->n++] = (struct look_key){ .key = i };
        for (size_t i = 0; i < run->n; i++)
                run->fds[i] = -1;
        ev_timer_init(&run->timeout, on_timeout, 0., LOOK_MS / 1e3);
        ev_timer_init(&run->retry, on_retry, 0., RETRY_MS / 1e3);
        run->timeout.data = run;
        run->retry.data = run;
        ev_timer_again(a->loop, &run->timeout);
        p->look = run;
        run->sync_owed = (!p->child_used || p->child.outstanding > 0 || p->child.shifted) && !p->child.syncing;
        ask_admin(run, bootstrap_listeners_from_outside(facts));
        ask_more(run);
        /* Never finished from here: we are inside an effect. The loop comes back at once. */
        ev_timer_set(&run->retry, 0., RETRY_MS / 1e3);
        ev_timer_start(a->loop, &run->retry);
}

/* ---- its version ------------------------------------------------------------------------------------ */

static void on_server_info(void *userdata, int status, const char *body, size_t n)
{
        struct proc *p = userdata;

        p->asking = NULL;
        if (status == 200)
                (void)server_info_version(body, n, p->version, sizeof(p->version));
}

static void ask_version(struct proc *p)
{
        char path[HR_PATH_MAX + 16];

        if (*p->version || p->asking || kit_admin_path(p->agent->run_dir, p->epoch, path, sizeof(path)) < 0)
                return;
        (void)admin_request(p->agent->admin, path, "GET", SERVER_INFO_QUERY, ADMIN_MS, PAGE_BYTES_MAX, on_server_info, p,
                            &p->asking);
}

/* ---- small questions -------------------------------------------------------------------------------- */

static void on_watched(void *userdata, int status, const char *body, size_t n)
{
        struct proc *p = userdata;
        bool changed = false;

        p->watching = NULL;
        if (status == 200) {
                changed = !p->listeners || p->listeners_bytes != n || memcmp(p->listeners, body, n) != 0;
                free(p->listeners);
                p->listeners = malloc(n ? n : 1);
                p->listeners_bytes = p->listeners ? n : 0;
                if (p->listeners)
                        memcpy(p->listeners, body, n);
        }
        agent_feed(p->agent, &(struct succession_input){ .event = ON_LISTENERS, .epoch = p->epoch, .value = changed });
}

void look_watch_listeners(struct proc *p)
{
        char path[HR_PATH_MAX + 16];

        if (p->watching || kit_admin_path(p->agent->run_dir, p->epoch, path, sizeof(path)) < 0)
                return;
        (void)admin_request(p->agent->admin, path, "GET", LISTENERS_QUERY, ADMIN_MS, PAGE_BYTES_MAX, on_watched, p,
                            &p->watching);
}

static void on_sampled(void *userdata, int status, const char *body, size_t n)
{
        struct proc *p = userdata;
        struct succession_input in = { .event = ON_SAMPLE, .epoch = p->epoch, .in_flight = -1, .connections = -1 };
        struct in_flight f;

        p->sampling = NULL;
        if (p->drain_owed)
                proc_drain_listeners(p);
        if (p->order_owed && !p->ordering)
                look_order(p, p->order_owed);
        if (status == 200) {
                in_flight_read(body, n, &f);
                in.in_flight = f.active;
                in.connections = f.connections;
                in.requests_total = f.requests_total;
        }
        agent_feed(p->agent, &in);
}

void look_sample(struct proc *p)
{
        char path[HR_PATH_MAX + 16];

        if (p->sampling || p->parent_fd < 0 || kit_admin_path(p->agent->run_dir, p->epoch, path, sizeof(path)) < 0)
                return;
        p->sampled = clock_now();
        (void)admin_request(p->agent->admin, path, "GET", IN_FLIGHT_QUERY, ADMIN_MS, PAGE_BYTES_MAX, on_sampled, p,
                            &p->sampling);
}

static void on_ordered(void *userdata, int status, const char *body, size_t n)
{
        struct proc *p = userdata;

        (void)body;
        (void)n;
        p->ordering = NULL;
        if (status == 200) {
                p->order_owed = NULL;
                p->order_failed = false;
                return;
        }
        if (!p->order_failed) /* one failure, one line */
                log_event(LOG_NOTICE, "admin.order-failed", F_UINT("epoch", p->epoch), F_INT("status", status));
        p->order_failed = true;
}

/* A busy admin may not take it: on_sampled() tries again. */
void look_order(struct proc *p, const char *path)
{
        char socket[HR_PATH_MAX + 16];

        if (p->parent_fd < 0 || kit_admin_path(p->agent->run_dir, p->epoch, socket, sizeof(socket)) < 0)
                return;
        if (p->ordering)
                admin_cancel(TAKE(p->ordering));
        p->order_owed = path;
        (void)admin_request(p->agent->admin, socket, "POST", path, ORDER_MS, PAGE_BYTES_MAX, on_ordered, p, &p->ordering);
}
