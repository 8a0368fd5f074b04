/* SPDX-License-Identifier: MIT */
/*
 * The sockets that every generation inherits (--handover listen-fds): those of the keeper's own LISTEN_FDS, then those of
 * --listen. The keeper holds them all; here they are opened, named, and listed for launch records.
 */
#pragma once

#include "agent/inventory.h"

/** listen_fds_refusal() - why the options and LISTEN_FDS do not go together: a line for the user, or NULL */
const char *listen_fds_refusal(const struct agent *a);

/**
 * listen_fds_prepare() - once in the life of an agent, before anything is launched
 * @inv:   what the keeper holds; what is opened now is added to it
 * @open:  open what --listen names and nobody holds
 *
 * Return: 0; -errno, and @reterr is a line for the user.
 */
int listen_fds_prepare(struct agent *a, struct inventory *inv, bool open, char *reterr, size_t size);

/** listen_fds_key() - what a socket of LISTEN_FDS is called here; of one that is none of ours "fd://N" */
void listen_fds_key(int fd, uint32_t number, struct hr_key *ret);

/** listen_fds_clean() - the paths of Unix sockets that were opened here */
void listen_fds_clean(const struct agent *a);
