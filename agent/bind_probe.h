/* SPDX-License-Identifier: MIT */
/*
 * Could a listener of the proxy be bound here and now? A socket is bound as Envoy would bind it, and closed: it never listens,
 * so no connection ever lands on it. The answer is of this moment and for this user.
 */
#pragma once

#include "agent/bootstrap.h"

enum { BIND_PROBE_UNKNOWN = 1 };

/**
 * bind_probe() - never blocks
 * @url:    as bootstrap_read() has it
 * @facts:  of the same listener
 *
 * UDP is not tried: packets that come meanwhile would be lost with the socket. Nor is the path of a Unix socket: Envoy replaces
 * it, to try would be to destroy it; its folder must be writable.
 *
 * Return: 0: yes, or Envoy will not bind it; BIND_PROBE_UNKNOWN: not tried (UDP, a name, another network namespace);
 * -EADDRINUSE, -EACCES, -EADDRNOTAVAIL and the like.
 */
int bind_probe(const char *url, const struct bootstrap_listener *facts);
