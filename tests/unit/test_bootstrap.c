/* SPDX-License-Identifier: MIT */
/* What baton reads in a bootstrap, and how its own admin address gets into one. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/bootstrap.h"
#include "agent/cleanup.h"

static struct bootstrap read_text(const char *text, const char *yaml, const char *path)
{
        struct bootstrap b;

        bootstrap_read(text, text ? strlen(text) : 0, yaml, path, &b);
        return b;
}

static void expect_urls(const struct bootstrap *b, const char *want)
{
        char text[1024] = "";

        for (size_t i = 0; i < b->n_urls; i++)
                (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "", b->urls[i]);
        cr_expect_str_eq(text, want);
}

#define ADDRESS(host, port) "{ address: { socket_address: { address: '" host "', port_value: " port " } } }"
#define LISTENERS(...) "static_resources: { listeners: [ " __VA_ARGS__ " ] }\n"

Test(bootstrap, static_listeners_are_named_as_envoy_names_them)
{
        CLEANUP(bootstrap_done) struct bootstrap b = read_text(
                LISTENERS(ADDRESS("0.0.0.0", "80") ", " ADDRESS("::", "443") ", " ADDRESS("0:0:0:0:0:0:0:1", "8") ", "
                          "{ address: { pipe: { path: /x.sock } } }, "
                          "{ address: { socket_address: { protocol: UDP, address: 127.0.0.1, portValue: 53 } }, "
                          "  additional_addresses: [ " ADDRESS("127.0.0.2", "53") " ] }"),
                NULL, "x.yaml");

        cr_expect(b.readable);
        cr_expect(!b.lds);
        cr_expect(!bootstrap_listeners_from_outside(&b));
        expect_urls(&b, "tcp://0.0.0.0:80 tcp://[::]:443 tcp://[::1]:8 unix:///x.sock udp://127.0.0.1:53 tcp://127.0.0.2:53");
}

Test(bootstrap, json_and_camel_case_are_the_same_to_envoy_and_to_us)
{
        CLEANUP(bootstrap_done) struct bootstrap b = read_text(
                "{\"staticResources\": {\"listeners\": [{\"address\": {\"socketAddress\": {\"address\": \"1.2.3.4\", \"portValue\": 5}}}]},"
                " \"dynamicResources\": {\"ldsConfig\": {}}}", NULL, "x.json");

        expect_urls(&b, "tcp://1.2.3.4:5");
        cr_expect(b.lds);
        cr_expect(bootstrap_listeners_from_outside(&b));
}

Test(bootstrap, listeners_come_from_outside_with_lds_or_ads_in_either_text)
{
        static const char *const lds[] = { "dynamic_resources: { lds_config: { ads: {} } }", "dynamic_resources: { ads_config: {} }" };

        for (size_t i = 0; i < 2; i++) {
                CLEANUP(bootstrap_done) struct bootstrap file = read_text(lds[i], NULL, "x.yaml");
                CLEANUP(bootstrap_done) struct bootstrap yaml = read_text("node: {}", lds[i], "x.yaml");
                CLEANUP(bootstrap_done) struct bootstrap only = read_text(NULL, lds[i], NULL);

                cr_expect(file.lds && yaml.lds && only.lds && only.readable);
        }
        CLEANUP(bootstrap_done) struct bootstrap cds = read_text("dynamic_resources: { cds_config: {} }", NULL, "x.yaml");

        cr_expect(!bootstrap_listeners_from_outside(&cds));
}

Test(bootstrap, the_listeners_of_file_and_config_yaml_add_up)
{
        CLEANUP(bootstrap_done) struct bootstrap b = read_text(LISTENERS(ADDRESS("127.0.0.1", "1")), LISTENERS(ADDRESS("127.0.0.1", "2")), "x.yaml");

        expect_urls(&b, "tcp://127.0.0.1:1 tcp://127.0.0.1:2");
}

Test(bootstrap, what_cannot_be_read_is_not_known_and_does_no_harm)
{
        static const struct {
                const char *text, *path;
        } bad[] = {
                { "a: [", "x.yaml" }, { "", "x.yaml" }, { NULL, "x.yaml" }, { "\x01\x02", "x.yaml" }, { "node: {}", "x.pb" }, { "node: {}", "x" },
                { "node: {}", "x.pb_text" }, { "a: *b", "x.yaml" },
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                CLEANUP(bootstrap_done) struct bootstrap b = read_text(bad[i].text, NULL, bad[i].path);

                cr_expect(!b.readable, "%zu", i);
                cr_expect(bootstrap_listeners_from_outside(&b), "better to wait for listeners than to lose them");
        }
}

Test(bootstrap, other_types_where_listeners_should_be_are_passed_over)
{
        static const char *const odd[] = {
                "static_resources: []", "static_resources: { listeners: {} }", "static_resources: { listeners: [ 1, [], { address: 7 } ] }",
                "[]", "7", "static_resources: { listeners: [ { address: { socket_address: { address: x } } } ] }",
        };

        for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
                CLEANUP(bootstrap_done) struct bootstrap b = read_text(odd[i], odd[i], "x.yaml");

                cr_expect_eq(b.n_urls, 0, "%s", odd[i]);
        }
}

Test(bootstrap, how_each_address_is_bound_is_read_beside_it)
{
        CLEANUP(bootstrap_done) struct bootstrap b = read_text(
                LISTENERS("{ address: { socket_address: { address: '::', port_value: 1, ipv4_compat: true } } }, "
                          "{ enable_reuse_port: false, freebind: true, address: { socket_address: { address: 1.2.3.4, port_value: 2 } }, "
                          "  additional_addresses: [ " ADDRESS("127.0.0.2", "3") " ] }, "
                          "{ enableReusePort: true, bindToPort: false, address: { socket_address: { address: 1.2.3.4, port_value: 4 } } }, "
                          "{ transparent: true, address: { socket_address: { address: 1.2.3.4, port_value: 5, network_namespace_filepath: /n } } }, "
                          "{ address: { pipe: { path: /x.sock } } }"),
                NULL, "x.yaml");

        expect_urls(&b, "tcp://[::]:1 tcp://1.2.3.4:2 tcp://127.0.0.2:3 tcp://1.2.3.4:4 tcp://1.2.3.4:5 unix:///x.sock");
        cr_expect(b.listeners[0].v4_too && b.listeners[0].reuse_port && b.listeners[0].binds && !b.listeners[0].freebind);
        cr_expect(!b.listeners[1].reuse_port && b.listeners[1].freebind && !b.listeners[1].v4_too);
        cr_expect(!b.listeners[2].reuse_port && b.listeners[2].freebind, "an additional address is bound as the first one");
        cr_expect(b.listeners[3].reuse_port && !b.listeners[3].binds);
        cr_expect(b.listeners[4].freebind && b.listeners[4].elsewhere && !b.listeners[3].elsewhere);
        cr_expect(!b.listeners[5].reuse_port && b.listeners[5].binds, "a pipe has one socket");
}

Test(bootstrap, what_envoy_is_told_to_ignore_is_ignored)
{
        CLEANUP(bootstrap_done) struct bootstrap b = read_text(
                "!ignore dynamic_resources: { lds_config: {} }\n!ignore static_resources: { listeners: [ " ADDRESS("1.1.1.1", "1") " ] }\n"
                LISTENERS(ADDRESS("127.0.0.1", "2")), NULL, "x.yaml");

        cr_expect(!b.lds);
        expect_urls(&b, "tcp://127.0.0.1:2");
}

static void expect_merged(const char *yaml, const char *want)
{
        CLEANUP(free_ptr) char *text = NULL;

        cr_assert_eq(bootstrap_merge_admin(yaml, "/r/e1/admin.sock", &text), 0);
        cr_expect_str_eq(text, want);
}

#define OURS "address: {pipe: {path: \"/r/e1/admin.sock\", mode: 384}}"

Test(bootstrap, our_admin_address_is_put_into_a_config_of_any_kind)
{
        expect_merged(NULL, "{admin: {" OURS "}}\n");
        expect_merged("", "{admin: {" OURS "}}\n");
}

Test(bootstrap, our_admin_address_wins_and_the_users_other_fields_stay)
{
        CLEANUP(free_ptr) char *text = NULL;

        cr_assert_eq(bootstrap_merge_admin("node: { id: n }\nadmin:\n  access_log: [ { name: x } ]\n  address: { socket_address: { address: 0.0.0.0, port_value: 9901 } }\n",
                                           "/r/a", &text), 0);
        cr_expect(strstr(text, "access_log") && strstr(text, "id: n"), "%s", text);
        cr_expect(!strstr(text, "9901") && !strstr(text, "socket_address"), "%s", text);
        cr_expect(strstr(text, "path: \"/r/a\""), "%s", text);
}

Test(bootstrap, an_address_that_stands_there_twice_is_replaced_twice)
{
        CLEANUP(free_ptr) char *text = NULL;
        const char *at;

        cr_assert_eq(bootstrap_merge_admin("admin: { address: { pipe: { path: /a } }, address: { pipe: { path: /b } } }", "/r/a", &text), 0);
        at = strstr(text, "address");
        cr_expect(at && !strstr(at + 1, "address"), "%s", text);
}

static unsigned count_of_text(const char *text, const char *word)
{
        unsigned n = 0;

        for (const char *at = text; (at = strstr(at, word)); at++)
                n++;
        return n;
}

Test(bootstrap, an_admin_that_stands_there_twice_is_one_with_our_address)
{
        CLEANUP(free_ptr) char *text = NULL;

        cr_assert_eq(bootstrap_merge_admin("admin: { profile_path: /a }\nnode: { id: n }\nadmin: { profile_path: /b, address: { pipe: { path: /c } } }\n", "/r/a", &text), 0);
        cr_expect_eq(count_of_text(text, "admin:"), 1, "%s", text);
        cr_expect_eq(count_of_text(text, "address:"), 1, "%s", text);
        cr_expect(strstr(text, "/b") && strstr(text, "id: n") && !strstr(text, "/c"), "the last one counts: %s", text);
}

Test(bootstrap, anchors_and_texts_of_several_lines_come_through)
{
        CLEANUP(free_ptr) char *text = NULL;
        CLEANUP(bootstrap_done) struct bootstrap b = { 0 };

        cr_assert_eq(bootstrap_merge_admin("x: &a { socket_address: { address: 127.0.0.1, port_value: 7 } }\n"
                                           "admin: { address: *a }\n"
                                           "static_resources: { listeners: [ { address: *a }, { address: *a } ] }\n"
                                           "body: |\n  one\n  two: three\nfolded: >-\n  four\n  five\n", "/r/a", &text), 0);
        bootstrap_read(text, strlen(text), NULL, "x.yaml", &b);
        expect_urls(&b, "tcp://127.0.0.1:7 tcp://127.0.0.1:7");
        cr_expect(strstr(text, "folded: >-\n  four five") && strstr(text, "body: |\n  one\n  two: three\n"), "%s", text);
        cr_expect_eq(count_of_text(text, "/r/a"), 1, "%s", text);
}

Test(bootstrap, json_stays_json_enough_for_envoy)
{
        CLEANUP(free_ptr) char *text = NULL;

        cr_assert_eq(bootstrap_merge_admin("{\"node\":{\"id\":\"a\\tb: 'c'\",\"n\":\"5\",\"m\":5,\"t\":true,\"z\":null},\"admin\":{\"address\":{\"pipe\":{\"path\":\"/x\"}}}}",
                                           "/r/a", &text), 0);
        cr_expect(strstr(text, "\"a\\tb: 'c'\"") && strstr(text, "\"n\": \"5\"") && strstr(text, "\"m\": 5") && strstr(text, "\"t\": true") &&
                          strstr(text, "\"z\": null") && !strstr(text, "/x"), "%s", text);
}

Test(bootstrap, tags_that_envoy_knows_come_through)
{
        CLEANUP(free_ptr) char *text = NULL;

        cr_assert_eq(bootstrap_merge_admin("!ignore templates: { a: &t { id: n } }\nnode: *t\n", "/r/a", &text), 0);
        cr_expect(strstr(text, "!ignore"), "%s", text);
}

Test(bootstrap, a_megabyte_is_merged)
{
        enum { ITEMS = 48000 };
        CLEANUP(free_ptr) char *user = malloc((size_t)ITEMS * 32 + 64), *text = NULL;
        CLEANUP(bootstrap_done) struct bootstrap b = { 0 };
        size_t n;

        cr_assert(user);
        n = (size_t)sprintf(user, "{\"static_resources\":{\"listeners\":[],\"x\":[");
        for (int i = 0; i < ITEMS; i++)
                n += (size_t)sprintf(user + n, "%s{\"name\":\"cluster-%05d\"}", i ? "," : "", i);
        (void)sprintf(user + n, "]}}");
        cr_assert_gt(strlen(user), 1024 * 1024);
        cr_assert_eq(bootstrap_merge_admin(user, "/r/a", &text), 0);
        bootstrap_read(text, strlen(text), NULL, "x.yaml", &b);
        cr_expect(b.readable && strstr(text, "cluster-47999") && strstr(text, "/r/a"));
}

Test(bootstrap, an_admin_that_is_no_mapping_is_replaced)
{
        expect_merged("{admin: }", "{admin: {" OURS "}}\n");
        expect_merged("{admin: 7}", "{admin: {" OURS "}}\n");
}

Test(bootstrap, what_is_merged_says_the_same_as_before)
{
        static const char user[] = "static_resources:\n  listeners:\n  - name: \"a: b\"\n    address: { socket_address: { address: \"::1\", port_value: 010 } }\n"
                                      "x: '5'\ny: \"${Z}\"\nw: caf\xc3\xa9\n";
        CLEANUP(free_ptr) char *text = NULL;
        CLEANUP(bootstrap_done) struct bootstrap b = { 0 };

        cr_assert_eq(bootstrap_merge_admin(user, "/r/a", &text), 0);
        bootstrap_read(text, strlen(text), NULL, "x.yaml", &b);
        expect_urls(&b, "tcp://[::1]:010");
        cr_expect(strstr(text, "x: '5'") && strstr(text, "${Z}") && strstr(text, "caf\xc3\xa9"), "%s", text);
}

Test(bootstrap, a_text_that_is_no_mapping_is_refused)
{
        static const char *const bad[] = { "[]", "7", "a: [", "\x01", "- a" };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                char *text = NULL;

                cr_expect_eq(bootstrap_merge_admin(bad[i], "/r/a", &text), -EINVAL, "%s", bad[i]);
                cr_expect_null(text);
        }
}

/* ---- where the admin interface is -------------------------------------------------------------------- */

static void expect_admin(const struct bootstrap *b, const char *host, const char *port, const char *path)
{
        cr_expect_str_eq(b->admin.host, host);
        cr_expect_str_eq(b->admin.port, port);
        cr_expect_str_eq(b->admin.path, path);
}

#define ADMIN(host, port) "admin: { address: { socket_address: { address: '" host "', port_value: " port " } } }"
#define ADMIN_PIPE(path, mode) "admin: { address: { pipe: { path: " path ", mode: " mode " } } }"

Test(bootstrap, the_admin_address_is_read_in_every_spelling)
{
        static const char *const socket[] = {
                ADMIN("127.0.0.1", "9901"),
                "{\"admin\": {\"address\": {\"socketAddress\": {\"address\": \"127.0.0.1\", \"portValue\": 9901}}}}",
                "{\"admin\": {\"address\": {\"socket_address\": {\"address\": \"127.0.0.1\", \"port_value\": 9901}}}}",
                "admin: { address: { socket_address: { address: 1.1.1.1, port_value: 1 } } }\n" ADMIN("127.0.0.1", "9901"), /* the last one counts */
        };

        for (size_t i = 0; i < sizeof(socket) / sizeof(socket[0]); i++) {
                CLEANUP(bootstrap_done) struct bootstrap b = read_text(socket[i], NULL, "x.json");

                expect_admin(&b, "127.0.0.1", "9901", "");
                cr_expect(!b.admin.v4_too && !b.admin.elsewhere && b.admin.mode == 0);
        }
        CLEANUP(bootstrap_done) struct bootstrap pipe = read_text(ADMIN_PIPE("/a.sock", "432"), NULL, "x.yaml");
        CLEANUP(bootstrap_done) struct bootstrap octal = read_text(ADMIN_PIPE("'@a'", "0660"), NULL, "x.yaml");
        CLEANUP(bootstrap_done) struct bootstrap six = read_text(
                "admin: { address: { socket_address: { address: '::', portValue: 1, ipv4Compat: true, networkNamespaceFilepath: /n } } }", NULL, "x.yaml");

        expect_admin(&pipe, "", "", "/a.sock");
        expect_admin(&octal, "", "", "@a");
        expect_admin(&six, "::", "1", "");
        cr_expect(pipe.admin.mode == 0660 && octal.admin.mode == 0660);
        cr_expect(six.admin.v4_too && six.admin.elsewhere);
}

Test(bootstrap, the_admin_address_of_config_yaml_counts_over_the_files_field_by_field)
{
        static const struct {
                const char *file, *yaml, *host, *port, *path;
                unsigned mode;
        } merged[] = {
                { ADMIN("127.0.0.1", "1"), ADMIN("127.0.0.2", "2"), "127.0.0.2", "2", "", 0 },
                { ADMIN("127.0.0.1", "1"), "admin: { address: { socket_address: { port_value: 2 } } }", "127.0.0.1", "2", "", 0 },
                { ADMIN("127.0.0.1", "1"), "admin: { profile_path: /x }", "127.0.0.1", "1", "", 0 },
                { ADMIN("127.0.0.1", "1"), "node: {}", "127.0.0.1", "1", "", 0 },
                { ADMIN("127.0.0.1", "1"), ADMIN_PIPE("/a", "0600"), "", "", "/a", 0600 },
                { ADMIN_PIPE("/a", "0600"), ADMIN("127.0.0.2", "2"), "127.0.0.2", "2", "", 0 },
                { ADMIN_PIPE("/a", "0600"), ADMIN_PIPE("/b", "0"), "", "", "/b", 0600 },
                { "node: {}", ADMIN("127.0.0.2", "2"), "127.0.0.2", "2", "", 0 },
                { NULL, ADMIN("127.0.0.2", "2"), "127.0.0.2", "2", "", 0 },
        };

        for (size_t i = 0; i < sizeof(merged) / sizeof(merged[0]); i++) {
                CLEANUP(bootstrap_done) struct bootstrap b = read_text(merged[i].file, merged[i].yaml, merged[i].file ? "x.yaml" : NULL);

                expect_admin(&b, merged[i].host, merged[i].port, merged[i].path);
                cr_expect_eq(b.admin.mode, merged[i].mode, "%zu", i);
        }
}

Test(bootstrap, no_admin_and_garbage_for_one_are_none)
{
        static const char *const odd[] = {
                "node: {}", "admin: {}", "admin:", "admin: 7", "admin: []", "admin: { address: 7 }", "admin: { address: { socket_address: [] } }",
                "admin: { address: { pipe: 7 } }", "admin: { address: { socket_address: { address: {}, port_value: [] } } }", "[]", "7", "[ admin ]",
                "!ignore admin: { address: { pipe: { path: /x } } }",
        };

        for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
                CLEANUP(bootstrap_done) struct bootstrap b = read_text(odd[i], odd[i], "x.yaml");

                expect_admin(&b, "", "", "");
        }
}
