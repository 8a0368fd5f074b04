/* SPDX-License-Identifier: MIT */
/*
 * The table of options: what each is called, what its value may be, in which field of the struct it lies. Private to the files of the
 * options; everybody else reads the struct (options.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind { K_STRING, K_LIST, K_FLAG, K_INT, K_DURATION, K_CHOICE };

struct choice {
        const char *name;
        int64_t value;
};

struct option_key {
        const char *name;
        const char *argument; /* as the help shows it; NULL: a flag */
        enum kind kind;
        size_t field;
        int64_t min, max, standard; /* durations in ms; -1 as standard: "none" or "off" */
        const struct choice *choices;
        bool later;           /* its part is not in this version */
        const char *help;
};

enum { N_KEYS = 41 }; /* rows of the table; another number does not compile */

extern const struct option_key *const option_keys; /* the rows, in the order of the help */

/** option_index() - the row of this name. Return: -1: there is none */
int option_index(const char *name);

/** option_number_text() - a number or a duration as the user would write it, in @buf. Return: @buf */
const char *option_number_text(const struct option_key *key, int64_t v, char *buf, size_t size);
