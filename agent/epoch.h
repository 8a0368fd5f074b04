/* SPDX-License-Identifier: MIT */
/*
 * PURE. One generation from its kit to its end, and nothing beside it: who else lives and who comes next is succession.h's.
 */
#pragma once

#include "agent/digest.h"
#include "agent/effects.h"
#include "agent/escrow.h"
#include "agent/mono.h"

enum epoch_state {
        EPOCH_NONE,     /* an empty slot */
        EPOCH_KIT,      /* everything lies ready for its launch */
        EPOCH_STARTING, /* forked; we answer its requests */
        EPOCH_WARMING,  /* accepts beside the one that serves, on trial */
        EPOCH_SERVING,
        EPOCH_DRAINING, /* has a successor, or shall have none; told DrainListeners; requests run out */
        EPOCH_STOPPING, /* told to end */
        EPOCH_GONE,     /* reaped; its names and segment may still have to go */
};

enum epoch_event {
        ON_LAUNCHED,
        ON_DRAIN_LISTENERS, /* it says it is up */
        ON_LOOKED,          /* what a look showed: lack */
        ON_SPOKE,           /* without the protocol: it has said something on its NOTIFY_SOCKET, but not READY=1 */
        ON_READY,           /* without the protocol: READY=1, or the probe was answered */
        ON_COMMIT_ORDER,    /* the trial is over: it is the one that serves */
        ON_YIELD_ORDER,     /* another one serves; the order to drain follows */
        ON_DRAIN_ORDER,     /* by the one road: drain, nothing in flight, SIGTERM */
        ON_TERM_ORDER,      /* now */
        ON_SAMPLED,         /* what is in flight */
        ON_ENDED,
        ON_TIME,            /* its deadline */
};

/* The last request taken from its queue that asks for an answer: a new agent may have to give it. */
enum owed_kind {
        OWED_NOTHING = HR_OWES_NOTHING,
        OWED_SHUTDOWN_ADMIN = HR_OWES_SHUTDOWN_ADMIN,
        OWED_PASS = HR_OWES_PASS,
        OWED_STATS = HR_OWES_STATS,
        OWED_UNRECOGNIZED = HR_OWES_UNRECOGNIZED,
};

struct epoch_limits {
        bool protocol;          /* it speaks hot restart; else it ends by SIGTERM alone, and is ready as the next two say */
        bool probe;             /* when it answers a probe; else by READY=1, or if it never says anything by its exec */
        int64_t silent_ms;      /* one on trial that has said nothing for so long after its exec will say nothing */
        int64_t ready_ms;       /* starting for longer is reported */
        int64_t quiet_ms;       /* nothing in flight for so long without a break ends a drain */
        int64_t sample_ms;
        int64_t kill_ms;        /* from SIGTERM to SIGKILL, if no deadline says otherwise */
};

struct epoch {
        uint64_t number;
        uint64_t base_id;
        uint64_t copy_of;        /* CONTENT_DISK, CONTENT_KEPT, or the epoch whose snapshot it copies */
        uint64_t origin;         /* the first epoch that had this content: names it. Snapshot, command line and binary are the content */
        struct digest digest;    /* of what it was read from when it came from disk */
        uint64_t certs, certs_to; /* the lowest and highest copy of certificates that its config leads to; 0: to none */
        uint64_t command;        /* which command line it runs, a part of its content; 0: that of `baton run` */
        int32_t pid;             /* 0: not launched, or not known yet */
        uint32_t state;          /* enum epoch_state */
        struct mono launched;
        struct mono up;          /* DrainListeners came, or never */
        struct mono accepted;    /* or never */
        struct mono next_look;   /* or never */
        struct mono next_sample; /* or never */
        struct mono quiet_since; /* or never */
        struct mono drains;      /* when it was told to drain, or never */
        struct mono silent_until; /* starting, without a word: it is ready then, or never */
        struct mono deadline;    /* draining: SIGTERM; stopping: SIGKILL; starting: report */
        struct mono kill_by;     /* SIGKILL at the latest, or never */
        uint64_t requests_total; /* at the last sample */
        int64_t in_flight;       /* at the last sample, -1 unknown */
        int64_t connections;
        int64_t look_ms;         /* the pause before the next look */
        uint32_t owed;           /* enum owed_kind */
        uint32_t owed_key;       /* NO_KEY: nothing is passed */
        uint32_t asked_key;      /* of the last such request, passed or not */
        uint32_t retold;         /* the next request may be one that a dead agent stored, but did not take */
        uint32_t lack;           /* enum look_lack */
        uint32_t trial;          /* launched beside another one that is wanted */
        uint32_t ordered;        /* draining: DrainListeners was sent */
        uint32_t heard;          /* draining: and it has answered since */
        uint32_t shed;           /* gone, and only its snapshot and binary are kept */
        uint32_t udp;            /* launched with --parent-shutdown-time-s 0 */
        uint32_t speaks;         /* what has its content says something on NOTIFY_SOCKET: READY=1 is waited for */
        int32_t exit_code;       /* CLD_*; valid when gone */
        int32_t exit_status;
        int64_t exited_ns;
};

struct epoch_input {
        enum epoch_event event;
        int32_t pid;                /* ON_LAUNCHED */
        enum look_lack lack;        /* ON_LOOKED */
        int64_t in_flight;          /* ON_SAMPLED; -1: nobody answered */
        uint64_t requests_total;    /* ON_SAMPLED */
        int64_t connections;        /* ON_SAMPLED */
        struct mono term_by;        /* ON_DRAIN_ORDER */
        struct mono kill_by;        /* ON_DRAIN_ORDER, ON_TERM_ORDER */
};

void epoch_init(struct epoch *e, uint64_t number, uint64_t copy_of); /* its content is its own */
void epoch_step(struct epoch *e, const struct epoch_limits *l, const struct epoch_input *in, struct mono now,
                struct effects *out);
/** epoch_look() - asks for a look, and for another one should no answer come */
void epoch_look(struct epoch *e, struct mono now, struct effects *out);
enum look_lack epoch_lacks(const struct epoch *e, const struct epoch_limits *l); /* one that is starting: what is waited for */
struct mono epoch_next(const struct epoch *e); /* when it next wants ON_TIME */
bool epoch_alive(const struct epoch *e);       /* launched and not gone */
bool epoch_has_served(const struct epoch *e);  /* its content may be gone back to */
bool epoch_same_content(const struct epoch *a, const struct epoch *b); /* false if either is NULL */
const char *epoch_state_name(uint32_t state);
