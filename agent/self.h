/* SPDX-License-Identifier: MIT */
/*
 * `baton upgrade --self`, seen from the agent: it asks the keeper, and either nothing has changed, or the keeper is of the
 * next version and this agent has to make room for the next one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/control.h"
#include "agent/keeper/wire.h"

struct agent;

struct self {
        enum self_state { SELF_NOTHING, SELF_TRIED, SELF_REFUSED } state;
        uint64_t ticket;
        char reason[WIRE_SELF_TEXT_BYTES]; /* of a refusal */
};

/**
 * self_upgrade() - have the keeper and this agent replaced by the version that is installed now
 * @path:    of the next `baton`, absolute; NULL: where the running one was started from
 * @ticket:  by which its end can be asked for, see self_ticket(); one that is known is not begun again
 *
 * Returns at once; it is tried for up to 10 s and nothing else waits for that. How it ended is known to whatever agent runs
 * then: the keeper, which lives on, keeps the ticket.
 *
 * Return: 0; -errno with @reterr for people: refused.
 */
int self_upgrade(struct agent *a, const char *path, uint64_t ticket, char *reterr, size_t size);

/** self_ticket() - how far is it? @ret_refusal is written for CONTROL_TICKET_DONE: "", or why nothing has changed */
enum control_ticket self_ticket(const struct agent *a, uint64_t id, const char **ret_refusal);

/**
 * self_told() - the keeper has said how it ended
 * @refusal:  "": it did as was asked. Then this does not return: the agent ends at once, and whoever waits for the ticket
 *            is answered by the next one, which is of the new version
 */
void self_told(struct agent *a, uint64_t ticket, const char *refusal);

/** self_report() - an agent begins: say so if it is the first of a new version */
void self_report(const struct agent *a);

/** self_try() - the whole life of `baton-agent --try`: could this version go on from here? Return: its exit status */
int self_try(int argc, char **argv);
