/* SPDX-License-Identifier: MIT */
/*
 * PURE. The model of a reuse_port group: who stands where, over which places new connections are spread, and in which steps
 * members leave. It refuses to know a socket: those are steer.c's and the caller's.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

static_assert(sizeof(struct hr_steer) == 10 + HR_GROUP_MAX / 8, "stored by users: no padding");

size_t hr_group_find(const struct hr_group *g, uint64_t inode)
{
        for (size_t i = 0; i < g->n; i++)
                if (g->members[i] == inode)
                        return i;
        return HR_GROUP_MAX;
}

int hr_group_append(struct hr_group *g, uint64_t inode)
{
        if (hr_group_find(g, inode) != HR_GROUP_MAX)
                return -EEXIST;
        if (g->n == HR_GROUP_MAX)
                return -ENOSPC;
        g->members[g->n++] = inode;
        return 0;
}

void hr_group_remove(struct hr_group *g, size_t index)
{
        assert(index < g->n);
        g->members[index] = g->members[--g->n];
}

bool hr_group_silenced(struct hr_group *g, uint64_t inode)
{
        size_t i = hr_group_find(g, inode);

        if (i != HR_GROUP_MAX)
                hr_group_remove(g, i);
        return g->n == 0;
}

bool hr_group_is(const struct hr_group *g, const uint64_t inodes[], size_t n)
{
        bool seen[HR_GROUP_MAX] = { false };

        if (n != g->n)
                return false;
        for (size_t i = 0; i < n; i++) {
                size_t at = hr_group_find(g, inodes[i]);

                if (at == HR_GROUP_MAX || seen[at])
                        return false;
                seen[at] = true;
        }
        return true;
}

void hr_steer_leave_out(struct hr_steer *s, size_t place)
{
        assert(place < HR_GROUP_MAX);
        s->without[place / 8] |= (uint8_t)(1 << place % 8);
}

static bool in_range(const struct hr_steer *s, size_t first, size_t count, size_t place)
{
        return place >= first && place - first < count && !(s->without[place / 8] & 1 << place % 8);
}

bool hr_steer_selects(const struct hr_steer *s, size_t place)
{
        if (place >= HR_GROUP_MAX)
                return false;
        return (s->share < HR_SHARE_ALL && in_range(s, s->first, s->count, place)) ||
               (s->share > 0 && in_range(s, s->second_first, s->second_count, place));
}

/* A place past the end may be in a range if it is left out: what counts is what can be chosen. */
static bool range_fits(const struct hr_steer *s, size_t first, size_t count, size_t n)
{
        bool any = false;

        if (first + count > HR_GROUP_MAX)
                return false;
        for (size_t i = first; i < first + count; i++) {
                if (!in_range(s, first, count, i))
                        continue;
                if (i >= n)
                        return false;
                any = true;
        }
        return any;
}

bool hr_steer_fits(const struct hr_steer *s, size_t n)
{
        if (s->share > HR_SHARE_ALL)
                return false;
        return (s->share == HR_SHARE_ALL || range_fits(s, s->first, s->count, n)) &&
               (s->share == 0 || range_fits(s, s->second_first, s->second_count, n));
}

static size_t highest(const bool leaves[], size_t n)
{
        while (n > 0 && !leaves[n - 1])
                n--;
        return n;
}

/*
 * All keepers, but not the last place if it is about to move. @places counts what is left.
 *
 * Two members, and the one that stays is the one that moves: it is chosen nevertheless. For the moment in which its place is
 * past the end the kernel chooses from all members there are, which is this one.
 */
static struct hr_steer keepers(const bool leaves[], size_t n, size_t leaver, size_t *ret_places)
{
        const size_t end = leaver == n - 1 || n == 2 ? n : n - 1;
        struct hr_steer s = { .count = (uint16_t)end };

        *ret_places = 0;
        for (size_t i = 0; i < end; i++) {
                if (leaves[i])
                        hr_steer_leave_out(&s, i);
                else
                        ++*ret_places;
        }
        return s;
}

/*
 * The highest leaver goes first: then everybody above it stays, so what takes its place is a keeper, never a leaver in a
 * place that was thought empty. The program of a step stays right until the next one is attached: the places that it
 * chooses are neither the one that is emptied nor the last one.
 */
int hr_group_plan_removal(const struct hr_group *g, const bool leaves[], struct hr_removal *ret_steps, size_t *ret_n)
{
        bool left[HR_GROUP_MAX];
        size_t n = g->n, steps = 0, end;

        memcpy(left, leaves, n * sizeof(left[0]));
        while ((end = highest(left, n)) > 0) {
                const size_t index = end - 1;
                size_t places;

                ret_steps[steps] = (struct hr_removal){ .steer = keepers(left, n, index, &places), .index = index };
                if (places == 0)
                        return memchr(left, false, n * sizeof(left[0])) ? HR_GROUP_SHARE : -EINVAL;
                left[index] = left[--n];
                steps++;
        }
        *ret_n = steps;
        return 0;
}
