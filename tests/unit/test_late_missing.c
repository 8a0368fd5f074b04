/* SPDX-License-Identifier: MIT */
/* A machine without the library, or with one that is too old. Built with names that lead nowhere. */
#include <criterion/criterion.h>

#include <errno.h>

#include "agent/admin.h"
#include "agent/control.h"
#include "agent/late.h"

#include <ev.h>

static void nothing(void *userdata, int status, const char *body, size_t n)
{
        (void)userdata;
        (void)status;
        (void)body;
        (void)n;
        cr_assert_fail("a request that was never made ended");
}

Test(late_missing, a_missing_library_is_an_answer_not_a_crash)
{
        cr_assert_eq(late_curl(), -ELIBACC);
        cr_assert_eq(late_curl(), -ELIBACC, "also the second time");
        cr_assert_eq(late_journal(), -ELIBACC);
}

Test(late_missing, a_library_without_the_wanted_functions_counts_as_missing)
{
        cr_assert_eq(late_mhd(), -ELIBACC);
}

Test(late_missing, an_admin_request_without_libcurl_fails_at_once)
{
        struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
        struct admin *a = admin_new(loop);
        struct admin_request *r = NULL;

        cr_assert_eq(admin_prepare(a), -ELIBACC);
        cr_assert_eq(admin_request(a, "/nowhere", "GET", "/", 1000, 1000, nothing, NULL, &r), -ELIBACC);
        cr_assert(!r);
        ev_loop_destroy(loop);
}

Test(late_missing, a_control_server_without_libmicrohttpd_is_refused)
{
        struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
        struct control_ops ops = { 0 };
        struct control *c = NULL;

        cr_assert_eq(control_new(loop, &ops, &c), -ELIBACC);
        cr_assert(!c);
        ev_loop_destroy(loop);
}
