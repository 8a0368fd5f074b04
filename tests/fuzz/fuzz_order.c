/* SPDX-License-Identifier: MIT */
/* Whatever a client sends: it is refused with a member and a reason, or it is an order as promised, and reads back as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/order.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void want(bool truth)
{
        if (!truth)
                abort();
}

static void keeps_its_promises(const struct control_order *o)
{
        want(o->ticket < UINT64_C(1) << 63);
        want(!o->has_target ? o->target == 0 : o->target < UINT64_C(1) << 63);
        want(o->observe_ms >= -1 && o->observe_ms <= ORDER_OBSERVE_MS_MAX);
        want(!*o->cwd || *o->cwd == '/');
        want(o->n_proxy <= ORDER_WORDS_MAX && (o->n_proxy == 0) == (o->proxy == NULL));
        want(o->n_proxy == 0 || (*o->proxy[0] && o->proxy[o->n_proxy] == NULL));
}

static void are_the_same(const struct control_order *a, const struct control_order *b)
{
        want(a->ticket == b->ticket && a->has_target == b->has_target && a->target == b->target);
        want(a->observe_ms == b->observe_ms && a->self == b->self && strcmp(a->cwd, b->cwd) == 0 && a->n_proxy == b->n_proxy);
        for (size_t i = 0; i < a->n_proxy; i++)
                want(strcmp(a->proxy[i], b->proxy[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct json_writer w = JSON_WRITER_NULL;
        struct order_error e = { 0 };
        struct order first, again;

        if (order_read((const char *)data, size, &first, &e) != 0) {
                want(e.member && *e.member && *e.text);
                return 0;
        }
        keeps_its_promises(&first.o);
        order_write(&first.o, &w);
        if (w.n <= ORDER_BYTES_MAX) { /* escapes make a text longer */
                want(order_read(w.text, w.n, &again, &e) == 0);
                are_the_same(&first.o, &again.o);
                order_done(&again);
        }
        json_writer_done(&w);
        order_done(&first);
        return 0;
}
