/* SPDX-License-Identifier: MIT */
/* PURE. See listen_spec.h. */
#include "agent/listen_spec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_graphic(const char *s)
{
        for (; *s; s++)
                if (*s <= ' ' || *s == 0x7f)
                        return false;
        return true;
}

/* Return: 0; -EINVAL: no address that a socket could be bound to */
static int key_of(const char *prefix, const char *host, const char *rest, struct hr_key *ret)
{
        struct sockaddr_storage addr;
        socklen_t len;
        int type, n = snprintf(ret->url, sizeof(ret->url), "%s%s%s", prefix, host, rest);

        if (n < 0 || (size_t)n >= sizeof(ret->url))
                return -EINVAL;
        return hr_key_address(ret, &addr, &len, &type);
}

int listen_spec_read(const char *text, struct listen_spec *ret)
{
        const size_t before = strcspn(text, ":=");
        const bool named = text[before] == '=';
        const char *address = named ? text + before + 1 : text;
        struct listen_spec s = { 0 };
        int n = snprintf(s.name, sizeof(s.name), "%.*s", named ? (int)before : (int)strlen(address), text);
        int r;

        if (n <= 0 || (size_t)n >= sizeof(s.name) || !is_graphic(text))
                return -EINVAL;
        for (char *c = s.name; (c = strchr(c, ':'));)
                *c = '-';
        if (strncmp(address, "unix:", 5) == 0)
                r = key_of("unix://", address + 5, "", &s.key);
        else
                r = key_of("tcp://", *address == ':' ? "0.0.0.0" : "", address, &s.key);
        if (r == 0)
                *ret = s;
        return r;
}

int probe_spec_read(const char *text, struct probe_spec *ret)
{
        static const char scheme[] = "http://", local[] = "localhost";
        struct probe_spec s = { .kind = *text ? PROBE_TCP : PROBE_NONE };
        const char *authority = text + strlen(scheme), *path;
        char host[64];
        bool has_port;
        int n, r;

        if (!*text || strcmp(text, "tcp") == 0) {
                *ret = s;
                return 0;
        }
        if (strncmp(text, scheme, strlen(scheme)) != 0 || !is_graphic(text))
                return -EINVAL;
        path = authority + strcspn(authority, "/?#");
        n = snprintf(host, sizeof(host), "%.*s", (int)(path - authority), authority);
        if (n <= 0 || (size_t)n >= sizeof(host) || *path == '#')
                return -EINVAL;
        if (strncmp(host, local, strlen(local)) == 0 && (!host[strlen(local)] || host[strlen(local)] == ':'))
                memcpy(host, "127.0.0.1", strlen(local)); /* as long */
        has_port = *host == '[' ? strstr(host, "]:") != NULL : strchr(host, ':') != NULL;
        r = key_of("tcp://", host, has_port ? "" : ":80", &s.key);
        n = snprintf(s.path, sizeof(s.path), "%s%s", *path == '/' ? "" : "/", path);
        if (r < 0 || n < 0 || (size_t)n >= sizeof(s.path))
                return -EINVAL;
        s.kind = PROBE_HTTP;
        *ret = s;
        return 0;
}
