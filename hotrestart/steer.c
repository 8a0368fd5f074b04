/* SPDX-License-Identifier: MIT */
/*
 * What group.c decides, told to the kernel, and what the kernel knows, told to group.c. It refuses to decide: which places
 * are chosen, and whether the model still holds, is for the caller to say.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hotrestart/internal.h"

/* ---- attach and detach ---- */

struct code {
        struct sock_filter *at;
        size_t n;
};

static void emit(struct code *c, uint16_t op, uint8_t jt, uint8_t jf, size_t k)
{
        assert(c->n < HR_STEER_CODE_MAX);
        c->at[c->n++] = (struct sock_filter){ .code = op, .jt = jt, .jf = jf, .k = (uint32_t)k };
}

static void emit_random(struct code *c, size_t below)
{
        emit(c, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
        emit(c, BPF_ALU | BPF_MOD | BPF_K, 0, 0, below);
}

/* Places without a gap between them, and how many of the side's places come before. */
struct run {
        size_t first, before;
};

static size_t runs_of(const struct hr_steer *s, size_t first, size_t count, struct run *ret, size_t *ret_places)
{
        size_t runs = 0, places = 0;
        bool inside = false;

        for (size_t i = first; i < first + count; i++) {
                const bool in = !(s->without[i / 8] & 1 << i % 8);

                if (in && !inside)
                        ret[runs++] = (struct run){ i, places };
                places += in;
                inside = in;
        }
        *ret_places = places;
        return runs;
}

/*
 * A draw below the number of places, moved to where its run lies. Three instructions a run and no jump further than two: a
 * jump on a condition reaches 255 only, and the ranges of a large group can be many.
 */
static void emit_side(struct code *c, const struct hr_steer *s, size_t first, size_t count)
{
        struct run runs[HR_GROUP_MAX / 2 + 1];
        size_t places, n = runs_of(s, first, count, runs, &places);

        emit_random(c, places);
        while (n-- > 0) {
                if (n > 0)
                        emit(c, BPF_JMP | BPF_JGE | BPF_K, 0, 2, runs[n].before);
                emit(c, BPF_ALU | BPF_ADD | BPF_K, 0, 0, runs[n].first - runs[n].before);
                emit(c, BPF_RET | BPF_A, 0, 0, 0);
        }
}

size_t hr_steer_compile(const struct hr_steer *s, struct sock_filter *ret_code)
{
        struct code c = { .at = ret_code };
        size_t jump = 0;

        if (s->share > 0 && s->share < HR_SHARE_ALL) {
                emit_random(&c, HR_SHARE_ALL);
                emit(&c, BPF_JMP | BPF_JGE | BPF_K, 0, 1, s->share);
                jump = c.n;
                emit(&c, BPF_JMP | BPF_JA, 0, 0, 0);
        }
        if (s->share > 0)
                emit_side(&c, s, s->second_first, s->second_count);
        if (jump)
                ret_code[jump].k = (uint32_t)(c.n - jump - 1);
        if (s->share < HR_SHARE_ALL)
                emit_side(&c, s, s->first, s->count);
        return c.n;
}

/*
 * The kernel does not refuse what follows on a socket that was silenced: it attaches to a group of that socket alone, and
 * finds nothing to detach. Both would be answered with success while the group goes on as before.
 */
static int expect_member(int fd)
{
        int protocol, listening, r;
        socklen_t len = sizeof(int);

        r = getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len);
        if (r == 0 && protocol != IPPROTO_TCP)
                return -EINVAL;
        if (r == 0)
                r = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
        if (r < 0)
                return -errno;
        return listening ? 0 : -EINVAL;
}

int hr_steer_attach(int fd, const struct hr_steer *s)
{
        struct sock_filter code[HR_STEER_CODE_MAX];
        struct sock_fprog program = { .filter = code };
        int r;

        if (!hr_steer_fits(s, HR_GROUP_MAX))
                return -ERANGE;
        r = expect_member(fd);
        if (r < 0)
                return r;
        program.len = (unsigned short)hr_steer_compile(s, code);
        return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0 ? -errno : 0;
}

int hr_steer_detach(int fd)
{
        int one = 1, r = expect_member(fd);

        if (r < 0)
                return r;
        r = setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &one, sizeof(one));
        return r < 0 && errno != ENOENT ? -errno : 0;
}

/* ---- who listens there ---- */

static int place_of(int fd, struct hr_diag_place *ret)
{
        struct sockaddr_storage addr;
        socklen_t len = sizeof(addr);
        const struct sockaddr_in *in = (const struct sockaddr_in *)&addr;
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr;

        if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
                return -errno;
        if (addr.ss_family == AF_INET) {
                *ret = (struct hr_diag_place){ .family = AF_INET, .port_be = in->sin_port };
                memcpy(ret->addr, &in->sin_addr, sizeof(in->sin_addr));
                return 0;
        }
        if (addr.ss_family != AF_INET6)
                return -EAFNOSUPPORT;
        *ret = (struct hr_diag_place){ .family = AF_INET6, .port_be = in6->sin6_port, .scope = in6->sin6_scope_id };
        memcpy(ret->addr, &in6->sin6_addr, sizeof(in6->sin6_addr));
        return 0;
}

static bool is_there(const struct inet_diag_msg *m, const struct hr_diag_place *at)
{
        const size_t bytes = at->family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);

        return m->idiag_family == at->family && m->idiag_state == TCP_LISTEN && m->id.idiag_sport == at->port_be &&
               (at->scope == 0 || m->id.idiag_if == at->scope) && memcmp(m->id.idiag_src, at->addr, bytes) == 0;
}

/* The status at the end of a dump, or the error in the place of one. */
static int status_of(const uint8_t *data, size_t bytes)
{
        int status;

        if (bytes < sizeof(status))
                return -EBADMSG;
        memcpy(&status, data, sizeof(status));
        return status > 0 || status < -4095 ? -EBADMSG : status; /* the kernel's error numbers end there */
}

static int read_one(const struct nlmsghdr *h, const uint8_t *data, const struct hr_diag_place *at, uint64_t *inodes,
                    size_t max, size_t *n)
{
        const size_t bytes = h->nlmsg_len - sizeof(*h);
        struct inet_diag_msg m;
        int r;

        if (h->nlmsg_flags & NLM_F_DUMP_INTR)
                return -EAGAIN;
        switch (h->nlmsg_type) {
        case NLMSG_NOOP:
                return 0;
        case NLMSG_ERROR:
                r = status_of(data, bytes);
                return r == 0 ? -EBADMSG : r; /* nobody asked for a yes */
        case NLMSG_DONE:
                r = status_of(data, bytes);
                return r == 0 ? HR_DIAG_DONE : r;
        case SOCK_DIAG_BY_FAMILY:
                break;
        default:
                return -EBADMSG;
        }
        if (bytes < sizeof(m))
                return -EBADMSG;
        memcpy(&m, data, sizeof(m));
        if (!is_there(&m, at))
                return 0;
        if (*n == max)
                return -ENOSPC;
        inodes[(*n)++] = m.idiag_inode;
        return 0;
}

int hr_diag_read(const void *datagram, size_t bytes, const struct hr_diag_place *at, uint64_t *inodes, size_t max, size_t *n)
{
        const uint8_t *p = datagram;
        struct nlmsghdr h;

        while (bytes > 0) {
                size_t step;
                int r;

                if (bytes < sizeof(h))
                        return -EBADMSG;
                memcpy(&h, p, sizeof(h));
                if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > bytes)
                        return -EBADMSG;
                r = read_one(&h, p + sizeof(h), at, inodes, max, n);
                if (r != 0)
                        return r;
                step = NLMSG_ALIGN((size_t)h.nlmsg_len);
                step = step < bytes ? step : bytes;
                p += step;
                bytes -= step;
        }
        return 0;
}

static int ask(int nl, const struct hr_diag_place *at)
{
        struct {
                struct nlmsghdr header;
                struct inet_diag_req_v2 request;
        } q = {
                .header = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
                .request = { .sdiag_family = at->family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1U << TCP_LISTEN,
                             .id = { .idiag_sport = at->port_be } },
        };
        struct iovec iov = { &q, sizeof(q) };
        const struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

        return sendmsg(nl, &m, 0) < 0 ? -errno : 0;
}

/* The kernel makes each part of the answer when it is read: nothing is waited for. */
static int read_all(int nl, const struct hr_diag_place *at, uint64_t *inodes, size_t max, size_t *n)
{
        uint8_t buf[16384];
        int r;

        do {
                struct iovec iov = { buf, sizeof(buf) };
                struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
                const ssize_t bytes = recvmsg(nl, &m, MSG_DONTWAIT);

                if (bytes < 0)
                        return errno == EAGAIN ? -EBADMSG : -errno; /* it stops before its end */
                if (bytes == 0 || m.msg_flags & MSG_TRUNC)
                        return -EBADMSG;
                r = hr_diag_read(buf, (size_t)bytes, at, inodes, max, n);
        } while (r == 0);
        return r == HR_DIAG_DONE ? 0 : r;
}

int hr_steer_members(int fd, uint64_t *ret_inodes, size_t max, size_t *ret_n)
{
        struct hr_diag_place at;
        size_t n = 0;
        int nl, r = place_of(fd, &at);

        if (r < 0)
                return r;
        nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        if (nl < 0)
                return -errno;
        r = ask(nl, &at);
        if (r == 0)
                r = read_all(nl, &at, ret_inodes, max, &n);
        (void)close(nl);
        if (r < 0)
                return r;
        *ret_n = n;
        return 0;
}
