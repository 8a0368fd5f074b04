/* SPDX-License-Identifier: MIT */
/* The keeper's table and jobs, as an agent sees them over the wire. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/keeper_rig.h"

/* ---- descriptors -------------------------------------------------------------------------------------- */

enum { MANY = 450 };

struct many {
        char names[MANY][WIRE_NAME_BYTES];
        const char *list[MANY];
        int fds[MANY];
};

static struct many many;

/* Names of every length up to the longest. */
static void hold_many(struct rig_agent *a)
{
        for (int i = 0; i < MANY; i++) {
                size_t n = (size_t)snprintf(many.names[i], WIRE_NAME_BYTES, "listen/%d/", i);
                size_t want = n + (size_t)i % (WIRE_NAME_BYTES - n);

                memset(many.names[i] + n, 'x', want - n);
                many.list[i] = many.names[i];
                many.fds[i] = rig_memfd();
        }
        cr_assert_eq(keeper_link_hold(a->link, many.list, many.fds, MANY), 0);
}

static void expect_many(struct rig_agent *a, int from)
{
        struct rig_list l;

        rig_list(a, &l);
        cr_assert_eq(l.n_held, (size_t)(MANY - from));
        for (int i = from; i < MANY; i++) {
                const struct rig_held *h = rig_find(&l, many.names[i]);

                cr_assert(h && h->inode == rig_inode(many.fds[i]), "descriptor %d", i);
        }
        rig_list_done(&l);
}

Test(keeper, descriptors_come_back_as_the_same_files_under_their_names)
{
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        hold_many(&a);
        expect_many(&a, 0);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, dropped_descriptors_are_closed_and_the_others_keep_their_names)
{
        struct rig r;
        struct rig_agent a;
        int ends[2];

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
        rig_hold(&a, "out/1", ends[1]);
        (void)close(ends[1]);
        hold_many(&a);
        cr_assert_eq(keeper_link_drop(a.link, many.list, 230), 0);
        cr_assert_eq(keeper_link_drop(a.link, (const char *const[]){ "out/1", "no/such" }, 2), 0);
        expect_many(&a, 230);
        rig_wait_readable(ends[0], "the pipe's end");
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, a_name_that_is_held_again_means_the_new_descriptor)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list l;
        int old[2], fd = rig_memfd();

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(pipe2(old, O_CLOEXEC), 0);
        rig_hold(&a, "state", old[1]);
        (void)close(old[1]);
        rig_hold(&a, "state", fd);
        rig_wait_readable(old[0], "the old one's end");
        rig_list(&a, &l);
        cr_assert_eq(l.n_held, 1);
        cr_assert_eq(l.held[0].inode, rig_inode(fd));
        rig_list_done(&l);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, a_full_table_refuses_a_part_as_a_whole_and_still_replaces)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list l;
        const char *two[] = { "kit/1", "one-too-many" };
        int fd = rig_memfd(), fds[] = { fd, fd };
        struct rlimit limit;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        if (limit.rlim_max < 8192)
                cr_skip_test("the hard limit of descriptors is below the table's size");
        rig_start(&r, NULL);
        rig_work(&r, &a);
        for (uint32_t i = 0; i < a.facts.held; i++) {
                char name[32];

                (void)snprintf(name, sizeof(name), "kit/%u", i);
                rig_hold(&a, name, fd);
        }
        cr_assert_eq(keeper_link_hold(a.link, two + 1, fds, 1), -ENOSPC);
        rig_hold(&a, "kit/1", fd);
        cr_assert_eq(keeper_link_drop(a.link, two, 1), 0);
        cr_assert_eq(keeper_link_hold(a.link, (const char *const[]){ "a", "b" }, fds, 2), -ENOSPC);
        rig_list(&a, &l);
        cr_assert_eq(l.n_held, a.facts.held - 1);
        cr_assert_null(rig_find(&l, "a"));
        rig_list_done(&l);
        rig_agent_done(&a);
        rig_end(&r);
}

static int64_t raw_call(int fd, struct wire_header h, const char *payload, const int *fds, size_t n_fds)
{
        union {
                char bytes[CMSG_SPACE(4 * sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec iov[] = { { &h, sizeof(h) }, { (void *)payload, h.bytes } };
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
        struct wire_header reply;

        memset(&control, 0, sizeof(control));
        if (n_fds) {
                m.msg_control = control.bytes;
                m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
                CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
                CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n_fds * sizeof(int));
        }
        h.magic = WIRE_MAGIC;
        h.version = WIRE_VERSION;
        cr_assert(sendmsg(fd, &m, MSG_NOSIGNAL) > 0);
        rig_wait_readable(fd, "a reply");
        cr_assert(recv(fd, &reply, sizeof(reply), 0) > 0);
        cr_assert_eq(reply.type, WIRE_REPLY);
        cr_assert_eq(reply.id, h.id);
        return reply.value;
}

Test(keeper, listen_sockets_leave_room_for_launch_kits)
{
        struct rig r;
        struct rig_agent a;
        const char *kit[] = { "kit/9", "parent/9", "child/9", "udp/9" };
        int fd = rig_memfd(), fds[] = { fd, fd, fd, fd };
        struct rlimit limit;
        char name[32];
        uint32_t n = 0;

        /* Few descriptors: the limit of a small container counts, not the table's size. */
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max = 300;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        rig_start(&r, NULL);
        rig_work(&r, &a);
        for (; n < a.facts.held; n++) {
                const char *names[] = { name };

                (void)snprintf(name, sizeof(name), "listen/%u/x", n);
                if (keeper_link_hold(a.link, names, &fd, 1) != 0)
                        break;
        }
        cr_expect_gt(n, a.facts.held / 2);
        cr_assert_lt(n, a.facts.held);
        cr_assert_eq(keeper_link_hold(a.link, kit, fds, 4), 0);
        rig_hold(&a, "listen/0/x", fd); /* a new socket for a known key takes no more room */
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, malformed_requests_are_refused_and_change_nothing)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list l;
        int fd, fds[2];

        rig_start(&r, NULL);
        rig_work(&r, &a);
        fd = keeper_link_fd(a.link);
        fds[0] = fds[1] = rig_memfd();
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_HOLD, .id = 91, .n = 1, .bytes = 3 }, "abc", fds, 1), -EINVAL);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_HOLD, .id = 92, .n = 2, .bytes = 4 }, "abc", fds, 2), -EINVAL);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_HOLD, .id = 93, .n = 1, .bytes = 4 }, "abc", fds, 2), -EINVAL);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_HOLD, .id = 94, .n = 1, .bytes = 4 }, "abc", NULL, 0), -EINVAL);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_HOLD, .id = 95, .n = 1, .bytes = 1 }, "", fds, 1), -EINVAL);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_HOLD, .id = 96, .n = 1, .bytes = 5 }, "abc\0x", fds, 1), -EINVAL);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_LAUNCH, .id = 97, .n = 0 }, NULL, NULL, 0), -EINVAL);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_LAUNCH, .id = 98, .n = 1, .bytes = 4 }, "abc", NULL, 0), -ENOENT);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = WIRE_WORKING, .id = 99, .value = -1 }, NULL, NULL, 0), -EINVAL);
        cr_expect_eq(raw_call(fd, (struct wire_header){ .type = 50, .id = 100 }, NULL, NULL, 0), -EOPNOTSUPP);
        rig_list(&a, &l);
        cr_assert_eq(l.n_held + l.n_jobs, 0);
        rig_list_done(&l);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, an_agent_that_sends_garbage_is_replaced)
{
        struct rig r;
        struct rig_agent a, b;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(send(keeper_link_fd(a.link), "garbage", 7, MSG_NOSIGNAL), 7);
        rig_wait_readable(a.order_fd, "its end");
        rig_agent_done(&a);
        rig_work(&r, &b);
        cr_assert_eq(b.facts.agent_starts, 2);
        rig_agent_done(&b);
        rig_end(&r);
}

Test(keeper, a_long_name_is_refused_by_the_link_itself)
{
        struct rig r;
        struct rig_agent a;
        char name[WIRE_NAME_BYTES + 1];
        const char *list[] = { name };
        int fd = rig_memfd();

        memset(name, 'x', sizeof(name));
        name[WIRE_NAME_BYTES] = 0;
        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_expect_eq(keeper_link_hold(a.link, list, &fd, 1), -ENAMETOOLONG);
        name[WIRE_NAME_BYTES - 1] = 0;
        cr_expect_eq(keeper_link_hold(a.link, list, &fd, 1), 0);
        rig_agent_done(&a);
        rig_end(&r);
}

/* Requests whose answers are never read fill the queue; the keeper goes on all the same. */
Test(keeper, an_agent_that_does_not_read_cannot_stop_the_keeper)
{
        struct rig r;
        struct rig_agent a;
        struct wire_header h = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = WIRE_LIST };
        struct pollfd p;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        hold_many(&a);
        p = (struct pollfd){ .fd = keeper_link_fd(a.link), .events = POLLOUT };
        while (poll(&p, 1, 200) == 1 && (p.revents & POLLOUT))
                cr_assert(send(p.fd, &h, sizeof(h), MSG_NOSIGNAL | MSG_DONTWAIT) > 0 || errno == EAGAIN);
        rig_agent_kill(&a);
        rig_work(&r, &a);
        expect_many(&a, 0);
        (void)rig_shell(&a, 1, "exit 0", &pidfd);
        cr_assert_eq(rig_event(&a).type, WIRE_EXITED);
        rig_agent_done(&a);
        rig_end(&r);
}

/* ---- jobs --------------------------------------------------------------------------------------------- */

Test(keeper, an_exit_is_told_with_its_status_and_times)
{
        struct rig r;
        struct rig_agent a;
        struct keeper_event e;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        (void)rig_shell(&a, 7, "exit 3", &pidfd);
        e = rig_event(&a);
        cr_assert_eq(e.type, WIRE_EXITED);
        cr_expect_eq(e.job.job, 7);
        cr_expect_eq(e.job.code, CLD_EXITED);
        cr_expect_eq(e.job.status, 3);
        cr_expect_eq(e.job.error, 0);
        cr_expect(e.job.launched_ns >= a.facts.started_ns && e.job.exited_ns > e.job.launched_ns);
        (void)rig_shell(&a, 8, "kill -SEGV $$", &pidfd);
        e = rig_event(&a);
        cr_expect_eq(e.job.status, SIGSEGV);
        cr_expect(e.job.code == CLD_KILLED || e.job.code == CLD_DUMPED);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, a_repeated_launch_is_answered_with_the_same_process)
{
        struct rig r;
        struct rig_agent a;
        struct wire_job first, again;
        int pidfd, same;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        first = rig_shell(&a, 7, "exec sleep 1000", &pidfd);
        cr_assert_eq(keeper_link_launch(a.link, 7, "kit/7", &again, &same), 0);
        cr_assert_eq(memcmp(&first, &again, sizeof(first)), 0);
        cr_assert_eq(rig_inode(pidfd), rig_inode(same));
        cr_assert_eq(kill(first.pid, SIGKILL), 0);
        cr_assert_eq(rig_event(&a).job.status, SIGKILL);
        cr_assert_eq(keeper_link_launch(a.link, 7, "kit/7", &again, &same), 0);
        cr_assert_eq(again.pid, first.pid);
        cr_assert_eq(again.code, CLD_KILLED);
        cr_assert_eq(same, -1);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, an_exit_record_stays_until_it_is_acknowledged)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list l;
        struct keeper_event e;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        (void)rig_shell(&a, 7, "exit 3", &pidfd);
        (void)rig_event(&a);
        for (int i = 0; i < 3; i++) {
                rig_agent_kill(&a);
                rig_work(&r, &a);
                rig_list(&a, &l);
                cr_assert_eq(l.n_jobs, 1);
                cr_assert_eq(l.jobs[0].code, CLD_EXITED);
                cr_assert_eq(l.jobs[0].status, 3);
                cr_assert_eq(l.pidfds[0], -1);
                rig_list_done(&l);
        }
        cr_assert_eq(keeper_link_ack_exit(a.link, 7), 0);
        rig_list(&a, &l);
        cr_assert_eq(l.n_jobs, 0);
        cr_assert_eq(keeper_link_dispatch(a.link, &e), KEEPER_LINK_NOTHING, "the list has told it already");
        rig_list_done(&l);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, acknowledging_a_job_that_lives_does_not_lose_it)
{
        struct rig r;
        struct rig_agent a;
        struct wire_job j;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        j = rig_shell(&a, 7, "exec sleep 1000", &pidfd);
        cr_assert_eq(keeper_link_ack_exit(a.link, 7), 0);
        cr_assert_eq(kill(j.pid, SIGKILL), 0);
        cr_assert_eq(rig_event(&a).job.job, 7);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, a_new_agent_finds_descriptors_jobs_and_exits_as_they_were)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list l;
        struct wire_job alive;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        hold_many(&a);
        alive = rig_shell(&a, 1, "exec sleep 1000", &pidfd);
        (void)rig_shell(&a, 2, "exit 5", &pidfd);
        cr_assert_eq(rig_event(&a).job.job, 2);
        rig_agent_kill(&a);
        rig_work(&r, &a);
        cr_assert_eq(a.facts.agent_starts, 2);
        cr_assert_eq(keeper_link_drop(a.link, (const char *const[]){ "kit/1", "kit/2" }, 2), 0);
        expect_many(&a, 0);
        rig_list(&a, &l);
        cr_assert_eq(l.n_jobs, 2);
        cr_assert_eq(memcmp(&l.jobs[0], &alive, sizeof(alive)), 0);
        cr_assert(l.pidfds[0] >= 0);
        cr_assert_eq(l.jobs[1].status, 5);
        cr_assert_eq(kill(alive.pid, SIGKILL), 0);
        cr_assert_eq(rig_event(&a).job.job, 1);
        rig_list_done(&l);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, jobs_that_end_without_an_agent_are_told_to_the_next)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list l;
        struct wire_job j;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        j = rig_shell(&a, 1, "exec sleep 1000", &pidfd);
        cr_assert_eq(kill(a.pid, SIGSTOP), 0); /* dead would be replaced at once */
        cr_assert_eq(kill(j.pid, SIGKILL), 0);
        rig_wait_readable(pidfd, "its death");
        rig_agent_kill(&a);
        rig_work(&r, &a);
        rig_list(&a, &l);
        cr_assert_eq(l.n_jobs, 1);
        cr_assert_eq(l.jobs[0].status, SIGKILL);
        rig_list_done(&l);
        rig_agent_done(&a);
        rig_end(&r);
}

/* ---- the rest of the wire ------------------------------------------------------------------------------- */

Test(keeper, the_facts_tell_how_the_keeper_was_started)
{
        struct rig r;
        struct rig_agent a;
        struct rlimit limit, mine;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &mine), 0);
        limit = (struct rlimit){ 123, mine.rlim_max };
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_expect_eq(a.facts.keeper_pid, r.keeper);
        cr_expect_eq(a.facts.agent_starts, 1);
        cr_expect_eq(a.facts.stop_count, 0);
        cr_expect_eq(a.facts.flags, 0);
        cr_expect_eq(a.facts.nofile_soft, 123);
        cr_expect_eq(a.facts.nofile_hard, mine.rlim_max);
        cr_assert_eq(prlimit(a.pid, RLIMIT_NOFILE, NULL, &limit), 0);
        cr_expect_eq(limit.rlim_cur, mine.rlim_max, "the soft limit is raised");
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, words_for_the_service_manager_are_passed_on)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct rig_options o = { 0 };
        struct rig r;
        struct rig_agent a;
        char text[64] = "";

        /* abstract, named by this process */
        (void)snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "keeper-rig-%d", (int)getpid());
        cr_assert_eq(bind(fd, (struct sockaddr *)&addr, (socklen_t)(sizeof(sa_family_t) + 1 + strlen(addr.sun_path + 1))), 0);
        addr.sun_path[0] = '@';
        o.notify_socket = addr.sun_path;
        rig_start(&r, &o);
        rig_work(&r, &a);
        cr_expect_eq(a.facts.flags, WIRE_NOTIFIES);
        cr_expect_not(a.hello.stray_environment);
        cr_assert_eq(keeper_link_notify(a.link, "READY=1\nSTATUS=serving"), 0);
        rig_wait_readable(fd, "a datagram");
        cr_assert_eq(recv(fd, text, sizeof(text) - 1, 0), 22);
        cr_assert_str_eq(text, "READY=1\nSTATUS=serving");
        cr_assert_eq(keeper_link_notify(a.link, "READY=1\nSTATUS=serving"), 0); /* by an agent that does not know */
        cr_assert_eq(keeper_link_notify(a.link, "STOPPING=1"), 0);
        rig_wait_readable(fd, "a datagram");
        memset(text, 0, sizeof(text));
        cr_assert_eq(recv(fd, text, sizeof(text) - 1, 0), 10);
        cr_assert_str_eq(text, "STOPPING=1", "what was said once goes no further");
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper, without_a_service_manager_words_for_it_are_lost_without_harm)
{
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(keeper_link_notify(a.link, "READY=1"), 0);
        rig_agent_done(&a);
        rig_end(&r);
}
