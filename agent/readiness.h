/* SPDX-License-Identifier: MIT */
/*
 * How a proxy without the protocol becomes ready: it says so on the socket that its NOTIFY_SOCKET names, or it answers a probe.
 * What is heard becomes ON_READINESS; what that means is decided in epoch.c.
 */
#pragma once

#include "agent/agent.h"

/** notify_listen() - read what the generation says; its socket lies with the proc */
void notify_listen(struct proc *p);

/**
 * probe_start() - ask until it answers as it should, or has gone; asked again while that is under way: nothing
 *
 * `tcp`: a process of this generation has accepted a connection to each socket that it has inherited. A URL: it has accepted one
 * there, and answers it with 200 to 399. Nothing less tells it from another generation that accepts from the same sockets.
 */
void probe_start(struct proc *p);

struct probe *probe_free(struct probe *p); /* NULL is harmless. Return: NULL */
