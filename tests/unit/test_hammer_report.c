/* SPDX-License-Identifier: MIT */
/* What the load client tells of gaps and latencies: the figures of every test under load and of the benchmarks. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "tests/support/hammer_report.h"

/* A report is too large for a stack with red zones, and each test is a process of its own. */
static struct report r;

static void ok(unsigned client, int64_t began_us, int64_t now_us)
{
        report_add(&r, client, DONE_OK, began_us, now_us, 0);
}

Test(hammer_report, a_client_that_waits_while_others_are_served_has_a_gap_of_its_own)
{
        report_init(&r, 2, 0);
        ok(0, 0, 1000);
        ok(1, 0, 1000);
        for (int64_t t = 2000; t <= 50000; t += 1000)
                ok(0, t - 500, t);
        ok(1, 2000, 50000);
        cr_assert_eq(r.slice.longest_gap_us, 1000);
        cr_assert_eq(r.slice.longest_client_gap_us, 49000);
}

Test(hammer_report, a_gap_that_has_no_end_yet_counts_in_the_slice_that_ends_and_in_the_next)
{
        report_init(&r, 2, 0);
        ok(0, 0, 1000);
        ok(1, 0, 1000);
        ok(0, 1000, 20000);
        report_mark(&r, "next", 21000);
        cr_assert_eq(r.total.longest_client_gap_us, 20000, "client 1 still waits");
        ok(0, 21000, 22000);
        cr_assert_eq(r.slice.longest_client_gap_us, 2000);
        ok(1, 1000, 41000);
        cr_assert_eq(r.slice.longest_client_gap_us, 40000);
        cr_assert_eq(r.total.longest_client_gap_us, 40000);
}

Test(hammer_report, a_failure_ends_no_gap_and_after_the_stop_there_is_none)
{
        report_init(&r, 1, 0);
        ok(0, 0, 1000);
        report_add(&r, 0, DONE_REFUSED, 1000, 5000, 0);
        ok(0, 5000, 9000);
        cr_assert_eq(r.slice.longest_client_gap_us, 8000);
        report_stop(&r, 10000);
        ok(0, 9000, 90000);
        cr_assert_eq(r.slice.longest_client_gap_us, 8000);
        cr_assert_eq(r.slice.longest_gap_us, 8000);
}

Test(hammer_report, the_first_and_the_last_answer_of_each_kind_have_their_time)
{
        report_init(&r, 1, 500);
        report_body(&r, "old", 3, 1500);
        report_body(&r, "new", 3, 2500);
        report_body(&r, "old", 3, 3500);
        report_body(&r, "new", 3, 4500);
        cr_assert_eq(r.total.bodies[0].first_us, 1000);
        cr_assert_eq(r.total.bodies[0].last_us, 3000);
        cr_assert_eq(r.total.bodies[1].first_us, 2000);
        cr_assert_eq(r.total.bodies[1].last_us, 4000);
}

Test(hammer_report, percentiles_are_right_to_three_percent_at_any_size)
{
        for (int64_t us = 1; us < 10000000; us = us * 3 / 2 + 1) {
                report_init(&r, 1, 0);
                for (int i = 0; i < 98; i++)
                        ok(0, 0, us);
                ok(0, 0, us * 100);
                ok(0, 0, us * 100);
                int64_t p50 = report_percentile_us(&r.total, 0.50), p99 = report_percentile_us(&r.total, 0.99);
                cr_assert(labs(p50 - us) * 100 <= us * 4, "%ld for %ld", (long)p50, (long)us);
                cr_assert(labs(p99 - us * 100) * 100 <= us * 400, "%ld for %ld", (long)p99, (long)us * 100);
        }
}

Test(hammer_report, a_slice_has_latencies_of_its_own)
{
        report_init(&r, 1, 0);
        for (int i = 0; i < 100; i++)
                ok(0, 0, 100);
        report_mark(&r, "slow", 1000);
        cr_assert_eq(report_percentile_us(&r.slice, 0.99), 0);
        for (int i = 0; i < 100; i++)
                ok(0, 0, 64000);
        cr_assert_gt(report_percentile_us(&r.slice, 0.01), 60000);
        cr_assert_leq(report_percentile_us(&r.total, 0.25), 100);
}
