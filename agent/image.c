/* SPDX-License-Identifier: MIT */
/* PURE. See image.h. */
#include "agent/image.h"

#include <stddef.h>
#include <string.h>

#define IMAGE_MAGIC 0x31676d69u
#define CORE_BYTES offsetof(struct succession, epochs)

struct image_header {
        uint32_t magic;
        uint16_t version;
        uint16_t n_epochs;
        uint32_t core_bytes;  /* a layout that differs is another version */
        uint32_t epoch_bytes;
        uint32_t n_keys;
        uint32_t reserved;
        uint64_t trial;
};

enum { IMAGE_VERSION = 3 };

struct image_claim {
        uint64_t epoch;
        uint32_t waiting;
        uint8_t passed, queue_moved, harvested, ambiguous;
};

struct image_key {
        uint64_t inode, opened;
        uint32_t worker, steer;
        uint8_t is_static, silenced, leaving, shuffled;
        uint8_t url_bytes, netns_bytes, fresh, inherited;
        struct image_claim by[CLAIMS];
};

static bool put(uint8_t *buf, size_t size, size_t *at, const void *p, size_t n)
{
        if (n > size - *at)
                return false;
        memcpy(buf + *at, p, n);
        *at += n;
        return true;
}

static bool put_key(uint8_t *buf, size_t size, size_t *at, const struct escrow_key *k)
{
        struct image_key ik = {
                .inode = k->inode,
                .opened = k->opened,
                .worker = k->key.worker,
                .steer = k->steer,
                .is_static = k->is_static,
                .silenced = k->silenced,
                .leaving = k->leaving,
                .shuffled = k->shuffled,
                .fresh = k->fresh,
                .inherited = k->inherited,
                .url_bytes = (uint8_t)strlen(k->key.url),
                .netns_bytes = (uint8_t)strlen(k->key.netns),
        };

        for (size_t i = 0; i < CLAIMS; i++)
                ik.by[i] = (struct image_claim){ .epoch = k->by[i].epoch,
                                                 .waiting = k->by[i].waiting,
                                                 .passed = k->by[i].passed,
                                                 .queue_moved = k->by[i].queue_moved,
                                                 .harvested = k->by[i].harvested,
                                                 .ambiguous = k->by[i].ambiguous };
        return put(buf, size, at, &ik, sizeof(ik)) && put(buf, size, at, k->key.url, ik.url_bytes) &&
               put(buf, size, at, k->key.netns, ik.netns_bytes);
}

size_t image_write(const struct succession *s, uint8_t *buf, size_t size)
{
        struct image_header h = {
                .magic = IMAGE_MAGIC,
                .version = IMAGE_VERSION,
                .core_bytes = CORE_BYTES,
                .epoch_bytes = sizeof(struct epoch),
                .n_keys = s->escrow.n,
                .trial = s->escrow.trial,
        };
        size_t at = sizeof(h);
        bool ok = size >= sizeof(h) && put(buf, size, &at, s, CORE_BYTES);

        for (size_t i = 0; ok && i < GENERATIONS_MAX; i++) {
                if (s->epochs[i].state == EPOCH_NONE)
                        continue;
                ok = put(buf, size, &at, &s->epochs[i], sizeof(s->epochs[i]));
                h.n_epochs++;
        }
        for (uint32_t i = 0; ok && i < s->escrow.n; i++)
                ok = put_key(buf, size, &at, &s->escrow.keys[i]);
        if (!ok)
                return 0;
        memcpy(buf, &h, sizeof(h));
        return at;
}

static bool get(const uint8_t *buf, size_t n, size_t *at, void *p, size_t want)
{
        if (want > n - *at)
                return false;
        memcpy(p, buf + *at, want);
        *at += want;
        return true;
}

static bool get_claim(const struct image_claim *ic, struct escrow_claim *c)
{
        if (ic->passed > 1 || ic->queue_moved > 1 || ic->harvested > 1 || ic->ambiguous > 1)
                return false;
        *c = (struct escrow_claim){ .epoch = ic->epoch,
                                    .waiting = ic->waiting,
                                    .passed = ic->passed != 0,
                                    .queue_moved = ic->queue_moved != 0,
                                    .harvested = ic->harvested != 0,
                                    .ambiguous = ic->ambiguous != 0 };
        return true;
}

static bool get_key(const uint8_t *buf, size_t n, size_t *at, struct escrow_key *k)
{
        struct image_key ik;

        if (!get(buf, n, at, &ik, sizeof(ik)) || ik.url_bytes >= HR_URL_BYTES || ik.netns_bytes >= HR_NETNS_BYTES)
                return false;
        if (ik.is_static > 1 || ik.silenced > 1 || ik.leaving > 1 || ik.shuffled > 1 || ik.fresh > 1 || ik.inherited > 1 ||
            (ik.inode && ik.opened))
                return false;
        *k = (struct escrow_key){
                .key.worker = ik.worker,
                .inode = ik.inode,
                .opened = ik.opened,
                .steer = ik.steer,
                .is_static = ik.is_static != 0,
                .silenced = ik.silenced != 0,
                .leaving = ik.leaving != 0,
                .shuffled = ik.shuffled != 0,
                .fresh = ik.fresh != 0,
                .inherited = ik.inherited != 0,
        };
        for (size_t i = 0; i < CLAIMS; i++)
                if (!get_claim(&ik.by[i], &k->by[i]))
                        return false;
        return get(buf, n, at, k->key.url, ik.url_bytes) && get(buf, n, at, k->key.netns, ik.netns_bytes) &&
               strlen(k->key.url) == ik.url_bytes && strlen(k->key.netns) == ik.netns_bytes;
}

static bool epoch_possible(const struct epoch *e, const struct escrow *escrow)
{
        return e->state > EPOCH_NONE && e->state <= EPOCH_GONE && e->owed <= OWED_UNRECOGNIZED &&
               e->lack <= LACK_READY && (e->owed_key == NO_KEY || e->owed != OWED_PASS || e->owed_key < escrow->n);
}

static bool run_possible(const struct run *r)
{
        return r->kind < RUN_KINDS;
}

static bool upgrade_possible(const struct upgrade *u)
{
        if (u->state >= UPGRADE_STATES || u->n_next > RUNS_MAX || !run_possible(&u->now))
                return false;
        if ((u->state == UPGRADE_IDLE) != (u->now.id == 0))
                return false;
        for (size_t i = 0; i < RUNS_MAX; i++)
                if (!run_possible(&u->next[i]))
                        return false;
        for (size_t i = 0; i < OUTCOMES_MAX; i++)
                if (u->outcomes[i].kind >= RUN_KINDS || u->outcomes[i].result >= RESULTS || u->outcomes[i].reason[REASON_BYTES - 1])
                        return false;
        return true;
}

static bool whole(const struct succession *s, size_t n_epochs)
{
        for (size_t i = 0; i < n_epochs; i++)
                if (!epoch_possible(&s->epochs[i], &s->escrow))
                        return false;
        return s->end <= END_SAID && s->last.kind <= LAST_ROLLBACK && s->last.result < RESULTS && !s->last.reason[REASON_BYTES - 1] &&
               s->backoff.tokens >= 0 && s->leave <= LEAVE_CLOSES && s->come_back <= COME_BACK_LAUNCHED && upgrade_possible(&s->upgrade);
}

int image_read(const uint8_t *buf, size_t n, struct succession *ret)
{
        struct image_header h;
        size_t at = 0;

        memset(ret, 0, offsetof(struct succession, escrow.keys)); /* slots from escrow.n on are written before they are read */
        if (!get(buf, n, &at, &h, sizeof(h)) || h.magic != IMAGE_MAGIC)
                return IMAGE_E_CORRUPT;
        if (h.version != IMAGE_VERSION || h.core_bytes != CORE_BYTES || h.epoch_bytes != sizeof(struct epoch))
                return IMAGE_E_VERSION;
        if (h.reserved || h.n_epochs > GENERATIONS_MAX || h.n_keys > KEYS_MAX || !get(buf, n, &at, ret, CORE_BYTES))
                return IMAGE_E_CORRUPT;
        for (size_t i = 0; i < h.n_epochs; i++)
                if (!get(buf, n, &at, &ret->epochs[i], sizeof(struct epoch)))
                        return IMAGE_E_CORRUPT;
        ret->escrow.n = h.n_keys;
        ret->escrow.trial = h.trial;
        for (uint32_t i = 0; i < h.n_keys; i++)
                if (!get_key(buf, n, &at, &ret->escrow.keys[i]))
                        return IMAGE_E_CORRUPT;
        return at == n && whole(ret, h.n_epochs) ? 0 : IMAGE_E_CORRUPT;
}
