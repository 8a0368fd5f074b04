/* SPDX-License-Identifier: MIT */
/* PURE. What a listen socket is called in the keeper's table. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "hotrestart/hotrestart.h"

/** key_name() - Return: 0; -ENAMETOOLONG */
int key_name(const struct hr_key *k, char *ret, size_t size);

/** key_of_name() - Return: false if the name is not one of a listen socket */
bool key_of_name(const char *name, struct hr_key *ret);
