/* SPDX-License-Identifier: MIT */
/*
 * What the files of the keeper share. One struct, in untouched memory, one thread, no heap; private to this
 * folder. Who writes what:
 *
 *   keeper.c     start, the loop, signals, reaping
 *   supervise.c  the agent: start, heartbeat, death
 *   talk.c       the wire to the agent
 *   jobs.c       the proxies and helper runs: fork, exit records
 *   leftovers.c  whom a dead proxy leaves behind
 *   child.c      what happens between fork and exec
 *   stop.c       the ways in which it all ends
 *   self.c       the next version of this program in its place; try.c is what that one does while it is tried
 *   keeper_image.c  what one version hands to the next
 *   say.c        one line on stderr when the keeper itself is in trouble
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <limits.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "agent/keeper/table.h"
#include "agent/keeper/trial.h"
#include "agent/keeper/wire.h"
#include "agent/mono.h"

/* Would end the keeper, and everything with it. Its children get them back. */
#define SIGNALS_IGNORED { SIGPIPE, SIGUSR2, SIGALRM }

enum {
        JOBS_MAX = 512,
        QUICK_DEATHS = 3,         /* so many in a row: the state file may be what kills it */
        RESTART_MS = 1000,        /* and if that does not help either: once in this time, for ever */
        HASTY_DEATHS = 10,        /* of agents that did work, but died within RESTART_MS of their start */
        GRACE_MS = 1000,          /* for what a living agent does at once */
        IDLE_STOP_MS = 5000,      /* a stop waits so long for an agent that works */
        OVERDUE_STOP_MS = 5000,   /* and so long beyond the stop timeout for one that does */
        LAST_WAIT_MS = 5000,      /* after SIGKILL */
        STOP_TIMEOUT_MS = 25000,  /* until the agent has named one */
        RETRY_MS = 2,             /* the kernel is out of something */
        AGENT_ERROR = 0,          /* its place among the errors */
        TRY_ERROR = 1,
        JOB_ERRORS = 2,           /* from here on those of the jobs */
        ERRORS = JOB_ERRORS + JOBS_MAX,
        SHARED = ERRORS + JOBS_MAX, /* behind the errors: what a job's record asks for when it has ended */
        JOB_FD_BASE = 3 + LAUNCH_LISTEN_MAX,
};

struct job {
        struct wire_job record;
        int pidfd;   /* -1 once it is reaped */
        bool used;
        bool tell;   /* WIRE_EXITED is owed to the present agent */
};

struct jobs {
        uint32_t top;         /* no used one from here on */
        struct job list[JOBS_MAX];
};

struct agent_process {
        pid_t pid;            /* 0: none */
        uint32_t starts;
        uint32_t quick;       /* deaths in a row before WIRE_WORKING */
        uint32_t hasty;       /* deaths in a row soon after it */
        bool working, ever_worked;
        struct mono started;
        struct mono idle_since;
        struct mono start_at; /* the next one; MONO_NEVER while one lives */
        struct mono kill_at;
        struct mono warned;   /* the heartbeat was missed; MONO_NEVER */
        bool leaving;         /* of the version before this keeper: it has been told to go */
        bool heir;            /* none has worked since then */
};

struct self {
        pid_t pid;            /* of the try; 0: none. It leads a process group */
        int verdict_fd;       /* valid while there is a try */
        bool late, passed;    /* it was killed for its slowness; it is good, and waits until nothing is owed to the agent */
        struct mono deadline;
        struct { uint64_t dev, ino, size; int64_t changed_ns; } file; /* what was tried */
        char path[PATH_MAX];
        uint64_t ticket;      /* of who asked */
        bool tell;            /* WIRE_SELF_ENDED is owed */
        char refusal[WIRE_SELF_TEXT_BYTES]; /* what it says; "": all went well */
};

struct talk {
        int fd;               /* -1 */
        bool listed;          /* the present agent has asked for the list: news is for it, too */
        bool listing, owes;   /* an answer is not sent yet: no further request is read */
        bool stuck;           /* the queue is full: go on when there is room */
        struct mono retry_at; /* the kernel is out of something: go on then */
        uint32_t next_held, next_job;
        struct wire_header reply;
        uint32_t reply_job;   /* index, or JOBS_MAX: none */
        int last_signal;      /* a stop by signal is to be told; 0 */
        bool tell_hup, tell_usr1;
};

enum keeper_phase {
        KEEPER_RUNS,
        KEEPER_STOPS,   /* without an agent: sockets are silenced, SIGTERM is sent */
        KEEPER_KILLS,   /* SIGKILL is sent: reap and go */
};

struct stop {
        enum keeper_phase phase;
        uint32_t count;
        struct mono first;
        struct mono deadline; /* of the phase */
        int64_t timeout_ms;
        int status;           /* of the keeper, once all is over */
};

struct keeper {
        pid_t pid;
        struct mono started;
        uint64_t nofile_soft, nofile_hard;
        uint32_t flags;       /* WIRE_TERMINAL, WIRE_NOTIFIES */
        uint32_t inherited;
        bool launched;        /* ever */
        int null_fd, signal_fd, heartbeat_fd;
        int errors_fd;
        struct mono reap_at;  /* the kernel did not say who has died: ask again then; or MONO_NEVER */
        int agent_fd;         /* O_PATH; -1 */
        const char *agent_path;
        char **agent_argv;
        const char *path;     /* of this program */
        char **self_argv;     /* how it is executed again: the third word is free */
        uint32_t replaced;
        char version[VERSION_BYTES]; /* of the keeper before the last replacement, or "" */
        uint64_t ticket;      /* of the last replacement */
        int notify_fd;
        struct sockaddr_un notify;
        socklen_t notify_len;
        bool said_ready;
        uint32_t *errors;     /* shared with the children, in errors_fd: errno of what failed before exec; ERRORS of them */
        uint32_t *alone;      /* behind them: this job had LAUNCH_ALONE; JOBS_MAX of them */
        struct agent_process agent;
        struct talk talk;
        struct stop stop;
        struct self self;
        struct jobs jobs;
        struct table table;
};

/* Where it was started from, and with what. */
struct keeper_words {
        const char *path;       /* of this program, absolute */
        const char *agent_path; /* absolute */
        char *argv0;
        char **agent_argv;      /* begins with the name of the agent */
};

/* keeper.c: both return the exit status */
int keeper_run(const struct keeper_words *w);
int keeper_take_over(const struct keeper_words *w, int image_fd); /* from the version before, whose process this is */
void keeper_shut_fds(uint64_t nofile); /* close-on-exec for all above standard error */
struct mono keeper_now(void);

/* supervise.c */
int agent_open(struct keeper *k, const char *path); /* 0; -errno */
void agent_start(struct keeper *k);
void agent_heartbeat(struct keeper *k);
void agent_working(struct keeper *k);
void agent_lost(struct keeper *k);   /* its end of the wire is closed: it shall go */
void agent_kill(struct keeper *k);
void agent_died(struct keeper *k, int code, int status);
void agent_tick(struct keeper *k, struct mono now);
struct mono agent_deadline(const struct keeper *k);

/* talk.c */
void talk_open(struct keeper *k, int fd);
void talk_close(struct keeper *k);
void talk_read(struct keeper *k);
void talk_flush(struct keeper *k);
short talk_events(const struct keeper *k); /* what to poll for */

/* jobs.c */
int job_launch(struct keeper *k, uint64_t number, const char *record_name, uint32_t *ret_index); /* 0; -errno */
void job_ack(struct keeper *k, uint64_t number);
void job_ends(const struct keeper *k, pid_t pid, int code, int status);
bool job_reaped(struct keeper *k, pid_t pid, int code, int status); /* false: not a job */
uint32_t jobs_alive(const struct keeper *k);
void jobs_signal(struct keeper *k, int signo);

/* child.c */
_Noreturn void child_agent(const struct keeper *k, int wire_fd);
_Noreturn void child_try(const struct keeper *k, int pinned_fd, int image_fd, int verdict_fd);
_Noreturn void child_job(const struct keeper *k, int record_fd, uint32_t *ret_error, uint32_t *ret_alone);

/* leftovers.c */
void leftovers_end(pid_t leader); /* dead, but not reaped yet; waits for a moment until they are gone, too */

/* stop.c */
void stop_requested(struct keeper *k, int signo); /* what the agent is told; a stop by the control socket is a SIGTERM */
void stop_end(struct keeper *k, int status);
void stop_tick(struct keeper *k, struct mono now);
struct mono stop_deadline(const struct keeper *k);
bool stop_is_over(const struct keeper *k);

/* say.c: one line, level=error; it is lost rather than waited for */
void say(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));
