/* SPDX-License-Identifier: MIT */
/*
 * The next version of this program in our place, in two steps. First it is tried, in a child, on a copy of all that
 * it would take over: it may exit, crash, hang or say anything, and nothing has changed. Only one that has said that it
 * can is executed, with every descriptor kept: the process and its children stay what they are, so no proxy notices.
 * Nothing of this blocks; a stop comes first.
 */
#include "agent/keeper/self.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/keeper/keeper_image.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* ---- the image ---------------------------------------------------------------------------------------- */

static int write_image(const struct keeper *k)
{
        size_t n = keeper_image_bytes(k);
        int fd = memfd_create("baton-keeper", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        void *p = MAP_FAILED;
        int r = 0;

        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)n) == 0)
                p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
                r = -errno;
                (void)close(fd);
                return r;
        }
        keeper_image_write(k, p);
        (void)munmap(p, n); /* a memfd with a writable mapping cannot be sealed */
        if (fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) == 0)
                return fd;
        r = -errno;
        (void)close(fd);
        return r;
}

int self_map(int fd, const void **ret, size_t *ret_bytes)
{
        struct stat st;
        int seals = fcntl(fd, F_GET_SEALS);
        void *p;

        if (seals < 0)
                return -errno;
        if ((seals & SEALS) != SEALS || fstat(fd, &st) < 0 || st.st_size <= 0)
                return -EINVAL;
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        *ret = p;
        *ret_bytes = (size_t)st.st_size;
        return 0;
}

/* ---- how it ends -------------------------------------------------------------------------------------- */

static __attribute__((format(printf, 2, 3))) void refuse(struct keeper *k, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        (void)vsnprintf(k->self.refusal, sizeof(k->self.refusal), format, args);
        va_end(args);
        k->self.passed = false;
        k->self.tell = true;
}

static void kill_try(struct keeper *k)
{
        if (k->self.pid == 0)
                return;
        (void)kill(-k->self.pid, SIGKILL); /* not reaped, so the numbers are its own; the group is there once it has made it */
        (void)kill(k->self.pid, SIGKILL);
}

/* What a foreign program says is shown to people: nothing but what can be printed. */
static void make_printable(char *text, size_t size)
{
        text[size - 1] = 0;
        for (; *text; text++)
                if (*text < ' ' || *text == '"' || *text == 127)
                        *text = '?';
}

static bool read_verdict(int fd, struct trial_verdict *ret)
{
        ssize_t n;

        memset(ret, 0, sizeof(*ret));
        n = read(fd, ret, sizeof(*ret));
        make_printable(ret->text, sizeof(ret->text));
        make_printable(ret->version, sizeof(ret->version));
        return n == (ssize_t)sizeof(*ret) && ret->magic == TRIAL_MAGIC;
}

static void judge(struct keeper *k, int code, int status)
{
        struct self *s = &k->self;
        struct trial_verdict v;
        bool spoke = read_verdict(s->verdict_fd, &v);
        uint32_t error = k->errors[TRY_ERROR];

        if (k->stop.count > 0 || k->stop.phase != KEEPER_RUNS)
                refuse(k, "a stop was asked for");
        else if (error)
                refuse(k, "cannot execute %.300s: %s", s->path, strerror((int)error));
        else if (s->late)
                refuse(k, "the new version did not say within %d s that it can take over", SELF_TRY_MS / 1000);
        else if (spoke && !v.good)
                refuse(k, "%s", *v.text ? v.text : "the new version cannot take over");
        else if (code != CLD_EXITED)
                refuse(k, "the new version was ended by signal %d while it was tried", status);
        else if (status != 0)
                refuse(k, "the new version ended with status %d while it was tried", status);
        else if (!spoke)
                refuse(k, "the new version did not say that it can take over");
        else
                s->passed = true;
}

/* ---- the try ------------------------------------------------------------------------------------------ */

static void note_file(struct self *s, const struct stat *st)
{
        s->file.dev = st->st_dev;
        s->file.ino = st->st_ino;
        s->file.size = (uint64_t)st->st_size;
        s->file.changed_ns = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

static bool file_is_still(const struct self *s)
{
        struct self now = { 0 };
        struct stat st;

        if (stat(s->path, &st) < 0)
                return false;
        note_file(&now, &st);
        return now.file.dev == s->file.dev && now.file.ino == s->file.ino && now.file.size == s->file.size &&
               now.file.changed_ns == s->file.changed_ns;
}

static int start_try(struct keeper *k, int pinned_fd, int image_fd)
{
        static char word[] = TRIAL_WORD;
        struct self *s = &k->self;
        int ends[2];
        pid_t pid;
        int r;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
        k->errors[TRY_ERROR] = 0;
        k->self_argv[2] = word;
        pid = fork();
        if (pid == 0)
                child_try(k, pinned_fd, image_fd, ends[1]);
        r = -errno;
        (void)close(ends[1]);
        if (pid < 0) {
                (void)close(ends[0]);
                return r;
        }
        s->pid = pid;
        s->verdict_fd = ends[0];
        s->late = false;
        s->tell = false;
        s->deadline = mono_after_ms(keeper_now(), SELF_TRY_MS);
        return 0;
}

int self_begin(struct keeper *k, const char *path, uint64_t ticket)
{
        struct self *s = &k->self;
        struct stat st;
        int pinned_fd, image_fd, r;

        if (self_is_tried(k))
                return ticket && ticket == s->ticket ? 0 : -EALREADY;
        if (k->stop.count > 0 || k->stop.phase != KEEPER_RUNS)
                return -ESHUTDOWN;
        (void)snprintf(s->path, sizeof(s->path), "%s", *path ? path : k->path);
        pinned_fd = open(s->path, O_PATH | O_CLOEXEC);
        if (pinned_fd < 0)
                return -errno;
        r = fstat(pinned_fd, &st) < 0 ? -errno : 0;
        image_fd = r == 0 ? write_image(k) : r;
        if (image_fd >= 0) {
                note_file(s, &st);
                s->ticket = ticket;
                r = start_try(k, pinned_fd, image_fd);
                (void)close(image_fd);
        } else {
                r = image_fd;
        }
        (void)close(pinned_fd);
        return r;
}

bool self_is_tried(const struct keeper *k)
{
        return k->self.pid > 0 || k->self.passed;
}

/* As long as it is not reaped its group cannot be anybody else's. */
void self_sweep(struct keeper *k)
{
        siginfo_t si = { .si_pid = 0 };

        if (k->self.pid > 0 && waitid(P_PID, (id_t)k->self.pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid > 0)
                kill_try(k);
}

bool self_reaped(struct keeper *k, pid_t pid, int code, int status)
{
        if (pid != k->self.pid || pid == 0)
                return false;
        k->self.pid = 0;
        judge(k, code, status);
        (void)close(k->self.verdict_fd);
        return true;
}

/* ---- the replacement ---------------------------------------------------------------------------------- */

static void keep(int fd)
{
        if (fd >= 0)
                (void)fcntl(fd, F_SETFD, 0);
}

static void keep_all(const struct keeper *k, int image_fd)
{
        const int own[] = { k->null_fd, k->signal_fd, k->heartbeat_fd, k->errors_fd, k->notify_fd, k->talk.fd, image_fd };

        for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
                keep(own[i]);
        for (uint32_t i = 0; i < k->jobs.top; i++)
                if (k->jobs.list[i].used)
                        keep(k->jobs.list[i].pidfd);
        for (uint32_t i = 0; i < k->table.n; i++)
                keep(k->table.fd[i]);
}

/* The next version finds itself replaced already: by whom, and for whom. */
static int write_will(struct keeper *k)
{
        const uint64_t ticket_before = k->ticket;
        char before[VERSION_BYTES];
        int fd;

        memcpy(before, k->version, sizeof(before));
        k->ticket = k->self.ticket;
        memset(k->version, 0, sizeof(k->version));
        (void)snprintf(k->version, sizeof(k->version), "%s", BATON_VERSION);
        fd = write_image(k);
        memcpy(k->version, before, sizeof(before));
        k->ticket = ticket_before;
        return fd;
}

/*
 * From the main and only thread: the parent-death signal of the proxies is for the death of a thread, and an exec is
 * none. Signals stay blocked and pending, so the next version finds them in the same signalfd.
 */
static void replace(struct keeper *k)
{
        struct self *s = &k->self;
        char word[sizeof(TAKE_OVER_WORD) + 12];
        int image_fd, error;

        s->passed = false;
        if (!file_is_still(s)) {
                refuse(k, "%.300s has changed since it was tried", s->path);
                return;
        }
        image_fd = write_will(k);
        if (image_fd < 0) {
                refuse(k, "cannot write down what is to be taken over: %s", strerror(-image_fd));
                return;
        }
        (void)snprintf(word, sizeof(word), TAKE_OVER_WORD "%d", image_fd);
        k->self_argv[2] = word;
        keep_all(k, image_fd);
        (void)execve(s->path, k->self_argv, environ);
        error = errno;
        keeper_shut_fds(k->nofile_hard);
        (void)close(image_fd);
        refuse(k, "cannot execute %.300s: %s", s->path, strerror(error));
}

void self_tick(struct keeper *k, struct mono now)
{
        struct self *s = &k->self;
        bool stops = k->stop.count > 0 || k->stop.phase != KEEPER_RUNS;

        if (s->pid > 0 && (stops || !mono_before(now, s->deadline))) {
                s->late = true;
                s->deadline = MONO_NEVER;
                kill_try(k);
        }
        if (!s->passed)
                return;
        if (stops)
                refuse(k, "a stop was asked for");
        else if (!k->talk.listing && !k->talk.owes) /* an answer that is half sent is nothing that could be handed on */
                replace(k);
}

struct mono self_deadline(const struct keeper *k)
{
        return k->self.pid > 0 ? k->self.deadline : MONO_NEVER;
}
