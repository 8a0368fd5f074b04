/* SPDX-License-Identifier: MIT */
/*
 * A model of all that lies outside of the succession: the keeper's table, the proxies, the disk, the user. It performs effects
 * as the shell does, brings back what follows, and watches over the promises at each step. Everything in it follows from one
 * seed and the time, so that the same history can be played again, with agents that die in it.
 */
#pragma once

#include "agent/image.h"
#include "agent/succession.h"
#include "tests/support/prng.h"

enum { WORLD_KEYS = 7, WORLD_URLS = 4, WORLD_PROXIES = 512, WORLD_SOCKETS = 4096, WORLD_CAUSES = 64, WORLD_GROUP = 64 };

struct world_proxy { /* and its kit and its record in the keeper's table */
        bool kit_held, launched, alive, up, draining, ignores_term;
        bool exited, told, acked;  /* the keeper's record; told: to this agent */
        bool queued, waits;        /* a request in its queue; it waits for an answer */
        enum hr_type request;
        bool was_early;            /* see world.early */
        unsigned step, hangs_at;   /* of its start; 0: does not hang */
        int code, status;
        uint64_t content;
        uint32_t inode[WORLD_KEYS];
        struct mono acts_at, dies_at, exited_at;
        bool look_wanted, sample_wanted, watch_wanted; /* questions of this agent that are not answered yet */
};

struct world_cause { /* what comes from outside */
        struct mono at;
        enum { CAUSE_CONTENT, CAUSE_CRASH, CAUSE_KILL, CAUSE_UNREADY, CAUSE_READY, CAUSE_UPGRADE, CAUSE_BURST, CAUSE_ROLLBACK, CAUSE_STOP } kind;
};

struct world_group { /* the sockets that listen on one address, in the kernel's order */
        size_t n;
        uint32_t member[WORLD_GROUP];
        uint32_t steered; /* connections go to so many places, from the first on; 0: to all */
        uint32_t broken;  /* 0, or who got connections and does not accept */
};

struct world_ticket { /* what somebody asked for, and what he was told */
        uint64_t to;      /* of a rollback */
        bool rollback, told;
        unsigned asked;   /* so often */
        struct outcome how;
};

struct world {
        struct succession s;
        struct succession_limits l;
        struct effects fx;
        struct mono now;
        struct mono clock_at;          /* the moment of the last ON_CLOCK */
        unsigned clocks;               /* so many of that moment */
        uint64_t seed;
        bool lds, udp;
        bool steady;                   /* the control plane changes nothing */
        bool lags;                     /* looks may come too early and admins be silent */
        unsigned death_one_in;         /* 0: agents do not die */
        struct prng deaths;
        unsigned n_deaths;
        struct world_proxy p[WORLD_PROXIES];
        bool silent[WORLD_SOCKETS];    /* by inode */
        bool hushed[WORLD_SOCKETS];
        struct world_group groups[WORLD_URLS];
        struct world_ticket tickets[WORLD_CAUSES * 4];
        size_t n_tickets;
        uint64_t preflight_wanted;     /* or NO_EPOCH */
        bool count_wanted;
        uint64_t early;                /* one on trial while another start opens the same, or revives it: no order is known; or NO_EPOCH */
        struct mono run_since;
        uint64_t run_id;
        unsigned commits, rolled_back, refused, steers, hushes, opens;
        bool served[WORLD_PROXIES];    /* was the one that serves, at some moment */
        uint32_t inodes;
        uint32_t held[WORLD_KEYS];     /* by the keeper: inode or 0 */
        struct mono alone[WORLD_KEYS]; /* since when nobody accepts from it, or never */
        uint64_t disk, last_kit;
        int watching;
        uint64_t validate_wanted;      /* or NO_EPOCH */
        uint32_t stops;
        struct world_cause causes[WORLD_CAUSES];
        size_t n_causes, next_cause;
        struct succession_input queue[128];
        size_t queued;
        const struct look *judged;
        bool ended;
        int status;
        unsigned launches, replies;
        size_t stored_bytes;
        uint8_t stored[256 * 1024];
        char failure[512];             /* the first promise that was broken */
};

/** world_new() - the one world of this process, as it is for this seed, before anything has happened in it */
struct world *world_new(uint64_t seed);

/** world_run() - to a moment, or to the end, or to the first broken promise */
void world_run(struct world *w, int64_t until_ms);

/** world_summary() - what a new agent must have in common with one that never died. Return: buf */
const char *world_summary(const struct world *w, char *buf, size_t size);

/** world_nobody_waits() - is no proxy waiting for an answer that nobody owes it? */
bool world_nobody_waits(const struct world *w);
