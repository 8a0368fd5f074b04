/* SPDX-License-Identifier: MIT */
/*
 * Datagrams of any size and content: what comes out is what a plain reading of the rules gives. The input is a row of
 * datagrams, each with two bytes of length before it.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The rules once more, in the simplest form: everything of the message under way, from its length on. */
struct model {
        uint8_t *bytes;
        size_t n;
};

static uint64_t announced(const struct model *m)
{
        uint64_t n = 0;

        for (int i = 0; i < HR_HEADER_BYTES; i++)
                n = 256 * n + m->bytes[i];
        return n;
}

static int expected(struct model *m, const uint8_t *datagram, size_t n)
{
        if (m->n == 0 && n < HR_HEADER_BYTES)
                return -EBADMSG;
        if (n > 0)
                memcpy(m->bytes + m->n, datagram, n);
        m->n += n;
        if (announced(m) > HR_MESSAGE_BYTES_MAX || m->n - HR_HEADER_BYTES > announced(m)) {
                m->n = 0;
                return -EBADMSG;
        }
        return m->n - HR_HEADER_BYTES < announced(m) ? HR_FRAME_MORE : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct model model = { malloc(size + 1), 0 };
        struct hr_frame f = HR_FRAME_NULL;
        const size_t total = size;

        if (!model.bytes)
                abort();
        while (size >= 2) {
                size_t n = ((size_t)data[0] << 8 | data[1]) % (HR_DATAGRAM_BYTES + 1), got_n = SIZE_MAX;
                const uint8_t *got = NULL;
                int want, r;

                data += 2;
                size -= 2;
                n = n < size ? n : size;
                want = expected(&model, data, n);
                r = hr_frame_feed(&f, data, n, &got, &got_n);
                if (r != want)
                        abort();
                if (r == 0 && (got_n != model.n - HR_HEADER_BYTES || memcmp(got, model.bytes + HR_HEADER_BYTES, got_n) != 0))
                        abort();
                if (r == 0)
                        model.n = 0;
                if (f.room > 2 * total)
                        abort(); /* memory for what was only announced */
                data += n;
                size -= n;
        }
        hr_frame_done(&f);
        free(model.bytes);
        return 0;
}
