/* SPDX-License-Identifier: MIT */
/* See world.h. Performs and watches; decides nothing that the product decides. */
#include "tests/support/world.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODE_EXITED = 1, CODE_KILLED = 2, ROUNDS_MAX = 200000, UDP_KEY = 3, LDS_KEY = 2 };

static void __attribute__((format(printf, 2, 3))) broken(struct world *w, const char *format, ...)
{
        int n;
        va_list ap;

        if (w->failure[0])
                return;
        n = snprintf(w->failure, sizeof(w->failure), "at %" PRId64 " ms: ", w->now.ns / 1000000);
        va_start(ap, format);
        (void)vsnprintf(w->failure + n, sizeof(w->failure) - (size_t)n, format, ap);
        va_end(ap);
}

/* The same question has the same answer in every run of a seed, however often it is asked. */
static uint64_t fate(const struct world *w, uint64_t a, uint64_t b, uint64_t below)
{
        struct prng p = { w->seed * 1000003 + a * 10007 + b };

        return prng_below(&p, below);
}

/* Three listeners for TCP and one for UDP; the last keys are further workers of the first. */
static size_t url_of(size_t k)
{
        return k < WORLD_URLS ? k : 0;
}

static const struct hr_key *key_of(size_t i)
{
        static struct hr_key keys[WORLD_KEYS];

        if (!keys[0].url[0])
                for (size_t k = 0; k < WORLD_KEYS; k++) {
                        (void)snprintf(keys[k].url, sizeof(keys[k].url), "%s://127.0.0.1:808%zu", k == UDP_KEY ? "udp" : "tcp", url_of(k));
                        keys[k].worker = k < WORLD_URLS ? 0 : (uint32_t)(k - WORLD_URLS + 1);
                }
        return &keys[i];
}

static size_t key_number(const struct world *w, uint32_t index)
{
        for (size_t k = 0; k < WORLD_KEYS; k++)
                if (hr_key_equal(key_of(k), &w->s.escrow.keys[index].key))
                        return k;
        abort();
}

/* What a config says: how many workers, and whether there is the second listener. */
static bool has_key(const struct world *w, uint64_t content, size_t k)
{
        if (k == UDP_KEY)
                return w->udp;
        if (k == 1)
                return fate(w, content, 31, 4) != 0;
        return k < WORLD_URLS || k - WORLD_URLS + 1 < 1 + fate(w, content, 32, 4);
}

/* The control plane takes one listener away and brings it back, each 20 s. */
static bool listener_exists(const struct world *w, uint64_t content, size_t k)
{
        return has_key(w, content, k) &&
               (k != LDS_KEY || !w->lds || w->steady || fate(w, 77, (uint64_t)(w->now.ns / 20000000000), 2) == 0);
}

static bool accepts(const struct world_proxy *p)
{
        return p->alive && p->up && !p->draining;
}

/* ---- the kernel's groups ----------------------------------------------------------------------------- */

static bool is_open(const struct world *w, size_t url, uint32_t inode)
{
        if (w->silent[inode % WORLD_SOCKETS])
                return false;
        for (size_t k = 0; k < WORLD_KEYS; k++) {
                if (url_of(k) != url)
                        continue;
                if (w->held[k] == inode)
                        return true;
                for (size_t i = 0; i <= w->last_kit; i++)
                        if (w->p[i].alive && !w->p[i].draining && w->p[i].inode[k] == inode)
                                return true;
        }
        return false;
}

static void join_group(struct world *w, size_t url, uint32_t inode)
{
        struct world_group *g = &w->groups[url];

        for (size_t i = 0; i < g->n; i++)
                if (g->member[i] == inode)
                        return;
        if (g->n == WORLD_GROUP)
                abort();
        g->member[g->n++] = inode;
}

/* Who listens joins at the end; the place of one that leaves is taken by the last. */
static void regroup(struct world *w)
{
        for (size_t url = 0; url < WORLD_URLS; url++) {
                struct world_group *g = &w->groups[url];

                for (size_t i = 0; i < g->n;) {
                        if (is_open(w, url, g->member[i]))
                                i++;
                        else
                                g->member[i] = g->member[--g->n];
                }
                if (g->n == 0)
                        g->steered = 0;
        }
        for (size_t k = 0; k < WORLD_KEYS; k++) {
                if (w->held[k] && is_open(w, url_of(k), w->held[k]))
                        join_group(w, url_of(k), w->held[k]);
                for (size_t i = 0; i <= w->last_kit; i++)
                        if (w->p[i].inode[k] && is_open(w, url_of(k), w->p[i].inode[k]))
                                join_group(w, url_of(k), w->p[i].inode[k]);
        }
}

/* ---- proxies ---------------------------------------------------------------------------------------- */

static void be_born(struct world *w, uint64_t epoch)
{
        struct world_proxy *p = &w->p[epoch];
        uint64_t kind = fate(w, epoch, 1, 9);

        p->launched = p->alive = true;
        p->ignores_term = fate(w, epoch, 2, 4) == 0;
        p->acts_at = mono_after_ms(w->now, (int64_t)fate(w, epoch, 3, 400));
        p->dies_at = MONO_NEVER;
        if (kind < 2) /* before it is up */
                p->dies_at = mono_after_ms(w->now, (int64_t)fate(w, epoch, 4, 1500));
        else if (kind < 5)
                p->dies_at = mono_after_ms(w->now, 2000 + (int64_t)fate(w, epoch, 4, 100000));
        else if (kind < 7) { /* its start hangs, before it asks for sockets or when it has them */
                p->hangs_at = kind == 5 ? 1 : WORLD_KEYS + 1;
                p->dies_at = mono_after_ms(w->now, (int64_t)fate(w, epoch, 4, 200000));
        }
        p->code = fate(w, epoch, 5, 2) ? CODE_EXITED : CODE_KILLED;
        p->status = p->code == CODE_KILLED ? SIGSEGV : fate(w, epoch, 6, 12) ? 1 : 0;
        w->launches++;
}

static void die(struct world *w, struct world_proxy *p)
{
        p->alive = p->waits = false;
        p->exited = true;
        p->exited_at = w->now;
        p->dies_at = p->acts_at = MONO_NEVER;
        regroup(w);
}

static void listen_on_all(struct world *w, struct world_proxy *p)
{
        for (size_t k = 0; k < WORLD_KEYS; k++) {
                if (!listener_exists(w, p->content, k)) {
                        p->inode[k] = 0;
                        continue;
                }
                if (!p->inode[k])
                        p->inode[k] = ++w->inodes;
                w->silent[p->inode[k] % WORLD_SOCKETS] = false;
        }
        regroup(w);
}

static void go_on(struct world *w, uint64_t epoch)
{
        struct world_proxy *p = &w->p[epoch];

        p->step++;
        if (p->step == p->hangs_at)
                p->step = WORLD_KEYS + 3;
        p->acts_at = p->step <= WORLD_KEYS + 2 ? mono_after_ms(w->now, (int64_t)fate(w, epoch, 10 + p->step, 60)) : MONO_NEVER;
}

/* The next step of a start: a request, or that it is up. */
static void act(struct world *w, uint64_t epoch)
{
        struct world_proxy *p = &w->p[epoch];

        if (p->step >= 1 && p->step <= WORLD_KEYS && !listener_exists(w, p->content, p->step - 1)) {
                go_on(w, epoch);
                return;
        }
        p->request = p->step == 0 ? HR_SHUTDOWN_ADMIN : p->step <= WORLD_KEYS ? HR_PASS_LISTEN_SOCKET
                     : p->step == WORLD_KEYS + 1 ? HR_DRAIN_LISTENERS : HR_TERMINATE;
        p->queued = true;
        p->waits = p->step <= WORLD_KEYS;
        p->acts_at = MONO_NEVER;
        if (p->request != HR_DRAIN_LISTENERS)
                return;
        p->up = true;
        listen_on_all(w, p);
}

/* ---- effects ---------------------------------------------------------------------------------------- */

static void back(struct world *w, struct succession_input in)
{
        if (w->queued == sizeof(w->queue) / sizeof(w->queue[0]))
                abort();
        w->queue[w->queued++] = in;
}

static void make_kit(struct world *w, const struct effect *fx)
{
        struct world_proxy *p = &w->p[fx->epoch];

        if (fx->epoch >= WORLD_PROXIES - 1)
                abort(); /* a longer history than this world is made for */
        if (p->launched || (fx->epoch <= w->last_kit && !w->n_deaths && w->last_kit))
                broken(w, "kit %" PRIu64 " has been there before", fx->epoch);
        w->last_kit = fx->epoch > w->last_kit ? fx->epoch : w->last_kit;
        p->kit_held = true;
        p->content = (uint64_t)fx->value == CONTENT_DISK || (uint64_t)fx->value == CONTENT_KEPT ? w->disk : w->p[fx->value].content;
        if (fx->epoch == w->s.upgrade.candidate && fate(w, p->content, 33, 8) == 0) {
                back(w, (struct succession_input){ .event = ON_KIT_FAILED, .epoch = fx->epoch, .value = 1, .text = "it cannot be read" });
                return;
        }
        back(w, (struct succession_input){ .event = ON_KIT_READY, .epoch = fx->epoch, .base_id = 1 + fx->epoch,
                                           .value = escrow_holds_udp(&w->s.escrow) });
}

/* One is wanted, and one on trial beside it; all others are on their way out. */
static bool may_live_beside(struct world *w, uint64_t epoch, uint64_t other)
{
        const struct epoch *e = succession_find(&w->s, other);

        if (epoch == w->s.upgrade.candidate || other == w->s.upgrade.candidate)
                return true;
        return e && (e->state == EPOCH_DRAINING || e->state == EPOCH_STOPPING);
}

static void comes_early(struct world *w, uint64_t epoch)
{
        w->early = epoch;
        w->p[epoch].was_early = true;
}

/* Changed content that is launched after a crash, and a candidate beside it: each opens what is new by itself. */
static void note_two_starts(struct world *w)
{
        const struct epoch *wanted = succession_find(&w->s, w->s.wanted), *served = succession_find(&w->s, w->s.served);

        if (w->s.upgrade.state < UPGRADE_STARTING || !wanted || wanted->state != EPOCH_STARTING || !served || served->origin == wanted->origin)
                return;
        w->p[wanted->number].was_early = true;
        comes_early(w, w->s.upgrade.candidate);
}

static void launch(struct world *w, const struct effect *fx)
{
        struct world_proxy *p = &w->p[fx->epoch];

        if (!p->launched && !p->kit_held) {
                broken(w, "launch of %" PRIu64 " without a kit", fx->epoch);
                return;
        }
        if (!p->launched) {
                for (size_t i = 0; i < WORLD_PROXIES; i++)
                        if (w->p[i].alive && !may_live_beside(w, fx->epoch, i))
                                broken(w, "%" PRIu64 " is launched beside %zu", fx->epoch, i);
                be_born(w, fx->epoch);
                note_two_starts(w);
        }
        back(w, (struct succession_input){ .event = ON_PROCESS, .epoch = fx->epoch, .pid = (int)(1000 + fx->epoch) });
}

static size_t asked_for(const struct world_proxy *p)
{
        return p->step > WORLD_KEYS ? LDS_KEY : p->step - 1;
}

static bool may_not_bind(const struct world *w, size_t k)
{
        return k != UDP_KEY && w->l.low_ports;
}

/* Permission denied: an Envoy that starts ends with that, one that runs goes on without the listener. */
static void give_up(struct world *w, struct world_proxy *p)
{
        p->code = CODE_EXITED;
        p->status = 1;
        p->dies_at = mono_min(p->dies_at, mono_after_ms(w->now, 1));
}

static void reply(struct world *w, const struct effect *fx)
{
        struct world_proxy *p = &w->p[fx->epoch];

        if (!p->alive)
                return;
        if (!p->waits || p->queued) {
                broken(w, "%" PRIu64 " got an answer that it did not wait for", fx->epoch);
                return;
        }
        p->waits = false;
        w->replies++;
        if (p->request == HR_PASS_LISTEN_SOCKET && fx->key != NO_KEY) {
                p->inode[key_number(w, fx->key)] = w->held[key_number(w, fx->key)];
                if (p->up && !p->draining) /* a further listener: it listens on what it was given */
                        w->silent[w->held[key_number(w, fx->key)] % WORLD_SOCKETS] = false;
                regroup(w);
        } else if (p->request == HR_PASS_LISTEN_SOCKET && may_not_bind(w, asked_for(p))) {
                p->inode[asked_for(p)] = 0;
                if (!p->up)
                        give_up(w, p);
        } else if (p->request == HR_PASS_LISTEN_SOCKET && p->step >= 1 && p->step <= WORLD_KEYS) {
                p->inode[p->step - 1] = ++w->inodes; /* it listens from now on, and accepts when it is up */
                regroup(w);
        }
        go_on(w, fx->epoch);
}

static void take(struct world *w, uint64_t epoch)
{
        if (!w->p[epoch].queued)
                broken(w, "a request of %" PRIu64 " was taken that is not there", epoch);
        w->p[epoch].queued = false;
        if (!w->p[epoch].waits && w->p[epoch].alive)
                go_on(w, epoch);
}

static void signal_one(struct world *w, const struct effect *fx)
{
        struct world_proxy *p = &w->p[fx->epoch];

        if (!p->alive || (fx->value == SIGTERM && p->ignores_term))
                return;
        p->code = CODE_KILLED;
        p->status = (int)fx->value;
        p->dies_at = mono_min(p->dies_at, mono_after_ms(w->now, fx->value == SIGTERM ? 20 : 1));
}

static void hold(struct world *w, const struct effect *fx)
{
        for (size_t i = 0; w->judged && i < w->judged->n; i++)
                if (w->judged->keys[i].key == fx->key)
                        w->held[key_number(w, fx->key)] = (uint32_t)w->judged->keys[i].inode;
        regroup(w);
}

/* Bound, and nobody listens on it yet; or the port is taken. */
static void open_low(struct world *w, const struct effect *fx)
{
        size_t k = key_number(w, fx->key);

        if (w->held[k])
                broken(w, "key %zu is opened and held", k);
        if (fate(w, fx->epoch, 37 + k, 20) == 0) {
                back(w, (struct succession_input){ .event = ON_OPENED, .epoch = fx->epoch, .value = fx->key });
                return;
        }
        w->held[k] = ++w->inodes;
        w->silent[w->held[k] % WORLD_SOCKETS] = true;
        w->opens++;
        back(w, (struct succession_input){ .event = ON_OPENED, .epoch = fx->epoch, .value = fx->key, .inode = w->held[k] });
}

/* The shell does not steer a group with members that nobody knows. */
static void steer(struct world *w, const struct effect *fx)
{
        struct world_group *g = &w->groups[url_of(key_number(w, fx->key))];
        size_t known = 0;

        for (size_t i = 0; i < g->n; i++)
                for (uint32_t k = 0; k < w->s.escrow.n; k++)
                        known += w->s.escrow.keys[k].inode == g->member[i];
        if (g->n > known)
                return;
        g->steered = (uint32_t)fx->value;
        w->steers++;
}

static void perform(struct world *w, const struct effect *fx)
{
        struct world_proxy *p = fx->epoch < WORLD_PROXIES ? &w->p[fx->epoch] : NULL;

        switch (fx->kind) {
        case DO_MAKE_KIT:
                make_kit(w, fx);
                return;
        case DO_LAUNCH:
                launch(w, fx);
                return;
        case DO_SIGNAL:
                signal_one(w, fx);
                return;
        case DO_FORGET:
                if (p->alive)
                        broken(w, "%" PRIu64 " is forgotten and alive", fx->epoch);
                p->kit_held = false;
                p->acked = true;
                return;
        case DO_TAKE:
                take(w, fx->epoch);
                return;
        case DO_REPLY:
                reply(w, fx);
                return;
        case DO_OPEN:
                open_low(w, fx);
                return;
        case DO_REVIVE:
                w->silent[w->held[key_number(w, fx->key)] % WORLD_SOCKETS] = false;
                w->hushed[w->held[key_number(w, fx->key)] % WORLD_SOCKETS] = false;
                regroup(w);
                return;
        case DO_HUSH:
                if (!w->held[key_number(w, fx->key)])
                        broken(w, "key %" PRIu64 " is hushed and not held", (uint64_t)fx->key);
                w->hushed[w->held[key_number(w, fx->key)] % WORLD_SOCKETS] = true;
                w->hushes++;
                return;
        case DO_SILENCE:
                w->silent[w->held[key_number(w, fx->key)] % WORLD_SOCKETS] = true;
                if (w->s.upgrade.candidate != NO_EPOCH || w->s.steered_for != NO_EPOCH) /* what is revived stands behind what it opened */
                        comes_early(w, w->s.upgrade.candidate != NO_EPOCH ? w->s.upgrade.candidate : w->s.steered_for);
                regroup(w);
                return;
        case DO_HOLD:
                hold(w, fx);
                return;
        case DO_CLOSE:
                w->held[key_number(w, fx->key)] = 0;
                regroup(w);
                return;
        case DO_PROBE: /* without the protocol: not in this world */
                return;
        case DO_LOOK:
                p->look_wanted = true;
                return;
        case DO_WATCH_LISTENERS:
                p->watch_wanted = true;
                return;
        case DO_SAMPLE:
                p->sample_wanted = true;
                return;
        case DO_DRAIN_LISTENERS:
                p->draining = true;
                regroup(w);
                return;
        case DO_KEEP: /* never: no limit asks for it */
                return;
        case DO_VALIDATE:
                w->validate_wanted = fx->epoch;
                return;
        case DO_WATCH_CONTENT:
                w->watching = fx->value == WATCH_SINCE_SNAPSHOT || fx->value == WATCH_SINCE_NOW;
                if (fx->value == 1 && p->content != w->disk)
                        back(w, (struct succession_input){ .event = ON_CONTENT, .value = CHANGED_RELAUNCH });
                return;
        case DO_END:
                for (size_t i = 0; i <= w->last_kit; i++)
                        if (w->p[i].alive)
                                broken(w, "the end leaves %zu alive", i);
                for (size_t i = 0; i <= w->last_kit; i++)
                        if (w->p[i].kit_held)
                                broken(w, "the end leaves what belongs to %zu", i);
                for (size_t k = 0; k < WORLD_KEYS; k++)
                        if (w->held[k])
                                broken(w, "the end leaves key %zu held", k);
                w->ended = true;
                w->status = (int)fx->value;
                return;
        case DO_STEER:
                steer(w, fx);
                return;
        case DO_UNSTEER:
                w->groups[url_of(key_number(w, fx->key))].steered = 0;
                return;
        case DO_COUNT_LEAVING:
                w->count_wanted = true;
                return;
        case DO_PREFLIGHT:
                w->preflight_wanted = fx->epoch;
                return;
        case DO_FAIL_HEALTHCHECK:
        case DO_PASS_HEALTHCHECK:
        case DO_REPORT:
                return;
        }
}

/* ---- agents ----------------------------------------------------------------------------------------- */

static bool death_comes(struct world *w)
{
        return w->death_one_in && !w->ended && prng_one_in(&w->deaths, w->death_one_in);
}

static size_t facts_of(const struct world *w, struct resume_fact *facts)
{
        size_t n = 0;

        for (uint64_t i = 0; i < WORLD_PROXIES && n < GENERATIONS_MAX; i++) {
                const struct world_proxy *p = &w->p[i];

                if (p->kit_held)
                        facts[n++] = (struct resume_fact){ .epoch = i, .kit_held = true, .job_known = p->launched,
                                                           .pid = p->launched ? (int)(1000 + i) : 0,
                                                           .waits_for_reply = p->alive && p->waits && !p->queued };
        }
        return n;
}

static void store_and_perform(struct world *w);

static void next_agent(struct world *w)
{
        static struct resume_fact facts[GENERATIONS_MAX];

        w->n_deaths++;
        w->queued = 0;
        w->judged = NULL;
        w->watching = 0;
        w->validate_wanted = w->preflight_wanted = NO_EPOCH;
        w->count_wanted = false;
        for (size_t i = 0; i < WORLD_PROXIES; i++)
                w->p[i].look_wanted = w->p[i].sample_wanted = w->p[i].watch_wanted = w->p[i].told = false;
        if (image_read(w->stored, w->stored_bytes, &w->s) != 0)
                broken(w, "the stored image cannot be read");
        for (size_t k = 0; k < WORLD_KEYS; k++) {
                uint32_t key = escrow_find(&w->s.escrow, key_of(k));

                if (w->held[k] && (key == NO_KEY || !escrow_socket(&w->s.escrow.keys[key]))) { /* as the shell does: closed once more */
                        w->held[k] = 0;
                        regroup(w);
                }
                if (w->held[k])
                        (void)escrow_held_by_keeper(&w->s.escrow, key_of(k), w->held[k]);
                else if (key != NO_KEY)
                        escrow_not_held(&w->s.escrow, key);
        }
        for (size_t i = 0; i <= w->last_kit; i++) { /* the shell sweeps away what the state does not know */
                if (!w->p[i].kit_held || succession_find(&w->s, i))
                        continue;
                if (w->p[i].alive)
                        broken(w, "%zu lives and nobody knows it", i);
                w->p[i].kit_held = false;
                w->p[i].acked = true;
        }
        w->fx.n = 0;
        succession_resume(&w->s, &w->l, facts, facts_of(w, facts), w->now, &w->fx);
        store_and_perform(w);
}

static void store_and_perform(struct world *w)
{
        w->stored_bytes = image_write(&w->s, w->stored, sizeof(w->stored));
        if (!w->stored_bytes)
                broken(w, "the state does not fit");
        for (size_t i = 0; i < w->fx.n && !w->failure[0]; i++) {
                if (death_comes(w)) {
                        next_agent(w);
                        return;
                }
                perform(w, &w->fx.list[i]);
        }
        if (death_comes(w))
                next_agent(w);
}

static void check(struct world *w, bool after_clock);

/* What only this agent has heard must be stored by it; all else the next one finds again. */
static bool is_found_again(const struct succession_input *in)
{
        return in->event != ON_BEGIN && in->event != ON_CONTENT && in->event != ON_UNREADY;
}

static void feed(struct world *w, struct succession_input in)
{
        unsigned deaths = w->n_deaths;

        succession_step(&w->s, &w->l, &in, w->now, &w->fx);
        w->judged = in.look;
        if (is_found_again(&in) && death_comes(w)) /* before it has stored anything */
                next_agent(w);
        else
                store_and_perform(w);
        w->judged = NULL;
        w->fx.n = 0;
        while (w->queued && !w->failure[0] && !w->ended) {
                struct succession_input next = w->queue[0];

                w->queued--;
                memmove(w->queue, w->queue + 1, w->queued * sizeof(w->queue[0]));
                w->fx.n = 0;
                feed(w, next);
        }
        check(w, in.event == ON_CLOCK && w->n_deaths == deaths);
}

/* ---- what comes back -------------------------------------------------------------------------------- */

static void look_at(struct world *w, uint64_t epoch)
{
        static char statics[WORLD_KEYS][HR_URL_BYTES];
        struct look_key keys[WORLD_KEYS];
        struct world_proxy *p = &w->p[epoch];
        struct look look = { .keys = keys, .statics = (const char (*)[HR_URL_BYTES])statics, .lds = w->lds, .lds_answered = true,
                             .listeners_known = true, .admin_answered = true };
        uint64_t tenth = (uint64_t)(w->now.ns / 100000000);

        p->look_wanted = false;
        look.harvest_failed = !p->alive || (w->lags && fate(w, epoch, tenth, 4) == 0);
        if (w->lags && fate(w, epoch + 1000, tenth, 3) == 0)
                look.admin_answered = false;
        for (size_t k = 0; k < WORLD_KEYS; k++) {
                uint32_t index = escrow_find(&w->s.escrow, key_of(k));

                if (!(w->lds && k == LDS_KEY) && has_key(w, p->content, k))
                        memcpy(statics[look.n_statics++], key_of(k)->url, HR_URL_BYTES);
                if (index == NO_KEY || !escrow_asked_by(&w->s.escrow, index, epoch))
                        continue;
                keys[look.n++] = (struct look_key){ .key = index, .inode = accepts(p) ? p->inode[k] : 0, .listed = p->inode[k] != 0 };
        }
        feed(w, (struct succession_input){ .event = ON_LOOK, .epoch = epoch, .look = &look });
}

/* Has the control plane changed what this one listens on? A new listener asks for its socket as at the start. */
static void watch_listeners(struct world *w, uint64_t epoch)
{
        struct world_proxy *p = &w->p[epoch];
        bool changed = false;

        p->watch_wanted = false;
        if (accepts(p) && w->lds) {
                changed = listener_exists(w, p->content, LDS_KEY) != (p->inode[LDS_KEY] != 0);
                if (changed && !p->inode[LDS_KEY] && !p->queued && !p->waits && p->step > WORLD_KEYS + 2) {
                        p->step = LDS_KEY + 1; /* its next step afterwards is past the end again */
                        p->inode[LDS_KEY] = ++w->inodes;
                        regroup(w);
                        p->step = WORLD_KEYS + 3;
                        p->request = HR_PASS_LISTEN_SOCKET;
                        p->queued = p->waits = true;
                } else if (changed && p->inode[LDS_KEY]) {
                        p->inode[LDS_KEY] = 0;
                        regroup(w);
                }
        }
        feed(w, (struct succession_input){ .event = ON_LISTENERS, .epoch = epoch, .value = changed });
}

static void request_of(struct world *w, uint64_t epoch)
{
        struct world_proxy *p = &w->p[epoch];
        struct succession_input in = { .event = ON_REQUEST, .epoch = epoch, .request = p->request };
        struct look_key keys[WORLD_KEYS];
        struct look look = { .keys = keys };

        if (p->request == HR_PASS_LISTEN_SOCKET)
                in.key = key_of(asked_for(p));
        if (p->request == HR_DRAIN_LISTENERS) {
                for (uint32_t i = 0; i < w->s.escrow.n; i++)
                        keys[look.n++] = (struct look_key){ .key = i };
                in.look = &look;
        }
        feed(w, in);
}

static bool due(const struct world *w, struct mono at)
{
        return !mono_before(w->now, at);
}

static bool deliver_of(struct world *w, uint64_t i)
{
        struct world_proxy *p = &w->p[i];

        if (p->alive && due(w, p->dies_at)) {
                die(w, p);
                return true;
        }
        if (p->exited && !p->acked && !p->told) {
                p->told = true;
                feed(w, (struct succession_input){ .event = ON_EXIT, .epoch = i, .exit_code = p->code, .exit_status = p->status,
                                                   .exited = p->exited_at });
                return true;
        }
        if (p->queued && p->kit_held) {
                request_of(w, i);
                return true;
        }
        if (p->alive && due(w, p->acts_at)) {
                act(w, i);
                return true;
        }
        if (p->look_wanted) {
                look_at(w, i);
                return true;
        }
        if (p->watch_wanted) {
                watch_listeners(w, i);
                return true;
        }
        if (p->sample_wanted) {
                uint64_t second = (uint64_t)(w->now.ns / 1000000000);

                p->sample_wanted = false;
                feed(w, (struct succession_input){ .event = ON_SAMPLE, .epoch = i, .requests_total = second / 3,
                                                   .in_flight = p->alive ? (int64_t)fate(w, i, second, 2) : -1 });
                return true;
        }
        return false;
}

static void change_content(struct world *w)
{
        w->disk++;
        if (w->watching)
                feed(w, (struct succession_input){ .event = ON_CONTENT, .value = CHANGED_RELAUNCH });
}

static void cause(struct world *w, const struct world_cause *c)
{
        switch (c->kind) {
        case CAUSE_CONTENT:
                change_content(w);
                return;
        case CAUSE_CRASH:
                for (size_t i = 0; i < WORLD_PROXIES; i++)
                        if (w->p[i].alive) {
                                w->p[i].code = CODE_KILLED;
                                w->p[i].status = SIGKILL;
                                die(w, &w->p[i]);
                        }
                return;
        case CAUSE_KILL: /* of the youngest that is there to serve or shall */
                for (size_t i = WORLD_PROXIES; i-- > 0;) {
                        struct world_proxy *p = &w->p[i];

                        if (!p->alive || p->draining)
                                continue;
                        p->code = CODE_KILLED;
                        p->status = SIGKILL;
                        die(w, p);
                        return;
                }
                return;
        case CAUSE_UPGRADE:
        case CAUSE_BURST:
                w->n_tickets += w->steady ? 0 : c->kind == CAUSE_BURST ? 3 : 1;
                change_content(w);
                return;
        case CAUSE_ROLLBACK:
                if (w->steady)
                        return;
                w->tickets[w->n_tickets++] = (struct world_ticket){
                        .rollback = true, .to = fate(w, w->n_tickets, 40, 3) ? NO_EPOCH : w->s.history[fate(w, w->n_tickets, 41, HISTORY_MAX)] };
                return;
        case CAUSE_UNREADY:
        case CAUSE_READY:
                feed(w, (struct succession_input){ .event = ON_UNREADY, .value = c->kind == CAUSE_UNREADY });
                return;
        case CAUSE_STOP:
                w->stops++;
                return;
        }
}

/* Who asked asks on until he is told that his ticket is known, for the agent that heard it may have died; and once too often. */
static bool ask(struct world *w)
{
        for (size_t i = 0; i < w->n_tickets; i++) {
                struct world_ticket *t = &w->tickets[i];

                if (t->asked >= 2 && upgrade_ticket(&w->s.upgrade, i + 1, &(struct outcome){ 0 }) != TICKET_UNKNOWN)
                        continue;
                t->asked++;
                feed(w, (struct succession_input){ .event = t->rollback ? ON_ROLLBACK : ON_UPGRADE, .ticket = i + 1, .observe_ms = -1,
                                                   .epoch = t->to });
                return true;
        }
        return false;
}

static bool answer_agent(struct world *w)
{
        if (w->preflight_wanted != NO_EPOCH) {
                uint64_t epoch = w->preflight_wanted;

                w->preflight_wanted = NO_EPOCH;
                feed(w, (struct succession_input){ .event = ON_PREFLIGHT, .epoch = epoch, .value = fate(w, w->p[epoch].content, 34, 6) == 0,
                                                   .text = "it does not pass" });
                return true;
        }
        if (w->count_wanted) {
                w->count_wanted = false;
                feed(w, (struct succession_input){ .event = ON_LEFT, .value = (int64_t)fate(w, 35, (uint64_t)w->now.ns, 3) });
                return true;
        }
        return false;
}

static bool deliver(struct world *w)
{
        for (uint64_t i = 0; i < WORLD_PROXIES && i <= w->last_kit; i++)
                if (deliver_of(w, i))
                        return true;
        if (w->stops > w->s.stops) {
                feed(w, (struct succession_input){ .event = ON_STOP, .value = w->stops });
                return true;
        }
        if (w->validate_wanted != NO_EPOCH) {
                uint64_t epoch = w->validate_wanted;

                w->validate_wanted = NO_EPOCH;
                feed(w, (struct succession_input){ .event = ON_VALIDATED, .epoch = epoch,
                                                   .value = fate(w, w->p[epoch].content, 8, 3) == 0 });
                return true;
        }
        if (ask(w) || answer_agent(w))
                return true;
        if (due(w, succession_next(&w->s))) {
                w->clocks = w->clock_at.ns == w->now.ns ? w->clocks + 1 : 1;
                w->clock_at = w->now;
                feed(w, (struct succession_input){ .event = ON_CLOCK });
                return true;
        }
        if (w->next_cause < w->n_causes && due(w, w->causes[w->next_cause].at)) {
                cause(w, &w->causes[w->next_cause++]);
                return true;
        }
        return false;
}

/* ---- promises --------------------------------------------------------------------------------------- */

static void check_socket(struct world *w, size_t k)
{
        int64_t bound = w->l.hold_ms + 2000 + (w->lds ? 2 * w->l.watch_ms + 1000 : 0) + (w->lags ? 10000 : 0);
        bool taken = false;

        for (size_t i = 0; i <= w->last_kit; i++)
                taken = taken || (accepts(&w->p[i]) && w->p[i].inode[k] == w->held[k]);
        if (!w->held[k] || w->silent[w->held[k] % WORLD_SOCKETS] || taken || k == UDP_KEY) {
                w->alone[k] = MONO_NEVER;
                return;
        }
        if (mono_is_never(w->alone[k]))
                w->alone[k] = w->now;
        if (mono_before(mono_after_ms(w->alone[k], bound), w->now))
                broken(w, "key %zu: nobody has accepted from it since %" PRId64 " ms", k, w->alone[k].ns / 1000000);
}

static void check_life(struct world *w)
{
        const struct succession *s = &w->s;
        bool asked = w->validate_wanted != NO_EPOCH || w->preflight_wanted != NO_EPOCH, alive = false;

        for (size_t i = 0; i <= w->last_kit; i++) {
                alive = alive || w->p[i].alive || (w->p[i].exited && !w->p[i].told);
                asked = asked || w->p[i].look_wanted;
        }
        if (!alive && !asked && !w->queued && !w->ended && !s->waits_for_content && mono_is_never(succession_next(s)) &&
            w->stops == s->stops && s->next_number)
                broken(w, "nothing can ever happen again");
        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                const struct epoch *e = &s->epochs[i];

                if ((e->state == EPOCH_DRAINING || e->state == EPOCH_STOPPING) && mono_is_never(e->deadline) && e->number != s->leaver)
                        broken(w, "%" PRIu64 " ends without a deadline", e->number);
                if (epoch_alive(e) && !mono_is_never(e->kill_by) && mono_before(mono_after_ms(e->kill_by, w->l.epoch.kill_ms), w->now))
                        broken(w, "%" PRIu64 " has not ended by its deadline", e->number);
                if (e->trial && epoch_alive(e) && e->state < EPOCH_DRAINING && e->number != s->upgrade.candidate)
                        broken(w, "%" PRIu64 " is on trial and nobody judges it", e->number);
                if (e->state == EPOCH_STARTING && !mono_is_never(e->up) && mono_is_never(e->next_look))
                        broken(w, "%" PRIu64 " is up and no look will come", e->number);
        }
}

/* A silence that was lost with an agent is not repeated, and past what came early nobody is steered: who has it is gone in a moment. */
static bool is_as_good_as_dead(const struct world *w, const struct world_proxy *p)
{
        return p->alive && p->code == CODE_KILLED && p->status == SIGKILL && !mono_before(mono_after_ms(w->now, 1), p->dies_at);
}

static bool is_accepted_from(const struct world *w, size_t url, uint32_t inode)
{
        for (size_t i = 0; i <= w->last_kit; i++)
                for (size_t k = 0; k < WORLD_KEYS; k++)
                        if (url_of(k) == url && (accepts(&w->p[i]) || ((w->n_deaths || w->p[i].was_early) && is_as_good_as_dead(w, &w->p[i]))) && w->p[i].inode[k] == inode)
                                return true;
        return false;
}

/* Where may the kernel send a new connection to a listener of what serves? To an acceptor, or it is not heard and comes again. */
static void check_landing(struct world *w, size_t url)
{
        const struct epoch *serving = succession_serving(&w->s);
        const struct world_group *g = &w->groups[url];
        size_t places = g->steered && g->steered <= g->n ? g->steered : g->n;
        bool serves = false;

        for (size_t k = 0; serving && k < WORLD_KEYS; k++)
                serves = serves || (url_of(k) == url && w->p[serving->number].inode[k] && accepts(&w->p[serving->number]));
        if (w->early != NO_EPOCH && w->p[w->early].alive)
                return;
        for (size_t i = 0; serves && i < places; i++)
                if (!w->hushed[g->member[i] % WORLD_SOCKETS] && !is_accepted_from(w, url, g->member[i]))
                        broken(w, "listener %zu: place %zu of %zu (%u steered) gets connections and nobody accepts them", url, i, g->n, g->steered);
}

static void check_tickets(struct world *w)
{
        const struct upgrade *u = &w->s.upgrade;

        if (u->runs > w->n_tickets)
                broken(w, "more was done than was asked for");
        for (size_t i = 0; i < w->n_tickets; i++) {
                struct world_ticket *t = &w->tickets[i];
                struct outcome how;
                enum ticket_state state = upgrade_ticket(u, i + 1, &how);

                if (state != TICKET_DONE || (t->told && how.run == 0)) {
                        if (t->told)
                                broken(w, "what ticket %zu was told is not known any more", i + 1);
                        continue;
                }
                if (t->told && (t->how.result != how.result || t->how.to != how.to || strcmp(t->how.reason, how.reason) != 0))
                        broken(w, "ticket %zu is told two stories", i + 1);
                if (t->rollback && how.result == RESULT_COMMITTED && how.to == NO_EPOCH) /* it took back what came before anything served */
                        continue;
                if (how.result == RESULT_COMMITTED && !(how.to < WORLD_PROXIES && w->served[how.to]))
                        broken(w, "ticket %zu: %" PRIu64 " is said to serve and never did", i + 1, how.to);
                if (how.result != RESULT_COMMITTED && how.to != NO_EPOCH && w->served[how.to])
                        broken(w, "ticket %zu: %" PRIu64 " served and is said to have failed: %s", i + 1, how.to, how.reason);
                if (how.result != RESULT_COMMITTED && !how.reason[0])
                        broken(w, "ticket %zu is not told why", i + 1);
                if (!t->told && how.run) {
                        w->commits += how.result == RESULT_COMMITTED;
                        w->rolled_back += how.result == RESULT_ROLLED_BACK;
                        w->refused += how.result == RESULT_REFUSED;
                        t->told = true;
                        t->how = how;
                }
        }
        if (u->candidate != NO_EPOCH && w->s.served == NO_EPOCH)
                comes_early(w, u->candidate);
        if (u->now.id != w->run_id || !succession_serving(&w->s)) { /* while nothing else serves a candidate has all the time */
                w->run_id = u->now.id;
                w->run_since = w->now;
        }
        if (u->now.id && mono_before(mono_after_ms(w->run_since, 2 * w->l.epoch.ready_ms + 20000), w->now))
                broken(w, "run %" PRIu64 " is stuck", u->now.id);
}

static void check(struct world *w, bool after_clock)
{
        const struct succession *s = &w->s;
        int serving = 0;

        if (w->failure[0] || w->ended)
                return;
        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                serving += s->epochs[i].state == EPOCH_SERVING;
                if (s->epochs[i].state == EPOCH_SERVING)
                        w->served[s->epochs[i].number] = true;
        }
        if (serving > 1)
                broken(w, "two serve");
        if (s->backoff.tokens < 0 || s->backoff.tokens > w->l.backoff.tokens)
                broken(w, "%d tokens of %d", s->backoff.tokens, w->l.backoff.tokens);
        /* Who is sent SIGTERM at the last moment has none left: that is for the clock behind this one, and no further. */
        if (after_clock && due(w, succession_next(s)) && (w->clocks > 1 || mono_before(succession_next(s), w->now)))
                broken(w, "a deadline in the past that its step did not consume");
        if (s->stops && mono_before(mono_after_ms(s->stop_kill_by, w->l.epoch.kill_ms), w->now))
                broken(w, "the stop has not ended");
        for (size_t k = 0; k < WORLD_KEYS; k++)
                check_socket(w, k);
        for (size_t url = 0; url < WORLD_URLS; url++)
                if (url != LDS_KEY && url != UDP_KEY)
                        check_landing(w, url);
        check_tickets(w);
        check_life(w);
}

/* ---- the road --------------------------------------------------------------------------------------- */

static struct mono next_moment(const struct world *w)
{
        struct mono t = succession_next(&w->s);

        if (w->next_cause < w->n_causes)
                t = mono_min(t, w->causes[w->next_cause].at);
        for (size_t i = 0; i <= w->last_kit; i++)
                if (w->p[i].alive)
                        t = mono_min(t, mono_min(w->p[i].dies_at, w->p[i].acts_at));
        return t;
}

void world_run(struct world *w, int64_t until_ms)
{
        struct mono until = { until_ms * 1000000 };

        if (!w->s.next_number && !w->ended)
                feed(w, (struct succession_input){ .event = ON_BEGIN });
        for (int i = 0; !w->ended && !w->failure[0]; i++) {
                struct mono next;

                if (i == ROUNDS_MAX)
                        broken(w, "it spins");
                if (deliver(w))
                        continue;
                next = next_moment(w);
                if (mono_before(until, next)) {
                        w->now = until;
                        return;
                }
                w->now = next;
        }
}

static void limits_of(struct world *w)
{
        static const int64_t hold_ms[] = { 30000, 30000, 2000, 500 }, delays_ms[] = { 0, 5000 };

        w->l = (struct succession_limits){
                .epoch = { .protocol = true, .ready_ms = 60000, .quiet_ms = 1000, .sample_ms = 100, .kill_ms = 5000 },
                .backoff = { .initial_ms = 200, .max_ms = fate(w, 0, 20, 3) ? -1 : 2000, .stable_ms = 10000, .refill_ms = 60000,
                             .tokens = fate(w, 0, 21, 3) ? 10 : 3 },
                .hold_ms = hold_ms[fate(w, 0, 22, 4)],
                .stop_delay_ms = delays_ms[fate(w, 0, 23, 2)],
                .stop_timeout_ms = fate(w, 0, 24, 4) ? 25000 : 3000,
                .watch_ms = 1000,
                .drain_ms = fate(w, 0, 29, 2) ? 45000 : 2000,
                .observe_ms = fate(w, 0, 30, 2) ? 0 : 3000,
                .wait_exhausted = fate(w, 0, 25, 3) == 0,
                .restart_clean = fate(w, 0, 26, 2) == 0,
        };
        w->l.low_ports = fate(w, 0, 36, 3) ? 0 : 8083; /* all of TCP */
        w->lds = fate(w, 0, 27, 3) == 0;
        w->udp = fate(w, 0, 28, 4) == 0;
}

struct world *world_new(uint64_t seed)
{
        static struct world w;
        struct prng rng = { seed };
        int64_t at = 0;

        memset(&w, 0, sizeof(w));
        w.seed = seed;
        w.early = NO_EPOCH;
        w.validate_wanted = w.preflight_wanted = NO_EPOCH;
        for (size_t k = 0; k < WORLD_KEYS; k++)
                w.alone[k] = MONO_NEVER;
        limits_of(&w);
        succession_init(&w.s, &w.l);
        while (w.n_causes < 12) {
                int64_t pause = (int64_t)prng_below(&rng, 60000);
                uint64_t kind = prng_below(&rng, CAUSE_STOP);

                at += pause;
                w.causes[w.n_causes].at = (struct mono){ at * 1000000 };
                w.causes[w.n_causes++].kind = kind;
        }
        w.causes[w.n_causes].at = (struct mono){ (at + 1000) * 1000000 };
        w.causes[w.n_causes++].kind = CAUSE_STOP;
        if (prng_one_in(&rng, 3)) {
                w.causes[w.n_causes].at = (struct mono){ (at + 1000 + (int64_t)prng_below(&rng, 4000)) * 1000000 };
                w.causes[w.n_causes++].kind = CAUSE_STOP;
        }
        return &w;
}

bool world_nobody_waits(const struct world *w)
{
        for (size_t i = 0; i <= w->last_kit; i++)
                if (w->p[i].alive && w->p[i].waits && !w->p[i].queued)
                        return false;
        return true;
}

const char *world_summary(const struct world *w, char *buf, size_t size)
{
        const struct succession *s = &w->s;
        struct backoff b = s->backoff;
        size_t n = 0;

        backoff_refill(&b, &w->l.backoff, w->now); /* it is done when somebody looks at it */
#define PUT(...) n += n < size ? (size_t)snprintf(buf + n, size - n, __VA_ARGS__) : 0
        PUT("next %" PRIu64 " wanted %" PRId64 " served %" PRId64 " kit %" PRId64 " ready %u\n", s->next_number, (int64_t)s->wanted,
            (int64_t)s->served, (int64_t)s->kit, s->kit_ready);
        PUT("tokens %d n %u counted %" PRId64 " relaunch %" PRId64 " hold %" PRId64 " outage %" PRId64 "\n", b.tokens,
            b.n, b.counted.ns, s->relaunch_at.ns, s->hold_until.ns, s->outage.ns);
        PUT("waits %u validating %u unready %u stops %u drains %u end %u %d\n", s->waits_for_content, s->validating, s->unready,
            s->stops, s->stop_drains, s->end, s->end_status);
        for (uint64_t i = 0; i < s->next_number; i++)
                for (size_t j = 0; j < GENERATIONS_MAX; j++)
                        if (s->epochs[j].state != EPOCH_NONE && s->epochs[j].number == i)
                                PUT("epoch %" PRIu64 " %s launched %" PRId64 " accepted %" PRId64 " deadline %" PRId64 "\n", i,
                                    epoch_state_name(s->epochs[j].state), s->epochs[j].launched.ns, s->epochs[j].accepted.ns,
                                    s->epochs[j].deadline.ns);
        for (size_t k = 0; k < WORLD_KEYS; k++)
                PUT("key %zu %s\n", k, !w->held[k] ? "-" : w->silent[w->held[k] % WORLD_SOCKETS] ? "silent" : "held");
        PUT("launches %u replies %u ended %d %d\n", w->launches, w->replies, w->ended, w->status);
#undef PUT
        return buf;
}
