/* SPDX-License-Identifier: MIT */
/* The keeper's table against a plain model, by random histories. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/keeper/table.h"
#include "tests/support/prng.h"

enum { NAMES = 40 };

static struct table table;

static void make_name(int i, char *ret)
{
        int n = snprintf(ret, WIRE_NAME_BYTES, "n%d/", i);

        memset(ret + n, 'a' + i % 26, (size_t)i * 7);
        ret[n + i * 7] = 0;
}

/* The packed names are what a list sends: one behind the other, in the order of the entries, without a hole. */
static bool names_are_packed(const struct table *t)
{
        uint32_t at = 0;

        for (uint32_t i = 0; i < t->n; i++) {
                if (t->name[i] != at)
                        return false;
                at += (uint32_t)strlen(table_name(t, i)) + 1;
        }
        return at == t->text_bytes;
}

Test(keeper_table, any_history_of_puts_and_drops_ends_as_a_map_would)
{
        char name[WIRE_NAME_BYTES];
        int model[NAMES];

        for (uint64_t seed = 1; seed <= 50; seed++) {
                struct prng rng = { seed };

                memset(&table, 0, sizeof(table));
                memset(model, -1, sizeof(model));
                for (int step = 0; step < 300; step++) {
                        int i = (int)prng_below(&rng, NAMES);

                        make_name(i, name);
                        if (prng_one_in(&rng, 3)) {
                                table_drop(&table, name);
                                model[i] = -1;
                        } else {
                                model[i] = dup(STDERR_FILENO);
                                cr_assert_eq(table_put(&table, name, model[i]), 0);
                        }
                        cr_assert(names_are_packed(&table), "replay with seed %d", (int)seed);
                }
                for (int i = 0; i < NAMES; i++) {
                        make_name(i, name);
                        cr_assert_eq(table_fd(&table, name), model[i], "replay with seed %d", (int)seed);
                        cr_assert(model[i] < 0 || fcntl(model[i], F_GETFD) >= 0);
                        table_drop(&table, name);
                        cr_assert(model[i] < 0 || fcntl(model[i], F_GETFD) < 0);
                }
                cr_assert_eq(table.n + table.text_bytes, 0);
        }
}

Test(keeper_table, a_name_must_be_there_and_fit)
{
        char name[WIRE_NAME_BYTES + 1];

        memset(name, 'x', sizeof(name));
        name[WIRE_NAME_BYTES] = 0;
        cr_expect_eq(table_put(&table, name, 0), -EINVAL);
        cr_expect_eq(table_put(&table, "", 0), -EINVAL);
        cr_expect_eq(table.n, 0);
}
