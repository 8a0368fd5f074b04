/* SPDX-License-Identifier: MIT */
/* Run directories: which one, who may have it, and what is said when none will do. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/instance.h"

static char base[] = "/tmp/bi-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

static void before(void)
{
        (void)unsetenv("BATON_RUN_DIR");
        (void)unsetenv("BATON_NAME");
        (void)unsetenv("RUNTIME_DIRECTORY");
        (void)unsetenv("XDG_RUNTIME_DIR");
        cr_assert(mkdtemp(base));
}

static void after(void)
{
        (void)nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(instance, .init = before, .fini = after);

static const char *under(const char *name)
{
        static char paths[4][256];
        static int i;

        i = (i + 1) % 4;
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/%s", base, name);
        return paths[i];
}

static void expect_candidates(const char *run_dir, const char *name, const char *const *want)
{
        struct instance_candidates c;
        size_t i = 0;

        instance_candidates(run_dir, name, &c);
        for (; want[i]; i++) {
                cr_assert(i < c.n, "there is no candidate %zu", i);
                cr_expect_str_eq(c.paths[i], want[i]);
        }
        cr_expect_eq(c.n, i);
}

Test(instance, candidates_come_in_the_order_of_the_manual)
{
        char tmp[64];

        (void)snprintf(tmp, sizeof(tmp), "/tmp/baton-%u/default", (unsigned)geteuid());
        expect_candidates("", "", (const char *[]){ "/run/baton/default", tmp, NULL });
        (void)setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
        expect_candidates("", "", (const char *[]){ "/run/baton/default", "/run/user/7/baton/default", tmp, NULL });
        (void)setenv("RUNTIME_DIRECTORY", "/run/a:/run/b", 1);
        expect_candidates("", "", (const char *[]){ "/run/a", "/run/baton/default", "/run/user/7/baton/default", tmp, NULL });
        (void)setenv("BATON_RUN_DIR", "/env", 1);
        expect_candidates("", "x", (const char *[]){ "/env", NULL });
        expect_candidates("/given", "x", (const char *[]){ "/given", NULL });
}

Test(instance, the_name_is_part_of_what_nobody_named)
{
        (void)setenv("XDG_RUNTIME_DIR", "/u", 1);
        (void)setenv("BATON_NAME", "blue", 1);
        struct instance_candidates c;

        instance_candidates("", "", &c);
        cr_expect_str_eq(c.paths[0], "/run/baton/blue");
        cr_expect_str_eq(c.paths[1], "/u/baton/blue");
        instance_candidates("", "green", &c);
        cr_expect_str_eq(c.paths[0], "/run/baton/green");
}

Test(instance, a_run_directory_is_made_with_its_parents_and_others_may_only_pass_through)
{
        struct instance_error e;
        struct stat st;
        char dir[256];
        int lock = -1;

        (void)umask(0);
        cr_assert_eq(instance_create_and_lock(under("a/b/c"), "", dir, sizeof(dir), &lock, &e), 0, "%s", e.text);
        cr_expect_str_eq(dir, under("a/b/c"));
        cr_assert_eq(stat(dir, &st), 0);
        cr_expect_eq(st.st_mode & 07777, 0711);
        cr_assert_eq(stat(under("a/b"), &st), 0);
        cr_expect_eq(st.st_mode & 07777, 0755);
        cr_expect_eq(instance_of_lock(lock, dir, sizeof(dir)), 0);
        cr_expect_str_eq(dir, under("a/b/c"));
        (void)close(lock);
}

Test(instance, the_same_directory_twice_is_refused_until_the_lock_is_gone)
{
        struct instance_error e;
        char dir[256];
        int lock = -1, second = -1;

        cr_assert_eq(instance_create_and_lock(under("r"), "", dir, sizeof(dir), &lock, &e), 0);
        cr_expect_eq(instance_create_and_lock(under("r"), "", dir, sizeof(dir), &second, &e), INSTANCE_E_TAKEN);
        cr_expect(strstr(e.text, "belongs to a running instance") && strstr(e.text, under("r")), "%s", e.text);
        cr_expect_eq(second, -1);
        (void)close(lock);
        cr_expect_eq(instance_create_and_lock(under("r"), "", dir, sizeof(dir), &second, &e), 0);
        (void)close(second);
}

/* 85 characters for a socket path, 14 of them for /e4294967295/s. */
Test(instance, a_directory_too_long_for_socket_names_is_refused_with_the_reason)
{
        struct instance_error e;
        char path[512], dir[256];
        int lock = -1;

        for (size_t n = 70; n < 400; n++) {
                int r;

                memset(path, 'x', n);
                memcpy(path, under(""), strlen(under("")));
                path[n] = '\0';
                r = instance_create_and_lock(path, "", dir, sizeof(dir), &lock, &e);
                if (n <= 71) {
                        cr_assert_eq(r, 0, "%zu: %s", n, e.text);
                        cr_expect_eq(close(lock), 0);
                        continue;
                }
                cr_assert_eq(r, INSTANCE_E_USAGE, "%zu characters: %d", n, r);
                cr_expect(strstr(e.text, "at most 71"), "%s", e.text);
                cr_expect_neq(access(path, F_OK), 0, "and it is not made");
                if (n == 80)
                        n = 390;
        }
}

Test(instance, a_relative_directory_is_as_long_as_its_whole_path)
{
        char deep[256], dir[256];
        struct instance_error e;
        int lock = -1;

        (void)snprintf(deep, sizeof(deep), "%s/%060d", base, 0);
        cr_assert_eq(mkdir(deep, 0755), 0);
        cr_assert_eq(chdir(base), 0);
        cr_assert_eq(instance_create_and_lock("short", "", dir, sizeof(dir), &lock, &e), 0, "%s", e.text);
        cr_expect_str_eq(dir, under("short"));
        (void)close(lock);
        lock = -1;
        cr_assert_eq(chdir(deep), 0);
        cr_expect_eq(instance_create_and_lock("short", "", dir, sizeof(dir), &lock, &e), INSTANCE_E_USAGE);
        cr_expect_eq(lock, -1);
        cr_expect(strstr(e.text, deep), "%s", e.text);
        cr_assert_eq(chdir("/"), 0);
}

Test(instance, what_cannot_be_a_directory_is_told_with_its_path_and_reason)
{
        struct instance_error e;
        char dir[256];
        int lock = -1, fd = open(under("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        (void)close(fd);
        cr_expect_eq(instance_create_and_lock(under("file"), "", dir, sizeof(dir), &lock, &e), INSTANCE_E_NONE);
        cr_expect(strstr(e.text, under("file")) && strstr(e.text, "Not a directory"), "%s", e.text);
        cr_expect_eq(instance_create_and_lock(under("file/x"), "", dir, sizeof(dir), &lock, &e), INSTANCE_E_NONE);
        cr_expect(strstr(e.text, "Not a directory"), "%s", e.text);
        cr_expect_eq(instance_create_and_lock("/proc/x", "", dir, sizeof(dir), &lock, &e), INSTANCE_E_NONE);
        cr_expect(strstr(e.text, "/proc/x cannot be used"), "%s", e.text);
        cr_expect_eq(lock, -1);
}

static int listen_in(const char *dir)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        (void)mkdir(dir, 0755);
        (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%.90s/control.sock", dir);
        cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        cr_assert_eq(listen(fd, 8), 0);
        return fd;
}

Test(instance, a_client_takes_the_first_that_listens_and_otherwise_says_what_it_tried)
{
        struct instance_error e;
        char dir[256];
        int fd;

        (void)setenv("RUNTIME_DIRECTORY", under("none"), 1);
        (void)setenv("XDG_RUNTIME_DIR", under("xdg"), 1);
        (void)mkdir(under("xdg"), 0755), (void)mkdir(under("xdg/baton"), 0755);
        fd = listen_in(under("xdg/baton/no-such-name"));
        cr_expect_eq(instance_find("", "no-such-name", dir, sizeof(dir), &e), 0, "%s", e.text);
        cr_expect_str_eq(dir, under("xdg/baton/no-such-name"));
        (void)close(fd); /* the file stays, nobody listens */
        cr_expect_eq(instance_find("", "no-such-name", dir, sizeof(dir), &e), INSTANCE_E_NONE);
        cr_expect(strstr(e.text, "no instance of baton is running") && strstr(e.text, "none/control.sock (No such file") &&
                          strstr(e.text, "no-such-name/control.sock (Connection refused)"), "%s", e.text);
}

Test(instance, a_client_that_was_told_where_looks_nowhere_else)
{
        struct instance_error e;
        char dir[256];
        int fd = listen_in(under("xdg"));

        (void)setenv("RUNTIME_DIRECTORY", under("xdg"), 1);
        cr_expect_eq(instance_find(under("other"), "", dir, sizeof(dir), &e), INSTANCE_E_NONE);
        cr_expect_eq(instance_find("", "", dir, sizeof(dir), &e), 0);
        (void)close(fd);
}
