/* SPDX-License-Identifier: MIT */
/*
 * The agent's side of the keeper. Requests are synchronous: the keeper answers in microseconds, and does nothing
 * that could make it wait. What arrives unasked meanwhile is queued and handed out by keeper_link_dispatch().
 * Decides nothing, logs nothing.
 *
 * Every request answers 0 or
 *   -EPIPE      the keeper is gone (for good: no later request will succeed)
 *   -ETIMEDOUT  it did not answer within KEEPER_LINK_TIMEOUT_MS; a repeat is harmless, a late answer is discarded
 *   -EPROTO     what came is not the wire; treat it like -EPIPE
 *   -EINVAL     the keeper found the request malformed
 *   -EOPNOTSUPP the keeper is older than this agent and does not know the request
 * and what is listed at it. None may be called from within a callback of keeper_link_list().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/keeper/wire.h"

struct keeper_link; /* opaque */

enum {
        KEEPER_LINK_NOTHING = 1,
        KEEPER_LINK_TIMEOUT_MS = 5000,
};

struct keeper_event {
        enum wire_type type; /* WIRE_EXITED: job is set; WIRE_SIGNAL: signal is set; WIRE_SELF_ENDED: ticket, text are set */
        struct wire_job job;
        struct wire_signal signal;
        uint64_t ticket;
        char text[WIRE_SELF_TEXT_BYTES]; /* why the keeper was not replaced; "": it was, and this agent shall go */
};

/**
 * keeper_link_new() - take over our end of the pair
 * @fd:   WIRE_AGENT_FD; owned by the link from a 0 on, and made close-on-exec and non-blocking
 * @ret:  the caller owns it; keeper_link_free() closes the descriptor
 *
 * Return: 0; -ENOMEM; -EBADF if there is no such descriptor (the agent was not started by a keeper).
 */
int keeper_link_new(int fd, struct keeper_link **ret);

/** keeper_link_free() - NULL is harmless. Return: NULL */
struct keeper_link *keeper_link_free(struct keeper_link *l);

/** keeper_link_fd() - to poll for reading; the link keeps it. Readable: call keeper_link_dispatch() */
int keeper_link_fd(const struct keeper_link *l);

/**
 * keeper_link_list() - what the keeper holds
 * @ret:      facts about the keeper
 * @on_held:  once for each held descriptor; @fd is owned by the callee and close-on-exec
 * @on_job:   once for each job, and for each exit record that waits for keeper_link_ack_exit(): then code is not 0
 *            and @pidfd is -1; else the callee owns it
 *
 * From the first list on the link brings WIRE_EXITED, for what ended after it, and WIRE_SIGNAL.
 *
 * Return: 0; as above; -EMFILE if a descriptor got lost because this process may open no more.
 */
int keeper_link_list(struct keeper_link *l, struct wire_facts *ret,
                     void (*on_held)(void *userdata, const char *name, int fd),
                     void (*on_job)(void *userdata, const struct wire_job *job, int pidfd), void *userdata);

/**
 * keeper_link_hold() - have descriptors held under names; what was held under one before is closed
 * @fds:  stay the caller's
 *
 * Sent in parts of WIRE_FDS_MAX; each part is held as a whole or not at all.
 *
 * Return: 0; as above; -ENOSPC: the table is full; -EMFILE: the keeper may open no more descriptors;
 * -ENAMETOOLONG, -EBADF: a name or descriptor of the caller's.
 */
int keeper_link_hold(struct keeper_link *l, const char *const *names, const int *fds, size_t n);

/** keeper_link_drop() - have descriptors closed; an unknown name is no error. Return: 0; as above */
int keeper_link_drop(struct keeper_link *l, const char *const *names, size_t n);

/**
 * keeper_link_launch() - have a process started from a held launch record
 * @job:        its number; a job that the keeper knows already is not started again but answered as it is
 * @ret_job:    the job; code is not 0 if it has ended already
 * @ret_pidfd:  owned by the caller; -1 if it has ended
 *
 * An exec that fails is an exit: WIRE_EXITED with status 127 and the errno in error.
 *
 * Return: 0; as above; -ENOENT: no such record is held; -ENOSPC: too many jobs; -ESHUTDOWN: it is ending;
 * -EAGAIN, -ENOMEM, -EMFILE: the system has no room for a process.
 */
int keeper_link_launch(struct keeper_link *l, uint64_t job, const char *record_name, struct wire_job *ret_job, int *ret_pidfd);

/** keeper_link_ack_exit() - the exit was noted for good: the keeper may forget it. Return: 0; as above */
int keeper_link_ack_exit(struct keeper_link *l, uint64_t job);

/** keeper_link_working() - state is loaded, all is harvested; also when the timeout changes. Return: 0; as above */
int keeper_link_working(struct keeper_link *l, int64_t stop_timeout_ms);

/**
 * keeper_link_stop() - a stop came by the control socket: make it as sticky as a signal
 *
 * The keeper counts it and says so with WIRE_SIGNAL, as for a SIGTERM. Return: 0; as above
 */
int keeper_link_stop(struct keeper_link *l);

/**
 * keeper_link_end() - all is done: have the keeper kill what is left and exit
 * @status:  its exit status, 0 to 255
 *
 * The agent has a second to exit afterwards.
 *
 * Return: 0, also if the keeper is gone already; -ETIMEDOUT; -EPROTO.
 */
int keeper_link_end(struct keeper_link *l, int status);

/** keeper_link_notify() - text for the service manager, "" if there is none. Return: 0; as above; -E2BIG */
int keeper_link_notify(struct keeper_link *l, const char *text);

/**
 * keeper_link_self() - have the keeper replaced by the next version of its program, if that is good
 * @path:    of it, absolute; "": where the running one was started from
 * @ticket:  what WIRE_SELF_ENDED will name, or 0; a repeat with that of the one that is tried is answered like the first
 *
 * WIRE_SELF_ENDED tells how it ended, after up to ten seconds.
 *
 * Return: 0: it is tried; as above; -EALREADY: one is; -ESHUTDOWN: all is ending; -ENOENT...: as open(2) at the path
 */
int keeper_link_self(struct keeper_link *l, const char *path, uint64_t ticket);

/**
 * keeper_link_dispatch() - the next event, oldest first; never blocks
 *
 * Return: 0 and the event; KEEPER_LINK_NOTHING; -EPIPE when the keeper is gone (queued events come first);
 * -EPROTO.
 */
int keeper_link_dispatch(struct keeper_link *l, struct keeper_event *ret);

/** keeper_link_pending() - events are queued, or the wire is broken: dispatch, although the descriptor need not be readable */
bool keeper_link_pending(const struct keeper_link *l);

/**
 * keeper_link_rearm() - "I am alive": to be called every WIRE_REARM_MS
 * @heartbeat_fd:  WIRE_HEARTBEAT_FD
 *
 * Return: 0; -errno if it is not the keeper's timer.
 */
int keeper_link_rearm(int heartbeat_fd);
