/* SPDX-License-Identifier: MIT */
/*
 * PURE. --expand-env: variables in the proxy's config.
 *
 *   ${NAME}            its value; it must be set
 *   ${NAME:-default}   the default if it is not set or empty, as in sh
 *   $${                a literal ${
 *
 * Any other $ stays as it is. One pass: what was put in is not looked at again, and a default holds neither ${ nor a new line.
 * The rest of the text is copied byte by byte; no quoting is added, as no one knows where in the config a value lands.
 */
#pragma once

#include <stddef.h>

enum { EXPAND_BYTES_MAX = 64 * 1024 * 1024, EXPAND_E_TEXT = 1, EXPAND_E_TOO_LARGE = 2 };

struct expand_error {
        unsigned line; /* from 1 */
        char text[192];
};

/**
 * expand_env() - the text with its variables replaced
 * @text:         any bytes, @n of them
 * @environment:  NAME=value, NULL-terminated; the first of a name counts
 * @ret:          the caller frees it; NUL-terminated, @ret_n bytes without that
 * @reterr:       says what is wrong and where, without the name of the file
 *
 * Return: 0; EXPAND_E_TEXT: a variable is missing, a name is bad, a brace is not closed; EXPAND_E_TOO_LARGE: the result
 * would have more than EXPAND_BYTES_MAX; -ENOMEM, then without @reterr.
 */
int expand_env(const char *text, size_t n, char *const *environment, char **ret, size_t *ret_n, struct expand_error *reterr);
