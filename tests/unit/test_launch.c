/* SPDX-License-Identifier: MIT */
/* Launch records: what the agent writes, and what the keeper's child refuses to read. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/launch.h"

static const char *const words[] = { "envoy", "-c", "", "a b", NULL };
static const char *const environment[] = { "A=1", "LISTEN_FDS=9", "LISTEN_PID=1", "LISTEN_FDNAMES=x", "B=", NULL };
static const char *const held[] = { "listen/0/a", "listen/0/b" };

static struct launch sample(void)
{
        static const gid_t groups[] = { 5, 6, 7 };

        return (struct launch){
                .argv = words, .envp = environment, .path = "/bin/envoy", .binary = "bin/3", .cwd = "/tmp", .out = "out/1",
                .flags = LAUNCH_SET_IDS | LAUNCH_DEATH_SIGNAL, .uid = 1, .gid = 2, .groups = groups, .n_groups = 3,
                .oom_score_adj = -7, .listen = held, .n_listen = 2, .nofile_soft = 10, .nofile_hard = 20,
        };
}

struct view {
        struct launch_record *r; /* on the heap, of exactly its size */
        size_t n;
};

static struct view seal(struct launch l)
{
        struct view v = { 0 };
        struct stat st;
        int fd = -1, r = launch_seal(&l, &fd);

        cr_assert_eq(r, 0, "%s", strerror(-r));
        cr_assert_eq(fstat(fd, &st), 0);
        v.n = (size_t)st.st_size;
        v.r = malloc(v.n);
        cr_assert(v.r && pread(fd, v.r, v.n, 0) == (ssize_t)v.n);
        (void)close(fd);
        return v;
}

static const char *text(struct view v, uint32_t offset)
{
        return (const char *)v.r + offset;
}

static void expect_strings(struct view v, uint32_t offset, uint32_t n, const char *const *want)
{
        const char *s = text(v, offset);

        for (uint32_t i = 0; i < n; i++, s += strlen(s) + 1)
                cr_expect_str_eq(s, want[i]);
        cr_expect_null(want[n]);
}

Test(launch, a_record_says_what_was_asked_for)
{
        static const char *const want[] = { "A=1", "B=", "LISTEN_FDS=2", "LISTEN_FDNAMES=one:two", NULL };
        static const char *const names[] = { "one", "two" };
        struct launch l = sample();
        struct view v;

        l.listen_names = names;
        v = seal(l);
        cr_expect_eq(v.r->bytes, v.n);
        cr_expect_eq(v.r->flags, LAUNCH_SET_IDS | LAUNCH_DEATH_SIGNAL);
        cr_expect(v.r->uid == 1 && v.r->gid == 2 && v.r->n_groups == 3 && v.r->groups[2] == 7);
        cr_expect_eq(v.r->oom_score_adj, -7);
        cr_expect(v.r->nofile_soft == 10 && v.r->nofile_hard == 20);
        expect_strings(v, v.r->args, v.r->n_args, words);
        expect_strings(v, v.r->env, v.r->n_env, want);
        cr_expect_str_eq(text(v, v.r->path), "/bin/envoy");
        cr_expect_str_eq(text(v, v.r->binary), "bin/3");
        cr_expect_str_eq(text(v, v.r->cwd), "/tmp");
        cr_expect_str_eq(text(v, v.r->out), "out/1");
        cr_expect_str_eq(text(v, v.r->err), "");
        cr_expect_str_eq(text(v, v.r->listen[1]), "listen/0/b");
        cr_expect_str_eq(text(v, v.r->listen_name[0]), "one");
        free(v.r);
}

Test(launch, nobody_can_change_a_record)
{
        struct launch l = sample();
        int fd;

        cr_assert_eq(launch_seal(&l, &fd), 0);
        cr_expect_lt(pwrite(fd, "x", 1, 0), 0);
        cr_expect_lt(ftruncate(fd, 0), 0);
        cr_expect_eq(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
        cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        (void)close(fd);
}

Test(launch, what_the_keeper_would_refuse_is_refused_when_it_is_made)
{
        static const char *const none[] = { NULL };
        static const char *const colon[] = { "one", "t:o" };
        static char huge[LAUNCH_BYTES_MAX + 1], long_name[WIRE_NAME_BYTES + 1];
        const char *huge_words[] = { huge, NULL };
        struct launch l;
        int fd = -1;

        memset(huge, 'x', sizeof(huge) - 1);
        memset(long_name, 'x', sizeof(long_name) - 1);
        l = sample(), l.argv = none;
        cr_expect_eq(launch_seal(&l, &fd), -EINVAL);
        l = sample(), l.argv = NULL;
        cr_expect_eq(launch_seal(&l, &fd), -EINVAL);
        l = sample(), l.path = l.binary = NULL;
        cr_expect_eq(launch_seal(&l, &fd), -EINVAL);
        l = sample(), l.n_groups = LAUNCH_GROUPS_MAX + 1;
        cr_expect_eq(launch_seal(&l, &fd), -EINVAL);
        l = sample(), l.n_listen = LAUNCH_LISTEN_MAX + 1;
        cr_expect_eq(launch_seal(&l, &fd), -EINVAL);
        l = sample(), l.listen_names = colon;
        cr_expect_eq(launch_seal(&l, &fd), -EINVAL);
        l = sample(), l.out = long_name;
        cr_expect_eq(launch_seal(&l, &fd), -EINVAL);
        l = sample(), l.flags = 1U << 31;
        cr_expect_eq(launch_seal(&l, &fd), -EINVAL);
        l = sample(), l.argv = huge_words;
        cr_expect_eq(launch_seal(&l, &fd), -E2BIG);
        cr_expect_eq(fd, -1);
}

Test(launch, a_record_that_was_cut_or_grown_is_refused)
{
        struct view v = seal(sample());

        cr_assert_eq(launch_check(v.r, v.n), 0);
        for (size_t n = 0; n < v.n; n++) {
                char *cut = malloc(n + 1); /* exact, so that a sanitizer sees a read behind it */

                cr_assert(cut);
                memcpy(cut, v.r, n);
                cr_assert_eq(launch_check(cut, n), -EINVAL);
                if (n >= sizeof(*v.r)) {
                        ((struct launch_record *)(void *)cut)->bytes = (uint32_t)n;
                        cr_assert_eq(launch_check(cut, n), -EINVAL, "the last string has no end");
                }
                free(cut);
        }
        free(v.r);
}

Test(launch, offsets_and_counts_that_leave_the_record_are_refused)
{
        static const size_t fields[] = {
                offsetof(struct launch_record, args), offsetof(struct launch_record, path), offsetof(struct launch_record, binary),
                offsetof(struct launch_record, cwd), offsetof(struct launch_record, out), offsetof(struct launch_record, err),
                offsetof(struct launch_record, listen[1]), offsetof(struct launch_record, listen_name[1]),
                offsetof(struct launch_record, n_args), offsetof(struct launch_record, n_env),
                offsetof(struct launch_record, n_groups), offsetof(struct launch_record, n_listen),
                offsetof(struct launch_record, magic), offsetof(struct launch_record, version),
                offsetof(struct launch_record, flags),
        };
        struct view v = seal(sample());
        const uint32_t bad[] = { (uint32_t)v.n, UINT32_MAX, UINT32_MAX - 3 };

        for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
                for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++) {
                        uint32_t *field = (uint32_t *)(void *)((char *)v.r + fields[i]);
                        uint32_t good = *field;

                        *field = bad[k];
                        cr_expect_eq(launch_check(v.r, v.n), -EINVAL, "field at %zu", fields[i]);
                        *field = good;
                }
        }
        v.r->path = 0; /* into the fixed part */
        cr_expect_eq(launch_check(v.r, v.n), -EINVAL);
        free(v.r);
}
