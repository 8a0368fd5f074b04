/* SPDX-License-Identifier: MIT */
/* The options of `baton run`: where a value comes from, and what no source may say. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/options.h"

enum { WORDS_MAX = 80 };

static struct options o;
static struct options_error error;

/* The words of a command line, without the "baton-agent"; NULL-terminated. */
static int parse_with(char **environment, const char *const *words)
{
        char *argv[WORDS_MAX + 2] = { (char *)"run" };
        int argc = 1;

        for (; words[argc - 1]; argc++)
                argv[argc] = (char *)words[argc - 1];
        memset(&error, 0, sizeof(error));
        return options_parse(argc, argv, environment, &o, &error);
}

static char *no_environment[] = { NULL };

#define PARSE(...) parse_with(no_environment, (const char *const[]){ __VA_ARGS__, NULL })
#define PARSE_IN(environment, ...) parse_with((char *[]){ environment, NULL }, (const char *const[]){ __VA_ARGS__, NULL })

static void expect_answer(int r, int want, const char *text)
{
        cr_expect_eq(r, want, "answer %d, not %d: %s", r, want, text);
        cr_expect(strstr(error.text, text), "'%s' does not say '%s'", error.text, text);
        cr_expect(!strchr(error.text, '\n'), "one line: %s", error.text);
}

static void expect_refused(int r, const char *text)
{
        expect_answer(r, OPTIONS_E_USAGE, text);
}

/* A file of --config. */
static const char *file_with(const char *text)
{
        static char path[64];
        int fd;

        (void)snprintf(path, sizeof(path), "/tmp/baton-test-options-XXXXXX");
        fd = mkstemp(path);
        cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
        (void)close(fd);
        return path;
}

Test(options, what_nobody_says_has_its_default)
{
        cr_assert_eq(PARSE("--", "/usr/bin/envoy", "-c", "x"), 0, "%s", error.text);
        cr_expect_str_eq(options_str(&o, o.name), "default");
        cr_expect_eq(o.retry_tokens, 10);
        cr_expect_eq(o.retry_initial_ms, 200);
        cr_expect_eq(o.retry_max_ms, -1);
        cr_expect_eq(o.stable_ms, 10000);
        cr_expect_eq(o.token_refill_ms, 60000);
        cr_expect_eq(o.on_exhausted, ON_EXHAUSTED_EXIT);
        cr_expect_eq(o.on_clean_exit, ON_CLEAN_EXIT_STOP);
        cr_expect_eq(o.ready_timeout_ms, 60000);
        cr_expect_eq(o.drain_time_ms, 45000);
        cr_expect_eq(o.stop_delay_ms, 0);
        cr_expect_eq(o.stop_timeout_ms, 25000);
        cr_expect_eq(o.hold_time_ms, 30000);
        cr_expect_eq(o.debounce_ms, 100);
        cr_expect_eq(o.splay_ms, 0);
        cr_expect_eq(o.max_draining, -1);
        cr_expect_eq(o.hang_timeout_ms, -1);
        cr_expect_eq(o.log_level, LOG_NOTICE);
        cr_expect_eq(o.handover, HANDOVER_ENVOY);
        cr_expect_eq(o.n_proxy_args, 3);
        cr_expect(!o.drain_time_given);
}

Test(options, command_line_over_environment_over_file_over_default)
{
        const char *file = file_with("{\"hold-time\": \"3s\", \"drain-time\": 7, \"stop-delay\": \"1s\", \"proxy\": [\"envoy\", \"-c\", \"f\"]}");

        cr_assert_eq(parse_with((char *[]){ "BATON_HOLD_TIME=4s", "BATON_DRAIN_TIME=8s", NULL },
                                (const char *const[]){ "--config", file, "--hold-time=5s", NULL }), 0, "%s", error.text);
        cr_expect_eq(o.hold_time_ms, 5000);
        cr_expect_eq(o.drain_time_ms, 8000);
        cr_expect_eq(o.stop_delay_ms, 1000);
        cr_expect_eq(o.stop_timeout_ms, 25000);
        cr_expect(o.drain_time_given);
        cr_expect_str_eq(options_proxy_arg(&o, 2), "f");
        cr_assert_eq(PARSE("--config", file, "--", "other"), 0);
        cr_expect_eq(o.n_proxy_args, 1, "a proxy behind -- is over the file's");
        cr_expect_str_eq(options_proxy_arg(&o, 0), "other");
        (void)unlink(file);
}

Test(options, the_file_may_be_named_by_the_environment_and_unknown_variables_are_nobodys)
{
        const char *file = file_with("{\"log-level\": \"debug\"}");
        char variable[128];

        (void)snprintf(variable, sizeof(variable), "BATON_CONFIG=%s", file);
        cr_assert_eq(parse_with((char *[]){ variable, "BATON_NO_SUCH=x", "BATON_STABLE=", NULL }, (const char *const[]){ "--", "x", NULL }), 0,
                     "%s", error.text);
        cr_expect_eq(o.log_level, LOG_DEBUG);
        cr_expect_eq(o.stable_ms, 10000, "an empty variable says nothing");
        (void)unlink(file);
}

Test(options, a_list_of_a_stronger_source_replaces_the_whole)
{
        const char *file = file_with("{\"status\": [\":1\", \":2\", \":3\"]}");

        cr_assert_eq(PARSE("--config", file, "--", "x"), 0, "%s", error.text);
        cr_expect_eq(o.statuses.n, 3);
        cr_assert_eq(PARSE("--config", file, "--status", ":8", "--", "x"), 0);
        cr_expect_eq(o.statuses.n, 1);
        cr_expect_str_eq(options_str(&o, o.statuses.items[0]), ":8");
        (void)unlink(file);
}

Test(options, a_flag_of_the_file_can_be_taken_back)
{
        const char *file = file_with("{\"allow-listener-loss\": true}");

        cr_assert_eq(PARSE("--config", file, "--", "x"), 0, "%s", error.text);
        cr_expect(o.allow_listener_loss);
        cr_assert_eq(PARSE("--config", file, "--allow-listener-loss=false", "--", "x"), 0, "%s", error.text);
        cr_expect(!o.allow_listener_loss);
        cr_assert_eq(PARSE_IN("BATON_ALLOW_LISTENER_LOSS=no", "--config", file, "--", "x"), 0);
        cr_expect(!o.allow_listener_loss);
        (void)unlink(file);
}

static const struct {
        const char *text, *said;
} bad_files[] = {
        { "{\n\"hold-time\": \"3s\",\n\"hold-tim\": 1\n}", ":3: hold-tim: unknown option" },
        { "{\"hold-time\": 1,\n\"stable\": 1,\n\"hold-time\": 2}", ":3: hold-time: stands there twice" },
        { "{\"proxy\": [\"a\"],\n\"proxy\": [\"b\"]}", ":2: proxy: stands there twice" },
        { "{\"proxy\": []}", ":1: proxy: an array of words is wanted here" },
        { "{\"proxy\": \"envoy\"}", ":1: proxy: an array of words is wanted here" },
        { "{\"proxy\": [\"envoy\", {}]}", ":1: proxy: a word in quotes is wanted here" },
        { "{\n\"hold-time\": \"3 s\"}", ":2: hold-time: '3 s' is no duration" },
        { "{\"hold-time\": null}", ":1: hold-time: a string or a number is wanted here" },
        { "{\"hold-time\": true}", ":1: hold-time: a string or a number is wanted here" },
        { "{\"hold-time\": {}}", ":1: hold-time: a string or a number is wanted here" },
        { "{\"hold-time\": [1]}", ":1: hold-time: one value is wanted, not a list" },
        { "{\"allow-listener-loss\": \"yes\"}", ":1: allow-listener-loss: true or false is wanted here" },
        { "{\"allow-listener-loss\": 1}", ":1: allow-listener-loss: true or false is wanted here" },
        { "{\"config\": \"x\"}", ":1: config: a file does not name another one" },
        { "{\"print-options\": \"json\"}", ":1: print-options: unknown option" },
        { "{\"\": 1}", ":1: : unknown option" },
        { "{\"hold-time\": 1", ":1:16: it ends too early" },
        { "{\n \"hold-time\" 1}", ":2:14: a colon is wanted here" },
        { "[]", ":1: an object is wanted" },
        { "", ":1:1: it ends too early" },
        { "{\n\n\"status\": [\":1\", \"\"]}", ":3: status: it is empty" },
        { "{\"standby\":\ntrue}", ":1: standby: not in this version" },
};

Test(options, an_error_in_the_file_has_its_line)
{
        for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
                const char *file = file_with(bad_files[i].text);
                char said[256];

                (void)snprintf(said, sizeof(said), "%s%s", file, bad_files[i].said);
                expect_refused(PARSE("--config", file, "--", "x"), said);
                (void)unlink(file);
        }
        expect_refused(PARSE("--config", "/nowhere/at/all", "--", "x"), "/nowhere/at/all: cannot read it: No such file");
        expect_refused(PARSE("--config", "/", "--", "x"), "/: cannot read it: Is a directory");
        expect_refused(PARSE("--config=", "--", "x"), "cannot read it");
}

static const struct {
        const char *option, *said;
} silly[] = {
        { "--hold-time=-1s", "--hold-time: '-1s' is no duration" },
        { "--hold-time=", "--hold-time: '' is no duration" },
        { "--hold-time= 5", "--hold-time: ' 5' is no duration" },
        { "--hold-time=5d", "--hold-time: '5d' is no duration" },
        { "--hold-time=1e9", "--hold-time: '1e9' is no duration" },
        { "--hold-time=25h", "--hold-time: 25h is above 24h" },
        { "--hold-time=99999999999999999999s", "--hold-time: '99999999999999999999s' is no duration" },
        { "--hold-time=none", "--hold-time: 'none' is no duration" },
        { "--ready-timeout=0", "--ready-timeout: 0 is below 1ms" },
        { "--retry-initial=0", "--retry-initial: 0 is below 1ms" },
        { "--token-refill=0", "--token-refill: 0 is below 1ms" },
        { "--retry-tokens=-1", "--retry-tokens: -1 is below 0" },
        { "--retry-tokens=1000001", "--retry-tokens: 1000001 is above 1000000" },
        { "--retry-tokens=99999999999999999999", "--retry-tokens: '99999999999999999999' is no whole number" },
        { "--retry-tokens=", "--retry-tokens: '' is no whole number" },
        { "--retry-tokens= 1", "--retry-tokens: ' 1' is no whole number" },
        { "--retry-tokens=+1", "--retry-tokens: '+1' is no whole number" },
        { "--retry-tokens=1.5", "--retry-tokens: '1.5' is no whole number" },
        { "--retry-tokens=ten", "--retry-tokens: 'ten' is no whole number" },
        { "--on-exhausted=die", "--on-exhausted: 'die' is not one of exit|wait" },
        { "--on-clean-exit=", "--on-clean-exit: '' is not one of stop|restart" },
        { "--log-format=xml", "--log-format: 'xml' is not one of text|json" },
        { "--log-level=loud", "--log-level: 'loud' is not one of" },
        { "--handover=ENVOY", "--handover: 'ENVOY' is not one of" },
        { "--name=", "--name: it is empty" },
        { "--name=a/b", "--name: 'a/b' cannot be the name of a folder" },
        { "--name=..", "--name: '..' cannot be the name of a folder" },
        { "--name=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeef", "--name: at most 50 characters" },
        { "--run-dir=", "--run-dir: it is empty" },
        { "--status=", "--status: it is empty" },
        { "--admin=", "--admin: it is empty" },
        { "--allow-listener-loss=perhaps", "--allow-listener-loss: 'perhaps' is neither true nor false" },
        { "--print-options=yaml", "--print-options: 'yaml' is neither table nor json" },
        { "--no-such", "unknown option --no-such" },
        { "--no-such=3", "unknown option --no-such;" },
        { "--stop=1s", "unknown option --stop;" },       /* no beginning of a name is taken: two begin so, */
        { "--hold=1s", "unknown option --hold;" },       /* and another may one day */
        { "--print=json", "unknown option --print;" },
        { "--hel", "unknown option --hel;" },
        { "-x", "unknown option -x" },
        { "-xh", "unknown option -x" },
};

Test(options, a_silly_value_is_one_line_that_names_option_and_reason)
{
        for (size_t i = 0; i < sizeof(silly) / sizeof(silly[0]); i++)
                expect_refused(PARSE(silly[i].option, "--", "x"), silly[i].said);
}

Test(options, a_silly_variable_is_named)
{
        expect_refused(PARSE_IN("BATON_HOLD_TIME=-1", "--", "x"), "BATON_HOLD_TIME: '-1' is no duration");
        expect_refused(PARSE_IN("BATON_ALLOW_LISTENER_LOSS=perhaps", "--", "x"), "BATON_ALLOW_LISTENER_LOSS: 'perhaps'");
        expect_refused(PARSE_IN("BATON_STANDBY=yes", "--", "x"), "BATON_STANDBY: not in this version");
        expect_refused(PARSE_IN("BATON_CONFIG=/nowhere", "--", "x"), "/nowhere: cannot read it");
}

/* Every option, by the table itself: none crashes, and none takes a missing value or garbage in silence. */
Test(options, each_option_says_that_its_value_is_missing)
{
        const char *name;
        char option[80], said[120];

        for (size_t i = 0; (name = options_names(i)); i++) {
                (void)snprintf(option, sizeof(option), "--%s", name);
                (void)snprintf(said, sizeof(said), "--%s: its value is missing", name);
                if (PARSE(option) == OPTIONS_E_NO_PROXY && strstr(error.text, "no proxy given"))
                        continue; /* a flag */
                cr_expect(strstr(error.text, said) || strstr(error.text, "not in this version"), "--%s: %s", name, error.text);
        }
}

static const char *const sections[] = { /* all of the table of options, in its order */
        "name", "run-dir", "config", "status", "admin", "watch", "no-auto-upgrade", "debounce", "splay", "certs", "certs-mode", "certs-verify", "certs-rsa-bits", "certs-ec-bits", "certs-warn",
        "retry-tokens", "retry-initial", "retry-max", "stable", "token-refill", "on-exhausted", "on-clean-exit", "ready-timeout", "drain-time",
        "stop-delay", "stop-timeout", "hold-time", "standby", "max-draining", "hang-timeout", "observe", "handover", "listen", "probe",
        "state-dir", "proxy-user", "expand-env", "allow-listener-loss", "stats-interval", "log-format", "log-level",
};

Test(options, the_contract_knows_these_options)
{
        size_t i = 0;

        for (; options_names(i); i++)
                cr_assert(i < sizeof(sections) / sizeof(sections[0]) && strcmp(options_names(i), sections[i]) == 0, "%s", options_names(i));
        cr_assert_eq(i, sizeof(sections) / sizeof(sections[0]));
}

Test(options, what_is_not_in_this_version_is_refused_only_when_it_is_asked_for)
{
        static const char *const asks[] = {
                "--standby", "--max-draining=2",
                "--hang-timeout=5s", "--stats-interval=1s",
        };
        static const char *const does_not_ask[] = {
                "--standby=false", "--max-draining=none", "--hang-timeout=off",
                "--observe=1s", "--stats-interval=10s", "--admin=bootstrap", "--admin=off",
        };

        for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
                expect_refused(PARSE(asks[i], "--", "x"), "not in this version");
                cr_expect(strncmp(strstr(error.text, "--"), asks[i], strcspn(asks[i], "=")) == 0, "%s", error.text);
        }
        for (size_t i = 0; i < sizeof(does_not_ask) / sizeof(does_not_ask[0]); i++)
                cr_expect_eq(PARSE(does_not_ask[i], "--", "x"), 0, "%s: %s", does_not_ask[i], error.text);
}

Test(options, a_proxy_that_is_no_envoy_has_its_sockets_from_listen_and_its_readiness_from_a_probe)
{
        struct { const char *given[3], *says; } wrong[] = {
                { { "--listen=8080" }, "'8080' is no IP:PORT" },
                { { "--listen=:1", "--handover=envoy" }, "not in this version for an Envoy" },
                { { "--listen=:1", "--handover=none" }, "given no socket" },
                { { "--probe=tcp", "--handover=envoy" }, "an Envoy is asked itself" },
                { { "--probe=https://127.0.0.1/" }, "neither tcp nor http://" },
        };

        cr_assert_eq(PARSE("--listen=:1", "--listen=web=unix:/x", "--probe=http://localhost:81/ready", "--", "x"), 0, "%s", error.text);
        cr_assert(o.handover == HANDOVER_LISTEN_FDS && o.handover_detected);
        cr_assert_not(options_probe_needs_sockets(&o));
        cr_assert_eq(PARSE("--probe=tcp", "--", "x"), 0);
        cr_assert(o.handover == HANDOVER_NONE && options_probe_needs_sockets(&o), "there might be LISTEN_FDS");
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                expect_refused(wrong[i].given[1] ? PARSE(wrong[i].given[0], wrong[i].given[1], "--", "x") : PARSE(wrong[i].given[0], "--", "x"), wrong[i].says);
}

Test(options, an_address_for_the_admin_interface_wants_a_proxy_that_has_one)
{
        cr_expect_eq(PARSE("--admin=127.0.0.1:1", "--", "envoy"), 0, "%s", error.text);
        cr_expect_str_eq(options_str(&o, o.admin), "127.0.0.1:1");
        expect_refused(PARSE("--admin=127.0.0.1:1", "--", "x"), "--admin: only an Envoy");
        cr_expect_eq(PARSE("--admin=off", "--", "x"), 0, "%s", error.text);
        cr_expect_eq(PARSE("--", "x"), 0, "%s", error.text);
        cr_expect_str_eq(options_str(&o, o.admin), "bootstrap");
}

Test(options, the_last_of_one_option_counts_and_a_list_takes_them_all)
{
        cr_assert_eq(PARSE("--hold-time=1s", "--status=:1", "--hold-time=2s", "--status=:2", "--", "x"), 0, "%s", error.text);
        cr_expect_eq(o.hold_time_ms, 2000);
        cr_expect_eq(o.statuses.n, 2);
        expect_refused(PARSE("--status=:1", "--status=:1", "--status=:1", "--status=:1", "--status=:1", "--status=:1", "--status=:1",
                             "--status=:1", "--status=:1", "--", "x"), "--status is given more than 8 times");
}

Test(options, a_proxy_is_wanted_behind_two_dashes)
{
        expect_answer(PARSE("--hold-time=1s", "--run-dir=/x"), OPTIONS_E_NO_PROXY, "no proxy given");
        cr_expect_str_eq(options_str(&o, o.run_dir), "/x", "the rest is there");
        expect_answer(PARSE("--"), OPTIONS_E_NO_PROXY, "no proxy given");
        expect_refused(PARSE("envoy", "-c", "x"), "write -- before the proxy");
        expect_refused(PARSE("--hold-time=1s", "envoy"), "write -- before the proxy");
        expect_refused(PARSE("--", ""), "the name of the proxy is empty");
        cr_assert_eq(PARSE("--", "envoy", "--", "--hold-time", "7"), 0);
        cr_expect_eq(o.n_proxy_args, 4, "what is the proxy's is not ours");
        cr_expect_eq(o.hold_time_ms, 30000);
}

static const struct {
        const char *words[4];
        enum handover is;
} proxies[] = {
        { { "envoy" }, HANDOVER_ENVOY },
        { { "/usr/local/bin/envoy-1.40.0", "-c", "x" }, HANDOVER_ENVOY },
        { { "func-e", "run-envoy" }, HANDOVER_ENVOY },
        { { "/docker-entrypoint.sh", "envoy", "-c" }, HANDOVER_ENVOY },
        { { "/opt/envoy/other" }, HANDOVER_NONE },         /* only the last part of a path */
        { { "nginx", "-c", "/etc/envoy" }, HANDOVER_NONE }, /* only before the first option */
        { { "ENVOY" }, HANDOVER_NONE },
};

Test(options, an_envoy_is_recognized_by_any_word_before_the_first_option)
{
        for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++) {
                const char *const *w = proxies[i].words;

                cr_assert_eq(PARSE("--", w[0], w[1], w[2]), 0);
                cr_expect_eq(o.handover, (int64_t)proxies[i].is, "%s", w[0]);
                cr_expect(o.handover_detected);
        }
        cr_assert_eq(PARSE("--handover=envoy", "--", "other"), 0);
        cr_expect_eq(o.handover, HANDOVER_ENVOY);
        cr_expect(!o.handover_detected);
}

Test(options, too_much_is_refused_not_cut)
{
        static char big[OPTIONS_STRING_BYTES];

        memset(big, 'a', sizeof(big) - 1);
        expect_refused(PARSE("--", "x", big), "longer than 262144 bytes");
        expect_refused(PARSE("--run-dir", big, "--run-dir", "b", "--", big, "y"), "longer than");
}

Test(options, a_sealed_struct_is_the_same_for_the_next_agent_and_cannot_be_changed)
{
        const struct options *again;
        int fd = -1;

        cr_assert_eq(PARSE("--hold-time=1s", "--status=:1", "--", "envoy", "-c", "x"), 0);
        cr_assert_eq(options_seal(&o, &fd), 0);
        cr_assert_eq(options_map(fd, &again), 0);
        cr_expect_eq(again->hold_time_ms, 1000);
        cr_expect_str_eq(options_str(again, again->statuses.items[0]), ":1");
        cr_expect_str_eq(options_proxy_arg(again, 2), "x");
        cr_expect_eq(write(fd, "x", 1), -1);
        cr_expect_eq(ftruncate(fd, 0), -1);
        (void)close(fd);
}

Test(options, a_struct_of_another_version_or_size_is_not_mapped)
{
        const struct options *again;
        int fd = memfd_create("x", 0);

        cr_assert_eq(PARSE("--", "x"), 0);
        cr_expect_eq(options_map(fd, &again), -EPROTO, "empty");
        cr_assert(write(fd, &o, offsetof(struct options, strings) + o.n_strings) > 0);
        cr_expect_eq(options_map(fd, &again), 0);
        o.version++;
        cr_assert(pwrite(fd, &o, sizeof(o.version), 0) > 0);
        cr_expect_eq(options_map(fd, &again), -EPROTO);
        (void)close(fd);
}

Test(options, an_option_that_wants_a_value_is_known_by_its_whole_name)
{
        cr_expect(options_want_value("--name") && options_want_value("--run-dir") && options_want_value("--hold-time"));
        cr_expect(!options_want_value("--standby") && !options_want_value("--expand-env"), "a flag");
        cr_expect(!options_want_value("--name=x") && !options_want_value("--nam") && !options_want_value("name") && !options_want_value("--"));
}
