/* SPDX-License-Identifier: MIT */
/* Variables in the proxy's config. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/expand.h"

static char *environment[] = { "PORT=8080", "EMPTY=", "HOST=a.b", "SELF=${SELF}", "DOLLAR=$${", "PORTS=no", "_x9=u", "PORT=second", NULL };

static void expect_expanded(const char *text, const char *want)
{
        CLEANUP(free_ptr) char *got = NULL;
        struct expand_error e = { 0 };
        size_t n = 0;

        cr_assert_eq(expand_env(text, strlen(text), environment, &got, &n, &e), 0, "%s: %s", text, e.text);
        cr_expect_str_eq(got, want);
        cr_expect_eq(n, strlen(want));
}

static void expect_refused(const char *text, unsigned line, const char *words)
{
        char *got = NULL;
        struct expand_error e = { 0 };
        size_t n = 0;

        cr_assert_eq(expand_env(text, strlen(text), environment, &got, &n, &e), EXPAND_E_TEXT, "%s", text);
        cr_expect_null(got);
        cr_expect_eq(e.line, line, "%s: line %u", text, e.line);
        cr_expect_str_eq(e.text, words);
}

Test(expand, a_variable_becomes_its_value)
{
        expect_expanded("${PORT}", "8080");
        expect_expanded("a: ${HOST}:${PORT}\nb: ${_x9}", "a: a.b:8080\nb: u");
        expect_expanded("${EMPTY}", "");
        expect_expanded("", "");
}

Test(expand, the_default_counts_when_it_is_not_set_or_empty)
{
        expect_expanded("${NONE:-7}", "7");
        expect_expanded("${EMPTY:-7}", "7");
        expect_expanded("${PORT:-7}", "8080");
        expect_expanded("[${NONE:-}]", "[]");
        expect_expanded("${NONE:-a b:-c$d{}", "a b:-c$d{");
}

Test(expand, a_doubled_dollar_gives_a_literal_brace_and_any_other_dollar_stays)
{
        expect_expanded("$${PORT}", "${PORT}");
        expect_expanded("$PORT $ $$ $1 $(x) {PORT} ^a$", "$PORT $ $$ $1 $(x) {PORT} ^a$");
        expect_expanded("$$${PORT}", "$${PORT}");
        expect_expanded("$$", "$$");
        expect_expanded("$", "$");
}

Test(expand, a_value_is_not_expanded_again)
{
        expect_expanded("${SELF}", "${SELF}");
        expect_expanded("${DOLLAR}PORT}", "$${PORT}");
}

Test(expand, a_missing_variable_is_named_with_its_line)
{
        expect_refused("a\nb\n  port: ${NONE}\n", 3, "${NONE} is not set, and has no default");
        expect_refused("${PORT}\n${POR}", 2, "${POR} is not set, and has no default");
        expect_refused("${port}", 1, "${port} is not set, and has no default");
}

Test(expand, what_is_no_name_or_not_closed_is_refused)
{
        expect_refused("${}", 1, "${}: a name is wanted: letters, digits and _, no digit in front");
        expect_refused("\n${9A}", 2, "${9A}: a name is wanted: letters, digits and _, no digit in front");
        expect_refused("${A-x}", 1, "${A-x}: only ${NAME} and ${NAME:-default} are known; write $${ for a literal ${");
        expect_refused("${PORT:}", 1, "${PORT:}: only ${NAME} and ${NAME:-default} are known; write $${ for a literal ${");
        expect_refused("${PORT\n}", 1, "${PORT is not closed on its line");
        expect_refused("\n\n${PORT", 3, "${PORT is not closed on its line");
        expect_refused("${", 1, "${ is not closed on its line");
        expect_refused("${A:-${PORT}}", 1, "${A:-${PORT}: a default cannot hold another variable");
        expect_refused("${A\x1b[m}", 1, "${A?[m}: only ${NAME} and ${NAME:-default} are known; write $${ for a literal ${");
}

Test(expand, bytes_without_variables_stay_as_they_are)
{
        static const char text[] = "\0\xff\r\n\t$\0{x}";
        CLEANUP(free_ptr) char *got = NULL;
        struct expand_error e;
        size_t n = 0;

        cr_assert_eq(expand_env(text, sizeof(text), environment, &got, &n, &e), 0);
        cr_expect_eq(n, sizeof(text));
        cr_expect_eq(memcmp(got, text, n), 0);
}

Test(expand, what_grows_beyond_the_limit_is_refused)
{
        enum { VALUE = 1024 * 1024, TIMES = 65 };
        static char value[VALUE + 3], text[4 * TIMES + 1];
        char *big[] = { value, NULL }, *got = NULL;
        struct expand_error e = { 0 };
        size_t n;

        memset(value, 'x', VALUE + 2);
        memcpy(value, "B=", 2);
        for (int i = 0; i < TIMES; i++)
                memcpy(text + 4 * i, "${B}", 4);
        cr_assert_eq(expand_env(text, (size_t)4 * (TIMES - 1), big, &got, &n, &e), 0);
        cr_expect_eq(n, (size_t)EXPAND_BYTES_MAX);
        free(TAKE(got));
        cr_assert_eq(expand_env(text, sizeof(text) - 1, big, &got, &n, &e), EXPAND_E_TOO_LARGE);
        cr_expect_null(got);
        cr_expect_str_eq(e.text, "with its variables replaced it is larger than 64 MB");
}
