/* SPDX-License-Identifier: MIT */
/* PURE. How a stop goes: not ready, accepting for the delay, nothing new, drained, ended; or now. See succession.h. */
#include "agent/succession_step.h"

enum { HUSH_MS = 100, NOW_KILL_MS = 1000, TERM_MARGIN_MS = 2000 };

static void stop_drain(struct step *t)
{
        struct succession *s = t->s;

        s->stop_drains = true;
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&s->epochs[i]))
                        step_feed(t, &s->epochs[i], (struct epoch_input){ .event = ON_DRAIN_ORDER, .term_by = s->stop_term_by,
                                                                     .kill_by = s->stop_kill_by });
        escrow_silence_all(&s->escrow, t->out);
        escrow_close_all(&s->escrow, t->out);
        if (!succession_any_alive(s))
                step_end(t, 0);
}

/*
 * The end of the delay. Silencing a socket cuts what waits in its accept queue, requests that were sent among it. So first no
 * new connection begins, for as long as an acceptor needs to empty the queue.
 */
void step_stop_accepting(struct step *t)
{
        struct succession *s = t->s;
        bool accepts = succession_serving(s) && mono_before(mono_after_ms(t->now, HUSH_MS), s->stop_term_by);

        if (s->stop_hushed || !accepts || !escrow_holds_any(&s->escrow)) {
                stop_drain(t);
                return;
        }
        s->stop_hushed = true;
        s->stop_drain_at = mono_after_ms(t->now, HUSH_MS);
        escrow_hush_all(&s->escrow, t->out);
}

static void stop_now(struct step *t)
{
        struct succession *s = t->s;
        struct mono kill_by = mono_min(s->stop_kill_by, mono_after_ms(t->now, NOW_KILL_MS));

        s->stop_drains = true;
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&s->epochs[i]))
                        step_feed(t, &s->epochs[i], (struct epoch_input){ .event = ON_TERM_ORDER, .kill_by = kill_by });
        escrow_silence_all(&s->escrow, t->out);
        escrow_close_all(&s->escrow, t->out);
        if (!succession_any_alive(s))
                step_end(t, 0);
}

void step_stop(struct step *t)
{
        struct succession *s = t->s;
        int64_t timeout = t->l->stop_timeout_ms;
        int64_t margin = timeout / 10 < TERM_MARGIN_MS ? timeout / 10 : TERM_MARGIN_MS;
        bool first = s->stops == 0;

        if (t->in->value <= (int64_t)s->stops)
                return; /* told again */
        s->stops = (uint32_t)t->in->value;
        if (s->end != END_NOT && !succession_any_alive(s))
                return;
        effects_report(t->out, s->wanted, REPORT_STOPPING, s->stops);
        step_upgrade_cancel(t, "a stop was asked for");
        if (!first) {
                stop_now(t);
                return;
        }
        s->stop_kill_by = mono_after_ms(t->now, timeout);
        s->stop_term_by = mono_after_ms(t->now, timeout - margin);
        s->stop_drain_at = mono_min(mono_after_ms(t->now, t->l->stop_delay_ms), s->stop_term_by);
        s->relaunch_at = MONO_NEVER;
        s->launch_when_ready = false;
        s->validating = false;
        if (s->stops > 1)
                stop_now(t);
        else if (!succession_serving(s) || t->l->stop_delay_ms == 0)
                step_stop_accepting(t);
}
