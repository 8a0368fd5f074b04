/* SPDX-License-Identifier: MIT */
/*
 * What is looked at before a candidate is launched beside what serves: does its binary speak our hot restart, does it accept its
 * own config, could it bind what it will have to bind? Answers by ON_PREFLIGHT; a no has its reason in one line.
 */
#pragma once

#include "agent/agent.h"

void preflight_init(struct agent *a);
void preflight_start(struct agent *a, uint64_t epoch);
