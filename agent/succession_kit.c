/* SPDX-License-Identifier: MIT */
/*
 * PURE. The kit that lies ready: from which content it is made, when it is thrown away, its launch; and what is forgotten of
 * those that have gone. See succession.h.
 */
#include "agent/succession_step.h"

#include <stddef.h>

enum { KIT_RETRY_MS = 1000 };

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
        epoch_init(e, s->next_number++, source || copy_of == CONTENT_KEPT ? copy_of : CONTENT_DISK);
        e->command = command;
        if (source) {
                e->origin = source->origin;
                e->command = source->command;
                e->certs = source->certs;
                e->certs_to = source->certs_to;
                e->digest = source->digest;
        }
        step_act(t, DO_MAKE_KIT, e->number, (int64_t)e->copy_of);
        return e;
}

static uint64_t wanted_command(struct succession *s)
{
        const struct epoch *w = succession_find(s, s->wanted);

        return w ? w->command : 0;
}

void step_make_kit(struct step *t, uint64_t copy_of)
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

void step_throw_kit_away(struct step *t)
{
        struct epoch *e = succession_find(t->s, t->s->kit);

        t->s->kit = NO_EPOCH;
        t->s->kit_ready = false;
        if (e)
                e->state = EPOCH_GONE;
}

void step_renew_kit(struct step *t, uint64_t copy_of)
{
        step_throw_kit_away(t);
        step_make_kit(t, copy_of);
        step_forget_the_gone(t);
}

/* Content that was changed and could not be read gives way to what served; before anything served there is no other. */
static uint64_t retry_from(struct succession *s)
{
        const struct epoch *w = succession_find(s, s->wanted);

        if (s->served != NO_EPOCH)
                return s->served;
        if (s->kept_used && !s->kept_failed)
                return CONTENT_KEPT;
        if (s->kept_failed)
                return CONTENT_DISK;
        return w && !s->kit_from_disk ? w->number : CONTENT_DISK;
}

void step_retry_kit(struct step *t)
{
        step_make_kit(t, retry_from(t->s));
}

void step_launch(struct step *t)
{
        struct succession *s = t->s;
        struct epoch *e = succession_find(s, s->kit);

        s->relaunch_at = MONO_NEVER;
        if (!e || !s->kit_ready) {
                s->launch_when_ready = true;
                if (!e && mono_is_never(s->kit_retry_at))
                        step_make_kit(t, s->served == NO_EPOCH ? CONTENT_DISK : s->served);
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
        if (!s->come_back) /* else it is told what the candidate came to */
                s->last.to = e->number;
        s->kit = NO_EPOCH;
        step_plain_launch(t, e);
        step_act(t, DO_LAUNCH, e->number, 0);
        step_act(t, DO_WATCH_CONTENT, e->number, s->served == NO_EPOCH ? WATCH_OFF : WATCH_LAUNCHED);
        step_make_kit(t, e->number);
}

void step_kit_ready(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        const struct epoch *original;

        e->base_id = t->in->base_id;
        e->udp = t->in->value != 0;
        if (digest_known(&t->in->digest))
                e->digest = t->in->digest;
        if (e->copy_of == CONTENT_DISK || e->copy_of == CONTENT_KEPT) {
                e->certs = t->in->certs;
                e->certs_to = t->in->certs_to;
        }
        step_auto_taken(t);
        original = t->in->is_copy ? succession_find(s, t->in->original) : NULL;
        if (original) /* the same was read from disk once more */
                e->origin = original->origin;
        if (e->number == s->upgrade.candidate)
                step_upgrade_kit(t, e, true);
        if (e->number != s->kit || e->state != EPOCH_KIT)
                return;
        s->kit_ready = true;
        step_forget_the_gone(t);
        if (s->launch_when_ready)
                step_launch(t);
}

/* At the first start of an instance alone: later there is what served. */
bool step_use_kept(struct step *t)
{
        struct succession *s = t->s;

        if (!t->l->kept || s->kept_used || s->served != NO_EPOCH)
                return false;
        s->kept_used = true;
        effects_report(t->out, s->wanted, REPORT_KEPT, 0);
        step_renew_kit(t, CONTENT_KEPT);
        step_launch(t);
        return true;
}

void step_kit_failed(struct step *t, struct epoch *e)
{
        struct succession *s = t->s;
        bool from_disk = e->copy_of == CONTENT_DISK, kept = e->copy_of == CONTENT_KEPT;

        if (t->in->value > 0) /* it cannot be read, and will not be until it changes */
                step_auto_taken(t);
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
        s->kept_failed = s->kept_failed || kept;
        if (from_disk && t->in->value > 0 && step_use_kept(t)) /* an error of ours says nothing about the content */
                return;
        if ((from_disk || kept) && s->served == NO_EPOCH && s->wanted == NO_EPOCH && !t->l->wait_exhausted) {
                step_end(t, t->in->value < 0 ? STATUS_FAILED : STATUS_INVALID); /* the shell has said which file */
                return;
        }
        if (s->launch_when_ready && s->served != NO_EPOCH) { /* nobody serves: no try is free, and none goes on for ever */
                step_launch_failed(t);
                return;
        }
        s->kit_retry_at = mono_after_ms(t->now, KIT_RETRY_MS);
}
