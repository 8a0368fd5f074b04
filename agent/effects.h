/* SPDX-License-Identifier: MIT */
/*
 * PURE. What the deciding code asks the shell to do, in order. The shell stores the new state first, then performs the
 * list; it may die between any two of them, so each effect can be repeated without harm.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum effect_kind {
        DO_MAKE_KIT,         /* epoch; value: the epoch whose snapshot it copies, CONTENT_DISK or CONTENT_KEPT */
        DO_KEEP,             /* epoch: it serves; its content is what comes back after a reboot */
        DO_LAUNCH,           /* epoch */
        DO_SIGNAL,           /* epoch; value: signal number */
        DO_FORGET,           /* epoch; value: enum forget_what; acknowledge the exit */
        DO_TAKE,             /* epoch: take the request that was peeked at */
        DO_REPLY,            /* epoch; value: enum owed_kind; key */
        DO_OPEN,             /* epoch; key: a socket that the proxy may not bind itself */
        DO_REVIVE,           /* key: listen() again */
        DO_LOOK,             /* epoch: harvest all keys it asked for, ask its admin for the facts of the gate */
        DO_WATCH_LISTENERS,  /* epoch: has /listeners changed? */
        DO_PROBE,            /* epoch: ask until it answers, or ends */
        DO_HOLD,             /* key: keep the socket that the look brought */
        DO_CLOSE,            /* key: keeper first, then ours */
        DO_HUSH,             /* key: no new connection begins; what waits in the queue is still accepted */
        DO_SILENCE,          /* key */
        DO_STEER,            /* key; value: new connections of its group go to so many members, from the first on; arg: STEER_AGAIN
                                or 0 */
        DO_UNSTEER,          /* key */
        DO_COUNT_LEAVING,    /* how many connections wait in the queues of what leaves? */
        DO_PREFLIGHT,        /* epoch: may it be launched? */
        DO_FAIL_HEALTHCHECK, /* epoch */
        DO_PASS_HEALTHCHECK, /* epoch */
        DO_DRAIN_LISTENERS,  /* epoch: as its successor would; should memory run out, the kernel takes it first */
        DO_SAMPLE,           /* epoch: what is in flight */
        DO_VALIDATE,         /* epoch: ask the proxy what it has against its config */
        DO_WATCH_CONTENT,    /* epoch; value: enum content_watch: tell when the content on disk changes */
        DO_REPORT,           /* epoch; value: enum report_kind; arg */
        DO_END,              /* value: exit status */
};

enum forget_what {
        FORGET_ALL,     /* names, segment, folder, snapshot, binary */
        FORGET_PROCESS, /* all but snapshot and binary: they may be wanted back */
};

enum content_watch {
        WATCH_OFF,
        WATCH_SINCE_SNAPSHOT, /* tell when it differs from the snapshot of the epoch */
        WATCH_SINCE_NOW,
        WATCH_LAUNCHED,       /* off; but if nothing is known to compare with, what is on disk now is it for the waits to come */
};

enum report_kind {
        REPORT_LAUNCHED,
        REPORT_ACCEPTED,       /* arg: gap in ms, or -1 at a first start */
        REPORT_EXITED,         /* arg: wait in ms before the next launch, -1 none */
        REPORT_READY_LATE,     /* starting for longer than --ready-timeout */
        REPORT_WAITING,        /* arg: ms until the relaunch */
        REPORT_EXHAUSTED,
        REPORT_REJECTED,       /* its own config or arguments */
        REPORT_CLEAN_EXIT,
        REPORT_SILENCED,       /* hold time over */
        REPORT_REVIVED,
        REPORT_STOPPING,       /* arg: how many stops were asked for */
        REPORT_DRAINING,
        REPORT_DRAINED,        /* nothing in flight */
        REPORT_DRAIN_OVERRUN,
        REPORT_KILLED,         /* SIGKILL at a deadline */
        REPORT_HUNG,           /* it waits for an answer that nobody knows any more */
        REPORT_CREATE_FAILURES, /* arg: listeners that the proxy could not create at its first start */
        REPORT_NOT_ACCEPTING,  /* arg: enum look_lack */
        REPORT_CONTENT_CHANGED,
        REPORT_KEPT,           /* what is on disk is refused at the first start: what served before a reboot is used */
        REPORT_UNREADY,        /* drain asked for by the user */
        REPORT_READY_AGAIN,
        REPORT_REMOVED,        /* key: the proxy does not listen there any more */
        REPORT_AMBIGUOUS,      /* key: two listeners have the same name */
        REPORT_TOO_MANY_KEYS,
        REPORT_UPGRADE_STARTED,     /* epoch: the candidate */
        REPORT_UPGRADE_WARMING,     /* arg: ms of the observation */
        REPORT_UPGRADE_COMMITTED,   /* epoch; the last change has the rest */
        REPORT_UPGRADE_REFUSED,     /* epoch, or NO_EPOCH: it came before that; the last change has the reason */
        REPORT_UPGRADE_ROLLED_BACK, /* epoch; the last change has the reason */
        REPORT_PAUSED,
        REPORT_RESUMED,
        REPORT_STOPPED,
};

/* arg of REPORT_CONTENT_CHANGED: ms until the upgrade, or why there is none */
enum { CHANGED_HELD_BACK = -1, CHANGED_PAUSED = -2, CHANGED_RELAUNCH = -3, CHANGED_PROGRAM = -4 };

/* arg of REPORT_EXITED: not the one that is wanted, so nothing follows from it */
#define EXIT_OF_ANOTHER (-2)

/* arg of DO_STEER: it was done before, and who has joined since, such as one on trial, is no stranger */
#define STEER_AGAIN 1

#define CONTENT_DISK UINT64_MAX
#define CONTENT_KEPT (UINT64_MAX - 1) /* what served last before a reboot: --state-dir */

struct effect {
        enum effect_kind kind;
        uint64_t epoch;
        int64_t value;
        int64_t arg;
        uint32_t key; /* index into the escrow */
};

/* Keys come and go in the thousands; everything else is a handful. */
enum { EFFECTS_MAX = 5 * 4096 + 256 };

struct effects {
        size_t n;
        struct effect list[EFFECTS_MAX];
};

static inline void effects_add(struct effects *out, struct effect e)
{
        if (out->n < EFFECTS_MAX) /* cannot be full: each step adds a bounded number for each key and epoch */
                out->list[out->n++] = e;
}

static inline void effects_report(struct effects *out, uint64_t epoch, enum report_kind what, int64_t arg)
{
        effects_add(out, (struct effect){ .kind = DO_REPORT, .epoch = epoch, .value = what, .arg = arg });
}
