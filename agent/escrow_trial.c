/* SPDX-License-Identifier: MIT */
/*
 * PURE. See escrow.h. An epoch on trial beside the one that is wanted: what it asks for is noted apart. By its commit that becomes
 * what is wanted, and what it does not listen on leaves, steered or hushed.
 */
#include "agent/escrow_inner.h"

#include <string.h>

static bool same_listener(const struct escrow_key *a, const struct escrow_key *b)
{
        return strcmp(a->key.url, b->key.url) == 0 && strcmp(a->key.netns, b->key.netns) == 0;
}

static void forget_trial(struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                e->keys[i].by[CLAIM_TRIAL] = CLAIM_NONE;
}

void escrow_begin_trial(struct escrow *e, uint64_t epoch)
{
        forget_trial(e);
        e->trial = epoch;
}

void escrow_end_trial(struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].opened)
                        escrow_close_key(e, i, out);
        forget_trial(e);
        e->trial = NO_EPOCH;
}

/* The sockets of a listener that are held and stay: how many, the first; and are they the lowest of their group? */
struct group {
        uint32_t n, first, top;
        bool leavers, shuffled; /* any of the listener's */
};

static struct group group_of(const struct escrow *e, const struct escrow_key *of)
{
        struct group g = { .first = NO_KEY };

        for (uint32_t i = 0; i < e->n; i++) {
                const struct escrow_key *k = &e->keys[i];

                if (!k->inode || !same_listener(k, of))
                        continue;
                g.leavers = g.leavers || k->leaving;
                g.shuffled = g.shuffled || k->shuffled;
                if (k->leaving || k->silenced)
                        continue;
                if (g.first == NO_KEY || k->key.worker < e->keys[g.first].key.worker)
                        g.first = i;
                if (k->key.worker > g.top)
                        g.top = k->key.worker;
                g.n++;
        }
        return g;
}

/*
 * Members of a group stand in the order in which they began to listen. Sockets are handed on, not opened anew, so that is the
 * order of the workers, and whoever is opened later or leaves first stands behind those that stay. Who was silent stands where
 * it began to listen again: that is of no matter only if all stay.
 */
static bool steer(struct escrow *e, struct group g, struct effects *out)
{
        if (g.n == 0 || g.top != g.n - 1 || (g.leavers && g.shuffled))
                return false;
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].steer && same_listener(&e->keys[i], &e->keys[g.first]))
                        e->keys[i].steer = 0;
        e->keys[g.first].steer = g.n;
        effects_add(out, (struct effect){ .kind = DO_STEER, .key = g.first, .value = g.n });
        return true;
}

void escrow_grow(struct escrow *e, const struct hr_key *key, struct effects *out)
{
        const struct escrow_key asked = { .key = *key };
        struct group g = group_of(e, &asked);

        if (escrow_is_tcp(&asked) && g.n > 0 && e->keys[g.first].steer != g.n)
                (void)steer(e, g, out);
}

void escrow_steered_unknown(struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && e->keys[i].key.worker == 0 && escrow_is_tcp(&e->keys[i]))
                        e->keys[i].steer = STEER_UNKNOWN;
}

void escrow_unsteer(struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].steer)
                        continue;
                effects_add(out, (struct effect){ .kind = DO_UNSTEER, .key = i });
                e->keys[i].steer = 0;
        }
}

/* Held, and the one on trial does not listen there. No UDP socket leaves: what it has is read by its predecessor to the end. */
static bool trial_leaves(const struct escrow *e, uint32_t i, const struct look_key *seen)
{
        const struct escrow_key *k = &e->keys[i];
        const struct escrow_claim *c = &k->by[CLAIM_TRIAL];
        bool stays = c->epoch == e->trial && !c->ambiguous && (!seen || seen->inode);

        return k->inode && !stays && !hr_key_is_udp(&k->key);
}

bool escrow_trial_leaves_any(const struct escrow *e, const struct look *look)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (trial_leaves(e, i, escrow_looked_at(look, i)))
                        return true;
        return false;
}

void escrow_commit(struct escrow *e, const struct look *look, struct effects *out)
{
        uint64_t epoch = e->trial;

        for (uint32_t i = 0; i < e->n; i++) {
                e->keys[i].leaving = e->keys[i].leaving || trial_leaves(e, i, escrow_looked_at(look, i));
                e->keys[i].by[CLAIM_WANTED] = e->keys[i].by[CLAIM_TRIAL];
                escrow_keep_opened(&e->keys[i]);
        }
        escrow_end_trial(e, out);
        escrow_settle(e, epoch, look, out);
}

static bool is_steered(const struct escrow *e, const struct group *g)
{
        return g->n > 0 && e->keys[g->first].steer == g->n;
}

unsigned escrow_leave(struct escrow *e, struct effects *out)
{
        unsigned waits = 0;

        for (uint32_t i = 0; i < e->n; i++) {
                struct escrow_key *k = &e->keys[i];
                struct group stay;

                if (!k->inode || !k->leaving)
                        continue;
                stay = group_of(e, k);
                if (is_steered(e, &stay) || steer(e, stay, out)) {
                        waits |= LEAVES_STEERED;
                        continue;
                }
                waits |= LEAVES_HUSHED; /* who is not heard tries again, and then it has gone */
                if (escrow_is_tcp(k))
                        effects_add(out, (struct effect){ .kind = DO_HUSH, .key = i });
        }
        return waits;
}

/* Whoever leaves without steering leaves its place to one that may stay: they stand in another order from now on. */
static void shuffle(struct escrow *e, const struct escrow_key *of)
{
        for (uint32_t i = 0; i < e->n; i++)
                e->keys[i].shuffled = e->keys[i].shuffled || (e->keys[i].inode && same_listener(&e->keys[i], of));
}

void escrow_not_steered(struct escrow *e, uint32_t key, struct effects *out)
{
        if (key >= e->n || !e->keys[key].inode)
                return;
        shuffle(e, &e->keys[key]); /* so nothing is steered there that could leave */
        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].inode || !same_listener(&e->keys[i], &e->keys[key]))
                        continue;
                if (e->keys[i].steer) /* by a program of before */
                        effects_add(out, (struct effect){ .kind = DO_UNSTEER, .key = i });
                e->keys[i].steer = 0;
                if (e->keys[i].leaving && escrow_is_tcp(&e->keys[i]))
                        effects_add(out, (struct effect){ .kind = DO_HUSH, .key = i });
        }
}

void escrow_leave_refuse(struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++) {
                struct group stay;

                if (!e->keys[i].inode || !e->keys[i].leaving)
                        continue;
                stay = group_of(e, &e->keys[i]);
                if (is_steered(e, &stay))
                        continue;
                if (stay.n == 0)
                        effects_add(out, (struct effect){ .kind = DO_REPORT, .epoch = e->keys[i].by[CLAIM_WANTED].epoch,
                                                          .value = REPORT_REMOVED, .key = i });
                shuffle(e, &e->keys[i]);
                escrow_silence_key(e, i, out);
                escrow_close_key(e, i, out);
        }
}

/* Highest worker first: a place that is left is taken by the last, and that shall be one that leaves, too. */
void escrow_leave_close(struct escrow *e, struct effects *out)
{
        for (;;) {
                uint32_t highest = NO_KEY;

                for (uint32_t i = 0; i < e->n; i++)
                        if (e->keys[i].inode && e->keys[i].leaving &&
                            (highest == NO_KEY || e->keys[i].key.worker > e->keys[highest].key.worker))
                                highest = i;
                if (highest == NO_KEY)
                        return;
                escrow_silence_key(e, highest, out); /* whoever else still has it */
                escrow_close_key(e, highest, out);
        }
}

bool escrow_any_leaving(const struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && e->keys[i].leaving)
                        return true;
        return false;
}
