/* SPDX-License-Identifier: MIT */
/*
 * Random requests, looks, silences and ends on a handful of keys. The effects are played on a model of the sockets; what the
 * escrow believes and what the model has must agree, and after a look nothing is held that the proxy does not listen on.
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>

#include "agent/escrow.h"
#include "tests/support/counts.h"
#include "tests/support/prng.h"

enum { KEYS = 6 };

static struct escrow e;
static struct effects fx;

struct model {
        uint64_t held[KEYS]; /* by index of the escrow */
        bool silent[KEYS];
        struct hr_key key[KEYS];
};

static void play(struct model *m, const struct look *look, uint64_t seed)
{
        for (size_t i = 0; i < fx.n; i++) {
                const struct effect *f = &fx.list[i];

                if (f->kind == DO_REPORT)
                        continue;
                cr_assert_lt(f->key, KEYS);
                if (f->kind == DO_HOLD) {
                        for (size_t k = 0; look && k < look->n; k++)
                                if (look->keys[k].key == f->key)
                                        m->held[f->key] = look->keys[k].inode;
                        m->silent[f->key] = false;
                        continue;
                }
                cr_assert(m->held[f->key], "seed %" PRIu64 ": effect %d on a socket that is not held", seed, f->kind);
                if (f->kind == DO_CLOSE)
                        m->held[f->key] = 0;
                m->silent[f->key] = f->kind == DO_SILENCE;
        }
        fx.n = 0;
}

static void expect_agreement(const struct model *m, uint64_t seed)
{
        for (uint32_t i = 0; i < e.n; i++) {
                const struct escrow_key *k = &e.keys[i];

                cr_assert_eq(k->inode, m->held[i], "seed %" PRIu64 ": key %u", seed, i);
                cr_assert_eq(k->silenced, m->silent[i] && m->held[i], "seed %" PRIu64 ": key %u", seed, i);
                cr_assert(!k->silenced || !hr_key_is_udp(&k->key), "seed %" PRIu64, seed);
                for (uint32_t j = 0; j < i; j++)
                        cr_assert(!hr_key_equal(&e.keys[j].key, &k->key), "seed %" PRIu64 ": a key twice", seed);
        }
}

static void settle(struct model *m, struct prng *rng, uint64_t epoch, uint64_t seed)
{
        struct look_key seen[KEYS];
        struct look look = { .keys = seen, .admin_answered = true };

        for (uint32_t i = 0; i < e.n; i++) {
                uint64_t fate = prng_below(rng, 4);

                if (escrow_asked_by(&e, i, epoch) && fate)
                        seen[look.n++] = (struct look_key){ .key = i, .inode = fate == 1 ? 0 : fate == 2 && m->held[i] ? m->held[i]
                                                                                                : 1 + prng_below(rng, 1000) };
        }
        escrow_settle(&e, epoch, &look, &fx);
        play(m, &look, seed);
        for (uint32_t i = 0; i < e.n; i++) {
                bool listens = false, seen_at_all = false;

                for (size_t k = 0; k < look.n; k++) {
                        seen_at_all = seen_at_all || seen[k].key == i;
                        listens = listens || (seen[k].key == i && seen[k].inode);
                }
                if (escrow_asked_by(&e, i, epoch) && !seen_at_all)
                        continue; /* asked for while the look was under way: the next one tells */
                cr_assert(!m->held[i] || (listens && !m->silent[i]), "seed %" PRIu64 ": key %u is held and nobody accepts from it", seed, i);
                cr_assert(!listens || m->held[i], "seed %" PRIu64 ": key %u would be lost by a crash", seed, i);
        }
}

static void one_step(struct model *m, struct prng *rng, uint64_t *epoch, uint64_t seed)
{
        uint32_t index;
        uint64_t k;

        switch (prng_below(rng, 8)) {
        case 0:
                ++*epoch;
                break;
        case 1:
                settle(m, rng, *epoch, seed);
                break;
        case 2:
                escrow_silence_all(&e, &fx);
                break;
        case 3:
                if (prng_one_in(rng, 4))
                        escrow_close_all(&e, &fx);
                break;
        case 4:
                escrow_terminated(&e, *epoch, &fx);
                break;
        default:
                k = prng_below(rng, KEYS);
                cr_assert_eq(escrow_asked(&e, *epoch, &m->key[k], &index), m->held[index] != 0, "seed %" PRIu64, seed);
        }
        play(m, NULL, seed);
        expect_agreement(m, seed);
}

Test(escrow, what_it_believes_is_what_there_is)
{
        for (uint64_t seed = 1; seed <= count_of(50000, 3000); seed++) {
                struct prng rng = { seed };
                struct model m = { 0 };
                uint64_t epoch = 0;

                e.n = 0;
                for (size_t k = 0; k < KEYS; k++)
                        (void)snprintf(m.key[k].url, sizeof(m.key[k].url), "%s://0.0.0.0:%zu", k == 5 ? "udp" : "tcp", k);
                for (int i = 0; i < 60; i++)
                        one_step(&m, &rng, &epoch, seed);
        }
}
