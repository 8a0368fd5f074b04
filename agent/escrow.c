/* SPDX-License-Identifier: MIT */
/* PURE. See escrow.h. */
#include "agent/escrow.h"

#include <string.h>

uint32_t escrow_find(const struct escrow *e, const struct hr_key *key)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (hr_key_equal(&e->keys[i].key, key))
                        return i;
        return NO_KEY;
}

/* A slot whose key nobody holds and nobody living asked for may be used again; indices of the others never change. */
static uint32_t add(struct escrow *e, const struct hr_key *key)
{
        uint32_t i = 0;

        while (i < e->n && (e->keys[i].inode || e->keys[i].asked_by != NO_EPOCH))
                i++;
        if (i == KEYS_MAX)
                return NO_KEY;
        if (i == e->n)
                e->n++;
        e->keys[i] = (struct escrow_key){ .key = *key, .asked_by = NO_EPOCH };
        return i;
}

static uint32_t intern(struct escrow *e, const struct hr_key *key)
{
        uint32_t i = escrow_find(e, key);

        return i == NO_KEY ? add(e, key) : i;
}

bool escrow_asked(struct escrow *e, uint64_t epoch, const struct hr_key *key, uint32_t *ret_key)
{
        uint32_t i = intern(e, key);
        struct escrow_key *k;

        *ret_key = i;
        if (i == NO_KEY)
                return false;
        k = &e->keys[i];
        if (k->asked_by != epoch)
                k->ambiguous = false; /* it may have been mended; if not, its second question tells before anything is passed */
        k->asked_by = epoch;
        k->passed = k->inode != 0 && !k->ambiguous;
        k->harvested = false;
        k->queue_moved = false;
        k->waiting = 0;
        return k->passed;
}

static void close_key(struct escrow *e, uint32_t i, struct effects *out)
{
        effects_add(out, (struct effect){ .kind = DO_CLOSE, .key = i });
        e->keys[i].inode = 0;
        e->keys[i].silenced = false;
}

bool escrow_asked_twice(struct escrow *e, uint64_t epoch, const struct hr_key *key, struct effects *out)
{
        uint32_t i = escrow_find(e, key);

        if (i == NO_KEY || e->keys[i].asked_by != epoch || e->keys[i].ambiguous)
                return false;
        e->keys[i].ambiguous = true;
        if (e->keys[i].inode)
                close_key(e, i, out);
        return true;
}

uint32_t escrow_held_by_keeper(struct escrow *e, const struct hr_key *key, uint64_t inode)
{
        uint32_t i = intern(e, key);

        if (i != NO_KEY)
                e->keys[i].inode = inode;
        return i;
}

void escrow_not_held(struct escrow *e, uint32_t key)
{
        e->keys[key].inode = 0;
        e->keys[key].silenced = false;
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
                struct escrow_key *k = &e->keys[keys[i].key];

                if (k->asked_by != epoch || !k->passed)
                        continue;
                k->waiting = keys[i].waiting;
                k->queue_moved = k->waiting == 0;
        }
}

static void mark(struct escrow *e, uint64_t epoch, const struct look *look)
{
        for (size_t i = 0; i < look->n; i++) {
                struct escrow_key *k = &e->keys[look->keys[i].key];

                if (k->asked_by != epoch)
                        continue;
                k->harvested = look->keys[i].inode && (!k->passed || look->keys[i].inode == k->inode);
                if (look->keys[i].waiting == 0 || look->keys[i].waiting < k->waiting)
                        k->queue_moved = true;
        }
}

static const struct look_key *look_find(const struct look *look, uint32_t key)
{
        for (size_t i = 0; i < look->n; i++)
                if (look->keys[i].key == key)
                        return &look->keys[i];
        return NULL;
}

static enum look_lack key_lacks(const struct escrow_key *k, uint32_t index, const struct escrow_gate *g,
                                const struct look *look)
{
        const struct look_key *seen = look_find(look, index);
        bool asked = k->asked_by == g->epoch;

        if (!k->inode || hr_key_is_udp(&k->key))
                return LACK_NOTHING;
        if (asked && !seen)
                return LACK_HARVEST; /* asked for while the look was under way: it says nothing about this one */
        if (k->is_static) {
                if (!asked)
                        return g->same_content ? LACK_STATIC_KEY : LACK_NOTHING;
                if (!k->harvested)
                        return LACK_STATIC_KEY;
        } else if (look->lds && !(asked && k->harvested)) {
                if (g->allow_loss)
                        return LACK_NOTHING;
                if (!look->lds_answered || !look->listeners_known || (seen && seen->listed))
                        return LACK_LDS;
                if (asked && look->warming) /* a listener that waits for its routes or secrets is not listed yet */
                        return LACK_LDS;
                return LACK_NOTHING; /* removed while nobody served */
        } else if (!look->lds && !(asked && k->harvested)) {
                /* the bootstrap could not be read: judge it as if it were static */
                if (g->same_content)
                        return LACK_STATIC_KEY;
                return LACK_NOTHING;
        }
        if (g->after_crash && k->passed && !k->queue_moved)
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
                enum look_lack l = key_lacks(&e->keys[i], i, g, look);

                if (l != LACK_NOTHING && (worst == LACK_NOTHING || l < worst))
                        worst = l;
        }
        if (worst != LACK_NOTHING)
                return worst;
        if (!g->first && look->create_failures > g->create_failures_before && !g->allow_loss)
                return LACK_CREATE_FAILURES;
        return LACK_NOTHING;
}

static void settle_key(struct escrow *e, uint64_t epoch, uint32_t i, const struct look_key *seen, struct effects *out)
{
        struct escrow_key *k = &e->keys[i];

        if (k->ambiguous && k->asked_by == epoch) {
                if (k->inode) /* a dead agent had given it up, and the keeper did not hear of it */
                        close_key(e, i, out);
                return;
        }
        if (seen && seen->inode && k->asked_by == epoch) {
                if (k->inode != seen->inode)
                        effects_add(out, (struct effect){ .kind = DO_HOLD, .key = i });
                else if (k->silenced)
                        effects_add(out, (struct effect){ .kind = DO_REVIVE, .key = i });
                k->inode = seen->inode;
                k->silenced = false;
                k->harvested = true;
                return;
        }
        if (!seen && k->asked_by == epoch)
                return; /* asked for while the look was under way: the next one tells */
        if (k->inode) {
                effects_add(out, (struct effect){ .kind = DO_REPORT, .epoch = epoch, .value = REPORT_REMOVED, .key = i });
                close_key(e, i, out);
        }
        /* What was there and is gone will be asked for anew. What never was there yet may be a listener that is warming. */
        if (k->asked_by != epoch || (seen && k->harvested))
                k->asked_by = NO_EPOCH;
}

void escrow_settle(struct escrow *e, uint64_t epoch, const struct look *look, struct effects *out)
{
        if (look->harvest_failed)
                return; /* nothing was learned: keep what there is */
        for (uint32_t i = 0; i < e->n; i++)
                settle_key(e, epoch, i, look_find(look, i), out);
}

void escrow_terminated(struct escrow *e, uint64_t epoch, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && e->keys[i].asked_by != epoch)
                        close_key(e, i, out);
}

static void silence_key(struct escrow *e, uint32_t i, struct effects *out)
{
        if (!e->keys[i].inode || hr_key_is_udp(&e->keys[i].key))
                return;
        effects_add(out, (struct effect){ .kind = DO_SILENCE, .key = i });
        e->keys[i].silenced = true;
}

static bool accepted_by(const struct escrow_key *k, uint64_t epoch)
{
        return epoch != NO_EPOCH && k->asked_by == epoch && k->harvested && (!k->passed || k->queue_moved);
}

void escrow_hush_all(const struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && !hr_key_is_udp(&e->keys[i].key) && !hr_key_is_unix(&e->keys[i].key))
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
                if (!accepted_by(&e->keys[i], epoch))
                        silence_key(e, i, out);
}

void escrow_revive_accepted(struct escrow *e, uint64_t epoch, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].silenced || !accepted_by(&e->keys[i], epoch))
                        continue;
                effects_add(out, (struct effect){ .kind = DO_REVIVE, .key = i });
                e->keys[i].silenced = false;
        }
}

void escrow_repeat(const struct escrow *e, bool revive, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++) {
                if (!e->keys[i].inode || hr_key_is_udp(&e->keys[i].key))
                        continue;
                if (e->keys[i].silenced)
                        effects_add(out, (struct effect){ .kind = DO_SILENCE, .key = i });
                else if (revive)
                        effects_add(out, (struct effect){ .kind = DO_REVIVE, .key = i });
        }
}

void escrow_close_all(struct escrow *e, struct effects *out)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode)
                        close_key(e, i, out);
}

bool escrow_holds_any(const struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode)
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

bool escrow_any_silenced(const struct escrow *e)
{
        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].inode && e->keys[i].silenced)
                        return true;
        return false;
}
