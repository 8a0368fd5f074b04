/* SPDX-License-Identifier: MIT */
/* See watch_content.h. */
#include "agent/watch_content.h"

#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/same_file.h"

enum { LOOK_EVERY_S = 1 };

static bool config_changed(struct content_wait *c, const struct kit_maker *m)
{
        CLEANUP(free_ptr) char *text = NULL;
        size_t n = 0;

        if (!m->args->config_path || kit_read_content(m, &text, &n) != 0 || n == 0)
                return false; /* being replaced: the next look sees it */
        if (c->config && c->config_bytes == n && memcmp(c->config, text, n) == 0)
                return false;
        free(c->config);
        c->config = TAKE(text);
        c->config_bytes = n;
        return true;
}

static bool program_changed(struct content_wait *c, const struct stat *now)
{
        if (!(now->st_mode & 0111) || (same_file(now, &c->program) && (c->program.st_mode & 0111)))
                return false; /* one that has gone, or is not executable yet, cannot be started */
        c->program = *now;
        return true;
}

/* Repeats until nothing has moved in between. */
static void on_settled(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct agent *a = w->data;
        struct content_wait *c = &a->content;
        const struct kit_maker m = agent_maker(a, c->epoch);
        struct stat now = file_at(m.args->config_path);

        (void)revents;
        if (!same_file(&now, &c->seen_config)) {
                c->seen_config = now;
                return;
        }
        ev_timer_stop(loop, w);
        if (config_changed(c, &m))
                agent_feed(a, &(struct succession_input){ .event = ON_CONTENT, .value = CHANGED_RELAUNCH });
}

/*
 * Files are often written in pieces. A config that is read too early is refused by the proxy, at the cost of a start; a program that is
 * started too early may do anything, so it counts only when two looks have found it the same.
 */
static void on_look(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct agent *a = w->data;
        struct content_wait *c = &a->content;
        const struct kit_maker m = agent_maker(a, c->epoch);
        struct stat config = file_at(m.args->config_path), program = file_at(m.args->program);
        bool still = same_file(&program, &c->seen_program);

        (void)revents;
        ev_now_update(loop);
        ev_timer_again(loop, w); /* a whole second from now on: a loop that was held up would catch up with two looks in a row */
        if (!same_file(&config, &c->seen_config))
                ev_timer_again(loop, &c->settle);
        c->seen_config = config;
        c->seen_program = program;
        if (still && program_changed(c, &program))
                agent_feed(a, &(struct succession_input){ .event = ON_CONTENT, .value = CHANGED_PROGRAM });
}

static void compare_with(struct content_wait *c, const struct kit_maker *m, bool snapshot, uint64_t epoch, struct stat program)
{
        free(TAKE(c->config));
        c->config_bytes = 0;
        c->program = program;
        if (snapshot)
                (void)kit_read_snapshot(m, epoch, &c->config, &c->config_bytes);
        else if (m->args->config_path)
                (void)kit_read_content(m, &c->config, &c->config_bytes);
}

static void take_baseline(struct agent *a, const struct kit_maker *m, uint64_t epoch, enum content_watch how)
{
        bool snapshot = how == WATCH_SINCE_SNAPSHOT;
        const struct proc *p = snapshot ? agent_proc(a, epoch) : NULL; /* NULL: it has not been tried, and is no news either */

        a->content.based = true;
        a->content.served = a->s.served;
        compare_with(&a->content, m, snapshot, epoch, p ? p->binary : file_at(m->args->program));
}

void watch_content_tried(struct agent *a, const struct kit_maker *m, const struct stat *program)
{
        struct content_wait *c = &a->content;

        if (!c->based || c->served != a->s.served || m->command != agent_maker(a, a->s.wanted).command)
                return; /* of another command other files are looked at */
        compare_with(c, m, false, NO_EPOCH, *program);
}

void watch_content(struct agent *a, uint64_t epoch, enum content_watch how)
{
        const struct kit_maker m = agent_maker(a, epoch);
        struct content_wait *c = &a->content;

        if (c->on) {
                ev_timer_stop(a->loop, &c->look);
                ev_timer_stop(a->loop, &c->settle);
                c->on = false;
        }
        if (how == WATCH_OFF)
                return;
        if (how == WATCH_SINCE_SNAPSHOT || !c->based || c->served != a->s.served)
                take_baseline(a, &m, epoch, how);
        if (how == WATCH_LAUNCHED)
                return;
        ev_timer_init(&c->look, on_look, LOOK_EVERY_S, LOOK_EVERY_S);
        ev_timer_init(&c->settle, on_settled, 0., (double)(a->options->debounce_ms > 0 ? a->options->debounce_ms : 1) / 1e3);
        c->look.data = a;
        c->settle.data = a;
        c->epoch = epoch;
        c->seen_config = file_at(m.args->config_path);
        c->seen_program = file_at(m.args->program);
        c->on = true;
        ev_now_update(a->loop);
        ev_timer_again(a->loop, &c->look);
        ev_timer_again(a->loop, &c->settle); /* it may have changed since it was last looked at */
}
