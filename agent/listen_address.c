/* SPDX-License-Identifier: MIT */
/* The listening sockets of the control and status servers. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
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

static int listen_on(const struct sockaddr *addr, socklen_t len, int mode, int *ret_fd)
{
        CLEANUP(close_fd) int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int one = 1;

        if (fd < 0)
                return -errno;
        if (addr->sa_family != AF_UNIX && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
                return -errno;
        if (mode >= 0 && fchmod(fd, (mode_t)mode) < 0) /* decides the mode of the file that bind makes */
                return -errno;
        if (bind(fd, addr, len) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int control_open_unix(const char *path, unsigned mode, int *ret_fd)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        struct stat st;
        mode_t mask;
        int r, n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);

        if (n <= 0 || (size_t)n >= sizeof(addr.sun_path))
                return -ENAMETOOLONG;
        if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
                return -EEXIST; /* somebody's file: not ours to remove */
        (void)unlink(path);
        mask = umask(0); /* it would take from the mode what others are meant to have */
        r = listen_on((const struct sockaddr *)&addr, sizeof(addr), (int)mode, ret_fd);
        (void)umask(mask);
        return r;
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

int control_open_status(const char *address, int *ret_fd, char *reterr, size_t size)
{
        struct sockaddr_storage addr;
        socklen_t len;
        int r;

        if (strncmp(address, "unix:", 5) == 0)
                r = control_open_unix(address + 5, 0666, ret_fd);
        else if (ip_address(address, &addr, &len) < 0)
                r = -EINVAL;
        else
                r = listen_on((const struct sockaddr *)&addr, len, -1, ret_fd);
        if (r == -EINVAL)
                (void)snprintf(reterr, size, "--status %s: is no IP:PORT, :PORT, [::]:PORT or unix:PATH", address);
        else if (r < 0)
                (void)snprintf(reterr, size, "--status %s: cannot listen there: %s", address, strerror(-r));
        return r;
}
