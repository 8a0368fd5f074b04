/* SPDX-License-Identifier: MIT */
/* What Envoy's admin says in JSON about its listeners and itself. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "agent/listeners_page.h"

static bool has(const struct listeners_page *l, const char *url)
{
        struct hr_key k = { 0 };

        strcpy(k.url, url);
        return listeners_page_has(l, &k);
}

static struct listeners_page page_of(const char *text)
{
        struct listeners_page l = LISTENERS_PAGE_NULL;

        cr_assert_eq(listeners_page_read(text, strlen(text), &l), 0);
        return l;
}

Test(listeners_page, every_kind_of_address_is_found_by_its_key)
{
        struct listeners_page l = page_of(
                "{\"listener_statuses\":[{\"name\":\"b\",\"local_address\":{\"socket_address\":{\"address\":\"127.0.0.1\",\"port_value\":80}},"
                "\"additional_local_addresses\":[{\"socket_address\":{\"address\":\"::1\",\"port_value\":81}},"
                "{\"pipe\":{\"path\":\"/run/a.sock\"}}]},{\"name\":\"a\",\"local_address\":{\"pipe\":{\"path\":\"@abstract\"}}},"
                "{\"name\":\"c\",\"local_address\":{\"envoy_internal_address\":{\"server_listener_name\":\"c\"}}}]}");

        cr_expect_eq(l.n, 4);
        cr_expect(has(&l, "tcp://127.0.0.1:80") && has(&l, "udp://127.0.0.1:80") && has(&l, "tcp://[::1]:81"));
        cr_expect(has(&l, "unix:///run/a.sock") && has(&l, "unix://@abstract"));
        cr_expect(!has(&l, "tcp://127.0.0.1:8") && !has(&l, "tcp://127.0.0.1:81") && !has(&l, "no url"));
        listeners_page_done(&l);
}

Test(listeners_page, more_than_one_block_of_them_are_all_found)
{
        static char text[200 * 128];
        struct listeners_page l;
        size_t n = (size_t)sprintf(text, "{\"listener_statuses\":[");

        for (int i = 0; i < 200; i++)
                n += (size_t)sprintf(text + n, "%s{\"local_address\":{\"socket_address\":{\"address\":\"10.0.0.1\",\"port_value\":%d}}}",
                                     i ? "," : "", 1000 + i * 7 % 200);
        strcpy(text + n, "]}");
        l = page_of(text);
        cr_expect_eq(l.n, 200);
        for (int i = 0; i < 200; i++) {
                char url[64];

                (void)sprintf(url, "tcp://10.0.0.1:%d", 1000 + i);
                cr_expect(has(&l, url), "%s", url);
        }
        listeners_page_done(&l);
}

Test(listeners_page, a_page_that_names_no_listener_is_one_and_one_that_is_not_understood_is_none)
{
        static const char *const none[] = { "", "{", "[]", "null", "not json", "{\"listener_statuses\":[{}" };
        struct listeners_page l = page_of("{}");

        cr_expect(!has(&l, "tcp://127.0.0.1:80"));
        listeners_page_done(&l);
        for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
                cr_expect_lt(listeners_page_read(none[i], strlen(none[i]), &l), 0, "%s", none[i]);
        cr_expect_lt(listeners_page_read("{}\0{}", 5, &l), 0, "a zero byte ends nothing");
}

Test(listeners_page, the_version_stands_between_the_first_two_slashes)
{
        static const char good[] = "{\"version\":\"3d8a/1.40.0/Clean/RELEASE/BoringSSL\"}";
        static const char *const bad[] = { "", "{}", "{\"version\":1}", "{\"version\":\"1.40.0\"}", "{\"version\":\"a/b\"}", "{\"version\":\"//\"}" };
        char version[64] = "as it was";

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                cr_expect(!server_info_version(bad[i], strlen(bad[i]), version, sizeof(version)), "%s", bad[i]);
        cr_expect_str_eq(version, "as it was");
        cr_assert(server_info_version(good, sizeof(good) - 1, version, sizeof(version)));
        cr_expect_str_eq(version, "1.40.0");
}
