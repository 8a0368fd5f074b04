/* SPDX-License-Identifier: MIT */
/* JSON in and out: strict, with a place for each error; what is written can be read. */
#include <criterion/criterion.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/json.h"

static struct json parsed(const char *text)
{
        struct json d;
        struct json_error e;

        cr_assert_eq(json_parse(text, strlen(text), &d, &e), 0, "%s: %u:%u: %s", text, e.line, e.column, e.text);
        return d;
}

static const struct {
        const char *text, *error;
} wrong[] = {
        { "", "1:1: it ends too early" },
        { "  \n ", "2:2: it ends too early" },
        { "{", "1:2: it ends too early" },
        { "{\"a\": 1,\n \"b\" 2}", "2:6: a colon is wanted here" },
        { "{\"a\": 1\n \"b\": 2}", "2:2: a comma or } is wanted here" },
        { "{\"a\": 1,}", "1:9: a name in double quotes is wanted here" },
        { "{a: 1}", "1:2: a name in double quotes is wanted here" },
        { "{1: 1}", "1:2: a name in double quotes is wanted here" },
        { "{\"a\"}", "1:5: a colon is wanted here" },
        { "{\"a\":}", "1:6: a value is wanted here" },
        { "[1 2]", "1:4: a comma or ] is wanted here" },
        { "[1,]", "1:4: a value is wanted here" },
        { "[,1]", "1:2: a value is wanted here" },
        { "[1,,2]", "1:4: a value is wanted here" },
        { "[1}", "1:3: a comma or ] is wanted here" },
        { "{\"a\":1]", "1:7: a comma or } is wanted here" },
        { "[1]]", "1:4: something stands behind the value" },
        { "{} {}", "1:4: something stands behind the value" },
        { "[01]", "1:3: a number does not begin with 0" },
        { "[-]", "1:3: a digit is wanted here" },
        { "[1.]", "1:4: a digit is wanted here" },
        { "[.5]", "1:2: a value is wanted here" },
        { "[1e]", "1:4: a digit is wanted here" },
        { "[+1]", "1:2: a value is wanted here" },
        { "[0x10]", "1:3: a comma or ] is wanted here" },
        { "[NaN]", "1:2: a value is wanted here" },
        { "[truth]", "1:2: a value is wanted here" },
        { "[true1]", "1:6: a comma or ] is wanted here" },
        { "[nul", "1:2: a value is wanted here" },
        { "['a']", "1:2: a value is wanted here" },
        { "[\"a", "1:4: it ends in the middle of a string" },
        { "[\"a\n\"]", "1:4: a string ends before its line does" },
        { "[\"\x01\"]", "1:3: a control character in a string is written as \\u00XX" },
        { "[\"\\x41\"]", "1:4: no such escape; a backslash is \\\\" },
        { "[\"\\u12g4\"]", "1:7: \\u wants four hexadecimal digits" },
        { "[\"\\u12", "1:7: \\u wants four hexadecimal digits" },
        { "[1] // x", "1:5: something stands behind the value" },
        { "\xef\xbb\xbf{}", "1:1: a value is wanted here" },
};

Test(json, what_is_not_json_is_refused_with_its_place)
{
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct json d;
                struct json_error e = { 0 };
                char said[160];

                if (json_parse(wrong[i].text, strlen(wrong[i].text), &d, &e) == 0) {
                        json_done(&d);
                        cr_expect(false, "%s is taken", wrong[i].text);
                        continue;
                }
                (void)snprintf(said, sizeof(said), "%u:%u: %s", e.line, e.column, e.text);
                cr_expect_str_eq(said, wrong[i].error, "%s: %s, not %s", wrong[i].text, said, wrong[i].error);
        }
}

Test(json, everything_that_is_json_is_taken)
{
        static const char *const good[] = {
                "{}", "[]", "0", "-0.5e+10", "\"\"", "true", "false", "null", " [ 1 , 2 ] ", "{\"a\":{\"b\":[[],{}]}}",
                "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"]", "[1,2,3]\n", "\t{\"a\" : null}\r\n", "[1E5, 1e-5, 10, 0.0]", "{\"\":\"\"}",
        };

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                struct json d = parsed(good[i]);

                json_done(&d);
        }
}

Test(json, depth_has_a_limit_and_costs_no_stack)
{
        enum { DEEP = 1000000 };
        CLEANUP(free_ptr) char *text = malloc(2 * DEEP);
        struct json d;
        struct json_error e;

        memset(text, '[', DEEP);
        memset(text + DEEP, ']', DEEP);
        cr_assert_eq(json_parse(text, 2 * DEEP, &d, &e), -EBADMSG);
        cr_assert_str_eq(e.text, "it is nested too deeply");
        cr_assert_eq(e.column, JSON_DEPTH_MAX + 1);
        cr_assert_eq(json_parse(text + DEEP - JSON_DEPTH_MAX, 2 * JSON_DEPTH_MAX, &d, &e), 0);
        json_done(&d);
}

Test(json, members_are_found_by_name_and_by_place)
{
        struct json d = parsed("{\"a\": {\"x\": [1, {\"y\": 2}, \"\"]}, \"b\": -7,\n \"c\": true, \"d\": \"text\", \"b\": 8}");
        int64_t n = 0;
        bool yes = false;
        char text[16];

        cr_expect_eq(json_size(&d, JSON_ROOT), 5);
        cr_expect_eq(json_size(&d, json_get(&d, json_get(&d, JSON_ROOT, "a"), "x")), 3);
        cr_expect_eq(json_int(&d, json_get(&d, JSON_ROOT, "b"), &n), 0);
        cr_expect_eq(n, -7, "the first of a name");
        cr_expect_eq(json_int(&d, json_get(&d, json_at(&d, json_get(&d, json_get(&d, JSON_ROOT, "a"), "x"), 1), "y"), &n), 0);
        cr_expect_eq(n, 2);
        cr_expect_eq(json_bool(&d, json_get(&d, JSON_ROOT, "c"), &yes), 0);
        cr_expect(yes);
        cr_expect_eq(json_string(&d, json_key_at(&d, JSON_ROOT, 3), text, sizeof(text)), 0);
        cr_expect_str_eq(text, "d");
        cr_expect_eq(json_line(&d, json_get(&d, JSON_ROOT, "d")), 2);
        json_done(&d);
}

Test(json, what_is_not_there_or_of_another_type_is_told_and_changes_nothing)
{
        struct json d = parsed("{\"s\": \"12\", \"n\": 1.5, \"big\": 9223372036854775808, \"o\": {}, \"l\": [1]}");
        int64_t n = 42;
        bool yes = true;
        char text[4] = "abc";
        json_node none = json_get(&d, JSON_ROOT, "none");

        cr_expect_eq(none, JSON_NONE);
        cr_expect_eq(json_get(&d, none, "x"), JSON_NONE);
        cr_expect_eq(json_at(&d, none, 0), JSON_NONE);
        cr_expect_eq(json_at(&d, json_get(&d, JSON_ROOT, "l"), 1), JSON_NONE);
        cr_expect_eq(json_key_at(&d, JSON_ROOT, 5), JSON_NONE);
        cr_expect_eq(json_size(&d, none), 0);
        cr_expect_eq(json_int(&d, none, &n), JSON_E_TYPE);
        cr_expect_eq(json_int(&d, json_get(&d, JSON_ROOT, "s"), &n), JSON_E_TYPE);
        cr_expect_eq(json_int(&d, json_get(&d, JSON_ROOT, "n"), &n), JSON_E_TYPE);
        cr_expect_eq(json_int(&d, json_get(&d, JSON_ROOT, "big"), &n), JSON_E_TYPE);
        cr_expect_eq(json_bool(&d, json_get(&d, JSON_ROOT, "s"), &yes), JSON_E_TYPE);
        cr_expect_eq(json_text(&d, json_get(&d, JSON_ROOT, "o"), text, sizeof(text)), JSON_E_TYPE);
        cr_expect_eq(json_string(&d, json_get(&d, JSON_ROOT, "s"), text, 2), -EMSGSIZE);
        cr_expect_eq(n, 42);
        json_done(&d);
}

Test(json, escapes_become_utf8_and_half_characters_the_replacement)
{
        struct json d = parsed("[\"\\u00e9\\u20ac\\ud83d\\ude00\\n\\/\", \"\\ud83d\", \"\\ude00x\", \"a\\u0000b\"]");
        char text[64];

        cr_expect_eq(json_string(&d, json_at(&d, JSON_ROOT, 0), text, sizeof(text)), 0);
        cr_expect_str_eq(text, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n/");
        cr_expect_eq(json_string(&d, json_at(&d, JSON_ROOT, 1), text, sizeof(text)), 0);
        cr_expect_str_eq(text, "\xef\xbf\xbd");
        cr_expect_eq(json_string(&d, json_at(&d, JSON_ROOT, 2), text, sizeof(text)), 0);
        cr_expect_str_eq(text, "\xef\xbf\xbdx");
        cr_expect_eq(json_string(&d, json_at(&d, JSON_ROOT, 3), text, sizeof(text)), 0);
        cr_expect_str_eq(text, "a\xef\xbf\xbd" "b", "no text may end early");
        json_done(&d);
}

Test(json, what_is_written_is_read_back)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        const char *nasty = "\"\\/\b\f\n\r\t\x01\x7f caf\xc3\xa9 \xf0\x9f\x98\x80";
        struct json d;
        char text[128];
        int64_t n;

        json_begin_object(&w);
        json_key(&w, nasty), json_string_value(&w, nasty);
        json_key(&w, "n"), json_int_value(&w, INT64_MIN);
        json_key(&w, "l"), json_begin_array(&w);
        json_null(&w), json_bool_value(&w, true), json_double_value(&w, 0.5), json_double_value(&w, NAN), json_uint_value(&w, UINT64_MAX);
        json_begin_object(&w), json_end_object(&w);
        json_end_array(&w);
        json_end_object(&w);
        d = parsed(json_writer_text(&w));
        cr_expect_eq(json_string(&d, json_key_at(&d, JSON_ROOT, 0), text, sizeof(text)), 0);
        cr_expect_str_eq(text, nasty);
        cr_expect_eq(json_string(&d, json_value_of(&d, json_key_at(&d, JSON_ROOT, 0)), text, sizeof(text)), 0);
        cr_expect_str_eq(text, nasty);
        cr_expect_eq(json_int(&d, json_get(&d, JSON_ROOT, "n"), &n), 0);
        cr_expect_eq(n, INT64_MIN);
        cr_expect(strstr(json_writer_text(&w), "[null,true,0.5,null,18446744073709551615,{}]") != NULL, "%s", json_writer_text(&w));
        json_done(&d);
}

Test(json, bytes_that_are_not_utf8_are_never_written)
{
        static const char *const bad[] = { "\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80" };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;

                json_string_value(&w, bad[i]);
                cr_expect(strncmp(json_writer_text(&w), "\"\xef\xbf\xbd", 4) == 0, "%zu: %s", i, json_writer_text(&w));
        }
}
