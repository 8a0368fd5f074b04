/* SPDX-License-Identifier: MIT */
/* What a listen socket is called in the keeper's table. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "agent/key_name.h"
#include "agent/keeper/wire.h"

Test(key_name, a_key_survives_being_a_name)
{
        static const struct hr_key keys[] = {
                { .worker = 0, .url = "tcp://0.0.0.0:80" },
                { .worker = 4294967295, .url = "tcp://[::1]:443" },
                { .worker = 3, .url = "unix:///run/a b/c@d" },
                { .worker = 1, .url = "udp://127.0.0.1:53", .netns = "/run/netns/blue" },
        };

        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                char name[WIRE_NAME_BYTES];
                struct hr_key back;

                cr_assert_eq(key_name(&keys[i], name, sizeof(name)), 0);
                cr_assert(key_of_name(name, &back));
                cr_assert(hr_key_equal(&back, &keys[i]), "%s", name);
        }
}

Test(key_name, the_longest_key_fits_into_a_name_of_the_keeper)
{
        struct hr_key k = { .worker = 4294967295 }, back;
        char name[WIRE_NAME_BYTES], small[20];

        memset(k.url, 'u', sizeof(k.url) - 1);
        memset(k.netns, 'n', sizeof(k.netns) - 1);
        cr_assert_eq(key_name(&k, name, sizeof(name)), 0);
        cr_assert(key_of_name(name, &back) && hr_key_equal(&back, &k));
        cr_assert_eq(key_name(&k, small, sizeof(small)), -ENAMETOOLONG);
}

Test(key_name, other_names_are_not_keys)
{
        static const char *const others[] = { "", "listen", "listen/", "listen/x/tcp://a:1", "listen/-1/tcp://a:1", "listen/1",
                                              "kit/1", "status/:80", "control" };
        static char longer[WIRE_NAME_BYTES + 200];
        struct hr_key k = { .worker = 77 };

        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                cr_assert_not(key_of_name(others[i], &k), "%s", others[i]);
        memset(longer, 'x', sizeof(longer) - 1);
        memcpy(longer, "listen/1/", 9);
        cr_assert_not(key_of_name(longer, &k));
        longer[9] = '\t';
        cr_assert_not(key_of_name(longer, &k));
        cr_assert_eq(k.worker, 77, "a result was written beside the answer that there is none");
}
