/* SPDX-License-Identifier: MIT */
/* Keys: which texts are addresses. A text that Envoy cannot parse ends its process, so here it must not pass. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

static struct hr_key key(const char *url)
{
        struct hr_key k = { 0 };

        cr_assert_lt(strlen(url), sizeof(k.url));
        strcpy(k.url, url);
        return k;
}

struct good {
        char url[64], host[48];
        int family, type, port;
        unsigned scope;
};

ParameterizedTestParameters(hr_key, what_envoy_writes_is_an_address)
{
        static struct good rows[] = {
                { "tcp://127.0.0.1:80", "127.0.0.1", AF_INET, SOCK_STREAM, 80, 0 },
                { "tcp://0.0.0.0:65535", "0.0.0.0", AF_INET, SOCK_STREAM, 65535, 0 },
                { "tcp://10.0.0.1:0", "10.0.0.1", AF_INET, SOCK_STREAM, 0, 0 },
                { "udp://127.0.0.1:53", "127.0.0.1", AF_INET, SOCK_DGRAM, 53, 0 },
                { "tcp://[::1]:80", "::1", AF_INET6, SOCK_STREAM, 80, 0 },
                { "tcp://[::]:10000", "::", AF_INET6, SOCK_STREAM, 10000, 0 },
                { "udp://[2001:db8::1]:443", "2001:db8::1", AF_INET6, SOCK_DGRAM, 443, 0 },
                { "tcp://[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", AF_INET6, SOCK_STREAM, 80, 0 },
                { "tcp://[fe80::1%4294967295]:80", "fe80::1", AF_INET6, SOCK_STREAM, 80, 4294967295U },
                { "tcp://[fe80::1%2]:80", "fe80::1", AF_INET6, SOCK_STREAM, 80, 2 },
        };

        return cr_make_param_array(struct good, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct good *row, hr_key, what_envoy_writes_is_an_address)
{
        struct hr_key k = key(row->url);
        struct sockaddr_storage addr;
        const struct sockaddr_in *in = (const struct sockaddr_in *)&addr;
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr;
        char host[INET6_ADDRSTRLEN];
        socklen_t len;
        int type;
        bool six = row->family == AF_INET6;

        cr_assert_eq(hr_key_address(&k, &addr, &len, &type), 0, "%s", row->url);
        cr_assert_eq(addr.ss_family, row->family);
        cr_assert_eq(type, row->type);
        cr_assert_eq(len, six ? sizeof(*in6) : sizeof(*in));
        cr_assert(inet_ntop(row->family, six ? (const void *)&in6->sin6_addr : (const void *)&in->sin_addr, host, sizeof(host)));
        cr_assert_str_eq(host, row->host);
        cr_assert_eq(ntohs(six ? in6->sin6_port : in->sin_port), row->port);
        if (six)
                cr_assert_eq(in6->sin6_scope_id, row->scope);
}

struct bad {
        char url[136];
};

ParameterizedTestParameters(hr_key, a_text_that_envoy_would_not_survive_is_no_address)
{
        static struct bad rows[] = {
                { "" }, { "127.0.0.1:80" }, { "tcp:/127.0.0.1:80" }, { "tcp://" }, { "tcp://127.0.0.1" }, { "tcp://127.0.0.1:" },
                { "tcp://:80" }, { "http://127.0.0.1:80" }, { "TCP://127.0.0.1:80" }, { "tcp://localhost:80" },
                { "tcp://127.0.0.1:99999" }, { "tcp://127.0.0.1:65536" }, { "tcp://127.0.0.1:18446744073709551696" },
                { "tcp://127.0.0.1:-1" }, { "tcp://127.0.0.1:+1" }, { "tcp://127.0.0.1: 80" }, { "tcp://127.0.0.1:80 " },
                { "tcp://0127.0.0.1:80" }, { "tcp://127.0.1:80" }, { "tcp://256.0.0.1:80" }, { "tcp://1.2.3.4.5:80" },
                { "tcp://::1:80" }, { "tcp://[::1]" }, { "tcp://[::1]80" }, { "tcp://[::1:80" }, { "tcp://[::g]:80" },
                { "tcp://[]:80" }, { "tcp://[::1]:" }, { "tcp://[::1]:65536" }, { "tcp://[fe80::1%eth0]:80" },
                { "tcp://[fe80::1%]:80" }, { "tcp://[fe80::1%4294967296]:80" }, { "tcp://[fe80::1%1%2]:80" }, { "unix://" },
                { "udp://127.0.0.1" }, { "tcp://[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:80" },
        };

        return cr_make_param_array(struct bad, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct bad *row, hr_key, a_text_that_envoy_would_not_survive_is_no_address)
{
        struct hr_key k = key(row->url);
        struct sockaddr_storage addr;
        socklen_t len;
        int type;

        cr_assert_eq(hr_key_address(&k, &addr, &len, &type), -EINVAL, "%s", row->url);
}

Test(hr_key, a_unix_path_ends_with_its_nul_and_an_abstract_name_without)
{
        struct sockaddr_storage addr;
        const struct sockaddr_un *un = (const struct sockaddr_un *)&addr;
        struct hr_key path = key("unix:///run/a"), abstract = key("unix://@a");
        socklen_t len;
        int type;

        cr_assert_eq(hr_key_address(&path, &addr, &len, &type), 0);
        cr_assert_eq(len, offsetof(struct sockaddr_un, sun_path) + strlen("/run/a") + 1);
        cr_assert_str_eq(un->sun_path, "/run/a");
        cr_assert_eq(type, SOCK_STREAM);
        cr_assert_eq(hr_key_address(&abstract, &addr, &len, &type), 0);
        cr_assert_eq(len, offsetof(struct sockaddr_un, sun_path) + 2);
        cr_assert_arr_eq(un->sun_path, "\0a", 2);
}

Test(hr_key, a_unix_path_has_at_most_107_characters)
{
        struct sockaddr_storage addr;
        struct hr_key k = key("unix://");
        socklen_t len;
        int type;

        memset(k.url + 7, 'p', 107);
        cr_assert_eq(hr_key_address(&k, &addr, &len, &type), 0);
        memset(k.url + 7, 'p', 108);
        cr_assert_eq(hr_key_address(&k, &addr, &len, &type), -EINVAL);
}

Test(hr_key, keys_are_equal_only_in_text_namespace_and_worker)
{
        struct hr_key a = key("tcp://127.0.0.1:80"), b = a;

        cr_assert(hr_key_equal(&a, &b));
        b.worker = 1;
        cr_assert_not(hr_key_equal(&a, &b));
        b = a;
        strcpy(b.netns, "/run/netns/x");
        cr_assert_not(hr_key_equal(&a, &b));
        b = key("tcp://127.0.0.1:8");
        cr_assert_not(hr_key_equal(&a, &b));
}

Test(hr_key, port_zero_is_ephemeral_and_nothing_else_is)
{
        struct hr_key k[] = { key("tcp://127.0.0.1:0"), key("udp://[::]:0"), key("tcp://127.0.0.1:80"), key("tcp://[::]:10"),
                              key("unix:///a:0") };
        bool ephemeral[] = { true, true, false, false, false };

        for (size_t i = 0; i < sizeof(k) / sizeof(k[0]); i++)
                cr_assert_eq(hr_key_is_ephemeral(&k[i]), ephemeral[i], "%s", k[i].url);
}

Test(hr_key, the_scheme_tells_udp_and_unix)
{
        struct hr_key udp = key("udp://1.2.3.4:5"), pipe = key("unix:///a"), tcp = key("tcp://1.2.3.4:5");

        cr_assert(hr_key_is_udp(&udp) && !hr_key_is_unix(&udp));
        cr_assert(hr_key_is_unix(&pipe) && !hr_key_is_udp(&pipe));
        cr_assert(!hr_key_is_unix(&tcp) && !hr_key_is_udp(&tcp));
}

static int port_of_url(const char *url)
{
        struct hr_key k = { 0 };

        (void)snprintf(k.url, sizeof(k.url), "%s", url);
        return hr_key_tcp_port(&k);
}

Test(hr_key, tcp_has_a_port_and_nothing_else_has_one)
{
        cr_expect_eq(port_of_url("tcp://0.0.0.0:80"), 80);
        cr_expect_eq(port_of_url("tcp://[fe80::1%2]:443"), 443);
        cr_expect_eq(port_of_url("udp://0.0.0.0:443"), -1);
        cr_expect_eq(port_of_url("unix:///run/x:80"), -1);
        cr_expect_eq(port_of_url("tcp://a.name:80"), -1);
}
