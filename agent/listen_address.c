/* SPDX-License-Identifier: MIT */
/* The listening sockets of the control and status servers and of the front of the proxy's admin. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/control.h"

enum { BACKLOG = 128 };

/*
 * Two addresses with the same port may overlap, and one of them is ours and shall be left: both say for a moment that they
 * share, so that neither is closed before the other is open.
 */
static void share(int fd, const struct sockaddr *addr, int beside, int on)
{
        if (addr->sa_family == AF_UNIX || beside < 0)
                return;
        (void)setsockopt(beside, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
}

static int listen_on(const struct sockaddr *addr, socklen_t len, const struct listen_how *how, int *ret_fd)
{
        CLEANUP(close_fd) int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int one = 1, r;

        if (fd < 0)
                return -errno;
        if (addr->sa_family != AF_UNIX && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
                return -errno;
        if (addr->sa_family == AF_INET6 && how->v6only && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
                return -errno;
        if (addr->sa_family == AF_UNIX && how->mode && fchmod(fd, (mode_t)how->mode) < 0) /* decides the mode of the file that bind makes */
                return -errno;
        share(fd, addr, how->beside, 1);
        r = bind(fd, addr, len) < 0 || listen(fd, BACKLOG) < 0 ? -errno : 0;
        share(fd, addr, how->beside, 0);
        if (r == 0)
                *ret_fd = TAKE_FD(fd);
        return r;
}

static int open_unix(const char *path, const struct listen_how *how, int *ret_fd)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        socklen_t len = sizeof(addr);
        struct stat st;
        mode_t mask;
        int r, n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);

        if (n <= 0 || (size_t)n >= sizeof(addr.sun_path))
                return -ENAMETOOLONG;
        if (*path == '@') { /* abstract: there is no file */
                addr.sun_path[0] = '\0';
                len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
        } else {
                if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
                        return -EEXIST; /* somebody's file: not ours to remove */
                (void)unlink(path);
        }
        if (!how->mode)
                return listen_on((const struct sockaddr *)&addr, len, how, ret_fd);
        mask = umask(0); /* it would take from the mode what others are meant to have */
        r = listen_on((const struct sockaddr *)&addr, len, how, ret_fd);
        (void)umask(mask);
        return r;
}

int control_open_unix(const char *path, unsigned mode, int *ret_fd)
{
        return open_unix(path, &(struct listen_how){ .mode = mode, .beside = -1 }, ret_fd);
}

/* "IP:PORT", ":PORT" (all addresses), "[IPv6]:PORT" */
static int ip_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
        const char *colon = strrchr(text, ':');
        char host[64], *end;
        size_t n = colon ? (size_t)(colon - text) : 0;
        unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;

        if (!colon || colon[1] < '0' || colon[1] > '9' || *end || port > 65535 || n >= sizeof(host))
                return -EINVAL;
        memcpy(host, text, n);
        host[n] = '\0';
        memset(ret, 0, sizeof(*ret));
        if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
                host[n - 1] = '\0';
                in6->sin6_family = AF_INET6;
                in6->sin6_port = htons((uint16_t)port);
                *ret_len = sizeof(*in6);
                return inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
        }
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        *ret_len = sizeof(*in);
        return inet_pton(AF_INET, n ? host : "0.0.0.0", &in->sin_addr) == 1 ? 0 : -EINVAL;
}

int control_open(const char *option, const char *address, const struct listen_how *how, int *ret_fd, char *reterr, size_t size)
{
        struct sockaddr_storage addr;
        socklen_t len;
        int r;

        if (strncmp(address, "unix:", 5) == 0)
                r = open_unix(address + 5, how, ret_fd);
        else if (ip_address(address, &addr, &len) < 0)
                r = -EINVAL;
        else
                r = listen_on((const struct sockaddr *)&addr, len, how, ret_fd);
        if (r == -EINVAL)
                (void)snprintf(reterr, size, "%s %s: is no IP:PORT, :PORT, [::]:PORT or unix:PATH", option, address);
        else if (r < 0)
                (void)snprintf(reterr, size, "%s %s: cannot listen there: %s", option, address, strerror(-r));
        return r;
}

int control_open_status(const char *address, int *ret_fd, char *reterr, size_t size)
{
        return control_open("--status", address, &(struct listen_how){ .mode = 0666, .beside = -1 }, ret_fd, reterr, size);
}

const char *control_file(const char *address)
{
        return strncmp(address, "unix:", 5) == 0 && address[5] != '@' ? address + 5 : NULL;
}

const char *control_address(int fd, char *buf, size_t size)
{
        union {
                struct sockaddr any;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
                struct sockaddr_un un;
        } a = { 0 };
        socklen_t len = sizeof(a);
        char host[INET6_ADDRSTRLEN] = "";

        *buf = '\0';
        if (getsockname(fd, &a.any, &len) < 0)
                return buf;
        if (a.any.sa_family == AF_INET && inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host)))
                (void)snprintf(buf, size, "%s:%u", host, ntohs(a.in.sin_port));
        else if (a.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host)))
                (void)snprintf(buf, size, "[%s]:%u", host, ntohs(a.in6.sin6_port));
        else if (a.any.sa_family == AF_UNIX && len > offsetof(struct sockaddr_un, sun_path) && !*a.un.sun_path)
                (void)snprintf(buf, size, "unix:@%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), a.un.sun_path + 1);
        else if (a.any.sa_family == AF_UNIX)
                (void)snprintf(buf, size, "unix:%.*s", (int)sizeof(a.un.sun_path), a.un.sun_path);
        return buf;
}
