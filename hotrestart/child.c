/* SPDX-License-Identifier: MIT */
/* The child role: asks a running Envoy as its successor would (docs/protocol.md, harvest). */
#include <errno.h>
#include <string.h>
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

/* What lies there already was meant for somebody else, markers' answers among it. Return: 0; -errno */
static int drop_queue(struct hr_child *c)
{
        uint8_t buf[HR_DATAGRAM_BYTES];
        size_t n;
        int r;

        do
                r = hr_receive(c->fd, 0, buf, sizeof(buf), &n, NULL, NULL);
        while (r == 0 || r == HR_GARBAGE);
        return r == HR_NOTHING ? 0 : r;
}

int hr_child_sync(struct hr_child *c)
{
        struct hr_message m = { .type = HR_EMPTY, .fd = -1 };
        int r = drop_queue(c);

        if (r == 0)
                r = hr_send(c->fd, &c->envoy, &m, -1);
        if (r != 0)
                return r;
        c->frame.want = c->frame.have = 0;
        c->syncing = true;
        c->shifted = false;
        c->outstanding = 0;
        return 0;
}

static bool is_askable(const struct hr_key *k)
{
        struct sockaddr_storage addr;
        socklen_t len;
        int type;

        return hr_key_address(k, &addr, &len, &type) == 0;
}

int hr_child_ask(struct hr_child *c, const struct hr_message *m)
{
        int r;

        /* An address that Envoy cannot parse ends its process. */
        if (m->type == HR_PASS_LISTEN_SOCKET && !is_askable(&m->key))
                return -EINVAL;
        if (c->syncing || c->outstanding >= HR_OUTSTANDING_MAX)
                return HR_WOULD_BLOCK;
        r = hr_send(c->fd, &c->envoy, m, -1);
        if (r == 0 && hr_parent_owes(m->type) != HR_OWES_NOTHING)
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

/*
 * While a sync is under way everything up to its answer is from another life. Such an answer at any other time belongs to
 * a marker of another life, too: every Envoy knows the requests that we send. Taken for a reply it would shift all others.
 */
static bool stale(struct hr_child *c, const struct hr_message *m)
{
        bool was_syncing = c->syncing;

        if (m->type != HR_REPLY_UNRECOGNIZED)
                return was_syncing;
        c->syncing = false;
        return true;
}

/* Envoy answers from the socket that is asked. A stranger's datagram would be taken for the answer to our next question. */
static bool from_envoy(const struct hr_child *c, const struct sockaddr_un *peer)
{
        return memcmp(peer->sun_path, c->envoy.sun_path, sizeof(peer->sun_path)) == 0;
}

/* A reply that we cannot make out, be it for want of memory or of a free descriptor. Of another life none can be missed. */
static int lost(struct hr_child *c, int *fd, int r)
{
        (void)garbage(fd);
        c->shifted |= !c->syncing;
        return r;
}

int hr_child_read(struct hr_child *c, struct hr_message *ret, int *ret_fd)
{
        uint8_t buf[HR_DATAGRAM_BYTES];
        const uint8_t *bytes;
        struct hr_message m;
        size_t n;
        int fd = -1, r;

        for (;;) {
                struct sockaddr_un peer = { 0 };

                r = hr_receive(c->fd, 0, buf, sizeof(buf), &n, &peer, &fd);
                if (r == HR_NOTHING || r < 0)
                        return r;
                if (!from_envoy(c, &peer))
                        return garbage(&fd);
                if (r != 0)
                        return lost(c, &fd, r);
                r = hr_frame_feed(&c->frame, buf, n, &bytes, &n);
                if (r == HR_FRAME_MORE) {
                        (void)garbage(&fd); /* a descriptor comes with a message of one datagram only */
                        continue;
                }
                if (r == 0)
                        r = hr_decode(bytes, n, &m);
                if (r < 0)
                        return lost(c, &fd, r == -ENOMEM ? r : HR_GARBAGE);
                if (!stale(c, &m))
                        break;
                (void)garbage(&fd);
        }
        if (c->outstanding > 0)
                c->outstanding--;
        if (m.type != HR_REPLY_PASS || m.fd < 0)
                (void)garbage(&fd);
        else if (fd < 0)
                m.fd = -1; /* a number alone says nothing: it counts in Envoy's table of descriptors */
        *ret = m;
        *ret_fd = fd;
        return 0;
}
