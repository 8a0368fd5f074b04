/* SPDX-License-Identifier: MIT */
/* PURE. Where the front of the proxy's admin shall listen, and what follows from that for where it does. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/bootstrap.h"

enum { ADMIN_ADDRESS_BYTES = 256, ADMIN_NAME_BYTES = ADMIN_ADDRESS_BYTES + 32 };

/* One place to listen at. */
struct admin_address {
        char text[ADMIN_ADDRESS_BYTES]; /* as --status takes it */
        unsigned mode;                  /* of a Unix socket; 0: as the umask says */
        bool v6only;                    /* [::] leaves IPv4 alone */
};

enum admin_step {
        ADMIN_STAY,    /* as it is, be it open or not */
        ADMIN_OPEN,    /* at the address, and then close what is open */
        ADMIN_CLOSE,   /* what is open */
        ADMIN_UNKNOWN, /* stays, because nobody can tell where it should be: @why */
};

struct admin_plan {
        enum admin_step step;
        struct admin_address address; /* of ADMIN_OPEN */
        const char *why;              /* of ADMIN_UNKNOWN; a literal */
};

/**
 * admin_plan() - what to do with the front
 * @option:  --admin: "bootstrap", "off" or an address
 * @b:       what the content that counts says; read only for "bootstrap"
 * @open:    the admin_name() of where it listens now, or ""
 */
void admin_plan(const char *option, const struct bootstrap *b, const char *open, struct admin_plan *ret);

/** admin_fixed() - is --admin an address? */
bool admin_fixed(const char *option);

/** admin_name() - under which the keeper holds the listener; the same if and only if nothing need be done. Return: @buf */
const char *admin_name(const struct admin_address *a, char buf[static ADMIN_NAME_BYTES]);
