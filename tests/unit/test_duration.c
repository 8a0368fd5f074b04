/* SPDX-License-Identifier: MIT */
/* Durations as users write them. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stddef.h>

#include "agent/duration.h"

static int64_t parsed(const char *text)
{
        int64_t ms = -99;
        int r = duration_parse(text, &ms);

        cr_assert(r == 0 || ms == -99, "a result was written beside an error");
        return r == 0 ? ms : r;
}

Test(duration, units_and_fractions_are_understood_and_a_bare_number_is_seconds)
{
        static const struct {
                const char *text;
                int64_t ms;
        } rows[] = {
                { "0", 0 },          { "5", 5000 },        { "200ms", 200 },   { "1.5s", 1500 },          { "0.25", 250 },
                { "1min", 60000 },   { "2m", 120000 },     { "1h", 3600000 },  { "0.5h", 1800000 },       { "1.0009s", 1000 },
                { "0.1234567891s", 123 }, { "87600h", INT64_C(315360000000) },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                cr_assert_eq(parsed(rows[i].text), rows[i].ms, "%s", rows[i].text);
}

Test(duration, what_is_no_duration_is_refused)
{
        static const char *const texts[] = { "", " 1", "1 s", "-1", "+1", ".5", "1.", "1.s", "s", "1x", "1S", "1mins", "1e3", "0x10", "none" };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                cr_assert_eq(parsed(texts[i]), -EINVAL, "\"%s\"", texts[i]);
}

Test(duration, beyond_ten_years_is_out_of_range_however_it_is_written)
{
        cr_assert_eq(parsed("87841h"), -ERANGE);
        cr_assert_eq(parsed("316224001"), -ERANGE);
        cr_assert_eq(parsed("316224000001ms"), -ERANGE);
        cr_assert_eq(parsed("99999999999999999999999999h"), -ERANGE);
}

Test(duration, the_shortest_exact_form_is_read_back_as_the_same)
{
        static const int64_t all[] = { 0, 1, 200, 999, 1000, 1500, 60000, 61000, 90000, 3600000, 5400000, 86400000 };
        char text[32];

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                cr_assert_eq(parsed(duration_text(all[i], text, sizeof(text))), all[i], "%s", text);
        cr_assert_str_eq(duration_text(60000, text, sizeof(text)), "1min");
        cr_assert_str_eq(duration_text(1500, text, sizeof(text)), "1500ms");
        cr_assert_str_eq(duration_text(-1, text, sizeof(text)), "none");
}
