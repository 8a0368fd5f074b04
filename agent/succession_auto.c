/* SPDX-License-Identifier: MIT */
/*
 * PURE. Upgrades that nobody asks for: what lies on disk is compared with what serves and with what was tried last, and put to work
 * unless it is either. See succession.h.
 */
#include "agent/succession_step.h"

enum { FULL_AGAIN_MS = 1000 };

/* What is on disk is neither what serves nor what was refused. */
static bool is_news(const struct succession *s)
{
        const struct epoch *serves = succession_look_up(s, s->served);

        return digest_known(&s->disk) && !digest_same(&s->disk, &s->taken) && !(serves && digest_same(&s->disk, &serves->digest));
}

void step_content_seen(struct step *t)
{
        struct succession *s = t->s;
        bool again = digest_same(&s->disk, &t->in->digest);

        s->disk = t->in->digest;
        if (!digest_known(&s->taken)) /* the state that knew it is lost: from now on */
                s->taken = s->disk;
        if (!is_news(s)) {
                s->taken = s->disk; /* changed back, perhaps: the next other content is news */
                s->auto_at = MONO_NEVER;
                return;
        }
        if (s->stops || s->end != END_NOT || again)
                return;
        if (step_waits_for_content(s)) {
                step_content_changed(t, CHANGED_RELAUNCH);
                return;
        }
        if (t->l->no_auto || s->paused) {
                effects_report(t->out, s->wanted, REPORT_CONTENT_CHANGED, s->paused ? CHANGED_PAUSED : CHANGED_HELD_BACK);
                return;
        }
        s->auto_at = mono_after_ms(t->now, t->in->value);
        effects_report(t->out, s->wanted, REPORT_CONTENT_CHANGED, t->in->value);
}

void step_auto_paused(struct step *t)
{
        struct succession *s = t->s;

        s->auto_at = s->paused || t->l->no_auto || !is_news(s) ? MONO_NEVER : t->now;
}

void step_auto_clock(struct step *t)
{
        struct succession *s = t->s;
        struct run what = { .kind = RUN_UPGRADE, .copy_of = CONTENT_DISK, .command = COMMAND_RUNNING, .observe_ms = t->l->observe_ms };

        if (mono_before(t->now, s->auto_at))
                return;
        s->auto_at = MONO_NEVER;
        if (s->stops || s->end != END_NOT || !is_news(s))
                return;
        if (upgrade_ask(&s->upgrade, 0, &what) == UPGRADE_FULL)
                s->auto_at = mono_after_ms(t->now, FULL_AGAIN_MS);
}

/* Read from disk just now, whether or not anything comes of it: not again by itself until it changes. */
void step_auto_taken(struct step *t)
{
        if (digest_known(&t->in->digest))
                t->s->taken = t->in->digest;
}
