/* SPDX-License-Identifier: MIT */
/* Which directories must be watched for a path: all in which an entry on the way to it could be replaced. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/watch/interests.h"

static char top[PATH_MAX];

static const char *at(const char *name)
{
        static char paths[4][PATH_MAX];
        static unsigned next;

        (void)snprintf(paths[next % 4], PATH_MAX, "%.1000s/%s", top, name);
        return paths[next++ % 4];
}

static void set_up(void)
{
        char name[] = "/tmp/interests.XXXXXX";

        cr_assert(mkdtemp(name) && realpath(name, top));
}

static void tear_down(void)
{
        char command[PATH_MAX + 16];

        (void)snprintf(command, sizeof(command), "rm -rf %s", top);
        cr_assert_eq(system(command), 0);
}

TestSuite(interests, .init = set_up, .fini = tear_down);

static void make(const char *name)
{
        FILE *f = fopen(at(name), "we");

        cr_assert(f);
        (void)fclose(f);
}

static struct interests of(const char *name)
{
        struct interests s = INTERESTS_NULL;

        cr_assert_eq(interests_add(&s, at(name), 0), 0);
        return s;
}

static bool hit(const struct interests *s, const char *dir, const char *name)
{
        return interests_hit(s, 0, *dir ? at(dir) : top, name);
}

Test(interests, of_a_file_are_its_name_and_that_of_each_directory_above_and_no_neighbour)
{
        struct interests s;

        cr_assert_eq(mkdir(at("a"), 0755), 0);
        make("a/f");
        s = of("a/f");
        cr_expect(hit(&s, "a", "f"));
        cr_expect(hit(&s, "", "a"));
        cr_expect(!hit(&s, "a", "g"));
        cr_expect(!hit(&s, "", "b"));
        interests_done(&s);
}

Test(interests, of_what_is_not_there_is_the_first_entry_that_lacks)
{
        struct interests s = of("x/y/z");

        cr_expect(hit(&s, "", "x"));
        cr_expect_eq(s.list[s.n - 1].content, false);
        interests_done(&s);
}

Test(interests, of_a_directory_are_all_its_entries_those_below_and_where_its_links_lead)
{
        struct interests s;

        cr_assert_eq(mkdir(at("d"), 0755), 0);
        cr_assert_eq(mkdir(at("d/sub"), 0755), 0);
        cr_assert_eq(mkdir(at("archive"), 0755), 0);
        make("archive/f2");
        cr_assert_eq(symlink("../archive/f2", at("d/f")), 0);
        s = of("d");
        cr_expect(hit(&s, "d", "anything"));
        cr_expect(hit(&s, "d/sub", "anything"));
        cr_expect(hit(&s, "archive", "f2"));
        cr_expect(!hit(&s, "archive", "f3"));
        interests_done(&s);
}

Test(interests, a_way_through_links_has_each_link_and_what_it_leads_to)
{
        struct interests s;

        cr_assert_eq(mkdir(at("v1"), 0755), 0);
        make("v1/tls.crt");
        cr_assert_eq(symlink("v1", at("..data")), 0);
        cr_assert_eq(symlink("..data/tls.crt", at("tls.crt")), 0);
        s = of("tls.crt");
        cr_expect(hit(&s, "", "tls.crt"));
        cr_expect(hit(&s, "", "..data"));
        cr_expect(hit(&s, "", "v1"));
        cr_expect(hit(&s, "v1", "tls.crt"));
        interests_done(&s);
}

Test(interests, links_in_a_circle_end)
{
        struct interests s;

        cr_assert_eq(symlink("b", at("a")), 0);
        cr_assert_eq(symlink("a", at("b")), 0);
        s = of("a");
        cr_expect(hit(&s, "", "a") && hit(&s, "", "b"));
        interests_done(&s);
        cr_assert_eq(mkdir(at("d"), 0755), 0);
        cr_assert_eq(symlink(".", at("d/self")), 0);
        s = of("d");
        cr_expect(hit(&s, "d", "anything"));
        cr_expect(!s.full);
        interests_done(&s);
}

Test(interests, what_lies_too_deep_is_told)
{
        char name[64] = "d";
        struct interests s;

        cr_assert_eq(mkdir(at(name), 0755), 0);
        for (int i = 0; i <= INTERESTS_DEPTH_MAX; i++) {
                strcat(name, "/d");
                cr_assert_eq(mkdir(at(name), 0755), 0);
        }
        s = of("d");
        cr_expect(s.full);
        interests_done(&s);
}

Test(interests, two_are_the_same_until_a_directory_comes_or_a_link_leads_elsewhere)
{
        struct interests one, two;

        cr_assert_eq(mkdir(at("d"), 0755), 0);
        one = of("d");
        make("d/file");
        two = of("d");
        cr_expect(interests_same(&one, &two), "a file is an entry like any");
        interests_done(&two);
        cr_assert_eq(mkdir(at("d/more"), 0755), 0);
        two = of("d");
        cr_expect(!interests_same(&one, &two));
        interests_done(&two);
        interests_done(&one);
}

Test(interests, more_than_there_is_room_for_is_told)
{
        struct interests s;
        char name[32];

        cr_assert_eq(mkdir(at("d"), 0755), 0);
        for (int i = 0; i < INTERESTS_MAX; i++) {
                (void)snprintf(name, sizeof(name), "d/%d", i);
                cr_assert_eq(mkdir(at(name), 0755), 0);
        }
        s = of("d");
        cr_expect(s.full);
        cr_expect_eq(s.n, INTERESTS_MAX);
        interests_done(&s);
}
