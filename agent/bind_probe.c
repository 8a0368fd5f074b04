/* SPDX-License-Identifier: MIT */
/* See bind_probe.h. */
#include "agent/bind_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/cleanup.h"

static int set(int fd, int level, int name, int value)
{
        return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int probe_folder(const char *path, const struct proxy_user *user)
{
        AS_THE_PROXY(user);
        char folder[PATH_MAX];
        const char *slash = strrchr(path, '/');
        size_t n = slash ? (size_t)(slash - path) : 0;

        if (n >= sizeof(folder))
                return -ENAMETOOLONG;
        (void)snprintf(folder, sizeof(folder), "%.*s", n ? (int)n : 1, n ? path : slash ? "/" : ".");
        /* By the right to open files, which is what was changed: the C library may answer for another one. A sandbox may not know it. */
        if (syscall(SYS_faccessat2, AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0)
                return 0;
        return (errno == ENOSYS || errno == EPERM) && access(folder, W_OK | X_OK) == 0 ? 0 : -errno;
}

static int bind_as_envoy(int fd, const struct sockaddr_storage *addr, socklen_t len, const struct bootstrap_listener *facts)
{
        int r = addr->ss_family == AF_UNIX ? 0 : set(fd, SOL_SOCKET, SO_REUSEADDR, 1);

        if (r == 0 && addr->ss_family == AF_INET6)
                r = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !facts->v4_too);
        if (r == 0 && addr->ss_family != AF_UNIX && facts->reuse_port)
                r = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        if (r == 0 && addr->ss_family != AF_UNIX && facts->freebind)
                r = set(fd, IPPROTO_IP, IP_FREEBIND, 1);
        if (r < 0)
                return r;
        return bind(fd, (const struct sockaddr *)addr, len) < 0 ? -errno : 0;
}

int bind_open(const struct hr_key *key, const struct bootstrap_listener *facts, const struct proxy_user *user, int *ret_fd)
{
        CLEANUP(close_fd) int fd = -1;
        struct sockaddr_storage addr;
        socklen_t len;
        int type, r;

        if (*key->netns || hr_key_is_udp(key) || hr_key_path(key))
                return -EOPNOTSUPP;
        if (hr_key_address(key, &addr, &len, &type) < 0)
                return -EINVAL;
        {
                AS_THE_PROXY(user);

                fd = socket(addr.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        }
        if (fd < 0)
                return -errno;
        r = bind_as_envoy(fd, &addr, len, facts);
        if (r == 0)
                *ret_fd = TAKE_FD(fd);
        return r;
}

int bind_probe(const char *url, const struct bootstrap_listener *facts, const struct proxy_user *user)
{
        CLEANUP(close_fd) int fd = -1;
        struct hr_key key = { 0 };
        int r;

        if (!facts->binds)
                return 0;
        if (facts->elsewhere || strlen(url) >= sizeof(key.url))
                return BIND_PROBE_UNKNOWN;
        memcpy(key.url, url, strlen(url) + 1);
        if (hr_key_path(&key))
                return probe_folder(hr_key_path(&key), user);
        r = bind_open(&key, facts, user, &fd);
        return r == -EOPNOTSUPP || r == -EINVAL ? BIND_PROBE_UNKNOWN : r; /* a name, or a port that is none: Envoy has its own words for that */
}
