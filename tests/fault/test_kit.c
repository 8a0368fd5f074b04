/* SPDX-License-Identifier: MIT */
/* Each call that makes a launch kit fails once: the failure is told, nothing is left over, the next try is good. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/effects.h"
#include "agent/kit.h"
#include "tests/support/fault.h"

static char run_dir[64] = "/tmp/baton-kit-XXXXXX";
static char config[96];
static char *environment[] = { "A=1", NULL };

static int names_in(const char *folder)
{
        DIR *d = opendir(folder);
        int n = 0;

        for (struct dirent *e; d && (e = readdir(d));)
                n += e->d_name[0] != '.';
        if (d)
                (void)closedir(d);
        return n;
}

/* ---- every segment that was made, so that we know of each whether it is still there ------------------- */

enum { MADE_MAX = 4096 };

static uint64_t made[MADE_MAX];
static size_t n_made;

int __real_hr_segment_create(uint64_t base_id, const struct hr_segment_layout *layout, uid_t uid, gid_t gid);
int __wrap_hr_segment_create(uint64_t base_id, const struct hr_segment_layout *layout, uid_t uid, gid_t gid);
int __wrap_hr_segment_create(uint64_t base_id, const struct hr_segment_layout *layout, uid_t uid, gid_t gid)
{
        if (n_made == MADE_MAX)
                abort();
        made[n_made++] = base_id;
        return __real_hr_segment_create(base_id, layout, uid, gid);
}

static size_t segments_left(void)
{
        size_t left = 0;

        for (size_t i = 0; i < n_made; i++)
                left += hr_segment_initializing(made[i]) >= 0;
        return left;
}

static struct kit_maker maker(void)
{
        static struct proxy_args args;
        static const struct proxy_user ours;
        static const char *argv[] = { "envoy", "-c", config, NULL };
        struct proxy_args_error error;
        FILE *f;

        cr_assert(mkdtemp(run_dir));
        (void)snprintf(config, sizeof(config), "%s.yaml", run_dir);
        f = fopen(config, "we");
        cr_assert(f && fputs("admin: {}\n", f) >= 0 && fclose(f) == 0);
        cr_assert_eq(proxy_args_read(argv, 3, true, &args, &error), 0, "%s", error.text);
        return (struct kit_maker){ .run_dir = run_dir, .args = &args, .environment = environment, .drain_time_s = 45,
                                   .protocol = true, .user = &ours };
}

static void clean_up(void)
{
        (void)unlink(config);
        (void)rmdir(run_dir);
}

static void expect_whole(const struct kit *k)
{
        cr_assert(k->record_fd >= 0 && k->parent_fd >= 0 && k->child_fd >= 0 && k->udp_fd >= 0);
        cr_assert_geq(hr_segment_initializing(k->base_id), 0);
        cr_assert_eq(names_in(run_dir), 3, "snapshot, id and folder");
}

static void expect_each_call_may_fail(const struct kit_maker *m, int error)
{
        int before = open_fd_count(), failed = 0;

        for (int n = 0;; n++) {
                struct kit k = KIT_NULL;
                char text[256] = "";
                bool fired;
                int r;

                fault_arm(n, error);
                r = kit_make(m, 7, CONTENT_DISK, false, "", &k, text, sizeof(text));
                fired = fault_fired();
                failed += r != 0;
                cr_assert(r <= 0 || r == KIT_E_CONFIG);
                if (r == 0) { /* nothing failed, or something that it can do without */
                        expect_whole(&k);
                        kit_done(&k);
                        kit_forget(run_dir, 7);
                } else {
                        cr_assert(*text && k.record_fd < 0 && k.parent_fd < 0, "failing call %d: %d", n, r);
                }
                cr_assert_eq(names_in(run_dir), 0, "failing call %d (%s) leaves a name", n, text);
                cr_assert_eq(segments_left(), 0, "failing call %d (%s) leaves a segment", n, text);
                cr_assert_eq(open_fd_count(), before, "failing call %d (%s) leaks a descriptor", n, text);
                if (!fired) {
                        cr_assert_eq(r, 0, "%s", text);
                        break;
                }
        }
        cr_assert_gt(failed, 10, "the faults did not reach what they are about");
}

Test(kit, each_call_that_fails_is_told_and_leaves_no_name_no_segment_no_descriptor)
{
        struct kit_maker m = maker();

        expect_each_call_may_fail(&m, ENOSPC);
        expect_each_call_may_fail(&m, EMFILE);
        m.expand = true;
        expect_each_call_may_fail(&m, ENOMEM);
        clean_up();
}

/* As with a limit that is reached: not one call fails, but each that makes a descriptor from then on. */
Test(kit, without_a_descriptor_left_no_segment_is_left)
{
        struct kit_maker m = maker();
        struct rlimit limit, lowered;
        int failed = 0;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        for (rlim_t most = 0;; most++) {
                struct kit k = KIT_NULL;
                char text[256] = "";
                int r;

                lowered = (struct rlimit){ .rlim_cur = most, .rlim_max = limit.rlim_max };
                cr_assert_eq(setrlimit(RLIMIT_NOFILE, &lowered), 0);
                r = kit_make(&m, 7, CONTENT_DISK, false, "", &k, text, sizeof(text));
                if (r == 0)
                        kit_forget(run_dir, 7); /* while there is still none left */
                kit_done(&k);
                cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
                if (r != 0) {
                        failed++;
                        cr_assert_eq(segments_left(), 0, "at most %ju: %s", (uintmax_t)most, text);
                }
                kit_forget(run_dir, 7); /* nor has a number been lost */
                cr_assert_eq(segments_left(), 0, "at most %ju", (uintmax_t)most);
                cr_assert_eq(names_in(run_dir), 0, "at most %ju", (uintmax_t)most);
                if (r == 0)
                        break;
        }
        cr_assert(failed > 2 && n_made > 1, "failed %d times, never behind a segment", failed);
        clean_up();
}

Test(kit, a_kit_is_forgotten_even_if_it_was_made_by_somebody_who_died_on_the_way)
{
        struct kit_maker m = maker();
        struct kit k = KIT_NULL;
        char text[256];

        cr_assert_eq(kit_make(&m, 7, CONTENT_DISK, false, "", &k, text, sizeof(text)), 0, "%s", text);
        kit_done(&k);
        cr_assert_eq(kit_make(&m, 7, CONTENT_DISK, false, "", &k, text, sizeof(text)), 0, "%s", text);
        cr_assert_eq(segments_left(), 1, "the one before has gone");
        expect_whole(&k);
        kit_done(&k);
        kit_forget(run_dir, 7);
        cr_assert_eq(segments_left(), 0);
        cr_assert_eq(names_in(run_dir), 0);
        kit_forget(run_dir, 7);
        clean_up();
}

Test(kit, a_copy_outlives_what_it_was_copied_from)
{
        struct kit_maker m = maker();
        struct kit first = KIT_NULL, second = KIT_NULL;
        char text[256], path[128], *content = NULL;
        size_t n;

        cr_assert_eq(kit_make(&m, 1, CONTENT_DISK, false, "", &first, text, sizeof(text)), 0, "%s", text);
        cr_assert_eq(unlink(config), 0);
        cr_assert_eq(kit_make(&m, 2, 1, false, "", &second, text, sizeof(text)), 0, "%s", text);
        kit_done(&first);
        kit_forget(run_dir, 1);
        cr_assert_eq(kit_snapshot_path(&m, 2, path, sizeof(path)), 0);
        cr_assert_eq(kit_read_file(path, &content, &n), 0);
        cr_assert_str_eq(content, "admin: {}\n");
        free(content);
        kit_done(&second);
        kit_forget(run_dir, 2);
        cr_assert_eq(names_in(run_dir), 0);
        cr_assert(kit_make(&m, 3, CONTENT_DISK, false, "", &first, text, sizeof(text)) == KIT_E_CONFIG && strstr(text, config), "%s", text);
        clean_up();
}

/* Where a file system has no second names, the copy is written: of the snapshot, whose variables are values by now. */
Test(kit, a_copy_is_not_expanded_again_however_it_is_made)
{
        struct kit_maker m = maker();
        struct kit first = KIT_NULL;
        char text[256], path[128];
        int written = 0;
        bool fired = true;
        FILE *f = fopen(config, "we");

        cr_assert(f && fputs("a: ${A}, $${A}\n", f) >= 0 && fclose(f) == 0);
        m.expand = true;
        cr_assert_eq(kit_make(&m, 1, CONTENT_DISK, false, "", &first, text, sizeof(text)), 0, "%s", text);
        kit_done(&first);
        cr_assert_eq(kit_snapshot_path(&m, 2, path, sizeof(path)), 0);
        for (int n = 0; fired; n++) {
                CLEANUP(free_ptr) char *content = NULL;
                struct kit second = KIT_NULL;
                struct stat st;
                size_t bytes;
                int r;

                fault_arm(n, EPERM);
                r = kit_make(&m, 2, 1, false, "", &second, text, sizeof(text));
                fired = fault_fired();
                if (r != 0)
                        continue;
                cr_assert(stat(path, &st) == 0 && kit_read_file(path, &content, &bytes) == 0);
                cr_expect_str_eq(content, "a: 1, ${A}\n");
                written += st.st_nlink == 1;
                kit_done(&second);
                kit_forget(run_dir, 2);
        }
        cr_expect_eq(written, 1, "of all calls one is link()");
        kit_forget(run_dir, 1);
        clean_up();
}
