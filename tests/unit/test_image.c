/* SPDX-License-Identifier: MIT */
/* The state as bytes and back. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image.h"
#include "tests/support/script.h"

static uint8_t image[IMAGE_BYTES_MAX], again[IMAGE_BYTES_MAX];
static struct succession back;

/* One that has seen something: two generations, a kit, held and silenced keys, an owed answer. */
static size_t sample(void)
{
        struct succession_limits l = script_limits();
        struct script *w = script_begin(&l);
        size_t n;

        script_up(w, 50, 0, 3);
        script_crash(w, 20000, 0);
        script_run(w, 55000);
        script_ask(w, 55001, 1, 0);
        w->s.escrow.keys[2].inode = 0;
        w->s.escrow.keys[2].opened = 77;
        w->s.escrow.keys[2].fresh = true;
        n = image_write(&w->s, image, sizeof(image));
        cr_assert_gt(n, 0);
        return n;
}

Test(image, what_is_written_is_read_and_written_again_the_same)
{
        size_t n = sample();
        const struct escrow_key *k;

        cr_assert_eq(image_read(image, n, &back), 0);
        cr_assert_eq(image_write(&back, again, sizeof(again)), n);
        cr_assert_arr_eq(again, image, n);
        cr_assert_eq(back.wanted, 1);
        cr_assert_eq(succession_find(&back, 1)->owed, OWED_PASS);
        cr_assert(back.escrow.keys[2].opened == 77 && back.escrow.keys[2].fresh && !back.escrow.keys[2].inode);
        k = &back.escrow.keys[1];
        cr_assert(back.escrow.n == 3 && hr_key_equal(&k->key, script_key(1)) && k->silenced && k->inode == 5001);
}

Test(image, one_that_was_cut_or_has_grown_is_refused)
{
        size_t n = sample();

        for (size_t cut = 0; cut < n; cut++) {
                uint8_t *exact = malloc(cut + 1); /* so that a sanitizer sees a read behind it */

                cr_assert(exact);
                memcpy(exact, image, cut);
                cr_assert_eq(image_read(exact, cut, &back), IMAGE_E_CORRUPT, "%zu of %zu bytes", cut, n);
                free(exact);
        }
        cr_assert_eq(image_read(image, n + 1, &back), IMAGE_E_CORRUPT);
}

Test(image, one_of_another_version_or_layout_is_told_from_a_corrupt_one)
{
        size_t n = sample();

        image[4]++; /* version */
        cr_assert_eq(image_read(image, n, &back), IMAGE_E_VERSION);
        image[4]--;
        image[8]++; /* bytes of the core */
        cr_assert_eq(image_read(image, n, &back), IMAGE_E_VERSION);
        image[8]--;
        image[12]++; /* bytes of an epoch */
        cr_assert_eq(image_read(image, n, &back), IMAGE_E_VERSION);
        image[12]--;
        image[0]++;
        cr_assert_eq(image_read(image, n, &back), IMAGE_E_CORRUPT);
}

static int read_with(void (*change)(struct succession *s))
{
        size_t n = sample();

        cr_assert_eq(image_read(image, n, &back), 0);
        change(&back);
        n = image_write(&back, again, sizeof(again));
        cr_assert_gt(n, 0);
        return image_read(again, n, &back);
}

static void no_change(struct succession *s)
{
        (void)s;
}

static void impossible_state(struct succession *s)
{
        s->epochs[0].state = EPOCH_GONE + 1;
}

static void impossible_answer(struct succession *s)
{
        s->epochs[1].owed = OWED_UNRECOGNIZED + 1;
}

static void held_and_opened(struct succession *s)
{
        s->escrow.keys[2].inode = 5;
}

static void impossible_key(struct succession *s)
{
        struct epoch *e = succession_find(s, 1);

        e->owed = OWED_PASS;
        e->owed_key = s->escrow.n;
}

static void impossible_end(struct succession *s)
{
        s->end = END_SAID + 1;
}

static void impossible_tokens(struct succession *s)
{
        s->backoff.tokens = -1;
}

Test(image, states_that_cannot_be_are_refused)
{
        cr_assert_eq(read_with(no_change), 0);
        cr_assert_eq(read_with(impossible_state), IMAGE_E_CORRUPT);
        cr_assert_eq(read_with(impossible_answer), IMAGE_E_CORRUPT);
        cr_assert_eq(read_with(impossible_key), IMAGE_E_CORRUPT);
        cr_assert_eq(read_with(held_and_opened), IMAGE_E_CORRUPT);
        cr_assert_eq(read_with(impossible_end), IMAGE_E_CORRUPT);
        cr_assert_eq(read_with(impossible_tokens), IMAGE_E_CORRUPT);
}

Test(image, the_largest_succession_there_can_be_fits)
{
        static struct succession s;
        struct succession_limits l = script_limits();

        succession_init(&s, &l);
        for (uint64_t i = 0; i < GENERATIONS_MAX; i++)
                epoch_init(&s.epochs[i], i, CONTENT_DISK);
        s.escrow.n = KEYS_MAX;
        for (size_t i = 0; i < KEYS_MAX; i++) {
                memset(s.escrow.keys[i].key.url, 'u', HR_URL_BYTES - 1);
                memset(s.escrow.keys[i].key.netns, 'n', HR_NETNS_BYTES - 1);
        }
        cr_assert_gt(image_write(&s, image, sizeof(image)), 0);
}

Test(image, what_does_not_fit_is_not_half_written)
{
        size_t n = sample();

        cr_assert_eq(image_read(image, n, &back), 0);
        for (size_t size = 0; size < n; size += 7)
                cr_assert_eq(image_write(&back, again, size), 0);
}
