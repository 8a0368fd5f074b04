/* SPDX-License-Identifier: MIT */
/* The keeper's care for the agent, its signals, and the ways in which it ends. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/keeper_rig.h"

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void arm(int heartbeat_fd, int64_t ns)
{
        const struct itimerspec in = { .it_value.tv_nsec = ns };

        cr_assert_eq(timerfd_settime(heartbeat_fd, 0, &in, NULL), 0);
}

static int64_t left_ms(int heartbeat_fd)
{
        struct itimerspec in;

        cr_assert_eq(timerfd_gettime(heartbeat_fd, &in), 0);
        return (int64_t)in.it_value.tv_sec * 1000 + in.it_value.tv_nsec / 1000000;
}

/* ---- starting it -------------------------------------------------------------------------------------- */

Test(keeper_life, the_agent_gets_its_words_a_session_and_nothing_that_is_not_its_own)
{
        struct rig r;
        struct rig_agent a;

        rig_start(&r, &(struct rig_options){ .closed_stdio = true });
        rig_meet(&r, &a);
        cr_expect_eq(a.hello.argc, 3);
        cr_expect_eq(a.hello.session, a.hello.pid);
        cr_expect_eq(a.hello.stray_fds, 0);
        cr_expect_eq(a.hello.blocked_signals, 0);
        cr_expect_not(a.hello.stray_environment);
        cr_expect(a.hello.stdin_is_null);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_life, a_dead_agent_is_replaced_at_once_and_the_dead_one_is_gone_by_then)
{
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        for (uint32_t i = 2; i < 8; i++) {
                int64_t killed_ms = now_ms();
                pid_t old = a.pid, parent;
                char state;

                rig_agent_kill(&a);
                rig_work(&r, &a);
                cr_assert_lt(now_ms() - killed_ms, 900, "not once a second");
                cr_assert_not(rig_process_state(old, &state, &parent));
                cr_assert_eq(a.facts.agent_starts, i);
                cr_assert_eq(a.facts.flags & WIRE_FRESH, 0);
        }
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_life, an_agent_that_hangs_is_replaced)
{
        struct rig r;
        struct rig_agent a, b;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(kill(a.pid, SIGSTOP), 0);
        arm(a.heartbeat_fd, 1);
        rig_work(&r, &b);
        cr_expect_eq(b.facts.agent_starts, 2);
        cr_expect_gt(left_ms(b.heartbeat_fd), 1000, "its own time is whole");
        rig_agent_done(&a);
        rig_agent_done(&b);
        rig_end(&r);
}

/* After a pause of the whole container every timer has run out at once. */
Test(keeper_life, an_agent_that_could_not_run_may_still_answer)
{
        struct rig r;
        struct rig_agent a;
        struct pollfd p;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        arm(a.heartbeat_fd, 1);
        while (left_ms(a.heartbeat_fd) == 0) /* until the keeper has seen it */
                cr_assert_eq(poll(NULL, 0, 1), 0);
        cr_assert_eq(keeper_link_rearm(a.heartbeat_fd), 0);
        cr_assert_gt(left_ms(a.heartbeat_fd), 5000);
        p = (struct pollfd){ .fd = a.order_fd, .events = POLLIN };
        cr_assert_eq(poll(&p, 1, 1500), 0, "it lives longer than its moment of grace");
        rig_agent_done(&a);
        rig_end(&r);
}

static void die_quickly(struct rig *r, uint32_t expect_flags)
{
        struct rig_agent a;
        struct rig_list l;

        rig_meet(r, &a);
        rig_list(&a, &l);
        rig_list_done(&l);
        cr_assert_eq(a.facts.flags, expect_flags);
        rig_agent_exit(&a, 1);
}

Test(keeper_life, three_quick_deaths_ask_for_a_fresh_start_and_then_there_is_one_a_second)
{
        struct rig r;
        struct rig_agent a;
        int64_t fresh_ms, then_ms;

        rig_start(&r, NULL);
        for (int i = 0; i < 3; i++)
                die_quickly(&r, 0);
        die_quickly(&r, WIRE_FRESH);
        fresh_ms = now_ms();
        die_quickly(&r, WIRE_FRESH);
        then_ms = now_ms();
        cr_assert(then_ms - fresh_ms > 500 && then_ms - fresh_ms < 3000, "%d ms", (int)(then_ms - fresh_ms));
        rig_work(&r, &a); /* works at last: forgiven */
        cr_assert_eq(a.facts.flags, WIRE_FRESH);
        rig_agent_exit(&a, 1);
        rig_work(&r, &a);
        cr_assert_eq(a.facts.flags, 0);
        rig_agent_done(&a);
        rig_end(&r);
}

/* ---- signals ------------------------------------------------------------------------------------------ */

Test(keeper_life, each_stop_is_told_and_counted_and_none_is_forgotten)
{
        static const int signals[] = { SIGTERM, SIGINT, SIGQUIT };
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        for (uint32_t i = 0; i < 3; i++) {
                struct keeper_event e;

                cr_assert_eq(kill(r.keeper, signals[i]), 0);
                e = rig_event(&a);
                cr_assert_eq(e.type, WIRE_SIGNAL);
                cr_assert_eq(e.signal.signo, signals[i]);
                cr_assert_eq(e.signal.stop_count, i + 1);
        }
        cr_assert_eq(keeper_link_stop(a.link), 0);
        rig_agent_kill(&a);
        rig_work(&r, &a);
        cr_assert_eq(a.facts.stop_count, 4);
        cr_assert_eq(keeper_link_dispatch(a.link, &(struct keeper_event){ 0 }), KEEPER_LINK_NOTHING, "told once");
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_life, wishes_wait_for_an_agent_that_works)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list l;

        rig_start(&r, NULL);
        rig_meet(&r, &a);
        cr_assert_eq(kill(r.keeper, SIGHUP), 0);
        cr_assert_eq(kill(r.keeper, SIGUSR1), 0);
        rig_list(&a, &l);
        rig_list_done(&l);
        cr_assert_eq(keeper_link_dispatch(a.link, &(struct keeper_event){ 0 }), KEEPER_LINK_NOTHING);
        rig_agent_exit(&a, 1);
        rig_work(&r, &a);
        cr_assert_eq(rig_event(&a).signal.signo, SIGHUP);
        cr_assert_eq(rig_event(&a).signal.signo, SIGUSR1);
        cr_assert_eq(a.facts.stop_count, 0);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_life, signals_that_mean_nothing_to_it_do_not_end_the_keeper)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list l;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(kill(r.keeper, SIGUSR2), 0);
        cr_assert_eq(kill(r.keeper, SIGALRM), 0);
        cr_assert_eq(kill(r.keeper, SIGPIPE), 0);
        rig_list(&a, &l);
        rig_list_done(&l);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_life, a_terminal_that_is_closed_means_stop)
{
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
        struct rig r;
        struct rig_agent a;
        struct keeper_event e;

        cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        cr_assert(slave >= 0);
        rig_start(&r, &(struct rig_options){ .terminal_fd = slave });
        rig_work(&r, &a);
        cr_assert_eq(a.facts.flags, WIRE_TERMINAL);
        (void)close(slave);
        (void)close(master);
        e = rig_event(&a);
        cr_assert_eq(e.signal.signo, SIGHUP);
        cr_assert_eq(e.signal.stop_count, 1);
        rig_agent_done(&a);
        rig_end(&r);
}

/* ---- ends --------------------------------------------------------------------------------------------- */

Test(keeper_life, the_end_kills_what_is_left_and_has_the_agents_status)
{
        struct rig r;
        struct rig_agent a;
        int ends[2], pidfd;
        char byte;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
        rig_hold(&a, "out/rig", ends[1]);
        (void)close(ends[1]);
        /* a wrapper that leaves something behind, both deaf to SIGTERM */
        (void)rig_launch(&a, 1, (struct launch){
                .argv = (const char *const[]){ "sh", "-c", "trap '' TERM; sh -c 'echo; sleep 1000'; exit 0", NULL },
                .path = "/bin/sh", .out = "out/rig", .oom_score_adj = INT32_MIN }, &pidfd);
        rig_wait_readable(ends[0], "its start");
        cr_assert_eq(read(ends[0], &byte, 1), 1);
        cr_assert_eq(keeper_link_end(a.link, 7), 0);
        rig_agent_exit(&a, 0);
        cr_assert_eq(rig_keeper_status(&r), 7);
        rig_wait_readable(ends[0], "the death of both");
        cr_assert_eq(read(ends[0], &byte, 1), 0);
        rig_end(&r);
}

Test(keeper_life, a_stop_without_an_agent_refuses_at_every_address_that_clients_know)
{
        static const struct {
                const char *name;
                int listens_on;
        } held[] = { { "listen/0/tcp://127.0.0.1:1", 0 }, { "status/127.0.0.1:2", 0 }, { "admin/127.0.0.1:3", 0 }, { "control", 1 } };
        enum { N = sizeof(held) / sizeof(held[0]) };
        int fds[N];
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        for (size_t i = 0; i < N; i++) {
                fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
                cr_assert_eq(listen(fds[i], 1), 0);
                rig_hold(&a, held[i].name, fds[i]);
        }
        rig_agent_kill(&a); /* the next one never works */
        rig_meet(&r, &a);
        cr_assert_eq(kill(r.keeper, SIGTERM), 0);
        cr_assert_eq(kill(r.keeper, SIGINT), 0);
        cr_assert_eq(rig_keeper_status(&r), 0);
        for (size_t i = 0; i < N; i++) {
                int listens = -1;
                socklen_t n = sizeof(listens);

                cr_assert_eq(getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &n), 0);
                cr_expect_eq(listens, held[i].listens_on, "%s", held[i].name);
                (void)close(fds[i]);
        }
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_life, an_agent_that_does_not_exit_after_the_end_is_killed)
{
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(kill(a.pid, SIGSTOP), 0);
        cr_assert_eq(keeper_link_end(a.link, 5), 0);
        cr_assert_eq(rig_keeper_status(&r), 5);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_life, a_first_agent_that_refuses_its_options_ends_the_keeper)
{
        static const int statuses[] = { 0, 2 };
        struct rig r;
        struct rig_agent a;

        for (size_t i = 0; i < 2; i++) {
                rig_start(&r, NULL);
                rig_meet(&r, &a);
                rig_agent_exit(&a, statuses[i]);
                cr_assert_eq(rig_keeper_status(&r), statuses[i]);
                rig_end(&r);
        }
}

Test(keeper_life, a_later_agent_that_refuses_its_options_is_a_death_like_any_other)
{
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        rig_agent_exit(&a, 1);
        rig_meet(&r, &a);
        rig_agent_exit(&a, 2);
        rig_work(&r, &a);
        cr_assert_eq(a.facts.agent_starts, 3);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_life, without_an_agent_program_it_fails_at_once)
{
        struct rig r;

        rig_start(&r, &(struct rig_options){ .no_agent = true });
        cr_assert_eq(rig_keeper_status(&r), 1);
        rig_end(&r);
}

/* ---- stopping without an agent ------------------------------------------------------------------------ */

struct served {
        struct rig r;
        struct rig_agent a;
        struct sockaddr_in addr;
        int listener;
        int said[2]; /* what the job writes */
};

static bool accepts(const struct served *s)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r = connect(fd, (const struct sockaddr *)&s->addr, sizeof(s->addr));

        (void)close(fd);
        return r == 0;
}

/* A keeper with a listening socket and a job that runs a script. */
static void serve(struct served *s, const char *script)
{
        socklen_t n = sizeof(s->addr);
        int pidfd;
        char byte;

        *s = (struct served){ .addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
        rig_start(&s->r, NULL);
        rig_meet(&s->r, &s->a);
        s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(s->listener, (struct sockaddr *)&s->addr, n), 0);
        cr_assert_eq(listen(s->listener, 8), 0);
        cr_assert_eq(getsockname(s->listener, (struct sockaddr *)&s->addr, &n), 0);
        rig_hold(&s->a, "listen/0/tcp://127.0.0.1:0", s->listener);
        cr_assert_eq(pipe2(s->said, O_CLOEXEC), 0);
        rig_hold(&s->a, "out/rig", s->said[1]);
        (void)close(s->said[1]);
        (void)rig_launch(&s->a, 1, (struct launch){ .argv = (const char *const[]){ "sh", "-c", script, NULL },
                         .path = "/bin/sh", .out = "out/rig", .oom_score_adj = INT32_MIN }, &pidfd);
        rig_wait_readable(s->said[0], "its start");
        cr_assert_eq(read(s->said[0], &byte, 1), 1);
        cr_assert_eq(keeper_link_drop(s->a.link, (const char *const[]){ "out/rig" }, 1), 0);
}

static const char polite[] = "trap 'echo bye; exit 0' TERM; printf x; while :; do sleep 0.05; done";
static const char deaf[] = "trap '' TERM; printf x; while :; do sleep 0.05; done";

static void expect_polite_end(struct served *s, int status)
{
        char text[8] = "";

        cr_assert_eq(rig_keeper_status(&s->r), status);
        cr_assert_eq(read(s->said[0], text, 4), 4, "SIGTERM came first");
        cr_assert_str_eq(text, "bye\n");
        cr_assert_not(accepts(s));
        rig_end(&s->r);
}

Test(keeper_life, two_stops_without_a_working_agent_end_everything_in_order)
{
        struct served s;

        serve(&s, polite);
        cr_assert(accepts(&s));
        cr_assert_eq(kill(s.a.pid, SIGSTOP), 0);
        cr_assert_eq(kill(s.r.keeper, SIGTERM), 0);
        while (keeper_link_stop(s.a.link) != 0) /* the second one; the wire is the agent's only living part */
                ;
        expect_polite_end(&s, 1);
        rig_agent_done(&s.a);
}

Test(keeper_life, a_stop_after_an_agent_has_worked_once_is_no_failure)
{
        struct served s;
        struct rig_agent b;

        serve(&s, polite);
        cr_assert_eq(keeper_link_working(s.a.link, 25000), 0);
        rig_agent_kill(&s.a);
        rig_meet(&s.r, &b);
        cr_assert_eq(keeper_link_stop(b.link), 0);
        (void)keeper_link_stop(b.link); /* the answer may get lost: this one ends the agent */
        expect_polite_end(&s, 0);
        rig_agent_done(&b);
}

Test(keeper_life, a_third_stop_means_now)
{
        struct served s;
        int64_t start_ms;

        serve(&s, deaf);
        cr_assert_eq(kill(s.a.pid, SIGSTOP), 0);
        cr_assert_eq(keeper_link_stop(s.a.link), 0);
        (void)keeper_link_stop(s.a.link);
        rig_wait_readable(s.a.order_fd, "the death of the agent");
        start_ms = now_ms();
        cr_assert_eq(kill(s.r.keeper, SIGTERM), 0);
        cr_assert_eq(rig_keeper_status(&s.r), 1);
        cr_assert_lt(now_ms() - start_ms, 1500, "it did not wait for the stop timeout");
        rig_agent_done(&s.a);
        rig_end(&s.r);
}

Test(keeper_life, one_stop_is_enough_when_agents_die_again_and_again)
{
        struct served s;

        serve(&s, polite);
        rig_agent_exit(&s.a, 1);
        for (int i = 0; i < 3; i++) {
                rig_meet(&s.r, &s.a);
                rig_agent_exit(&s.a, 1);
        }
        cr_assert_eq(kill(s.r.keeper, SIGTERM), 0);
        expect_polite_end(&s, 1);
}

Test(keeper_life, a_stop_waits_five_seconds_for_an_agent_that_works)
{
        struct served s;
        int64_t start_ms;

        serve(&s, polite);
        cr_assert_eq(keeper_link_working(s.a.link, 25000), 0);
        rig_agent_kill(&s.a);
        rig_meet(&s.r, &s.a);
        start_ms = now_ms();
        cr_assert_eq(kill(s.r.keeper, SIGTERM), 0);
        expect_polite_end(&s, 0);
        cr_assert(now_ms() - start_ms > 4000 && now_ms() - start_ms < 15000);
        rig_agent_done(&s.a);
}

Test(keeper_life, a_stop_that_a_working_agent_does_not_finish_is_finished_by_the_keeper)
{
        struct served s;
        struct rig_list l;
        int64_t start_ms;

        serve(&s, deaf);
        rig_list(&s.a, &l);
        rig_list_done(&l);
        cr_assert_eq(keeper_link_working(s.a.link, 0), 0);
        start_ms = now_ms();
        cr_assert_eq(kill(s.r.keeper, SIGTERM), 0);
        while (rig_event(&s.a).type != WIRE_SIGNAL)
                ;
        cr_assert_eq(rig_keeper_status(&s.r), 0);
        cr_assert_gt(now_ms() - start_ms, 4900);
        cr_assert_not(accepts(&s));
        rig_agent_done(&s.a);
        rig_end(&s.r);
}
