/* SPDX-License-Identifier: MIT */
/*
 * PURE. Who serves, who comes next, and how it all ends: the generations beside each other, the kit that lies ready, the
 * sockets in escrow, the waits between launches, the stop. One state, one step: event + now -> state + effects.
 *
 * The state is plain data without pointers: image.h makes bytes of it, which are stored before the effects are performed.
 */
#pragma once

#include "agent/backoff.h"
#include "agent/digest.h"
#include "agent/effects.h"
#include "agent/epoch.h"
#include "agent/escrow.h"
#include "agent/upgrade.h"

enum { GENERATIONS_MAX = 64, HISTORY_MAX = 4 };

struct succession_limits {
        struct epoch_limits epoch;
        struct backoff_limits backoff;
        int64_t hold_ms;
        int64_t stop_delay_ms;
        int64_t stop_timeout_ms;
        int64_t drain_ms;      /* for an old generation; then SIGTERM */
        int64_t observe_ms;    /* of an upgrade that does not say otherwise */
        int64_t watch_ms;      /* between two looks at the listeners of a proxy that takes them from outside */
        bool wait_exhausted;   /* --on-exhausted=wait */
        bool restart_clean;    /* --on-clean-exit=restart */
        bool allow_loss;       /* --allow-listener-loss */
        bool no_auto;          /* --no-auto-upgrade */
        bool keeps;            /* --state-dir */
        bool kept;             /* and there is something in it */
        int low_ports;         /* TCP ports below it are opened for a proxy whose user may not bind them; 0: none are */
        bool one_by_one;       /* --handover none: two generations would want the same ports */
};

enum last_kind { LAST_NONE, LAST_START, LAST_CRASH, LAST_UPGRADE, LAST_ROLLBACK };

/* The last change of who serves, for `baton status`. */
struct last_change {
        uint32_t kind;      /* enum last_kind */
        uint32_t result;    /* enum run_result */
        uint64_t from, to;
        int64_t gap_ns;     /* -1 unknown */
        int64_t at_ns;      /* monotonic */
        char reason[REASON_BYTES]; /* of an upgrade or rollback that came to nothing */
};

/* What becomes of sockets that the one that serves has no use for; see escrow_leave(). */
enum leave_phase {
        LEAVE_NOT,
        LEAVE_WAITS,  /* their predecessor accepts what is in the queues */
        LEAVE_CLOSES, /* it was told to drain: a moment later the rest is closed */
};

/* Of one that was told to end for a candidate that came to nothing. */
enum come_back { COME_BACK_NOT, COME_BACK_OWED, COME_BACK_LAUNCHED };

enum end_state { END_NOT, END_WANTED, END_SAID };

struct succession {
        uint64_t next_number;
        uint64_t wanted;            /* the generation that serves or shall, or NO_EPOCH */
        uint64_t served;            /* the last one that accepted, or NO_EPOCH: its content comes back after a crash */
        uint64_t kit;               /* NO_EPOCH: none */
        uint32_t kit_ready;
        uint32_t kit_from_disk;     /* the last one that was made or tried reads the content from disk */
        uint32_t launch_when_ready;
        uint32_t validating;
        uint32_t waits_for_content; /* no launch until what is on disk changes */
        uint32_t unready;           /* `baton drain` */
        uint32_t stops;             /* how often a stop was asked for */
        uint32_t stop_hushed;       /* the stop's delay is over: no new connection begins */
        uint32_t stop_drains;       /* and what had begun was accepted */
        uint32_t end;               /* enum end_state */
        int32_t end_status;
        uint32_t silenced_once;     /* in this outage, or in the last one */
        uint64_t exits_clean, exits_error, exits_signal;
        uint64_t crashes_recovered;
        uint64_t create_failures;   /* listener_create_failure of what served last */
        uint64_t drops_gone;        /* packets thrown away at sockets that are held no more */
        int64_t last_drain_ns;      /* from the order to drain to the end of the process, of the last one that ended so; -1: none yet */
        struct mono relaunch_at;    /* or never */
        struct mono kit_retry_at;   /* or never */
        struct mono outage;         /* since when nothing serves, or never */
        uint64_t crashed;           /* the epoch whose end began it */
        struct mono hold_until;     /* silence the held sockets then, or never */
        struct mono stop_drain_at, stop_term_by, stop_kill_by;
        struct backoff backoff;
        struct last_change last;
        uint32_t reload_failed;     /* the last upgrade was refused or taken back */
        uint32_t paused;            /* upgrades that nobody asks for wait */
        uint32_t kept_used;         /* what served before a reboot is or was tried */
        uint32_t kept_failed;       /* and there was no kit of it */
        uint32_t come_back;         /* enum come_back */
        struct digest disk;         /* of what was seen on disk last */
        struct digest taken;        /* of what was read from disk last to be put to work; that it was refused changes nothing */
        struct mono auto_at;        /* an upgrade that nobody asked for begins, or never */
        uint32_t exhausted;         /* no token is left, but a candidate may yet serve */
        uint32_t leave;             /* enum leave_phase */
        uint64_t leaver;            /* the epoch that accepts from what leaves, or NO_EPOCH */
        struct mono leave_at;       /* the next step of it */
        struct mono leave_by;       /* no longer for the queues */
        uint64_t steered_for;       /* groups are steered until this epoch has ended, or NO_EPOCH */
        uint64_t history[HISTORY_MAX]; /* epochs whose content served before, the last first; or NO_EPOCH */
        struct upgrade upgrade;
        struct epoch epochs[GENERATIONS_MAX];
        struct escrow escrow;
};

enum succession_event {
        ON_BEGIN,           /* a new instance */
        ON_KIT_READY,       /* epoch, base_id, value: udp; is_copy: its content is that of the epoch `original` */
        ON_KIT_FAILED,      /* epoch; value: above 0 the config cannot be read, below 0 -errno */
        ON_PROCESS,         /* epoch, pid: launched */
        ON_LAUNCH_FAILED,   /* epoch; the kit or the keeper cannot do it */
        ON_EXIT,            /* epoch, exit_code, exit_status, exited */
        ON_REQUEST,         /* epoch, request, key; look with the queues for HR_DRAIN_LISTENERS */
        ON_OPENED,          /* epoch; value: a key; inode, or 0: it cannot be opened */
        ON_LOOK,            /* epoch, look */
        ON_READINESS,       /* epoch; value: 1 READY=1 or the probe was answered, 0 other words on its NOTIFY_SOCKET */
        ON_LISTENERS,       /* epoch; value: 1 changed, 0 not */
        ON_SAMPLE,          /* epoch, in_flight, requests_total, connections */
        ON_VALIDATED,       /* epoch; value: 1 its config or arguments are rejected */
        ON_CONTENT,         /* what is on disk changed; value: CHANGED_RELAUNCH, or CHANGED_PROGRAM: nothing but the program */
        ON_SEEN,            /* digest: of what lies on disk now; value: how many ms an upgrade that nobody asked for shall wait */
        ON_STOP,            /* value: how often it was asked for up to now */
        ON_REOPEN_LOGS,     /* SIGUSR1: for every generation that would not die of it */
        ON_UPGRADE,         /* ticket, command, observe_ms (-1: as configured): what lies on disk */
        ON_ROLLBACK,        /* ticket, epoch: to what (NO_EPOCH: what served before) */
        ON_PREFLIGHT,       /* epoch; value: 0 it may be launched, else text says why not */
        ON_NOT_STEERED,     /* value: a key; its group cannot be steered */
        ON_DROPPED,         /* value: so many packets were thrown away at a socket that is not held any more */
        ON_LEFT,            /* value: so many connections wait in queues that leave, or -1 */
        ON_PAUSE,           /* value: 1 `pause`, 0 `resume` */
        ON_UNREADY,         /* value: 1 `drain`, 0 `drain --undo` */
        ON_CLOCK,           /* a deadline may have passed */
};

struct succession_input {
        enum succession_event event;
        uint64_t epoch;
        int64_t value;
        uint64_t base_id;
        uint64_t inode;
        int32_t pid;
        int32_t exit_code, exit_status;
        struct mono exited;
        enum hr_type request;
        const struct hr_key *key;
        const struct look *look;
        int64_t in_flight, connections;
        uint64_t requests_total;
        uint64_t ticket, command;
        bool is_copy;
        uint64_t original;
        int64_t observe_ms;
        uint64_t certs, certs_to;   /* ON_KIT_READY: of what was read from disk */
        struct digest digest;       /* ON_SEEN; ON_KIT_READY, ON_KIT_FAILED: of what it was read from, if that was the disk */
        const char *text;           /* ON_UPGRADE, ON_KIT_FAILED, ON_PREFLIGHT, ON_EXIT, ON_LAUNCH_FAILED: what went wrong, or NULL */
};

void succession_init(struct succession *s, const struct succession_limits *l);

/** succession_step() - the one road: everything that happens comes through here */
void succession_step(struct succession *s, const struct succession_limits *l, const struct succession_input *in,
                     struct mono now, struct effects *out);

/* What a new agent finds out about one generation before it resumes. */
struct resume_fact {
        uint64_t epoch;
        bool kit_held;         /* the keeper has its launch record and its sockets */
        bool job_known;        /* the keeper launched it */
        bool alive;            /* for succession_rebuild(): and it has not ended */
        bool initializing;     /* for succession_rebuild(): it says itself that it is starting */
        bool listens;          /* for succession_rebuild(): it has one of the sockets that are held */
        uint64_t base_id;      /* for succession_rebuild() */
        uint64_t command;      /* for succession_rebuild() */
        struct mono launched;  /* for succession_rebuild() */
        int32_t pid;
        bool waits_for_reply;  /* its main thread waits for the answer that we owe */
        bool hangs;            /* it waits, but no answer is owed that we know of: the state that named it is lost */
};

/**
 * succession_rebuild() - the stored state is lost: what runs is taken as it is
 * @s:  fresh from succession_init(), the sockets that the keeper holds are in its escrow
 *
 * A generation that accepts is serving, never on trial. No number is given again that anything known has. What must be done
 * then is what succession_resume() says.
 */
void succession_rebuild(struct succession *s, const struct succession_limits *l, const struct resume_fact *facts, size_t n,
                        struct mono now);

/** succession_resume() - a new agent goes on: repeats what may not have been performed */
void succession_resume(struct succession *s, const struct succession_limits *l, const struct resume_fact *facts, size_t n,
                       struct mono now, struct effects *out);

/** succession_next() - when it next wants ON_CLOCK, or MONO_NEVER */
struct mono succession_next(const struct succession *s);

const struct epoch *succession_look_up(const struct succession *s, uint64_t number); /* or NULL */
struct epoch *succession_find(struct succession *s, uint64_t number);                /* the same, to be changed */
/**
 * succession_ticket() - as upgrade_ticket(), but an upgrade is over for who asked for it only when nobody gets the old content
 * any more: its predecessor was told to drain, and has answered since
 */
enum ticket_state succession_ticket(const struct succession *s, uint64_t ticket, struct outcome *ret);
uint64_t succession_packets_to(const struct succession *s, uint64_t from);          /* who gets the UDP packets that it forwards, or NO_EPOCH */
uint64_t succession_command(const struct succession *s);                            /* of what serves, or shall */
bool succession_needs_command(const struct succession *s, uint64_t command);       /* some epoch or request runs it */
const struct epoch *succession_serving(const struct succession *s);                /* or NULL */
const struct epoch *succession_content(const struct succession *s);                /* whose config counts: what served last, or shall first; or NULL */
const struct epoch *succession_admin(const struct succession *s);                  /* whose admin answers: what serves, in a stop what did; or NULL */
const char *succession_state_name(const struct succession *s);                     /* for `baton status` */
bool succession_ready(const struct succession *s, const char **ret_reason);
const char *report_name(enum report_kind r);
const char *look_lack_text(enum look_lack l);
