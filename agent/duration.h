/* SPDX-License-Identifier: MIT */
/* PURE. Durations as users write them: "200ms", "1.5s", "1min", "2m", "1h"; a bare number is seconds. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** duration_parse() - Return: 0; -EINVAL for text that is no duration, -ERANGE above 10 years */
int duration_parse(const char *text, int64_t *ret_ms);

/** duration_text() - the shortest exact form. Return: @buf */
const char *duration_text(int64_t ms, char *buf, size_t size);
