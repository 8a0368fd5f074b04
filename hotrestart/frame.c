/* SPDX-License-Identifier: MIT */
/* PURE. Datagrams to messages: 8 bytes big-endian length, then the message; what is longer goes on in the next datagram. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

static uint64_t length_of(const uint8_t *p)
{
        uint64_t n = 0;

        for (int i = 0; i < HR_HEADER_BYTES; i++)
                n = n << 8 | p[i];
        return n;
}

/* The room follows what has come, not what was announced: a length costs the sender nothing. */
static int append(struct hr_frame *f, const uint8_t *bytes, size_t n)
{
        size_t need = f->have + n;

        if (need > f->room) {
                size_t room = need > 2 * f->room ? need : 2 * f->room;
                uint8_t *grown = realloc(f->bytes, room);

                if (!grown)
                        return -ENOMEM;
                f->bytes = grown;
                f->room = room;
        }
        if (n > 0)
                memcpy(f->bytes + f->have, bytes, n);
        f->have = need;
        return 0;
}

int hr_frame_feed(struct hr_frame *f, const uint8_t *datagram, size_t n, const uint8_t **ret_bytes, size_t *ret_n)
{
        int r;

        if (f->want == 0) {
                if (n < HR_HEADER_BYTES || length_of(datagram) > HR_MESSAGE_BYTES_MAX)
                        return -EBADMSG;
                f->want = length_of(datagram);
                f->have = 0;
                datagram += HR_HEADER_BYTES;
                n -= HR_HEADER_BYTES;
        }
        r = n > f->want - f->have ? -EBADMSG : append(f, datagram, n);
        if (r < 0) {
                f->want = f->have = 0;
                return r;
        }
        if (f->have < f->want)
                return HR_FRAME_MORE;
        *ret_bytes = f->bytes ? f->bytes : (const uint8_t *)"";
        *ret_n = f->have;
        f->want = f->have = 0;
        return 0;
}

void hr_frame_done(struct hr_frame *f)
{
        free(f->bytes);
        *f = HR_FRAME_NULL;
}
