/* SPDX-License-Identifier: MIT */
/*
 * Jobs: the proxies and the helper runs of the agent. Forked from the only thread (the parent-death signal of
 * a proxy hangs on the thread that forked it), waited for here alone, remembered until the agent has taken note.
 */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/keeper/keeper.h"

static uint32_t find(const struct keeper *k, uint64_t number)
{
        for (uint32_t i = 0; i < k->jobs.top; i++)
                if (k->jobs.list[i].used && k->jobs.list[i].record.job == number)
                        return i;
        return JOBS_MAX;
}

static uint32_t find_room(const struct keeper *k)
{
        uint32_t i = 0;

        while (i < k->jobs.top && k->jobs.list[i].used)
                i++;
        return i;
}

/* Without a pidfd nobody could ever signal it safely: rather no job at all. */
static int give_up(pid_t pid)
{
        int error = errno;
        siginfo_t end;

        (void)kill(pid, SIGKILL);
        (void)waitid(P_PID, (id_t)pid, &end, WEXITED);
        return -error;
}

int job_launch(struct keeper *k, uint64_t number, const char *record_name, uint32_t *ret_index)
{
        uint32_t i = find(k, number);
        int record_fd = table_fd(&k->table, record_name);
        struct mono launched;
        struct job *j;
        pid_t pid;
        int pidfd;

        if (i < JOBS_MAX) {
                *ret_index = i;
                return 0;
        }
        if (k->stop.phase != KEEPER_RUNS)
                return -ESHUTDOWN;
        if (record_fd < 0)
                return -ENOENT;
        i = find_room(k);
        if (i == JOBS_MAX)
                return -ENOSPC;
        k->errors[JOB_ERRORS + i] = 0;
        k->alone[i] = 0;
        launched = keeper_now();
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                child_job(k, record_fd, &k->errors[JOB_ERRORS + i], &k->alone[i]);
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by birth */
        if (pidfd < 0)
                return give_up(pid);
        j = &k->jobs.list[i];
        *j = (struct job){ .used = true, .pidfd = pidfd };
        j->record = (struct wire_job){ .job = number, .pid = pid, .launched_ns = launched.ns };
        if (i == k->jobs.top)
                k->jobs.top++;
        k->launched = true;
        *ret_index = i;
        return 0;
}

/* Only an exit record is forgotten; a job that lives stays, whatever the agent believes. */
void job_ack(struct keeper *k, uint64_t number)
{
        uint32_t i = find(k, number);

        if (i == JOBS_MAX || k->jobs.list[i].pidfd >= 0)
                return;
        k->jobs.list[i].used = false;
        while (k->jobs.top > 0 && !k->jobs.list[k->jobs.top - 1].used)
                k->jobs.top--;
}

/*
 * What a helper run has started ends with it, and so does what a killed wrapper script leaves behind: it would keep the ports.
 * To be called before the job is reaped: until then the number of its group is still its own.
 */
void job_ends(const struct keeper *k, pid_t pid, int code, int status)
{
        for (uint32_t i = 0; i < k->jobs.top; i++) {
                const struct job *j = &k->jobs.list[i];

                if (!j->used || j->pidfd < 0 || j->record.pid != pid)
                        continue;
                if (k->alone[i])
                        leftovers_end(pid);
                else if (j->record.job >= WIRE_JOB_HELPER || (code == CLD_KILLED && status == SIGKILL))
                        (void)kill(-pid, SIGKILL);
                return;
        }
}

bool job_reaped(struct keeper *k, pid_t pid, int code, int status)
{
        for (uint32_t i = 0; i < k->jobs.top; i++) {
                struct job *j = &k->jobs.list[i];

                if (!j->used || j->pidfd < 0 || j->record.pid != pid)
                        continue;
                (void)close(j->pidfd);
                j->pidfd = -1;
                j->record.code = code;
                j->record.status = status;
                j->record.error = k->errors[JOB_ERRORS + i];
                j->record.exited_ns = keeper_now().ns;
                j->tell = true;
                return true;
        }
        return false;
}

uint32_t jobs_alive(const struct keeper *k)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < k->jobs.top; i++)
                n += k->jobs.list[i].used && k->jobs.list[i].pidfd >= 0;
        return n;
}

/* With SIGKILL the whole process group goes: what a wrapper script leaves behind would keep the ports. */
void jobs_signal(struct keeper *k, int signo)
{
        for (uint32_t i = 0; i < k->jobs.top; i++) {
                const struct job *j = &k->jobs.list[i];

                if (!j->used || j->pidfd < 0)
                        continue;
                if (signo == SIGKILL)
                        (void)kill(-j->record.pid, SIGKILL); /* not reaped yet, so the number is still its own */
                (void)syscall(SYS_pidfd_send_signal, j->pidfd, signo, NULL, 0);
        }
}
