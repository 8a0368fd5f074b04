/* SPDX-License-Identifier: MIT */
/* PURE. See in_flight.h. */
#include "agent/in_flight.h"

#include <string.h>

struct line {
        const char *name;
        size_t name_bytes;
        uint64_t value;
};

/* "name: 12" up to the next newline. Return: false at the end of the text. */
static bool next_line(const char **at, const char *end, struct line *ret)
{
        while (*at < end) {
                const char *start = *at;
                const char *stop = memchr(start, '\n', (size_t)(end - start));
                const char *colon;
                uint64_t value = 0;
                size_t digits = 0;

                if (!stop)
                        stop = end;
                *at = stop == end ? end : stop + 1;
                colon = memrchr(start, ':', (size_t)(stop - start));
                if (!colon || colon + 1 >= stop || colon[1] != ' ')
                        continue;
                for (const char *p = colon + 2; p < stop && *p >= '0' && *p <= '9' && digits < 19; p++, digits++)
                        value = value * 10 + (uint64_t)(*p - '0');
                if (digits == 0)
                        continue;
                *ret = (struct line){ start, (size_t)(colon - start), value };
                return true;
        }
        return false;
}

static bool starts(const struct line *l, const char *with)
{
        size_t n = strlen(with);

        return l->name_bytes >= n && memcmp(l->name, with, n) == 0;
}

static bool ends(const struct line *l, const char *with)
{
        size_t n = strlen(with);

        return l->name_bytes >= n && memcmp(l->name + l->name_bytes - n, with, n) == 0;
}

/* "listener.ADDR.worker_0.downstream_cx_active" counts what "listener.ADDR.downstream_cx_active" counts already. */
static bool of_one_thread(const struct line *l)
{
        return memmem(l->name, l->name_bytes, ".worker_", 8) || ends(l, ".main_thread.downstream_cx_active");
}

void in_flight_read(const char *text, size_t n, struct in_flight *ret)
{
        const char *at = text;
        struct line l;
        uint64_t rq_active = 0, http_cx = 0, listener_cx = 0;

        *ret = (struct in_flight){ 0 };
        while (next_line(&at, text + n, &l)) {
                if (starts(&l, "http.admin.") || starts(&l, "listener.admin."))
                        continue;
                if (starts(&l, "http.") && ends(&l, ".downstream_rq_active"))
                        rq_active += l.value;
                else if (starts(&l, "http.") && ends(&l, ".downstream_rq_total"))
                        ret->requests_total += l.value;
                else if (starts(&l, "http.") && ends(&l, ".downstream_cx_active"))
                        http_cx += l.value;
                else if (starts(&l, "listener.") && ends(&l, ".downstream_cx_active") && !of_one_thread(&l))
                        listener_cx += l.value;
        }
        /* Not one instant: the two sums may be read on either side of a new connection. */
        ret->active = (int64_t)(rq_active + (listener_cx > http_cx ? listener_cx - http_cx : 0));
        ret->connections = (int64_t)(listener_cx > http_cx ? listener_cx : http_cx);
}

void listener_facts_read(const char *text, size_t n, struct listener_facts *ret)
{
        const char *at = text;
        struct line l;

        *ret = (struct listener_facts){ 0 };
        while (next_line(&at, text + n, &l)) {
                if (ends(&l, ".listener_create_failure"))
                        ret->create_failures += l.value;
                else if (ends(&l, ".update_success") || ends(&l, ".update_rejected"))
                        ret->lds_answers += l.value;
                else if (ends(&l, ".total_listeners_warming"))
                        ret->warming += l.value;
        }
}
