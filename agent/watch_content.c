/* SPDX-License-Identifier: MIT */
/* See watch_content.h. */
#include "agent/watch_content.h"

#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/same_file.h"

enum { LOOK_EVERY_S = 1 };

/* Links are followed: what they lead to is what would be started. */
static struct stat file_at(const char *path)
{
        struct stat st;

        return path && stat(path, &st) == 0 ? st : (struct stat){ 0 };
}

static bool is_there(const struct stat *st)
{
        return st->st_nlink > 0;
}

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

static bool program_changed(struct content_wait *c, const struct kit_maker *m)
{
        struct stat now = file_at(m->args->program);

        if (!is_there(&now) || same_file(&now, &c->program))
                return false;
        c->program = now;
        return true;
}

static void on_settled(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct agent *a = w->data;
        const struct kit_maker m = agent_maker(a, a->content.epoch);
        bool config = config_changed(&a->content, &m), program = program_changed(&a->content, &m);

        (void)revents;
        ev_timer_stop(loop, w);
        if (config || program)
                agent_feed(a, &(struct succession_input){ .event = ON_CONTENT, .value = config ? CHANGED_RELAUNCH : CHANGED_PROGRAM });
}

/* Files are often written in pieces: read them when nothing has moved for the debounce. */
static void on_look(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct agent *a = w->data;
        const struct kit_maker m = agent_maker(a, a->content.epoch);
        struct content_seen now = { file_at(m.args->config_path), file_at(m.args->program) };

        (void)revents;
        if (same_file(&now.config, &a->content.seen.config) && same_file(&now.program, &a->content.seen.program))
                return;
        a->content.seen = now;
        ev_timer_again(loop, &a->content.settle);
}

static void take_baseline(struct agent *a, const struct kit_maker *m, uint64_t epoch, enum content_watch how)
{
        struct content_wait *c = &a->content;
        const struct proc *p = agent_proc(a, epoch);

        free(TAKE(c->config));
        c->config_bytes = 0;
        c->based = true;
        c->served = a->s.served;
        if (how == WATCH_SINCE_NOW) {
                if (m->args->config_path)
                        (void)kit_read_content(m, &c->config, &c->config_bytes);
                c->program = file_at(m->args->program);
                return;
        }
        (void)kit_read_snapshot(m, epoch, &c->config, &c->config_bytes);
        if (!p) /* no kit was made of it: what is there has not been tried, and is no news either */
                c->program = file_at(m->args->program);
        else if (p->binary_fd < 0 || fstat(p->binary_fd, &c->program) < 0)
                c->program = (struct stat){ 0 };
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
        ev_timer_init(&c->look, on_look, LOOK_EVERY_S, LOOK_EVERY_S);
        ev_timer_init(&c->settle, on_settled, 0., (double)(a->options->debounce_ms > 0 ? a->options->debounce_ms : 1) / 1e3);
        c->look.data = a;
        c->settle.data = a;
        c->epoch = epoch;
        c->seen = (struct content_seen){ file_at(m.args->config_path), file_at(m.args->program) };
        c->on = true;
        ev_timer_again(a->loop, &c->look);
        ev_timer_again(a->loop, &c->settle); /* it may have changed since it was last looked at */
}
