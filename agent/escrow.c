/* SPDX-License-Identifier: MIT */
/* PURE. See escrow.h: what is held, handed on, silenced and closed, and what a look shows. An epoch on trial: escrow_trial.c. */
#include "agent/escrow_inner.h"

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
                escrow_keep_opened(k);
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

void escrow_close_key(struct escrow *e, uint32_t i, struct effects *out)
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
                escrow_close_key(e, i, out);
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

static enum look_lack key_lacks(const struct escrow *e, uint32_t index, const struct escrow_gate *g, const struct look *look)
{
        const struct escrow_key *k = &e->keys[index];
        const struct escrow_claim *c = escrow_claim(e, index, g->epoch);
        const struct look_key *seen = escrow_looked_at(look, index);
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
                        escrow_close_key(e, i, out);
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
                escrow_close_key(e, i, out);
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
                settle_key(e, epoch, i, escrow_looked_at(look, i), look->warming, out);
}

void escrow_terminated(struct escrow *e, uint64_t epoch, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && !e->keys[i].leaving && !escrow_asked_by(e, i, epoch))
                        escrow_close_key(e, i, out);
}

void escrow_silence_key(struct escrow *e, uint32_t i, struct effects *out)
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
                if (e->keys[i].inode && !e->keys[i].inherited && escrow_is_tcp(&e->keys[i]))
                        effects_add(out, (struct effect){ .kind = DO_HUSH, .key = i });
}

void escrow_silence_all(struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                escrow_silence_key(e, i, out);
}

void escrow_silence_idle(struct escrow *e, uint64_t epoch, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (!accepted_by(e, i, epoch))
                        escrow_silence_key(e, i, out);
}

bool escrow_silence_fresh(struct escrow *e, struct effects *out)
{
        bool any = false;

        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].inode || !e->keys[i].fresh)
                        continue;
                escrow_silence_key(e, i, out);
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
                else if (steered && !e->keys[i].steer && e->keys[i].key.worker == 0 && escrow_is_tcp(&e->keys[i]))
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
                        escrow_close_key(e, i, out);
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
