/* SPDX-License-Identifier: MIT */
/*
 * PURE. What the files of the succession share: one step of it. Private to them.
 *
 *   succession.c         what each event means
 *   succession_stop.c    how a stop goes
 *   succession_resume.c  a new agent goes on
 *   succession_view.c    what the state says to those who ask
 */
#pragma once

#include "agent/succession.h"

struct step {
        struct succession *s;
        const struct succession_limits *l;
        const struct succession_input *in;
        struct mono now;
        struct effects *out;
};

void step_act(struct step *t, enum effect_kind kind, uint64_t epoch, int64_t value);
void step_feed(struct step *t, struct epoch *e, struct epoch_input in);
void step_accepted(struct step *t, struct epoch *e); /* it is the one that serves from now on */
void step_end(struct step *t, int status);           /* of all of it; at once if nothing lives, else with the last exit */
void step_stop(struct step *t);                      /* it is asked for, once more or for the first time */
void step_stop_accepting(struct step *t);            /* its delay is over, or what came with that */
void step_forget_the_gone(struct step *t);
void step_watch_content(struct step *t);
bool succession_any_alive(const struct succession *s);
