/* SPDX-License-Identifier: MIT */
/*
 * Steering against the kernel: shares, the order of a group's members, and members that leave under load. What the model
 * of group.c believes is asked of the kernel by connections, since it answers nothing else.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"
#include "tests/support/counts.h"
#include "tests/support/listen_group.h"
#include "tests/support/prng.h"

struct place {
        char url[32]; /* without a port */
};

static struct place places[] = { { "tcp://127.0.0.1" }, { "tcp://[::1]" }, { "tcp://0.0.0.0" }, { "tcp://[::]" } };

static struct criterion_test_params places_params(void)
{
        return cr_make_param_array(struct place, places, sizeof(places) / sizeof(places[0]));
}

static void attach(const struct listen_group *lg, const struct hr_steer *s)
{
        const int r = hr_steer_attach(lg->fd[listen_group_at(lg, lg->model.n - 1)], s);

        cr_assert_eq(r, 0, "%s", strerror(-r));
}

/* ---- shares ---- */

/* Six deviations: a right program fails once in 500 million. A share of 0 or of all has none. */
static void expect_share(unsigned long got, unsigned long of, double share, const char *what)
{
        const double want = (double)of * share, bound = 6 * sqrt((double)of * share * (1 - share));

        cr_assert(fabs((double)got - want) <= bound, "%s: %lu of %lu, not within %.1f of %.1f", what, got, of, bound, want);
}

ParameterizedTestParameters(hr_steer, a_candidate_gets_its_share_to_the_connection)
{
        return places_params();
}

ParameterizedTest(struct place *place, hr_steer, a_candidate_gets_its_share_to_the_connection, .timeout = 300)
{
        enum { OLD = 2, NEW = 2 };
        const unsigned percent[] = { 0, 1, 10, 50, 100 };
        const unsigned long each = count_of(20000, 2000);
        struct hr_steer s = { .count = OLD, .second_first = OLD, .second_count = NEW };
        struct listen_group lg;

        listen_group_open(&lg, place->url, OLD);
        attach(&lg, &s);
        for (int i = 0; i < NEW; i++)
                listen_group_add(&lg);
        for (size_t p = 0; p < sizeof(percent) / sizeof(percent[0]); p++) {
                unsigned long got[OLD + NEW] = { 0 };

                s.share = (uint16_t)(percent[p] * (HR_SHARE_ALL / 100));
                attach(&lg, &s);
                for (unsigned long i = 0; i < each; i++)
                        got[listen_group_connect(&lg)]++;
                expect_share(got[2] + got[3], each, percent[p] / 100.0, "candidate");
                expect_share(got[0], got[0] + got[1], got[0] + got[1] ? 0.5 : 0, "within the old ones");
                expect_share(got[2], got[2] + got[3], got[2] + got[3] ? 0.5 : 0, "within the candidate");
        }
        cr_assert_eq(hr_steer_detach(lg.fd[0]), 0);
        cr_assert_eq(hr_steer_detach(lg.fd[0]), 0, "nothing is attached any more");
        listen_group_close(&lg);
}

Test(hr_steer, the_largest_group_takes_the_largest_program)
{
        struct hr_steer s = { .count = HR_GROUP_MAX, .second_count = HR_GROUP_MAX, .share = 5000 };
        struct rlimit files;
        struct listen_group lg;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
        files.rlim_cur = files.rlim_max;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
        listen_group_open(&lg, "tcp://127.0.0.1", HR_GROUP_MAX);
        for (size_t i = 0; i < HR_GROUP_MAX; i += 2)
                hr_steer_leave_out(&s, i);
        attach(&lg, &s);
        for (int i = 0; i < 300; i++)
                cr_assert_eq(listen_group_connect(&lg) % 2, 1);
        listen_group_expect_members(&lg, true);
        listen_group_close(&lg);
}

/* One group listens for both families, and one program steers both. */
Test(hr_steer, a_socket_for_ipv6_and_ipv4_is_steered_for_both)
{
        struct hr_steer s = { .first = 1, .count = 1 };
        struct listen_group lg;

        listen_group_open_dual(&lg, 3);
        attach(&lg, &s);
        for (int i = 0; i < 50; i++) {
                cr_assert_eq(listen_group_connect(&lg), 1);
                cr_assert_eq(listen_group_connect_ipv4(&lg), 1);
        }
        listen_group_expect_members(&lg, true);
        listen_group_close(&lg);
}

/* ---- what is refused ---- */

Test(hr_steer, who_is_in_no_group_is_told_so)
{
        const struct hr_steer s = { .count = 1 }, nowhere = { 0 };
        const char *const urls[] = { "tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://@hr_steer_none" };
        struct listen_group lg;
        int fd;

        for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
                struct hr_key key = { 0 };

                strcpy(key.url, urls[i]);
                cr_assert_eq(hr_listener_open(&key, i == 1, 16, &fd), 0);
                cr_assert_eq(hr_steer_attach(fd, &s), -EINVAL, "%s", urls[i]);
                cr_assert_eq(hr_steer_detach(fd), -EINVAL, "%s", urls[i]);
                (void)close(fd);
        }
        listen_group_open(&lg, "tcp://127.0.0.1", 2);
        cr_assert_eq(hr_steer_attach(lg.fd[0], &nowhere), -ERANGE);
        cr_assert_eq(hr_listener_silence(lg.fd[0]), 0);
        cr_assert_eq(hr_steer_attach(lg.fd[0], &s), -EINVAL, "silenced: it would be attached to nobody");
        cr_assert_eq(hr_steer_detach(lg.fd[0]), -EINVAL);
        cr_assert_eq(hr_steer_attach(-1, &s), -EBADF);
        listen_group_close(&lg);
}

/* ---- members ---- */

ParameterizedTestParameters(hr_steer, a_foreign_member_is_seen_whoever_owns_it)
{
        return places_params();
}

static int foreign_listener(const struct listen_group *lg, const char *url)
{
        struct hr_key key = { 0 };
        int fd = -1, r;

        (void)snprintf(key.url, sizeof(key.url), "%s:%u", url, lg->port);
        r = hr_listener_open(&key, true, 16, &fd);
        cr_assert_eq(r, 0, "%s: %s", key.url, strerror(-r));
        return fd;
}

ParameterizedTest(struct place *place, hr_steer, a_foreign_member_is_seen_whoever_owns_it)
{
        struct listen_group lg, other;
        uint64_t inodes[8];
        size_t n = 77;
        int tell[2], fd, status;
        char c = 0;
        pid_t pid;

        listen_group_open(&lg, place->url, 3);
        listen_group_open(&other, place->url, 1);
        listen_group_expect_members(&lg, true);
        /* Other addresses of the same port are other groups. */
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
                if (strcmp(places[i].url, place->url) != 0)
                        (void)foreign_listener(&lg, places[i].url);
        listen_group_expect_members(&lg, true);
        cr_assert_eq(hr_steer_members(lg.fd[0], inodes, 2, &n), -ENOSPC);
        cr_assert_eq(n, 77);

        cr_assert_eq(pipe2(tell, O_CLOEXEC), 0);
        fd = foreign_listener(&lg, place->url);
        pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) {
                (void)close(tell[1]);
                (void)!read(tell[0], &c, 1); /* until the parent closes its end */
                _exit(0);
        }
        (void)close(tell[0]);
        (void)close(fd); /* now it is the other process's alone */
        listen_group_expect_members(&lg, false);
        (void)close(tell[1]);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        listen_group_expect_members(&lg, true);
        listen_group_close(&other);
        listen_group_close(&lg);
}

/* What the kernel does when an answer is longer than the room for it. */
static size_t room; /* 0: as asked for */

ssize_t __real_recvmsg(int fd, struct msghdr *m, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags)
{
        if (room)
                m->msg_iov[0].iov_len = room;
        return __real_recvmsg(fd, m, flags);
}

Test(hr_steer, an_answer_that_the_kernel_cut_is_an_error_and_no_short_list)
{
        struct listen_group lg;
        uint64_t inodes[8];
        size_t n = 77;
        int cut = 0, r;

        listen_group_open(&lg, "tcp://127.0.0.1", 3);
        for (room = 1; room <= 4096; room++) {
                r = hr_steer_members(lg.fd[0], inodes, 8, &n);
                if (r == 0)
                        break;
                cr_assert_eq(r, -EBADMSG, "%s", strerror(-r));
                cr_assert_eq(n, 77);
                cut++;
        }
        cr_assert(r == 0 && n == 3);
        cr_assert_gt(cut, 3 * 72, "three listeners are told in less than their own size");
        listen_group_close(&lg);
}

/* ---- the order of the members ---- */

Test(hr_steer, a_silenced_member_leaves_its_place_to_the_last_and_a_revived_one_is_last)
{
        struct listen_group lg;

        listen_group_open(&lg, "tcp://127.0.0.1", 4);
        listen_group_expect_order(&lg, "0 1 2 3");
        listen_group_silence(&lg, 1);
        listen_group_expect_order(&lg, "0 3 2");
        listen_group_revive(&lg, 1);
        listen_group_expect_order(&lg, "0 3 2 1");
        listen_group_close(&lg);
}

Test(hr_steer, to_listen_again_on_a_listening_member_or_to_close_one_of_two_copies_moves_nobody)
{
        struct listen_group lg;
        int copy;

        listen_group_open(&lg, "tcp://127.0.0.1", 3);
        cr_assert_eq(hr_listener_revive(lg.fd[0]), 0);
        listen_group_expect_order(&lg, "0 1 2");
        copy = fcntl(lg.fd[0], F_DUPFD_CLOEXEC, 0);
        cr_assert_geq(copy, 0);
        (void)close(lg.fd[0]);
        lg.fd[0] = copy;
        listen_group_expect_order(&lg, "0 1 2");
        listen_group_close(&lg);
}

static void expect_program_is_gone(struct listen_group *lg)
{
        const struct hr_steer second = { .first = 1, .count = 1 };
        unsigned long got[2] = { 0 };

        attach(lg, &second);
        listen_group_silence(lg, 0);
        listen_group_revive(lg, 0); /* now it is the second */
        for (int i = 0; i < 100; i++)
                cr_assert_eq(listen_group_connect(lg), 0, "the program outlives the silence of one");
        listen_group_silence(lg, 0);
        listen_group_silence(lg, 1);
        cr_assert_eq(lg->model.n, 0);
        cr_assert_lt(listen_group_connect(lg), 0);
        listen_group_revive(lg, 0);
        listen_group_revive(lg, 1);
        for (int i = 0; i < 200; i++)
                got[listen_group_connect(lg)]++;
        cr_assert(got[0] && got[1], "%lu and %lu: still steered", got[0], got[1]);
        cr_assert_eq(hr_steer_detach(lg->fd[0]), 0);
        listen_group_expect_order(lg, "0 1");
}

Test(hr_steer, what_was_attached_is_gone_when_all_were_silent_and_not_before)
{
        struct listen_group lg;

        listen_group_open(&lg, "tcp://127.0.0.1", 2);
        expect_program_is_gone(&lg);
        listen_group_close(&lg);
}

/* Who asked for port 0 has no port of its own: it listens somewhere else when it comes back. */
Test(hr_steer, a_port_that_the_kernel_chose_is_lost_by_silence_and_one_that_was_named_is_not)
{
        struct hr_key key = { .url = "tcp://127.0.0.1:0" };
        struct sockaddr_in addr;
        socklen_t len = sizeof(addr);
        in_port_t port;
        int fd;

        for (int named = 0; named < 2; named++) {
                cr_assert_eq(hr_listener_open(&key, true, 16, &fd), 0);
                cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
                port = addr.sin_port;
                cr_assert_eq(hr_listener_silence(fd), 0);
                cr_assert_eq(hr_listener_revive(fd), 0);
                cr_assert_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
                cr_assert_eq(addr.sin_port == port, named);
                (void)close(fd);
                (void)snprintf(key.url, sizeof(key.url), "tcp://127.0.0.1:%u", ntohs(port));
        }
}

static void random_history(struct listen_group *lg, uint64_t seed)
{
        struct prng rng = { seed };

        for (int i = 0; i < 25; i++) {
                const size_t who = prng_below(&rng, lg->n);
                const bool listens = lg->fd[who] >= 0 && hr_group_find(&lg->model, lg->inode[who]) != HR_GROUP_MAX;

                switch (prng_below(&rng, 4)) {
                case 0:
                        if (lg->model.n < 7 && lg->n < LISTEN_GROUP_MAX)
                                listen_group_add(lg);
                        break;
                case 1:
                        if (listens && lg->model.n > 1)
                                listen_group_leave(lg, who);
                        break;
                case 2:
                        if (listens)
                                listen_group_silence(lg, who);
                        break;
                default:
                        if (!listens && lg->fd[who] >= 0)
                                listen_group_revive(lg, who);
                }
                listen_group_expect_order_of_model(lg, seed);
        }
}

static void random_histories(void)
{
        for (uint64_t seed = 1; seed <= count_of(200, 15); seed++) {
                struct listen_group lg;

                listen_group_open(&lg, seed % 2 ? "tcp://127.0.0.1" : "tcp://[::]", 3);
                random_history(&lg, seed);
                listen_group_close(&lg);
        }
}

Test(hr_steer, the_model_has_the_kernels_order_whatever_opens_closes_falls_silent_and_comes_back, .timeout = 300)
{
        random_histories();
}

/* net.ipv4.tcp_migrate_req keeps who was silenced in the group, beside the others. It is set in a namespace of our own. */
static void migrate_in_own_namespace(void)
{
        struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        int fd;

        if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) < 0)
                cr_skip_test("no network namespace of its own: %s", strerror(errno));
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(ioctl(fd, SIOCSIFFLAGS, &lo), 0, "%s", strerror(errno));
        (void)close(fd);
        fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "1", 1) != 1)
                cr_skip_test("tcp_migrate_req cannot be set: %s", strerror(errno));
        (void)close(fd);
}

Test(hr_steer, the_order_is_the_same_where_queues_of_closed_members_migrate, .timeout = 300)
{
        struct listen_group lg;

        migrate_in_own_namespace();
        random_histories();
        listen_group_open(&lg, "tcp://127.0.0.1", 2);
        expect_program_is_gone(&lg);
        listen_group_close(&lg);
}

/* ---- members leave under load ---- */

/* What the rule is for: who is closed with a connection in its queue resets it, and the load notices. */
Test(hr_steer, the_load_sees_a_connection_that_is_lost_with_its_member)
{
        const struct hr_steer first = { .count = 1 };
        struct listen_group lg;
        int fd;

        listen_group_open(&lg, "tcp://127.0.0.1", 2);
        attach(&lg, &first);
        fd = listen_group_dial(&lg);
        cr_assert_geq(fd, 0);
        (void)close(lg.fd[0]);
        lg.fd[0] = -1;
        cr_assert_eq(load_outcome(fd), LOAD_RESET);
        listen_group_close(&lg);
}

struct shrink {
        char who[32]; /* a K for who stays, an L for who leaves, by place */
};

ParameterizedTestParameters(hr_steer, members_leave_under_load_and_no_connection_is_lost)
{
        static struct shrink rows[] = { { "KKLL" }, { "KLLL" }, { "KKKLLLLL" }, { "KLLK" }, { "LLLKKK" }, { "LK" }, { "LKLKKL" } };

        return cr_make_param_array(struct shrink, rows, sizeof(rows) / sizeof(rows[0]));
}

static unsigned long accepted_by_leavers(struct load *load, const char *who)
{
        unsigned long n = 0;

        for (size_t i = 0; who[i]; i++)
                if (who[i] == 'L')
                        n += load_accepted(load, i);
        return n;
}

/* Attached, drained, closed; and between these calls many connections come. Once drained, no leaver sees another one. */
static void take_step(struct listen_group *lg, struct load *load, const struct hr_removal *step, const char *all)
{
        const unsigned long each = count_of(20000, 2000);
        const size_t who = listen_group_at(lg, step->index);
        unsigned long before;
        uint32_t waiting;

        cr_assert(hr_steer_fits(&step->steer, lg->model.n));
        attach(lg, &step->steer);
        load_wait(load, 1); /* what was under way has arrived */
        for (size_t i = 0; all[i]; i++)
                if (all[i] == 'L' && lg->fd[i] >= 0)
                        load_wait_empty(load, i);
        before = accepted_by_leavers(load, all);
        load_wait(load, each / 2);
        cr_assert_eq(hr_listener_queue(lg->fd[who], &waiting), 0);
        cr_assert_eq(waiting, 0);
        load_leave(load, who);
        load_wait(load, each / 2);
        cr_assert_eq(accepted_by_leavers(load, all), before, "a connection came to a leaver while others were steered to");
}

ParameterizedTest(struct shrink *row, hr_steer, members_leave_under_load_and_no_connection_is_lost, .timeout = 600)
{
        const size_t n = strlen(row->who);
        struct hr_removal steps[HR_GROUP_MAX];
        bool leaves[HR_GROUP_MAX];
        struct listen_group lg;
        struct load load;
        size_t n_steps = 0;

        listen_group_open(&lg, "tcp://127.0.0.1", n);
        for (size_t i = 0; i < n; i++)
                leaves[i] = row->who[i] == 'L';
        cr_assert_eq(hr_group_plan_removal(&lg.model, leaves, steps, &n_steps), 0);
        load_start(&load, &lg);
        load_wait(&load, 10);
        for (size_t i = 0; i < n_steps; i++)
                take_step(&lg, &load, &steps[i], row->who);
        cr_assert_eq(hr_steer_detach(lg.fd[listen_group_at(&lg, 0)]), 0);
        load_wait(&load, 200);
        load_stop(&load);
        cr_assert(load.served >= n_steps * count_of(20000, 2000));
        cr_assert_eq(load.outcomes[LOAD_REFUSED], 0, "%lu refused", load.outcomes[LOAD_REFUSED]);
        cr_assert_eq(load.outcomes[LOAD_RESET], 0, "%lu reset", load.outcomes[LOAD_RESET]);
        cr_assert_eq(load.outcomes[LOAD_FAILED], 0, "%lu failed: %s", load.outcomes[LOAD_FAILED], strerror(load.error));
        listen_group_expect_members(&lg, true);
        listen_group_expect_order_of_model(&lg, 0);
        listen_group_close(&lg);
}
