/* SPDX-License-Identifier: MIT */
/* The words of --listen and --probe. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "agent/listen_spec.h"

static struct listen_spec listen_at(const char *text)
{
        struct listen_spec s = { .name = "?" };

        cr_assert_eq(listen_spec_read(text, &s), 0, "%s", text);
        return s;
}

static bool listens(const char *text, const char *url, const char *name)
{
        struct listen_spec s = listen_at(text);

        cr_expect_str_eq(s.key.url, url);
        cr_expect_str_eq(s.name, name);
        return true;
}

Test(listen_spec, an_address_is_a_key_and_a_name_without_colons)
{
        cr_expect(listens("127.0.0.1:8080", "tcp://127.0.0.1:8080", "127.0.0.1-8080"));
        cr_expect(listens(":80", "tcp://0.0.0.0:80", "-80"));
        cr_expect(listens("[::1]:80", "tcp://[::1]:80", "[--1]-80"));
        cr_expect(listens("unix:/run/x.sock", "unix:///run/x.sock", "unix-/run/x.sock"));
        cr_expect(listens("unix:@name", "unix://@name", "unix-@name"));
}

Test(listen_spec, a_name_may_stand_before_it)
{
        cr_expect(listens("web=:80", "tcp://0.0.0.0:80", "web"));
        cr_expect(listens("web.socket=unix:/a=b", "unix:///a=b", "web.socket"));
        cr_expect(listens("unix:/a=b", "unix:///a=b", "unix-/a=b"));
}

Test(listen_spec, what_is_no_address_is_refused)
{
        static const char *const bad[] = { "", "80", "web=80", "=:80", "web=", ":", ":x", ":65536", "localhost:80", "1.2.3:80", "[::1]", "unix:",
                                           "udp://1.2.3.4:1", "1.2.3.4:80 ", "a b=:80", "web=\t:80" };
        static char longer[400];
        struct listen_spec s;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                cr_expect_eq(listen_spec_read(bad[i], &s), -EINVAL, "%s", bad[i]);
        memset(longer, 'x', sizeof(longer) - 1);
        memcpy(longer + 300, "=:80", 5);
        cr_expect_eq(listen_spec_read(longer, &s), -EINVAL, "a name that is too long is not cut");
        memcpy(longer, "unix:/", 6);
        memcpy(longer + 300, "", 1);
        cr_expect_eq(listen_spec_read(longer, &s), -EINVAL, "nor a path");
}

static bool asks(const char *text, const char *url, const char *path)
{
        struct probe_spec s = { .kind = PROBE_NONE };

        cr_expect_eq(probe_spec_read(text, &s), 0, "%s", text);
        cr_expect_eq(s.kind, PROBE_HTTP);
        cr_expect_str_eq(s.key.url, url);
        cr_expect_str_eq(s.path, path);
        return true;
}

Test(listen_spec, a_probe_is_tcp_or_a_url_of_an_ip)
{
        struct probe_spec s;

        cr_expect(probe_spec_read("", &s) == 0 && s.kind == PROBE_NONE);
        cr_expect(probe_spec_read("tcp", &s) == 0 && s.kind == PROBE_TCP);
        cr_expect(asks("http://127.0.0.1:81/ready?x=1", "tcp://127.0.0.1:81", "/ready?x=1"));
        cr_expect(asks("http://localhost:81", "tcp://127.0.0.1:81", "/"));
        cr_expect(asks("http://localhost/a", "tcp://127.0.0.1:80", "/a"));
        cr_expect(asks("http://[::1]/a", "tcp://[::1]:80", "/a"));
        cr_expect(asks("http://[::1]:81?q", "tcp://[::1]:81", "/?q"));
}

Test(listen_spec, what_cannot_be_probed_is_refused)
{
        static const char *const bad[] = { "udp", "TCP", "http://", "http:///x", "http://:80/", "https://127.0.0.1/", "http://example.org/",
                                           "http://localhostx:80/", "http://127.0.0.1:x/", "http://127.0.0.1/a b", "http://127.0.0.1#x", "127.0.0.1:80" };
        static char longer[PROBE_PATH_BYTES + 100];
        struct probe_spec s;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                cr_expect_eq(probe_spec_read(bad[i], &s), -EINVAL, "%s", bad[i]);
        memset(longer, 'x', sizeof(longer) - 1);
        memcpy(longer, "http://127.0.0.1/", 17);
        cr_expect_eq(probe_spec_read(longer, &s), -EINVAL, "a path that is too long is not cut");
}
