/* SPDX-License-Identifier: MIT */
/* Datagrams on the protocol's sockets, with at most one descriptor each. Never blocks. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hotrestart/internal.h"

enum { STRAY_FDS_MAX = 16 };

/* Anything else under that name is not ours to remove: bind() will say that the name is taken. */
static bool is_socket(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

int hr_bind(const struct sockaddr_un *addr, unsigned mode, int *ret_fd)
{
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r;

        if (fd < 0)
                return -errno;
        if (addr->sun_path[0] != '\0') {
                if (fchmod(fd, mode) < 0) /* decides the mode of the file that bind makes */
                        goto fail;
                if (is_socket(addr->sun_path) && unlink(addr->sun_path) < 0 && errno != ENOENT)
                        goto fail;
        }
        if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
                goto fail;
        *ret_fd = fd;
        return 0;
fail:
        r = -errno;
        (void)close(fd);
        return r;
}

/* All descriptors of a message; those beyond *ret_fd are closed, as are all when ret_fd is NULL. */
static bool take_fds(struct msghdr *msg, int *ret_fd)
{
        bool clean = !(msg->msg_flags & MSG_CTRUNC);
        int found = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (ret_fd && found++ == 0)
                                *ret_fd = fd;
                        else
                                (void)close(fd);
                }
        }
        return clean && found <= 1;
}

int hr_receive(int fd, int flags, uint8_t *buf, size_t size, size_t *ret_n, struct sockaddr_un *ret_peer, int *ret_fd)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int) * STRAY_FDS_MAX)];
                struct cmsghdr align;
        } control;
        struct iovec iov = { buf, size };
        struct msghdr msg = {
                .msg_name = ret_peer,
                .msg_namelen = ret_peer ? sizeof(*ret_peer) : 0,
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        ssize_t n;

        if (ret_fd)
                *ret_fd = -1;
        do
                n = recvmsg(fd, &msg, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EAGAIN ? HR_NOTHING : -errno;
        if (!take_fds(&msg, ret_fd) || (msg.msg_flags & MSG_TRUNC)) {
                if (ret_fd && *ret_fd >= 0)
                        (void)close(*ret_fd);
                if (ret_fd)
                        *ret_fd = -1;
                return HR_GARBAGE;
        }
        *ret_n = (size_t)n;
        return 0;
}

/* What stayed where it is would be looked at and answered once more, and a second answer is taken for that to the next question. */
int hr_take(int fd)
{
        enum { TRIES = 3 };
        uint8_t buf[HR_DATAGRAM_BYTES];
        size_t n;
        int r = -EAGAIN;

        for (int i = 0; i < TRIES && r < 0; i++)
                r = hr_receive(fd, 0, buf, sizeof(buf), &n, NULL, NULL);
        return r == HR_GARBAGE ? 0 : r;
}

int hr_peek(int fd, struct hr_message *ret, struct sockaddr_un *ret_peer)
{
        uint8_t buf[HR_DATAGRAM_BYTES];
        struct hr_frame frame = HR_FRAME_NULL;
        const uint8_t *bytes;
        struct hr_message m;
        struct sockaddr_un peer = { 0 };
        size_t n;
        int r = hr_receive(fd, MSG_PEEK, buf, sizeof(buf), &n, &peer, NULL);

        if (r == HR_NOTHING || r < 0)
                return r;
        if (r == 0)
                r = hr_frame_feed(&frame, buf, n, &bytes, &n);
        if (r == 0)
                r = hr_decode(bytes, n, &m);
        hr_frame_done(&frame);
        if (r == -ENOMEM)
                return r; /* the request stays where it is */
        if (r != 0) { /* also HR_FRAME_MORE: no request is that long */
                r = hr_take(fd);
                return r < 0 ? r : HR_GARBAGE;
        }
        *ret = m;
        *ret_peer = peer;
        return 0;
}

static int send_message(int fd, const struct msghdr *msg)
{
        ssize_t n;

        do
                n = sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n >= 0)
                return 0;
        switch (errno) {
        case EAGAIN:
        case ENOBUFS:
        case ENOMEM:
        case ETOOMANYREFS: /* too many descriptors of ours are under way, unread */
                return HR_WOULD_BLOCK;
        case ECONNREFUSED:
        case ENOENT:
        case EPIPE:
                return HR_NO_PEER;
        default:
                return -errno;
        }
}

int hr_send(int fd, const struct sockaddr_un *peer, const struct hr_message *m, int pass_fd)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control;
        uint8_t buf[HR_DATAGRAM_BYTES];
        struct iovec iov = { buf, 0 };
        struct msghdr msg = { .msg_name = (void *)peer, .msg_namelen = sizeof(*peer), .msg_iov = &iov, .msg_iovlen = 1 };
        int r = hr_encode(m, buf, sizeof(buf), &iov.iov_len);

        if (r < 0)
                return r;
        if (m->type == HR_REPLY_PASS && (m->fd >= 0) != (pass_fd >= 0))
                return -EINVAL; /* a number without a descriptor is taken for one of the peer's own */
        if (pass_fd >= 0) {
                struct cmsghdr *c;

                memset(&control, 0, sizeof(control));
                msg.msg_control = control.bytes;
                msg.msg_controllen = sizeof(control.bytes);
                c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
        }
        return send_message(fd, &msg);
}

int hr_relay(int fd, const struct sockaddr_un *peer)
{
        uint8_t buf[HR_DATAGRAM_BYTES];
        struct iovec iov = { buf, 0 };
        struct msghdr msg = { .msg_name = (void *)peer, .msg_namelen = sizeof(*peer), .msg_iov = &iov, .msg_iovlen = 1 };
        int r = hr_receive(fd, MSG_PEEK, buf, sizeof(buf), &iov.iov_len, NULL, NULL);

        if (r == HR_GARBAGE || (r == 0 && iov.iov_len <= HR_HEADER_BYTES)) { /* an Envoy does not survive less than a message */
                (void)hr_take(fd);
                return 0;
        }
        if (r == 0)
                r = send_message(fd, &msg);
        if (r != HR_NOTHING && r != HR_WOULD_BLOCK)
                (void)hr_take(fd);
        return r;
}
