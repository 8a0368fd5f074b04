/* SPDX-License-Identifier: MIT */
/*
 * PURE. Which listen sockets we may keep, pass on, silence and close.
 *
 * The rule behind all of it: whoever connects to a socket without an acceptor hangs. So there are two reasons to hold one: a
 * living proxy was seen to have it (by a harvest), or its proxy died, a successor is on the way, and the time for that is bounded.
 * The sockets themselves are the shell's and the keeper's; here they are keys with an inode.
 */
#pragma once

#include <stdbool.h>

#include "agent/effects.h"
#include "hotrestart/hotrestart.h"

enum { KEYS_MAX = 4096, NO_KEY = UINT32_MAX };
#define NO_EPOCH UINT64_MAX

struct escrow_key {
        struct hr_key key;
        uint64_t inode;     /* of the held socket; 0: not held */
        uint64_t asked_by;  /* last epoch that asked for it, or NO_EPOCH */
        uint32_t waiting;   /* length of its accept queue when the successor said DrainListeners */
        bool is_static;     /* stands in the bootstrap of the epoch that serves or starts */
        bool silenced;
        bool passed;        /* to asked_by */
        bool queue_moved;   /* since then its queue was seen empty or shorter */
        bool harvested;     /* asked_by returned it with the expected inode */
        bool ambiguous;     /* two listeners are called so: never held, never passed */
};

struct escrow {
        uint32_t n;
        struct escrow_key keys[KEYS_MAX];
};

/* What one look at a generation brought for one key. */
struct look_key {
        uint32_t key;
        uint64_t inode; /* of what the harvest returned; 0: it does not listen there */
        uint32_t waiting;
        bool listed; /* /listeners has its address */
};

struct look {
        const struct look_key *keys;
        size_t n;
        const char (*statics)[HR_URL_BYTES]; /* the listeners that the bootstrap itself names */
        size_t n_statics;
        bool lds;               /* the bootstrap takes listeners from outside */
        bool harvest_failed;    /* nobody answered */
        bool admin_answered;    /* the next five are known */
        bool lds_answered;      /* update_success + update_rejected >= 1 */
        bool listeners_known;
        bool warming;           /* some listener is not active yet */
        uint64_t create_failures;
};

/* Why a generation does not count as accepting yet, best reason first. */
enum look_lack {
        LACK_NOTHING,
        LACK_DRAIN_LISTENERS,
        LACK_HARVEST,
        LACK_ADMIN,
        LACK_STATIC_KEY,
        LACK_LDS,
        LACK_CREATE_FAILURES,
        LACK_QUEUE,
};

struct escrow_gate {
        uint64_t epoch;
        bool first;             /* nothing served before it: failures are reported, no gate */
        bool after_crash;       /* queues must move */
        bool same_content;      /* as what served before */
        bool allow_loss;        /* --allow-listener-loss */
        uint64_t create_failures_before;
};

/**
 * escrow_asked() - a generation asks for a key: remember it and answer
 * @ret_key:  its index, or NO_KEY if the table is full
 * Return: true if the held socket is to be passed; false: answer "nothing"
 */
bool escrow_asked(struct escrow *e, uint64_t epoch, const struct hr_key *key, uint32_t *ret_key);

/**
 * escrow_asked_twice() - a generation that is starting asks: for the same key a second time?
 *
 * An Envoy that does not name network namespaces asks so for two listeners, and one of them must never get the other's
 * socket. To be called before escrow_asked(). Return: true if that came out just now.
 */
bool escrow_asked_twice(struct escrow *e, uint64_t epoch, const struct hr_key *key, struct effects *out);

/** escrow_find() - Return: the index of a key, or NO_KEY */
uint32_t escrow_find(const struct escrow *e, const struct hr_key *key);

/** escrow_held_by_keeper() - a new agent learns from the keeper what is held. Return: index or NO_KEY */
uint32_t escrow_held_by_keeper(struct escrow *e, const struct hr_key *key, uint64_t inode);

/** escrow_not_held() - stored as held, but the keeper never got it, or no longer has it */
void escrow_not_held(struct escrow *e, uint32_t key);

/**
 * escrow_take_look() - judge a generation that is starting
 *
 * Marks what the look showed. Return: LACK_NOTHING if it accepts.
 */
enum look_lack escrow_take_look(struct escrow *e, const struct escrow_gate *g, const struct look *look);

/**
 * escrow_settle() - a generation accepts (or goes on accepting): what it listens on is held, all else is closed
 *
 * Also revives what was silenced and is still listened on.
 */
void escrow_settle(struct escrow *e, uint64_t epoch, const struct look *look, struct effects *out);

/** escrow_terminated() - Terminate came: keys that this epoch did not ask for will never be asked for */
void escrow_terminated(struct escrow *e, uint64_t epoch, struct effects *out);

/** escrow_hush_all() - a stop: no new connection begins, so that what has begun can be accepted before it is silenced */
void escrow_hush_all(const struct escrow *e, struct effects *out);

void escrow_silence_all(struct escrow *e, struct effects *out);

/** escrow_silence_idle() - as escrow_silence_all(), but leaves what this epoch was seen to accept from (NO_EPOCH: none) */
void escrow_silence_idle(struct escrow *e, uint64_t epoch, struct effects *out);

/** escrow_revive_accepted() - what this epoch accepts from need not be silent until it accepts everywhere */
void escrow_revive_accepted(struct escrow *e, uint64_t epoch, struct effects *out);
void escrow_close_all(struct escrow *e, struct effects *out);
bool escrow_holds_any(const struct escrow *e);
bool escrow_holds_udp(const struct escrow *e);
bool escrow_any_silenced(const struct escrow *e);

/**
 * escrow_repeat() - a new agent: what was silenced or revived may not have been
 * @revive:  something was silenced in this outage, or in the last one: the revival at its end may be what was lost
 */
void escrow_repeat(const struct escrow *e, bool revive, struct effects *out);

/** escrow_queues() - DrainListeners came: remember the accept queues as they are now */
void escrow_queues(struct escrow *e, uint64_t epoch, const struct look_key *keys, size_t n);
