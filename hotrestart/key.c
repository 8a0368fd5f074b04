/* SPDX-License-Identifier: MIT */
/* PURE. Keys of listen sockets: the address text exactly as Envoy writes it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

bool hr_key_equal(const struct hr_key *a, const struct hr_key *b)
{
        return a->worker == b->worker && strcmp(a->url, b->url) == 0 && strcmp(a->netns, b->netns) == 0;
}

bool hr_key_is_udp(const struct hr_key *k)
{
        return strncmp(k->url, "udp://", 6) == 0;
}

bool hr_key_is_unix(const struct hr_key *k)
{
        return strncmp(k->url, "unix://", 7) == 0;
}

const char *hr_key_path(const struct hr_key *k)
{
        const char *name = k->url + strlen("unix://");

        return hr_key_is_unix(k) && *name != '@' ? name : NULL;
}

bool hr_key_is_ephemeral(const struct hr_key *k)
{
        const char *colon = strrchr(k->url, ':');

        return !hr_key_is_unix(k) && colon && strcmp(colon, ":0") == 0;
}

static int unix_address(const char *path, struct sockaddr_storage *ret, socklen_t *ret_len)
{
        struct sockaddr_un *un = (struct sockaddr_un *)ret;
        size_t n = strlen(path);

        if (n == 0 || n >= sizeof(un->sun_path))
                return -EINVAL;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, path, n);
        if (path[0] == '@')
                un->sun_path[0] = '\0';
        *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '@' ? 0 : 1));
        return 0;
}

static int port_of(const char *text, in_port_t *ret)
{
        char *end;
        unsigned long port;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        port = strtoul(text, &end, 10);
        if (*end || port > 65535)
                return -EINVAL;
        *ret = htons((uint16_t)port);
        return 0;
}

static int ip6_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
        const char *close = strchr(text, ']');
        char host[INET6_ADDRSTRLEN + 12];
        char *scope;
        size_t n = close ? (size_t)(close - text - 1) : 0;

        if (!close || close[1] != ':' || n >= sizeof(host))
                return -EINVAL;
        memcpy(host, text + 1, n);
        host[n] = '\0';
        scope = strchr(host, '%');
        if (scope) {
                unsigned long id;
                char *end;

                *scope++ = '\0';
                id = strtoul(scope, &end, 10); /* Envoy writes the number, never the interface's name */
                if (*scope < '0' || *scope > '9' || *end || id > UINT32_MAX)
                        return -EINVAL;
                in6->sin6_scope_id = (uint32_t)id;
        }
        in6->sin6_family = AF_INET6;
        if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
                return -EINVAL;
        *ret_len = sizeof(*in6);
        return port_of(close + 2, &in6->sin6_port);
}

static int ip4_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        const char *colon = strrchr(text, ':');
        char host[INET_ADDRSTRLEN];
        size_t n = colon ? (size_t)(colon - text) : 0;

        if (!colon || n >= sizeof(host))
                return -EINVAL;
        memcpy(host, text, n);
        host[n] = '\0';
        in->sin_family = AF_INET;
        if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
                return -EINVAL;
        *ret_len = sizeof(*in);
        return port_of(colon + 1, &in->sin_port);
}

int hr_key_address(const struct hr_key *k, struct sockaddr_storage *ret_addr, socklen_t *ret_len, int *ret_type)
{
        struct sockaddr_storage addr = { 0 };
        socklen_t len = 0;
        int r;

        if (hr_key_is_unix(k))
                r = unix_address(k->url + 7, &addr, &len);
        else if (strncmp(k->url, "tcp://", 6) != 0 && !hr_key_is_udp(k))
                r = -EINVAL;
        else if (k->url[6] == '[')
                r = ip6_address(k->url + 6, &addr, &len);
        else
                r = ip4_address(k->url + 6, &addr, &len);
        if (r < 0)
                return r;
        *ret_addr = addr;
        *ret_len = len;
        *ret_type = hr_key_is_udp(k) ? SOCK_DGRAM : SOCK_STREAM;
        return 0;
}

int hr_key_tcp_port(const struct hr_key *k)
{
        struct sockaddr_storage addr;
        socklen_t len;
        int type;

        if (hr_key_is_unix(k) || hr_key_is_udp(k) || hr_key_address(k, &addr, &len, &type) < 0)
                return -1;
        return ntohs(addr.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&addr)->sin6_port : ((const struct sockaddr_in *)&addr)->sin_port);
}
