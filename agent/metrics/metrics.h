/* SPDX-License-Identifier: MIT */
/* Prometheus text, version 0.0.4, into a buffer that grows. */
#pragma once

#include "agent/json.h"

struct metrics_writer {
        struct json_writer text;
};

void metrics_family(struct metrics_writer *w, const char *name, const char *type, const char *help);
/* @label may be NULL */
void metrics_value(struct metrics_writer *w, const char *name, const char *label, const char *label_value, double v);
void metrics_value2(struct metrics_writer *w, const char *name, const char *label1, const char *value1, const char *label2,
                    const char *value2, double v);
