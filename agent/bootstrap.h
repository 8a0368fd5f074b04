/* SPDX-License-Identifier: MIT */
/*
 * The few things in Envoy's bootstrap that baton must know: which listeners it names itself, whether others come from outside,
 * where its admin interface is. Read with libyaml (JSON is YAML); everything else is Envoy's business.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "hotrestart/hotrestart.h"

enum { BOOTSTRAP_BYTES_MAX = 64 * 1024 * 1024 };

/* What decides how Envoy binds an address. */
struct bootstrap_listener {
        bool reuse_port; /* one socket for each worker; a pipe always has one */
        bool binds;      /* false: bind_to_port is off, no socket is opened */
        bool freebind;   /* the address need not be one of this host; as good as that: transparent */
        bool v4_too;     /* [::] takes IPv4 as well */
        bool elsewhere;  /* in another network namespace */
};

/* Where the admin interface shall listen, field by field as Envoy merges it; each "" if it is not given. */
struct bootstrap_admin {
        char host[HR_URL_BYTES], port[16]; /* a socket address... */
        char path[HR_URL_BYTES];           /* ...or a pipe: then the others are empty. With @ in front its name is abstract */
        unsigned mode;                     /* of the pipe; 0: not given */
        bool v4_too;                       /* [::] takes IPv4 as well */
        bool elsewhere;                    /* in another network namespace */
};

struct bootstrap {
        bool readable;   /* else nothing below is known: another format, or not well-formed */
        bool lds;        /* listeners come from outside */
        size_t n_urls;
        char (*urls)[HR_URL_BYTES]; /* the addresses of static listeners, as Envoy writes them */
        struct bootstrap_listener *listeners; /* the i-th has the i-th url */
        struct bootstrap_admin admin;
};

/**
 * bootstrap_read() - never fails: what cannot be read is not readable
 * @text, @n:  the file, may be NULL
 * @yaml:      the text of --config-yaml, may be NULL
 * @path:      of the file, for its extension: .pb and .pb_text are not YAML
 */
void bootstrap_read(const char *text, size_t n, const char *yaml, const char *path, struct bootstrap *ret);
void bootstrap_done(struct bootstrap *b);

/** bootstrap_listeners_from_outside() - also true if nothing is known */
bool bootstrap_listeners_from_outside(const struct bootstrap *b);

/**
 * bootstrap_merge_admin() - the text for --config-yaml: the user's, with our admin address in place of any other
 * @yaml:  the user's text, or NULL
 * @path:  of the Unix socket
 *
 * Return: 0: the caller frees @ret_yaml; -EINVAL: the user's text is not a YAML mapping; -ENOMEM.
 */
int bootstrap_merge_admin(const char *yaml, const char *path, char **ret_yaml);
