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
};

enum { IMAGE_VERSION = 1 };

struct image_key {
        uint64_t inode, asked_by;
        uint32_t worker, waiting;
        uint8_t is_static, silenced, passed, queue_moved, harvested;
        uint8_t ambiguous, url_bytes, netns_bytes;
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
                .asked_by = k->asked_by,
                .worker = k->key.worker,
                .waiting = k->waiting,
                .is_static = k->is_static,
                .silenced = k->silenced,
                .passed = k->passed,
                .queue_moved = k->queue_moved,
                .harvested = k->harvested,
                .ambiguous = k->ambiguous,
                .url_bytes = (uint8_t)strlen(k->key.url),
                .netns_bytes = (uint8_t)strlen(k->key.netns),
        };

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

static bool get_key(const uint8_t *buf, size_t n, size_t *at, struct escrow_key *k)
{
        struct image_key ik;

        if (!get(buf, n, at, &ik, sizeof(ik)) || ik.url_bytes >= HR_URL_BYTES || ik.netns_bytes >= HR_NETNS_BYTES)
                return false;
        if (ik.is_static > 1 || ik.silenced > 1 || ik.passed > 1 || ik.queue_moved > 1 || ik.harvested > 1 || ik.ambiguous > 1)
                return false;
        *k = (struct escrow_key){
                .key.worker = ik.worker,
                .inode = ik.inode,
                .asked_by = ik.asked_by,
                .waiting = ik.waiting,
                .is_static = ik.is_static != 0,
                .silenced = ik.silenced != 0,
                .passed = ik.passed != 0,
                .queue_moved = ik.queue_moved != 0,
                .harvested = ik.harvested != 0,
                .ambiguous = ik.ambiguous != 0,
        };
        return get(buf, n, at, k->key.url, ik.url_bytes) && get(buf, n, at, k->key.netns, ik.netns_bytes) &&
               strlen(k->key.url) == ik.url_bytes && strlen(k->key.netns) == ik.netns_bytes;
}

static bool epoch_possible(const struct epoch *e, const struct escrow *escrow)
{
        return e->state > EPOCH_NONE && e->state <= EPOCH_GONE && e->owed <= OWED_UNRECOGNIZED &&
               e->lack <= LACK_QUEUE && (e->owed_key == NO_KEY || e->owed != OWED_PASS || e->owed_key < escrow->n);
}

static bool whole(const struct succession *s, size_t n_epochs)
{
        for (size_t i = 0; i < n_epochs; i++)
                if (!epoch_possible(&s->epochs[i], &s->escrow))
                        return false;
        return s->end <= END_SAID && s->last.kind <= LAST_CRASH && s->backoff.tokens >= 0;
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
        for (uint32_t i = 0; i < h.n_keys; i++)
                if (!get_key(buf, n, &at, &ret->escrow.keys[i]))
                        return IMAGE_E_CORRUPT;
        return at == n && whole(ret, h.n_epochs) ? 0 : IMAGE_E_CORRUPT;
}
