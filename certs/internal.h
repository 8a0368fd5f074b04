/* SPDX-License-Identifier: MIT */
#pragma once

#include "certs/certs.h"

/* Return: @r */
int certs_complain(struct certs_error *e, int r, const char *format, ...) __attribute__((format(printf, 3, 4)));
