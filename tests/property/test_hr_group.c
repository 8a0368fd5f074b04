/* SPDX-License-Identifier: MIT */
/*
 * The removal rule against a model of the kernel that knows nothing of the rule: sockets in an order, a program, and an
 * index past the end that goes to anybody. After each system call every place that the program can give is tried.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "hotrestart/internal.h"
#include "tests/support/cbpf.h"
#include "tests/support/counts.h"
#include "tests/support/prng.h"

enum { SOCKETS_MAX = 32 };

struct kernel {
        size_t n;
        uint64_t order[2 * SOCKETS_MAX];
        struct sock_filter code[HR_STEER_CODE_MAX];
        size_t code_n;
};

static struct kernel k;
static struct hr_group g;
static bool leaver[1000]; /* by inode */

static void kernel_close(uint64_t inode)
{
        size_t i = 0;

        while (i < k.n && k.order[i] != inode)
                i++;
        cr_assert_lt(i, k.n);
        k.order[i] = k.order[--k.n];
}

static uint64_t next_inode;

static void open_one(void)
{
        k.order[k.n++] = next_inode;
        cr_assert_eq(hr_group_append(&g, next_inode), 0);
        next_inode++;
}

static void attach(const struct hr_steer *s)
{
        k.code_n = hr_steer_compile(s, k.code);
}

static size_t count_of_side(const struct hr_steer *s, size_t first, size_t count, size_t *places)
{
        size_t n = 0;

        for (size_t i = first; i < first + count; i++)
                if (!(s->without[i / 8] >> i % 8 & 1))
                        places[n++] = i;
        return n;
}

/* Every draw: where does the connection go? Past the end it is anybody's, so there must be one keeper and nobody else. */
static void expect_keepers(const struct hr_steer *s, const char *when, uint64_t seed)
{
        size_t places[HR_GROUP_MAX], n = count_of_side(s, s->first, s->count, places);

        cr_assert_gt(n, 0, "seed %" PRIu64 ": %s: nothing is selected", seed, when);
        for (uint32_t d = 0; d < n; d++) {
                const long at = cbpf_run(k.code, k.code_n, &d, 1);

                cr_assert_geq(at, 0);
                if ((size_t)at < k.n) {
                        cr_assert(!leaver[k.order[at]], "seed %" PRIu64 ": %s: place %ld is a leaver", seed, when, at);
                        continue;
                }
                cr_assert(k.n == 1 && !leaver[k.order[0]], "seed %" PRIu64 ": %s: place %ld is past the end of %zu", seed, when, at, k.n);
        }
}

static void expect_model(uint64_t seed)
{
        cr_assert_eq(g.n, k.n, "seed %" PRIu64, seed);
        cr_assert(memcmp(g.members, k.order, g.n * sizeof(g.members[0])) == 0, "seed %" PRIu64 ": the order is another one", seed);
        cr_assert(hr_group_is(&g, k.order, k.n));
}

/* What is selected when the program is attached is the same socket in the same place when the leaver is gone. */
static void take_step(const struct hr_removal *step, uint64_t seed)
{
        const struct kernel before = k;
        const uint64_t goes = g.members[step->index];

        cr_assert(leaver[goes], "seed %" PRIu64 ": a keeper is removed", seed);
        cr_assert(hr_steer_fits(&step->steer, k.n), "seed %" PRIu64, seed);
        attach(&step->steer);
        expect_keepers(&step->steer, "attached", seed);
        kernel_close(goes);
        hr_group_remove(&g, step->index);
        expect_keepers(&step->steer, "closed", seed);
        for (size_t i = 0; i < before.n; i++)
                if (hr_steer_selects(&step->steer, i) && k.n > 1)
                        cr_assert_eq(k.order[i], before.order[i], "seed %" PRIu64 ": place %zu moves", seed, i);
        expect_model(seed);
}

static size_t plan_and_remove(uint64_t seed)
{
        struct hr_removal steps[HR_GROUP_MAX];
        bool leaves[HR_GROUP_MAX];
        size_t n = 0, want = 0;
        int r;

        for (size_t i = 0; i < g.n; i++) {
                leaves[i] = leaver[g.members[i]];
                want += leaves[i];
        }
        r = hr_group_plan_removal(&g, leaves, steps, &n);
        if (r != 0)
                return 0;
        cr_assert_eq(n, want, "seed %" PRIu64, seed);
        for (size_t i = 0; i < n; i++)
                take_step(&steps[i], seed);
        for (size_t i = 0; i < k.n; i++)
                cr_assert(!leaver[k.order[i]], "seed %" PRIu64 ": a leaver is left", seed);
        return n;
}

static void start_anew(size_t n)
{
        memset(leaver, 0, sizeof(leaver));
        g.n = k.n = k.code_n = 0;
        next_inode = 1;
        while (n-- > 0)
                open_one();
}

Test(hr_group, at_no_instant_of_any_removal_does_a_connection_meet_a_leaver_or_a_place_that_moves)
{
        unsigned long steps = 0, histories = count_of(50000, 5000);

        for (uint64_t seed = 1; seed <= histories; seed++) {
                struct prng rng = { seed };
                const uint64_t rarely = 1 + prng_below(&rng, 4);

                start_anew(1 + prng_below(&rng, SOCKETS_MAX));
                for (int round = 0; round < 4; round++) {
                        const uint64_t grow = prng_below(&rng, 8);

                        for (size_t i = 0; i < g.n; i++)
                                leaver[g.members[i]] = prng_one_in(&rng, rarely);
                        steps += plan_and_remove(seed);
                        for (uint64_t i = 0; i < grow && k.n < SOCKETS_MAX; i++)
                                open_one();
                        expect_model(seed);
                }
        }
        cr_assert_gt(steps, histories, "hardly any plan was made");
}

/* [n old, n new], the canary at 100 %, then the old ones leave: for all n. */
Test(hr_group, after_a_canary_the_old_half_leaves_and_the_program_in_between_is_right_as_well)
{
        for (size_t n = 1; n <= SOCKETS_MAX; n++) {
                struct hr_steer all_new = { .count = (uint16_t)n, .second_first = (uint16_t)n, .second_count = (uint16_t)n, .share = HR_SHARE_ALL };
                struct hr_removal steps[HR_GROUP_MAX];
                bool leaves[HR_GROUP_MAX] = { false };
                size_t n_steps, from, places[HR_GROUP_MAX];

                start_anew(n);
                for (size_t i = 0; i < n; i++) {
                        open_one();
                        leaves[i] = leaver[g.members[i]] = true;
                }
                cr_assert(hr_steer_fits(&all_new, g.n));
                attach(&all_new);
                for (uint32_t d = 0; d < n; d++)
                        cr_assert(!leaver[k.order[cbpf_run(k.code, k.code_n, &d, 1)]]);
                cr_assert_eq(hr_group_plan_removal(&g, leaves, steps, &n_steps), 0);
                cr_assert_eq(n_steps, n);
                for (size_t s = 0; n > 1 && s < n; s++) {
                        cr_assert_eq(steps[s].index, n - 1 - s);
                        cr_assert_eq(count_of_side(&steps[s].steer, 0, steps[s].steer.count, places), n - 1);
                        from = places[0];
                        cr_assert_eq(from, n - s, "n %zu, step %zu", n, s);
                        cr_assert_eq(places[n - 2], from + n - 2, "no gap");
                }
                cr_assert_eq(plan_and_remove(n), n);
        }
}

/* Is there any order at all in which the leavers can go? Tried out, all of them. */
static bool some_order(unsigned leavers, size_t n)
{
        const unsigned all = (1U << n) - 1, last = 1U << (n - 1);
        const unsigned stay = all & ~leavers;

        if (!leavers)
                return true;
        for (size_t i = 0; i < n; i++) {
                unsigned after = leavers & ~(1U << i) & ~last;

                if (!(leavers >> i & 1))
                        continue;
                if (i < n - 1 && leavers & last)
                        after |= 1U << i;
                /* Selectable: keepers that do not move; with one member left after it the kernel has no choice. */
                if (!(stay & ~(i < n - 1 ? last : 0)) && !(n == 2 && stay))
                        continue;
                if (some_order(after, n - 1))
                        return true;
        }
        return false;
}

Test(hr_group, sharing_is_asked_for_only_where_no_order_of_removal_exists)
{
        unsigned shares = 0;

        for (size_t n = 1; n <= 8; n++)
                for (unsigned mask = 0; mask < 1U << n; mask++) {
                        struct hr_removal steps[HR_GROUP_MAX];
                        bool leaves[HR_GROUP_MAX];
                        size_t n_steps;
                        int r;

                        start_anew(n);
                        for (size_t i = 0; i < n; i++)
                                leaves[i] = mask >> i & 1;
                        r = hr_group_plan_removal(&g, leaves, steps, &n_steps);
                        cr_assert_eq(r == 0, some_order(mask, n), "%zu members, leavers %#x", n, mask);
                        cr_assert_eq(r == -EINVAL, mask == (1U << n) - 1, "%zu members, leavers %#x", n, mask);
                        shares += r == HR_GROUP_SHARE;
                }
        cr_assert_gt(shares, 0);
}

/* A random steer: each draw of each side gives that side's place of this number, and nothing else is ever given. */
static void expect_exact(const struct hr_steer *s, uint64_t seed)
{
        const size_t first[] = { s->second_first, s->first }, count[] = { s->second_count, s->count };
        const uint32_t side[][2] = { { 0, s->share - 1U }, { s->share, HR_SHARE_ALL - 1 } };
        bool given[HR_GROUP_MAX] = { false };
        struct sock_filter code[HR_STEER_CODE_MAX];
        const size_t n = hr_steer_compile(s, code);
        size_t places[HR_GROUP_MAX];

        cr_assert_leq(n, HR_STEER_CODE_MAX);
        for (int i = 0; i < 2; i++) {
                size_t n_places;

                if (s->share == (i == 0 ? 0 : HR_SHARE_ALL))
                        continue; /* this side is not used, whatever it says */
                n_places = count_of_side(s, first[i], count[i], places);
                for (uint32_t d = 0; d < 2 * n_places; d++) {
                        const uint32_t low[] = { side[i][0], d }, high[] = { side[i][1], d };
                        const bool one_side = s->share == 0 || s->share == HR_SHARE_ALL;

                        given[places[d % n_places]] = true;
                        cr_assert_eq(cbpf_run(code, n, low + one_side, 2 - one_side), (long)places[d % n_places], "seed %" PRIu64, seed);
                        cr_assert_eq(cbpf_run(code, n, high + one_side, 2 - one_side), (long)places[d % n_places], "seed %" PRIu64, seed);
                }
        }
        for (size_t i = 0; i < HR_GROUP_MAX; i++)
                cr_assert_eq(hr_steer_selects(s, i), given[i], "seed %" PRIu64 ": place %zu", seed, i);
}

Test(hr_group, a_program_gives_each_selected_place_in_its_turn_and_no_other)
{
        unsigned long fitting = 0, tries = count_of(50000, 5000);

        for (uint64_t seed = 1; seed <= tries; seed++) {
                struct prng rng = { seed };
                const uint64_t width = 1 + prng_below(&rng, prng_one_in(&rng, 20) ? HR_GROUP_MAX : 12);
                struct hr_steer s = { 0 };

                s.first = (uint16_t)prng_below(&rng, width);
                s.count = (uint16_t)prng_below(&rng, width);
                s.second_first = (uint16_t)prng_below(&rng, width);
                s.second_count = (uint16_t)prng_below(&rng, width);
                s.share = (uint16_t)(prng_one_in(&rng, 3) ? 0 : prng_one_in(&rng, 3) ? HR_SHARE_ALL : prng_below(&rng, HR_SHARE_ALL));
                for (uint64_t i = prng_below(&rng, width); i > 0; i--)
                        hr_steer_leave_out(&s, prng_below(&rng, width));
                if (!hr_steer_fits(&s, HR_GROUP_MAX))
                        continue;
                fitting++;
                expect_exact(&s, seed);
        }
        cr_assert_gt(fitting, tries / 10);
}
