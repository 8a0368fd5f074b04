/* SPDX-License-Identifier: MIT */
/* See watch_content.h. */
#include "agent/watch_content.h"

#include <string.h>

#include "agent/cleanup.h"
#include "agent/log.h"

enum { LOOK_EVERY_S = 1 };

static void check(struct agent *a)
{
        const struct kit_maker m = agent_maker(a, a->s.wanted);
        CLEANUP(free_ptr) char *text = NULL;
        size_t n = 0;

        if (kit_read_content(&m, &text, &n) != 0 || n == 0)
                return; /* being replaced: the next look sees it */
        if (a->content_baseline && a->content_baseline_bytes == n && memcmp(a->content_baseline, text, n) == 0)
                return;
        free(a->content_baseline);
        a->content_baseline = TAKE(text);
        a->content_baseline_bytes = n;
        agent_feed(a, &(struct succession_input){ .event = ON_CONTENT });
}

static void on_settled(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct agent *a = w->data;

        (void)revents;
        ev_timer_stop(loop, w);
        if (a->content_watched)
                check(a);
}

/* Files are often written in pieces: look when nothing has moved for the debounce. */
static void on_stat(struct ev_loop *loop, ev_stat *w, int revents)
{
        struct agent *a = w->data;

        (void)revents;
        ev_timer_again(loop, &a->content_settle);
}

void watch_content(struct agent *a, uint64_t epoch, enum content_watch how)
{
        const struct kit_maker m = agent_maker(a, epoch);

        if (a->content_watched) {
                ev_stat_stop(a->loop, &a->content);
                ev_timer_stop(a->loop, &a->content_settle);
                a->content_watched = false;
        }
        if (how == WATCH_OFF || !m.args->config_path)
                return;
        if (how == WATCH_SINCE_SNAPSHOT || !a->content_baseline || a->content_served != a->s.served) {
                free(TAKE(a->content_baseline));
                a->content_baseline_bytes = 0;
                a->content_served = a->s.served;
                if (how == WATCH_SINCE_NOW)
                        (void)kit_read_content(&m, &a->content_baseline, &a->content_baseline_bytes);
                else
                        (void)kit_read_snapshot(&m, epoch, &a->content_baseline, &a->content_baseline_bytes);
        }
        ev_stat_init(&a->content, on_stat, m.args->config_path, LOOK_EVERY_S);
        ev_timer_init(&a->content_settle, on_settled, 0., (double)(a->options->debounce_ms > 0 ? a->options->debounce_ms : 1) / 1e3);
        a->content.data = a;
        a->content_settle.data = a;
        a->content_watched = true;
        ev_stat_start(a->loop, &a->content);
        ev_timer_again(a->loop, &a->content_settle); /* it may have changed since it was last looked at */
}
