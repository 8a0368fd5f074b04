/* SPDX-License-Identifier: MIT */
/* See hr_pair.h. */
#include "tests/support/hr_pair.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint64_t hr_test_base_id(void)
{
        return HR_BASE_ID_MAX - (uint64_t)getpid();
}

static int open_one(unsigned n, enum hr_role role, unsigned index, struct sockaddr_un *ret_name)
{
        char path[48];
        int fd = -1;

        (void)snprintf(path, sizeof(path), "@hr_test_%d_%u", (int)getpid(), n);
        cr_assert_eq(hr_name(path, 1, index, role, ret_name), 0);
        cr_assert_eq(hr_bind(ret_name, 0, &fd), 0);
        return fd;
}

struct hr_pair hr_pair_open(void)
{
        static unsigned pairs; /* a test may have several at once */
        struct hr_pair p;

        pairs++;
        p.envoy = open_one(pairs, HR_ROLE_PARENT, 0, &p.envoy_name);
        p.us = open_one(pairs, HR_ROLE_CHILD, 1, &p.our_name);
        return p;
}

void hr_pair_close(struct hr_pair *p)
{
        (void)close(p->envoy);
        (void)close(p->us);
}

void hr_pair_throw(int fd, const struct sockaddr_un *to, const void *bytes, size_t n, int pass, int n_fds)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int) * 64)];
                struct cmsghdr align;
        } control = { { 0 } };
        struct iovec iov = { (void *)bytes, n };
        struct msghdr msg = { .msg_name = (void *)to, .msg_namelen = sizeof(*to), .msg_iov = &iov, .msg_iovlen = 1 };

        if (n_fds) {
                struct cmsghdr *c;

                msg.msg_control = control.bytes;
                msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n_fds);
                c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n_fds);
                for (int i = 0; i < n_fds; i++)
                        memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &pass, sizeof(int));
        }
        cr_assert_eq(sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL), (ssize_t)n);
}
