/* SPDX-License-Identifier: MIT */
/* What Envoy's admin pages say about work in flight. */
#include <criterion/criterion.h>

#include <string.h>

#include "agent/in_flight.h"

static struct in_flight read_text(const char *text)
{
        struct in_flight f = { -7, -7, 7 };

        in_flight_read(text, strlen(text), &f);
        return f;
}

Test(in_flight, it_is_requests_and_connections_that_are_not_http)
{
        struct in_flight f = read_text("http.a.downstream_rq_active: 3\n"
                                       "http.a.downstream_cx_active: 5\n"
                                       "http.a.downstream_rq_total: 100\n"
                                       "http.b.downstream_rq_active: 1\n"
                                       "http.b.downstream_rq_total: 11\n"
                                       "listener.0.0.0.0_80.downstream_cx_active: 5\n"
                                       "listener.0.0.0.0_81.downstream_cx_active: 4\n");

        cr_assert_eq(f.active, 3 + 1 + (9 - 5));
        cr_assert_eq(f.connections, 9);
        cr_assert_eq(f.requests_total, 111);
}

Test(in_flight, the_admin_interface_does_not_count)
{
        struct in_flight f = read_text("http.admin.downstream_rq_active: 1\n"
                                       "http.admin.downstream_rq_total: 900\n"
                                       "http.admin.downstream_cx_active: 1\n"
                                       "listener.admin.downstream_cx_active: 1\n"
                                       "http.administrators.downstream_rq_active: 2\n");

        cr_assert_eq(f.active, 2);
        cr_assert_eq(f.connections, 0);
        cr_assert_eq(f.requests_total, 0);
}

Test(in_flight, what_each_worker_counts_is_not_counted_twice)
{
        struct in_flight f = read_text("listener.[__1]_80.downstream_cx_active: 6\n"
                                       "listener.[__1]_80.worker_0.downstream_cx_active: 4\n"
                                       "listener.[__1]_80.worker_1.downstream_cx_active: 2\n"
                                       "listener.[__1]_80.main_thread.downstream_cx_active: 0\n");

        cr_assert_eq(f.active, 6);
}

Test(in_flight, sums_that_were_read_on_two_sides_of_a_new_connection_do_not_turn_negative)
{
        struct in_flight f = read_text("http.a.downstream_cx_active: 5\nlistener.x.downstream_cx_active: 4\n");

        cr_assert_eq(f.active, 0);
        cr_assert_eq(f.connections, 5);
}

Test(in_flight, lines_that_say_something_else_are_skipped)
{
        struct in_flight f = read_text("\n"
                                       "no colon\n"
                                       "http.a.downstream_rq_active:3\n"
                                       "http.a.downstream_rq_active: x\n"
                                       "http.a.downstream_rq_active: \n"
                                       "http.a.downstream_rq_time: P0(nan,2) P25(nan,3)\n"
                                       "http.a:b.downstream_rq_active: 2");

        cr_assert_eq(f.active, 2, "a name may hold a colon, and the last line no newline");
        cr_assert_eq(read_text("").active, 0);
}

Test(listener_facts, failures_and_answers_of_the_control_plane_are_counted)
{
        static const char text[] = "listener_manager.lds.update_success: 2\nlistener_manager.lds.update_rejected: 1\n"
                                   "listener_manager.listener_create_failure: 4\n";
        struct listener_facts f;

        listener_facts_read(text, sizeof(text) - 1, &f);
        cr_assert_eq(f.lds_answers, 3);
        cr_assert_eq(f.create_failures, 4);
        listener_facts_read(text, 0, &f);
        cr_assert_eq(f.lds_answers, 0);
}
