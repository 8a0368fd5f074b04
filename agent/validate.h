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

/** validate_words() - in what the proxy said of the snapshot of an epoch, the user's own file is named instead. Return: @words */
const char *validate_words(const struct agent *a, uint64_t epoch, char *words, size_t size);
