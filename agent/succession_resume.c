/* SPDX-License-Identifier: MIT */
/*
 * PURE. A new agent goes on where one died: it repeats what the stored state names and what may not have been performed. Each
 * effect bears it. See succession.h.
 */
#include "agent/succession_step.h"

#include <signal.h>

static void resume_reply(struct step *t, const struct epoch *e, const struct resume_fact *f)
{
        if (f && f->waits_for_reply && e->owed != OWED_NOTHING)
                effects_add(t->out, (struct effect){ .kind = DO_REPLY, .epoch = e->number, .value = e->owed,
                                                     .key = e->owed_key });
}

static void resume_starting(struct step *t, struct epoch *e, const struct resume_fact *f)
{
        if (!f || !f->job_known) {
                step_act(t, DO_LAUNCH, e->number, 0);
                return;
        }
        step_feed(t, e, (struct epoch_input){ .event = ON_LAUNCHED, .pid = f->pid });
        if (!t->l->epoch.protocol) {
                step_arrived(t, e);
                if (e->state == EPOCH_STARTING && t->l->epoch.probe)
                        step_act(t, DO_PROBE, e->number, 0);
                return;
        }
        resume_reply(t, e, f);
        e->retold = !f->waits_for_reply && e->owed == OWED_PASS;
        if (f->hangs) { /* which answer it waits for went with the state, and a wrong one ends it as well */
                effects_report(t->out, e->number, REPORT_HUNG, 0);
                step_act(t, DO_SIGNAL, e->number, SIGKILL);
                return;
        }
        if (!mono_is_never(e->up))
                epoch_look(e, t->now, t->out);
}

/* The candidate's kit may have been lost, or what was found out about it. */
static void resume_kit(struct step *t, struct epoch *e, const struct resume_fact *f)
{
        struct succession *s = t->s;
        bool known = t->l->epoch.protocol               ? e->base_id != 0
                     : e->number == s->upgrade.candidate ? s->upgrade.state != UPGRADE_PREPARING
                                                         : s->kit_ready != 0;
        bool whole = f && f->kit_held && known;

        if (e->number == s->upgrade.candidate) {
                s->upgrade.state = whole ? UPGRADE_CHECKING : UPGRADE_PREPARING;
                step_act(t, whole ? DO_PREFLIGHT : DO_MAKE_KIT, e->number, whole ? 0 : (int64_t)e->copy_of);
                return;
        }
        s->kit_ready = whole;
        if (!whole)
                step_act(t, DO_MAKE_KIT, e->number, (int64_t)e->copy_of);
}

static void resume_serving(struct step *t, struct epoch *e, const struct resume_fact *f)
{
        if (f && f->hangs) /* can only be a socket for a new listener: this answer means "there is none" */
                effects_add(t->out, (struct effect){ .kind = DO_REPLY, .epoch = e->number, .value = OWED_UNRECOGNIZED, .key = NO_KEY });
        resume_reply(t, e, f);
        if (t->s->unready && e->state == EPOCH_SERVING)
                step_act(t, DO_FAIL_HEALTHCHECK, e->number, 0);
        if (t->l->epoch.protocol)
                epoch_look(e, t->now, t->out);
        if (t->l->keeps && e->state == EPOCH_SERVING && e->number == t->s->served)
                step_act(t, DO_KEEP, e->number, 0);
}

static void resume_epoch(struct step *t, struct epoch *e, const struct resume_fact *f)
{
        switch ((enum epoch_state)e->state) {
        case EPOCH_KIT:
                resume_kit(t, e, f);
                return;
        case EPOCH_STARTING:
                resume_starting(t, e, f);
                return;
        case EPOCH_WARMING:
        case EPOCH_SERVING:
                resume_serving(t, e, f);
                return;
        case EPOCH_DRAINING:
                if (!e->ordered)
                        return;
                step_act(t, DO_FAIL_HEALTHCHECK, e->number, 0);
                step_act(t, DO_DRAIN_LISTENERS, e->number, 0);
                e->next_sample = t->now;
                return;
        case EPOCH_STOPPING:
                step_act(t, DO_SIGNAL, e->number, mono_before(t->now, e->kill_by) ? SIGTERM : SIGKILL);
                return;
        case EPOCH_GONE:
                e->shed = false; /* that may not have been performed */
                return;
        case EPOCH_NONE:
                return;
        }
}

void succession_resume(struct succession *s, const struct succession_limits *l, const struct resume_fact *facts, size_t n,
                       struct mono now, struct effects *out)
{
        static const struct succession_input nothing;
        struct step t = { s, l, &nothing, now, out };

        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                const struct resume_fact *f = NULL;

                for (size_t j = 0; j < n; j++)
                        if (facts[j].epoch == s->epochs[i].number)
                                f = &facts[j];
                if (s->epochs[i].state != EPOCH_NONE)
                        resume_epoch(&t, &s->epochs[i], f);
        }
        if (!s->stop_drains && s->end == END_NOT)
                escrow_repeat(&s->escrow, s->silenced_once, s->upgrade.runs > 0, out);
        if (s->leave == LEAVE_WAITS)
                (void)escrow_leave(&s->escrow, out);
        if (s->validating)
                step_act(&t, DO_VALIDATE, s->wanted, 0);
        if (s->waits_for_content || !mono_is_never(s->relaunch_at))
                step_watch_content(&t);
        if (s->stop_hushed && !s->stop_drains)
                escrow_hush_all(&s->escrow, out);
        if (s->stop_drains || s->end == END_SAID)
                escrow_close_all(&s->escrow, out);
        if (s->end == END_SAID)
                step_act(&t, DO_END, NO_EPOCH, s->end_status);
        else if (s->end == END_WANTED || (s->stops && !succession_any_alive(s)))
                step_end(&t, s->end_status);
        step_one_by_one(&t);
        step_forget_the_gone(&t);
        step_upgrade_begin(&t);
}

/* ---- without a state -------------------------------------------------------------------------------- */

static struct epoch *rebuild_epoch(struct succession *s, const struct succession_limits *l, const struct resume_fact *f)
{
        size_t i = 0;
        struct epoch *e;

        while (i < GENERATIONS_MAX && s->epochs[i].state != EPOCH_NONE)
                i++;
        if (i == GENERATIONS_MAX)
                return NULL; /* cannot be: no more were ever launched beside each other */
        e = &s->epochs[i];
        epoch_init(e, f->epoch, CONTENT_DISK);
        e->base_id = f->base_id;
        e->command = f->command;
        if (f->command > s->upgrade.commands)
                s->upgrade.commands = f->command;
        e->pid = f->pid;
        e->launched = f->launched;
        e->state = EPOCH_STARTING;
        if (!l->epoch.protocol || !f->initializing) {
                e->state = EPOCH_SERVING;
                e->up = e->accepted = e->launched;
        }
        return e;
}

/*
 * Nothing lives. The newest kit was made for what served last: its snapshot and its binary are what comes back, and not what
 * lies on disk by now.
 */
static uint64_t newest_kit(struct succession *s, const struct resume_fact *facts, size_t n)
{
        const struct resume_fact *newest = NULL;
        struct epoch *e;

        for (size_t i = 0; i < n; i++)
                if (facts[i].kit_held && (!newest || facts[i].epoch > newest->epoch))
                        newest = &facts[i];
        e = newest ? rebuild_epoch(s, &(struct succession_limits){ 0 }, newest) : NULL;
        if (!e)
                return NO_EPOCH;
        e->state = EPOCH_GONE;
        return e->number;
}

/* Who was told to end keeps its socket up to its last moment where it is inherited: there the younger one has proved itself. */
static uint64_t newest_stable(const struct succession_limits *l, const struct resume_fact *facts, size_t n, struct mono now)
{
        uint64_t newest = NO_EPOCH;

        for (size_t i = 0; i < n; i++)
                if (facts[i].alive && facts[i].listens && !mono_before(now, mono_after_ms(facts[i].launched, l->backoff.stable_ms)) &&
                    (newest == NO_EPOCH || facts[i].epoch > newest))
                        newest = facts[i].epoch;
        return newest;
}

/*
 * Several live: an upgrade was under way, or is over and the old ones drain. Of those that listen the lowest has proved itself;
 * one above it may not have. Who listens no more drains.
 */
static uint64_t choose_wanted(const struct succession_limits *l, const struct resume_fact *facts, size_t n, struct mono now)
{
        uint64_t listens = NO_EPOCH, up = NO_EPOCH, starting = NO_EPOCH;

        for (size_t i = 0; i < n; i++) {
                const struct resume_fact *f = &facts[i];

                if (!f->alive)
                        continue;
                if (f->initializing)
                        starting = starting == NO_EPOCH || f->epoch > starting ? f->epoch : starting;
                else if (f->listens)
                        listens = f->epoch < listens ? f->epoch : listens;
                else
                        up = up == NO_EPOCH || f->epoch > up ? f->epoch : up;
        }
        if (!l->epoch.protocol && newest_stable(l, facts, n, now) != NO_EPOCH)
                return newest_stable(l, facts, n, now);
        return listens != NO_EPOCH ? listens : starting != NO_EPOCH ? starting : up;
}

/* Launched a moment ago, on trial: it has neither said that it starts nor begun to listen. An order to drain would be lost on it. */
static bool is_new(const struct epoch *e, uint64_t wanted, const struct resume_fact *facts, size_t n, struct mono now)
{
        enum { MOMENT_MS = 3000 };

        if (wanted == NO_EPOCH || e->number < wanted || !mono_before(now, mono_after_ms(e->launched, MOMENT_MS)))
                return false;
        for (size_t i = 0; i < n; i++)
                if (facts[i].epoch == e->number && facts[i].alive)
                        return !facts[i].listens;
        return false;
}

/*
 * succession_resume() tells them: by the one road if they may have begun something. Sockets that only they accepted from, or
 * that they opened themselves, are still in the groups: until the youngest of them has ended these stay steered as they are.
 */
static void rebuild_others(struct succession *s, const struct succession_limits *l, const struct resume_fact *facts, size_t n,
                           struct mono now)
{
        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                struct epoch *e = &s->epochs[i];
                bool starting = l->epoch.protocol && (e->state == EPOCH_STARTING || is_new(e, s->wanted, facts, n, now));

                if (!epoch_alive(e) || e->number == s->wanted)
                        continue;
                e->state = starting || !l->epoch.protocol ? EPOCH_STOPPING : EPOCH_DRAINING;
                e->ordered = true;
                e->deadline = mono_after_ms(now, starting ? 0 : l->drain_ms);
                e->kill_by = starting ? now : mono_after_ms(e->deadline, l->epoch.kill_ms);
                if (s->steered_for == NO_EPOCH || e->number > s->steered_for)
                        s->steered_for = e->number;
        }
}

void succession_rebuild(struct succession *s, const struct succession_limits *l, const struct resume_fact *facts, size_t n,
                        struct mono now)
{
        const struct epoch *wanted;

        for (size_t i = 0; i < n; i++) {
                const struct resume_fact *f = &facts[i];

                if (f->epoch >= s->next_number) /* also of those that have ended: a number is given once */
                        s->next_number = f->epoch + 1;
                if (f->alive)
                        (void)rebuild_epoch(s, l, f);
        }
        s->wanted = choose_wanted(l, facts, n, now);
        rebuild_others(s, l, facts, n, now);
        wanted = succession_serving(s);
        if (wanted) {
                s->served = wanted->number;
                backoff_serving(&s->backoff, now);
        }
        for (uint32_t i = 0; i < s->escrow.n; i++) {
                s->escrow.keys[i].by[CLAIM_WANTED].epoch = s->wanted;
                s->escrow.keys[i].shuffled = true; /* in which order they were opened is lost, and whether they are silent */
        }
        s->upgrade.runs = 1; /* groups may be steered: see escrow_repeat() */
        if (s->steered_for != NO_EPOCH)
                escrow_steered_unknown(&s->escrow);
        s->kit_retry_at = now;
        if (wanted)
                return;
        s->outage = now; /* since when is not known: the wait of clients has a bound all the same */
        s->hold_until = mono_after_ms(now, l->hold_ms);
        if (s->wanted == NO_EPOCH) {
                s->served = newest_kit(s, facts, n);
                s->relaunch_at = now;
        }
}
