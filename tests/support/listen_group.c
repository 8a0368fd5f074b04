/* SPDX-License-Identifier: MIT */
/* A group of listening sockets and load on it. Failures end the test by criterion; the threads only count. */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/listen_group.h"

static void take_in(struct listen_group *lg, int fd)
{
        const size_t who = lg->n++;

        cr_assert_lt(who, LISTEN_GROUP_MAX);
        lg->fd[who] = fd;
        cr_assert_eq(hr_listener_inode(fd, &lg->inode[who]), 0);
        cr_assert_eq(hr_group_append(&lg->model, lg->inode[who]), 0);
}

/*
 * The kernel chooses a port, and the members are bound to it by its number: who was given one for a 0 loses it by being
 * silenced.
 */
static void reserve(struct listen_group *lg, const char *url, bool ipv6_only)
{
        struct hr_key key = { 0 };
        int type, off = 0, on = 1;

        memset(lg, 0, sizeof(*lg));
        (void)snprintf(key.url, sizeof(key.url), "%s:0", url);
        cr_assert_eq(hr_key_address(&key, &lg->addr, &lg->addr_len, &type), 0);
        lg->reserved = socket(lg->addr.ss_family, type | SOCK_CLOEXEC, 0);
        cr_assert_geq(lg->reserved, 0);
        if (lg->addr.ss_family == AF_INET6)
                cr_assert_eq(setsockopt(lg->reserved, IPPROTO_IPV6, IPV6_V6ONLY, ipv6_only ? &on : &off, sizeof(on)), 0);
        cr_assert_eq(setsockopt(lg->reserved, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
        cr_assert_eq(setsockopt(lg->reserved, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        cr_assert_eq(bind(lg->reserved, (const struct sockaddr *)&lg->addr, lg->addr_len), 0);
        cr_assert_eq(getsockname(lg->reserved, (struct sockaddr *)&lg->addr, &lg->addr_len), 0);
        lg->port = ntohs(lg->addr.ss_family == AF_INET ? ((const struct sockaddr_in *)&lg->addr)->sin_port
                                                       : ((const struct sockaddr_in6 *)&lg->addr)->sin6_port);
        (void)snprintf(lg->url, sizeof(lg->url), "%s:%u", url, lg->port);
}

void listen_group_add(struct listen_group *lg)
{
        struct hr_key key = { 0 };
        int fd = -1, r;

        strcpy(key.url, lg->url);
        r = hr_listener_open(&key, true, 1024, &fd);
        cr_assert_eq(r, 0, "%s: %s", lg->url, strerror(-r));
        take_in(lg, fd);
}

void listen_group_open(struct listen_group *lg, const char *url, size_t n)
{
        reserve(lg, url, true);
        while (lg->n < n)
                listen_group_add(lg);
}

void listen_group_open_dual(struct listen_group *lg, size_t n)
{
        int off = 0, on = 1;

        reserve(lg, "tcp://[::]", false);
        while (lg->n < n) {
                int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

                cr_assert_geq(fd, 0);
                cr_assert_eq(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
                cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
                cr_assert_eq(bind(fd, (const struct sockaddr *)&lg->addr, lg->addr_len), 0, "%s", strerror(errno));
                cr_assert_eq(listen(fd, 1024), 0);
                take_in(lg, fd);
        }
}

void listen_group_close(struct listen_group *lg)
{
        for (size_t i = 0; i < lg->n; i++)
                if (lg->fd[i] >= 0)
                        (void)close(lg->fd[i]);
        (void)close(lg->reserved);
        lg->n = 0;
}

void listen_group_leave(struct listen_group *lg, size_t who)
{
        hr_group_remove(&lg->model, hr_group_find(&lg->model, lg->inode[who]));
        cr_assert_eq(close(lg->fd[who]), 0);
        lg->fd[who] = -1;
}

void listen_group_silence(struct listen_group *lg, size_t who)
{
        cr_assert_eq(hr_listener_silence(lg->fd[who]), 0);
        cr_assert_eq(hr_group_silenced(&lg->model, lg->inode[who]), lg->model.n == 0);
}

void listen_group_revive(struct listen_group *lg, size_t who)
{
        int r = hr_listener_revive(lg->fd[who]);

        cr_assert_eq(r, 0, "%s", strerror(-r));
        cr_assert_eq(hr_group_append(&lg->model, lg->inode[who]), 0);
}

size_t listen_group_at(const struct listen_group *lg, size_t place)
{
        size_t who = 0;

        cr_assert_lt(place, lg->model.n);
        while (lg->inode[who] != lg->model.members[place])
                who++;
        return who;
}

/* An end by RST on purpose: TIME_WAIT of so many connections would use up the local ports. */
static int dial(const struct sockaddr *addr, socklen_t len)
{
        const struct linger none = { .l_onoff = 1 };
        const struct timeval patience = { .tv_sec = 60 };
        int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), r = fd < 0 ? -errno : 0;

        if (r == 0 && (setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)) < 0 ||
                       setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
                       setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 || connect(fd, addr, len) < 0))
                r = -errno;
        if (r == 0)
                return fd;
        if (fd >= 0)
                (void)close(fd);
        return r;
}

int listen_group_dial(const struct listen_group *lg)
{
        return dial((const struct sockaddr *)&lg->addr, lg->addr_len);
}

static int whose(struct listen_group *lg, int client)
{
        struct pollfd p[LISTEN_GROUP_MAX];
        int who = -1, fd;

        if (client < 0)
                return client;
        for (size_t i = 0; i < lg->n; i++)
                p[i] = (struct pollfd){ .fd = lg->fd[i], .events = POLLIN };
        do {
                cr_assert_gt(poll(p, lg->n, 60000), 0, "nobody has the connection");
                for (size_t i = 0; i < lg->n; i++)
                        if (p[i].revents & POLLIN) {
                                cr_assert_eq(who, -1, "one connection, two acceptors");
                                who = (int)i;
                        }
                /* A silenced listener polls as hung up: it is not who we wait for. */
                for (size_t i = 0; i < lg->n; i++)
                        if (p[i].revents & POLLHUP)
                                p[i].fd = -1;
        } while (who < 0);
        fd = accept4(lg->fd[who], NULL, NULL, SOCK_CLOEXEC);
        cr_assert_geq(fd, 0, "%s", strerror(errno));
        (void)close(client);
        (void)close(fd);
        return who;
}

int listen_group_connect(struct listen_group *lg)
{
        return whose(lg, listen_group_dial(lg));
}

int listen_group_connect_ipv4(struct listen_group *lg)
{
        const struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(lg->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

        return whose(lg, dial((const struct sockaddr *)&addr, sizeof(addr)));
}

static size_t probe(struct listen_group *lg, size_t place)
{
        const struct hr_steer s = { .first = (uint16_t)place, .count = 1 };
        int who, r = hr_steer_attach(lg->fd[listen_group_at(lg, 0)], &s);

        cr_assert_eq(r, 0, "%s", strerror(-r));
        who = listen_group_connect(lg);
        cr_assert_geq(who, 0, "%s", strerror(-who));
        return (size_t)who;
}

void listen_group_expect_order(struct listen_group *lg, const char *order)
{
        char text[256];
        size_t at = 0;

        for (size_t i = 0; i < lg->model.n; i++)
                at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%zu", i ? " " : "", probe(lg, i));
        cr_assert_str_eq(text, order);
        listen_group_expect_order_of_model(lg, 0);
}

void listen_group_expect_order_of_model(struct listen_group *lg, uint64_t seed)
{
        listen_group_expect_members(lg, true);
        for (size_t i = 0; i < lg->model.n; i++)
                for (int again = 0; again < 2; again++) /* the hash may be right by chance where the place is past the end */
                        cr_assert_eq(probe(lg, i), listen_group_at(lg, i), "seed %" PRIu64 ": place %zu", seed, i);
        if (lg->model.n > 0)
                cr_assert_eq(hr_steer_detach(lg->fd[listen_group_at(lg, 0)]), 0);
}

void listen_group_expect_members(const struct listen_group *lg, bool same)
{
        uint64_t inodes[LISTEN_GROUP_MAX];
        size_t n = 0;
        int r = hr_steer_members(lg->reserved, inodes, LISTEN_GROUP_MAX, &n);

        cr_assert_eq(r, 0, "%s", strerror(-r));
        cr_assert_eq(hr_group_is(&lg->model, inodes, n), same, "%zu members, the kernel has %zu", lg->model.n, n);
}

/* ---- load ---- */

enum load_outcome load_outcome(int fd)
{
        char c;
        ssize_t n = recv(fd, &c, 1, 0);
        int error = n < 0 ? errno : 0;

        (void)close(fd);
        errno = error;
        return n == 1 ? LOAD_SERVED : error == ECONNRESET ? LOAD_RESET : LOAD_FAILED;
}

static enum load_outcome one_connection(const struct listen_group *lg)
{
        int fd = listen_group_dial(lg);

        if (fd >= 0)
                return load_outcome(fd);
        errno = -fd;
        return fd == -ECONNREFUSED ? LOAD_REFUSED : fd == -ECONNRESET ? LOAD_RESET : LOAD_FAILED;
}

struct client {
        struct load *load;
        size_t number;
};

static void *run_client(void *arg)
{
        struct client c = *(struct client *)arg;
        struct load *l = c.load;
        bool over = false;

        free(arg);
        while (!over) {
                enum load_outcome o = one_connection(l->lg);
                int error = errno;

                (void)pthread_mutex_lock(&l->lock);
                l->done[c.number]++;
                l->served++;
                l->outcomes[o]++;
                if (o != LOAD_SERVED)
                        l->error = error;
                over = l->over;
                (void)pthread_cond_broadcast(&l->moved);
                (void)pthread_mutex_unlock(&l->lock);
        }
        return NULL;
}

/* Every member is emptied with the lock held, so that who leaves is never accepted from at the same time. */
static void serve_all(struct load *l)
{
        for (size_t i = 0; i < l->lg->n; i++) {
                int fd;

                while (l->lg->fd[i] >= 0 && (fd = accept4(l->lg->fd[i], NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                        (void)send(fd, "k", 1, MSG_NOSIGNAL);
                        (void)close(fd);
                        l->accepted[i]++;
                }
        }
        (void)pthread_cond_broadcast(&l->moved);
}

static void *run_server(void *arg)
{
        struct load *l = arg;
        struct pollfd p[LISTEN_GROUP_MAX];
        bool over;

        do {
                size_t n;

                (void)pthread_mutex_lock(&l->lock);
                serve_all(l);
                over = l->server_over;
                n = l->lg->n;
                for (size_t i = 0; i < n; i++)
                        p[i] = (struct pollfd){ .fd = l->lg->fd[i], .events = POLLIN };
                (void)pthread_mutex_unlock(&l->lock);
                (void)poll(p, n, over ? 0 : 20); /* a number that was closed meanwhile is not polled for long */
        } while (!over);
        return NULL;
}

void load_start(struct load *l, struct listen_group *lg)
{
        memset(l, 0, sizeof(*l));
        l->lg = lg;
        cr_assert_eq(pthread_mutex_init(&l->lock, NULL), 0);
        cr_assert_eq(pthread_cond_init(&l->moved, NULL), 0);
        cr_assert_eq(pthread_create(&l->server, NULL, run_server, l), 0);
        for (size_t i = 0; i < LOAD_CLIENTS; i++) {
                struct client *c = malloc(sizeof(*c));

                cr_assert(c);
                *c = (struct client){ l, i };
                cr_assert_eq(pthread_create(&l->client[i], NULL, run_client, c), 0);
        }
}

/* The clients first: they need the server for their last connection. */
void load_stop(struct load *l)
{
        (void)pthread_mutex_lock(&l->lock);
        l->over = true;
        (void)pthread_mutex_unlock(&l->lock);
        for (size_t i = 0; i < LOAD_CLIENTS; i++)
                cr_assert_eq(pthread_join(l->client[i], NULL), 0);
        (void)pthread_mutex_lock(&l->lock);
        l->server_over = true;
        (void)pthread_mutex_unlock(&l->lock);
        cr_assert_eq(pthread_join(l->server, NULL), 0);
}

/* Two ends of each: what is under way now is the first of them. */
void load_wait(struct load *l, unsigned long n)
{
        unsigned long at[LOAD_CLIENTS], served, i = 0;

        (void)pthread_mutex_lock(&l->lock);
        memcpy(at, l->done, sizeof(at));
        served = l->served;
        while (i < LOAD_CLIENTS || l->served - served < n) {
                if (i < LOAD_CLIENTS && l->done[i] - at[i] >= 2)
                        i++;
                else
                        (void)pthread_cond_wait(&l->moved, &l->lock);
        }
        (void)pthread_mutex_unlock(&l->lock);
}

void load_wait_empty(struct load *l, size_t who)
{
        uint32_t waiting = 1;

        (void)pthread_mutex_lock(&l->lock);
        while (hr_listener_queue(l->lg->fd[who], &waiting) == 0 && waiting)
                (void)pthread_cond_wait(&l->moved, &l->lock);
        (void)pthread_mutex_unlock(&l->lock);
}

unsigned long load_accepted(struct load *l, size_t who)
{
        unsigned long n;

        (void)pthread_mutex_lock(&l->lock);
        n = l->accepted[who];
        (void)pthread_mutex_unlock(&l->lock);
        return n;
}

void load_leave(struct load *l, size_t who)
{
        (void)pthread_mutex_lock(&l->lock);
        listen_group_leave(l->lg, who);
        (void)pthread_mutex_unlock(&l->lock);
}
