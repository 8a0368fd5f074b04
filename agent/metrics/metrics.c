/* SPDX-License-Identifier: MIT */
/* See metrics.h. */
#include "agent/metrics/metrics.h"

#include <stdio.h>
#include <string.h>

static void put(struct metrics_writer *w, const char *text)
{
        json_raw_end(&w->text, text);
}

static void put_label(struct metrics_writer *w, const char *name, const char *value)
{
        char one[2] = "";

        put(w, name);
        put(w, "=\"");
        for (; *value; value++) {
                one[0] = *value;
                put(w, *value == '\\' ? "\\\\" : *value == '"' ? "\\\"" : *value == '\n' ? "\\n" : one);
        }
        put(w, "\"");
}

void metrics_family(struct metrics_writer *w, const char *name, const char *type, const char *help)
{
        char line[512];

        (void)snprintf(line, sizeof(line), "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
        put(w, line);
}

static void put_value(struct metrics_writer *w, double v)
{
        char text[40];

        (void)snprintf(text, sizeof(text), " %.15g\n", v);
        put(w, text);
}

void metrics_value(struct metrics_writer *w, const char *name, const char *label, const char *label_value, double v)
{
        put(w, name);
        if (label) {
                put(w, "{");
                put_label(w, label, label_value);
                put(w, "}");
        }
        put_value(w, v);
}

void metrics_value2(struct metrics_writer *w, const char *name, const char *label1, const char *value1, const char *label2,
                    const char *value2, double v)
{
        put(w, name);
        put(w, "{");
        put_label(w, label1, value1);
        put(w, ",");
        put_label(w, label2, value2);
        put(w, "}");
        put_value(w, v);
}
