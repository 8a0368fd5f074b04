/* SPDX-License-Identifier: MIT */
/*
 * A keeper in a folder of its own, and agents that are played by the test: every agent that the keeper starts hands its
 * end of the wire to the test. All of it dies with the test process. Each function asserts what it needs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/keeper_link.h"
#include "agent/launch.h"

enum { RIG_PATIENCE_MS = 20000 };

/* How the keeper started its agent. */
struct rig_hello {
        int32_t pid;
        int32_t session;
        int32_t argc;
        int32_t stray_fds;
        int32_t blocked_signals;
        int32_t stray_environment;
        int32_t stdin_is_null;
};

struct rig_options {
        const int *listen_fds; /* passed as LISTEN_FDS */
        int n_listen_fds;
        const char *notify_socket;
        bool pid_namespace;    /* the keeper is PID 1 */
        bool closed_stdio;     /* started with 0, 1 and 2 closed */
        bool no_agent;         /* there is no baton-agent */
        int terminal_fd;       /* > 0: becomes its controlling terminal */
};

struct rig {
        char folder[64];
        int meeting_fd;
        pid_t keeper; /* seen from here; in a namespace of its own it is 1 */
        pid_t child;  /* whom to wait for: the keeper, or who waits for it */
};

struct rig_agent {
        struct rig_hello hello;
        pid_t pid; /* seen from here, as opposed to what it says itself */
        int order_fd;
        int heartbeat_fd;
        struct keeper_link *link;
        struct wire_facts facts;
};

void rig_start(struct rig *r, const struct rig_options *options); /* NULL: none */
void rig_end(struct rig *r);                                      /* kills what is left, removes the folder */
int rig_keeper_status(struct rig *r);                             /* waits; 128 + signal if it was killed */

/* Puts another program in the place of "baton" or "baton-agent": a copy of that file, cut after so many bytes; 0: all of it. */
void rig_replace(const struct rig *r, const char *name, const char *from, size_t bytes);
void rig_replace_script(const struct rig *r, const char *name, const char *text, unsigned mode);

/* Waits for the next agent. Nothing is sent on its wire yet. */
void rig_meet(struct rig *r, struct rig_agent *ret);
/* The same, then lists and reports to be working. */
void rig_work(struct rig *r, struct rig_agent *ret);
void rig_agent_exit(struct rig_agent *a, int status);
void rig_agent_kill(struct rig_agent *a);
void rig_agent_done(struct rig_agent *a); /* frees our side only */

/* What a list brought. */
struct rig_held {
        char name[WIRE_NAME_BYTES];
        uint64_t inode;
};

struct rig_list {
        struct rig_held *held;
        size_t n_held;
        struct wire_job jobs[64];
        int pidfds[64];
        size_t n_jobs;
};

void rig_list(struct rig_agent *a, struct rig_list *ret);
void rig_list_done(struct rig_list *l);
const struct rig_held *rig_find(const struct rig_list *l, const char *name); /* or NULL */

void rig_hold(struct rig_agent *a, const char *name, int fd);
/* Seals a record, holds it as kit/JOB, launches it. Death signal is added, so that nothing outlives a test. */
struct wire_job rig_launch(struct rig_agent *a, uint64_t job, struct launch l, int *ret_pidfd);
struct wire_job rig_shell(struct rig_agent *a, uint64_t job, const char *script, int *ret_pidfd);
/* Launches a script with a pipe as its output, waits for its end, returns what it wrote. */
const char *rig_output(struct rig_agent *a, uint64_t job, struct launch l);
struct keeper_event rig_event(struct rig_agent *a); /* waits for it */

uint64_t rig_inode(int fd);
int rig_memfd(void);
void rig_wait_readable(int fd, const char *what);
pid_t rig_other_child(const struct rig *r, pid_t known); /* of the keeper; 0: none */
bool rig_process_state(pid_t pid, char *ret_state, pid_t *ret_parent); /* false: no such process */
