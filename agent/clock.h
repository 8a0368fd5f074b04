/* SPDX-License-Identifier: MIT */
/* The only reader of clocks in the agent. */
#pragma once

#include <stddef.h>

#include "agent/mono.h"

struct mono clock_now(void);

/** clock_wall() - now in UTC, as "2026-01-01T00:00:00.000Z". Return: @buf */
const char *clock_wall(char *buf, size_t size);
