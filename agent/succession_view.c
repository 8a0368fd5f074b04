/* SPDX-License-Identifier: MIT */
/* PURE. What the state says to those who ask: who serves, is it ready, when does it want the time. See succession.h. */
#include "agent/succession_step.h"

const struct epoch *succession_look_up(const struct succession *s, uint64_t number)
{
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (s->epochs[i].state != EPOCH_NONE && s->epochs[i].number == number)
                        return &s->epochs[i];
        return NULL;
}

struct epoch *succession_find(struct succession *s, uint64_t number)
{
        const struct epoch *e = succession_look_up(s, number);

        return e ? &s->epochs[e - s->epochs] : NULL;
}

const struct epoch *succession_serving(const struct succession *s)
{
        const struct epoch *e = succession_look_up(s, s->wanted);

        return e && e->state == EPOCH_SERVING ? e : NULL;
}

static bool still_accepts(const struct succession *s, uint64_t number)
{
        const struct epoch *e = succession_look_up(s, number);

        return e && e->state == EPOCH_DRAINING && (!e->ordered || !e->heard);
}

enum ticket_state succession_ticket(const struct succession *s, uint64_t ticket, struct outcome *ret)
{
        struct outcome o;
        enum ticket_state state = upgrade_ticket(&s->upgrade, ticket, &o);

        if (state != TICKET_DONE)
                return state;
        if (o.result == RESULT_COMMITTED && still_accepts(s, o.from))
                return TICKET_WAITS;
        *ret = o;
        return TICKET_DONE;
}

/* Only one that drains forwards any; what comes otherwise is a stranger's. */
uint64_t succession_packets_to(const struct succession *s, uint64_t from)
{
        const struct epoch *e = succession_look_up(s, from);

        return e && (e->state == EPOCH_DRAINING || e->state == EPOCH_STOPPING) && from != s->wanted ? s->wanted : NO_EPOCH;
}

const struct epoch *succession_content(const struct succession *s)
{
        return succession_look_up(s, s->served != NO_EPOCH ? s->served : s->wanted);
}

const struct epoch *succession_admin(const struct succession *s)
{
        const struct epoch *e = succession_look_up(s, s->wanted);

        return e && epoch_alive(e) && epoch_has_served(e) ? e : NULL;
}

uint64_t succession_command(const struct succession *s)
{
        const struct epoch *e = succession_content(s);

        return e ? e->command : 0;
}

bool succession_needs_command(const struct succession *s, uint64_t command)
{
        if (upgrade_uses(&s->upgrade, command))
                return true;
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (s->epochs[i].state != EPOCH_NONE && s->epochs[i].command == command)
                        return true;
        return false;
}

bool succession_any_alive(const struct succession *s)
{
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&s->epochs[i]))
                        return true;
        return false;
}

bool succession_ready(const struct succession *s, const char **ret_reason)
{
        const char *reason = "";

        if (s->stops)
                reason = "stopping";
        else if (s->end != END_NOT)
                reason = "failed";
        else if (!succession_serving(s))
                reason = s->served == NO_EPOCH ? "starting" : "recovering";
        else if (s->unready)
                reason = "drain asked for";
        if (ret_reason)
                *ret_reason = reason;
        return *reason == '\0';
}

const char *succession_state_name(const struct succession *s)
{
        if (s->stops || (s->end != END_NOT && s->end_status == 0))
                return "stopping";
        if (s->end != END_NOT || s->waits_for_content)
                return "failed";
        if (succession_serving(s))
                return s->upgrade.now.id ? "upgrading" : "serving";
        return s->served == NO_EPOCH ? "starting" : "recovering";
}

struct mono succession_next(const struct succession *s)
{
        struct mono t = mono_min(mono_min(s->kit_retry_at, s->hold_until), mono_min(s->auto_at, upgrade_next(s)));

        if (!s->validating)
                t = mono_min(t, s->relaunch_at);
        if (s->stops && !s->stop_drains)
                t = mono_min(t, s->stop_drain_at);
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&s->epochs[i]))
                        t = mono_min(t, epoch_next(&s->epochs[i]));
        return t;
}
