/* SPDX-License-Identifier: MIT */
/* Envoy's arguments: what baton refuses, drops, takes over and adds. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/proxy_args.h"

static struct proxy_args_error error;

static int read_words(bool envoy, const char *const *words, struct proxy_args *ret)
{
        size_t n = 0;

        while (words[n])
                n++;
        memset(&error, 0, sizeof(error));
        return proxy_args_read(words, n, envoy, ret, &error);
}

#define READ(ret, ...) read_words(true, (const char *const[]){ __VA_ARGS__, NULL }, (ret))

static void expect_words(char **argv, const char *want)
{
        char text[1024] = "";

        for (size_t i = 0; argv[i]; i++)
                (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "", argv[i]);
        cr_expect_str_eq(text, want);
}

static const struct {
        const char *words[3], *said;
} refused[] = {
        { { "--base-id", "3" }, "--base-id cannot be given to the proxy: baton gives each launch a base id of its own" },
        { { "--base-id=3" }, "--base-id cannot be given" },
        { { "--use-dynamic-base-id" }, "--use-dynamic-base-id cannot be given to the proxy: baton gives each launch a base id" },
        { { "--restart-epoch", "1" }, "--restart-epoch cannot be given to the proxy: baton counts the epochs" },
        { { "--socket-path", "@x" }, "--socket-path cannot be given to the proxy: baton is the hot restart parent" },
        { { "--drain-time-s", "x" }, "--drain-time-s cannot be given to the proxy: it is no number of seconds" },
        { { "--drain-time-s", "" }, "--drain-time-s cannot be given to the proxy: it is no number of seconds" },
        { { "--drain-time-s", "-1" }, "it is no number of seconds" },
        { { "--drain-time-s", "1.5" }, "it is no number of seconds" },
        { { "--drain-time-s", "86401" }, "it is no number of seconds up to a day" },
        { { "--drain-time-s", "99999999999999999999" }, "it is no number of seconds up to a day" },
        { { "-c" }, "-c cannot be given to the proxy: its value is missing" },
        { { "--config-yaml" }, "--config-yaml cannot be given to the proxy: its value is missing" },
        { { "--base-id" }, "--base-id cannot be given" },
};

Test(proxy_args, what_baton_must_set_itself_is_refused_with_the_reason)
{
        for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
                struct proxy_args a = { 0 };

                cr_expect_eq(READ(&a, "envoy", "-l", refused[i].words[0], refused[i].words[1]), PROXY_ARGS_E_REFUSED, "%s", refused[i].words[0]);
                cr_expect(strstr(error.text, refused[i].said), "'%s' does not say '%s'", error.text, refused[i].said);
                cr_expect_null(a.all, "a refusal leaves nothing behind");
        }
}

Test(proxy_args, what_baton_decides_is_dropped_with_a_notice)
{
        CLEANUP(proxy_args_done) struct proxy_args a;

        cr_assert_eq(READ(&a, "envoy", "--parent-shutdown-time-s", "900", "--disable-hot-restart", "-l", "info"), 0, "%s", error.text);
        expect_words(a.kept, "envoy -l info");
        cr_assert_eq(a.n_notices, 2);
        cr_expect_str_eq(a.notices[0], "--parent-shutdown-time-s is ignored: baton decides when an old generation ends");
        cr_expect_str_eq(a.notices[1], "--disable-hot-restart is ignored: baton needs hot restart; nobody else takes part in it");
}

Test(proxy_args, drain_time_and_config_are_taken_over_in_both_spellings)
{
        CLEANUP(proxy_args_done) struct proxy_args a, b;

        cr_assert_eq(READ(&a, "envoy", "--drain-time-s", "30", "-c", "/x.yaml", "--config-yaml", "node: {}", "--concurrency", "2"), 0);
        cr_expect_eq(a.drain_time_s, 30);
        cr_expect_str_eq(a.config_path, "/x.yaml");
        cr_expect_str_eq(a.config_yaml, "node: {}");
        expect_words(a.kept, "envoy --concurrency 2");
        cr_assert_eq(READ(&b, "envoy", "--drain-time-s=0", "--config-path=/y=z.yaml"), 0);
        cr_expect_eq(b.drain_time_s, 0);
        cr_expect_str_eq(b.config_path, "/y=z.yaml");
}

Test(proxy_args, an_absent_drain_time_is_not_zero)
{
        CLEANUP(proxy_args_done) struct proxy_args a;

        cr_assert_eq(READ(&a, "envoy"), 0);
        cr_expect_eq(a.drain_time_s, -1);
        cr_expect_null(a.config_path);
        cr_expect_null(a.config_yaml);
        cr_expect(!a.plain);
}

Test(proxy_args, questions_to_the_proxy_are_plain)
{
        static const char *const plain[][2] = { { "--help" }, { "-h" }, { "--version" }, { "--hot-restart-version" }, { "--mode", "validate" }, { "--mode=init_only" } };

        for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
                CLEANUP(proxy_args_done) struct proxy_args a;

                cr_assert_eq(READ(&a, "envoy", plain[i][0], plain[i][1]), 0);
                cr_expect(a.plain, "%s", plain[i][0]);
                cr_expect_str_eq(a.all[1], plain[i][0], "it is run as it was given");
        }
        CLEANUP(proxy_args_done) struct proxy_args serve;

        cr_assert_eq(READ(&serve, "envoy", "--mode", "serve"), 0);
        cr_expect(!serve.plain);
}

Test(proxy_args, words_before_the_first_option_and_words_of_others_are_nobodys_business)
{
        CLEANUP(proxy_args_done) struct proxy_args a, b;

        cr_assert_eq(READ(&a, "/entry.sh", "envoy", "--service-node", "x"), 0);
        expect_words(a.kept, "/entry.sh envoy --service-node x");
        cr_assert_eq(read_words(false, (const char *const[]){ "nginx", "--base-id", "3", "-c", "x", NULL }, &b), 0);
        expect_words(b.all, "nginx --base-id 3 -c x");
        cr_expect_null(b.config_path);
}

Test(proxy_args, a_launch_has_the_users_words_and_then_ours)
{
        CLEANUP(proxy_args_done) struct proxy_args a;
        CLEANUP(free_strv) char **argv = NULL;
        struct launch_params p = { .epoch = 7, .base_id = 99, .socket_path = "/r/e7/s", .config_path = "/r/envoy-rev7.yaml", .config_yaml = "admin: {}",
                                   .drain_time_s = 45, .parent_shutdown_time_s = 315360000 };

        cr_assert_eq(READ(&a, "envoy", "-c", "/x.yaml", "--skip-hot-restart-parent-stats", "--drain-time-s", "9", "-l", "info"), 0);
        cr_assert_eq(proxy_args_compose(&a, &p, &argv), 0);
        expect_words(argv, "envoy -l info --config-path /r/envoy-rev7.yaml --config-yaml admin: {} --restart-epoch 8 --base-id 99 "
                           "--socket-path /r/e7/s --skip-hot-restart-parent-stats --drain-time-s 45 --parent-shutdown-time-s 315360000");
}

Test(proxy_args, a_validate_run_shares_nothing_with_a_launch)
{
        CLEANUP(proxy_args_done) struct proxy_args a;
        CLEANUP(free_strv) char **argv = NULL;

        cr_assert_eq(READ(&a, "envoy", "-c", "/x.yaml", "-l", "info"), 0);
        cr_assert_eq(proxy_args_compose_validate(&a, "/r/1.yaml", NULL, &argv), 0);
        expect_words(argv, "envoy --config-path /r/1.yaml --mode validate --log-level error");
}

Test(proxy_args, the_program_is_looked_up_once)
{
        CLEANUP(proxy_args_done) struct proxy_args a, b, c;

        cr_assert_eq(read_words(false, (const char *const[]){ "sh", NULL }, &a), 0);
        cr_expect(a.program[0] == '/' && strcmp(strrchr(a.program, '/'), "/sh") == 0, "%s", a.program);
        cr_assert_eq(read_words(false, (const char *const[]){ "no-such-program", NULL }, &b), 0);
        cr_expect_str_eq(b.program, "no-such-program");
        cr_assert_eq(read_words(false, (const char *const[]){ "/no/such", NULL }, &c), 0);
        cr_expect_str_eq(c.program, "/no/such");
}

static void expect_concurrency(int64_t want, const char *a, const char *b)
{
        CLEANUP(proxy_args_done) struct proxy_args args = { 0 };

        cr_assert_eq(READ(&args, "envoy", "-c", "x.yaml", a, b), 0, "%s", error.text);
        cr_expect_eq(proxy_args_concurrency(&args), want, "%s %s", a, b ? b : "");
}

Test(proxy_args, the_number_of_workers_is_read_as_envoy_reads_it)
{
        expect_concurrency(3, "--concurrency", "3");
        expect_concurrency(3, "--concurrency=3", NULL);
        expect_concurrency(0, "--concurrency", "0");
        expect_concurrency(-1, "--concurrency", "two");
        expect_concurrency(-1, "--concurrency", "-2");
        expect_concurrency(-1, "--concurrency=3x", NULL);
        expect_concurrency(-1, "--concurrency", NULL);
        expect_concurrency(-1, "--concurrency-x", "3");
        expect_concurrency(-1, "--cpuset-threads", NULL);
}
