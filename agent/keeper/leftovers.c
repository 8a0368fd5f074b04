/* SPDX-License-Identifier: MIT */
/*
 * Whom a dead proxy leaves behind: workers that outlive their master would go on accepting beside its successor, or keep the
 * port that it needs. All of its session goes. The leader is dead and not reaped yet, so the number of the session is still
 * its own; the others are signalled by descriptors that were open before they were found to belong to it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/keeper/keeper.h"

enum {
        DIRENT_BYTES = 8192,
        PASSES = 2,          /* one more for what was forked while the first looked */
        LEFTOVERS_MS = 100,  /* and no longer for all of them to be gone: what a killed one runs is not its own code any more */
};

static pid_t number(const char *name)
{
        long n = 0;

        for (; *name >= '0' && *name <= '9' && n < INT_MAX / 10; name++)
                n = 10 * n + (*name - '0');
        return *name ? 0 : (pid_t)n;
}

/* Killed, and its descriptors closed: a socket that it listened on alone is free by then. Return: false: it is not of the session */
static bool end_one(pid_t pid, pid_t session, struct mono until)
{
        struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
        bool ours = p.fd >= 0 && getsid(pid) == session && syscall(SYS_pidfd_send_signal, p.fd, SIGKILL, NULL, 0) == 0;
        int64_t ms = mono_ms_between(keeper_now(), until);

        if (ours && ms > 0)
                (void)poll(&p, 1, (int)ms);
        if (p.fd >= 0)
                (void)close(p.fd);
        return ours;
}

static bool end_session(int proc, pid_t session, struct mono until)
{
        _Alignas(struct dirent64) char buf[DIRENT_BYTES];
        bool found = false;
        ssize_t n;

        if (lseek(proc, 0, SEEK_SET) < 0)
                return false;
        while ((n = getdents64(proc, buf, sizeof(buf))) > 0)
                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *e = (const struct dirent64 *)(const void *)(buf + at);
                        pid_t pid = number(e->d_name);

                        at += e->d_reclen;
                        if (pid > 0 && pid != session && getsid(pid) == session)
                                found |= end_one(pid, session, until);
                }
        return found;
}

void leftovers_end(pid_t leader)
{
        struct mono until = mono_after_ms(keeper_now(), LEFTOVERS_MS);
        int proc;

        (void)kill(-leader, SIGKILL); /* its group, all at once: most often that is everybody */
        proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int i = 0; proc >= 0 && i < PASSES && end_session(proc, leader, until); i++)
                ;
        if (proc >= 0)
                (void)close(proc);
}
