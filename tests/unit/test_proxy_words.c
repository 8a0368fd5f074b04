/* SPDX-License-Identifier: MIT */
/* What Envoy 1.36.2, 1.39.3 and 1.40.0 really print with --mode validate, and what is made of it. */
#include <criterion/criterion.h>

#include <string.h>

#include "agent/proxy_words.h"

#define CRITICAL "[2026-11-24 16:45:41.937][26699][critical][main] [source/server/config_validation/server.cc:76] "
#define INFO(version) "[2026-11-24 16:45:42.491][26806][info][main] [source/server/server.cc:" version "] runtime: {}\n"

static const struct {
        const char *text;
        int status;
        const char *words; /* NULL: the config is not to blame */
} rows[] = {
        { CRITICAL "error initializing configuration 'a.yaml': yaml-cpp: error at line 2, column 1: end of sequence flow not found\n", 1,
          "error initializing configuration 'a.yaml': yaml-cpp: error at line 2, column 1: end of sequence flow not found" },
        { CRITICAL "error initializing configuration 'a.yaml': Protobuf message (type envoy.config.bootstrap.v3.Bootstrap reason "
                   "INVALID_ARGUMENT: invalid JSON in envoy.config.bootstrap.v3.Bootstrap  @ static_resources:  \n",
          1,
          "error initializing configuration 'a.yaml': Protobuf message (type envoy.config.bootstrap.v3.Bootstrap reason "
          "INVALID_ARGUMENT: invalid JSON in envoy.config.bootstrap.v3.Bootstrap @ static_resources: " },
        { CRITICAL "no  such   field", 1, "no such field" }, /* by process, one blank or two */
        { INFO("942") INFO("968") INFO("989") CRITICAL "error initializing configuration 'a.yaml': malformed IP address: nohost.", 1,
          "error initializing configuration 'a.yaml': malformed IP address: nohost." },
        { "PARSE ERROR: Argument: --no-such\n             Couldn't find match for argument\n\nBrief USAGE: \n", 1,
          "PARSE ERROR: Argument: --no-such" },
        { INFO("989") "configuration 'a.yaml' OK\n", 0, NULL },
        { CRITICAL "error initializing configuration\n", 0, NULL },  /* it went on all the same */
        { CRITICAL "error initializing configuration\n", -1, NULL }, /* killed */
        { INFO("989"), 1, NULL },                                    /* it ended for another reason */
        { "", 127, NULL },
        { "\n\n\n", 1, NULL },
        { "[critical] not in the place of a level\n", 1, NULL },
        { "[][error]", 1, "" },
        { "][critical][", 1, "][critical][" },
};

Test(proxy_words, only_words_that_blame_the_config_reject_it)
{
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char words[512] = "as it was";
                bool rejected = proxy_words(rows[i].text, strlen(rows[i].text), rows[i].status, words, sizeof(words));

                cr_expect_eq(rejected, rows[i].words != NULL, "row %zu", i);
                cr_expect_str_eq(words, rows[i].words ? rows[i].words : "as it was", "row %zu", i);
        }
}

Test(proxy_words, a_zero_byte_in_front_hides_nothing_and_what_is_too_long_is_cut)
{
        static const char text[] = "\0\0\nPARSE ERROR: much too long";
        char words[12];

        cr_assert(proxy_words(text, sizeof(text) - 1, 1, words, sizeof(words)));
        cr_assert_str_eq(words, "PARSE ERROR");
}

Test(proxy_words, a_file_is_called_as_the_user_knows_it)
{
        char words[64] = "error in '/run/b/envoy-rev7.yaml': no";
        char tight[] = "error in '/r/7': no";

        proxy_words_rename(words, sizeof(words), "/run/b/envoy-rev7.yaml", "/etc/envoy.yaml");
        cr_expect_str_eq(words, "error in '/etc/envoy.yaml': no");
        proxy_words_rename(words, sizeof(words), "/run/b/envoy-rev7.yaml", "/other");
        cr_expect_str_eq(words, "error in '/etc/envoy.yaml': no");
        proxy_words_rename(words, sizeof(words), "", "/other");
        cr_expect_str_eq(words, "error in '/etc/envoy.yaml': no");
        proxy_words_rename(tight, sizeof(tight), "/r/7", "/etc/envoy.yaml");
        cr_expect_str_eq(tight, "error in '/etc/envo");
}

Test(proxy_words, a_version_is_found_wherever_others_have_put_their_lines)
{
        static char banner[800];
        struct hr_segment_layout l = { 0 };
        char line[64];
        static const char nothing[] = "envoy: no such option\n\n";

        memset(banner, '#', 700);
        strcpy(banner + 700, "\nwarning: x\n11.104\r\nbye\n");
        cr_assert(proxy_words_version(banner, strlen(banner), &l, line, sizeof(line)));
        cr_assert(l.version == 11 && l.bytes == 104);
        cr_assert_str_eq(line, "11.104");
        cr_assert_not(proxy_words_version(nothing, strlen(nothing), &l, line, sizeof(line)));
        cr_assert_str_eq(line, "envoy: no such option");
        cr_assert_not(proxy_words_version("", 0, &l, line, sizeof(line)));
        cr_assert_str_eq(line, "");
}
