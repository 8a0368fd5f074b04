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

static int begin(struct hr_frame *f, uint64_t want)
{
        if (want > HR_MESSAGE_BYTES_MAX)
                return -EBADMSG;
        if (want > f->room) {
                uint8_t *bytes = realloc(f->bytes, want);

                if (!bytes)
                        return -ENOMEM;
                f->bytes = bytes;
                f->room = want;
        }
        f->want = want;
        f->have = 0;
        return 0;
}

int hr_frame_feed(struct hr_frame *f, const uint8_t *datagram, size_t n, const uint8_t **ret_bytes, size_t *ret_n)
{
        if (f->want == 0) {
                int r = n < HR_HEADER_BYTES ? -EBADMSG : begin(f, length_of(datagram));

                if (r < 0)
                        return r;
                datagram += HR_HEADER_BYTES;
                n -= HR_HEADER_BYTES;
        }
        if (n > f->want - f->have) {
                f->want = f->have = 0;
                return -EBADMSG;
        }
        if (n > 0)
                memcpy(f->bytes + f->have, datagram, n);
        f->have += n;
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
