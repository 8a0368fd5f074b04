/* SPDX-License-Identifier: MIT */
/* Shared by the files of libhotrestart; not installed. */
#pragma once

#include "hotrestart/hotrestart.h"

struct sock_filter;

/*
 * hr_receive() - one datagram; @ret_fd: the one descriptor that came along, or NULL to close whatever comes
 * Return: 0; HR_NOTHING; HR_GARBAGE: truncated, or more than one descriptor (all closed); -errno.
 */
int hr_receive(int fd, int flags, uint8_t *buf, size_t size, size_t *ret_n, struct sockaddr_un *ret_peer, int *ret_fd);

/* Both sides at their worst, every second place left out: ranges of one place each. */
enum { HR_STEER_CODE_MAX = 4 + 2 * (2 + 3 * HR_GROUP_MAX / 2) };

/* hr_steer_compile() - what hr_steer_attach() attaches. @s fits a group. Return: instructions, at most HR_STEER_CODE_MAX. */
size_t hr_steer_compile(const struct hr_steer *s, struct sock_filter *ret_code);

/* Which of the sockets that sock_diag tells of are asked for. */
struct hr_diag_place {
        uint8_t family;
        uint16_t port_be;
        uint8_t addr[16]; /* IPv4: the first four bytes */
        uint32_t scope;   /* 0: any */
};

enum { HR_DIAG_DONE = 1 };

/*
 * hr_diag_read() - add the listeners of one datagram of sock_diag's answer to a list
 * Return: 0: there is more to come; HR_DIAG_DONE; -ENOSPC; -EAGAIN; -EBADMSG; the -errno that the kernel answers with.
 */
int hr_diag_read(const void *datagram, size_t bytes, const struct hr_diag_place *at, uint64_t *inodes, size_t max, size_t *n);
