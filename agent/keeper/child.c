/* SPDX-License-Identifier: MIT */
/*
 * Between fork and exec. Runs in the child only, on a copy of the keeper's memory, and ends in exec or in an
 * errno that the keeper finds in shared memory when it reaps the child. The launch record is read here and
 * nowhere else, so a bad one can harm nobody but this child.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/keeper/keeper.h"
#include "agent/keeper/record.h"

struct launch_view {
        const struct launch_record *r;
        const char *base;
};

static const char *text(struct launch_view v, uint32_t offset)
{
        return v.base + offset;
}

/* A session of its own: a Ctrl-C at the keeper's terminal must not reach it. Of dispositions exec keeps only the ignored. */
static void leave_the_keeper(const struct keeper *k)
{
        static const int ignored[] = SIGNALS_IGNORED;
        const struct sigaction plain = { .sa_handler = SIG_DFL };

        (void)setsid(); /* cannot fail in a process that was just forked */
        (void)sigaction(SIGHUP, &plain, NULL);
        for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
                (void)sigaction(ignored[i], &plain, NULL);
        (void)dup2(k->null_fd, STDIN_FILENO);
}

static void unblock_signals(void)
{
        sigset_t none;

        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void exec_descriptor(int fd, char *const *argv, char *const *envp)
{
        (void)syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
}

static bool path_is_still(const char *path, int fd)
{
        struct stat there, pinned;

        return stat(path, &there) == 0 && fstat(fd, &pinned) == 0 && there.st_dev == pinned.st_dev &&
               there.st_ino == pinned.st_ino;
}

/*
 * The pinned descriptor is the truth, but a process that was executed by descriptor has a number for its name
 * in ps, and a script cannot be executed that way at all: so by path as long as the path leads to the same file,
 * and again as the last resort.
 */
static int exec_pinned(const char *path, int pinned_fd, char *const *argv, char *const *envp)
{
        if (pinned_fd >= 0 && !path_is_still(path, pinned_fd)) {
                exec_descriptor(pinned_fd, argv, envp);
                if (!*path)
                        return -errno;
        }
        (void)execve(path, argv, envp);
        return -errno;
}

_Noreturn void child_agent(const struct keeper *k, int wire_fd)
{
        int wire = fcntl(wire_fd, F_DUPFD_CLOEXEC, WIRE_HEARTBEAT_FD + 1);
        int heartbeat = fcntl(k->heartbeat_fd, F_DUPFD_CLOEXEC, WIRE_HEARTBEAT_FD + 1);
        int pinned = k->agent_fd < 0 ? -1 : fcntl(k->agent_fd, F_DUPFD_CLOEXEC, WIRE_HEARTBEAT_FD + 1);
        int r = -EMFILE;

        leave_the_keeper(k);
        if (wire >= 0 && heartbeat >= 0 && dup2(wire, WIRE_AGENT_FD) >= 0 && dup2(heartbeat, WIRE_HEARTBEAT_FD) >= 0) {
                unblock_signals();
                r = exec_pinned(k->agent_path, pinned, k->agent_argv, environ);
        }
        k->errors[AGENT_ERROR] = (uint32_t)-r;
        _exit(127);
}

/*
 * A version that is tried gets copies of what it has to understand and nothing else. It is killed by its process group,
 * so it must not outlive us in another way either.
 */
_Noreturn void child_try(const struct keeper *k, int pinned_fd, int image_fd, int verdict_fd)
{
        int given[TRIAL_FDS_END] = { [TRIAL_IMAGE_FD] = image_fd, [TRIAL_VERDICT_FD] = verdict_fd,
                                     [TRIAL_OPTIONS_FD] = table_fd(&k->table, "options"), [TRIAL_STATE_FD] = -1 };
        int pinned = fcntl(pinned_fd, F_DUPFD_CLOEXEC, TRIAL_FDS_END);
        int state = table_fd(&k->table, "state");
        char name[64];

        leave_the_keeper(k);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != k->pid)
                _exit(127);
        (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", state);
        if (state >= 0)
                given[TRIAL_STATE_FD] = open(name, O_RDONLY | O_CLOEXEC); /* the keeper's own may be written to */
        for (int fd = TRIAL_IMAGE_FD; fd < TRIAL_FDS_END; fd++)
                given[fd] = given[fd] < 0 ? -1 : fcntl(given[fd], F_DUPFD_CLOEXEC, TRIAL_FDS_END);
        for (int fd = TRIAL_IMAGE_FD; fd < TRIAL_FDS_END; fd++)
                if (given[fd] < 0 || dup2(given[fd], fd) < 0)
                        (void)close(fd);
        unblock_signals();
        k->errors[TRY_ERROR] = (uint32_t)-exec_pinned(k->self.path, pinned, k->self_argv, environ);
        _exit(127);
}

/* An unsealed record could shrink or change under our eyes. */
static int map_record(int fd, struct launch_view *ret)
{
        const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        struct stat st;
        int seals = fcntl(fd, F_GET_SEALS);
        void *p;

        if (seals < 0 || (seals & sealed) != sealed)
                return -EINVAL;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size <= 0 || st.st_size > LAUNCH_BYTES_MAX)
                return -EINVAL;
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        *ret = (struct launch_view){ p, p };
        return launch_check(p, (size_t)st.st_size);
}

static int held(const struct keeper *k, const char *name)
{
        int fd = table_fd(&k->table, name);

        return fd < 0 ? -ENOENT : fd;
}

static int redirect(const struct keeper *k, const char *name, int target)
{
        int fd;

        if (!*name)
                return 0;
        fd = held(k, name);
        if (fd < 0)
                return fd;
        return dup2(fd, target) < 0 ? -errno : 0;
}

/*
 * Descriptors 3... may be anything of the keeper's, even those that are still needed: everything is first
 * lifted above the range that is filled. The copies are closed by exec.
 */
static int place_listen(const struct keeper *k, struct launch_view v, int *binary_fd)
{
        int lifted[LAUNCH_LISTEN_MAX];

        if (*binary_fd >= 0) {
                *binary_fd = fcntl(*binary_fd, F_DUPFD_CLOEXEC, JOB_FD_BASE);
                if (*binary_fd < 0)
                        return -errno;
        }
        for (uint32_t i = 0; i < v.r->n_listen; i++) {
                int fd = held(k, text(v, v.r->listen[i]));

                if (fd < 0)
                        return fd;
                lifted[i] = fcntl(fd, F_DUPFD_CLOEXEC, JOB_FD_BASE);
                if (lifted[i] < 0)
                        return -errno;
        }
        for (uint32_t i = 0; i < v.r->n_listen; i++)
                if (dup2(lifted[i], 3 + (int)i) < 0)
                        return -errno;
        return 0;
}

static int set_oom_score(int32_t score)
{
        char digits[16];
        int n = snprintf(digits, sizeof(digits), "%d", (int)score);
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return write(fd, digits, (size_t)n) < 0 ? -errno : 0;
}

static int set_limits(struct launch_view v)
{
        struct rlimit l;

        if (v.r->oom_score_adj != INT32_MIN) {
                int r = set_oom_score(v.r->oom_score_adj);

                if (r < 0)
                        return r;
        }
        if (v.r->nofile_soft || v.r->nofile_hard) {
                if (getrlimit(RLIMIT_NOFILE, &l) < 0)
                        return -errno;
                if (v.r->nofile_soft)
                        l.rlim_cur = v.r->nofile_soft;
                if (v.r->nofile_hard)
                        l.rlim_max = v.r->nofile_hard;
                if (setrlimit(RLIMIT_NOFILE, &l) < 0)
                        return -errno;
        }
        if (*text(v, v.r->cwd) && chdir(text(v, v.r->cwd)) < 0)
                return -errno;
        return 0;
}

/* So that the proxy may open /dev/stdout, which asks for the right to the pipe anew. Failing is no harm. */
static void chown_pipe(int fd, uid_t uid)
{
        struct stat st;

        if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && fchown(fd, uid, (gid_t)-1) < 0)
                errno = 0;
}

/* setuid() clears the parent-death signal, so it comes after it; and the keeper may have died before that. */
static int set_ids(const struct keeper *k, struct launch_view v)
{
        uint32_t flags = v.r->flags;

        if (flags & LAUNCH_CHOWN_OUTPUT) {
                chown_pipe(STDOUT_FILENO, v.r->uid);
                chown_pipe(STDERR_FILENO, v.r->uid);
        }
        if (flags & LAUNCH_SET_IDS) {
                if (setgroups(v.r->n_groups, v.r->groups) < 0)
                        return -errno;
                if (setresgid(v.r->gid, v.r->gid, v.r->gid) < 0 || setresuid(v.r->uid, v.r->uid, v.r->uid) < 0)
                        return -errno;
                (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* from uid 0 on the kernel does it itself */
        }
        if (flags & LAUNCH_DEATH_SIGNAL) {
                if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                        return -errno;
                if (getppid() != k->pid)
                        return -ECHILD;
        }
        return 0;
}

static char **words(const char *p, uint32_t n, char **to)
{
        for (uint32_t i = 0; i < n; i++) {
                *to++ = (char *)p; /* exec takes it so, and changes nothing */
                p += strlen(p) + 1;
        }
        return to;
}

static int exec_job(struct launch_view v, int binary_fd)
{
        size_t slots = (size_t)v.r->n_args + v.r->n_env + 3;
        char **argv = mmap(NULL, slots * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char listen_pid[32];
        char **envp, **end;

        if (argv == MAP_FAILED)
                return -errno;
        envp = words(text(v, v.r->args), v.r->n_args, argv) + 1; /* the NULL between is there already */
        end = words(text(v, v.r->env), v.r->n_env, envp);
        if (v.r->n_listen > 0) {
                (void)snprintf(listen_pid, sizeof(listen_pid), "LISTEN_PID=%d", (int)getpid());
                *end = listen_pid;
        }
        unblock_signals();
        return exec_pinned(text(v, v.r->path), binary_fd, argv, envp);
}

static int run_record(const struct keeper *k, int record_fd, uint32_t *ret_alone)
{
        struct launch_view v;
        int binary_fd = -1;
        int r = map_record(record_fd, &v);

        if (r < 0)
                return r;
        *ret_alone = (v.r->flags & LAUNCH_ALONE) != 0;
        leave_the_keeper(k);
        if (*text(v, v.r->binary)) {
                binary_fd = held(k, text(v, v.r->binary));
                if (binary_fd < 0)
                        return binary_fd;
        }
        r = redirect(k, text(v, v.r->out), STDOUT_FILENO);
        if (r == 0)
                r = redirect(k, text(v, v.r->err), STDERR_FILENO);
        if (r == 0 && v.r->n_listen > 0)
                r = place_listen(k, v, &binary_fd);
        if (r == 0)
                r = set_limits(v);
        if (r == 0)
                r = set_ids(k, v);
        return r < 0 ? r : exec_job(v, binary_fd);
}

_Noreturn void child_job(const struct keeper *k, int record_fd, uint32_t *ret_error, uint32_t *ret_alone)
{
        *ret_error = (uint32_t)-run_record(k, record_fd, ret_alone);
        _exit(127);
}
