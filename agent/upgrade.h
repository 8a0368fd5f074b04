/* SPDX-License-Identifier: MIT */
/*
 * PURE. Upgrades and rollbacks as transactions: who asked for what, which one is under way, what waits, and what came of each.
 * Requests for the same thing that come while another is under way become one; everybody who asked is told the truth about his
 * own. The life of the candidate is succession_upgrade.c's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/mono.h"

enum { RUNS_MAX = 8, TICKETS_MAX = 64, OUTCOMES_MAX = 32, REASON_BYTES = 512 };

enum run_kind { RUN_UPGRADE, RUN_ROLLBACK, RUN_KINDS };
enum run_result { RESULT_PENDING, RESULT_COMMITTED, RESULT_REFUSED /* before its launch */, RESULT_ROLLED_BACK /* after it */, RESULTS };

#define COMMAND_RUNNING UINT64_MAX /* whatever runs when the transaction begins */

/* One transaction. */
struct run {
        uint64_t id;       /* from 1 on; 0: none */
        uint64_t copy_of;  /* an epoch, or CONTENT_DISK */
        uint64_t command;  /* which command line */
        int64_t observe_ms;
        uint32_t kind;     /* enum run_kind */
        uint32_t reserved;
};

/* What came of one. */
struct outcome {
        uint64_t run;
        uint64_t from, to; /* epochs, or NO_EPOCH */
        int64_t gap_ns;    /* -1: nothing changed */
        uint32_t kind, result;
        char reason[REASON_BYTES];
};

/* Somebody who asked; 0: nobody. */
struct ticket {
        uint64_t id, run;
};

enum upgrade_state {
        UPGRADE_IDLE,
        UPGRADE_PREPARING, /* its snapshot, names and record are made */
        UPGRADE_CHECKING,  /* preflight */
        UPGRADE_STARTING,  /* launched; does it accept? */
        UPGRADE_WARMING,   /* it does; under observation */
        UPGRADE_WAITING,   /* one after another: its predecessor ends, then it is launched */
        UPGRADE_STATES,
};

struct upgrade {
        uint32_t state;        /* enum upgrade_state */
        uint32_t n_next;
        uint64_t candidate;    /* an epoch, or NO_EPOCH */
        uint64_t runs;         /* so many were asked for: the last id */
        uint64_t commands;     /* so many command lines came along: the last number */
        struct mono deadline;  /* of the candidate's start */
        struct mono observed;  /* end of the observation */
        struct run now;
        struct run next[RUNS_MAX];
        uint32_t n_outcomes, n_tickets; /* ever; the tables are rings */
        struct outcome outcomes[OUTCOMES_MAX];
        struct ticket tickets[TICKETS_MAX];
        uint64_t counts[RUN_KINDS][RESULTS];
};

void upgrade_init(struct upgrade *u);

/**
 * upgrade_ask() - somebody asks for a transaction
 * @ticket:  by which he will ask what came of it; 0: he will not
 * @what:    its id is not looked at
 *
 * Return: 0; UPGRADE_KNOWN: this ticket is there already: nothing was done; UPGRADE_FULL: too much waits.
 */
enum { UPGRADE_KNOWN = 1, UPGRADE_FULL = 2 };
int upgrade_ask(struct upgrade *u, uint64_t ticket, const struct run *what);

/** upgrade_join() - somebody asks for what is under way. Return: as upgrade_ask() */
int upgrade_join(struct upgrade *u, uint64_t ticket);

/** upgrade_settle() - what was asked for is decided at once. Return: as upgrade_ask() */
int upgrade_settle(struct upgrade *u, uint64_t ticket, const struct run *what, const struct outcome *how);

/** upgrade_begin() - the next one is under way. Return: false: one is, or none waits */
bool upgrade_begin(struct upgrade *u);

/** upgrade_decide() - the one that is under way is over. @how: run and kind are filled in here */
void upgrade_decide(struct upgrade *u, const struct outcome *how);

/** upgrade_refuse_waiting() - none of those that wait will be tried */
void upgrade_refuse_waiting(struct upgrade *u, const char *reason);

enum ticket_state { TICKET_UNKNOWN, TICKET_WAITS, TICKET_DONE };

/** upgrade_ticket() - @ret is written for TICKET_DONE; its run is 0 if that is too long ago to be known */
enum ticket_state upgrade_ticket(const struct upgrade *u, uint64_t ticket, struct outcome *ret);

/** upgrade_uses() - does anything that is under way or waits need this command line? */
bool upgrade_uses(const struct upgrade *u, uint64_t command);

const char *run_kind_name(uint32_t kind);
const char *run_result_name(uint32_t result);
