/* SPDX-License-Identifier: MIT */
/* PURE. See succession.h. */
#include "agent/succession_step.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

void succession_init(struct succession *s, const struct succession_limits *l)
{
        memset(s, 0, offsetof(struct succession, escrow.keys)); /* slots from escrow.n on are written before they are read */
        s->wanted = NO_EPOCH;
        s->served = NO_EPOCH;
        s->kit = NO_EPOCH;
        s->relaunch_at = MONO_NEVER;
        s->kit_retry_at = MONO_NEVER;
        s->outage = MONO_NEVER;
        s->hold_until = MONO_NEVER;
        s->stop_drain_at = MONO_NEVER;
        s->stop_term_by = MONO_NEVER;
        s->stop_kill_by = MONO_NEVER;
        s->last.gap_ns = -1;
        s->last_drain_ns = -1;
        s->leaver = NO_EPOCH;
        s->leave_at = MONO_NEVER;
        s->leave_by = MONO_NEVER;
        s->auto_at = MONO_NEVER;
        s->steered_for = NO_EPOCH;
        for (size_t i = 0; i < HISTORY_MAX; i++)
                s->history[i] = NO_EPOCH;
        upgrade_init(&s->upgrade);
        escrow_init(&s->escrow);
        backoff_init(&s->backoff, &l->backoff);
}

/* ---- small steps ------------------------------------------------------------------------------------ */

void step_act(struct step *t, enum effect_kind kind, uint64_t epoch, int64_t value)
{
        effects_add(t->out, (struct effect){ .kind = kind, .epoch = epoch, .value = value });
}

void step_feed(struct step *t, struct epoch *e, struct epoch_input in)
{
        epoch_step(e, &t->l->epoch, &in, t->now, t->out);
}

bool step_hold(struct step *t)
{
        if (!mono_is_never(t->s->hold_until))
                return false;
        t->s->hold_until = mono_after_ms(t->now, t->l->hold_ms);
        return true;
}

/* An end, or the time for an old generation to finish what it has begun. */
struct epoch_input step_drain_order(const struct step *t)
{
        enum { BEYOND_MS = 10000 };
        struct mono term_by = mono_after_ms(t->now, t->l->drain_ms + BEYOND_MS);

        return (struct epoch_input){ .event = ON_DRAIN_ORDER, .term_by = term_by,
                                     .kill_by = t->l->epoch.protocol ? mono_after_ms(term_by, t->l->epoch.kill_ms) : term_by };
}

/* Nothing will serve again. What others have in flight they may finish; nobody accepts what is held. */
static void dismiss_all(struct step *t)
{
        struct succession *s = t->s;
        struct mono by = mono_after_ms(t->now, t->l->stop_timeout_ms);

        step_upgrade_cancel(t, "baton is ending");
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&s->epochs[i]))
                        step_feed(t, &s->epochs[i], (struct epoch_input){ .event = ON_DRAIN_ORDER, .term_by = by,
                                                                     .kill_by = mono_after_ms(by, t->l->epoch.kill_ms) });
        if (!succession_any_alive(s))
                return;
        escrow_silence_all(&s->escrow, t->out);
        escrow_close_all(&s->escrow, t->out);
}

void step_end(struct step *t, int status)
{
        struct succession *s = t->s;

        if (s->end == END_NOT) {
                s->end = END_WANTED;
                s->end_status = status;
                if (!s->stops)
                        dismiss_all(t);
        }
        s->relaunch_at = MONO_NEVER;
        s->launch_when_ready = false;
        s->validating = false;
        s->waits_for_content = false;
        s->hold_until = MONO_NEVER;
        s->kit_retry_at = MONO_NEVER;
        if (succession_any_alive(s) || s->end == END_SAID)
                return;
        escrow_close_all(&s->escrow, t->out);
        step_throw_kit_away(t);
        s->end = END_SAID;
        step_forget_the_gone(t);
        effects_report(t->out, s->wanted, REPORT_STOPPED, s->end_status);
        step_act(t, DO_END, NO_EPOCH, s->end_status);
}

/*
 * Content that never served is compared with what is on disk: it may have been mended already. Content that served may differ
 * from the disk for long, and what is there may be what failed: only a change from now on counts.
 */
void step_watch_content(struct step *t)
{
        bool never_served = t->s->served == NO_EPOCH && !t->s->kept_used; /* what --state-dir keeps has */

        step_act(t, DO_WATCH_CONTENT, t->s->wanted, never_served ? WATCH_SINCE_SNAPSHOT : WATCH_SINCE_NOW);
}

static void wait_for_content(struct step *t)
{
        t->s->waits_for_content = true;
        t->s->relaunch_at = MONO_NEVER;
        step_watch_content(t);
}

/*
 * A proxy that waits for its control plane may accept on other listeners already: those are not silenced with the rest. One without
 * the protocol never calls listen() on what it has inherited: as long as it lives its sockets stay as they are.
 */
static void silence(struct step *t)
{
        enum { AGAIN_MS = 1000 };
        const struct epoch *w = succession_find(t->s, t->s->wanted);

        if (!t->l->epoch.protocol && succession_any_alive(t->s)) {
                t->s->hold_until = mono_after_ms(t->now, AGAIN_MS);
                return;
        }
        t->s->hold_until = MONO_NEVER;
        t->s->silenced_once = true;
        if (!escrow_holds_any(&t->s->escrow))
                return;
        escrow_silence_idle(&t->s->escrow, w && epoch_alive(w) ? w->number : NO_EPOCH, t->out);
        effects_report(t->out, t->s->wanted, REPORT_SILENCED, 0);
}

/* ---- a generation ends ------------------------------------------------------------------------------ */

static void exhausted(struct step *t)
{
        effects_report(t->out, t->s->wanted, REPORT_EXHAUSTED, t->s->backoff.n);
        if (!t->l->wait_exhausted && (t->s->upgrade.now.id || t->s->upgrade.n_next)) { /* what is on trial may serve yet */
                t->s->exhausted = true;
                t->s->relaunch_at = MONO_NEVER;
                return;
        }
        if (t->l->wait_exhausted) {
                silence(t);
                wait_for_content(t);
                return;
        }
        step_end(t, STATUS_FAILED);
}

void step_launch_failed(struct step *t)
{
        struct succession *s = t->s;
        int64_t wait = 0;

        s->launch_when_ready = false;
        if (backoff_ended(&s->backoff, &t->l->backoff, MONO_NEVER, t->now, &wait) == BACKOFF_EXHAUSTED) {
                exhausted(t);
                return;
        }
        s->relaunch_at = mono_after_ms(t->now, wait);
        effects_report(t->out, s->wanted, REPORT_WAITING, wait);
        step_act(t, DO_WATCH_CONTENT, s->wanted, WATCH_SINCE_NOW);
}

static void relaunch(struct step *t)
{
        if (backoff_take(&t->s->backoff) == BACKOFF_EXHAUSTED) {
                exhausted(t);
                return;
        }
        step_launch(t);
}

static void outage_begins(struct step *t, struct mono died)
{
        struct succession *s = t->s;

        if (mono_is_never(s->outage)) {
                s->outage = died;
                s->crashed = s->wanted;
                s->silenced_once = false;
                s->hold_until = mono_min(s->hold_until, mono_after_ms(died, t->l->hold_ms)); /* clients may wait already */
                s->last = (struct last_change){ .kind = s->served == NO_EPOCH ? LAST_START : LAST_CRASH,
                                                .from = s->wanted, .to = s->wanted, .gap_ns = -1, .at_ns = died.ns };
                return;
        }
        if (s->silenced_once) /* it had been revived for a start that failed */
                silence(t);
}

/* Changed content that failed gives way to what served before it. */
static void choose_content(struct step *t, const struct epoch *dead)
{
        const struct epoch *served = succession_find(t->s, t->s->served);

        if (served && served->origin != dead->origin)
                step_renew_kit(t, served->number);
}

static void wanted_ended(struct step *t, struct epoch *e, struct mono accepted)
{
        struct succession *s = t->s;
        bool clean = e->exit_code == CLD_EXITED && e->exit_status == 0;
        bool rejectable = t->l->epoch.protocol && s->served == NO_EPOCH && e->exit_code == CLD_EXITED && e->exit_status != 0;
        int64_t wait = -1;

        outage_begins(t, t->in->exited);
        if (clean && !t->l->restart_clean) {
                effects_report(t->out, e->number, REPORT_CLEAN_EXIT, 0);
                step_end(t, 0);
                return;
        }
        if (backoff_ended(&s->backoff, &t->l->backoff, accepted, t->now, &wait) == BACKOFF_EXHAUSTED)
                wait = -1;
        if (wait == 0 && !rejectable) { /* the launch first: clients wait for it, and not for a report */
                choose_content(t, e);
                relaunch(t);
                effects_report(t->out, e->number, REPORT_EXITED, wait);
                return;
        }
        effects_report(t->out, e->number, REPORT_EXITED, wait);
        if (rejectable) {
                s->validating = true;
                step_act(t, DO_VALIDATE, e->number, 0);
        }
        choose_content(t, e);
        if (wait < 0 && !s->validating) {
                exhausted(t);
                return;
        }
        s->relaunch_at = mono_after_ms(t->now, wait < 0 ? 0 : wait);
        if (wait >= 0) /* else only for the verdict */
                effects_report(t->out, e->number, REPORT_WAITING, wait);
        step_watch_content(t);
}

static void on_exit(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        struct mono accepted = e->accepted;
        bool asked_for = e->state == EPOCH_STOPPING || e->state == EPOCH_DRAINING;

        if (!epoch_alive(e))
                return;
        step_feed(t, e, (struct epoch_input){ .event = ON_ENDED });
        e->exit_code = t->in->exit_code;
        e->exit_status = t->in->exit_status;
        e->exited_ns = t->in->exited.ns;
        if (!mono_is_never(e->drains))
                s->last_drain_ns = e->exited_ns - e->drains.ns;
        if (e->exit_code != CLD_EXITED)
                s->exits_signal++;
        else if (e->exit_status)
                s->exits_error++;
        else
                s->exits_clean++;
        if (s->stops || s->end != END_NOT) {
                effects_report(t->out, e->number, REPORT_EXITED, -1);
                if (!succession_any_alive(s))
                        step_end(t, 0);
                else if (s->stops && e->number == s->wanted && !s->stop_drains)
                        step_stop_accepting(t); /* in its delay: nobody accepts any more, and those that drain may take long */
        } else if (e->number == s->wanted && !asked_for) {
                wanted_ended(t, e, accepted);
        } else {
                if (e->number == s->wanted) /* it makes room for a candidate, and nothing serves until that is up */
                        outage_begins(t, t->in->exited);
                effects_report(t->out, e->number, REPORT_EXITED, EXIT_OF_ANOTHER);
        }
        step_upgrade_ended(t, e);
        step_one_by_one(t);
        step_forget_the_gone(t);
}

/* ---- the rest --------------------------------------------------------------------------------------- */

static void on_validated(struct step *t)
{
        struct succession *s = t->s;

        if (!s->validating)
                return;
        if (t->in->epoch != s->wanted) { /* a verdict on content that was changed meanwhile; one is asked for at a time */
                step_act(t, DO_VALIDATE, s->wanted, 0);
                return;
        }
        s->validating = false;
        if (!t->in->value) {
                if (s->backoff.tokens <= 0)
                        exhausted(t);
                return; /* it ended for another reason: the wait goes on */
        }
        effects_report(t->out, t->in->epoch, REPORT_REJECTED, 0);
        if (step_use_kept(t))
                return;
        if (t->l->wait_exhausted)
                wait_for_content(t);
        else
                step_end(t, STATUS_INVALID);
}

bool step_waits_for_content(const struct succession *s)
{
        return !s->stops && s->end == END_NOT && (!mono_is_never(s->relaunch_at) || s->waits_for_content);
}

void step_content_changed(struct step *t, int64_t what)
{
        struct succession *s = t->s;

        if (!step_waits_for_content(s))
                return;
        effects_report(t->out, s->wanted, REPORT_CONTENT_CHANGED, what);
        s->validating = false;
        s->waits_for_content = false;
        backoff_changed(&s->backoff, &t->l->backoff);
        step_renew_kit(t, CONTENT_DISK);
        step_launch(t);
}

/* Before an Envoy's main loop runs the signal would kill it. */
static void on_reopen_logs(struct step *t)
{
        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                const struct epoch *e = &t->s->epochs[i];

                if (e->state == EPOCH_WARMING || e->state == EPOCH_SERVING || e->state == EPOCH_DRAINING)
                        step_act(t, DO_SIGNAL, e->number, SIGUSR1);
        }
}

static void on_unready(struct step *t)
{
        struct succession *s = t->s;

        if (s->unready != (uint32_t)(t->in->value != 0))
                effects_report(t->out, s->wanted, t->in->value ? REPORT_UNREADY : REPORT_READY_AGAIN, 0);
        s->unready = t->in->value != 0; /* asked again: done again, the first may have been lost with an agent */
        if (succession_serving(s) && !s->stops)
                step_act(t, s->unready ? DO_FAIL_HEALTHCHECK : DO_PASS_HEALTHCHECK, s->wanted, 0);
}

static void on_clock(struct step *t)
{
        struct succession *s = t->s;

        backoff_refill(&s->backoff, &t->l->backoff, t->now);
        if (s->stops && !s->stop_drains && !mono_before(t->now, s->stop_drain_at))
                step_stop_accepting(t);
        if (!mono_before(t->now, s->hold_until))
                silence(t);
        if (!mono_before(t->now, s->kit_retry_at)) {
                step_retry_kit(t);
        }
        if (!s->validating && !mono_before(t->now, s->relaunch_at))
                relaunch(t);
        step_upgrade_clock(t);
        step_auto_clock(t);
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&s->epochs[i]) && !mono_before(t->now, epoch_next(&s->epochs[i]))) {
                        step_feed(t, &s->epochs[i], (struct epoch_input){ .event = ON_TIME });
                        step_arrived(t, &s->epochs[i]);
                }
}

static void on_epoch_event(struct step *t, struct epoch *e)
{
        const struct succession_input *in = t->in;

        switch (in->event) {
        case ON_KIT_READY:
                step_kit_ready(t, e);
                return;
        case ON_KIT_FAILED:
                step_kit_failed(t, e);
                return;
        case ON_PROCESS:
                step_feed(t, e, (struct epoch_input){ .event = ON_LAUNCHED, .pid = in->pid });
                step_arrived(t, e);
                return;
        case ON_READINESS:
                step_feed(t, e, (struct epoch_input){ .event = in->value ? ON_READY : ON_SPOKE });
                step_arrived(t, e);
                return;
        case ON_LAUNCH_FAILED:
        case ON_EXIT:
                on_exit(t, e);
                return;
        case ON_REQUEST:
                step_requested(t, e);
                return;
        case ON_OPENED:
                step_opened(t, e);
                return;
        case ON_LOOK:
                step_looked(t, e);
                return;
        case ON_LISTENERS:
                if (e->state != EPOCH_SERVING)
                        return;
                if (in->value || e->lack == LACK_HARVEST)
                        step_act(t, DO_LOOK, e->number, 0);
                e->next_look = mono_after_ms(t->now, t->l->watch_ms);
                return;
        case ON_SAMPLE:
                step_feed(t, e, (struct epoch_input){ .event = ON_SAMPLED, .in_flight = in->in_flight,
                                                 .requests_total = in->requests_total,
                                                 .connections = in->connections });
                return;
        case ON_PREFLIGHT:
                step_upgrade_preflight(t, e);
                return;
        case ON_BEGIN:
        case ON_VALIDATED:
        case ON_CONTENT:
        case ON_SEEN:
        case ON_STOP:
        case ON_REOPEN_LOGS:
        case ON_UPGRADE:
        case ON_ROLLBACK:
        case ON_NOT_STEERED:
        case ON_DROPPED:
        case ON_LEFT:
        case ON_PAUSE:
        case ON_UNREADY:
        case ON_CLOCK: /* not about one epoch */
                return;
        }
}

static void on_pause(struct step *t)
{
        struct succession *s = t->s;

        if (s->paused != (uint32_t)(t->in->value != 0))
                effects_report(t->out, s->wanted, t->in->value ? REPORT_PAUSED : REPORT_RESUMED, 0);
        s->paused = t->in->value != 0;
        step_auto_paused(t);
}

static void on_event(struct step *t)
{
        const struct succession_input *in = t->in;
        struct epoch *e;

        switch (in->event) {
        case ON_BEGIN:
                if (escrow_holds_any(&t->s->escrow)) /* clients may come at once, but not wait for ever */
                        t->s->hold_until = mono_after_ms(t->now, t->l->hold_ms);
                step_make_kit(t, CONTENT_DISK);
                t->s->launch_when_ready = true;
                return;
        case ON_VALIDATED:
                on_validated(t);
                return;
        case ON_CONTENT:
                step_content_changed(t, in->value);
                return;
        case ON_SEEN:
                step_content_seen(t);
                return;
        case ON_STOP:
                step_stop(t);
                return;
        case ON_REOPEN_LOGS:
                on_reopen_logs(t);
                return;
        case ON_UPGRADE:
                step_upgrade_asked(t);
                return;
        case ON_ROLLBACK:
                step_rollback_asked(t);
                return;
        case ON_NOT_STEERED:
                escrow_not_steered(&t->s->escrow, (uint32_t)in->value, t->out);
                return;
        case ON_DROPPED:
                t->s->drops_gone += (uint64_t)in->value;
                return;
        case ON_LEFT:
                step_upgrade_left(t);
                return;
        case ON_PAUSE:
                on_pause(t);
                return;
        case ON_UNREADY:
                on_unready(t);
                return;
        case ON_CLOCK:
                on_clock(t);
                return;
        case ON_KIT_READY:
        case ON_KIT_FAILED:
        case ON_PROCESS:
        case ON_LAUNCH_FAILED:
        case ON_EXIT:
        case ON_OPENED:
        case ON_REQUEST:
        case ON_LOOK:
        case ON_READINESS:
        case ON_LISTENERS:
        case ON_SAMPLE:
        case ON_PREFLIGHT:
                e = succession_find(t->s, in->epoch);
                if (e)
                        on_epoch_event(t, e);
                return;
        }
}

void succession_step(struct succession *s, const struct succession_limits *l, const struct succession_input *in,
                     struct mono now, struct effects *out)
{
        struct step t = { s, l, in, now, out };

        on_event(&t);
        step_upgrade_begin(&t);
}
