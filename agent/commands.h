/* SPDX-License-Identifier: MIT */
/*
 * The proxy's command lines: that of `baton run` is number 0, an upgrade may bring others. Each is held by the keeper under
 * command/N for the agents to come, as long as an epoch runs it or a request waits for it.
 */
#pragma once

#include "agent/agent.h"
#include "agent/inventory.h"
#include "agent/order.h"

/**
 * commands_add() - the command of an order
 * @reterr: what is wrong with it, for people
 *
 * The same words from the same folder are the same command. Return: 0; PROXY_ARGS_E_REFUSED: with @reterr; -errno, with @reterr
 */
int commands_add(struct agent *a, const struct control_order *o, uint64_t *ret_number, char *reterr, size_t size);

/** commands_take() - what the keeper holds for a new agent */
void commands_take(struct agent *a, struct inventory *inv);

/** commands_sweep() - forget those that nothing needs any more */
void commands_sweep(struct agent *a);

/** commands_args() - never NULL: a number that is lost is taken for 0 */
const struct proxy_args *commands_args(const struct agent *a, uint64_t number);
