/* SPDX-License-Identifier: MIT */
/*
 * PURE. A generation comes up: what its requests get, what a look at it says, and what follows when it is the one that serves.
 * See succession.h.
 */
#include "agent/succession_step.h"

#include <stddef.h>

enum { ADDED_LOOK_MS = 20 };

void step_serves(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        const struct epoch *kit = succession_find(s, s->kit);

        s->served = e->number;
        s->outage = MONO_NEVER;
        s->hold_until = MONO_NEVER;
        s->validating = false;
        s->come_back = COME_BACK_NOT;
        backoff_serving(&s->backoff, t->now);
        if (s->unready)
                step_act(t, DO_FAIL_HEALTHCHECK, e->number, 0);
        if (!epoch_same_content(kit, e))
                step_renew_kit(t, e->number);
}

/* Last, for it waits for the disk. */
void step_keep(struct step *t, const struct epoch *e)
{
        if (t->l->keeps)
                step_act(t, DO_KEEP, e->number, 0);
}

void step_accepted(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        /* Not s->last: that may be about an upgrade that failed meanwhile. */
        bool crash = s->served != NO_EPOCH && !mono_is_never(s->outage);
        int64_t gap = crash ? t->now.ns - s->outage.ns : -1;

        if (s->served == NO_EPOCH && t->in->look && t->in->look->create_failures)
                effects_report(t->out, e->number, REPORT_CREATE_FAILURES, (int64_t)t->in->look->create_failures);
        s->crashes_recovered += crash && !s->come_back;
        if (!s->come_back)
                s->last = (struct last_change){ .kind = crash ? LAST_CRASH : LAST_START, .result = RESULT_COMMITTED, .gap_ns = gap,
                                                .from = crash ? s->crashed : e->number, .to = e->number,
                                                .at_ns = crash ? s->outage.ns : t->now.ns };
        else
                s->last.gap_ns = gap;
        effects_report(t->out, e->number, REPORT_ACCEPTED, gap);
        step_serves(t, e);
        step_forget_the_gone(t);
        step_keep(t, e);
}

enum look_lack step_judge(struct step *t, const struct epoch *e)
{
        struct succession *s = t->s;
        const struct epoch *before = succession_find(s, s->served);
        const struct escrow_gate gate = {
                .epoch = e->number,
                .first = s->served == NO_EPOCH,
                .after_crash = s->served != NO_EPOCH && !mono_is_never(s->outage),
                .same_content = epoch_same_content(before, e),
                .allow_loss = t->l->allow_loss,
                .create_failures_before = s->create_failures,
        };

        return escrow_take_look(&s->escrow, &gate, t->in->look);
}

void step_looked(struct step *t, struct epoch *e)
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
        bool pass = key != NO_KEY && held->keys[key].inode && !held->keys[key].silenced &&
                    e->number == t->s->leaver && !e->ordered;

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

static void revive(struct step *t, const struct epoch *e, uint32_t key)
{
        struct succession *s = t->s;

        effects_add(t->out, (struct effect){ .kind = DO_REVIVE, .epoch = e->number, .key = key });
        s->escrow.keys[key].silenced = false;
        if (step_hold(t))
                effects_report(t->out, e->number, REPORT_REVIVED, 0);
}

/* @opened: just now, for it */
static void answer_pass(struct step *t, struct epoch *e, bool retold, bool opened)
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
        if (key != NO_KEY && (opened || !s->escrow.keys[key].inode)) /* it opens its own, or will be the first to listen */
                s->escrow.keys[key].shuffled = strangers_listen(s, e);
        if (e->number == s->escrow.trial && key != NO_KEY && !s->escrow.keys[key].inode)
                escrow_grow(&s->escrow, t->in->key, t->out);
        if (pass && s->escrow.keys[key].silenced)
                revive(t, e, key);
        else if (pass && s->escrow.keys[key].fresh && !mono_is_never(s->outage))
                (void)step_hold(t); /* from its listen() on */
}

/* Nothing is taken yet, so an agent that dies before ON_OPENED is stored finds the request again; what it had opened is closed. */
static bool opens_first(struct step *t, const struct epoch *e)
{
        struct succession *s = t->s;
        int port = t->in->request == HR_PASS_LISTEN_SOCKET ? hr_key_tcp_port(t->in->key) : -1;
        uint32_t key;

        if (port <= 0 || port >= t->l->low_ports || s->stop_drains || s->end != END_NOT || (e->number != s->wanted && e->number != s->escrow.trial))
                return false;
        key = escrow_to_open(&s->escrow, e->number, t->in->key);
        if (key != NO_KEY)
                effects_add(t->out, (struct effect){ .kind = DO_OPEN, .epoch = e->number, .key = key });
        return key != NO_KEY;
}

static void answer(struct step *t, struct epoch *e, bool opened)
{
        bool retold = e->retold;

        e->retold = false;
        e->owed = hr_parent_owes(t->in->request);
        if (e->owed == OWED_PASS && e->number != t->s->wanted && e->number != t->s->escrow.trial)
                answer_bystander(t, e);
        else if (e->owed == OWED_PASS)
                answer_pass(t, e, retold, opened);
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

void step_requested(struct step *t, struct epoch *e)
{
        if (!epoch_alive(e)) /* what a dead one has left in its queue must not revive anything */
                step_act(t, DO_TAKE, e->number, 0);
        else if (!opens_first(t, e))
                answer(t, e, false);
}

void step_opened(struct step *t, struct epoch *e)
{
        struct escrow *held = &t->s->escrow;
        uint32_t key = (uint32_t)t->in->value;
        const struct hr_key asked = held->keys[key].key;
        const struct succession_input request = { .event = ON_REQUEST, .epoch = e->number, .request = HR_PASS_LISTEN_SOCKET, .key = &asked };
        struct step again = *t;

        if (t->in->inode)
                escrow_opened(held, e->number, key, t->in->inode);
        again.in = &request;
        answer(&again, e, t->in->inode != 0);
}
