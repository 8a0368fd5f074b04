/* SPDX-License-Identifier: MIT */
/*
 * Is a launch record safe to use? libc only: the child between fork and exec asks it before it believes one
 * byte. Whether the words in a record make sense is the business of the agent, which wrote it.
 */
#pragma once

#include <stddef.h>

enum {
        LAUNCH_BYTES_MAX = 8 << 20, /* execve() itself refuses more than 6 MB of words */
};

/**
 * launch_check() - check a launch record of any origin
 * @bytes:  the record; needs no alignment; only read during the call
 * @n:      how many bytes there are
 *
 * After a 0 every offset of the record points to a NUL-terminated string within it, the counts of words and
 * variables are true, and every name fits into WIRE_NAME_BYTES. Pure: neither blocks nor allocates.
 *
 * Return: 0; -EINVAL for a record that must not be used.
 */
int launch_check(const void *bytes, size_t n);
