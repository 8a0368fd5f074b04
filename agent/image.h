/* SPDX-License-Identifier: MIT */
/*
 * PURE. The succession as bytes and back: what the state file holds. Only used slots are written, keys as packed text,
 * so that storing it costs by what there is, not by what there could be.
 */
#pragma once

#include "agent/succession.h"

enum { IMAGE_BYTES_MAX = 3 * 1024 * 1024 };
enum { IMAGE_E_VERSION = 1, IMAGE_E_CORRUPT = 2 };

/** image_write() - Return: bytes used of @buf (IMAGE_BYTES_MAX is always enough), 0 if it does not fit */
size_t image_write(const struct succession *s, uint8_t *buf, size_t size);

/**
 * image_read() - into *ret, which is overwritten whatever the answer
 * What is read is what image_write() makes of it again, byte for byte.
 * Return: 0; IMAGE_E_VERSION: written by another version; IMAGE_E_CORRUPT: lengths or states that cannot be.
 * After an answer the caller rebuilds from the keeper's table.
 */
int image_read(const uint8_t *buf, size_t n, struct succession *ret);
