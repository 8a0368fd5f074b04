/* SPDX-License-Identifier: MIT */
/* PURE. See succession.h. */
#include "agent/succession_step.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

enum { KIT_RETRY_MS = 1000, ADDED_LOOK_MS = 20, STATUS_FAILED = 1, STATUS_INVALID = 2 };

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
        s->leaver = NO_EPOCH;
        s->leave_at = MONO_NEVER;
        s->leave_by = MONO_NEVER;
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

static bool unfinished_kit(const struct succession *s, const struct epoch *e)
{
        if (e->state != EPOCH_KIT)
                return false;
        return e->number == s->kit ? !s->kit_ready : s->upgrade.state == UPGRADE_PREPARING;
}

/* A snapshot that a kit has still to copy must stay, and its binary. */
static bool is_copied(const struct succession *s, uint64_t number)
{
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (unfinished_kit(s, &s->epochs[i]) && s->epochs[i].copy_of == number)
                        return true;
        for (uint32_t i = 0; i < s->upgrade.n_next; i++)
                if (s->upgrade.next[i].copy_of == number)
                        return true;
        return false;
}

static bool is_history(const struct succession *s, uint64_t number)
{
        for (size_t i = 0; i < HISTORY_MAX; i++)
                if (s->history[i] == number)
                        return true;
        return false;
}

void step_forget_the_gone(struct step *t)
{
        struct succession *s = t->s;

        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                struct epoch *e = &s->epochs[i];

                if (e->state != EPOCH_GONE)
                        continue;
                /* What served last, and what was tried last, are as they were until something else is. */
                if (s->end != END_SAID && (e->number == s->served || e->number == s->wanted || is_copied(s, e->number)))
                        continue;
                if (s->end != END_SAID && is_history(s, e->number)) {
                        if (!e->shed)
                                step_act(t, DO_FORGET, e->number, FORGET_PROCESS);
                        e->shed = true;
                        continue;
                }
                step_act(t, DO_FORGET, e->number, FORGET_ALL);
                e->state = EPOCH_NONE;
        }
}

static struct epoch *free_slot(struct succession *s)
{
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (s->epochs[i].state == EPOCH_NONE)
                        return &s->epochs[i];
        return NULL;
}

/* Numbers are given to kits, not to launches: one that is thrown away leaves a gap. */
struct epoch *step_new_kit(struct step *t, uint64_t copy_of, uint64_t command)
{
        struct succession *s = t->s;
        const struct epoch *source = copy_of == CONTENT_DISK ? NULL : succession_find(s, copy_of);
        struct epoch *e = free_slot(s);

        if (!e)
                return NULL;
        epoch_init(e, s->next_number++, source ? copy_of : CONTENT_DISK, 0);
        e->origin = source ? source->origin : e->number;
        e->command = source ? source->command : command;
        step_act(t, DO_MAKE_KIT, e->number, (int64_t)e->copy_of);
        return e;
}

static uint64_t wanted_command(struct succession *s)
{
        const struct epoch *w = s->wanted == NO_EPOCH ? NULL : succession_find(s, s->wanted);

        return w ? w->command : 0;
}

static void make_kit(struct step *t, uint64_t copy_of)
{
        struct succession *s = t->s;
        const struct epoch *e = step_new_kit(t, copy_of, wanted_command(s));

        if (!e) { /* 64 generations live: the next end frees one, and tries again */
                s->kit_retry_at = mono_after_ms(t->now, KIT_RETRY_MS);
                return;
        }
        s->kit_from_disk = e->copy_of == CONTENT_DISK;
        s->kit = e->number;
        s->kit_ready = false;
        s->kit_retry_at = MONO_NEVER;
}

static void throw_kit_away(struct step *t)
{
        struct epoch *e = t->s->kit == NO_EPOCH ? NULL : succession_find(t->s, t->s->kit);

        t->s->kit = NO_EPOCH;
        t->s->kit_ready = false;
        if (e)
                e->state = EPOCH_GONE;
}

void step_renew_kit(struct step *t, uint64_t copy_of)
{
        throw_kit_away(t);
        make_kit(t, copy_of);
        step_forget_the_gone(t);
}

static void launch(struct step *t)
{
        struct succession *s = t->s;
        struct epoch *e = succession_find(s, s->kit);

        s->relaunch_at = MONO_NEVER;
        if (!e || !s->kit_ready) {
                s->launch_when_ready = true;
                if (!e && mono_is_never(s->kit_retry_at))
                        make_kit(t, s->served == NO_EPOCH ? CONTENT_DISK : s->served);
                return;
        }
        if ((e->udp != 0) != escrow_holds_udp(&s->escrow)) { /* who inherits UDP sockets must not wait with reading them */
                s->launch_when_ready = true;
                step_renew_kit(t, e->number);
                return;
        }
        s->launch_when_ready = false;
        s->waits_for_content = false;
        s->exhausted = false;
        e->state = EPOCH_STARTING;
        s->wanted = e->number;
        s->last.to = e->number;
        s->kit = NO_EPOCH;
        step_act(t, DO_WATCH_CONTENT, e->number, WATCH_OFF);
        step_act(t, DO_LAUNCH, e->number, 0);
        make_kit(t, e->number);
}

/* An end, or the time for an old generation to finish what it has begun. */
struct epoch_input step_drain_order(const struct step *t)
{
        enum { BEYOND_MS = 10000 };
        struct mono term_by = mono_after_ms(t->now, t->l->drain_ms + BEYOND_MS);

        return (struct epoch_input){ .event = ON_DRAIN_ORDER, .term_by = term_by,
                                     .kill_by = mono_after_ms(term_by, t->l->epoch.kill_ms) };
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
        throw_kit_away(t);
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
        step_act(t, DO_WATCH_CONTENT, t->s->wanted, t->s->served == NO_EPOCH ? WATCH_SINCE_SNAPSHOT : WATCH_SINCE_NOW);
}

static void wait_for_content(struct step *t)
{
        t->s->waits_for_content = true;
        t->s->relaunch_at = MONO_NEVER;
        step_watch_content(t);
}

/* A proxy that waits for its control plane may accept on other listeners already: those are not silenced with the rest. */
static void silence(struct step *t)
{
        const struct epoch *w = t->s->wanted == NO_EPOCH ? NULL : succession_find(t->s, t->s->wanted);

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

static void relaunch(struct step *t)
{
        if (backoff_take(&t->s->backoff) == BACKOFF_EXHAUSTED) {
                exhausted(t);
                return;
        }
        launch(t);
}

static void outage_begins(struct step *t, struct mono died)
{
        struct succession *s = t->s;

        if (mono_is_never(s->outage)) {
                s->outage = died;
                s->crashed = s->wanted;
                s->silenced_once = false;
                s->hold_until = mono_after_ms(died, t->l->hold_ms);
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
        const struct epoch *served = t->s->served == NO_EPOCH ? NULL : succession_find(t->s, t->s->served);

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
        } else if (e->number == s->wanted && !asked_for) {
                wanted_ended(t, e, accepted);
        } else {
                effects_report(t->out, e->number, REPORT_EXITED, EXIT_OF_ANOTHER);
        }
        step_upgrade_ended(t, e);
        step_forget_the_gone(t);
}

/* ---- a generation comes up -------------------------------------------------------------------------- */

void step_serves(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        const struct epoch *kit = s->kit == NO_EPOCH ? NULL : succession_find(s, s->kit);

        s->served = e->number;
        s->outage = MONO_NEVER;
        s->hold_until = MONO_NEVER;
        s->validating = false;
        backoff_serving(&s->backoff, t->now);
        if (s->unready)
                step_act(t, DO_FAIL_HEALTHCHECK, e->number, 0);
        if (!kit || kit->origin != e->origin || kit->command != e->command)
                step_renew_kit(t, e->number);
}

void step_accepted(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        bool crash = s->served != NO_EPOCH && !mono_is_never(s->outage); /* what is told of last may be about an upgrade that failed meanwhile */
        int64_t gap = crash ? t->now.ns - s->outage.ns : -1;

        if (s->served == NO_EPOCH && t->in->look && t->in->look->create_failures)
                effects_report(t->out, e->number, REPORT_CREATE_FAILURES, (int64_t)t->in->look->create_failures);
        s->crashes_recovered += crash;
        s->last = (struct last_change){ .kind = crash ? LAST_CRASH : LAST_START, .result = RESULT_COMMITTED, .gap_ns = gap,
                                        .from = crash ? s->crashed : e->number, .to = e->number,
                                        .at_ns = crash ? s->outage.ns : t->now.ns };
        effects_report(t->out, e->number, REPORT_ACCEPTED, gap);
        step_serves(t, e);
        step_forget_the_gone(t);
}

enum look_lack step_judge(struct step *t, const struct epoch *e)
{
        struct succession *s = t->s;
        const struct epoch *before = s->served == NO_EPOCH ? NULL : succession_find(s, s->served);
        const struct escrow_gate gate = {
                .epoch = e->number,
                .first = s->served == NO_EPOCH,
                .after_crash = s->served != NO_EPOCH && !mono_is_never(s->outage),
                .same_content = before && before->origin == e->origin,
                .allow_loss = t->l->allow_loss,
                .create_failures_before = s->create_failures,
        };

        return escrow_take_look(&s->escrow, &gate, t->in->look);
}

static void on_look(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        const struct look *look = t->in->look;
        bool silenced = escrow_any_silenced(&s->escrow);

        if (e->number == s->upgrade.candidate && !mono_is_never(e->up)) {
                step_upgrade_looked(t, e);
        } else if (e->state == EPOCH_STARTING && !mono_is_never(e->up)) {
                enum look_lack lack = step_judge(t, e);

                escrow_revive_accepted(&s->escrow, e->number, t->out);
                step_feed(t, e, (struct epoch_input){ .event = ON_LOOKED, .lack = lack });
        }
        if (e->state != EPOCH_SERVING)
                return;
        escrow_settle(&s->escrow, e->number, look, t->out);
        if (silenced && !escrow_any_silenced(&s->escrow))
                effects_report(t->out, e->number, REPORT_REVIVED, 0);
        if (s->served != e->number)
                step_accepted(t, e);
        if (look->admin_answered)
                s->create_failures = look->create_failures;
        e->lack = look->harvest_failed ? LACK_HARVEST : LACK_NOTHING; /* unknown what it listens on: ask again */
        e->next_look = look->lds || look->harvest_failed ? mono_after_ms(t->now, t->l->watch_ms) : MONO_NEVER;
}

/*
 * Neither the one that is wanted nor on trial: one that came to nothing and has not ended yet, or a predecessor. What it asks
 * for says nothing about those. A predecessor that still accepts shares what is held: a socket of its own would go with it.
 */
static void answer_bystander(struct step *t, struct epoch *e)
{
        const struct escrow *held = &t->s->escrow;
        uint32_t key = escrow_find(held, t->in->key);
        bool pass = key != NO_KEY && held->keys[key].inode && !held->keys[key].silenced && e->number == t->s->leaver && !e->ordered;

        e->owed_key = pass && !t->s->stop_drains && t->s->end == END_NOT ? key : NO_KEY;
        e->asked_key = NO_KEY;
}

/* Does another one have sockets that we do not hold, or is it about to open some? */
static bool strangers_listen(const struct succession *s, const struct epoch *e)
{
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (&s->epochs[i] != e && (s->epochs[i].state == EPOCH_STARTING || s->epochs[i].state == EPOCH_WARMING))
                        return true;
        return s->steered_for != NO_EPOCH;
}

static void answer_pass(struct step *t, struct epoch *e, bool retold)
{
        struct succession *s = t->s;
        bool again = retold && escrow_find(&s->escrow, t->in->key) == e->asked_key;
        bool twice = mono_is_never(e->up) && !again && escrow_asked_twice(&s->escrow, e->number, t->in->key, t->out);
        uint32_t key;
        bool pass = escrow_asked(&s->escrow, e->number, t->in->key, &key) && !s->stop_drains && s->end == END_NOT;

        if (twice)
                effects_add(t->out, (struct effect){ .kind = DO_REPORT, .epoch = e->number, .value = REPORT_AMBIGUOUS, .key = key });
        if (key == NO_KEY)
                effects_report(t->out, e->number, REPORT_TOO_MANY_KEYS, KEYS_MAX);
        e->owed_key = pass ? key : NO_KEY;
        e->asked_key = key;
        if (key != NO_KEY && !s->escrow.keys[key].inode) /* it opens its own */
                s->escrow.keys[key].shuffled = strangers_listen(s, e);
        if (!pass && e->number == s->escrow.trial && key != NO_KEY && !s->escrow.keys[key].inode)
                escrow_grow(&s->escrow, t->in->key, t->out);
        if (!pass || !s->escrow.keys[key].silenced)
                return;
        effects_add(t->out, (struct effect){ .kind = DO_REVIVE, .epoch = e->number, .key = key });
        s->escrow.keys[key].silenced = false;
        if (mono_is_never(s->hold_until)) { /* clients wait again, and again not for ever */
                s->hold_until = mono_after_ms(t->now, t->l->hold_ms);
                effects_report(t->out, e->number, REPORT_REVIVED, 0);
        }
}

static void on_request(struct step *t, struct epoch *e)
{
        bool retold = e->retold;

        if (!epoch_alive(e)) { /* what a dead one has left in its queue must not revive anything */
                step_act(t, DO_TAKE, e->number, 0);
                return;
        }
        e->retold = false;
        e->owed = hr_parent_owes(t->in->request);
        if (e->owed == OWED_PASS && e->number != t->s->wanted && e->number != t->s->escrow.trial)
                answer_bystander(t, e);
        else if (e->owed == OWED_PASS)
                answer_pass(t, e, retold);
        if (e->owed == OWED_PASS && e->state == EPOCH_SERVING) /* until we hold the new socket a crash would refuse */
                e->next_look = mono_min(e->next_look, mono_after_ms(t->now, ADDED_LOOK_MS));
        if (t->in->request == HR_TERMINATE && e->udp && e->number == t->s->wanted)
                escrow_terminated(&t->s->escrow, e->number, t->out);
        step_act(t, DO_TAKE, e->number, 0);
        if (e->owed != OWED_NOTHING)
                effects_add(t->out, (struct effect){ .kind = DO_REPLY, .epoch = e->number, .value = e->owed,
                                                     .key = e->owed_key });
        if (e->number == t->s->upgrade.candidate && e->asked_key < t->s->escrow.n && e->owed == OWED_PASS &&
            escrow_claim(&t->s->escrow, e->asked_key, e->number)->ambiguous && t->s->escrow.keys[e->asked_key].inode) {
                step_upgrade_ambiguous(t);
                return;
        }
        if (t->in->request != HR_DRAIN_LISTENERS)
                return;
        if (t->in->look)
                escrow_queues(&t->s->escrow, e->number, t->in->look->keys, t->in->look->n);
        step_feed(t, e, (struct epoch_input){ .event = ON_DRAIN_LISTENERS });
}

/* ---- the rest --------------------------------------------------------------------------------------- */

static void launch_failed(struct step *t)
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

static void on_kit_failed(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        bool from_disk = e->copy_of == CONTENT_DISK;

        if (e->number == s->upgrade.candidate) {
                step_upgrade_kit(t, e, false);
                return;
        }
        e->state = EPOCH_GONE;
        if (s->kit == e->number)
                s->kit = NO_EPOCH;
        step_forget_the_gone(t);
        if (s->stops || s->end != END_NOT)
                return;
        if (from_disk && s->served == NO_EPOCH && s->wanted == NO_EPOCH && !t->l->wait_exhausted) {
                step_end(t, t->in->value < 0 ? STATUS_FAILED : STATUS_INVALID); /* the shell has said which file */
                return;
        }
        if (s->launch_when_ready && s->served != NO_EPOCH) { /* nobody serves: no try is free, and none goes on for ever */
                launch_failed(t);
                return;
        }
        s->kit_retry_at = mono_after_ms(t->now, KIT_RETRY_MS);
}

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
        if (t->l->wait_exhausted)
                wait_for_content(t);
        else
                step_end(t, STATUS_INVALID);
}

static void on_content(struct step *t)
{
        struct succession *s = t->s;

        if (s->stops || s->end != END_NOT || (mono_is_never(s->relaunch_at) && !s->waits_for_content))
                return;
        effects_report(t->out, s->wanted, REPORT_CONTENT_CHANGED, 0);
        s->validating = false;
        s->waits_for_content = false;
        backoff_changed(&s->backoff, &t->l->backoff);
        step_renew_kit(t, CONTENT_DISK);
        launch(t);
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

/* Content that was changed and could not be read gives way to what served; before anything served there is no other. */
static uint64_t retry_from(struct succession *s)
{
        const struct epoch *w = s->wanted == NO_EPOCH ? NULL : succession_find(s, s->wanted);

        if (s->served != NO_EPOCH)
                return s->served;
        return w && !s->kit_from_disk ? w->number : CONTENT_DISK;
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
                make_kit(t, retry_from(s));
        }
        if (!s->validating && !mono_before(t->now, s->relaunch_at))
                relaunch(t);
        step_upgrade_clock(t);
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&s->epochs[i]) && !mono_before(t->now, epoch_next(&s->epochs[i])))
                        step_feed(t, &s->epochs[i], (struct epoch_input){ .event = ON_TIME });
}

static void on_kit_ready(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;

        e->base_id = t->in->base_id;
        e->udp = t->in->value != 0;
        if (e->number == s->upgrade.candidate)
                step_upgrade_kit(t, e, true);
        if (e->number != s->kit || e->state != EPOCH_KIT)
                return;
        s->kit_ready = true;
        step_forget_the_gone(t);
        if (s->launch_when_ready)
                launch(t);
}

static void on_epoch_event(struct step *t, struct epoch *e)
{
        const struct succession_input *in = t->in;

        switch (in->event) {
        case ON_KIT_READY:
                on_kit_ready(t, e);
                return;
        case ON_KIT_FAILED:
                on_kit_failed(t, e);
                return;
        case ON_PROCESS:
                step_feed(t, e, (struct epoch_input){ .event = ON_LAUNCHED, .pid = in->pid });
                if (e->state == EPOCH_SERVING && t->s->served != e->number)
                        step_accepted(t, e);
                return;
        case ON_LAUNCH_FAILED:
        case ON_EXIT:
                on_exit(t, e);
                return;
        case ON_REQUEST:
                on_request(t, e);
                return;
        case ON_LOOK:
                on_look(t, e);
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
        case ON_STOP:
        case ON_REOPEN_LOGS:
        case ON_UPGRADE:
        case ON_ROLLBACK:
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
}

static void on_event(struct step *t)
{
        const struct succession_input *in = t->in;
        struct epoch *e;

        switch (in->event) {
        case ON_BEGIN:
                make_kit(t, CONTENT_DISK);
                t->s->launch_when_ready = true;
                return;
        case ON_VALIDATED:
                on_validated(t);
                return;
        case ON_CONTENT:
                on_content(t);
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
        case ON_REQUEST:
        case ON_LOOK:
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
