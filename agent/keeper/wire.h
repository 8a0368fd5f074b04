/* SPDX-License-Identifier: MIT */
/*
 * The wire between the keeper and its agent: fixed structs over one AF_UNIX SOCK_SEQPACKET pair, at most
 * WIRE_FDS_MAX descriptors in a message. Both ends are this project's own, but may be of different age:
 * a field is added at the end of a struct and announced by WIRE_VERSION, never moved.
 *
 * The law of the wire: the keeper's table is the truth. Every request carries an id and is answered by one
 * WIRE_REPLY with that id; a repeated WIRE_LAUNCH of a job that the keeper knows is answered with the same
 * job, not done again. Exit records stay until WIRE_ACK_EXIT. A stop request is never forgotten.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#ifndef WIRE_VERSION
#define WIRE_VERSION 1
#endif
#define WIRE_MAGIC 0x6e746162u /* "batn" */

enum {
        WIRE_FDS_MAX = 200,    /* SCM_MAX_FD is 253 */
        WIRE_NAME_BYTES = 320, /* with the NUL; see below for how names are made */
        WIRE_MESSAGE_BYTES = 64 * 1024 + 256,
        WIRE_AGENT_FD = 3,     /* in the agent: its end of the pair */
        WIRE_HEARTBEAT_FD = 4, /* in the agent: the timerfd that it re-arms */
        WIRE_HEARTBEAT_MS = 10000,
        WIRE_REARM_MS = 3000,
        WIRE_SELF_TEXT_BYTES = 512, /* of a refusal, with the NUL */
};

/*
 * Names of held descriptors. The keeper never interprets them, but for one rule: what begins with
 * "listen/", "status/" or "admin/" is a listening socket, silenced by the keeper itself when it must stop
 * without an agent.
 *
 *   options          the sealed memfd with the parsed options
 *   lock             the locked run directory
 *   state            the agent's state file
 *   events           the event file
 *   control          the control listener
 *   status/ADDR      the status listeners
 *   admin/ADDR       where the front of the proxy's admin listens; " 6", " 0600" behind it: IPv6 only, mode of the file
 *   kit/N            the launch record (a sealed memfd) of epoch N
 *   bin/N            the pinned executable of epoch N
 *   parent/N child/N udp/N    the protocol sockets of epoch N
 *   command/N        a command line of the proxy that an upgrade brought along
 *   listen/W/URL or listen/W/URL<TAB>NETNS   a listen socket of worker W (no text of a key holds a control character)
 *   out/J            where a helper job (a validate run) writes; its launch record is kit/J
 *   inherited/N or inherited/N/NAME   LISTEN_FDS of the keeper, with its name of LISTEN_FDNAMES; never silenced
 *   notify/N         where the proxy of epoch N says READY=1
 */

enum wire_type {
        /* agent to keeper, each answered by WIRE_REPLY */
        WIRE_LIST = 1,    /* answered by any number of WIRE_HELD and WIRE_JOB first */
        WIRE_HOLD = 2,    /* payload: n names, each NUL-terminated; n descriptors. A name that exists is replaced */
        WIRE_DROP = 3,    /* payload: n names; closes them. An unknown name is no error */
        WIRE_LAUNCH = 4,  /* job = its number, payload: the name of the launch record. Reply: struct wire_job + pidfd */
        WIRE_ACK_EXIT = 5, /* job: forget the exit record */
        WIRE_WORKING = 6, /* the agent has loaded its state and harvested; value = stop timeout in ms */
        WIRE_STOP = 7,    /* a stop came by another road than a signal: make it sticky like one; WIRE_SIGNAL follows */
        WIRE_END = 8,     /* all is done: kill what is left and exit with status `value` */
        WIRE_NOTIFY = 9,  /* payload: text for NOTIFY_SOCKET, if the keeper has one */
        /*
         * payload: path of the next version of the keeper's program, or "": its own. job: a ticket of the agent's, or 0. Reply 0:
         * it is tried. A repeat with the ticket of what is tried now is answered like the first
         */
        WIRE_SELF = 10,
        /* keeper to agent, on its own */
        WIRE_REPLY = 64,  /* id of the request; value = 0 or -errno */
        WIRE_HELD = 65,   /* payload: n names; n descriptors */
        WIRE_JOB = 66,    /* payload: struct wire_job; one pidfd if the job lives */
        WIRE_EXITED = 67, /* payload: struct wire_job */
        WIRE_SIGNAL = 68, /* payload: struct wire_signal */
        /* job: its ticket. value 0: the keeper is of the new version, the agent shall go; else payload: why not, a text */
        WIRE_SELF_ENDED = 69,
};

struct wire_header {
        uint32_t magic;
        uint16_t version;
        uint16_t type;
        uint64_t id;  /* of the request; replies and the answers to WIRE_LIST repeat it; 0 for what comes unasked */
        uint64_t job; /* epoch of a proxy; from WIRE_JOB_HELPER on: a helper run */
        int64_t value;
        uint32_t n;     /* names, and as many descriptors where the type says so */
        uint32_t bytes; /* of payload that follow */
};
static_assert(sizeof(struct wire_header) == 40, "an interface between builds of different age");

#define WIRE_JOB_HELPER (UINT64_C(1) << 32)

struct wire_job {
        uint64_t job;
        int32_t pid;
        int32_t status;   /* as waitid() gives it; valid if exited */
        int32_t code;     /* CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0 while it lives */
        uint32_t error;   /* errno of what failed between fork and exec; then code is CLD_EXITED, status 127 */
        int64_t launched_ns; /* CLOCK_MONOTONIC, just before fork */
        int64_t exited_ns;   /* CLOCK_MONOTONIC, when the keeper reaped it */
};
static_assert(sizeof(struct wire_job) == 40, "an interface between builds of different age");

/* The value of a WIRE_REPLY to WIRE_LIST is 0 and its payload is this. */
struct wire_facts {
        int32_t keeper_pid;
        uint32_t stop_count;     /* SIGTERM, SIGINT, WIRE_STOP so far */
        uint32_t agent_starts;   /* 1 for the first agent */
        uint32_t flags;          /* WIRE_FRESH... */
        uint64_t nofile_soft;    /* the limits that the keeper was started with: the proxies get them back */
        uint64_t nofile_hard;
        uint32_t listen_fds;     /* LISTEN_FDS inherited by the keeper, held as "inherited/0"... or "inherited/0/NAME" */
        uint32_t held;           /* how many descriptors the table has room for */
        int64_t started_ns;      /* CLOCK_MONOTONIC of the keeper's start */
        uint32_t replaced;       /* how often the keeper has been replaced by another version of itself */
        uint32_t reserved;
        char replaced_version[32]; /* what it was before the last time, or "" */
        uint64_t replaced_ticket;  /* of the last time */
};

enum {
        WIRE_FRESH = 1 << 0,    /* ignore the state file: rebuild from this list and a harvest */
        WIRE_TERMINAL = 1 << 1, /* the keeper has a controlling terminal */
        WIRE_NOTIFIES = 1 << 2, /* the keeper has a NOTIFY_SOCKET */
        WIRE_REPLACED = 1 << 3, /* no agent has worked yet since the keeper was replaced */
        WIRE_TRIES = 1 << 4,    /* WIRE_SELF_ENDED will come */
};

struct wire_signal {
        int32_t signo;
        uint32_t stop_count; /* after this signal */
};

/*
 * A launch record: what lies in the sealed memfd "kit/N". Offsets count from the start of the record; every
 * string is NUL-terminated and lies within it. The child between fork and exec reads it; the keeper does not.
 */
#define LAUNCH_MAGIC 0x6b697431u
#define LAUNCH_VERSION 1

enum {
        LAUNCH_GROUPS_MAX = 64,
        LAUNCH_LISTEN_MAX = 64,
        LAUNCH_SET_IDS = 1 << 0,     /* setgroups, setgid, setuid, before the parent-death signal is asked for */
        LAUNCH_DEATH_SIGNAL = 1 << 1, /* SIGKILL when the keeper dies (Envoy asks for SIGTERM itself) */
        LAUNCH_CHOWN_OUTPUT = 1 << 2, /* descriptors 1 and 2, if pipes, are given to uid */
        LAUNCH_ALONE = 1 << 3,        /* whoever is left of its session when it has ended is killed before that is told */
};

struct launch_record {
        uint32_t magic;
        uint32_t version;
        uint32_t bytes; /* of the whole record */
        uint32_t flags;
        uint32_t uid, gid;
        uint32_t n_groups;
        uint32_t groups[LAUNCH_GROUPS_MAX];
        int32_t oom_score_adj; /* INT32_MIN: leave it */
        uint32_t n_args, args; /* offset of n_args strings, one after the other */
        uint32_t n_env, env;   /* the whole environment but LISTEN_PID, which the child adds */
        uint32_t path;         /* what to execute, as long as it leads to `binary` or there is none; or "" */
        uint32_t binary;       /* name of a held descriptor to execute (execveat) otherwise, or "" */
        uint32_t cwd;          /* or "" */
        uint32_t out, err;     /* names of held descriptors for 1 and 2, or "": inherited untouched */
        uint32_t n_listen;     /* > 0: held descriptors at 3..., LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES */
        uint32_t listen[LAUNCH_LISTEN_MAX];      /* names of held descriptors */
        uint32_t listen_name[LAUNCH_LISTEN_MAX]; /* what LISTEN_FDNAMES calls them */
        uint64_t nofile_soft, nofile_hard;       /* 0: leave it */
};
