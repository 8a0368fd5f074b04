/* SPDX-License-Identifier: MIT */
/*
 * Ask the proxy itself what it has against its config: a helper run of `PROXY --mode validate` on the snapshot of an epoch,
 * its output caught. It answers by ON_VALIDATED: 1 if the proxy says no, 0 if it has nothing against it (or does not say
 * within 10 s).
 */
#pragma once

#include "agent/agent.h"

void validate_init(struct agent *a);
void validate_start(struct agent *a, uint64_t epoch);
