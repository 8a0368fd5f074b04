/* SPDX-License-Identifier: MIT */
/* See accepted.h. */
#include "agent/accepted.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"

struct diag_answer {
        struct nlmsghdr header;
        char bytes[4096];
};

/* One question, one answer: the kernel gives it within send(). Return: its payload's size; -errno */
static int ask(const void *question, size_t n, struct diag_answer *ret)
{
        CLEANUP(close_fd) int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        ssize_t got;

        if (nl < 0 || send(nl, question, n, 0) < 0)
                return -errno;
        got = recv(nl, ret, sizeof(*ret), MSG_DONTWAIT);
        if (got < 0)
                return -errno;
        if (!NLMSG_OK(&ret->header, got) || ret->header.nlmsg_type != SOCK_DIAG_BY_FAMILY)
                return -ENOENT;
        return (int)NLMSG_PAYLOAD(&ret->header, 0);
}

static void fill(const struct sockaddr_storage *a, __be32 addr[4], __be16 *port)
{
        const struct sockaddr_in *in = (const struct sockaddr_in *)a;
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;

        if (a->ss_family == AF_INET) {
                addr[0] = in->sin_addr.s_addr;
                *port = in->sin_port;
        } else {
                memcpy(addr, &in6->sin6_addr, sizeof(in6->sin6_addr));
                *port = in6->sin6_port;
        }
}

/* Its own ends swapped: so the kernel finds the other socket. */
static int tcp_inode(const struct sockaddr_storage *ours, const struct sockaddr_storage *theirs, uint64_t *ret)
{
        struct {
                struct nlmsghdr header;
                struct inet_diag_req_v2 request;
        } question = {
                .header = { .nlmsg_len = sizeof(question), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
                .request = { .sdiag_family = (uint8_t)ours->ss_family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX,
                             .id = { .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } } },
        };
        struct diag_answer answer;
        const struct inet_diag_msg *m = NLMSG_DATA(&answer.header);
        int r;

        fill(theirs, question.request.id.idiag_src, &question.request.id.idiag_sport);
        fill(ours, question.request.id.idiag_dst, &question.request.id.idiag_dport);
        r = ask(&question, sizeof(question), &answer);
        if (r < (int)sizeof(*m))
                return ACCEPTED_UNKNOWN;
        *ret = m->idiag_inode;
        return m->idiag_inode ? 0 : ACCEPTED_NOT;
}

static int unix_inode(int fd, uint64_t *ret)
{
        struct {
                struct nlmsghdr header;
                struct unix_diag_req request;
        } question = {
                .header = { .nlmsg_len = sizeof(question), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
                .request = { .sdiag_family = AF_UNIX, .udiag_states = UINT32_MAX, .udiag_show = UDIAG_SHOW_PEER,
                             .udiag_cookie = { UINT32_MAX, UINT32_MAX } },
        };
        struct diag_answer answer;
        const struct rtattr *attr;
        struct stat st;
        int left;

        if (fstat(fd, &st) < 0)
                return ACCEPTED_UNKNOWN;
        question.request.udiag_ino = (uint32_t)st.st_ino;
        left = ask(&question, sizeof(question), &answer) - (int)NLMSG_ALIGN(sizeof(struct unix_diag_msg));
        attr = (const struct rtattr *)(const void *)((const char *)NLMSG_DATA(&answer.header) + NLMSG_ALIGN(sizeof(struct unix_diag_msg)));
        for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
                if (attr->rta_type != UNIX_DIAG_PEER)
                        continue;
                *ret = *(const uint32_t *)RTA_DATA(attr);
                return *ret ? 0 : ACCEPTED_NOT;
        }
        return ACCEPTED_UNKNOWN;
}

int accepted_inode(int fd, uint64_t *ret)
{
        struct sockaddr_storage ours, theirs;
        socklen_t n = sizeof(ours), k = sizeof(theirs);

        if (getsockname(fd, (struct sockaddr *)&ours, &n) < 0 || getpeername(fd, (struct sockaddr *)&theirs, &k) < 0)
                return ACCEPTED_UNKNOWN;
        return ours.ss_family == AF_UNIX ? unix_inode(fd, ret) : tcp_inode(&ours, &theirs, ret);
}

/* ---- whose it is ------------------------------------------------------------------------------------ */

bool proc_stat_read(int pid, struct proc_stat *ret)
{
        char path[48], text[512], *after;
        CLEANUP(close_fd) int fd = -1;
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n <= 0)
                return false;
        text[n] = '\0';
        after = strrchr(text, ')'); /* the name before it may hold anything */
        return after && sscanf(after + 1, " %c %d %*d %*d %*d %*d %u", &ret->state, &ret->parent, &ret->flags) == 3;
}

static bool in_session(int leader, int pid)
{
        return getsid(pid) == leader;
}

static bool descends(int leader, int pid)
{
        enum { DEEPEST = 64 };
        struct proc_stat st;

        for (int i = 0; i < DEEPEST && pid > 1; i++) {
                if (pid == leader)
                        return true;
                pid = proc_stat_read(pid, &st) ? st.parent : 0;
        }
        return false;
}

static bool has_left(int leader, int pid)
{
        return !in_session(leader, pid) && descends(leader, pid);
}

bool belongs_to(int leader, int pid)
{
        return in_session(leader, pid) || descends(leader, pid);
}

int process_has(const struct proxy_user *u, int pid, bool (*fits)(const void *arg, uint64_t inode), const void *arg)
{
        AS_THE_PROXY(u); /* by its right: ours may not reach into it without CAP_SYS_PTRACE */
        char path[48], target[64];
        int has = 0;
        DIR *d;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
        d = opendir(path);
        if (!d)
                return -errno;
        for (struct dirent *e; !has && (e = readdir(d));) {
                ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
                uint64_t inode;

                if (n < 0 && (errno == EACCES || errno == EPERM)) {
                        has = -errno;
                        break;
                }
                target[n > 0 ? n : 0] = '\0';
                has = sscanf(target, "socket:[%" SCNu64 "]", &inode) == 1 && fits(arg, inode);
        }
        closedir(d);
        return has;
}

static bool is_that(const void *arg, uint64_t inode)
{
        return *(const uint64_t *)arg == inode;
}

static bool any_has(DIR *proc, const struct proxy_user *u, int leader, bool (*is_ours)(int leader, int pid), uint64_t inode)
{
        bool found = false;

        rewinddir(proc);
        for (struct dirent *e; !found && (e = readdir(proc));) {
                int pid = atoi(e->d_name);
                int r = pid > 0 && is_ours(leader, pid) ? process_has(u, pid, is_that, &inode) : 0;

                found = r > 0 || r == -EACCES || r == -EPERM;
        }
        return found;
}

/* Most often it is somebody of its session, and that costs little to know. */
bool accepted_by(const struct proxy_user *u, int leader, uint64_t inode)
{
        DIR *proc = opendir("/proc");
        bool found = !proc || any_has(proc, u, leader, in_session, inode) || any_has(proc, u, leader, has_left, inode);

        if (proc)
                closedir(proc);
        return found;
}
