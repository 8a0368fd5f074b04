/* SPDX-License-Identifier: MIT */
/* Listen sockets that the proxy's user has no right to bind: low ports, under --proxy-user. */
#pragma once

#include "agent/agent.h"

/** open_port_limit() - TCP ports below it must be opened for the proxy; 0: it may do so itself, or is no other user */
int open_port_limit(const struct options *o);

/** open_port() - DO_OPEN: bound, with the keeper, not listening; what became of it is queued as ON_OPENED */
void open_port(struct agent *a, const struct effect *fx);
