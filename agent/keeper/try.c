/* SPDX-License-Identifier: MIT */
/*
 * `baton run --try`: another version asks whether this one could take over. Everything that is needed for it is done, but
 * on a copy: the image is read, our own agent is run on the options and the state. Then the verdict is said and all ends.
 * May wait as long as it likes: who asks has a deadline.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/keeper/keeper_image.h"
#include "agent/keeper/self.h"
#include "agent/keeper/trial_say.h"

enum { STATUS_USAGE = 2 };

static struct keeper copy;

static int run_agent(const char *path, char **argv, struct trial_verdict *ret, bool *ret_spoke, siginfo_t *ret_end)
{
        int ends[2];
        pid_t pid;
        ssize_t n;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid == 0) {
                if (dup2(ends[1], TRIAL_VERDICT_FD) >= 0)
                        (void)execv(path, argv);
                _exit(127);
        }
        (void)close(ends[1]);
        if (pid < 0)
                return -errno;
        memset(ret, 0, sizeof(*ret));
        while (waitid(P_PID, (id_t)pid, ret_end, WEXITED) < 0)
                if (errno != EINTR)
                        return -errno;
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK); /* whoever has inherited the other end may keep it */
        n = read(ends[0], ret, sizeof(*ret));
        *ret_spoke = n == (ssize_t)sizeof(*ret) && ret->magic == TRIAL_MAGIC;
        ret->text[sizeof(ret->text) - 1] = 0;
        ret->version[sizeof(ret->version) - 1] = 0;
        (void)close(ends[0]);
        return 0;
}

static int try_agent(const char *path, char **argv)
{
        struct trial_verdict v;
        siginfo_t end = { .si_code = 0 };
        bool spoke = false;
        int r = run_agent(path, argv, &v, &spoke, &end);

        if (r < 0)
                return trial_say(false, "the new version cannot run its agent: %s", strerror(-r));
        if (spoke && !v.good)
                return trial_say(false, "%s", v.text);
        if (end.si_code != CLD_EXITED || end.si_status != 0)
                return trial_say(false, "the agent of the new version ended with %s %d", end.si_code == CLD_EXITED ? "status" : "signal",
                                   end.si_status);
        if (!spoke)
                return trial_say(false, "the agent of the new version did not say that it can take over");
        /* A half-done installation: the two are made for each other. */
        if (v.wire_version != WIRE_VERSION || strcmp(v.version, BATON_VERSION) != 0)
                return trial_say(false, "its programs are of two versions: baton %s, baton-agent %s", BATON_VERSION, v.version);
        return trial_say(true, "%s", "");
}

int try_run(const char *agent_path, char **argv)
{
        const void *image;
        size_t n;
        int r = self_map(TRIAL_IMAGE_FD, &image, &n);

        if (r == -EBADF) {
                (void)fprintf(stderr, "baton: " TRIAL_WORD " is for `baton upgrade --self` alone\n");
                return STATUS_USAGE;
        }
        (void)fcntl(TRIAL_IMAGE_FD, F_SETFD, FD_CLOEXEC);
        if (r < 0)
                return trial_say(false, "cannot read what is to be taken over: %s", strerror(-r));
        r = keeper_image_read(image, n, &copy);
        (void)munmap((void *)image, n);
        if (r == KEEPER_IMAGE_E_NEWER)
                return trial_say(false, "baton %s is older than what runs and does not understand all of it", BATON_VERSION);
        if (r < 0)
                return trial_say(false, "baton %s does not understand what is to be taken over", BATON_VERSION);
        return try_agent(agent_path, argv);
}
