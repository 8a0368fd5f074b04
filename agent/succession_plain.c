/* SPDX-License-Identifier: MIT */
/*
 * PURE. Proxies that do not speak the protocol: when one is ready nobody looks at its sockets, and an old one is told to end by
 * SIGTERM alone. Where they share their sockets (--handover listen-fds) a candidate is launched beside the one that serves, as
 * in succession_upgrade.c; where they cannot (none), one after another, and what fails gives way to what served before it.
 * See succession.h.
 */
#include "agent/succession_step.h"

static bool ends(const struct succession *s)
{
        return s->stops || s->end != END_NOT;
}

/* ---- ready ------------------------------------------------------------------------------------------ */

/* Nothing is learned about one under observation but that it lives; while nothing else serves that is not worth a wait. */
static void candidate_ready(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        int64_t observe_ms = succession_serving(s) ? s->upgrade.now.observe_ms : 0;

        s->upgrade.state = UPGRADE_WARMING;
        s->upgrade.observed = s->upgrade.deadline = mono_after_ms(t->now, observe_ms);
        if (observe_ms > 0)
                effects_report(t->out, e->number, REPORT_UPGRADE_WARMING, observe_ms);
        else
                step_upgrade_commit(t, e);
}

void step_arrived(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;

        if (t->l->epoch.protocol)
                return;
        if (e->number == s->upgrade.candidate && e->state == EPOCH_WARMING && s->upgrade.state == UPGRADE_STARTING)
                candidate_ready(t, e);
        else if (e->state == EPOCH_SERVING && s->served != e->number)
                step_accepted(t, e);
}

bool step_observed(struct step *t)
{
        struct epoch *e = succession_find(t->s, t->s->upgrade.candidate);

        if (t->l->epoch.protocol || !e || e->state != EPOCH_WARMING)
                return false;
        step_upgrade_commit(t, e);
        return true;
}

/* ---- before a launch -------------------------------------------------------------------------------- */

/* It does not listen() on what it inherits. And whether it will say READY=1 those of before it have shown. */
void step_plain_launch(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;

        if (t->l->epoch.protocol)
                return;
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (s->epochs[i].state != EPOCH_NONE && s->epochs[i].speaks && epoch_same_content(&s->epochs[i], e))
                        e->speaks = true;
        if (!escrow_revive_all(&s->escrow, t->out))
                return;
        (void)step_hold(t);
        effects_report(t->out, e->number, REPORT_REVIVED, 0);
}

/* ---- one after another ------------------------------------------------------------------------------ */

bool step_waits_for_predecessor(struct step *t)
{
        struct succession *s = t->s;

        if (!t->l->one_by_one)
                return false;
        step_act(t, DO_WATCH_CONTENT, s->wanted, WATCH_OFF); /* what changes from now on is for the next wait */
        s->relaunch_at = MONO_NEVER;
        s->launch_when_ready = false;
        s->waits_for_content = false;
        if (!succession_any_alive(s))
                return false;
        s->upgrade.state = UPGRADE_WAITING;
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&s->epochs[i]))
                        step_feed(t, &s->epochs[i], step_drain_order(t));
        return true;
}

/* The candidate came to nothing, and for its sake the one that served was told to end, or a relaunch was called off. */
void step_come_back(struct step *t)
{
        struct succession *s = t->s;
        const struct epoch *w = succession_find(s, s->wanted);
        bool waits = !mono_is_never(s->relaunch_at) || s->launch_when_ready || s->waits_for_content || s->exhausted;

        if (!t->l->one_by_one || ends(s) || waits || !w || (epoch_alive(w) && w->state != EPOCH_STOPPING))
                return;
        s->come_back = COME_BACK_OWED;
        step_one_by_one(t);
}

void step_one_by_one(struct step *t)
{
        struct succession *s = t->s;
        struct epoch *e = succession_find(s, s->upgrade.candidate);

        if (!t->l->one_by_one || ends(s) || succession_any_alive(s))
                return;
        if (e && s->upgrade.state == UPGRADE_WAITING) {
                step_upgrade_launch(t, e);
        } else if (s->come_back == COME_BACK_OWED && s->upgrade.state < UPGRADE_STARTING) {
                s->come_back = COME_BACK_LAUNCHED;
                step_launch(t);
        }
}
