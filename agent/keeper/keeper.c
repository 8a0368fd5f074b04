/* SPDX-License-Identifier: MIT */
/*
 * The keeper: PID 1 of a container or the main process of a service. It forks, reaps and holds descriptors, and
 * keeps an agent alive that decides everything else. It parses nothing from outside, allocates nothing once it
 * runs, and has one thread: what cannot fail here need not be recovered from.
 */
#include "agent/keeper/self.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/keeper/keeper_image.h"

static const int taken_signals[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGCHLD };
static const int ignored_signals[] = SIGNALS_IGNORED;

static struct keeper keeper;

struct mono keeper_now(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (struct mono){ (int64_t)t.tv_sec * 1000000000 + t.tv_nsec };
}

/* ---- start -------------------------------------------------------------------------------------------- */

/* A daemon may be started with 0, 1 and 2 closed: then our own descriptors would become its output. */
static int fill_standard_fds(struct keeper *k)
{
        int fd;

        do {
                fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        } while (fd >= 0 && fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) == 0);
        k->null_fd = fd;
        return fd < 0 ? -errno : 0;
}

/* Whatever else was inherited is nobody's business but ours; close_range() knows the flag since Linux 5.11. */
void keeper_shut_fds(uint64_t nofile)
{
        const unsigned close_range_cloexec = 1U << 2;

        if (syscall(SYS_close_range, 3U, ~0U, close_range_cloexec) == 0)
                return;
        for (int fd = 3; fd < 65536 && (uint64_t)fd < nofile; fd++)
                (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void raise_nofile(struct keeper *k)
{
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) < 0)
                return;
        k->nofile_soft = l.rlim_cur;
        k->nofile_hard = l.rlim_max;
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
}

static bool has_terminal(void)
{
        int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

        if (fd >= 0)
                (void)close(fd);
        return fd >= 0;
}

/*
 * No disposition stays as it was inherited: an ignored SIGCHLD would reap for us, any other ignored one would be
 * handed on to the proxies. nohup on a terminal alone is meant for us.
 */
static int take_signals(struct keeper *k)
{
        const struct sigaction plain = { .sa_handler = SIG_DFL }, ignore = { .sa_handler = SIG_IGN };
        struct sigaction hup;
        bool nohup = sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler == SIG_IGN && (k->flags & WIRE_TERMINAL);
        sigset_t set;

        for (int signo = 1; signo < NSIG; signo++)
                (void)sigaction(signo, &plain, NULL);
        for (size_t i = 0; i < sizeof(ignored_signals) / sizeof(*ignored_signals); i++)
                (void)sigaction(ignored_signals[i], &ignore, NULL);
        sigemptyset(&set);
        for (size_t i = 0; i < sizeof(taken_signals) / sizeof(*taken_signals); i++)
                sigaddset(&set, taken_signals[i]);
        if (nohup) {
                sigdelset(&set, SIGHUP); /* a blocked signal is never ignored */
                (void)sigaction(SIGHUP, &ignore, NULL);
        }
        if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
                return -errno;
        k->signal_fd = signalfd(k->signal_fd, &set, SFD_CLOEXEC | SFD_NONBLOCK); /* -1 makes one */
        return k->signal_fd < 0 ? -errno : 0;
}

/* A bad NOTIFY_SOCKET is no reason not to serve. */
static void take_notify_socket(struct keeper *k)
{
        const char *path = getenv("NOTIFY_SOCKET");
        size_t n = path ? strlen(path) : 0;

        k->notify_fd = -1;
        if (n < 2 || n >= sizeof(k->notify.sun_path) || (*path != '/' && *path != '@'))
                return;
        k->notify.sun_family = AF_UNIX;
        memcpy(k->notify.sun_path, path, n + 1);
        k->notify_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*path == '/'));
        if (*path == '@')
                k->notify.sun_path[0] = 0;
        k->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (k->notify_fd >= 0)
                k->flags |= WIRE_NOTIFIES;
}

static long number(const char *text)
{
        char *end;
        long n;

        if (!text || *text < '0' || *text > '9')
                return -1;
        errno = 0;
        n = strtol(text, &end, 10);
        return *end || errno ? -1 : n;
}

/* One of LISTEN_FDNAMES=a:b:c. What is too long to be held under is left out. Return: where the next one begins */
static const char *inherited_name(int i, const char *names, char ret[WIRE_NAME_BYTES])
{
        size_t n = names ? strcspn(names, ":") : 0;
        int used = snprintf(ret, WIRE_NAME_BYTES, "inherited/%d", i);

        if (n > 0 && (size_t)used + 1 + n < WIRE_NAME_BYTES)
                (void)snprintf(ret + used, WIRE_NAME_BYTES - (size_t)used, "/%.*s", (int)n, names);
        return names && names[n] ? names + n + 1 : NULL;
}

static void take_listen_fds(struct keeper *k)
{
        long pid = number(getenv("LISTEN_PID")), n = number(getenv("LISTEN_FDS"));
        const char *names = getenv("LISTEN_FDNAMES");
        char name[WIRE_NAME_BYTES];

        if (pid != k->pid || n <= 0)
                return;
        for (int i = 0; i < n && i < TABLE_MAX / 2; i++) {
                if (fcntl(3 + i, F_GETFD) < 0)
                        break; /* promised, but not there: those behind it would have wrong numbers */
                names = inherited_name(i, names, name);
                if (table_put(&k->table, name, 3 + i) < 0)
                        break;
                k->inherited++;
        }
}

static void clean_environment(void)
{
        static const char *const ours[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID",
                                            "LISTEN_FDNAMES", "LISTEN_PIDFDID" };

        for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
                (void)unsetenv(ours[i]);
}

/* In a file, so that what a child writes into it is found even if the keeper was replaced since its fork. */
static int share_errors(struct keeper *k)
{
        size_t bytes = SHARED * sizeof(*k->errors);
        void *p;

        if (k->errors_fd < 0)
                k->errors_fd = memfd_create("baton-errors", MFD_CLOEXEC);
        if (k->errors_fd < 0 || ftruncate(k->errors_fd, (off_t)bytes) < 0)
                return -errno;
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, k->errors_fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        k->errors = p;
        k->alone = k->errors + ERRORS;
        return 0;
}

/* Inherited descriptors are named before any of ours is opened, so that ours cannot be taken for them. */
static int start(struct keeper *k, const char **ret_step)
{
        int r;

        k->pid = getpid();
        k->started = keeper_now();
        k->talk.fd = -1;
        k->errors_fd = -1;
        k->signal_fd = -1;
        k->reap_at = MONO_NEVER;
        k->talk.retry_at = MONO_NEVER;
        k->stop.timeout_ms = STOP_TIMEOUT_MS;
        k->stop.deadline = MONO_NEVER;
        k->agent.start_at = k->started;
        k->agent.kill_at = MONO_NEVER;
        k->agent.idle_since = k->started;
        k->flags = has_terminal() ? WIRE_TERMINAL : 0;
        raise_nofile(k);
        keeper_shut_fds(k->nofile_soft);
        take_listen_fds(k);
        *ret_step = "open /dev/null";
        r = fill_standard_fds(k);
        if (r < 0)
                return r;
        take_notify_socket(k);
        clean_environment();
        *ret_step = "become subreaper";
        if (k->pid != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) < 0)
                return -errno;
        *ret_step = "take the signals";
        r = take_signals(k);
        if (r < 0)
                return r;
        *ret_step = "make the heartbeat timer";
        k->heartbeat_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (k->heartbeat_fd < 0)
                return -errno;
        *ret_step = "share memory with children";
        return share_errors(k);
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

/* The signal that brought us here has been read and does not come again: what cannot be asked now is asked in a moment. */
static void reap(struct keeper *k)
{
        siginfo_t si;

        for (;;) {
                si.si_pid = 0;
                if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 && errno != ECHILD) {
                        k->reap_at = mono_after_ms(keeper_now(), RETRY_MS);
                        return;
                }
                if (si.si_pid == 0) {
                        k->reap_at = MONO_NEVER;
                        return;
                }
                self_sweep(k);
                job_ends(k, si.si_pid, si.si_code, si.si_status);
                (void)waitid(P_PID, (id_t)si.si_pid, &si, WEXITED);
                if (si.si_pid == k->agent.pid)
                        agent_died(k, si.si_code, si.si_status);
                else if (!self_reaped(k, si.si_pid, si.si_code, si.si_status))
                        (void)job_reaped(k, si.si_pid, si.si_code, si.si_status); /* false: an orphan of somebody */
        }
}

static void on_signal(struct keeper *k, int signo)
{
        switch (signo) {
        case SIGCHLD:
                reap(k);
                return;
        case SIGUSR1:
                k->talk.tell_usr1 = true;
                return;
        case SIGHUP:
                if (k->flags & WIRE_TERMINAL)
                        stop_requested(k, signo);
                else
                        k->talk.tell_hup = true;
                return;
        default:
                stop_requested(k, signo);
                return;
        }
}

static void read_signals(struct keeper *k)
{
        struct signalfd_siginfo si;

        while (read(k->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
                on_signal(k, (int)si.ssi_signo);
}

static int wait_ms(const struct keeper *k)
{
        struct mono due = mono_min(mono_min(agent_deadline(k), stop_deadline(k)), mono_min(self_deadline(k), k->talk.retry_at));
        int64_t ms;

        due = mono_min(due, k->reap_at);
        if (mono_is_never(due))
                return -1;
        ms = mono_ms_between(keeper_now(), due);
        return ms < 0 ? 0 : ms > 1000000 ? 1000000 : (int)ms;
}

static void serve(struct keeper *k)
{
        struct pollfd p[] = {
                { .fd = k->signal_fd, .events = POLLIN },
                { .fd = k->heartbeat_fd, .events = POLLIN },
                { .fd = k->talk.fd, .events = talk_events(k) },
        };
        struct mono now;

        if (poll(p, 3, wait_ms(k)) < 0)
                return; /* EINTR by a debugger, or the kernel is short of memory for a moment */
        if (p[2].revents & POLLIN)
                talk_read(k); /* what a dying agent said last comes before its death */
        else if (p[2].revents & (POLLHUP | POLLERR))
                agent_lost(k);
        if (p[0].revents)
                read_signals(k);
        if (p[1].revents)
                agent_heartbeat(k);
        now = keeper_now();
        if (!mono_before(now, k->reap_at))
                reap(k);
        agent_tick(k, now);
        stop_tick(k, now);
        self_tick(k, now);
        talk_flush(k);
}

/* Room for how we execute ourselves: our name, "run", a word that changes, what the user gave, NULL. */
static int take_words(struct keeper *k, const struct keeper_words *w)
{
        static char run[] = "run";
        size_t n = 0;
        char **argv;

        while (w->agent_argv[n])
                n++;
        argv = mmap(NULL, (n + 3) * sizeof(*argv), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (argv == MAP_FAILED)
                return -errno;
        argv[0] = w->argv0;
        argv[1] = run;
        memcpy(argv + 3, w->agent_argv + 1, (n - 1) * sizeof(*argv));
        k->self_argv = argv;
        k->agent_argv = w->agent_argv;
        k->path = w->path;
        return 0;
}

static int run(struct keeper *k)
{
        while (!stop_is_over(k))
                serve(k);
        return k->stop.status;
}

int keeper_run(const struct keeper_words *w)
{
        struct keeper *k = &keeper;
        const char *step = "";
        int r = start(k, &step);

        if (r == 0) {
                step = "keep the arguments";
                r = take_words(k, w);
        }
        if (r < 0) {
                say("keeper.not-started", "step=\"%s\" error=\"%s\"", step, strerror(-r));
                return 1;
        }
        r = agent_open(k, w->agent_path);
        if (r < 0) {
                say("keeper.not-started", "step=\"open the agent\" path=%s error=\"%s\"", w->agent_path, strerror(-r));
                return 1;
        }
        return run(k);
}

/* ---- in the place of another version ------------------------------------------------------------------ */

static int read_image(struct keeper *k, int image_fd)
{
        const void *bytes;
        size_t n;
        int r = self_map(image_fd, &bytes, &n);

        if (r < 0)
                return r;
        r = keeper_image_read(bytes, n, k);
        (void)munmap((void *)bytes, n);
        return r == KEEPER_IMAGE_E_NEWER ? -EPROTONOSUPPORT : r;
}

/*
 * The agent of before is told that it is over, and goes. What it does until then it
 * does with us: its wire is as it was.
 */
static void dismiss_agent(struct keeper *k)
{
        struct agent_process *a = &k->agent;
        struct mono now = keeper_now();

        a->heir = true;
        if (a->pid == 0) {
                a->start_at = now;
                return;
        }
        a->leaving = true;
        k->self.tell = true;
        k->self.ticket = k->ticket;
        a->kill_at = a->working && k->talk.listed ? mono_after_ms(now, GRACE_MS) : now;
}

static bool is_child(pid_t pid)
{
        siginfo_t si;

        return waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* A script between the version before and us may have reaped who died meanwhile: its shell waits for anybody, and tells nobody. */
static void find_the_lost(struct keeper *k)
{
        if (k->agent.pid > 0 && !is_child(k->agent.pid))
                agent_died(k, CLD_KILLED, SIGKILL);
        for (uint32_t i = 0; i < k->jobs.top; i++) {
                const struct job *j = &k->jobs.list[i];

                if (!j->used || j->pidfd < 0 || is_child(j->record.pid))
                        continue;
                say("keeper.end-unknown", "pid=%d then=\"taken for signal:KILL: a script between two versions of baton has reaped it\"", (int)j->record.pid);
                (void)job_reaped(k, j->record.pid, CLD_KILLED, SIGKILL);
        }
}

/*
 * Proxies live: an error ends us only if nothing could go on at all. Between the version before and us there may have been a
 * script: shells do as they like with the signal mask.
 */
int keeper_take_over(const struct keeper_words *w, int image_fd)
{
        struct keeper *k = &keeper;
        int r = read_image(k, image_fd);

        if (r == 0 && k->pid != getpid())
                r = -ESRCH;
        if (r == 0) {
                (void)close(image_fd);
                keeper_shut_fds(k->nofile_hard);
                r = share_errors(k);
        }
        if (r == 0)
                r = take_signals(k);
        if (r == 0)
                r = take_words(k, w);
        if (r < 0) {
                say("keeper.not-started", "step=\"take over from the version before\" error=\"%s\"", strerror(-r));
                return 1;
        }
        k->replaced++;
        r = agent_open(k, w->agent_path);
        if (r < 0)
                say("keeper.agent-not-started", "step=open path=%s error=\"%s\"", w->agent_path, strerror(-r));
        dismiss_agent(k);
        reap(k); /* whoever has died since the mask was ours, too */
        find_the_lost(k);
        talk_flush(k); /* nothing else may happen for a while that would have it told */
        return run(k);
}
