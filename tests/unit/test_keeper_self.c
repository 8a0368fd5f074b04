/* SPDX-License-Identifier: MIT */
/* The keeper replaced in place: what the next version has then, and what a bad one changes. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/keeper_rig.h"

static size_t keeper_fds(const struct rig *r)
{
        char path[64];
        size_t n = 0;
        DIR *d;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)r->keeper);
        d = opendir(path);
        cr_assert(d);
        while (readdir(d))
                n++;
        (void)closedir(d);
        return n;
}

/* What the keeper says about the end of a try. */
static struct keeper_event ended(struct rig_agent *a)
{
        struct keeper_event e;

        do {
                e = rig_event(a);
        } while (e.type != WIRE_SELF_ENDED);
        return e;
}

static void begin(struct rig_agent *a)
{
        int r = keeper_link_self(a->link, "", 0);

        cr_assert_eq(r, 0, "%s", strerror(-r));
        cr_assert_eq(keeper_link_rearm(a->heartbeat_fd), 0, "one that hangs takes as long as an agent may be silent");
}

/* Asks, hears that it is done, goes, and is followed by the agent of the new version. */
static void replace(struct rig *r, struct rig_agent *a)
{
        struct keeper_event e;

        begin(a);
        e = ended(a);
        cr_assert_str_eq(e.text, "");
        rig_agent_exit(a, 0);
        rig_work(r, a);
}

static void expect_refused(struct rig_agent *a, const char *why)
{
        struct keeper_event e = ended(a);

        cr_assert(*e.text && strstr(e.text, why), "it said: \"%s\", not: %s", e.text, why);
}

/* Says where it and its child are, and hangs. */
#define HANGS "#!/bin/sh\nsleep 1000 & echo $! $$ > ${0%/*}/pids.new; mv ${0%/*}/pids.new ${0%/*}/pids; wait\n"

/* A good one that takes its time: until there is a file "go". It is the script that is tried, and executed. */
#define WAITS "#!/bin/sh\nd=${0%/*}; echo $$ $$ > $d/pids.new; mv $d/pids.new $d/pids; while [ ! -e $d/go ]; do sleep 0.01; done; exec $d/good \"$@\"\n"

static void touch(const struct rig *r, const char *name)
{
        char path[128];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", r->folder, name);
        f = fopen(path, "we");
        cr_assert(f);
        (void)fclose(f);
}

static void discard(const struct rig *r, const char *name)
{
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%s", r->folder, name);
        cr_assert_eq(unlink(path), 0, "%s: %s", path, strerror(errno));
}

static void wait_hanging(const struct rig *r, pid_t ret[2])
{
        char path[128];
        int n = 0;

        (void)snprintf(path, sizeof(path), "%s/pids", r->folder);
        for (int i = 0; n != 2 && i < RIG_PATIENCE_MS / 10; i++) {
                FILE *f = fopen(path, "re");

                n = f ? fscanf(f, "%d %d", &ret[0], &ret[1]) : 0;
                if (f)
                        (void)fclose(f);
                else
                        (void)poll(NULL, 0, 10);
        }
        cr_assert_eq(n, 2, "it has not begun");
        (void)unlink(path);
}

/* A keeper and its agent, and a next version that hangs while it is tried. */
static void hang(struct rig *r, struct rig_agent *a, pid_t pids[2])
{
        rig_start(r, NULL);
        rig_work(r, a);
        rig_replace_script(r, "baton", HANGS, 0755);
        begin(a);
        wait_hanging(r, pids);
}

static void wait_gone(pid_t pid)
{
        for (int i = 0; kill(pid, 0) == 0 && i < RIG_PATIENCE_MS / 10; i++)
                (void)poll(NULL, 0, 10);
        cr_assert(kill(pid, 0) < 0, "%d is left", (int)pid);
}

/* ---- a good one --------------------------------------------------------------------------------------- */

Test(keeper_self, the_next_version_holds_and_knows_what_the_one_before_did)
{
        struct rig r;
        struct rig_agent a;
        struct rig_list before, after;
        struct wire_job lives, ended_before;
        struct wire_facts facts;
        struct keeper_event e;
        int lives_fd, ended_fd;
        char name[32];

        rig_start(&r, NULL);
        rig_work(&r, &a);
        for (int i = 0; i < 300; i++) {
                (void)snprintf(name, sizeof(name), "status/%d", i);
                rig_hold(&a, name, rig_memfd());
        }
        lives = rig_shell(&a, 1, "exec sleep 1000", &lives_fd);
        ended_before = rig_shell(&a, 2, "exit 7", &ended_fd);
        e = rig_event(&a);
        cr_assert(e.type == WIRE_EXITED && e.job.job == 2);
        rig_list(&a, &before);
        facts = a.facts;
        replace(&r, &a);
        cr_expect_eq(a.facts.keeper_pid, facts.keeper_pid);
        cr_expect_eq(a.facts.started_ns, facts.started_ns);
        cr_expect_eq(a.facts.nofile_soft, facts.nofile_soft);
        cr_expect_eq(a.facts.agent_starts, facts.agent_starts + 1);
        cr_expect_eq(a.facts.replaced, 1);
        cr_expect_eq(a.facts.flags, facts.flags | WIRE_REPLACED);
        cr_expect_str_eq(a.facts.replaced_version, BATON_VERSION);
        cr_expect_eq(a.hello.stray_fds, 0, "the agent has nothing that is not its own");
        cr_expect_eq(a.hello.argc, 3);
        rig_list(&a, &after);
        cr_expect_eq(a.facts.flags & WIRE_REPLACED, 0, "it works by now");
        cr_assert_eq(after.n_held, before.n_held);
        for (size_t i = 0; i < before.n_held; i++) {
                const struct rig_held *h = rig_find(&after, before.held[i].name);

                cr_assert(h && h->inode == before.held[i].inode, "%s", before.held[i].name);
        }
        cr_assert_eq(after.n_jobs, 2);
        for (size_t i = 0; i < 2; i++) {
                bool first = after.jobs[i].job == 1;

                cr_expect_eq(memcmp(&after.jobs[i], &before.jobs[i], sizeof(struct wire_job)), 0);
                cr_expect_eq(after.jobs[i].pid, first ? lives.pid : ended_before.pid);
                cr_expect_eq(after.jobs[i].code, first ? 0 : CLD_EXITED);
                cr_expect_eq(after.pidfds[i] >= 0, first);
        }
        cr_assert_eq(kill(lives.pid, SIGKILL), 0, "it lived: the exec was nobody's death");
        e = rig_event(&a);
        cr_expect(e.type == WIRE_EXITED && e.job.job == 1 && e.job.code == CLD_KILLED, "it is still the keeper's child");
        rig_list_done(&before);
        rig_list_done(&after);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_self, the_next_version_works_like_a_keeper_that_was_never_replaced)
{
        const char *no_words[] = { "nothing", NULL };
        struct rig r;
        struct rig_agent a;
        struct keeper_event e;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        replace(&r, &a);
        (void)rig_launch(&a, 1, (struct launch){ .argv = no_words, .path = "/nothing/here", .oom_score_adj = INT32_MIN }, &pidfd);
        e = rig_event(&a);
        cr_expect(e.type == WIRE_EXITED && e.job.error == ENOENT, "an exec that fails has its reason");
        rig_agent_kill(&a);
        rig_work(&r, &a);
        cr_expect_eq(a.facts.agent_starts, 3);
        cr_expect_eq(a.facts.flags & WIRE_REPLACED, 0);
        cr_assert_eq(kill(r.keeper, SIGTERM), 0);
        e = rig_event(&a);
        cr_expect(e.type == WIRE_SIGNAL && e.signal.signo == SIGTERM && e.signal.stop_count == 1);
        cr_assert_eq(keeper_link_end(a.link, 3), 0);
        rig_agent_exit(&a, 0);
        cr_expect_eq(rig_keeper_status(&r), 3);
        rig_end(&r);
}

Test(keeper_self, ten_replacements_leave_no_descriptor_behind)
{
        struct rig r;
        struct rig_agent a;
        size_t before;
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        rig_hold(&a, "listen/0/x", rig_memfd());
        (void)rig_shell(&a, 1, "exec sleep 1000", &pidfd);
        replace(&r, &a); /* what the test itself has left to the first one is gone from here on */
        before = keeper_fds(&r);
        for (uint32_t i = 2; i <= 11; i++) {
                replace(&r, &a);
                cr_assert_eq(a.facts.replaced, i);
                cr_assert_eq(keeper_fds(&r), before, "%zu, not %zu, after %u", keeper_fds(&r), before, i);
        }
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_self, a_keeper_that_is_pid_1_can_be_replaced_too)
{
        struct rig r;
        struct rig_agent a;
        int pidfd;

        rig_start(&r, &(struct rig_options){ .pid_namespace = true });
        rig_work(&r, &a);
        (void)rig_shell(&a, 1, "exec sleep 1000", &pidfd);
        replace(&r, &a);
        cr_expect_eq(a.facts.keeper_pid, 1);
        cr_expect_eq(a.facts.replaced, 1);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_self, an_agent_that_does_not_go_is_ended)
{
        struct rig r;
        struct rig_agent a, b;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        begin(&a);
        rig_work(&r, &b);
        cr_expect_eq(b.facts.agent_starts, 2);
        cr_expect_eq(b.facts.flags & WIRE_REPLACED, WIRE_REPLACED);
        rig_agent_done(&a);
        rig_agent_done(&b);
        rig_end(&r);
}

Test(keeper_self, an_agent_that_dies_while_the_next_version_is_tried_changes_nothing_about_it)
{
        struct rig r;
        struct rig_agent a;
        pid_t pids[2];

        rig_start(&r, NULL);
        rig_work(&r, &a);
        rig_replace(&r, "good", BATON_PROGRAM, 0);
        rig_replace_script(&r, "baton", WAITS, 0755);
        begin(&a);
        wait_hanging(&r, pids);
        rig_agent_kill(&a);
        rig_work(&r, &a);
        touch(&r, "go");
        cr_expect_str_eq(ended(&a).text, "", "whoever is the agent by then is told");
        rig_agent_exit(&a, 0);
        rig_work(&r, &a);
        cr_expect_eq(a.facts.replaced, 1);
        cr_expect_eq(a.facts.agent_starts, 3);
        discard(&r, "good");
        discard(&r, "go");
        discard(&r, "pids"); /* written again by the second run */
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_self, the_service_manager_is_told_over_the_same_socket_and_of_readiness_once)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/tmp/keeper-self-notify-XXXXXX" };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), place = mkstemp(addr.sun_path);
        struct rig r;
        struct rig_agent a;
        char text[64] = "";

        cr_assert(place >= 0 && unlink(addr.sun_path) == 0);
        cr_assert_eq(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
        rig_start(&r, &(struct rig_options){ .notify_socket = addr.sun_path });
        rig_work(&r, &a);
        cr_assert_eq(keeper_link_notify(a.link, "READY=1"), 0);
        replace(&r, &a);
        cr_assert_eq(keeper_link_notify(a.link, "READY=1"), 0);
        cr_assert_eq(keeper_link_notify(a.link, "STATUS=x"), 0);
        cr_assert_eq(recv(fd, text, sizeof(text) - 1, 0), 7);
        cr_expect_str_eq(text, "READY=1");
        memset(text, 0, sizeof(text));
        cr_assert_eq(recv(fd, text, sizeof(text) - 1, 0), 8);
        cr_expect_str_eq(text, "STATUS=x");
        rig_agent_done(&a);
        rig_end(&r);
        (void)close(fd);
        (void)close(place);
        (void)unlink(addr.sun_path);
}

/* ---- bad ones ----------------------------------------------------------------------------------------- */

struct bad {
        const char *script;
        const char *why;
};

static void try_bad(struct rig *r, struct rig_agent *a, const char *why)
{
        size_t before = keeper_fds(r);
        struct rig_list l;
        char state;
        pid_t parent;

        begin(a);
        expect_refused(a, why);
        rig_list(a, &l);
        cr_expect_eq(l.n_held, 1);
        cr_expect_eq(l.n_jobs, 0);
        cr_expect_eq(a->facts.replaced, 0);
        cr_expect_eq(a->facts.agent_starts, 1, "the agent is the same");
        cr_expect(rig_process_state(a->pid, &state, &parent) && parent == r->keeper);
        cr_expect_eq(keeper_fds(r), before);
        rig_list_done(&l);
}

Test(keeper_self, a_bad_next_version_is_refused_with_a_reason_and_nothing_changes)
{
        static const struct bad scripts[] = {
                { "#!/bin/sh\nexit 1\n", "status 1" },
                { "#!/bin/sh\nexit 0\n", "did not say" },
                { "#!/bin/sh\necho yes >&4\n", "did not say" },
                { "#!/bin/sh\nhead -c 100000 /dev/zero >&4\n", "did not say within" }, /* nobody reads that much: the pipe is full */
                { "#!/bin/sh\nkill -SEGV $$\n", "signal 11" },
                { "#!/nothing/here\n", "No such file" },
                { "", "Exec format error" },
        };
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        rig_hold(&a, "options", rig_memfd());
        for (size_t i = 0; i < sizeof(scripts) / sizeof(*scripts); i++) {
                rig_replace_script(&r, "baton", scripts[i].script, 0755);
                try_bad(&r, &a, scripts[i].why);
        }
        rig_replace_script(&r, "baton", "#!/bin/sh\nexit 0\n", 0644);
        try_bad(&r, &a, "Permission denied");
        rig_replace(&r, "baton", BATON_PROGRAM, 4096);
        try_bad(&r, &a, "new version");
        rig_replace(&r, "baton", BATON_PROGRAM, 0);
        rig_replace_script(&r, "baton-agent", "#!/bin/sh\nexit 9\n", 0755);
        try_bad(&r, &a, "agent of the new version ended with status 9");
        rig_replace_script(&r, "baton-agent", "#!/bin/sh\nexit 0\n", 0755);
        try_bad(&r, &a, "agent of the new version did not say");
        rig_replace(&r, "baton-agent", FAKE_AGENT_PROGRAM, 0);
        rig_replace(&r, "baton", BATON_BESIDE_PROGRAM, 0);
        try_bad(&r, &a, "two versions");
        rig_replace(&r, "baton", BATON_PROGRAM, 0);
        replace(&r, &a); /* and then a good one */
        cr_expect_eq(a.facts.replaced, 1);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_self, what_is_not_there_or_has_no_absolute_path_is_refused_at_once)
{
        struct keeper_event e;
        struct rig r;
        struct rig_agent a;
        char path[128];

        rig_start(&r, NULL);
        rig_work(&r, &a);
        cr_expect_eq(keeper_link_self(a.link, "baton", 0), -EINVAL);
        cr_expect_eq(keeper_link_self(a.link, "/nothing/here", 0), -ENOENT);
        (void)snprintf(path, sizeof(path), "%s/baton", r.folder);
        cr_assert_eq(unlink(path), 0);
        cr_expect_eq(keeper_link_self(a.link, "", 0), -ENOENT);
        rig_replace(&r, "baton", BATON_PROGRAM, 0);
        cr_expect_eq(keeper_link_self(a.link, path, 77), 0);
        e = ended(&a);
        cr_expect_str_eq(e.text, "");
        cr_expect_eq(e.ticket, 77);
        rig_agent_exit(&a, 0);
        rig_work(&r, &a);
        cr_expect_eq(a.facts.replaced_ticket, 77);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_self, while_one_is_tried_the_keeper_works_and_a_second_try_is_refused)
{
        struct rig r;
        struct rig_agent a;
        struct keeper_event e;
        pid_t pids[2];
        int pidfd;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        rig_replace_script(&r, "baton", HANGS, 0755);
        cr_assert_eq(keeper_link_self(a.link, "", 5), 0);
        wait_hanging(&r, pids);
        cr_expect_eq(keeper_link_self(a.link, "", 0), -EALREADY);
        cr_expect_eq(keeper_link_self(a.link, "", 6), -EALREADY);
        cr_expect_eq(keeper_link_self(a.link, "", 5), 0, "a repeat is answered, not done again");
        (void)rig_shell(&a, 1, "exit 5", &pidfd);
        e = rig_event(&a);
        cr_expect(e.type == WIRE_EXITED && e.job.status == 5);
        rig_agent_kill(&a);
        rig_work(&r, &a); /* another agent: the try goes on */
        cr_expect_eq(keeper_link_self(a.link, "", 0), -EALREADY);
        cr_assert_eq(kill(pids[1], SIGKILL), 0);
        expect_refused(&a, "signal 9");
        wait_gone(pids[0]);
        rig_agent_done(&a);
        rig_end(&r);
}

Test(keeper_self, a_stop_ends_the_try_and_is_a_stop_like_any_other)
{
        struct rig r;
        struct rig_agent a;
        struct keeper_event e;
        pid_t pids[2];

        hang(&r, &a, pids);
        cr_assert_eq(kill(r.keeper, SIGTERM), 0);
        e = rig_event(&a);
        cr_expect(e.type == WIRE_SIGNAL && e.signal.signo == SIGTERM);
        expect_refused(&a, "a stop was asked for");
        wait_gone(pids[0]);
        cr_expect_eq(keeper_link_self(a.link, "", 0), -ESHUTDOWN);
        cr_assert_eq(keeper_link_end(a.link, 0), 0);
        rig_agent_exit(&a, 0);
        cr_expect_eq(rig_keeper_status(&r), 0);
        rig_end(&r);
}

Test(keeper_self, one_that_hangs_is_ended_with_all_that_it_has_started, .timeout = 60)
{
        struct rig r;
        struct rig_agent a;
        pid_t pids[2];

        hang(&r, &a, pids);
        cr_assert_eq(keeper_link_rearm(a.heartbeat_fd), 0);
        expect_refused(&a, "did not say within 10 s");
        wait_gone(pids[0]);
        wait_gone(pids[1]);
        cr_expect_eq(keeper_link_self(a.link, "/nothing/here", 0), -ENOENT, "the next try may begin");
        rig_agent_done(&a);
        rig_end(&r);
}

/* In the moment between the try and the exec another file is put in the place of what was tried. */
Test(keeper_self, what_was_not_tried_is_not_executed)
{
        static const char passes_and_changes[] = "#!/bin/sh\n\"${0%/*}/good\" \"$@\"; n=$?; cp $0 $0.2; mv $0.2 $0; exit $n\n";
        struct rig r;
        struct rig_agent a;

        rig_start(&r, NULL);
        rig_work(&r, &a);
        rig_replace(&r, "good", BATON_PROGRAM, 0);
        rig_replace_script(&r, "baton", passes_and_changes, 0755);
        begin(&a);
        expect_refused(&a, "has changed since it was tried");
        rig_agent_done(&a);
        discard(&r, "good");
        rig_end(&r);
}
