/* SPDX-License-Identifier: MIT */
/* Walking an array in one pass. */
#include <criterion/criterion.h>

#include <string.h>

#include "agent/json.h"

static void expect_same(const char *text, const char *key)
{
        struct json doc;
        struct json_error error;
        json_node array, n;
        size_t i = 0;

        cr_assert_eq(json_parse(text, strlen(text), &doc, &error), 0, "%s: %s", text, error.text);
        array = key ? json_get(&doc, JSON_ROOT, key) : JSON_ROOT;
        for (n = json_first(&doc, array); n != JSON_NONE; n = json_next(&doc, array, n), i++)
                cr_assert_eq(n, json_at(&doc, array, i), "%s: element %zu", text, i);
        cr_assert_eq(i, json_is_array(&doc, array) ? json_size(&doc, array) : 0, "%s: %zu elements", text, i);
        json_done(&doc);
}

Test(json_pass, one_pass_meets_each_element_once_and_in_order)
{
        expect_same("[]", NULL);
        expect_same("[1]", NULL);
        expect_same("[1,\"a\",null,true]", NULL);
        expect_same("[[],[1,[2,3]],{},{\"a\":[1,2]},4]", NULL);
        expect_same("{\"a\":[{\"b\":[1,2]},{\"b\":[3]}],\"c\":[5,6,7]}", "a");
        expect_same("{\"a\":[[1],[[2]]],\"c\":[5]}", "a");
        expect_same("{\"a\":[],\"c\":[5]}", "a");
}

Test(json_pass, what_is_no_array_has_no_elements)
{
        expect_same("{\"a\":1}", NULL);
        expect_same("{\"a\":1,\"b\":[2]}", "a");
        expect_same("{\"a\":1,\"b\":[2]}", "nothing");
}
