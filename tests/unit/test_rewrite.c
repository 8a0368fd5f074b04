/* SPDX-License-Identifier: MIT */
/* Paths in a config that become others: whole ones, and nothing else. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "agent/rewrite.h"

static const struct rewrite rules[] = { { "/etc/tls", "/run/b/certs/7" }, { "/etc/tls/edge", "/run/b/certs/8" } };

static void becomes(const char *text, const char *want)
{
        char *got = NULL;
        size_t n = 0;

        cr_assert_eq(rewrite_paths(text, strlen(text), rules, 2, &got, &n), 0);
        cr_expect_str_eq(got, want);
        cr_expect_eq(n, strlen(want));
        free(got);
}

Test(rewrite, whole_paths_are_replaced_wherever_they_stand_and_what_is_behind_them_stays)
{
        becomes("filename: /etc/tls/tls.crt\n", "filename: /run/b/certs/7/tls.crt\n");
        becomes("{\"filename\":\"/etc/tls/tls.key\"}", "{\"filename\":\"/run/b/certs/7/tls.key\"}");
        becomes("/etc/tls", "/run/b/certs/7");
        becomes("path: '/etc/tls', other: /etc/tls/", "path: '/run/b/certs/7', other: /run/b/certs/7/");
}

Test(rewrite, paths_that_only_look_alike_stay)
{
        becomes("/etc/tls2/a /etc/tls.d /etc/tls-x /my/etc/tls a/etc/tls //etc/tls etc/tls", "/etc/tls2/a /etc/tls.d /etc/tls-x /my/etc/tls a/etc/tls //etc/tls etc/tls");
}

Test(rewrite, of_two_paths_the_longer_one_counts)
{
        becomes("/etc/tls/edge/tls.crt /etc/tls/edges", "/run/b/certs/8/tls.crt /run/b/certs/7/edges");
}

Test(rewrite, what_was_put_in_is_not_looked_at_again)
{
        static const struct rewrite one[] = { { "/a", "/a/a" } };
        char *got = NULL;
        size_t n = 0;

        cr_assert_eq(rewrite_paths("/a/b", 4, one, 1, &got, &n), 0);
        cr_expect_str_eq(got, "/a/a/b");
        free(got);
}

Test(rewrite, any_bytes_are_a_text)
{
        char *got = NULL;
        size_t n = 0;

        cr_assert_eq(rewrite_paths("\0/etc/tls\0\xff", 11, rules, 2, &got, &n), 0);
        cr_expect_eq(n, 17);
        cr_expect_eq(memcmp(got, "\0/run/b/certs/7\0\xff", 17), 0);
        free(got);
        cr_assert_eq(rewrite_paths("", 0, rules, 2, &got, &n), 0);
        cr_expect_eq(n, 0);
        free(got);
}
