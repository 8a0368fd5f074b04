/* SPDX-License-Identifier: MIT */
/* Low ports: sockets that the proxy may not bind are opened between its question and the answer. */
#include <criterion/criterion.h>

#include <signal.h>

#include "tests/support/script.h"

enum { FIRST = 1u << 0, SECOND = 1u << 1, CODE_EXITED = 1 };

/* The ports of the script's keys are 8080 to 8083. */
static struct script *begun(int low_ports)
{
        struct succession_limits limits = script_limits();

        limits.drain_ms = 45000;
        limits.low_ports = low_ports;
        return script_begin(&limits);
}

static struct script *serving(int low_ports, unsigned mask)
{
        struct script *w = begun(low_ports);

        script_up_on(w, 50, 0, mask);
        w->text_bytes = 0;
        return w;
}

static struct escrow_key *key(struct script *w, size_t i)
{
        uint32_t k = escrow_find(&w->s.escrow, script_key(i));

        cr_assert_neq(k, NO_KEY);
        return &w->s.escrow.keys[k];
}

Test(low_ports, a_low_port_is_opened_before_it_is_answered_and_a_high_one_is_the_proxys_own)
{
        struct script *w = begun(8081);

        script_ask(w, 10, 0, 0);
        script_ask(w, 11, 0, 1);
        cr_assert(script_expect(w, "     10 PassListenSocket open:0\n"
                                   "     10 opened           take pass:0\n"
                                   "     11 PassListenSocket take pass-nothing\n"));
        cr_assert(key(w, 0)->inode && key(w, 0)->fresh && !key(w, 1)->inode);
}

Test(low_ports, one_that_cannot_be_opened_is_answered_with_nothing)
{
        struct script *w = begun(9000);

        w->opens_fail = true;
        script_ask(w, 10, 0, 0);
        cr_assert(script_expect(w, "     10 PassListenSocket open:0\n"
                                   "     10 opened           take pass-nothing\n"));
        cr_assert(!key(w, 0)->inode);
}

Test(low_ports, after_a_crash_it_is_handed_on_and_not_opened_again)
{
        struct script *w = serving(9000, FIRST);

        script_crash(w, 20000, 0);
        script_ask(w, 20100, 1, 0);
        cr_assert(script_expect(w, "  20000 exit             launch:1 kit:2<-1 (exited 0)\n"
                                   "  20000 process          (launched)\n"
                                   "  20100 PassListenSocket take pass:0\n"));
}

Test(low_ports, what_is_opened_for_a_candidate_is_not_held_and_is_closed_with_it)
{
        struct script *w = serving(9000, FIRST);
        uint64_t epoch = script_candidate(w, 1000, 1);

        w->text_bytes = 0;
        script_ask(w, 1100, epoch, 0);
        script_ask(w, 1101, epoch, 1);
        cr_assert(!key(w, 1)->inode && key(w, 1)->opened);
        script_exit(w, 1200, epoch, CODE_EXITED, 1);
        cr_assert(script_expect(w, "   1100 PassListenSocket take pass:0\n"
                                   "   1101 PassListenSocket open:1\n"
                                   "   1101 opened           take pass:1\n"
                                   "   1200 exit             (exited -2) close:1 (rolled-back) forget:2\n"));
        cr_assert(key(w, 0)->inode && !escrow_socket(key(w, 1)));
}

Test(low_ports, it_is_held_once_the_candidate_serves)
{
        struct script *w = serving(9000, FIRST);
        uint64_t epoch = script_candidate(w, 1000, 1);

        script_up_on(w, 1100, epoch, FIRST | SECOND);
        cr_assert_eq(w->s.wanted, epoch);
        cr_assert(key(w, 1)->inode && !key(w, 1)->opened);
        w->text_bytes = 0;
        script_crash(w, 20000, epoch);
        script_ask(w, 20100, 3, 1);
        cr_assert(strstr(w->text, "PassListenSocket take pass:1\n"), "%s", w->text);
}

Test(low_ports, more_workers_of_a_candidate_are_steered_past_until_it_serves)
{
        struct script *w = serving(9000, FIRST);
        uint64_t epoch = script_candidate(w, 1000, 1);

        script_ask(w, 1100, epoch, 0);
        w->text_bytes = 0;
        script_ask(w, 1101, epoch, 4);
        cr_assert(script_expect(w, "   1101 PassListenSocket open:1\n"
                                   "   1101 opened           steer:0->1 take pass:1\n"));
}

/* Epoch 0 dies while the candidate starts; its relaunch has a listener that only the candidate has had opened. */
Test(low_ports, one_socket_is_enough_for_two_who_want_it)
{
        struct script *w = serving(9000, FIRST);
        uint64_t epoch = script_candidate(w, 1000, 1), again;

        script_ask(w, 1100, epoch, 1);
        script_crash(w, 20000, 0);
        again = w->s.wanted;
        w->text_bytes = 0;
        script_ask(w, 20100, again, 1);
        cr_assert(script_expect(w, "  20100 PassListenSocket take pass:1\n"));
        cr_assert(key(w, 1)->inode && !key(w, 1)->opened, "it is no longer the candidate's alone");
        script_exit(w, 20200, epoch, CODE_EXITED, 1);
        cr_assert(key(w, 1)->inode);
}

Test(low_ports, neither_one_that_leaves_nor_a_stop_has_anything_opened)
{
        struct script *w = serving(9000, FIRST);
        uint64_t epoch = script_candidate(w, 1000, 1);

        script_up_on(w, 1100, epoch, FIRST);
        w->text_bytes = 0;
        script_ask(w, 1150, 0, 1);
        cr_assert(script_expect(w, "   1150 PassListenSocket take pass-nothing\n"));
        script_stop(w, 1300, 1);
        script_run(w, 1500);
        w->text_bytes = 0;
        script_ask(w, 1501, epoch, 1);
        cr_assert(script_expect(w, "   1501 PassListenSocket take pass-nothing\n"));
}

/* An Envoy that does not name network namespaces asks so for two listeners. */
Test(low_ports, what_two_listeners_of_a_candidate_are_called_is_closed)
{
        struct script *w = serving(9000, FIRST);
        uint64_t epoch = script_candidate(w, 1000, 1);

        script_ask(w, 1100, epoch, 1);
        w->text_bytes = 0;
        script_ask(w, 1101, epoch, 1);
        cr_assert(script_expect(w, "   1101 PassListenSocket close:1 (ambiguous) take pass-nothing\n"));
}

/* The request was looked at and not taken, the socket is in no state: the next agent has it closed, and opens another one. */
Test(low_ports, an_agent_that_dies_before_the_answer_is_stored_has_answered_nothing)
{
        struct script *w = begun(9000);
        static struct effects out;
        const struct resume_fact fact = { .epoch = 0, .kit_held = true, .job_known = true, .alive = true, .pid = 1000 };

        out.n = 0;
        succession_step(&w->s, &w->l, &(struct succession_input){ .event = ON_REQUEST, .request = HR_PASS_LISTEN_SOCKET, .key = script_key(0) },
                        (struct mono){ 10000000 }, &out);
        cr_assert(out.n == 1 && out.list[0].kind == DO_OPEN);
        cr_assert_eq(escrow_socket(key(w, 0)), 0);
        script_die(w, &fact, 1);
        w->text_bytes = 0;
        script_ask(w, 20, 0, 0);
        cr_assert(script_expect(w, "     20 PassListenSocket open:0\n"
                                   "     20 opened           take pass:0\n"));
}

/* Envoy listens on what it was given before it is known to accept: while nothing serves, clients must not wait there for ever. */
Test(low_ports, a_start_that_hangs_behind_an_opened_port_is_refused_after_the_hold_time)
{
        struct script *w = begun(9000);

        script_crash(w, 60, 0);
        w->quiet = true;
        script_run(w, 40000); /* the hold time of the outage is over; epoch 1 starts for long */
        w->quiet = false;
        script_ask(w, 40000, 1, 0);
        script_run(w, 70000);
        cr_assert(script_expect(w, "     60 exit             (exited 200) (waiting 200) watch-content-since-snapshot\n"
                                   "  40000 PassListenSocket open:0\n"
                                   "  40000 opened           take pass:0\n"
                                   "  60260 clock            (ready-late)\n"
                                   "  70000 clock            silence:0 (silenced)\n"));
}

/* The candidate of an upgrade beside a first start that hangs: it may have listened on what both have. */
Test(low_ports, what_a_failed_candidate_shared_with_a_start_is_silent_until_that_accepts)
{
        struct script *w = begun(9000);
        uint64_t epoch;

        script_ask(w, 50, 0, 0);
        w->quiet = true;
        script_run(w, 60000); /* so long it has the ports for itself */
        epoch = script_candidate(w, 60001, 1);
        w->quiet = false;
        w->text_bytes = 0;
        script_ask(w, 61000, epoch, 0);
        script_exit(w, 61100, epoch, CODE_EXITED, 1);
        cr_assert(script_expect(w, "  61000 PassListenSocket take pass:0\n"
                                   "  61100 exit             (exited -2) (rolled-back) forget:2 silence:0\n"));
        script_say(w, 62000, 0, HR_DRAIN_LISTENERS);
        w->text_bytes = 0;
        script_look(w, 62001, 0, 1);
        cr_assert(strstr(w->text, "revive:0"), "%s", w->text);
}
