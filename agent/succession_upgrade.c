/* SPDX-License-Identifier: MIT */
/*
 * PURE. The candidate of an upgrade or a rollback: prepared, checked, launched beside what serves, judged, and then either it
 * serves and its predecessor drains, or it ends and nothing has happened. See succession.h.
 */
#include "agent/succession_step.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { KEPT_FREE = 3, HUSH_MS = 100, STEER_MS = 1000, QUEUES_MS = 5000, AGAIN_MS = 100, CLOSE_MS = 1000, BACK_MS = 5000 };

static struct epoch *candidate(struct succession *s)
{
        return succession_find(s, s->upgrade.candidate);
}

static bool ends(const struct succession *s)
{
        return s->stops || s->end != END_NOT;
}

/* Whoever goes on when this comes to nothing. */
static uint64_t serves_on(const struct succession *s)
{
        const struct epoch *e = ends(s) ? NULL : succession_serving(s);

        return e ? e->number : NO_EPOCH;
}

/* ---- it comes to nothing ---------------------------------------------------------------------------- */

static void note_last(struct step *t, const struct run *r, const struct outcome *how)
{
        struct last_change *l = &t->s->last;

        *l = (struct last_change){ .kind = r->kind == RUN_ROLLBACK ? LAST_ROLLBACK : LAST_UPGRADE, .result = how->result,
                                   .from = how->from, .to = how->to, .gap_ns = how->gap_ns, .at_ns = t->now.ns };
        (void)snprintf(l->reason, sizeof(l->reason), "%s", how->reason);
}

/* The groups are steered past what the candidate has opened until it is gone. */
static void end_candidate(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;

        escrow_end_trial(&s->escrow, t->out);
        if (!epoch_alive(e)) {
                e->state = EPOCH_GONE;
                if (s->steered_for == NO_EPOCH)
                        escrow_unsteer(&s->escrow, t->out);
                return;
        }
        s->steered_for = e->number;
        step_feed(t, e, step_drain_order(t));
}

static void come_to_nothing(struct step *t, const char *reason)
{
        struct succession *s = t->s;
        struct epoch *e = candidate(s);
        struct run run = s->upgrade.now;
        bool launched = s->upgrade.state >= UPGRADE_STARTING;
        struct outcome how = { .from = serves_on(s), .to = e ? e->number : NO_EPOCH, .gap_ns = -1,
                               .result = launched ? RESULT_ROLLED_BACK : RESULT_REFUSED };

        (void)snprintf(how.reason, sizeof(how.reason), "%s", reason);
        upgrade_decide(&s->upgrade, &how);
        if (e)
                end_candidate(t, e);
        note_last(t, &run, &how);
        s->reload_failed = s->reload_failed || run.kind == RUN_UPGRADE;
        effects_report(t->out, how.to, launched ? REPORT_UPGRADE_ROLLED_BACK : REPORT_UPGRADE_REFUSED, 0);
        step_come_back(t);
        step_forget_the_gone(t);
        if (s->exhausted && !ends(s) && s->upgrade.n_next == 0) /* else what waits may serve yet */
                step_end(t, 1);
}

void step_upgrade_cancel(struct step *t, const char *reason)
{
        upgrade_refuse_waiting(&t->s->upgrade, reason);
        if (t->s->upgrade.now.id)
                come_to_nothing(t, reason);
}

/* ---- somebody asks ---------------------------------------------------------------------------------- */

static void refuse(struct step *t, const struct run *what, const char *reason)
{
        struct outcome how = { .from = serves_on(t->s), .to = NO_EPOCH, .gap_ns = -1, .result = RESULT_REFUSED };

        (void)snprintf(how.reason, sizeof(how.reason), "%s", reason);
        if (upgrade_settle(&t->s->upgrade, t->in->ticket, what, &how) != 0)
                return;
        note_last(t, what, &how);
        t->s->reload_failed = t->s->reload_failed || what->kind == RUN_UPGRADE;
        effects_report(t->out, NO_EPOCH, REPORT_UPGRADE_REFUSED, 0);
}

static const char *not_now(const struct step *t)
{
        if (t->s->stops)
                return "a stop was asked for";
        if (t->s->end != END_NOT)
                return "baton is ending";
        return NULL;
}

static void ask(struct step *t, const struct run *what)
{
        if (upgrade_ask(&t->s->upgrade, t->in->ticket, what) == UPGRADE_FULL)
                refuse(t, what, "too many upgrades wait already");
}

static int64_t observe_ms(const struct step *t)
{
        return t->in->observe_ms >= 0 ? t->in->observe_ms : t->l->observe_ms;
}

void step_upgrade_asked(struct step *t)
{
        struct run what = { .kind = RUN_UPGRADE, .copy_of = CONTENT_DISK, .command = t->in->command, .observe_ms = observe_ms(t) };
        const char *reason = t->in->text ? t->in->text : not_now(t); /* a text: its command cannot be taken */

        if (t->in->command != COMMAND_RUNNING && t->in->command > t->s->upgrade.commands)
                t->s->upgrade.commands = t->in->command;
        if (reason)
                refuse(t, &what, reason);
        else
                ask(t, &what);
}

/* The newest content that served before, and is other than what serves. */
static uint64_t before(struct succession *s)
{
        const struct epoch *now = succession_find(s, s->served);

        for (size_t i = 0; i < HISTORY_MAX; i++) {
                const struct epoch *e = succession_find(s, s->history[i]);

                if (e && !epoch_same_content(now, e))
                        return e->number;
        }
        return NO_EPOCH;
}

static void take_back(struct step *t, const struct run *what)
{
        struct outcome how = { .from = serves_on(t->s), .to = serves_on(t->s), .gap_ns = -1, .result = RESULT_COMMITTED };

        if (upgrade_settle(&t->s->upgrade, t->in->ticket, what, &how) == UPGRADE_KNOWN)
                return;
        step_upgrade_cancel(t, "a rollback was asked for");
}

void step_rollback_asked(struct step *t)
{
        struct succession *s = t->s;
        struct run what = { .kind = RUN_ROLLBACK, .copy_of = t->in->epoch,
                            .observe_ms = t->in->observe_ms >= 0 ? t->in->observe_ms : 0 }; /* what has served is known */
        const char *reason = not_now(t);
        const struct epoch *e;
        char text[REASON_BYTES];

        if (!reason && t->in->epoch == NO_EPOCH && s->upgrade.now.id && s->upgrade.now.kind == RUN_ROLLBACK) {
                (void)upgrade_join(&s->upgrade, t->in->ticket); /* two who want the same do not undo each other */
                return;
        }
        if (!reason && t->in->epoch == NO_EPOCH && (s->upgrade.now.id || s->upgrade.n_next)) {
                take_back(t, &what);
                return;
        }
        if (t->in->epoch == NO_EPOCH)
                what.copy_of = before(s);
        e = succession_find(s, what.copy_of);
        if (!reason && what.copy_of == NO_EPOCH)
                reason = "there is nothing to go back to: nothing else has served";
        if (!reason && what.copy_of == s->served)
                reason = "that epoch serves already";
        if (!reason && !(e && epoch_has_served(e))) {
                (void)snprintf(text, sizeof(text), "the content of epoch %" PRIu64 " is not kept: it never served, or too long ago", what.copy_of);
                reason = text;
        }
        if (reason) {
                refuse(t, &what, reason);
                return;
        }
        what.command = e->command;
        ask(t, &what);
}

/* ---- prepared, checked, launched -------------------------------------------------------------------- */

/* A crash must find room for its relaunch and the kit after it, however many generations drain: the last places are not for us. */
static bool is_room(const struct succession *s)
{
        size_t n = 0;

        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                n += s->epochs[i].state == EPOCH_NONE;
        return n > KEPT_FREE;
}

static void prepare(struct step *t, uint64_t copy_of)
{
        struct succession *s = t->s;
        struct epoch *e = is_room(s) ? step_new_kit(t, copy_of, s->upgrade.now.command) : NULL;

        s->upgrade.state = UPGRADE_PREPARING;
        if (!e) {
                come_to_nothing(t, "too many generations live: wait until old ones have drained");
                return;
        }
        e->trial = true;
        s->upgrade.candidate = e->number;
}

/*
 * Before anything has served there are no sockets that both could share: each would open its own, and connections to those of
 * the slower one would wait for it. So the first start has its time to accept.
 */
static bool first_start_goes_on(struct succession *s)
{
        const struct epoch *w = succession_find(s, s->wanted);

        return s->served == NO_EPOCH && w && w->state == EPOCH_STARTING && (!w->pid || !mono_is_never(w->deadline));
}

void step_upgrade_begin(struct step *t)
{
        struct succession *s = t->s;

        if (ends(s) || s->wanted == NO_EPOCH || s->leave != LEAVE_NOT || first_start_goes_on(s) || !upgrade_begin(&s->upgrade))
                return;
        if (s->upgrade.now.command == COMMAND_RUNNING)
                s->upgrade.now.command = succession_command(s);
        prepare(t, s->upgrade.now.copy_of);
        if (s->upgrade.now.id)
                effects_report(t->out, s->upgrade.candidate, REPORT_UPGRADE_STARTED, (int64_t)s->upgrade.now.kind);
}

void step_upgrade_kit(struct step *t, struct epoch *e, bool made)
{
        struct succession *s = t->s;

        if (e->number != s->upgrade.candidate || s->upgrade.state != UPGRADE_PREPARING)
                return;
        if (!made) {
                come_to_nothing(t, t->in->text ? t->in->text : "its launch cannot be prepared");
                return;
        }
        s->upgrade.state = UPGRADE_CHECKING;
        step_act(t, DO_PREFLIGHT, e->number, 0);
}

void step_upgrade_launch(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;

        e->state = EPOCH_STARTING;
        s->upgrade.state = UPGRADE_STARTING;
        s->upgrade.deadline = mono_after_ms(t->now, t->l->epoch.ready_ms);
        escrow_begin_trial(&s->escrow, e->number);
        step_plain_launch(t, e);
        step_act(t, DO_LAUNCH, e->number, 0);
}

void step_upgrade_preflight(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;

        if (e->number != s->upgrade.candidate || s->upgrade.state != UPGRADE_CHECKING)
                return;
        if (t->in->value) {
                come_to_nothing(t, t->in->text ? t->in->text : "it did not pass the checks before its launch");
                return;
        }
        if ((e->udp != 0) != escrow_holds_udp(&s->escrow)) { /* listeners came or went meanwhile: see launch() */
                e->state = EPOCH_GONE;
                prepare(t, e->number);
                step_forget_the_gone(t);
                return;
        }
        if (!step_waits_for_predecessor(t))
                step_upgrade_launch(t, e);
}

/* ---- it serves from now on -------------------------------------------------------------------------- */

/* Each content once: one that comes again must not push out what one may want to go back to. */
static void remember(struct succession *s, const struct epoch *served, const struct epoch *now)
{
        size_t i = 0;

        if (!served || epoch_same_content(served, now))
                return;
        while (i < HISTORY_MAX - 1 && !epoch_same_content(succession_find(s, s->history[i]), served))
                i++;
        for (; i > 0; i--)
                s->history[i] = s->history[i - 1];
        s->history[0] = served->number;
}

static void dismiss(struct step *t, struct epoch *old)
{
        struct succession *s = t->s;
        unsigned waits = old && old->state == EPOCH_SERVING ? escrow_leave(&s->escrow, t->out) : 0;

        if (waits) {
                s->leave = LEAVE_WAITS;
                s->leaver = s->steered_for = old->number;
                s->leave_at = mono_after_ms(t->now, waits & LEAVES_STEERED ? STEER_MS : HUSH_MS);
                s->leave_by = mono_after_ms(s->leave_at, QUEUES_MS);
                step_feed(t, old, (struct epoch_input){ .event = ON_YIELD_ORDER });
                return;
        }
        escrow_leave_close(&s->escrow, t->out); /* if there are any, nobody accepts from them any more */
        if (old && epoch_alive(old))
                step_feed(t, old, step_drain_order(t));
}

/* One that came to nothing and has not ended yet may listen on sockets of its own, and accept from none. */
static bool steered_past_failed(struct succession *s)
{
        const struct epoch *e = succession_find(s, s->steered_for);

        return e && e->trial && epoch_alive(e);
}

void step_upgrade_commit(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        struct run run = s->upgrade.now;
        struct epoch *old = succession_find(s, s->wanted);
        const struct epoch *served = succession_find(s, s->served);
        struct outcome how = { .from = s->served, .to = e->number, .result = RESULT_COMMITTED,
                               .gap_ns = mono_is_never(s->outage) ? 0 : t->now.ns - s->outage.ns };

        if (!epoch_same_content(served, e))
                backoff_changed(&s->backoff, &t->l->backoff);
        upgrade_decide(&s->upgrade, &how);
        step_feed(t, e, (struct epoch_input){ .event = ON_COMMIT_ORDER });
        if (t->l->epoch.protocol)
                escrow_commit(&s->escrow, t->in->look, t->out);
        else
                escrow_end_trial(&s->escrow, t->out);
        if (!steered_past_failed(s)) {
                escrow_unsteer(&s->escrow, t->out);
                s->steered_for = NO_EPOCH;
        }
        remember(s, served, e);
        s->wanted = e->number;
        s->exhausted = false;
        s->waits_for_content = false;
        s->launch_when_ready = false;
        s->relaunch_at = MONO_NEVER;
        step_act(t, DO_WATCH_CONTENT, e->number, WATCH_OFF);
        note_last(t, &run, &how);
        s->reload_failed = false;
        step_serves(t, e);
        effects_report(t->out, e->number, REPORT_UPGRADE_COMMITTED, how.gap_ns);
        dismiss(t, old);
        step_forget_the_gone(t);
        step_keep(t, e);
}

/*
 * What waits in sockets that the candidate would leave is accepted by the one that comes back; after a commit, by nobody. Once
 * the hold time is over nobody waits there any more.
 */
static struct mono comes_back_by(const struct step *t)
{
        const struct succession *s = t->s;
        const struct epoch *w = succession_look_up(s, s->wanted);

        if (!w || w->state != EPOCH_STARTING || mono_is_never(s->hold_until) || mono_is_never(s->outage) ||
            !escrow_trial_leaves_any(&s->escrow, t->in->look))
                return t->now;
        return mono_min(s->hold_until, mono_after_ms(s->outage, BACK_MS));
}

/*
 * When the candidate is final: while nothing else serves, no clock is worth waiting for, but for one that comes back. And two
 * must not read the same UDP sockets for longer than it takes.
 */
static struct mono final_at(const struct step *t)
{
        const struct succession *s = t->s;

        if (escrow_holds_udp(&s->escrow))
                return t->now;
        return succession_serving(s) ? s->upgrade.observed : mono_min(s->upgrade.observed, comes_back_by(t));
}

/* It did accept. Busy, under a load that it takes alone since a moment, or its control plane is changing something. */
static bool may_pass(enum look_lack lack)
{
        return lack == LACK_HARVEST || lack == LACK_ADMIN || lack == LACK_QUEUE || lack == LACK_LDS;
}

void step_upgrade_looked(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        bool first = e->state == EPOCH_STARTING;
        enum look_lack lack = step_judge(t, e);
        struct mono final;

        step_feed(t, e, (struct epoch_input){ .event = ON_LOOKED, .lack = lack });
        if (e->state != EPOCH_WARMING)
                return;
        if (first) {
                s->upgrade.state = UPGRADE_WARMING;
                s->upgrade.deadline = MONO_NEVER;
                s->upgrade.observed = mono_after_ms(t->now, s->upgrade.now.observe_ms);
                if (s->upgrade.now.observe_ms > 0)
                        effects_report(t->out, e->number, REPORT_UPGRADE_WARMING, s->upgrade.now.observe_ms);
        }
        if (may_pass(lack)) { /* it has a moment */
                e->next_look = mono_after_ms(t->now, AGAIN_MS);
                s->upgrade.deadline = mono_min(s->upgrade.deadline, mono_after_ms(t->now, t->l->epoch.ready_ms));
                return;
        }
        if (lack != LACK_NOTHING) {
                come_to_nothing(t, look_lack_text(lack));
                return;
        }
        s->upgrade.deadline = MONO_NEVER;
        final = final_at(t);
        if (mono_before(t->now, final))
                e->next_look = final;
        else
                step_upgrade_commit(t, e);
}

void step_upgrade_ambiguous(struct step *t)
{
        come_to_nothing(t, look_lack_text(LACK_AMBIGUOUS));
}

/* ---- time, and ends --------------------------------------------------------------------------------- */

static void leave_over(struct step *t)
{
        struct succession *s = t->s;

        escrow_leave_refuse(&s->escrow, t->out);
        escrow_leave_close(&s->escrow, t->out);
        s->leave = LEAVE_NOT;
        s->leaver = NO_EPOCH;
        s->leave_at = MONO_NEVER;
        s->leave_by = MONO_NEVER;
}

/* The queues are empty, or it has taken too long: its last connections are accepted, and it is told to drain. */
static void leave_drain(struct step *t)
{
        struct succession *s = t->s;
        struct epoch *old = succession_find(s, s->leaver);

        if (old)
                step_feed(t, old, step_drain_order(t));
        escrow_leave_refuse(&s->escrow, t->out);
        if (!escrow_any_leaving(&s->escrow)) {
                leave_over(t);
                return;
        }
        s->leave = LEAVE_CLOSES;
        s->leave_at = mono_after_ms(t->now, CLOSE_MS);
}

void step_upgrade_left(struct step *t)
{
        struct succession *s = t->s;

        if (s->leave != LEAVE_WAITS)
                return;
        if ((t->in->value > 0 || !succession_serving(s)) && mono_before(t->now, s->leave_by)) /* if that has died, it is all there is */
                s->leave_at = mono_after_ms(t->now, AGAIN_MS);
        else
                leave_drain(t);
}

static void leave_clock(struct step *t)
{
        struct succession *s = t->s;

        if (s->leave == LEAVE_NOT || mono_before(t->now, s->leave_at))
                return;
        if (s->leave == LEAVE_CLOSES) {
                leave_over(t);
                return;
        }
        s->leave_at = mono_after_ms(t->now, AGAIN_MS);
        step_act(t, DO_COUNT_LEAVING, NO_EPOCH, 0);
}

/* While nothing else serves, to kill it would help nobody. */
static void too_late(struct step *t)
{
        struct succession *s = t->s;
        const struct epoch *e = candidate(s);
        enum look_lack lack = e ? epoch_lacks(e, &t->l->epoch) : LACK_DRAIN_LISTENERS;
        char text[REASON_BYTES];

        if (!succession_serving(s) && s->upgrade.n_next == 0 && !t->l->one_by_one) {
                s->upgrade.deadline = mono_after_ms(t->now, t->l->epoch.ready_ms);
                effects_report(t->out, s->upgrade.candidate, REPORT_READY_LATE, lack);
                return;
        }
        (void)snprintf(text, sizeof(text), "it did not accept within %" PRId64 " ms: %s", t->l->epoch.ready_ms, look_lack_text(lack));
        come_to_nothing(t, text);
}

void step_upgrade_clock(struct step *t)
{
        if (!mono_before(t->now, t->s->upgrade.deadline) && !step_observed(t))
                too_late(t);
        leave_clock(t);
}

/* Nothing else serves: see final_at(). */
static void judge_now(struct step *t)
{
        struct epoch *e = candidate(t->s);

        if (e && e->state == EPOCH_WARMING && !step_observed(t))
                epoch_look(e, t->now, t->out);
}

static void why_ended(const struct step *t, const struct epoch *e, char *ret, size_t n)
{
        const char *when = mono_is_never(e->accepted) ? "before it accepted" : "while it was under observation";

        if (t->in->text)
                (void)snprintf(ret, n, "%s", t->in->text);
        else if (e->exit_code == CLD_EXITED)
                (void)snprintf(ret, n, "the new proxy ended %s: exit status %d", when, e->exit_status);
        else
                (void)snprintf(ret, n, "the new proxy ended %s: killed by signal %d", when, e->exit_status);
}

void step_upgrade_ended(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        char text[REASON_BYTES];

        if (e->number == s->upgrade.candidate) {
                why_ended(t, e, text, sizeof(text));
                come_to_nothing(t, text);
        }
        if (e->number == s->leaver && s->leave != LEAVE_NOT)
                leave_over(t);
        if (e->trial && !succession_serving(s)) /* it shared what was opened for a start that goes on */
                s->silenced_once = escrow_silence_fresh(&s->escrow, t->out) || s->silenced_once;
        if (e->number == s->steered_for) {
                s->steered_for = NO_EPOCH;
                if (s->escrow.trial == NO_EPOCH) /* else it is steered past what that one has opened, by now or soon */
                        escrow_unsteer(&s->escrow, t->out);
        }
        if (!succession_serving(s) && !ends(s))
                judge_now(t);
}

struct mono upgrade_next(const struct succession *s)
{
        return mono_min(s->upgrade.deadline, s->leave == LEAVE_NOT ? MONO_NEVER : s->leave_at);
}
