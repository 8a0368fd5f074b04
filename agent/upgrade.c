/* SPDX-License-Identifier: MIT */
/* PURE. See upgrade.h. */
#include "agent/upgrade.h"

#include <stdio.h>
#include <string.h>

#include "agent/escrow.h"

void upgrade_init(struct upgrade *u)
{
        memset(u, 0, sizeof(*u));
        u->candidate = NO_EPOCH;
        u->deadline = MONO_NEVER;
        u->observed = MONO_NEVER;
}

static bool waits(const struct upgrade *u, uint64_t run)
{
        if (run == 0)
                return false;
        if (u->now.id == run)
                return true;
        for (uint32_t i = 0; i < u->n_next; i++)
                if (u->next[i].id == run)
                        return true;
        return false;
}

static const struct ticket *find(const struct upgrade *u, uint64_t ticket)
{
        for (uint32_t i = 0; ticket && i < TICKETS_MAX; i++)
                if (u->tickets[i].id == ticket)
                        return &u->tickets[i];
        return NULL;
}

/* The oldest ticket makes room, but not one whose owner still waits. */
static bool give_ticket(struct upgrade *u, uint64_t ticket, uint64_t run)
{
        struct ticket *t = &u->tickets[u->n_tickets % TICKETS_MAX];

        if (ticket == 0)
                return true;
        if (waits(u, t->run))
                return false;
        *t = (struct ticket){ ticket, run };
        u->n_tickets++;
        return true;
}

static struct run *join(struct upgrade *u, const struct run *what)
{
        for (uint32_t i = 0; i < u->n_next; i++)
                if (u->next[i].kind == what->kind && u->next[i].copy_of == what->copy_of && u->next[i].command == what->command)
                        return &u->next[i];
        return NULL;
}

int upgrade_ask(struct upgrade *u, uint64_t ticket, const struct run *what)
{
        struct run *r = join(u, what);

        if (find(u, ticket))
                return UPGRADE_KNOWN;
        if (!r && u->n_next == RUNS_MAX)
                return UPGRADE_FULL;
        if (!give_ticket(u, ticket, r ? r->id : u->runs + 1))
                return UPGRADE_FULL;
        if (r) { /* the longest observation that anybody wants */
                r->observe_ms = what->observe_ms > r->observe_ms ? what->observe_ms : r->observe_ms;
                return 0;
        }
        u->next[u->n_next] = *what;
        u->next[u->n_next++].id = ++u->runs;
        return 0;
}

int upgrade_join(struct upgrade *u, uint64_t ticket)
{
        if (find(u, ticket))
                return UPGRADE_KNOWN;
        return give_ticket(u, ticket, u->now.id) ? 0 : UPGRADE_FULL;
}

static void note(struct upgrade *u, const struct run *what, const struct outcome *how)
{
        struct outcome *o = &u->outcomes[u->n_outcomes++ % OUTCOMES_MAX];

        *o = *how;
        o->run = what->id;
        o->kind = what->kind;
        if (what->kind < RUN_KINDS && how->result < RESULTS)
                u->counts[what->kind][how->result]++;
}

int upgrade_settle(struct upgrade *u, uint64_t ticket, const struct run *what, const struct outcome *how)
{
        struct run r = *what;

        if (find(u, ticket))
                return UPGRADE_KNOWN;
        r.id = u->runs + 1;
        if (!give_ticket(u, ticket, r.id))
                return UPGRADE_FULL;
        u->runs++;
        note(u, &r, how);
        return 0;
}

bool upgrade_begin(struct upgrade *u)
{
        if (u->now.id || u->n_next == 0)
                return false;
        u->now = u->next[0];
        memmove(&u->next[0], &u->next[1], (u->n_next - 1) * sizeof(u->next[0]));
        u->n_next--;
        return true;
}

void upgrade_decide(struct upgrade *u, const struct outcome *how)
{
        note(u, &u->now, how);
        u->now = (struct run){ 0 };
        u->state = UPGRADE_IDLE;
        u->candidate = NO_EPOCH;
        u->deadline = MONO_NEVER;
        u->observed = MONO_NEVER;
}

void upgrade_refuse_waiting(struct upgrade *u, const char *reason)
{
        struct outcome how = { .from = NO_EPOCH, .to = NO_EPOCH, .gap_ns = -1, .result = RESULT_REFUSED };

        (void)snprintf(how.reason, sizeof(how.reason), "%s", reason);
        for (uint32_t i = 0; i < u->n_next; i++)
                note(u, &u->next[i], &how);
        u->n_next = 0;
}

enum ticket_state upgrade_ticket(const struct upgrade *u, uint64_t ticket, struct outcome *ret)
{
        const struct ticket *t = find(u, ticket);

        if (!t)
                return TICKET_UNKNOWN;
        if (waits(u, t->run))
                return TICKET_WAITS;
        *ret = (struct outcome){ .from = NO_EPOCH, .to = NO_EPOCH, .gap_ns = -1 };
        for (uint32_t i = 0; i < OUTCOMES_MAX; i++)
                if (u->outcomes[i].run == t->run)
                        *ret = u->outcomes[i];
        return TICKET_DONE;
}

bool upgrade_uses(const struct upgrade *u, uint64_t command)
{
        if (u->now.id && u->now.command == command)
                return true;
        for (uint32_t i = 0; i < u->n_next; i++)
                if (u->next[i].command == command)
                        return true;
        return false;
}

const char *run_kind_name(uint32_t kind)
{
        static const char *const names[RUN_KINDS] = { "upgrade", "rollback" };

        return kind < RUN_KINDS ? names[kind] : "unknown";
}

const char *run_result_name(uint32_t result)
{
        static const char *const names[RESULTS] = { "pending", "committed", "refused", "rolled_back" };

        return result < RESULTS ? names[result] : "unknown";
}
