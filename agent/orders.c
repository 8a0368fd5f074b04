/* SPDX-License-Identifier: MIT */
/* What clients want done: orders become events; a ticket tells what came of one. */
#include <errno.h>
#include <stdio.h>

#include "agent/agent.h"
#include "agent/commands.h"

/* ---- baton itself ----------------------------------------------------------------------------------- */

static int replace_self(struct agent *a, const struct control_order *o, char *detail, size_t n)
{
        if (o->n_proxy > 0) {
                (void)snprintf(detail, n, "--self replaces baton, not the proxy: give a command, or --self");
                return CONTROL_REFUSED;
        }
        return self_upgrade(a, NULL, o->ticket, detail, n) < 0 ? CONTROL_REFUSED : 0;
}

/* ---- the proxy -------------------------------------------------------------------------------------- */

void orders_upgrade(struct agent *a)
{
        agent_feed(a, &(struct succession_input){ .event = ON_UPGRADE, .command = COMMAND_RUNNING, .observe_ms = -1 });
}

/* An order for whose ticket there was no room, since as many clients wait, was not taken. */
static int taken(const struct agent *a, const struct control_order *o, char *detail, size_t n)
{
        if (upgrade_ticket(&a->s.upgrade, o->ticket, &(struct outcome){ 0 }) != TICKET_UNKNOWN)
                return 0;
        (void)snprintf(detail, n, "too many orders wait already");
        return CONTROL_REFUSED;
}

static int upgrade(struct agent *a, const struct control_order *o, char *detail, size_t n)
{
        uint64_t command = COMMAND_RUNNING;
        bool refused;

        if (o->self)
                return replace_self(a, o, detail, n);
        if (upgrade_ticket(&a->s.upgrade, o->ticket, &(struct outcome){ 0 }) != TICKET_UNKNOWN)
                return 0;
        refused = o->n_proxy > 0 && commands_add(a, o, &command, detail, n) != 0;
        agent_feed(a, &(struct succession_input){ .event = ON_UPGRADE, .ticket = o->ticket, .command = command,
                                                  .observe_ms = o->observe_ms, .text = refused ? detail : NULL });
        return refused ? CONTROL_REFUSED : taken(a, o, detail, n);
}

static int rollback(struct agent *a, const struct control_order *o, char *detail, size_t n)
{
        agent_feed(a, &(struct succession_input){ .event = ON_ROLLBACK, .ticket = o->ticket, .observe_ms = o->observe_ms,
                                                  .epoch = o->has_target ? o->target : NO_EPOCH });
        return taken(a, o, detail, n);
}

int orders_command(void *userdata, enum control_command c, const struct control_order *o, char *detail, size_t n)
{
        struct agent *a = userdata;

        switch (c) {
        case CONTROL_STOP:
                (void)keeper_link_stop(a->link); /* it counts, and tells us as of any other stop */
                return 0;
        case CONTROL_DRAIN:
        case CONTROL_DRAIN_UNDO:
                agent_feed(a, &(struct succession_input){ .event = ON_UNREADY, .value = c == CONTROL_DRAIN });
                return 0;
        case CONTROL_PAUSE:
        case CONTROL_RESUME:
                agent_feed(a, &(struct succession_input){ .event = ON_PAUSE, .value = c == CONTROL_PAUSE });
                return 0;
        case CONTROL_UPGRADE:
                return upgrade(a, o, detail, n);
        case CONTROL_ROLLBACK:
                return rollback(a, o, detail, n);
        }
        return -EINVAL;
}

/* ---- what came of it -------------------------------------------------------------------------------- */

static void epoch_or_null(struct json_writer *w, const char *key, uint64_t epoch)
{
        json_key(w, key);
        if (epoch == NO_EPOCH)
                json_null(w);
        else
                json_uint_value(w, epoch);
}

static void write_ticket(struct json_writer *w, uint64_t id, bool done, const char *kind, const struct outcome *o)
{
        json_begin_object(w);
        json_key(w, "ticket"), json_uint_value(w, id);
        json_key(w, "state"), json_string_value(w, done ? "done" : "waiting");
        json_key(w, "kind"), json_string_value(w, kind);
        json_key(w, "result"), json_string_value(w, !done ? "" : o->run ? run_result_name(o->result) : "unknown");
        epoch_or_null(w, "from", o->from);
        epoch_or_null(w, "to", o->to);
        json_key(w, "reason"), json_string_value(w, o->reason);
        json_key(w, "gap_ms");
        if (o->gap_ns < 0)
                json_null(w);
        else
                json_double_value(w, (double)o->gap_ns / 1e6);
        json_end_object(w);
}

/* Of baton's own replacement the keeper keeps the ticket: it outlives an agent's state of another version. */
static enum control_ticket own_ticket(struct agent *a, uint64_t id, struct json_writer *w)
{
        struct outcome o = { .run = 1, .from = NO_EPOCH, .to = NO_EPOCH, .gap_ns = -1, .result = RESULT_COMMITTED };
        const char *refusal = "";
        enum control_ticket state = self_ticket(a, id, &refusal);

        if (*refusal)
                o.result = RESULT_REFUSED;
        (void)snprintf(o.reason, sizeof(o.reason), "%s", refusal);
        if (w && state != CONTROL_TICKET_UNKNOWN)
                write_ticket(w, id, state == CONTROL_TICKET_DONE, "self", &o);
        return state;
}

enum control_ticket orders_ticket(void *userdata, uint64_t id, struct json_writer *w)
{
        struct agent *a = userdata;
        struct outcome o = { .from = NO_EPOCH, .to = NO_EPOCH, .gap_ns = -1 };
        enum ticket_state state = succession_ticket(&a->s, id, &o);
        bool done = state == TICKET_DONE;

        if (state == TICKET_UNKNOWN)
                return own_ticket(a, id, w);
        if (w)
                write_ticket(w, id, done, done ? run_kind_name(o.kind) : "", &o);
        return done ? CONTROL_TICKET_DONE : CONTROL_TICKET_WAITS;
}
