/* SPDX-License-Identifier: MIT */
/*
 * Random histories of proxies that do not speak the protocol, with agents that die anywhere: one after another never two live;
 * no socket is silent while one lives that has inherited it; those of LISTEN_FDS are never touched; there is no state in which
 * nothing can ever happen; once nobody hurts it any more it serves; who asked is told; a stop ends it.
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <signal.h>

#include "tests/support/counts.h"
#include "tests/support/prng.h"
#include "tests/support/script.h"

enum { CODE_EXITED = 1, CODE_KILLED = 2, EVENTS = 60, SETTLE = 200, TICKETS = 40, OURS = 5000, THEIRS = 5001 };

struct history {
        struct script *w;
        struct prng rng;
        uint64_t seed, tickets;
        int64_t now_ms;
        bool told_stop;
};

static size_t alive(const struct succession *s)
{
        size_t n = 0;

        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                n += epoch_alive(&s->epochs[i]);
        return n;
}

static void check(const struct history *h)
{
        const struct succession *s = &h->w->s;
        bool waits_for_us = s->upgrade.state == UPGRADE_CHECKING;

        cr_assert(!h->w->l.one_by_one || alive(s) <= 1, "seed %" PRIu64 ": two at once", h->seed);
        if (!h->w->l.one_by_one) {
                cr_assert(!s->escrow.keys[0].silenced || alive(s) == 0, "seed %" PRIu64 ": silent under a living one", h->seed);
                cr_assert(!s->escrow.keys[1].silenced && s->escrow.keys[1].inode == THEIRS, "seed %" PRIu64 ": not ours", h->seed);
                cr_assert(s->escrow.keys[0].inode == OURS || s->stops || s->end != END_NOT, "seed %" PRIu64 ": given up", h->seed);
        }
        cr_assert(alive(s) || s->end == END_SAID || waits_for_us || !mono_is_never(succession_next(s)),
                  "seed %" PRIu64 ": nothing can ever happen again\n%s", h->seed, h->w->text);
        cr_assert(s->upgrade.state != UPGRADE_STARTING || !mono_is_never(s->upgrade.deadline), "seed %" PRIu64, h->seed);
        cr_assert_geq(s->backoff.tokens, 0);
}

static const struct epoch *pick(struct history *h)
{
        const struct succession *s = &h->w->s;
        uint64_t n = alive(s), i = n ? prng_below(&h->rng, n) : 0;

        for (size_t k = 0; k < GENERATIONS_MAX; k++)
                if (epoch_alive(&s->epochs[k]) && i-- == 0)
                        return &s->epochs[k];
        return NULL;
}

static void dies(struct history *h)
{
        struct resume_fact facts[GENERATIONS_MAX];
        size_t n = 0;

        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                const struct epoch *e = &h->w->s.epochs[i];

                if (e->state != EPOCH_NONE)
                        facts[n++] = (struct resume_fact){ .epoch = e->number, .kit_held = true, .job_known = epoch_alive(e),
                                                            .pid = (int)(1000 + e->number) };
        }
        script_die(h->w, facts, n);
}

static void preflight(struct history *h, const char *refusal)
{
        if (h->w->s.upgrade.state == UPGRADE_CHECKING)
                script_preflight(h->w, h->now_ms, h->w->s.upgrade.candidate, refusal);
}

static void happen(struct history *h)
{
        struct script *w = h->w;
        const struct epoch *e = pick(h);
        uint64_t what = prng_below(&h->rng, 12);
        bool odd = prng_below(&h->rng, 2);

        h->now_ms = w->now_ms + (int64_t)prng_below(&h->rng, prng_below(&h->rng, 4) ? 1500 : 70000);
        script_run(w, h->now_ms);
        check(h);
        if (what <= 2 && e && epoch_alive(e))
                script_exit(w, h->now_ms, e->number, odd ? CODE_KILLED : CODE_EXITED, odd ? SIGSEGV : 1);
        else if (what <= 4 && e && epoch_alive(e))
                script_feed(w, h->now_ms, (struct succession_input){ .event = ON_READINESS, .epoch = e->number, .value = odd });
        else if (what <= 6 && h->tickets < TICKETS)
                script_upgrade(w, h->now_ms, ++h->tickets, odd ? 0 : 5000);
        else if (what == 7 && h->tickets < TICKETS)
                script_rollback(w, h->now_ms, ++h->tickets, NO_EPOCH);
        else if (what <= 9)
                preflight(h, odd && what == 9 ? "no" : NULL);
        else if (what == 10)
                w->kits_fail = odd && !w->kits_fail;
        else
                dies(h);
        check(h);
}

/* Nobody hurts it: what is asked to end does so, what starts becomes ready. */
static void settle(struct history *h)
{
        struct script *w = h->w;

        w->kits_fail = false;
        for (int i = 0; i < SETTLE; i++) {
                h->now_ms = w->now_ms + 10000;
                script_run(w, h->now_ms);
                preflight(h, NULL);
                for (size_t k = 0; k < GENERATIONS_MAX; k++) {
                        const struct epoch *e = &w->s.epochs[k];

                        if (e->state == EPOCH_STOPPING)
                                script_exit(w, h->now_ms, e->number, CODE_EXITED, 0);
                        else if (e->state == EPOCH_STARTING)
                                script_feed(w, h->now_ms, (struct succession_input){ .event = ON_READINESS, .epoch = e->number, .value = 1 });
                }
                check(h);
        }
}

static void play(uint64_t seed, uint64_t ends[RESULTS])
{
        struct succession_limits l = script_limits();
        struct history h = { .rng = { seed }, .seed = seed };

        l.epoch = (struct epoch_limits){ .ready_ms = 20000, .silent_ms = 1000, .kill_ms = 5000, .probe = seed % 3 == 0 };
        l.one_by_one = seed % 2;
        l.backoff.tokens = 1000;
        l.backoff.max_ms = 60000;
        l.hold_ms = 3000;
        l.drain_ms = 10000;
        h.w = script_new(&l);
        h.w->quiet = true;
        if (!l.one_by_one) {
                (void)escrow_held_by_keeper(&h.w->s.escrow, script_key(0), OURS);
                (void)escrow_held_for_good(&h.w->s.escrow, script_key(1), THEIRS);
        }
        script_feed(h.w, 0, (struct succession_input){ .event = ON_BEGIN });
        for (int i = 0; i < EVENTS; i++)
                happen(&h);
        settle(&h);
        if (h.w->s.end == END_NOT) {
                cr_assert(succession_serving(&h.w->s), "seed %" PRIu64 ": nothing serves, state %s", seed, succession_state_name(&h.w->s));
                script_stop(h.w, h.w->now_ms + 1, 1);
                settle(&h);
        }
        cr_assert_eq(h.w->s.end, END_SAID, "seed %" PRIu64, seed);
        for (uint32_t r = 0; r < RESULTS; r++)
                ends[r] += h.w->s.upgrade.counts[RUN_UPGRADE][r];
        for (uint64_t t = 1; t <= h.tickets; t++)
                cr_assert_neq(upgrade_ticket(&h.w->s.upgrade, t, &(struct outcome){ 0 }), TICKET_WAITS, "seed %" PRIu64 ": ticket %" PRIu64, seed, t);
}

Test(succession_plain, promises_hold_in_every_history)
{
        const uint64_t times = count_of(20000, 1500);
        uint64_t ends[RESULTS] = { 0 };

        for (uint64_t seed = 1; seed <= times; seed++)
                play(seed, ends);
        cr_assert(ends[RESULT_COMMITTED] > times && ends[RESULT_ROLLED_BACK] > times && ends[RESULT_REFUSED] > times,
                  "the histories are too quiet to show anything: %" PRIu64 " commits, %" PRIu64 " rolled back, %" PRIu64 " refused",
                  ends[RESULT_COMMITTED], ends[RESULT_ROLLED_BACK], ends[RESULT_REFUSED]);
}
