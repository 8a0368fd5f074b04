/* SPDX-License-Identifier: MIT */
/* PURE. A certificate directory as the user names it: DIR, or DIR:cert=FILE,key=FILE[,ca=FILE]. */
#pragma once

#include "agent/options.h"
#include "certs/certs.h"

struct certs_option {
        char dir[4096];
        bool named;               /* the files are; else they are found by their names */
        struct certs_names names;
};

/** certs_option_policy() - what --certs-verify and the least lengths of keys come to */
struct certs_policy certs_option_policy(const struct options *o);

/** certs_option_parse() - Return: 0; 1: it is none, and @reterr says why */
int certs_option_parse(const char *text, struct certs_option *ret, struct certs_error *reterr);
