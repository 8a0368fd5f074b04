/* SPDX-License-Identifier: MIT */
/* PURE. What the words of --listen and --probe mean. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hotrestart/hotrestart.h"

enum { LISTEN_NAME_BYTES = 256 /* systemd's limit, and the NUL */, PROBE_PATH_BYTES = 1024 };

struct listen_spec {
        char name[LISTEN_NAME_BYTES]; /* for LISTEN_FDNAMES */
        struct hr_key key;            /* worker is the caller's */
};

/**
 * listen_spec_read() - [NAME=]IP:PORT, :PORT, [::]:PORT or unix:PATH
 *
 * A name has no colon in it, and every address has one: so what stands before a '=' is a name only if no colon stands before it.
 * Without one the address is the name, with '-' for what would end it.
 *
 * Return: 0; -EINVAL
 */
int listen_spec_read(const char *text, struct listen_spec *ret);

enum probe_kind { PROBE_NONE, PROBE_TCP, PROBE_HTTP };

struct probe_spec {
        enum probe_kind kind;
        struct hr_key key;           /* of PROBE_HTTP: where to connect */
        char path[PROBE_PATH_BYTES]; /* and what to ask for */
};

/** probe_spec_read() - "", "tcp" or http://IP[:PORT][/PATH], where localhost is an IP, too. Return: 0; -EINVAL */
int probe_spec_read(const char *text, struct probe_spec *ret);
