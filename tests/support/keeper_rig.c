/* SPDX-License-Identifier: MIT */
/* See keeper_rig.h. */
#include "tests/support/keeper_rig.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the keeper --------------------------------------------------------------------------------------- */

/* A copy: the programs find each other by /proc/self/exe, which sees through a symbolic link. */
static void copy_part(const char *from, const char *folder, const char *name, size_t bytes)
{
        char to[128];
        struct stat st;
        int in = open(from, O_RDONLY | O_CLOEXEC), out;

        (void)snprintf(to, sizeof(to), "%s/%s", folder, name);
        cr_assert(in >= 0 && fstat(in, &st) == 0, "%s: %s", from, strerror(errno));
        out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
        cr_assert(out >= 0, "%s: %s", to, strerror(errno));
        for (off_t left = bytes ? (off_t)bytes : st.st_size; left > 0;) {
                ssize_t n = sendfile(out, in, NULL, (size_t)left);

                cr_assert(n > 0, "copying to %s: %s", to, strerror(errno));
                left -= n;
        }
        (void)close(in);
        (void)close(out);
}

static void copy_program(const char *from, const char *folder, const char *name)
{
        copy_part(from, folder, name, 0);
}

static void rename_new(const struct rig *r, const char *name)
{
        char from[128], to[128];

        (void)snprintf(from, sizeof(from), "%s/new", r->folder);
        (void)snprintf(to, sizeof(to), "%s/%s", r->folder, name);
        cr_assert_eq(rename(from, to), 0, "%s: %s", to, strerror(errno));
}

void rig_replace(const struct rig *r, const char *name, const char *from, size_t bytes)
{
        copy_part(from, r->folder, "new", bytes);
        rename_new(r, name);
}

void rig_replace_script(const struct rig *r, const char *name, const char *text, unsigned mode)
{
        char path[128];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/new", r->folder);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
        cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        cr_assert_eq(close(fd), 0);
        rename_new(r, name);
}

static void open_meeting(struct rig *r)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };

        (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/meeting", r->folder);
        r->meeting_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        cr_assert(r->meeting_fd >= 0);
        cr_assert_eq(bind(r->meeting_fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
        cr_assert_eq(listen(r->meeting_fd, 16), 0);
}

static void pass_listen_fds(const struct rig_options *o)
{
        int lifted[16];
        char text[32];

        for (int i = 0; i < o->n_listen_fds; i++)
                lifted[i] = fcntl(o->listen_fds[i], F_DUPFD_CLOEXEC, 64);
        for (int i = 0; i < o->n_listen_fds; i++)
                (void)dup2(lifted[i], 3 + i);
        (void)snprintf(text, sizeof(text), "%d", o->n_listen_fds);
        (void)setenv("LISTEN_FDS", text, 1);
        (void)snprintf(text, sizeof(text), "%d", (int)getpid());
        (void)setenv("LISTEN_PID", text, 1);
}

static _Noreturn void become_keeper(const struct rig *r, const struct rig_options *o)
{
        char program[128], meeting[128];
        char *argv[] = { program, "run", "--rig", meeting, NULL };

        (void)snprintf(program, sizeof(program), "%s/baton", r->folder);
        (void)snprintf(meeting, sizeof(meeting), "%s/meeting", r->folder);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)unsetenv("NOTIFY_SOCKET");
        (void)unsetenv("LISTEN_FDS");
        if (o->notify_socket)
                (void)setenv("NOTIFY_SOCKET", o->notify_socket, 1);
        if (o->n_listen_fds)
                pass_listen_fds(o);
        (void)setsid(); /* so that the terminal of who runs the tests has no say */
        if (o->terminal_fd > 0)
                (void)ioctl(o->terminal_fd, TIOCSCTTY, 0);
        if (o->closed_stdio)
                for (int fd = 0; fd < 3; fd++)
                        (void)close(fd);
        (void)execv(program, argv);
        _exit(126);
}

/* Between us and a keeper that is PID 1: tells its number, passes its status on, and kills it when it is killed. */
static _Noreturn void become_middle(const struct rig *r, const struct rig_options *o, int tell_fd)
{
        const char *asan = getenv("ASAN_OPTIONS");
        char without_leaks[1024];
        int32_t pid;
        int status;

        /* The leak checker looks into /proc, and that is of the namespace outside: its own number is somebody else's there. */
        (void)snprintf(without_leaks, sizeof(without_leaks), "%s:detect_leaks=0", asan ? asan : "");
        (void)setenv("ASAN_OPTIONS", without_leaks, 1);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWPID) < 0)
                _exit(125);
        pid = fork();
        if (pid == 0)
                become_keeper(r, o);
        if (pid < 0 || write(tell_fd, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
                _exit(124);
        if (waitpid(pid, &status, 0) != pid)
                _exit(123);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void start_in_namespace(struct rig *r, const struct rig_options *o)
{
        int tell[2];
        int32_t pid;

        cr_assert_eq(pipe2(tell, O_CLOEXEC), 0);
        r->child = fork();
        if (r->child == 0)
                become_middle(r, o, tell[1]);
        (void)close(tell[1]);
        if (read(tell[0], &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
                cr_skip_test("no right to make a PID namespace");
        (void)close(tell[0]);
        r->keeper = pid;
}

void rig_start(struct rig *r, const struct rig_options *options)
{
        const struct rig_options none = { 0 };

        *r = (struct rig){ .folder = "/tmp/keeper-rig-XXXXXX" };
        options = options ? options : &none;
        cr_assert(mkdtemp(r->folder));
        copy_program(BATON_PROGRAM, r->folder, "baton");
        if (!options->no_agent)
                copy_program(FAKE_AGENT_PROGRAM, r->folder, "baton-agent");
        open_meeting(r);
        if (options->pid_namespace) {
                start_in_namespace(r, options);
                return;
        }
        r->child = fork();
        if (r->child == 0)
                become_keeper(r, options);
        r->keeper = r->child;
}

int rig_keeper_status(struct rig *r)
{
        int status;

        cr_assert_eq(waitpid(r->child, &status, 0), r->child);
        r->child = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void rig_end(struct rig *r)
{
        static const char *const files[] = { "baton", "baton-agent", "meeting" };
        char path[128];

        if (r->child > 0) {
                (void)kill(r->keeper, SIGKILL);
                (void)rig_keeper_status(r);
        }
        (void)close(r->meeting_fd);
        for (size_t i = 0; i < 3; i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", r->folder, files[i]);
                (void)unlink(path);
        }
        cr_assert_eq(rmdir(r->folder), 0, "%s: %s", r->folder, strerror(errno));
}

/* ---- its agents --------------------------------------------------------------------------------------- */

void rig_wait_readable(int fd, const char *what)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };

        cr_assert_eq(poll(&p, 1, RIG_PATIENCE_MS), 1, "waited too long for %s", what);
}

void rig_meet(struct rig *r, struct rig_agent *ret)
{
        int fds[2];
        union {
                char bytes[CMSG_SPACE(sizeof(fds))];
                struct cmsghdr align;
        } control;
        struct iovec iov = { &ret->hello, sizeof(ret->hello) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control) };
        struct ucred peer;
        socklen_t peer_bytes = sizeof(peer);

        *ret = (struct rig_agent){ .order_fd = -1 };
        rig_wait_readable(r->meeting_fd, "an agent");
        ret->order_fd = accept4(r->meeting_fd, NULL, NULL, SOCK_CLOEXEC);
        cr_assert(ret->order_fd >= 0);
        rig_wait_readable(ret->order_fd, "its hello");
        cr_assert_eq(recvmsg(ret->order_fd, &m, MSG_CMSG_CLOEXEC), (ssize_t)sizeof(ret->hello));
        cr_assert(CMSG_FIRSTHDR(&m));
        memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fds));
        ret->heartbeat_fd = fds[1];
        cr_assert_eq(keeper_link_new(fds[0], &ret->link), 0);
        cr_assert_eq(getsockopt(ret->order_fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes), 0);
        ret->pid = peer.pid;
}

static void ignore_held(void *userdata, const char *name, int fd)
{
        (void)userdata;
        (void)name;
        (void)close(fd);
}

static void ignore_job(void *userdata, const struct wire_job *job, int pidfd)
{
        (void)userdata;
        (void)job;
        if (pidfd >= 0)
                (void)close(pidfd);
}

void rig_work(struct rig *r, struct rig_agent *ret)
{
        rig_meet(r, ret);
        cr_assert_eq(keeper_link_list(ret->link, &ret->facts, ignore_held, ignore_job, NULL), 0);
        cr_assert_eq(keeper_link_working(ret->link, 1000), 0);
}

void rig_agent_done(struct rig_agent *a)
{
        a->link = keeper_link_free(a->link);
        (void)close(a->order_fd);
        (void)close(a->heartbeat_fd);
}

void rig_agent_exit(struct rig_agent *a, int status)
{
        unsigned char order = (unsigned char)status;

        cr_assert_eq(write(a->order_fd, &order, 1), 1);
        rig_wait_readable(a->order_fd, "its end");
        rig_agent_done(a);
}

void rig_agent_kill(struct rig_agent *a)
{
        cr_assert_eq(kill(a->pid, SIGKILL), 0);
        rig_wait_readable(a->order_fd, "its end");
        rig_agent_done(a);
}

/* ---- what the keeper holds ---------------------------------------------------------------------------- */

uint64_t rig_inode(int fd)
{
        struct stat st;

        cr_assert_eq(fstat(fd, &st), 0);
        return st.st_ino;
}

int rig_memfd(void)
{
        int fd = memfd_create("rig", MFD_CLOEXEC);

        cr_assert(fd >= 0);
        return fd;
}

static void collect_held(void *userdata, const char *name, int fd)
{
        struct rig_list *l = userdata;

        l->held = realloc(l->held, (l->n_held + 1) * sizeof(*l->held));
        cr_assert(l->held);
        (void)snprintf(l->held[l->n_held].name, WIRE_NAME_BYTES, "%s", name);
        l->held[l->n_held++].inode = rig_inode(fd);
        cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        (void)close(fd);
}

static void collect_job(void *userdata, const struct wire_job *job, int pidfd)
{
        struct rig_list *l = userdata;

        cr_assert(l->n_jobs < 64);
        l->pidfds[l->n_jobs] = pidfd;
        l->jobs[l->n_jobs++] = *job;
}

void rig_list(struct rig_agent *a, struct rig_list *ret)
{
        *ret = (struct rig_list){ 0 };
        cr_assert_eq(keeper_link_list(a->link, &a->facts, collect_held, collect_job, ret), 0);
}

void rig_list_done(struct rig_list *l)
{
        for (size_t i = 0; i < l->n_jobs; i++)
                if (l->pidfds[i] >= 0)
                        (void)close(l->pidfds[i]);
        free(l->held);
        *l = (struct rig_list){ 0 };
}

const struct rig_held *rig_find(const struct rig_list *l, const char *name)
{
        for (size_t i = 0; i < l->n_held; i++)
                if (strcmp(l->held[i].name, name) == 0)
                        return &l->held[i];
        return NULL;
}

void rig_hold(struct rig_agent *a, const char *name, int fd)
{
        cr_assert_eq(keeper_link_hold(a->link, &name, &fd, 1), 0);
}

struct wire_job rig_launch(struct rig_agent *a, uint64_t job, struct launch l, int *ret_pidfd)
{
        const char *const no_environment[] = { NULL };
        struct wire_job ret;
        char name[32];
        int fd, r;

        l.flags |= LAUNCH_DEATH_SIGNAL;
        l.envp = l.envp ? l.envp : no_environment;
        r = launch_seal(&l, &fd);
        cr_assert_eq(r, 0, "launch_seal: %s", strerror(-r));
        (void)snprintf(name, sizeof(name), "kit/%llu", (unsigned long long)job);
        rig_hold(a, name, fd);
        (void)close(fd);
        r = keeper_link_launch(a->link, job, name, &ret, ret_pidfd);
        cr_assert_eq(r, 0, "launch: %s", strerror(-r));
        return ret;
}

struct wire_job rig_shell(struct rig_agent *a, uint64_t job, const char *script, int *ret_pidfd)
{
        const char *argv[] = { "sh", "-c", script, NULL };

        return rig_launch(a, job, (struct launch){ .argv = argv, .path = "/bin/sh", .oom_score_adj = INT32_MIN }, ret_pidfd);
}

const char *rig_output(struct rig_agent *a, uint64_t job, struct launch l)
{
        static char text[16384];
        size_t n = 0;
        ssize_t m = 1;
        int ends[2], pidfd;

        cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
        rig_hold(a, "out/rig", ends[1]);
        (void)close(ends[1]);
        l.out = "out/rig";
        l.oom_score_adj = l.oom_score_adj ? l.oom_score_adj : INT32_MIN;
        (void)rig_launch(a, job, l, &pidfd);
        cr_assert_eq(keeper_link_drop(a->link, (const char *const[]){ "out/rig" }, 1), 0);
        while (m > 0 && n < sizeof(text) - 1) {
                rig_wait_readable(ends[0], "output");
                m = read(ends[0], text + n, sizeof(text) - 1 - n);
                n += m > 0 ? (size_t)m : 0;
        }
        text[n] = 0;
        (void)close(ends[0]);
        if (pidfd >= 0)
                (void)close(pidfd);
        return text;
}

struct keeper_event rig_event(struct rig_agent *a)
{
        struct keeper_event e;
        int r;

        while ((r = keeper_link_dispatch(a->link, &e)) == KEEPER_LINK_NOTHING)
                rig_wait_readable(keeper_link_fd(a->link), "an event");
        cr_assert_eq(r, 0, "dispatch: %s", strerror(-r));
        return e;
}

pid_t rig_other_child(const struct rig *r, pid_t known)
{
        DIR *d = opendir("/proc");
        pid_t found = 0;

        cr_assert(d);
        for (const struct dirent *e = readdir(d); e && found == 0; e = readdir(d)) {
                pid_t pid = atoi(e->d_name), parent;
                char state;

                if (pid > 0 && pid != known && rig_process_state(pid, &state, &parent) && parent == r->keeper)
                        found = pid;
        }
        (void)closedir(d);
        return found;
}

bool rig_process_state(pid_t pid, char *ret_state, pid_t *ret_parent)
{
        char path[64], line[512];
        const char *after;
        FILE *f;
        size_t n;
        int parent;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        f = fopen(path, "re");
        if (!f)
                return false;
        n = fread(line, 1, sizeof(line) - 1, f);
        (void)fclose(f);
        line[n] = 0;
        after = strrchr(line, ')');
        if (!after || sscanf(after, ") %c %d", ret_state, &parent) != 2)
                return false;
        *ret_parent = parent;
        return true;
}
