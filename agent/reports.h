/* SPDX-License-Identifier: MIT */
/* From decisions to log lines: each report of the succession becomes one event, with the words that a user needs. */
#pragma once

#include "agent/agent.h"

void report(struct agent *a, const struct effect *fx);
void report_ready(struct agent *a);
void report_exit(struct agent *a, const struct wire_job *job);
void report_last_words(const char *reason); /* it ends, and failed */
