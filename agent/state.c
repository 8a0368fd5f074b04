/* SPDX-License-Identifier: MIT */
/* See state.h. */
#include "agent/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#ifndef STATE_VERSION
#define STATE_VERSION 1
#endif

enum { INDEX_BYTES = 4096 };
#define STATE_MAGIC UINT64_C(0x31657461747362)

struct slot_header {
        uint64_t magic;
        uint32_t version;
        uint32_t crc; /* of what follows, up to n bytes behind the header */
        uint64_t seq;
        uint64_t n;
};

struct state_file {
        int fd;
        size_t slot_bytes;
        uint64_t seq;
        unsigned next; /* the slot to write */
};

static off_t slot_at(const struct state_file *s, unsigned slot)
{
        return (off_t)(INDEX_BYTES + slot * s->slot_bytes);
}

static uint32_t checksum(const struct slot_header *h, const void *bytes)
{
        uLong crc = crc32(0, (const Bytef *)&h->seq, sizeof(h->seq) + sizeof(h->n));

        return (uint32_t)crc32_z(crc, bytes, h->n);
}

static int read_header(const struct state_file *s, unsigned slot, struct slot_header *ret)
{
        if (pread(s->fd, ret, sizeof(*ret), slot_at(s, slot)) != (ssize_t)sizeof(*ret) || ret->magic == 0)
                return STATE_E_EMPTY;
        if (ret->magic != STATE_MAGIC || ret->n > s->slot_bytes - sizeof(*ret))
                return STATE_E_CORRUPT;
        return ret->version == STATE_VERSION ? 0 : STATE_E_VERSION;
}

static int read_slot(const struct state_file *s, unsigned slot, void *buf, size_t size, struct slot_header *ret)
{
        int r = read_header(s, slot, ret);

        if (r)
                return r;
        if (ret->n > size)
                return -EMSGSIZE;
        if (pread(s->fd, buf, ret->n, slot_at(s, slot) + (off_t)sizeof(*ret)) != (ssize_t)ret->n || checksum(ret, buf) != ret->crc)
                return STATE_E_CORRUPT;
        return 0;
}

/* The numbers go round: a spoiled slot may have any. */
static bool is_newer(uint64_t seq, uint64_t than)
{
        return (int64_t)(seq - than) > 0;
}

int state_open(int fd, size_t max_bytes, struct state_file **ret)
{
        struct state_file *s = calloc(1, sizeof(*s));
        struct slot_header h;
        bool any = false;

        if (!s)
                return -ENOMEM;
        s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (s->fd < 0) {
                free(s);
                return -errno;
        }
        s->slot_bytes = sizeof(struct slot_header) + max_bytes;
        for (unsigned i = 0; i < 2; i++)
                if (read_header(s, i, &h) == 0 && (!any || is_newer(h.seq, s->seq))) {
                        any = true;
                        s->seq = h.seq;
                        s->next = !i;
                }
        *ret = s;
        return 0;
}

struct state_file *state_free(struct state_file *s)
{
        if (s)
                (void)close(s->fd);
        free(s);
        return NULL;
}

/* The body first, then the header with the sequence number: until that is there the older slot is the newest. */
int state_store(struct state_file *s, const void *bytes, size_t n)
{
        struct slot_header h = { .magic = STATE_MAGIC, .version = STATE_VERSION, .seq = s->seq + 1, .n = n };
        off_t at = slot_at(s, s->next);

        if (n > s->slot_bytes - sizeof(h))
                return -EFBIG;
        h.crc = checksum(&h, bytes);
        if (pwrite(s->fd, bytes, n, at + (off_t)sizeof(h)) != (ssize_t)n || pwrite(s->fd, &h, sizeof(h), at) != (ssize_t)sizeof(h))
                return -ENOSPC;
        s->seq++;
        s->next = !s->next;
        return 0;
}

int state_load(struct state_file *s, void *buf, size_t size, size_t *ret_n)
{
        struct slot_header h[2];
        unsigned first;
        int r[2];

        for (unsigned i = 0; i < 2; i++)
                r[i] = read_header(s, i, &h[i]);
        first = r[0] == 0 && (r[1] != 0 || is_newer(h[0].seq, h[1].seq)) ? 0 : 1;
        for (unsigned i = 0; i < 2; i++) {
                unsigned slot = i == 0 ? first : !first;

                r[slot] = read_slot(s, slot, buf, size, &h[slot]);
                if (r[slot] == 0) {
                        s->seq = h[slot].seq;
                        s->next = !slot;
                        *ret_n = h[slot].n;
                        return 0;
                }
        }
        return r[0] == STATE_E_EMPTY ? r[1] : r[0];
}
