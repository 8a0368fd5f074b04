/* SPDX-License-Identifier: MIT */
/*
 * A group of listening sockets, the model of it that a test keeps, and load: for tests of steering against the kernel. A socket
 * is named by the number in which it was opened, whatever its place.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "hotrestart/hotrestart.h"

enum { LISTEN_GROUP_MAX = HR_GROUP_MAX };

struct listen_group {
        size_t n;                        /* opened */
        int fd[LISTEN_GROUP_MAX];        /* -1: closed */
        uint64_t inode[LISTEN_GROUP_MAX];
        int reserved;                    /* bound and not listening: keeps the port, is no member */
        char url[64];                    /* with the port */
        uint16_t port;
        struct sockaddr_storage addr;
        socklen_t addr_len;
        struct hr_group model;
};

void listen_group_open(struct listen_group *lg, const char *url, size_t n); /* url without a port */
void listen_group_open_dual(struct listen_group *lg, size_t n);             /* [::] and 0.0.0.0 in one */
void listen_group_add(struct listen_group *lg);
void listen_group_close(struct listen_group *lg);

void listen_group_leave(struct listen_group *lg, size_t who);
void listen_group_silence(struct listen_group *lg, size_t who);
void listen_group_revive(struct listen_group *lg, size_t who);

/* Who stands at this place of the model. */
size_t listen_group_at(const struct listen_group *lg, size_t place);

/* One connection, accepted and gone again. Return: whose it was; -errno of connect(). */
int listen_group_connect(struct listen_group *lg);
int listen_group_connect_ipv4(struct listen_group *lg);

/* A connected client, not accepted yet; -errno. Closing it leaves no TIME_WAIT behind. */
int listen_group_dial(const struct listen_group *lg);

/* Asks the kernel place by place, with a program for each. What was attached is gone afterwards. */
void listen_group_expect_order(struct listen_group *lg, const char *order); /* "0 3 2" */
void listen_group_expect_order_of_model(struct listen_group *lg, uint64_t seed);

/* Does the model have those that the kernel has? */
void listen_group_expect_members(const struct listen_group *lg, bool same);

/* ---- load ---- */

enum load_outcome { LOAD_SERVED, LOAD_REFUSED, LOAD_RESET, LOAD_FAILED, LOAD_OUTCOMES };

enum { LOAD_CLIENTS = 3 };

struct load {
        struct listen_group *lg;
        pthread_t client[LOAD_CLIENTS], server;
        pthread_mutex_t lock; /* of all that follows, and of lg */
        pthread_cond_t moved;
        bool over, server_over;
        unsigned long done[LOAD_CLIENTS]; /* connections from begin to end */
        unsigned long served;
        unsigned long outcomes[LOAD_OUTCOMES];
        unsigned long accepted[LISTEN_GROUP_MAX];
        int error;
};

void load_start(struct load *l, struct listen_group *lg);
void load_stop(struct load *l);

/* Until every client has begun and ended one connection from now on, and all together at least `n`. */
void load_wait(struct load *l, unsigned long n);
void load_wait_empty(struct load *l, size_t who); /* until nothing is in its accept queue */
unsigned long load_accepted(struct load *l, size_t who);
void load_leave(struct load *l, size_t who);

/* What becomes of a connected client: one byte is served. Closes it. */
enum load_outcome load_outcome(int fd);
