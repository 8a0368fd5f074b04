/* SPDX-License-Identifier: MIT */
/*
 * While nothing may be launched: tell (ON_CONTENT) when the config on disk differs from a baseline in its bytes. This is not
 * the watching of a serving instance: it runs only during a wait. What it compares with is kept from one wait to the next
 * until something has served again: a file that was mended while a start ran is a change, and one that was tried is none.
 */
#pragma once

#include "agent/agent.h"

void watch_content(struct agent *a, uint64_t epoch, enum content_watch how);
