/* SPDX-License-Identifier: MIT */
/* See bootstrap.h. */
#include "agent/bootstrap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "agent/json.h"

enum { DOCUMENT_NODES_MAX = 8 * 1024 * 1024 };

/* libyaml resolves aliases to the same node, so a document is never larger than its text. */
static bool load(const char *text, size_t n, yaml_document_t *ret)
{
        yaml_parser_t parser;
        bool ok;

        if (!text || n == 0 || n > BOOTSTRAP_BYTES_MAX || !yaml_parser_initialize(&parser))
                return false;
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
        ok = yaml_parser_load(&parser, ret);
        yaml_parser_delete(&parser);
        if (ok && !yaml_document_get_root_node(ret)) {
                yaml_document_delete(ret);
                ok = false;
        }
        return ok;
}

static const char *scalar(const yaml_node_t *n)
{
        return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

/* Envoy takes both spellings of a field, as JSON and as proto. */
static bool names(const char *text, const char *key)
{
        char camel[64];
        size_t at = 0;

        if (strcmp(text, key) == 0)
                return true;
        for (const char *p = key; *p && at + 1 < sizeof(camel); p++)
                camel[at++] = *p == '_' && p[1] ? (char)(*++p - 'a' + 'A') : *p;
        camel[at] = '\0';
        return strcmp(text, camel) == 0;
}

/* Envoy skips these keys. */
static bool is_ignored(const yaml_node_t *key)
{
        return key->tag && strcmp((const char *)key->tag, "!ignore") == 0;
}

static yaml_node_t *member(yaml_document_t *d, yaml_node_t *map, const char *key)
{
        if (!map || map->type != YAML_MAPPING_NODE)
                return NULL;
        for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
                yaml_node_t *k = yaml_document_get_node(d, p->key);
                const char *name = scalar(k);

                if (name && names(name, key) && !is_ignored(k))
                        return yaml_document_get_node(d, p->value);
        }
        return NULL;
}

static bool flag(yaml_document_t *d, yaml_node_t *map, const char *key, bool standard)
{
        const char *text = scalar(member(d, map, key));

        return !text ? standard : strcasecmp(text, "true") == 0 || (standard && strcasecmp(text, "false") != 0);
}

static void add_url(struct bootstrap *b, const struct bootstrap_listener *facts, const char *scheme, const char *host, const char *port)
{
        char (*urls)[HR_URL_BYTES] = reallocarray(b->urls, b->n_urls + 1, HR_URL_BYTES);
        struct bootstrap_listener *listeners;
        int n;

        if (!urls)
                return;
        b->urls = urls;
        listeners = reallocarray(b->listeners, b->n_urls + 1, sizeof(*listeners));
        if (!listeners)
                return;
        b->listeners = listeners;
        n = snprintf(urls[b->n_urls], HR_URL_BYTES, "%s://%s%s%s", scheme, host, port ? ":" : "", port ? port : "");
        if (n > 0 && n < HR_URL_BYTES)
                listeners[b->n_urls++] = *facts;
}

/* As Envoy prints it: IPv6 addresses in their shortest form and in brackets. */
static void add_address(yaml_document_t *d, yaml_node_t *address, const struct bootstrap_listener *of_listener, struct bootstrap *b)
{
        yaml_node_t *socket = member(d, address, "socket_address");
        const char *path = scalar(member(d, member(d, address, "pipe"), "path"));
        const char *host = scalar(member(d, socket, "address")), *port = scalar(member(d, socket, "port_value"));
        const char *protocol = scalar(member(d, socket, "protocol"));
        const char *scheme = protocol && strcasecmp(protocol, "UDP") == 0 ? "udp" : "tcp";
        struct bootstrap_listener facts = *of_listener;
        struct in6_addr in6;
        char text[INET6_ADDRSTRLEN], quoted[INET6_ADDRSTRLEN + 2];

        facts.v4_too = flag(d, socket, "ipv4_compat", false);
        facts.elsewhere = member(d, socket, "network_namespace_filepath") != NULL;
        if (path) {
                facts.reuse_port = false;
                add_url(b, &facts, "unix", path, NULL);
        }
        if (!host || !port)
                return;
        if (inet_pton(AF_INET6, host, &in6) == 1 && inet_ntop(AF_INET6, &in6, text, sizeof(text))) {
                (void)snprintf(quoted, sizeof(quoted), "[%s]", text);
                add_url(b, &facts, scheme, quoted, port);
        } else {
                add_url(b, &facts, scheme, host, port);
        }
}

static void read_listener(yaml_document_t *d, yaml_node_t *listener, struct bootstrap *b)
{
        yaml_node_t *more = member(d, listener, "additional_addresses");
        struct bootstrap_listener facts = {
                .reuse_port = flag(d, listener, "enable_reuse_port", true),
                .binds = flag(d, listener, "bind_to_port", flag(d, member(d, listener, "deprecated_v1"), "bind_to_port", true)),
                .freebind = flag(d, listener, "freebind", false) || flag(d, listener, "transparent", false),
        };

        add_address(d, member(d, listener, "address"), &facts, b);
        if (!more || more->type != YAML_SEQUENCE_NODE)
                return;
        for (yaml_node_item_t *i = more->data.sequence.items.start; i < more->data.sequence.items.top; i++)
                add_address(d, member(d, yaml_document_get_node(d, *i), "address"), &facts, b);
}

/* Of several the last one counts for Envoy. Return: the index of its mapping; 0 if it is none */
static int admin_of(yaml_document_t *d, yaml_node_t *root)
{
        int index = 0;

        if (root->type != YAML_MAPPING_NODE)
                return 0;
        for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
                yaml_node_t *key = yaml_document_get_node(d, p->key), *value = yaml_document_get_node(d, p->value);

                if (scalar(key) && names(scalar(key), "admin") && !is_ignored(key))
                        index = value && value->type == YAML_MAPPING_NODE ? p->value : 0;
        }
        return index;
}

static void copy(char *ret, size_t size, const char *text)
{
        (void)snprintf(ret, size, "%s", text);
}

/* Another kind of address replaces all that was known; of the same kind, what is given replaces. */
static void read_admin(yaml_document_t *d, struct bootstrap_admin *a)
{
        yaml_node_t *address = member(d, yaml_document_get_node(d, admin_of(d, yaml_document_get_root_node(d))), "address");
        yaml_node_t *socket = member(d, address, "socket_address"), *pipe = member(d, address, "pipe");
        const char *host = scalar(member(d, socket, "address")), *port = scalar(member(d, socket, "port_value"));
        const char *path = scalar(member(d, pipe, "path")), *mode = scalar(member(d, pipe, "mode"));

        if (pipe && pipe->type == YAML_MAPPING_NODE) {
                if (*a->host || *a->port)
                        *a = (struct bootstrap_admin){ 0 };
                if (path)
                        copy(a->path, sizeof(a->path), path);
                if (mode && strtoul(mode, NULL, 0)) /* 0 is as good as not given: it replaces nothing */
                        a->mode = (unsigned)strtoul(mode, NULL, 0) & 07777;
        }
        if (socket && socket->type == YAML_MAPPING_NODE) {
                if (*a->path || a->mode)
                        *a = (struct bootstrap_admin){ 0 };
                if (host)
                        copy(a->host, sizeof(a->host), host);
                if (port)
                        copy(a->port, sizeof(a->port), port);
                a->v4_too = flag(d, socket, "ipv4_compat", a->v4_too);
                a->elsewhere = a->elsewhere || member(d, socket, "network_namespace_filepath");
        }
}

static bool read_one(const char *text, size_t n, struct bootstrap *b)
{
        yaml_document_t d;
        yaml_node_t *root, *listeners, *dynamic;

        if (!load(text, n, &d))
                return false;
        root = yaml_document_get_root_node(&d);
        read_admin(&d, &b->admin);
        listeners = member(&d, member(&d, root, "static_resources"), "listeners");
        dynamic = member(&d, root, "dynamic_resources");
        if (listeners && listeners->type == YAML_SEQUENCE_NODE)
                for (yaml_node_item_t *i = listeners->data.sequence.items.start; i < listeners->data.sequence.items.top; i++)
                        read_listener(&d, yaml_document_get_node(&d, *i), b);
        b->lds = b->lds || member(&d, dynamic, "lds_config") || member(&d, dynamic, "ads_config");
        yaml_document_delete(&d);
        return true;
}

static bool is_yaml(const char *path)
{
        const char *dot = path ? strrchr(path, '.') : NULL;

        return dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0 || strcmp(dot, ".json") == 0);
}

void bootstrap_read(const char *text, size_t n, const char *yaml, const char *path, struct bootstrap *ret)
{
        *ret = (struct bootstrap){ .readable = true };
        if (path)
                ret->readable = is_yaml(path) && read_one(text, n, ret);
        if (yaml && *yaml)
                ret->readable = read_one(yaml, strlen(yaml), ret) && ret->readable;
}

void bootstrap_done(struct bootstrap *b)
{
        free(b->urls);
        free(b->listeners);
        *b = (struct bootstrap){ 0 };
}

bool bootstrap_listeners_from_outside(const struct bootstrap *b)
{
        return !b->readable || b->lds;
}

/* ---- merging ---------------------------------------------------------------------------------------- */

static int emit_handler(void *data, unsigned char *buffer, size_t size)
{
        struct json_writer *w = data; /* a buffer that grows is a buffer that grows */

        w->comma = false;
        json_raw(w, (const char *)buffer, size);
        w->comma = false;
        return !w->failed;
}

static int emit(yaml_document_t *d, char **ret)
{
        struct json_writer w = JSON_WRITER_NULL;
        yaml_emitter_t e;
        int ok;

        if (!yaml_emitter_initialize(&e)) {
                yaml_document_delete(d);
                return -ENOMEM;
        }
        yaml_emitter_set_output(&e, emit_handler, &w);
        yaml_emitter_set_width(&e, -1);
        yaml_emitter_set_unicode(&e, 1);
        ok = yaml_emitter_open(&e) && yaml_emitter_dump(&e, d) && yaml_emitter_close(&e); /* dump frees the document */
        yaml_emitter_delete(&e);
        if (!ok || w.failed) {
                json_writer_done(&w);
                return -ENOMEM;
        }
        *ret = w.text;
        return 0;
}

static int put(yaml_document_t *d, int map, const char *key, int value)
{
        int k = yaml_document_add_scalar(d, NULL, (const yaml_char_t *)key, -1, YAML_PLAIN_SCALAR_STYLE);

        return k && value && yaml_document_append_mapping_pair(d, map, k, value) ? 0 : -ENOMEM;
}

static void take_out(yaml_document_t *d, yaml_node_t *map, const char *key)
{
        for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
                const char *name = scalar(yaml_document_get_node(d, p->key));

                if (!name || !names(name, key))
                        continue;
                memmove(p, p + 1, (size_t)(map->data.mapping.pairs.top - p - 1) * sizeof(*p));
                map->data.mapping.pairs.top--;
                p--;
        }
}

static int index_of(yaml_document_t *d, yaml_node_t *n)
{
        return (int)(n - d->nodes.start) + 1;
}

/* admin: { address: { pipe: { path, mode: 0600 } } }, and no second admin beside it. */
static int put_admin(yaml_document_t *d, const char *path)
{
        yaml_node_t *root = yaml_document_get_root_node(d);
        int root_index = index_of(d, root), admin_index = admin_of(d, root);
        int address, pipe, r;

        take_out(d, root, "admin");
        if (!admin_index)
                admin_index = yaml_document_add_mapping(d, NULL, YAML_BLOCK_MAPPING_STYLE);
        r = put(d, root_index, "admin", admin_index);
        take_out(d, yaml_document_get_node(d, admin_index), "address");
        pipe = yaml_document_add_mapping(d, NULL, YAML_BLOCK_MAPPING_STYLE);
        address = yaml_document_add_mapping(d, NULL, YAML_BLOCK_MAPPING_STYLE);
        if (r == 0)
                r = put(d, pipe, "path", yaml_document_add_scalar(d, NULL, (const yaml_char_t *)path, -1, YAML_DOUBLE_QUOTED_SCALAR_STYLE));
        if (r == 0)
                r = put(d, pipe, "mode", yaml_document_add_scalar(d, NULL, (const yaml_char_t *)"384", -1, YAML_PLAIN_SCALAR_STYLE));
        if (r == 0)
                r = put(d, address, "pipe", pipe);
        return r == 0 ? put(d, admin_index, "address", address) : r;
}

int bootstrap_merge_admin(const char *yaml, const char *path, char **ret_yaml)
{
        yaml_document_t d;
        int r;

        if (!yaml || !*yaml)
                yaml = "{}";
        if (!load(yaml, strlen(yaml), &d))
                return -EINVAL;
        if (yaml_document_get_root_node(&d)->type != YAML_MAPPING_NODE) {
                yaml_document_delete(&d);
                return -EINVAL;
        }
        r = put_admin(&d, path);
        if (r < 0) {
                yaml_document_delete(&d);
                return r;
        }
        return emit(&d, ret_yaml);
}
