/* SPDX-License-Identifier: MIT */
/* See open_port.h. Which ones and when is decided in succession_up.c. */
#include "agent/open_port.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/bind_probe.h"
#include "agent/cleanup.h"
#include "agent/log.h"

/* Of this network namespace, so not a constant; one that hides /proc has the kernel's default. */
static int first_unprivileged_port(void)
{
        enum { STANDARD = 1024 };
        FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
        int port = STANDARD;

        if (!f)
                return STANDARD;
        if (fscanf(f, "%d", &port) != 1)
                port = STANDARD;
        (void)fclose(f);
        return port;
}

int open_port_limit(const struct options *o)
{
        return o->user.other && o->user.uid != 0 ? first_unprivileged_port() : 0;
}

/*
 * What the bootstrap says of the address. A listener of the control plane is taken for an ordinary one: SO_REUSEPORT does no harm
 * to one that does not share its port. Return: false: it is to be opened in another network namespace
 */
static bool facts_of(struct agent *a, uint64_t epoch, const char *url, struct bootstrap_listener *ret)
{
        const struct bootstrap *b = look_content(a, succession_find(&a->s, epoch));
        bool here = true;

        *ret = (struct bootstrap_listener){ .binds = true, .reuse_port = true };
        for (size_t i = 0; i < b->n_urls; i++) {
                if (strcmp(b->urls[i], url) != 0)
                        continue;
                *ret = b->listeners[i];
                here = !ret->elsewhere;
                if (here)
                        return true;
        }
        return here;
}

static int open_it(struct agent *a, uint64_t epoch, const struct hr_key *key, int *ret_fd, uint64_t *ret_inode)
{
        CLEANUP(close_fd) int fd = -1;
        struct bootstrap_listener facts;
        char name[WIRE_NAME_BYTES];
        const char *names[] = { name };
        int r = facts_of(a, epoch, key->url, &facts) ? bind_open(key, &facts, &a->options->user, &fd) : -EOPNOTSUPP;

        if (r == 0)
                r = hr_listener_inode(fd, ret_inode);
        if (r == 0)
                r = key_name(key, name, sizeof(name));
        if (r == 0)
                r = keeper_link_hold(a->link, names, &fd, 1);
        if (r == 0)
                *ret_fd = TAKE_FD(fd);
        return r;
}

void open_port(struct agent *a, const struct effect *fx)
{
        const struct hr_key *key = &a->s.escrow.keys[fx->key].key;
        uint64_t inode = 0;
        int fd = -1;
        int r = open_it(a, fx->epoch, key, &fd, &inode);

        if (r < 0) {
                inode = 0;
                log_event(LOG_WARNING, "socket.not-opened", F_UINT("epoch", fx->epoch), F_STR("url", key->url), F_UINT("worker", key->worker),
                          F_STR("error", r == -EOPNOTSUPP ? "it is in another network namespace" : strerror(-r)),
                          F_STR("then", "the proxy tries, and has no right to"));
        } else {
                close_fd(&a->sockets[fx->key]);
                a->sockets[fx->key] = fd;
                log_event(LOG_INFO, "socket.opened", F_UINT("epoch", fx->epoch), F_STR("url", key->url), F_UINT("worker", key->worker));
        }
        agent_queue(a, (struct succession_input){ .event = ON_OPENED, .epoch = fx->epoch, .value = fx->key, .inode = inode });
}
