/* SPDX-License-Identifier: MIT */
/* What lies at some paths, as one SHA-256 (OpenSSL). */
#pragma once

#include <stddef.h>

#include "agent/digest.h"

/**
 * content_digest() - of files and of directories with all below, through symbolic links
 * @paths:  n of them; their order counts, their names do not, but those of what lies below a directory do
 * @more:   what else counts, n_more of them
 *
 * What cannot be read, or is not there, counts as such: it has a digest, too. Reads every byte, so it blocks for as long as that
 * takes; of more than 64 MiB only that many. Return: all zeros if memory is out.
 */
struct digest content_digest(const char *const *paths, size_t n, const struct digest *more, size_t n_more);
