/* SPDX-License-Identifier: MIT */
/*
 * PURE. Paths in a config that lead elsewhere when the config is put to work: a certificate directory becomes the checked copy of it.
 * Bytes alone are looked at; no format is known.
 */
#pragma once

#include <stddef.h>

struct rewrite {
        const char *from, *to; /* absolute paths without a slash at the end */
};

/**
 * rewrite_paths() - the text with every whole occurrence of a path replaced by another, what stands behind it kept
 * @ret: the caller frees it; NUL-terminated, @ret_n bytes without that
 *
 * Whole: `/etc/tls` is not found in `/etc/tls2` or `/my/etc/tls`, but in `/etc/tls/key.pem`. Of two paths the longer one counts.
 * Return: 0; -ENOMEM.
 */
int rewrite_paths(const char *text, size_t n, const struct rewrite *rules, size_t n_rules, char **ret, size_t *ret_n);
