/* SPDX-License-Identifier: MIT */
/*
 * PURE. What the files of the succession share: one step of it. Private to them.
 *
 *   succession.c         what each event means; a generation ends
 *   succession_kit.c     the kit that lies ready, its launch, and what is forgotten of the gone
 *   succession_up.c      a generation comes up: its requests, the looks at it, it serves
 *   succession_plain.c   proxies that do not speak the protocol
 *   succession_upgrade.c the candidate of an upgrade or rollback, its commit and what follows
 *   succession_auto.c    upgrades that nobody asks for
 *   succession_stop.c    how a stop goes
 *   succession_resume.c  a new agent goes on
 *   succession_view.c    what the state says to those who ask
 */
#pragma once

#include "agent/succession.h"

enum { STATUS_FAILED = 1, STATUS_INVALID = 2 }; /* exit statuses */

struct step {
        struct succession *s;
        const struct succession_limits *l;
        const struct succession_input *in;
        struct mono now;
        struct effects *out;
};

void step_act(struct step *t, enum effect_kind kind, uint64_t epoch, int64_t value);
void step_feed(struct step *t, struct epoch *e, struct epoch_input in);
void step_end(struct step *t, int status);           /* of all of it; at once if nothing lives, else with the last exit */
void step_stop(struct step *t);                      /* it is asked for, once more or for the first time */
void step_stop_accepting(struct step *t);            /* its delay is over, or what came with that */
void step_launch_failed(struct step *t);             /* it takes its wait and its token */
struct epoch_input step_drain_order(const struct step *t);
void step_watch_content(struct step *t);
bool step_hold(struct step *t);                      /* clients wait, and not for ever. Return: they did not before */
bool step_waits_for_content(const struct succession *s); /* a relaunch does: what is changed is tried at once */
void step_content_changed(struct step *t, int64_t what); /* as ON_CONTENT says it */

/* succession_kit.c */
void step_forget_the_gone(struct step *t);
struct epoch *step_new_kit(struct step *t, uint64_t copy_of, uint64_t command); /* NULL: no slot is free */
void step_make_kit(struct step *t, uint64_t copy_of);
void step_retry_kit(struct step *t);                 /* after one that failed */
void step_throw_kit_away(struct step *t);
void step_renew_kit(struct step *t, uint64_t copy_of);
void step_launch(struct step *t);                    /* now, or when the kit is ready */
void step_kit_ready(struct step *t, struct epoch *e);
void step_kit_failed(struct step *t, struct epoch *e);
bool step_use_kept(struct step *t);                  /* Return: false: there is nothing, or it was tried */

/* succession_up.c */
void step_serves(struct step *t, struct epoch *e);   /* what holds for every generation that has begun to serve */
void step_keep(struct step *t, const struct epoch *e); /* its content is what comes back after a reboot */
void step_accepted(struct step *t, struct epoch *e); /* it is the one that serves from now on */
enum look_lack step_judge(struct step *t, const struct epoch *e);
void step_looked(struct step *t, struct epoch *e);
void step_requested(struct step *t, struct epoch *e);
void step_opened(struct step *t, struct epoch *e);    /* what its request waited for */

/* succession_plain.c */
void step_arrived(struct step *t, struct epoch *e);      /* whatever was fed to it: is it ready now? */
bool step_observed(struct step *t);                      /* the candidate's deadline is the end of its observation: it serves */
void step_plain_launch(struct step *t, struct epoch *e); /* before any launch */
bool step_waits_for_predecessor(struct step *t);         /* a candidate may be launched: when the one that serves has ended? */
void step_come_back(struct step *t);                     /* a candidate came to nothing */
void step_one_by_one(struct step *t);                    /* somebody has ended: whoever waited for that is launched */

/* succession_upgrade.c */
void step_upgrade_asked(struct step *t);
void step_rollback_asked(struct step *t);
void step_upgrade_begin(struct step *t);             /* the next one, if it may begin */
void step_upgrade_kit(struct step *t, struct epoch *e, bool made);
void step_upgrade_preflight(struct step *t, struct epoch *e);
void step_upgrade_launch(struct step *t, struct epoch *e);
void step_upgrade_commit(struct step *t, struct epoch *e);
void step_upgrade_looked(struct step *t, struct epoch *e);
void step_upgrade_ambiguous(struct step *t);
void step_upgrade_ended(struct step *t, struct epoch *e); /* any generation: it may be the candidate, or the one that leaves */
void step_upgrade_clock(struct step *t);
void step_upgrade_left(struct step *t);
void step_upgrade_cancel(struct step *t, const char *reason); /* all of it: a stop */
struct mono upgrade_next(const struct succession *s);

/* succession_auto.c */
void step_content_seen(struct step *t);
void step_auto_paused(struct step *t); /* or not any more */
void step_auto_clock(struct step *t);
void step_auto_taken(struct step *t);  /* a kit was read from disk */

/* succession_view.c */
bool succession_any_alive(const struct succession *s);
