/* SPDX-License-Identifier: MIT */
/* Images of every moment of random histories, whole and damaged. */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <string.h>

#include "tests/support/counts.h"
#include "tests/support/world.h"

static uint8_t again[256 * 1024], damaged[256 * 1024];
static struct succession back;

static void expect_the_same(const uint8_t *bytes, size_t n, uint64_t seed)
{
        cr_assert_eq(image_write(&back, again, sizeof(again)), n, "seed %" PRIu64, seed);
        cr_assert_arr_eq(again, bytes, n, "seed %" PRIu64, seed);
}

Test(image, every_moment_survives_being_stored)
{
        for (uint64_t seed = 1; seed <= count_of(2000, 100); seed++) {
                struct world *w = world_new(seed);

                for (int64_t ms = 0; !w->ended && ms < 200000; ms += 7001) {
                        world_run(w, ms);
                        cr_assert(!w->failure[0], "seed %" PRIu64 ": %s", seed, w->failure);
                        cr_assert_eq(image_read(w->stored, w->stored_bytes, &back), 0, "seed %" PRIu64, seed);
                        expect_the_same(w->stored, w->stored_bytes, seed);
                }
        }
}

Test(image, what_is_damaged_is_refused_or_is_another_whole_image)
{
        unsigned long refused = 0, tries = count_of(200000, 5000);
        struct prng rng = { 5 };
        struct world *w = world_new(3);

        world_run(w, 30000);
        for (unsigned long i = 0; i < tries; i++) {
                size_t n = w->stored_bytes, at = (size_t)prng_below(&rng, n);

                memcpy(damaged, w->stored, n);
                damaged[at] ^= (uint8_t)(1 + prng_below(&rng, 255));
                if (prng_one_in(&rng, 4))
                        n = at;
                if (image_read(damaged, n, &back) != 0)
                        refused++;
                else
                        expect_the_same(damaged, n, i);
        }
        cr_assert(refused > tries / 10 && refused < tries, "%lu of %lu refused", refused, tries);
}
