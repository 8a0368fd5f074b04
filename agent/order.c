/* SPDX-License-Identifier: MIT */
/* PURE. See order.h. */
#include "agent/order.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reader {
        const struct json *doc;
        struct order *order;
        char *free; /* where the next text goes */
        size_t room;
        const char *wrong;
};

static int wrong(struct reader *r, const char *why)
{
        r->wrong = why;
        return -EBADMSG;
}

/* ---- one function a member ---------------------------------------------------------------------------- */

/* The texts of a body are never longer than the body. */
static int read_text(struct reader *r, json_node n, const char **ret)
{
        size_t length;

        if (json_string(r->doc, n, r->free, r->room) != 0)
                return wrong(r, "text is wanted");
        if (!json_is_utf8(r->free) || strstr(r->free, "\xef\xbf\xbd"))
                return wrong(r, "it has a character that cannot be handed on: NUL, or bytes that are not UTF-8");
        length = strlen(r->free) + 1;
        *ret = r->free;
        r->free += length;
        r->room -= length;
        return 0;
}

static int read_ticket(struct reader *r, json_node n)
{
        int64_t v;

        if (json_int(r->doc, n, &v) != 0 || v <= 0)
                return wrong(r, "a whole number from 1, below 2^63, is wanted");
        r->order->o.ticket = (uint64_t)v;
        return 0;
}

static int read_to(struct reader *r, json_node n)
{
        int64_t v;

        if (json_int(r->doc, n, &v) != 0 || v < 0)
                return wrong(r, "the number of an epoch is wanted");
        r->order->o.has_target = true;
        r->order->o.target = (uint64_t)v;
        return 0;
}

static int read_observe(struct reader *r, json_node n)
{
        int64_t v;

        if (json_int(r->doc, n, &v) != 0 || v < 0 || v > ORDER_OBSERVE_MS_MAX)
                return wrong(r, "milliseconds are wanted, at most a day of them");
        r->order->o.observe_ms = v;
        return 0;
}

static int read_self(struct reader *r, json_node n)
{
        return json_bool(r->doc, n, &r->order->o.self) == 0 ? 0 : wrong(r, "true or false is wanted");
}

static int read_canary(struct reader *r, json_node n)
{
        (void)n;
        return wrong(r, "it is not in this version");
}

static int read_cwd(struct reader *r, json_node n)
{
        int err = read_text(r, n, &r->order->o.cwd);

        if (err)
                return err;
        return *r->order->o.cwd == '/' || !*r->order->o.cwd ? 0 : wrong(r, "a path from the root is wanted");
}

static int read_proxy(struct reader *r, json_node n)
{
        size_t count = json_size(r->doc, n), i = 0;
        const char **words;
        int err = 0;

        if (!json_is_array(r->doc, n) || count == 0)
                return wrong(r, "a list of words is wanted, the program first");
        if (count > ORDER_WORDS_MAX)
                return wrong(r, "it has too many words");
        words = calloc(count + 1, sizeof(*words)); /* and a NULL, as argv has it */
        if (!words)
                return -ENOMEM;
        r->order->words = words;
        for (json_node word = json_first(r->doc, n); word != JSON_NONE && err == 0; word = json_next(r->doc, n, word))
                err = read_text(r, word, &words[i++]);
        if (err)
                return err;
        r->order->o.proxy = words;
        r->order->o.n_proxy = count;
        return words[0] && *words[0] ? 0 : wrong(r, "the name of the program is empty");
}

static const struct member {
        const char *name;
        int (*read)(struct reader *r, json_node n);
} members[] = {
        { "ticket", read_ticket }, { "to", read_to },   { "observe_ms", read_observe },
        { "self", read_self },     { "cwd", read_cwd }, { "proxy", read_proxy }, { "canary", read_canary },
};

enum { N_MEMBERS = sizeof(members) / sizeof(members[0]) };

/* ---- the whole ---------------------------------------------------------------------------------------- */

static int refuse(struct order *o, struct order_error *reterr, int err, const char *member, const char *text)
{
        size_t n = strnlen(text, sizeof(reterr->text) - 1);

        order_done(o);
        reterr->member = member;
        memcpy(reterr->text, text, n);
        reterr->text[n] = '\0';
        return err;
}

/* Return: the index of the member that is wrong, or -1 */
static int read_members(struct reader *r, int *reterr)
{
        bool seen[N_MEMBERS] = { false };
        char name[16];

        for (json_node key = json_key_at(r->doc, JSON_ROOT, 0), value; key != JSON_NONE; key = json_next(r->doc, JSON_ROOT, value)) {
                value = json_value_of(r->doc, key);
                if (json_string(r->doc, key, name, sizeof(name)) != 0)
                        continue; /* longer than any that is known */
                for (int i = 0; i < N_MEMBERS; i++) {
                        if (strcmp(name, members[i].name) != 0)
                                continue;
                        *reterr = seen[i] ? wrong(r, "it stands there twice") : members[i].read(r, value);
                        seen[i] = true;
                        if (*reterr)
                                return i;
                }
        }
        return -1;
}

int order_read(const char *text, size_t n, struct order *ret, struct order_error *reterr)
{
        struct order o = { .o = CONTROL_ORDER_NULL };
        struct reader r = { .order = &o, .room = n + ORDER_WORDS_MAX + 2 };
        struct json_error e;
        struct json doc;
        int err, at;

        if (n == 0) {
                *ret = o;
                return 0;
        }
        err = n > ORDER_BYTES_MAX ? -EBADMSG : json_parse(text, n, &doc, &e);
        if (err)
                return refuse(&o, reterr, err, "body", n > ORDER_BYTES_MAX ? "it is too large" : e.text);
        r.doc = &doc;
        r.free = o.bytes = malloc(r.room);
        if (!o.bytes)
                err = refuse(&o, reterr, -ENOMEM, "body", "out of memory");
        else if (!json_is_object(&doc, JSON_ROOT))
                err = refuse(&o, reterr, -EBADMSG, "body", "an object is wanted");
        else if ((at = read_members(&r, &err)) >= 0)
                err = refuse(&o, reterr, err, members[at].name, err == -ENOMEM ? "out of memory" : r.wrong);
        json_done(&doc);
        if (err == 0)
                *ret = o;
        return err;
}

void order_done(struct order *o)
{
        free(o->bytes);
        free(o->words);
        *o = (struct order){ .o = CONTROL_ORDER_NULL };
}

void order_write(const struct control_order *o, struct json_writer *w)
{
        json_begin_object(w);
        if (o->ticket)
                json_key(w, "ticket"), json_uint_value(w, o->ticket);
        if (o->has_target)
                json_key(w, "to"), json_uint_value(w, o->target);
        if (o->observe_ms >= 0)
                json_key(w, "observe_ms"), json_int_value(w, o->observe_ms);
        if (o->self)
                json_key(w, "self"), json_bool_value(w, true);
        if (*o->cwd)
                json_key(w, "cwd"), json_string_value(w, o->cwd);
        if (o->n_proxy > 0) {
                json_key(w, "proxy"), json_begin_array(w);
                for (size_t i = 0; i < o->n_proxy; i++)
                        json_string_value(w, o->proxy[i]);
                json_end_array(w);
        }
        json_end_object(w);
}
