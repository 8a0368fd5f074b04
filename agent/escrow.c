/* SPDX-License-Identifier: MIT */
/* PURE. See escrow.h. Longer than most: every function is one rule about the same table, and the rules lean on each other. */
#include "agent/escrow.h"

#include <string.h>

void escrow_init(struct escrow *e)
{
        e->trial = NO_EPOCH;
        e->n = 0;
}

static struct escrow_claim *claim_of(struct escrow *e, struct escrow_key *k, uint64_t epoch)
{
        return &k->by[epoch == e->trial ? CLAIM_TRIAL : CLAIM_WANTED];
}

static bool same_listener(const struct escrow_key *a, const struct escrow_key *b)
{
        return strcmp(a->key.url, b->key.url) == 0 && strcmp(a->key.netns, b->key.netns) == 0;
}

static bool is_tcp(const struct escrow_key *k)
{
        return !hr_key_is_udp(&k->key) && !hr_key_is_unix(&k->key);
}

uint32_t escrow_find(const struct escrow *e, const struct hr_key *key)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (hr_key_equal(&e->keys[i].key, key))
                        return i;
        return NO_KEY;
}

static bool is_used(const struct escrow_key *k)
{
        return escrow_socket(k) || k->by[CLAIM_WANTED].epoch != NO_EPOCH || k->by[CLAIM_TRIAL].epoch != NO_EPOCH;
}

/* A slot whose key nobody holds and nobody living asked for may be used again; indices of the others never change. */
static uint32_t add(struct escrow *e, const struct hr_key *key)
{
        uint32_t i = 0;

        while (i < e->n && is_used(&e->keys[i]))
                i++;
        if (i == KEYS_MAX)
                return NO_KEY;
        if (i == e->n)
                e->n++;
        e->keys[i] = (struct escrow_key){ .key = *key, .by = { CLAIM_NONE, CLAIM_NONE } };
        return i;
}

static uint32_t intern(struct escrow *e, const struct hr_key *key)
{
        uint32_t i = escrow_find(e, key);

        return i == NO_KEY ? add(e, key) : i;
}

uint32_t escrow_to_open(struct escrow *e, uint64_t epoch, const struct hr_key *key)
{
        uint32_t i = intern(e, key);
        const struct escrow_claim *c = i == NO_KEY ? NULL : claim_of(e, &e->keys[i], epoch);

        return !c || escrow_socket(&e->keys[i]) || (c->epoch == epoch && c->ambiguous) ? NO_KEY : i;
}

void escrow_opened(struct escrow *e, uint64_t epoch, uint32_t key, uint64_t inode)
{
        struct escrow_key *k = &e->keys[key];

        if (epoch == e->trial)
                k->opened = inode;
        else
                k->inode = inode;
        k->fresh = true;
}

/* It is held like any other. */
static void keep_opened(struct escrow_key *k)
{
        if (k->opened)
                k->inode = k->opened;
        k->opened = 0;
}

bool escrow_asked(struct escrow *e, uint64_t epoch, const struct hr_key *key, uint32_t *ret_key)
{
        uint32_t i = intern(e, key);
        struct escrow_key *k;
        struct escrow_claim *c;

        *ret_key = i;
        if (i == NO_KEY)
                return false;
        k = &e->keys[i];
        if (epoch != e->trial) /* both want it */
                keep_opened(k);
        c = claim_of(e, &e->keys[i], epoch);
        if (c->epoch != epoch)
                c->ambiguous = false; /* it may have been mended; if not, its second question tells before anything is passed */
        c->epoch = epoch;
        c->passed = escrow_socket(k) != 0 && !k->leaving && !c->ambiguous;
        c->harvested = false;
        c->queue_moved = false;
        c->waiting = 0;
        return c->passed;
}

static void close_key(struct escrow *e, uint32_t i, struct effects *out)
{
        effects_add(out, (struct effect){ .kind = DO_CLOSE, .key = i });
        escrow_not_held(e, i);
}

bool escrow_asked_twice(struct escrow *e, uint64_t epoch, const struct hr_key *key, struct effects *out)
{
        uint32_t i = escrow_find(e, key);
        struct escrow_claim *c = i == NO_KEY ? NULL : claim_of(e, &e->keys[i], epoch);

        if (!c || c->epoch != epoch || c->ambiguous)
                return false;
        c->ambiguous = true;
        if (e->keys[i].opened || (e->keys[i].inode && epoch != e->trial)) /* what one on trial calls by a name is not known of the one that serves */
                close_key(e, i, out);
        return true;
}

uint32_t escrow_held_by_keeper(struct escrow *e, const struct hr_key *key, uint64_t inode)
{
        uint32_t i = intern(e, key);

        if (i != NO_KEY && e->keys[i].opened)
                e->keys[i].opened = inode;
        else if (i != NO_KEY)
                e->keys[i].inode = inode;
        return i;
}

uint32_t escrow_held_for_good(struct escrow *e, const struct hr_key *key, uint64_t inode)
{
        uint32_t i = escrow_held_by_keeper(e, key, inode);

        if (i != NO_KEY)
                e->keys[i].inherited = true;
        return i;
}

void escrow_not_held(struct escrow *e, uint32_t key)
{
        e->keys[key].inode = 0;
        e->keys[key].opened = 0;
        e->keys[key].fresh = false;
        e->keys[key].silenced = false;
        e->keys[key].leaving = false;
        e->keys[key].steer = 0;
}

static void mark_static(struct escrow *e, const struct look *look)
{
        for (uint32_t i = 0; i < e->n; i++) {
                e->keys[i].is_static = false;
                for (size_t u = 0; u < look->n_statics && !e->keys[i].is_static; u++)
                        e->keys[i].is_static = strcmp(e->keys[i].key.url, look->statics[u]) == 0;
        }
}

void escrow_queues(struct escrow *e, uint64_t epoch, const struct look_key *keys, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                struct escrow_claim *c = claim_of(e, &e->keys[keys[i].key], epoch);

                if (c->epoch != epoch || !c->passed)
                        continue;
                c->waiting = keys[i].waiting;
                c->queue_moved = c->waiting == 0;
        }
}

static void mark(struct escrow *e, uint64_t epoch, const struct look *look)
{
        for (size_t i = 0; i < look->n; i++) {
                const struct escrow_key *k = &e->keys[look->keys[i].key];
                struct escrow_claim *c = claim_of(e, &e->keys[look->keys[i].key], epoch);

                if (c->epoch != epoch)
                        continue;
                c->harvested = look->keys[i].inode && (!c->passed || look->keys[i].inode == escrow_socket(k));
                if (look->keys[i].waiting == 0 || look->keys[i].waiting < c->waiting)
                        c->queue_moved = true;
        }
}

static const struct look_key *look_find(const struct look *look, uint32_t key)
{
        for (size_t i = 0; i < look->n; i++)
                if (look->keys[i].key == key)
                        return &look->keys[i];
        return NULL;
}

static enum look_lack key_lacks(const struct escrow *e, uint32_t index, const struct escrow_gate *g, const struct look *look)
{
        const struct escrow_key *k = &e->keys[index];
        const struct escrow_claim *c = escrow_claim(e, index, g->epoch);
        const struct look_key *seen = look_find(look, index);
        bool asked = c->epoch == g->epoch;

        if (!k->inode || k->leaving || hr_key_is_udp(&k->key))
                return LACK_NOTHING;
        if (asked && c->ambiguous) /* it may have the socket of another listener: it must not serve */
                return LACK_AMBIGUOUS;
        if (asked && !seen)
                return LACK_HARVEST; /* asked for while the look was under way: it says nothing about this one */
        if (g->first && k->fresh && look->create_failures) /* it could not listen there, and that is reported */
                return LACK_NOTHING;
        if (k->is_static) {
                if (!asked) /* of fewer workers the first still asks */
                        return g->same_content || k->key.worker == 0 ? LACK_STATIC_KEY : LACK_NOTHING;
                if (!c->harvested)
                        return LACK_STATIC_KEY;
        } else if (look->lds && !(asked && c->harvested)) {
                if (g->allow_loss)
                        return LACK_NOTHING;
                if (!look->lds_answered || !look->listeners_known || (seen && seen->listed))
                        return LACK_LDS;
                if (asked && look->warming) /* a listener that waits for its routes or secrets is not listed yet */
                        return LACK_LDS;
                return LACK_NOTHING; /* removed while nobody served */
        } else if (!look->lds && !(asked && c->harvested)) {
                /* the bootstrap could not be read: judge it as if it were static */
                if (g->same_content)
                        return LACK_STATIC_KEY;
                return LACK_NOTHING;
        }
        if (g->after_crash && c->passed && !c->queue_moved)
                return LACK_QUEUE;
        return LACK_NOTHING;
}

enum look_lack escrow_take_look(struct escrow *e, const struct escrow_gate *g, const struct look *look)
{
        enum look_lack worst = LACK_NOTHING;

        if (look->harvest_failed)
                return LACK_HARVEST;
        mark_static(e, look);
        mark(e, g->epoch, look);
        if (!look->admin_answered)
                return LACK_ADMIN;
        for (uint32_t i = 0; i < e->n; i++) {
                enum look_lack l = key_lacks(e, i, g, look);

                if (l != LACK_NOTHING && (worst == LACK_NOTHING || l < worst))
                        worst = l;
        }
        if (worst != LACK_NOTHING)
                return worst;
        if (!g->first && look->create_failures > g->create_failures_before && !g->allow_loss)
                return LACK_CREATE_FAILURES;
        return LACK_NOTHING;
}

static void settle_key(struct escrow *e, uint64_t epoch, uint32_t i, const struct look_key *seen, bool warming, struct effects *out)
{
        struct escrow_key *k = &e->keys[i];
        struct escrow_claim *c = claim_of(e, k, epoch);

        if (c->ambiguous && c->epoch == epoch) {
                if (k->inode) /* a dead agent had given it up, and the keeper did not hear of it */
                        close_key(e, i, out);
                return;
        }
        if (seen && seen->inode && c->epoch == epoch) {
                if (k->inode != seen->inode) {
                        effects_add(out, (struct effect){ .kind = DO_HOLD, .key = i });
                        k->shuffled = k->shuffled || k->inode;
                } else if (k->silenced) {
                        effects_add(out, (struct effect){ .kind = DO_REVIVE, .key = i });
                }
                k->inode = seen->inode;
                k->fresh = false;
                k->silenced = false;
                k->leaving = false;
                c->harvested = true;
                return;
        }
        if (k->leaving || (!seen && c->epoch == epoch))
                return; /* its predecessor has it; or asked for while the look was under way: the next one tells */
        if (k->fresh && warming && c->epoch == epoch)
                return; /* it has it, and listens there when it is done */
        if (k->inode) {
                if (!k->fresh) /* else nobody has ever listened there */
                        effects_add(out, (struct effect){ .kind = DO_REPORT, .epoch = epoch, .value = REPORT_REMOVED, .key = i });
                close_key(e, i, out);
        }
        /* What was there and is gone will be asked for anew. What never was there yet may be a listener that is warming. */
        if (c->epoch != epoch || (seen && c->harvested))
                c->epoch = NO_EPOCH;
}

void escrow_settle(struct escrow *e, uint64_t epoch, const struct look *look, struct effects *out)
{
        if (look->harvest_failed)
                return; /* nothing was learned: keep what there is */
        for (uint32_t i = 0; i < e->n; i++)
                settle_key(e, epoch, i, look_find(look, i), look->warming, out);
}

void escrow_terminated(struct escrow *e, uint64_t epoch, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && !e->keys[i].leaving && !escrow_asked_by(e, i, epoch))
                        close_key(e, i, out);
}

static void silence_key(struct escrow *e, uint32_t i, struct effects *out)
{
        if (!e->keys[i].inode || e->keys[i].inherited || hr_key_is_udp(&e->keys[i].key))
                return;
        effects_add(out, (struct effect){ .kind = DO_SILENCE, .key = i });
        e->keys[i].silenced = true;
        e->keys[i].fresh = false; /* what is revived listens */
        e->keys[i].shuffled = true;
}

static bool accepted_by(const struct escrow *e, uint32_t i, uint64_t epoch)
{
        const struct escrow_claim *c = escrow_claim(e, i, epoch);

        return epoch != NO_EPOCH && c->epoch == epoch && c->harvested && (!c->passed || c->queue_moved);
}

void escrow_hush_all(const struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && !e->keys[i].inherited && is_tcp(&e->keys[i]))
                        effects_add(out, (struct effect){ .kind = DO_HUSH, .key = i });
}

void escrow_silence_all(struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                silence_key(e, i, out);
}

void escrow_silence_idle(struct escrow *e, uint64_t epoch, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (!accepted_by(e, i, epoch))
                        silence_key(e, i, out);
}

bool escrow_silence_fresh(struct escrow *e, struct effects *out)
{
        bool any = false;

        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].inode || !e->keys[i].fresh)
                        continue;
                silence_key(e, i, out);
                any = true;
        }
        return any;
}

void escrow_revive_accepted(struct escrow *e, uint64_t epoch, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].silenced || !accepted_by(e, i, epoch))
                        continue;
                effects_add(out, (struct effect){ .kind = DO_REVIVE, .key = i });
                e->keys[i].silenced = false;
        }
}

bool escrow_revive_all(struct escrow *e, struct effects *out)
{
        bool any = false;

        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].inode || !e->keys[i].silenced)
                        continue;
                effects_add(out, (struct effect){ .kind = DO_REVIVE, .key = i });
                e->keys[i].silenced = false;
                any = true;
        }
        return any;
}

void escrow_repeat(const struct escrow *e, bool revive, bool steered, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].inode || e->keys[i].inherited || hr_key_is_udp(&e->keys[i].key))
                        continue;
                if (e->keys[i].steer && e->keys[i].steer != STEER_UNKNOWN)
                        effects_add(out, (struct effect){ .kind = DO_STEER, .key = i, .value = e->keys[i].steer, .arg = STEER_AGAIN });
                else if (steered && !e->keys[i].steer && e->keys[i].key.worker == 0 && is_tcp(&e->keys[i]))
                        effects_add(out, (struct effect){ .kind = DO_UNSTEER, .key = i });
                if (e->keys[i].silenced)
                        effects_add(out, (struct effect){ .kind = DO_SILENCE, .key = i });
                else if ((revive || e->keys[i].shuffled) && !e->keys[i].fresh) /* harmless to one that listens */
                        effects_add(out, (struct effect){ .kind = DO_REVIVE, .key = i });
        }
}

void escrow_close_all(struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && !e->keys[i].inherited)
                        close_key(e, i, out);
}

bool escrow_holds_any(const struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && !e->keys[i].inherited)
                        return true;
        return false;
}

bool escrow_holds_udp(const struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && hr_key_is_udp(&e->keys[i].key))
                        return true;
        return false;
}

bool escrow_holds_url(const struct escrow *e, const char *url)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && strcmp(e->keys[i].key.url, url) == 0)
                        return true;
        return false;
}

bool escrow_any_silenced(const struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && e->keys[i].silenced)
                        return true;
        return false;
}

/* ---- an epoch on trial ------------------------------------------------------------------------------ */

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
                        close_key(e, i, out);
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

        if (is_tcp(&asked) && g.n > 0 && e->keys[g.first].steer != g.n)
                (void)steer(e, g, out);
}

void escrow_steered_unknown(struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && e->keys[i].key.worker == 0 && is_tcp(&e->keys[i]))
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
                if (trial_leaves(e, i, look_find(look, i)))
                        return true;
        return false;
}

void escrow_commit(struct escrow *e, const struct look *look, struct effects *out)
{
        uint64_t epoch = e->trial;

        for (uint32_t i = 0; i < e->n; i++) {
                e->keys[i].leaving = e->keys[i].leaving || trial_leaves(e, i, look_find(look, i));
                e->keys[i].by[CLAIM_WANTED] = e->keys[i].by[CLAIM_TRIAL];
                keep_opened(&e->keys[i]);
        }
        escrow_end_trial(e, out);
        for (uint32_t i = 0; i < e->n; i++)
                settle_key(e, epoch, i, look_find(look, i), look->warming, out);
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
                if (is_tcp(k))
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
                if (e->keys[i].leaving && is_tcp(&e->keys[i]))
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
                silence_key(e, i, out);
                close_key(e, i, out);
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
                silence_key(e, highest, out); /* whoever else still has it */
                close_key(e, highest, out);
        }
}

bool escrow_any_leaving(const struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && e->keys[i].leaving)
                        return true;
        return false;
}
