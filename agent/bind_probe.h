/* SPDX-License-Identifier: MIT */
/*
 * Could a listener of the proxy be bound here and now? A socket is bound as Envoy would bind it, and closed: it never listens,
 * so no connection ever lands on it. The answer is of this moment and for this user. What is opened for a proxy that may not do so
 * is opened in the same way.
 */
#pragma once

#include "agent/bootstrap.h"
#include "agent/proxy_user.h"

enum { BIND_PROBE_UNKNOWN = 1 };

/**
 * bind_open() - a TCP socket that is bound as Envoy would bind it, and does not listen yet
 * @facts:  of the listener
 * @user:   whose socket it is: only sockets of one user share a port
 * @ret_fd: the caller owns it; non-blocking, close-on-exec
 *
 * The port may be one that only this process has the right to bind.
 *
 * Return: 0; -EOPNOTSUPP: in another network namespace, or neither TCP nor a name of a Unix socket without a file; -EINVAL: the
 * key is no address; -EADDRINUSE, -EACCES, -EADDRNOTAVAIL and the like.
 */
int bind_open(const struct hr_key *key, const struct bootstrap_listener *facts, const struct proxy_user *user, int *ret_fd);

/**
 * bind_probe() - never blocks
 * @url:    as bootstrap_read() has it
 * @facts:  of the same listener
 * @user:   who the proxy runs as; a low port that it has no right to bind is bound by baton
 *
 * UDP is not tried: packets that come meanwhile would be lost with the socket. Nor is the path of a Unix socket: Envoy replaces
 * it, to try would be to destroy it; its folder must be writable.
 *
 * Return: 0: yes, or Envoy will not bind it; BIND_PROBE_UNKNOWN: not tried (UDP, a name, another network namespace);
 * -EADDRINUSE, -EACCES, -EADDRNOTAVAIL and the like.
 */
int bind_probe(const char *url, const struct bootstrap_listener *facts, const struct proxy_user *user);
