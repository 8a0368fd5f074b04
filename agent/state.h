/* SPDX-License-Identifier: MIT */
/*
 * The agent's memory over its own death: a file of two slots. A store writes the slot that is not in use, whole and with a
 * checksum, and its number last; a death at any byte leaves the older one.
 */
#pragma once

#include <stddef.h>

struct state_file;

enum { STATE_E_EMPTY = 1, STATE_E_VERSION = 2, STATE_E_CORRUPT = 3 };

/** state_open() - @fd stays the caller's and may be closed; @max_bytes of one image. Return: 0; -errno */
int state_open(int fd, size_t max_bytes, struct state_file **ret);
struct state_file *state_free(struct state_file *s);

/** state_store() - Return: 0; -EFBIG; -ENOSPC: the disk is full and the older image stays */
int state_store(struct state_file *s, const void *bytes, size_t n);

/** state_load() - the newest whole image. Return: 0; STATE_E_EMPTY; STATE_E_VERSION; STATE_E_CORRUPT; -EMSGSIZE */
int state_load(struct state_file *s, void *buf, size_t size, size_t *ret_n);
