/* SPDX-License-Identifier: MIT */
/* What a job finds when it begins, and how orphans and deaths around it go. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/keeper_rig.h"

static const char *const path_only[] = { "PATH=/usr/bin:/bin", "A=1", NULL };

static struct launch shell(const char *const argv[])
{
        return (struct launch){ .argv = argv, .envp = path_only, .path = "/bin/sh", .oom_score_adj = INT32_MIN };
}

#define SHELL(script) shell((const char *const[]){ "sh", "-c", script, NULL })

static const char *output(struct launch l)
{
        static char text[16384];
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        (void)snprintf(text, sizeof(text), "%s", rig_output(&a, 1, l));
        rig_agent_done(&a);
        rig_end(&r);
        return text;
}

Test(keeper_child, a_job_has_a_session_an_empty_input_and_no_descriptor_of_ours)
{
        cr_expect_str_eq(output(SHELL("set -- $(cat /proc/$$/stat); [ $1 = $6 ] && readlink /proc/$$/fd/0")), "/dev/null\n");
        cr_expect_str_eq(output(SHELL("ls /proc/$$/fd")), "0\n1\n2\n");
        cr_expect_str_eq(output(SHELL("env -u PWD -u _ | sort")), "A=1\nPATH=/usr/bin:/bin\n");
}

Test(keeper_child, a_job_has_no_blocked_and_no_ignored_signals)
{
        (void)signal(SIGTTOU, SIG_IGN); /* inherited by the keeper */
        (void)signal(SIGRTMIN + 3, SIG_IGN);
        (void)signal(SIGHUP, SIG_IGN);
        cr_expect_str_eq(output((struct launch){ .argv = (const char *const[]){ "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL },
                                                 .path = "/bin/grep", .oom_score_adj = INT32_MIN }),
                         "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

Test(keeper_child, limits_folder_and_oom_score_are_set)
{
        struct launch l = SHELL("pwd; ulimit -Sn; ulimit -Hn; cat /proc/$$/oom_score_adj");

        l.cwd = "/usr";
        l.nofile_soft = 111;
        l.nofile_hard = 222;
        l.oom_score_adj = 500;
        cr_expect_str_eq(output(l), "/usr\n111\n222\n500\n");
}

/* The held descriptors lie exactly where the job's own shall be. */
Test(keeper_child, listen_sockets_come_from_three_on_with_their_names)
{
        const char *listen[] = { "listen/b", "listen/a", "listen/b" };
        const char *names[] = { "bee", "ay", "bee2" };
        const char *environment[] = { "LISTEN_FDS=99", "LISTEN_PID=1", "PATH=/usr/bin:/bin", NULL };
        struct launch l = SHELL("[ $LISTEN_PID = $$ ] && echo $LISTEN_FDS $LISTEN_FDNAMES; ls /proc/$$/fd;"
                                "stat -L -c %i /proc/$$/fd/3 /proc/$$/fd/4 /proc/$$/fd/5");
        char expect[256];
        int fds[20];
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        for (size_t i = 0; i < 20; i++) {
                char name[16];

                fds[i] = rig_memfd();
                (void)snprintf(name, sizeof(name), "listen/%c", (char)('a' + i));
                rig_hold(&a, name, fds[i]);
        }
        l.envp = environment;
        l.listen = listen;
        l.listen_names = names;
        l.n_listen = 3;
        (void)snprintf(expect, sizeof(expect), "3 bee:ay:bee2\n0\n1\n2\n3\n4\n5\n%llu\n%llu\n%llu\n", (unsigned long long)rig_inode(fds[1]),
                       (unsigned long long)rig_inode(fds[0]), (unsigned long long)rig_inode(fds[1]));
        cr_expect_str_eq(rig_output(&a, 1, l), expect);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_child, sockets_that_the_keeper_was_given_are_held_by_number)
{
        int fds[] = { rig_memfd(), rig_memfd(), rig_memfd() };
        struct rig r;
        struct rig_agent a;
        struct rig_list l;

        rig_start(&r, &(struct rig_options){ .listen_fds = fds, .n_listen_fds = 3 });
        rig_meet(&r, &a);
        cr_expect_not(a.hello.stray_environment);
        cr_expect_eq(a.hello.stray_fds, 0);
        rig_list(&a, &l);
        cr_assert_eq(a.facts.listen_fds, 3);
        for (int i = 0; i < 3; i++) {
                char name[32];
                const struct rig_held *h;

                (void)snprintf(name, sizeof(name), "inherited/%d", i);
                h = rig_find(&l, name);
                cr_assert(h && h->inode == rig_inode(fds[i]));
        }
        rig_list_done(&l);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_child, a_held_binary_is_executed_even_when_its_name_is_gone)
{
        struct launch l = { .argv = (const char *const[]){ "called-so", "a b", "", NULL }, .envp = path_only, .binary = "bin/1",
                            .path = "/no/such", .oom_score_adj = INT32_MIN };
        struct rig r;
        struct rig_agent a;
        int fd = open("/bin/echo", O_PATH | O_CLOEXEC);

        rig_start(&r, NULL);
        rig_work(&r, &a);
        rig_hold(&a, "bin/1", fd);
        cr_expect_str_eq(rig_output(&a, 1, l), "a b \n");
        rig_agent_done(&a);
        rig_end(&r);
}

/* ---- failures before exec ----------------------------------------------------------------------------- */

static struct wire_job failing(struct rig_agent *a, uint64_t job, struct launch l)
{
        int pidfd;

        (void)rig_launch(a, job, l, &pidfd);
        return rig_event(a).job;
}

Test(keeper_child, what_fails_before_exec_is_an_exit_with_its_errno)
{
        struct launch l;
        struct wire_job j;
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        l = SHELL("exit 0");
        l.path = "/no/such/program";
        j = failing(&a, 1, l);
        cr_expect_eq(j.code, CLD_EXITED);
        cr_expect_eq(j.status, 127);
        cr_expect_eq(j.error, ENOENT);
        l.path = "/etc/passwd";
        cr_expect_eq(failing(&a, 2, l).error, EACCES);
        l = SHELL("exit 0");
        l.cwd = "/no/such/folder";
        cr_expect_eq(failing(&a, 3, l).error, ENOENT);
        l = SHELL("exit 0");
        l.out = "out/never-held";
        cr_expect_eq(failing(&a, 4, l).error, ENOENT);
        j = failing(&a, 5, SHELL("exit 127"));
        cr_expect_eq(j.error, 0, "the shell's own 127 is none of it, though the place was used before");
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_child, a_record_that_is_not_sealed_or_not_sound_is_not_believed)
{
        struct rig r;
        struct rig_agent a;
        struct wire_job j;
        int plain = rig_memfd(), bad = memfd_create("bad", MFD_CLOEXEC | MFD_ALLOW_SEALING), pidfd;
        static const char zeros[4096];

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_assert_eq(write(bad, zeros, sizeof(zeros)), (ssize_t)sizeof(zeros));
        cr_assert_eq(fcntl(bad, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
        rig_hold(&a, "kit/1", plain);
        rig_hold(&a, "kit/2", bad);
        for (uint64_t i = 1; i <= 2; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "kit/%d", (int)i);
                cr_assert_eq(keeper_link_launch(a.link, i, name, &j, &pidfd), 0);
                cr_expect_eq(rig_event(&a).job.error, EINVAL);
        }
        rig_agent_done(&a);
        rig_end(&r);
}

/* ---- users and deaths --------------------------------------------------------------------------------- */

Test(keeper_child, ids_are_dropped_and_pipes_are_given_to_the_user)
{
        const gid_t groups[] = { 7, 8 };
        struct launch l = SHELL("id -u; id -g; id -G; echo again > /dev/stdout; : > /proc/self/fd/1");

        if (geteuid() != 0)
                cr_skip_test("only root can change ids");
        l.flags = LAUNCH_SET_IDS | LAUNCH_CHOWN_OUTPUT;
        l.uid = 65534;
        l.gid = 65534;
        l.groups = groups;
        l.n_groups = 2;
        cr_expect_str_eq(output(l), "65534\n65534\n65534 7 8\nagain\n");
}

static void expect_death_with_keeper(uint32_t flags, uid_t uid)
{
        struct launch l = { .argv = (const char *const[]){ "sleep", "1000", NULL }, .path = "/bin/sleep", .flags = flags,
                            .uid = uid, .gid = uid, .oom_score_adj = INT32_MIN };
        struct rig r;
        struct rig_agent a;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        (void)rig_launch(&a, 1, l, &pidfd);
        cr_assert_eq(kill(r.keeper, SIGKILL), 0);
        rig_wait_readable(pidfd, "the death of the job");
        cr_assert_eq(rig_keeper_status(&r), 128 + SIGKILL);
        rig_wait_readable(keeper_link_fd(a.link), "the end of the wire");
        cr_assert_eq(keeper_link_dispatch(a.link, &(struct keeper_event){ 0 }), -EPIPE);
        cr_assert_eq(keeper_link_working(a.link, 1), -EPIPE);
        cr_assert_eq(keeper_link_end(a.link, 1), 0);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_child, a_job_dies_with_the_keeper)
{
        expect_death_with_keeper(0, 0);
}

Test(keeper_child, a_job_of_another_user_dies_with_the_keeper_too)
{
        if (geteuid() != 0)
                cr_skip_test("only root can change ids");
        expect_death_with_keeper(LAUNCH_SET_IDS, 65534);
}

/* An orphan tells its number and lives until we close its input; then it must not stay a zombie. */
static void expect_orphans_reaped(bool pid_namespace)
{
        struct launch l = SHELL("mkfifo $F; sh -c 'read x < $F' & exit 0");
        char fifo[96], environment[128];
        const char *envp[] = { environment, path_only[0], NULL };
        struct rig r;
        struct rig_agent a;
        pid_t orphan, parent;
        char state;
        int pidfd, fd;

        rig_start(&r, &(struct rig_options){ .pid_namespace = pid_namespace });
        rig_work(&r, &a);
        (void)snprintf(fifo, sizeof(fifo), "%s/fifo", r.folder);
        (void)snprintf(environment, sizeof(environment), "F=%s", fifo);
        l.envp = envp;
        (void)rig_launch(&a, 1, l, &pidfd);
        cr_assert_eq(rig_event(&a).type, WIRE_EXITED);
        fd = open(fifo, O_WRONLY | O_CLOEXEC); /* waits for the reader */
        cr_assert(fd >= 0);
        orphan = rig_other_child(&r, a.pid);
        cr_assert(orphan, "the keeper is its new parent");
        (void)close(fd);
        (void)unlink(fifo);
        for (int i = 0; rig_process_state(orphan, &state, &parent); i++) {
                cr_assert_lt(i, RIG_PATIENCE_MS);
                (void)poll(NULL, 0, 1);
        }
        cr_assert_eq(keeper_link_end(a.link, 0), 0);
        cr_assert_eq(a.facts.keeper_pid, pid_namespace ? 1 : r.keeper);
        rig_agent_exit(&a, 0);
        cr_assert_eq(rig_keeper_status(&r), 0);
        rig_end(&r);
}

Test(keeper_child, orphans_are_reaped_as_a_subreaper)
{
        expect_orphans_reaped(false);
}

Test(keeper_child, orphans_are_reaped_as_pid_1)
{
        expect_orphans_reaped(true);
}

/* A worker in a process group of its own (timeout makes one), and a master that dies of another signal than ours. Return: does the worker live? */
static bool worker_outlives(uint32_t flags)
{
        struct launch l = SHELL("timeout 1000 sleep 1000 & echo $! >$F; until set -- $(cat /proc/$!/stat); [ $5 = $! ]; do :; done; kill -SEGV $$");
        char file[96], environment[128], digits[16] = "", state;
        const char *envp[] = { environment, path_only[0], NULL };
        struct rig r;
        struct rig_agent a;
        pid_t worker, parent;
        bool lives;
        int pidfd, fd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        (void)snprintf(file, sizeof(file), "%s/pid", r.folder);
        (void)snprintf(environment, sizeof(environment), "F=%s", file);
        l.envp = envp;
        l.flags = flags;
        (void)rig_launch(&a, 1, l, &pidfd);
        cr_assert_eq(rig_event(&a).type, WIRE_EXITED);
        fd = open(file, O_RDONLY | O_CLOEXEC);
        cr_assert(fd >= 0 && read(fd, digits, sizeof(digits) - 1) > 0);
        (void)close(fd);
        (void)unlink(file);
        worker = (pid_t)strtol(digits, NULL, 10);
        lives = rig_process_state(worker, &state, &parent) && state != 'Z';
        if (lives)
                (void)kill(-worker, SIGKILL);
        rig_agent_done(&a);
        rig_end(&r);
        return lives;
}

Test(keeper_child, nobody_of_its_session_outlives_a_job_that_wants_to_be_alone)
{
        cr_expect_not(worker_outlives(LAUNCH_ALONE), "it is dead before the end of its master is told");
        cr_expect(worker_outlives(0));
}

Test(keeper_child, pid_1_takes_signals_too)
{
        struct rig r;
        struct rig_agent a;

        rig_start(&r, &(struct rig_options){ .pid_namespace = true });
        rig_work(&r, &a);
        cr_assert_eq(kill(r.keeper, SIGTERM), 0);
        cr_assert_eq(rig_event(&a).signal.signo, SIGTERM);
        cr_assert_eq(keeper_link_end(a.link, 3), 0);
        rig_agent_exit(&a, 0);
        cr_assert_eq(rig_keeper_status(&r), 3);
        rig_end(&r);
}
