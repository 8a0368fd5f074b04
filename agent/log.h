/* SPDX-License-Identifier: MIT */
/*
 * One event, one line: an event name and fields, on stderr as text or JSON, and from level notice on also in the event file.
 * Never blocks: what a stuck stderr does not take is dropped and counted. What a proxy prints is not our business.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h>

struct log_field {
        const char *name;
        enum { LOG_F_STRING, LOG_F_INT, LOG_F_UINT, LOG_F_BOOL } type;
        const char *text;
        int64_t i;
        uint64_t u;
};

#define F_STR(n, v) ((struct log_field){ .name = (n), .type = LOG_F_STRING, .text = (v) })
#define F_INT(n, v) ((struct log_field){ .name = (n), .type = LOG_F_INT, .i = (int64_t)(v) })
#define F_UINT(n, v) ((struct log_field){ .name = (n), .type = LOG_F_UINT, .u = (uint64_t)(v) })
#define F_BOOL(n, v) ((struct log_field){ .name = (n), .type = LOG_F_BOOL, .u = (v) })

/* Empty strings are left out. */
#define log_event(priority, event, ...)                                                                               \
        log_fields((priority), (event), (const struct log_field[]){ __VA_ARGS__ },                                    \
                   sizeof((const struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))

void log_setup(int64_t format /* enum log_format */, int64_t level);
void log_fields(int priority, const char *event, const struct log_field *fields, size_t n);
void log_flush(void); /* says how many lines were dropped, if any were */
