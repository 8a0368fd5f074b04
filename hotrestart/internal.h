/* SPDX-License-Identifier: MIT */
/* Shared by the files of libhotrestart; not installed. */
#pragma once

#include "hotrestart/hotrestart.h"

/*
 * hr_receive() - one datagram; @ret_fd: the one descriptor that came along, or NULL to close whatever comes
 * Return: 0; HR_NOTHING; HR_GARBAGE: truncated, or more than one descriptor (all closed); -errno.
 */
int hr_receive(int fd, int flags, uint8_t *buf, size_t size, size_t *ret_n, struct sockaddr_un *ret_peer, int *ret_fd);
