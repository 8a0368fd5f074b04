/* SPDX-License-Identifier: MIT */
/* Which sockets are kept, passed, silenced, closed; and the gate, with each thing that may lack. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "agent/escrow.h"

static struct escrow e;
static struct effects fx;

static struct hr_key key(const char *url, uint32_t worker)
{
        struct hr_key k = { .worker = worker };

        (void)snprintf(k.url, sizeof(k.url), "%s", url);
        return k;
}

/* Held with inode 10 + index, asked for by epoch 1 and passed to it; an outage is over when epoch 1 accepts on them. */
static void begin(size_t n)
{
        static const char *const urls[] = { "tcp://0.0.0.0:80", "tcp://0.0.0.0:81", "udp://0.0.0.0:82" };

        memset(&e, 0, sizeof(e));
        escrow_init(&e);
        fx.n = 0;
        for (uint32_t i = 0; i < n; i++) {
                struct hr_key k = key(urls[i], 0);
                uint32_t index;

                cr_assert_eq(escrow_held_by_keeper(&e, &k, 10 + i), i);
                cr_assert(escrow_asked(&e, 1, &k, &index) && index == i);
        }
}

static const char statics[2][HR_URL_BYTES] = { "tcp://0.0.0.0:80", "tcp://0.0.0.0:81" };
static struct look_key seen[3];

static struct look good(size_t n)
{
        for (uint32_t i = 0; i < n; i++)
                seen[i] = (struct look_key){ .key = i, .inode = 10 + i, .listed = true };
        return (struct look){ .keys = seen, .n = n, .statics = statics, .n_statics = 2, .admin_answered = true };
}

static struct look from_outside(size_t n)
{
        struct look l = good(n);

        l.n_statics = 1;
        l.lds = l.lds_answered = l.listeners_known = true;
        return l;
}

static const struct escrow_gate crash = { .epoch = 1, .after_crash = true, .same_content = true };

static bool did(enum effect_kind kind, uint32_t index)
{
        for (size_t i = 0; i < fx.n; i++)
                if (fx.list[i].kind == kind && fx.list[i].key == index)
                        return true;
        return false;
}

Test(escrow, what_is_held_is_passed_and_what_is_not_is_answered_with_nothing)
{
        struct hr_key known = key("tcp://0.0.0.0:80", 0), other = key("tcp://0.0.0.0:80", 1);
        uint32_t index;

        begin(1);
        cr_assert(escrow_asked(&e, 2, &known, &index));
        cr_assert_not(escrow_asked(&e, 2, &other, &index), "another worker is another key");
        cr_assert_eq(index, 1);
}

Test(escrow, a_full_table_answers_with_nothing_and_forgets_nobody)
{
        uint32_t index;

        memset(&e, 0, sizeof(e));
        escrow_init(&e);
        for (uint32_t i = 0; i <= KEYS_MAX; i++) {
                struct hr_key k = key("tcp://0.0.0.0:80", i);

                cr_assert_not(escrow_asked(&e, 0, &k, &index));
                cr_assert_eq(index, i < KEYS_MAX ? i : NO_KEY);
        }
}

Test(escrow, a_slot_that_nobody_needs_is_used_again_and_no_other_moves)
{
        struct hr_key old = key("tcp://0.0.0.0:1", 0), held = key("tcp://0.0.0.0:2", 0), fresh = key("tcp://0.0.0.0:3", 0);
        struct look l = { .keys = seen, .n = 1, .admin_answered = true };
        uint32_t index;

        memset(&e, 0, sizeof(e));
        escrow_init(&e);
        (void)escrow_asked(&e, 0, &old, &index);
        (void)escrow_asked(&e, 1, &held, &index);
        seen[0] = (struct look_key){ .key = index, .inode = 5 };
        escrow_settle(&e, 1, &l, &fx);
        (void)escrow_asked(&e, 1, &fresh, &index);
        cr_assert_eq(index, 0);
        cr_assert_eq(escrow_find(&e, &held), 1);
        cr_assert_eq(escrow_find(&e, &old), NO_KEY);
}

Test(escrow, what_the_keeper_holds_is_in_nobodys_way)
{
        struct hr_key one = key("tcp://0.0.0.0:1", 0), two = key("tcp://0.0.0.0:2", 0);

        memset(&e, 0, sizeof(e));
        escrow_init(&e);
        cr_assert_eq(escrow_held_by_keeper(&e, &one, 5), 0);
        cr_assert_eq(escrow_held_by_keeper(&e, &two, 6), 1, "a slot whose key is held is not free");
        cr_assert_eq(escrow_held_by_keeper(&e, &one, 7), 0);
        cr_assert(e.keys[0].inode == 7 && e.keys[1].inode == 6);
}

Test(gate, nothing_lacks_when_every_key_is_accepted_from)
{
        struct look l = good(2);

        begin(2);
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_NOTHING);
}

Test(gate, a_harvest_that_failed_lacks)
{
        struct look l = good(2);

        begin(2);
        l.harvest_failed = true;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_HARVEST);
}

Test(gate, an_admin_that_does_not_answer_lacks)
{
        struct look l = good(2);

        begin(2);
        l.admin_answered = false;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_ADMIN);
}

Test(gate, a_static_key_that_is_not_returned_or_with_another_inode_lacks)
{
        struct look l = good(2);

        begin(2);
        seen[1].inode = 0;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_STATIC_KEY);
        seen[1].inode = 99;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_STATIC_KEY);
        seen[1].inode = 11;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_NOTHING);
}

Test(gate, a_static_key_that_was_not_asked_for_lacks_unless_the_content_changed)
{
        struct escrow_gate changed = crash;
        struct look l = good(2);

        begin(2);
        e.keys[1].by[CLAIM_WANTED].epoch = 0;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_STATIC_KEY);
        changed.same_content = false;
        cr_assert_eq(escrow_take_look(&e, &changed, &l), LACK_STATIC_KEY, "its worker 0 asks however many there are");
        e.keys[1].key.worker = 1;
        cr_assert_eq(escrow_take_look(&e, &changed, &l), LACK_NOTHING, "fewer workers");
        e.keys[1].key.worker = 0;
        l.n_statics = 1;
        cr_assert_eq(escrow_take_look(&e, &changed, &l), LACK_NOTHING, "the listener has gone");
}

Test(gate, a_key_from_outside_must_be_back_or_declared_gone)
{
        struct escrow_gate lossy = crash;
        struct look l = from_outside(2);

        begin(2);
        seen[1].inode = 0;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_LDS, "its address is listed");
        seen[1].listed = false;
        l.lds_answered = false;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_LDS, "the control plane has said nothing");
        l.lds_answered = true;
        l.listeners_known = false;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_LDS, "the list was not to be had");
        lossy.allow_loss = true;
        cr_assert_eq(escrow_take_look(&e, &lossy, &l), LACK_NOTHING);
        l.listeners_known = true;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_NOTHING, "removed while nobody served");
}

Test(gate, listeners_that_could_not_be_created_lack_unless_it_was_so_before_or_at_the_first_start)
{
        struct escrow_gate g = crash;
        struct look l = good(2);

        begin(2);
        l.create_failures = 1;
        cr_assert_eq(escrow_take_look(&e, &g, &l), LACK_CREATE_FAILURES);
        g.create_failures_before = 1;
        cr_assert_eq(escrow_take_look(&e, &g, &l), LACK_NOTHING);
        g.create_failures_before = 0;
        g.first = true;
        cr_assert_eq(escrow_take_look(&e, &g, &l), LACK_NOTHING);
}

Test(gate, after_a_crash_each_queue_must_be_seen_empty_or_shorter_than_it_was)
{
        struct escrow_gate upgrade = crash;
        struct look l = good(2);
        struct look_key before[] = { { .key = 0, .waiting = 7 }, { .key = 1, .waiting = 0 } };

        begin(2);
        escrow_queues(&e, 1, before, 2);
        seen[0].waiting = 7;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_QUEUE);
        seen[0].waiting = 9;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_QUEUE);
        upgrade.after_crash = false;
        cr_assert_eq(escrow_take_look(&e, &upgrade, &l), LACK_NOTHING);
        seen[0].waiting = 6;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_NOTHING);
        seen[0].waiting = 20;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_NOTHING, "seen once is enough");
}

Test(gate, a_udp_key_is_not_waited_for)
{
        struct look l = good(2);

        begin(3);
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_NOTHING);
}

Test(gate, the_best_reason_comes_first)
{
        struct look l = good(2);
        struct look_key before[] = { { .key = 0, .waiting = 7 } };

        begin(2);
        escrow_queues(&e, 1, before, 1);
        seen[0].waiting = 7;
        seen[1].inode = 0;
        cr_assert_eq(escrow_take_look(&e, &crash, &l), LACK_STATIC_KEY);
}

Test(settle, what_it_listens_on_is_held_and_what_it_does_not_is_closed)
{
        struct look l = good(2);

        begin(2);
        seen[0].inode = 44; /* it has opened a new one */
        seen[1].inode = 0;
        escrow_settle(&e, 1, &l, &fx);
        cr_assert(did(DO_HOLD, 0) && did(DO_CLOSE, 1) && did(DO_REPORT, 1));
        cr_assert(e.keys[0].inode == 44 && e.keys[1].inode == 0);
        fx.n = 0;
        escrow_settle(&e, 1, &l, &fx);
        cr_assert_eq(fx.n, 0, "a second look with the same answer changes nothing");
}

Test(settle, what_was_silenced_and_is_listened_on_is_revived)
{
        struct look l = good(2);

        begin(2);
        escrow_silence_all(&e, &fx);
        cr_assert(did(DO_SILENCE, 0) && did(DO_SILENCE, 1) && escrow_any_silenced(&e));
        escrow_settle(&e, 1, &l, &fx);
        cr_assert(did(DO_REVIVE, 0) && did(DO_REVIVE, 1));
        cr_assert_not(escrow_any_silenced(&e));
}

Test(settle, a_harvest_that_failed_closes_nothing)
{
        struct look l = { .harvest_failed = true };

        begin(2);
        escrow_settle(&e, 1, &l, &fx);
        cr_assert_eq(fx.n, 0);
        cr_assert(escrow_holds_any(&e));
}

Test(escrow, at_terminate_what_was_not_asked_for_is_closed)
{
        begin(3);
        e.keys[0].by[CLAIM_WANTED].epoch = 0;
        escrow_terminated(&e, 1, &fx);
        cr_assert(did(DO_CLOSE, 0));
        cr_assert_eq(fx.n, 1);
}

Test(escrow, udp_is_never_silenced_because_that_would_lose_what_is_queued)
{
        begin(3);
        cr_assert(escrow_holds_udp(&e));
        escrow_silence_all(&e, &fx);
        cr_assert_eq(fx.n, 2);
        cr_assert(!did(DO_SILENCE, 2) && !e.keys[2].silenced);
        fx.n = 0;
        escrow_close_all(&e, &fx);
        cr_assert_eq(fx.n, 3);
        cr_assert_not(escrow_holds_any(&e));
        cr_assert_not(escrow_holds_udp(&e));
}

Test(escrow, what_leaves_a_group_that_cannot_be_steered_is_hushed_and_goes_with_the_rest)
{
        const struct hr_key k[2] = { key("tcp://0.0.0.0:80", 0), key("tcp://0.0.0.0:80", 1) };

        memset(&e, 0, sizeof(e));
        escrow_init(&e);
        fx.n = 0;
        for (uint32_t i = 0; i < 2; i++)
                cr_assert_eq(escrow_held_by_keeper(&e, &k[i], 10 + i), i);
        e.keys[1].leaving = true;
        cr_assert_eq(escrow_leave(&e, &fx), LEAVES_STEERED);
        cr_assert(did(DO_STEER, 0));
        escrow_not_steered(&e, 0, &fx);
        cr_assert(did(DO_HUSH, 1) && !did(DO_HUSH, 0) && e.keys[0].steer == 0);
        cr_assert(did(DO_UNSTEER, 0), "a program of before may be attached");
        fx.n = 0;
        escrow_leave_refuse(&e, &fx);
        cr_assert(did(DO_SILENCE, 1) && did(DO_CLOSE, 1) && e.keys[0].inode == 10);
}

/* ---- opened for a proxy that may not ------------------------------------------------------------------ */

/* Asked for by epoch 1, opened for it and passed. */
static void begin_opened(void)
{
        struct hr_key k = key("tcp://0.0.0.0:80", 0);
        uint32_t index;

        begin(0);
        cr_assert_eq(escrow_to_open(&e, 1, &k), 0);
        escrow_opened(&e, 1, 0, 10);
        cr_assert_eq(escrow_to_open(&e, 1, &k), NO_KEY, "there is one");
        cr_assert(escrow_asked(&e, 1, &k, &index) && index == 0);
}

static const struct escrow_gate first_start = { .epoch = 1, .first = true };

Test(escrow, a_first_start_waits_for_what_was_opened_for_it_unless_the_proxy_could_not_create_it)
{
        struct look l = good(1);

        begin_opened();
        seen[0].inode = 0;
        cr_assert_eq(escrow_take_look(&e, &first_start, &l), LACK_STATIC_KEY);
        l.create_failures = 1; /* it is reported; no gate at a first start */
        cr_assert_eq(escrow_take_look(&e, &first_start, &l), LACK_NOTHING);
        escrow_settle(&e, 1, &l, &fx);
        cr_assert(did(DO_CLOSE, 0) && !did(DO_REPORT, 0), "nobody has ever listened there");
}

Test(escrow, what_was_opened_for_a_listener_that_is_still_warming_is_kept_until_it_listens)
{
        struct look l = good(1);

        begin_opened();
        seen[0].inode = 0;
        l.warming = true;
        escrow_settle(&e, 1, &l, &fx);
        cr_assert(fx.n == 0 && e.keys[0].inode == 10);
        seen[0].inode = 10;
        escrow_settle(&e, 1, &l, &fx);
        cr_assert(fx.n == 0 && e.keys[0].inode == 10 && !e.keys[0].fresh);
        seen[0].inode = 0; /* from now on a copy of it would swallow its clients */
        escrow_settle(&e, 1, &l, &fx);
        cr_assert(did(DO_CLOSE, 0) && did(DO_REPORT, 0));
}

Test(escrow, what_nobody_has_listened_on_yet_is_not_made_to_listen_by_a_new_agent)
{
        begin_opened();
        e.keys[0].shuffled = true;
        escrow_repeat(&e, true, false, &fx);
        cr_assert_eq(fx.n, 0, "clients would wait for one who may never come");
        e.keys[0].fresh = false;
        escrow_repeat(&e, true, false, &fx);
        cr_assert(did(DO_REVIVE, 0));
}
