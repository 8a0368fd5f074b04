/* SPDX-License-Identifier: MIT */
/* See check_run.h. */
#include "agent/ctl/check_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/write_all.h"

int check_guard_begin(struct check_guard *ret)
{
        sigset_t set;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGHUP);
        ret->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK); /* polled, never read: the signal stays pending */
        if (ret->signal_fd < 0)
                return -errno;
        return sigprocmask(SIG_BLOCK, &set, &ret->before) < 0 ? -errno : 0;
}

void check_guard_end(struct check_guard *g)
{
        close_fd(&g->signal_fd);
        (void)sigprocmask(SIG_SETMASK, &g->before, NULL);
}

/* ---- one program ------------------------------------------------------------------------------------ */

static int64_t now_ms(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* @error_fd: closes at the exec, or tells why there was none. */
_Noreturn static void child(const struct check_guard *g, const char *path, char *const *argv, int out_fd, int error_fd, pid_t parent)
{
        int null = open("/dev/null", O_RDONLY), e;
        int r = g->user ? proxy_user_become(g->user) : 0;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* who becomes another loses it */
        if (getppid() != parent)
                _exit(1);
        errno = -r;
        (void)setpgid(0, 0); /* what it starts is killed with it, and a Ctrl-C is ours alone */
        if (r == 0 && null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(out_fd, STDOUT_FILENO) >= 0 && dup2(out_fd, STDERR_FILENO) >= 0) {
                (void)sigprocmask(SIG_SETMASK, &g->before, NULL);
                execv(path, argv);
        }
        e = errno;
        (void)!write(error_fd, &e, sizeof(e));
        _exit(127);
}

static int start(const struct check_guard *g, const char *path, char *const *argv, pid_t *ret_pid, int *ret_out, int *ret_error)
{
        CLEANUP(close_fd) int out_write = -1;
        CLEANUP(close_fd) int error_write = -1;
        int out[2], error[2];
        pid_t parent = getpid(), pid;

        if (pipe2(out, O_CLOEXEC) < 0)
                return -errno;
        *ret_out = out[0];
        out_write = out[1];
        if (pipe2(error, O_CLOEXEC) < 0)
                return -errno;
        *ret_error = error[0];
        error_write = error[1];
        pid = fork();
        if (pid == 0)
                child(g, path, argv, out_write, error_write, parent);
        if (pid < 0)
                return -errno;
        (void)setpgid(pid, pid); /* whoever comes first: before a kill it must be done */
        *ret_pid = pid;
        return 0;
}

/* Return: false at its end */
static bool take_output(int fd, struct check_output *o)
{
        char rest[4096];
        size_t room = CHECK_OUTPUT_BYTES - o->n;
        ssize_t n = read(fd, room ? o->text + o->n : rest, room ? room : sizeof(rest));

        if (n > 0 && room)
                o->n += (size_t)n;
        return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Until the process has ended: somebody else may keep the pipe open for ever. Return: 0; -EINTR; -ETIMEDOUT; -errno */
static int wait_for_it(const struct check_guard *g, int pidfd, int out, int64_t timeout_ms, struct check_output *o)
{
        int64_t until = now_ms() + timeout_ms;
        struct pollfd p[] = { { .fd = pidfd, .events = POLLIN }, { .fd = g->signal_fd, .events = POLLIN }, { .fd = out, .events = POLLIN } };

        for (;;) {
                int64_t left = until - now_ms();
                int n;

                if (left <= 0)
                        return -ETIMEDOUT;
                n = poll(p, 3, left < 3600000 ? (int)left : 3600000);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0 && p[1].revents)
                        return -EINTR;
                if (n > 0 && p[0].revents)
                        return 0;
                if (n > 0 && p[2].revents && !take_output(out, o))
                        p[2].fd = -1;
        }
}

static void reap(pid_t pid, struct check_output *o)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return;
        o->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        o->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int check_run(const struct check_guard *g, const char *path, char *const *argv, int64_t timeout_ms, struct check_output *ret)
{
        CLEANUP(close_fd) int out = -1;
        CLEANUP(close_fd) int error = -1;
        CLEANUP(close_fd) int pidfd = -1;
        pid_t pid = 0;
        int r;

        *ret = (struct check_output){ .status = -1 };
        r = start(g, path, argv, &pid, &out, &error);
        if (r < 0)
                return r;
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        r = pidfd < 0 ? -errno : fcntl(out, F_SETFL, O_NONBLOCK) < 0 ? -errno : wait_for_it(g, pidfd, out, timeout_ms, ret);
        (void)kill(-pid, SIGKILL); /* it is not reaped yet: the number is still its own */
        reap(pid, ret);
        for (size_t before = SIZE_MAX; r == 0 && before != ret->n && ret->n < CHECK_OUTPUT_BYTES;) {
                before = ret->n; /* what was in the pipe at its end */
                (void)take_output(out, ret);
        }
        if (read(error, &ret->error, sizeof(ret->error)) != (ssize_t)sizeof(ret->error))
                ret->error = 0;
        ret->text[ret->n] = '\0';
        ret->timed_out = r == -ETIMEDOUT;
        return ret->timed_out ? 0 : r;
}

/* ---- one copy --------------------------------------------------------------------------------------- */

static int write_copy(const struct proxy_user *user, const char *path, const char *text, size_t n)
{
        CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);

        if (fd < 0 || (user->other && fchown(fd, user->uid, user->gid) < 0))
                return -errno;
        return write_all(fd, text, n);
}

int check_copy_make(const struct proxy_user *user, const char *extension, const char *text, size_t n, struct check_copy *ret)
{
        const char *tmp = getenv("TMPDIR");
        struct check_copy c = { 0 };
        int r;

        if (snprintf(c.folder, sizeof(c.folder), "%s/baton-check.XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp") >= (int)sizeof(c.folder) ||
            strlen(extension) > 16)
                return -ENAMETOOLONG;
        if (!mkdtemp(c.folder))
                return -errno;
        (void)snprintf(c.file, sizeof(c.file), "%s/envoy%s", c.folder, extension);
        r = write_copy(user, c.file, text, n);
        if (r == 0 && user->other && lchown(c.folder, user->uid, user->gid) < 0) /* last: until then it is ours alone */
                r = -errno;
        if (r < 0) {
                check_copy_remove(&c);
                return r;
        }
        *ret = c;
        return 0;
}

void check_copy_remove(struct check_copy *c)
{
        if (*c->file)
                (void)unlink(c->file);
        if (*c->folder)
                (void)rmdir(c->folder);
        *c = (struct check_copy){ 0 };
}
