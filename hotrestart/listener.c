/* SPDX-License-Identifier: MIT */
/* Listen sockets: open, silence, revive, look at. */
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"

static int int_option(int fd, int level, int name, int *ret)
{
        socklen_t len = sizeof(*ret);

        return getsockopt(fd, level, name, ret, &len) < 0 ? -errno : 0;
}

static int open_at(int fd, const struct sockaddr_storage *addr, socklen_t len, int type, bool reuse_port, int backlog)
{
        int one = 1;

        /* As Envoy opens it unless told otherwise: or a listener on 0.0.0.0 would find its port taken by [::]. */
        if (addr->ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
                return -errno;
        if (addr->ss_family != AF_UNIX && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
                return -errno;
        if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
                return -errno;
        if (bind(fd, (const struct sockaddr *)addr, len) < 0)
                return -errno;
        return type == SOCK_STREAM && listen(fd, backlog) < 0 ? -errno : 0;
}

int hr_listener_open(const struct hr_key *key, bool reuse_port, int backlog, int *ret_fd)
{
        struct sockaddr_storage addr;
        socklen_t len;
        int type, fd;
        int r = *key->netns ? -EOPNOTSUPP : hr_key_address(key, &addr, &len, &type);

        if (r < 0)
                return r;
        fd = socket(addr.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        r = open_at(fd, &addr, len, type, reuse_port, backlog);
        if (r < 0) {
                (void)close(fd);
                return r;
        }
        *ret_fd = fd;
        return 0;
}

int hr_listener_inode(int fd, uint64_t *ret_inode)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        *ret_inode = st.st_ino;
        return 0;
}

int hr_listener_accepts(int fd)
{
        int accepts, r = int_option(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts);

        return r < 0 ? r : accepts != 0;
}

/* A Unix socket that was shut down refuses for ever, whatever listen() says: the kernel knows no way back. */
int hr_listener_silence(int fd)
{
        int family, type, r = int_option(fd, SOL_SOCKET, SO_TYPE, &type);

        if (r == 0)
                r = int_option(fd, SOL_SOCKET, SO_DOMAIN, &family);
        if (r < 0 || type != SOCK_STREAM || family == AF_UNIX)
                return r;
        return shutdown(fd, SHUT_RD) < 0 && errno != ENOTCONN ? -errno : 0;
}

/* A filter of a TCP socket sees the packet from the TCP header on: byte 13 has the flags. SYN without ACK opens. */
int hr_listener_hush(int fd)
{
        enum { FLAGS = 13, SYN = 0x02, SYN_ACK = 0x12 };
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS),
                BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN_ACK),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, 0),
                BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        };
        const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
        int family, type, r = int_option(fd, SOL_SOCKET, SO_TYPE, &type);

        if (r == 0)
                r = int_option(fd, SOL_SOCKET, SO_DOMAIN, &family);
        if (r < 0 || type != SOCK_STREAM || family == AF_UNIX)
                return r;
        return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

int hr_listener_revive(int fd)
{
        int type, r = int_option(fd, SOL_SOCKET, SO_TYPE, &type);

        if (r < 0 || type != SOCK_STREAM)
                return r;
        if (listen(fd, INT_MAX) < 0) /* the kernel cuts it to somaxconn */
                return -errno;
        /* Of hr_listener_hush(); most often there is none. */
        return setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &(int){ 0 }, sizeof(int)) < 0 && errno != ENOENT ? -errno : 0;
}

struct diag_answer {
        struct nlmsghdr header;
        char bytes[4096];
};

static int parse_rqlen(const struct diag_answer *a, ssize_t n, uint32_t *ret)
{
        const struct unix_diag_msg *m = NLMSG_DATA(&a->header);
        const struct rtattr *attr;
        int left;

        if (!NLMSG_OK(&a->header, n) || a->header.nlmsg_type == NLMSG_ERROR || a->header.nlmsg_type != SOCK_DIAG_BY_FAMILY)
                return -ENOENT;
        attr = (const struct rtattr *)(m + 1);
        left = (int)NLMSG_PAYLOAD(&a->header, sizeof(*m));
        for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
                if (attr->rta_type != UNIX_DIAG_RQLEN)
                        continue;
                *ret = ((const struct unix_diag_rqlen *)RTA_DATA(attr))->udiag_rqueue;
                return 0;
        }
        return -ENOENT;
}

/* TCP_INFO has no brother for Unix sockets: their queue is told by sock_diag alone. */
static int unix_queue(int fd, uint32_t *ret)
{
        struct {
                struct nlmsghdr header;
                struct unix_diag_req request;
        } ask = {
                .header = { .nlmsg_len = sizeof(ask), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
                .request = { .sdiag_family = AF_UNIX, .udiag_states = UINT32_MAX, .udiag_show = UDIAG_SHOW_RQLEN,
                             .udiag_cookie = { UINT32_MAX, UINT32_MAX } },
        };
        struct diag_answer answer;
        uint64_t inode = 0;
        ssize_t n;
        int nl, r = hr_listener_inode(fd, &inode);

        if (r < 0)
                return r;
        ask.request.udiag_ino = (uint32_t)inode;
        nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        if (nl < 0)
                return -errno;
        if (send(nl, &ask, sizeof(ask), 0) < 0) {
                r = -errno;
        } else {
                n = recv(nl, &answer, sizeof(answer), MSG_DONTWAIT); /* the kernel answers within send() */
                r = n < 0 ? -errno : parse_rqlen(&answer, n, ret);
        }
        (void)close(nl);
        return r;
}

int hr_listener_drops(int fd, uint32_t *ret_drops)
{
        uint32_t info[SK_MEMINFO_VARS] = { 0 };
        socklen_t len = sizeof(info);

        if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0)
                return -errno;
        *ret_drops = info[SK_MEMINFO_DROPS];
        return 0;
}

int hr_listener_queue(int fd, uint32_t *ret_waiting)
{
        struct tcp_info info;
        socklen_t len = sizeof(info);
        int family, type;
        int r = int_option(fd, SOL_SOCKET, SO_DOMAIN, &family);

        if (r == 0)
                r = int_option(fd, SOL_SOCKET, SO_TYPE, &type);
        if (r < 0)
                return r;
        if (type != SOCK_STREAM) {
                *ret_waiting = 0;
                return 0;
        }
        if (family == AF_UNIX)
                return unix_queue(fd, ret_waiting);
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
                return -errno;
        *ret_waiting = info.tcpi_unacked; /* of a listening socket: its accept queue */
        return 0;
}
