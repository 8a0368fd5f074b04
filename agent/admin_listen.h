/* SPDX-License-Identifier: MIT */
/*
 * Where the front of the proxy's admin listens: opened, moved and closed as admin_plan.h says, held by the keeper under admin/...
 * It follows the content that serves; the address of one on trial is none of its business.
 */
#pragma once

#include "agent/agent.h"
#include "agent/inventory.h"

/**
 * admin_listen_first() - the address that --admin names, if it names one and nobody holds it yet
 * Return: 0; -errno with @reterr for people
 */
int admin_listen_first(struct agent *a, struct inventory *inv, char *reterr, size_t size);

/** admin_listen_start() - serve what the keeper holds, and from now on what the content says. After a->control is there */
void admin_listen_start(struct agent *a);

/** admin_listen_clean() - nobody runs any more: remove the file of a Unix socket */
void admin_listen_clean(const struct agent *a);
