/* SPDX-License-Identifier: MIT */
/*
 * Random histories against a model of keeper, proxies, disk and user (tests/support/world.h), which checks after each step:
 * never a key held, audible, and nobody accepting from it beyond its deadline; never two serving, never one launched beside
 * another; tokens within their bounds; no state in which nothing can ever happen; a stop ends in time; no kit number twice;
 * an answer goes only to one that waits for it. Of upgrades and rollbacks: a new connection to a listener of what serves lands
 * where somebody accepts, or is not heard and comes again; each ticket is told one story, and it is true; no run is stuck, none
 * runs that nobody asked for; every generation ends by its deadline; the end leaves nothing.
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>

#include "tests/support/counts.h"
#include "tests/support/world.h"

enum { FOREVER_MS = 3600 * 1000 };

static int64_t stop_ms(const struct world *w)
{
        for (size_t i = 0; i < w->n_causes; i++)
                if (w->causes[i].kind == CAUSE_STOP)
                        return w->causes[i].at.ns / 1000000;
        return 0;
}

static void play_to_the_end(struct world *w)
{
        world_run(w, stop_ms(w) + FOREVER_MS);
        cr_assert(!w->failure[0], "seed %" PRIu64 ": %s", w->seed, w->failure);
        cr_assert(w->ended, "seed %" PRIu64 " has not ended", w->seed);
}

Test(succession, promises_hold_in_every_history)
{
        unsigned long launches = 0, commits = 0, failed = 0, steers = 0;

        for (uint64_t seed = 1; seed <= count_of(20000, 1500); seed++) {
                struct world *w = world_new(seed);

                w->lags = seed % 2;
                play_to_the_end(w);
                launches += w->launches;
                commits += w->commits;
                failed += w->rolled_back + w->refused;
                steers += w->steers;
        }
        cr_assert_gt(launches, 3 * count_of(20000, 1500), "the histories are too quiet to show anything");
        cr_assert(commits > count_of(20000, 1500) / 2 && failed > count_of(20000, 1500) / 2 && steers > count_of(20000, 1500) / 10,
                  "%lu commits, %lu failed, %lu times steered", commits, failed, steers);
}

Test(succession, promises_hold_when_agents_die_anywhere)
{
        unsigned long deaths = 0;

        for (uint64_t seed = 1; seed <= count_of(10000, 600); seed++) {
                struct world *w = world_new(seed);

                w->lags = seed % 2;
                w->death_one_in = 6 + (unsigned)(seed % 20);
                w->deaths = (struct prng){ seed * 31 };
                play_to_the_end(w);
                deaths += w->n_deaths;
        }
        cr_assert_gt(deaths, 10 * count_of(10000, 600));
}

/* The twin that never loses its agent shows what must be: the same epochs, tokens, deadlines, sockets and answers. */
Test(succession, a_history_in_which_agents_die_comes_to_the_same_as_one_in_which_none_dies)
{
        static char without[8192], with[8192];

        for (uint64_t seed = 1; seed <= count_of(5000, 400); seed++) {
                int status = 0;

                for (int deaths = 0; deaths < 2; deaths++) {
                        struct world *w = world_new(seed);
                        char *summary = deaths ? with : without;

                        w->steady = true; /* when its changes are seen depends on when the agent began to look */
                        w->death_one_in = deaths ? 6 + (unsigned)(seed % 30) : 0;
                        w->deaths = (struct prng){ seed * 17 };
                        world_run(w, stop_ms(w) - 1);
                        cr_assert(!w->failure[0], "seed %" PRIu64 ": %s", seed, w->failure);
                        (void)world_summary(w, summary, sizeof(without));
                        cr_assert(world_nobody_waits(w), "seed %" PRIu64 ": an answer was lost", seed);
                        play_to_the_end(w);
                        cr_assert(!deaths || w->status == status, "seed %" PRIu64 ": ends with %d, not %d", seed, w->status, status);
                        status = w->status;
                }
                cr_assert_str_eq(with, without, "seed %" PRIu64 "\n---- with deaths\n%s---- without\n%s", seed, with, without);
        }
}
