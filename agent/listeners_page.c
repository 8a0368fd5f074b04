/* SPDX-License-Identifier: MIT */
/* PURE. See listeners_page.h. */
#include "agent/listeners_page.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/json.h"

void listeners_page_done(struct listeners_page *l)
{
        free(l->addresses);
        *l = LISTENERS_PAGE_NULL;
}

/* Return: the place for one more; NULL if memory ran out */
static char *room_for_one(struct listeners_page *l)
{
        void *more;

        if (l->n % 64 != 0)
                return l->addresses[l->n];
        more = realloc(l->addresses, (l->n + 64) * sizeof(*l->addresses));
        if (!more)
                return NULL;
        l->addresses = more;
        return l->addresses[l->n];
}

/* What is neither an IP address nor a path is none that a key could name: skipped. */
static int add_address(struct listeners_page *l, const struct json *doc, json_node address)
{
        json_node socket = json_get(doc, address, "socket_address");
        json_node path = json_get(doc, json_get(doc, address, "pipe"), "path");
        char *text = room_for_one(l), ip[128];
        int64_t port = 0;

        if (!text)
                return -ENOMEM;
        if (json_string(doc, path, text, HR_URL_BYTES) == 0) {
                l->n++;
                return 0;
        }
        if (json_string(doc, json_get(doc, socket, "address"), ip, sizeof(ip)) != 0)
                return 0;
        (void)json_int(doc, json_get(doc, socket, "port_value"), &port);
        (void)snprintf(text, HR_URL_BYTES, strchr(ip, ':') ? "[%s]:%" PRId64 : "%s:%" PRId64, ip, port);
        l->n++;
        return 0;
}

static int compare_addresses(const void *a, const void *b)
{
        return strcmp(a, b);
}

/* In one pass and sorted: with a thousand listeners, asking the document once for each key takes seconds. */
static int add_all(struct listeners_page *l, const struct json *doc)
{
        json_node all = json_get(doc, JSON_ROOT, "listener_statuses");
        int r = 0;

        for (json_node one = json_first(doc, all); r == 0 && one != JSON_NONE; one = json_next(doc, all, one)) {
                json_node more = json_get(doc, one, "additional_local_addresses");

                r = add_address(l, doc, json_get(doc, one, "local_address"));
                for (json_node other = json_first(doc, more); r == 0 && other != JSON_NONE; other = json_next(doc, more, other))
                        r = add_address(l, doc, other);
        }
        if (l->n)
                qsort(l->addresses, l->n, sizeof(*l->addresses), compare_addresses);
        return r;
}

int listeners_page_read(const char *text, size_t n, struct listeners_page *ret)
{
        CLEANUP(listeners_page_done) struct listeners_page l = LISTENERS_PAGE_NULL;
        struct json_error error;
        struct json doc;
        int r = json_parse(text, n, &doc, &error);

        if (r != 0)
                return r;
        r = json_is_object(&doc, JSON_ROOT) ? add_all(&l, &doc) : -EBADMSG;
        json_done(&doc);
        if (r != 0)
                return r;
        *ret = l;
        l = LISTENERS_PAGE_NULL;
        return 0;
}

bool listeners_page_has(const struct listeners_page *l, const struct hr_key *k)
{
        const char *rest = strstr(k->url, "://");

        return rest && l->n && bsearch(rest + 3, l->addresses, l->n, sizeof(*l->addresses), compare_addresses);
}

/* "sha/1.40.0/Clean/RELEASE/BoringSSL" */
bool server_info_version(const char *text, size_t n, char *ret, size_t size)
{
        char all[256] = "", *start, *end;
        struct json_error error;
        struct json doc;

        if (json_parse(text, n, &doc, &error) != 0)
                return false;
        (void)json_string(&doc, json_get(&doc, JSON_ROOT, "version"), all, sizeof(all));
        json_done(&doc);
        start = strchr(all, '/');
        end = start ? strchr(start + 1, '/') : NULL;
        if (!end || end == start + 1)
                return false;
        (void)snprintf(ret, size, "%.*s", (int)(end - start - 1), start + 1);
        return true;
}
