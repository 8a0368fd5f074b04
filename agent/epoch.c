/* SPDX-License-Identifier: MIT */
/* PURE. See epoch.h. */
#include "agent/epoch.h"

#include <signal.h>

/* A look that brings no answer, for want of memory say, is asked for again after LOOK_LOST_MS; an answer comes far earlier. */
enum { LOOK_FIRST_MS = 1, LOOK_SLOWEST_MS = 250, LOOK_LOST_MS = 10000 };

void epoch_init(struct epoch *e, uint64_t number, uint64_t copy_of)
{
        *e = (struct epoch){
                .number = number,
                .copy_of = copy_of,
                .origin = number,
                .state = EPOCH_KIT,
                .launched = MONO_NEVER,
                .up = MONO_NEVER,
                .accepted = MONO_NEVER,
                .next_look = MONO_NEVER,
                .next_sample = MONO_NEVER,
                .quiet_since = MONO_NEVER,
                .drains = MONO_NEVER,
                .silent_until = MONO_NEVER,
                .deadline = MONO_NEVER,
                .kill_by = MONO_NEVER,
                .in_flight = -1,
                .connections = -1,
        };
}

bool epoch_alive(const struct epoch *e)
{
        return e->state >= EPOCH_STARTING && e->state <= EPOCH_STOPPING;
}

bool epoch_has_served(const struct epoch *e)
{
        return e->state != EPOCH_NONE && e->state != EPOCH_KIT && !mono_is_never(e->accepted) && !e->trial;
}

bool epoch_same_content(const struct epoch *a, const struct epoch *b)
{
        return a && b && a->origin == b->origin;
}

const char *epoch_state_name(uint32_t state)
{
        static const char *const names[] = {
                [EPOCH_NONE] = "none",         [EPOCH_KIT] = "kit",           [EPOCH_STARTING] = "starting",
                [EPOCH_WARMING] = "warming",   [EPOCH_SERVING] = "serving",   [EPOCH_DRAINING] = "draining",
                [EPOCH_STOPPING] = "stopping", [EPOCH_GONE] = "gone",
        };

        return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

enum look_lack epoch_lacks(const struct epoch *e, const struct epoch_limits *l)
{
        if (!l->protocol)
                return LACK_READY;
        return mono_is_never(e->up) ? LACK_DRAIN_LISTENERS : (enum look_lack)e->lack;
}

struct mono epoch_next(const struct epoch *e)
{
        return mono_min(mono_min(e->deadline, e->silent_until), mono_min(e->next_look, e->next_sample));
}

static void act(const struct epoch *e, struct effects *out, enum effect_kind kind, int64_t value)
{
        effects_add(out, (struct effect){ .kind = kind, .epoch = e->number, .value = value });
}

static void enter(struct epoch *e, enum epoch_state state, struct mono deadline)
{
        e->state = state;
        e->deadline = deadline;
        e->next_look = MONO_NEVER;
        e->next_sample = MONO_NEVER;
        e->quiet_since = MONO_NEVER;
        e->silent_until = MONO_NEVER;
}

static void term(struct epoch *e, const struct epoch_limits *l, struct mono now, struct effects *out)
{
        act(e, out, DO_SIGNAL, SIGTERM);
        enter(e, EPOCH_STOPPING, l->protocol ? mono_min(e->kill_by, mono_after_ms(now, l->kill_ms)) : e->kill_by);
        if (mono_is_never(e->deadline))
                e->deadline = mono_after_ms(now, l->kill_ms);
}

static void accepts(struct epoch *e, struct mono now)
{
        e->accepted = now;
        enter(e, e->trial ? EPOCH_WARMING : EPOCH_SERVING, MONO_NEVER);
}

/* SIGTERM would make an Envoy that is still starting end its predecessor; under the broker it may also be ignored. */
static void kill_now(struct epoch *e, const struct epoch_limits *l, struct mono now, struct effects *out)
{
        act(e, out, DO_SIGNAL, SIGKILL);
        e->kill_by = mono_min(e->kill_by, now); /* so that a new agent repeats this signal and not a lesser one */
        enter(e, EPOCH_STOPPING, mono_after_ms(now, l->kill_ms));
}

static void gone(struct epoch *e)
{
        enter(e, EPOCH_GONE, MONO_NEVER);
        e->owed = OWED_NOTHING;
}

static void drain(struct epoch *e, const struct epoch_limits *l, struct mono term_by, struct mono now, struct effects *out)
{
        if (mono_is_never(e->drains))
                e->drains = now;
        if (!l->protocol) {
                term(e, l, now, out);
                return;
        }
        act(e, out, DO_FAIL_HEALTHCHECK, 0);
        act(e, out, DO_DRAIN_LISTENERS, 0);
        act(e, out, DO_SAMPLE, 0);
        effects_report(out, e->number, REPORT_DRAINING, 0);
        enter(e, EPOCH_DRAINING, term_by);
        e->ordered = true;
        e->next_sample = mono_after_ms(now, l->sample_ms);
}

void epoch_look(struct epoch *e, struct mono now, struct effects *out)
{
        act(e, out, DO_LOOK, 0);
        e->next_look = mono_after_ms(now, LOOK_LOST_MS);
}

static void look_again(struct epoch *e, struct mono now)
{
        e->next_look = mono_after_ms(now, e->look_ms);
        e->look_ms = e->look_ms * 2 > LOOK_SLOWEST_MS ? LOOK_SLOWEST_MS : e->look_ms * 2;
}

static void launched(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now,
                     struct effects *out)
{
        e->pid = in->pid;
        e->launched = now;
        effects_report(out, e->number, REPORT_LAUNCHED, in->pid);
        if (!e->trial) /* else it is the trial that has a deadline */
                e->deadline = mono_after_ms(now, l->ready_ms);
        if (l->protocol)
                return;
        if (l->probe)
                act(e, out, DO_PROBE, 0);
        else if (!e->speaks && !e->trial) /* nothing else serves: its clients do not wait for words that may never come */
                accepts(e, now);
        else if (!e->speaks)
                e->silent_until = mono_after_ms(now, l->silent_ms);
}

/* Without the protocol an end is gentle, too: it may have begun something whatever it has said. */
static void end_before_up(struct epoch *e, const struct epoch_limits *l, struct mono now, struct effects *out)
{
        if (l->protocol)
                kill_now(e, l, now, out);
        else
                term(e, l, now, out);
}

static void step_starting(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now,
                          struct effects *out)
{
        switch (in->event) {
        case ON_LAUNCHED:
                if (!e->pid) /* else: told again after an agent's death */
                        launched(e, l, in, now, out);
                return;
        case ON_DRAIN_LISTENERS:
                if (!mono_is_never(e->up))
                        return;
                e->up = now;
                e->look_ms = LOOK_FIRST_MS;
                epoch_look(e, now, out);
                return;
        case ON_LOOKED:
                if (in->lack != LACK_NOTHING) {
                        if (e->lack != in->lack)
                                effects_report(out, e->number, REPORT_NOT_ACCEPTING, in->lack);
                        e->lack = in->lack;
                        look_again(e, now);
                        return;
                }
                e->lack = LACK_NOTHING;
                accepts(e, now);
                return;
        case ON_SPOKE:
                e->speaks = true;
                e->silent_until = MONO_NEVER;
                return;
        case ON_READY:
                e->speaks = !l->probe;
                accepts(e, now);
                return;
        case ON_COMMIT_ORDER: /* not before it accepts */
                return;
        case ON_YIELD_ORDER:
        case ON_DRAIN_ORDER:
                if (mono_is_never(e->up))
                        end_before_up(e, l, now, out);
                else
                        drain(e, l, in->term_by, now, out);
                return;
        case ON_TERM_ORDER:
                if (mono_is_never(e->up))
                        end_before_up(e, l, now, out);
                else
                        term(e, l, now, out);
                return;
        case ON_SAMPLED:
                return;
        case ON_ENDED:
                gone(e);
                return;
        case ON_TIME:
                if (!mono_before(now, e->silent_until)) {
                        accepts(e, now);
                        return;
                }
                if (!mono_before(now, e->next_look))
                        epoch_look(e, now, out);
                if (!mono_before(now, e->deadline)) { /* nothing else serves: killing it would help nobody */
                        e->deadline = MONO_NEVER;
                        effects_report(out, e->number, REPORT_READY_LATE, epoch_lacks(e, l));
                }
                return;
        }
}

static void sampled(struct epoch *e, const struct epoch_input *in)
{
        e->in_flight = in->in_flight;
        e->connections = in->connections;
        e->requests_total = in->requests_total;
}

static void step_warming(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now,
                         struct effects *out)
{
        switch (in->event) {
        case ON_COMMIT_ORDER:
                e->trial = false;
                enter(e, EPOCH_SERVING, MONO_NEVER);
                return;
        case ON_YIELD_ORDER:
        case ON_DRAIN_ORDER:
                drain(e, l, in->term_by, now, out);
                return;
        case ON_TERM_ORDER:
                term(e, l, now, out);
                return;
        case ON_LOOKED:
                e->lack = in->lack;
                return;
        case ON_SAMPLED:
                sampled(e, in);
                return;
        case ON_ENDED:
                gone(e);
                return;
        case ON_TIME:
                if (!mono_before(now, e->next_look))
                        epoch_look(e, now, out);
                return;
        case ON_SPOKE:
        case ON_READY:
                e->speaks = !l->probe;
                return;
        case ON_LAUNCHED:
        case ON_DRAIN_LISTENERS:
                return;
        }
}

static void step_serving(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now,
                         struct effects *out)
{
        switch (in->event) {
        case ON_YIELD_ORDER: /* it accepts until it is told to drain */
                enter(e, EPOCH_DRAINING, MONO_NEVER);
                return;
        case ON_DRAIN_ORDER:
                drain(e, l, in->term_by, now, out);
                return;
        case ON_TERM_ORDER:
                term(e, l, now, out);
                return;
        case ON_ENDED:
                gone(e);
                return;
        case ON_SAMPLED:
                sampled(e, in);
                return;
        case ON_TIME:
                if (!mono_before(now, e->next_look)) {
                        e->next_look = mono_after_ms(now, LOOK_LOST_MS);
                        act(e, out, DO_WATCH_LISTENERS, 0);
                }
                return;
        case ON_SPOKE: /* it served from its exec; the next one with its content is waited for */
        case ON_READY:
                e->speaks = !l->probe;
                return;
        case ON_COMMIT_ORDER:
        case ON_LAUNCHED:        /* told again after an agent's death */
        case ON_DRAIN_LISTENERS: /* it says so once; a repeat teaches nothing */
        case ON_LOOKED:          /* the escrow has settled it */
                return;
        }
}

/* Nothing in flight: zero, and not one request more, for quiet_ms without a break. */
static bool drained(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now)
{
        bool moved = in->requests_total != e->requests_total;

        sampled(e, in);
        if (in->in_flight != 0) {
                e->quiet_since = MONO_NEVER;
                return false;
        }
        if (moved || mono_is_never(e->quiet_since))
                e->quiet_since = now;
        return !mono_before(now, mono_after_ms(e->quiet_since, l->quiet_ms));
}

static void step_draining(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now,
                          struct effects *out)
{
        switch (in->event) {
        case ON_SAMPLED:
                e->heard = e->heard || e->ordered;
                if (!e->ordered || !drained(e, l, in, now))
                        return;
                effects_report(out, e->number, REPORT_DRAINED, 0);
                term(e, l, now, out);
                return;
        case ON_TIME:
                if (!mono_before(now, e->deadline)) {
                        effects_report(out, e->number, REPORT_DRAIN_OVERRUN, e->in_flight);
                        term(e, l, now, out);
                        return;
                }
                if (!mono_before(now, e->next_sample)) {
                        act(e, out, DO_SAMPLE, 0);
                        e->next_sample = mono_after_ms(now, l->sample_ms);
                }
                return;
        case ON_DRAIN_ORDER: /* an earlier end overrules */
                if (e->ordered)
                        e->deadline = mono_min(e->deadline, in->term_by);
                else
                        drain(e, l, in->term_by, now, out);
                return;
        case ON_TERM_ORDER:
                term(e, l, now, out);
                return;
        case ON_ENDED:
                gone(e);
                return;
        case ON_YIELD_ORDER:
        case ON_COMMIT_ORDER:
        case ON_LAUNCHED:
        case ON_DRAIN_LISTENERS:
        case ON_LOOKED: /* a look that was under way */
        case ON_SPOKE:
        case ON_READY:
                return;
        }
}

static void step_stopping(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now,
                          struct effects *out)
{
        switch (in->event) {
        case ON_ENDED:
                gone(e);
                return;
        case ON_TERM_ORDER: /* asked twice: firmly */
                e->deadline = mono_min(e->deadline, e->kill_by);
                act(e, out, DO_SIGNAL, SIGTERM);
                return;
        case ON_TIME:
                if (mono_before(now, e->deadline))
                        return;
                effects_report(out, e->number, REPORT_KILLED, 0);
                kill_now(e, l, now, out); /* again after a while: SIGKILL is not lost, but costs nothing either */
                return;
        case ON_YIELD_ORDER:
        case ON_DRAIN_ORDER:
                e->deadline = mono_min(e->deadline, e->kill_by);
                return;
        case ON_COMMIT_ORDER:
        case ON_LAUNCHED:
        case ON_DRAIN_LISTENERS:
        case ON_LOOKED:
        case ON_SPOKE:
        case ON_READY:
        case ON_SAMPLED:
                return;
        }
}

void epoch_step(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now,
                struct effects *out)
{
        if (in->event == ON_DRAIN_ORDER || in->event == ON_TERM_ORDER)
                e->kill_by = mono_min(e->kill_by, in->kill_by);
        switch ((enum epoch_state)e->state) {
        case EPOCH_STARTING:
                step_starting(e, l, in, now, out);
                return;
        case EPOCH_WARMING:
                step_warming(e, l, in, now, out);
                return;
        case EPOCH_SERVING:
                step_serving(e, l, in, now, out);
                return;
        case EPOCH_DRAINING:
                step_draining(e, l, in, now, out);
                return;
        case EPOCH_STOPPING:
                step_stopping(e, l, in, now, out);
                return;
        case EPOCH_NONE:
        case EPOCH_KIT:
        case EPOCH_GONE: /* a late answer */
                return;
        }
}
