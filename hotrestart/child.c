/* SPDX-License-Identifier: MIT */
/* The child role: asks a running Envoy as its successor would (docs/protocol.md, harvest). */
#include <errno.h>
#include <unistd.h>

#include "hotrestart/internal.h"

void hr_child_init(struct hr_child *c, int fd, const struct sockaddr_un *envoy)
{
        *c = (struct hr_child){ .fd = fd, .envoy = *envoy };
}

void hr_child_done(struct hr_child *c)
{
        hr_frame_done(&c->frame);
}

int hr_child_sync(struct hr_child *c)
{
        struct hr_message m = { .type = HR_EMPTY, .fd = -1 };
        int r = hr_send(c->fd, &c->envoy, &m, -1);

        if (r != 0)
                return r;
        c->syncing = true;
        c->outstanding = 0;
        return 0;
}

static bool has_answer(enum hr_type t)
{
        return t != HR_DRAIN_LISTENERS && t != HR_TERMINATE && t != HR_TEST_CONNECTION;
}

int hr_child_ask(struct hr_child *c, const struct hr_message *m)
{
        int r;

        if (c->syncing || c->outstanding >= HR_OUTSTANDING_MAX)
                return HR_WOULD_BLOCK;
        r = hr_send(c->fd, &c->envoy, m, -1);
        if (r == 0 && has_answer(m->type))
                c->outstanding++;
        return r;
}

static int garbage(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
        return HR_GARBAGE;
}

/* While a sync is under way everything up to its answer is from another life. */
static bool stale(struct hr_child *c, const struct hr_message *m)
{
        if (!c->syncing)
                return false;
        if (m->type == HR_REPLY_UNRECOGNIZED)
                c->syncing = false;
        return true;
}

int hr_child_read(struct hr_child *c, struct hr_message *ret, int *ret_fd)
{
        uint8_t buf[HR_DATAGRAM_BYTES];
        const uint8_t *bytes;
        struct hr_message m;
        size_t n;
        int fd = -1, r;

        for (;;) {
                r = hr_receive(c->fd, 0, buf, sizeof(buf), &n, NULL, &fd);
                if (r != 0)
                        return r;
                r = hr_frame_feed(&c->frame, buf, n, &bytes, &n);
                if (r == HR_FRAME_MORE) {
                        (void)garbage(&fd); /* a descriptor comes with a message of one datagram only */
                        continue;
                }
                if (r == -ENOMEM)
                        return r;
                if (r < 0 || hr_decode(bytes, n, &m) < 0)
                        return garbage(&fd);
                if (!stale(c, &m))
                        break;
                (void)garbage(&fd);
        }
        if (c->outstanding > 0)
                c->outstanding--;
        if (m.type != HR_REPLY_PASS || m.fd < 0)
                (void)garbage(&fd);
        *ret = m;
        *ret_fd = fd;
        return 0;
}
