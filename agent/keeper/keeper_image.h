/* SPDX-License-Identifier: MIT */
/*
 * PURE. All that a keeper knows as bytes and back: how it hands itself on to the next version of its program, which is
 * executed in its place. Descriptors are in it by number.
 *
 * The header never changes. In the other structs fields are only added at the end, and then the version grows by one. A
 * reader takes any older image, where what it misses is 0; it refuses a newer one, for what it does not know it would lose.
 */
#pragma once

#include <stddef.h>

#include "agent/keeper/keeper.h"

#ifndef KEEPER_IMAGE_VERSION
#define KEEPER_IMAGE_VERSION 1
#endif

enum { KEEPER_IMAGE_E_NEWER = 1 };

/** keeper_image_bytes() - how many bytes keeper_image_write() will write */
size_t keeper_image_bytes(const struct keeper *k);

/** keeper_image_write() - @to: room for keeper_image_bytes(); needs the alignment of a page */
void keeper_image_write(const struct keeper *k, void *to);

/**
 * keeper_image_read() - check an image of any origin, and take it
 * @bytes:  aligned like a page; only read during the call
 * @k:      all zero; whatever the answer, it is written to
 *
 * Neither opens nor closes nor looks at a descriptor. What is read is what keeper_image_write() makes of it again.
 *
 * Return: 0; KEEPER_IMAGE_E_NEWER; -EINVAL.
 */
int keeper_image_read(const void *bytes, size_t n, struct keeper *k);
