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

/* A group may be steered, and what to went with the state: it is left as it is until it is known, or until nobody is in the way. */
#define STEER_UNKNOWN UINT32_MAX

/* Two generations may ask for the same key: the one that is wanted, and one on trial beside it. */
enum claim_role { CLAIM_WANTED, CLAIM_TRIAL, CLAIMS };

struct escrow_claim {
        uint64_t epoch;     /* that asked for it last, or NO_EPOCH */
        uint32_t waiting;   /* length of its accept queue when that epoch said DrainListeners */
        bool passed;        /* to that epoch */
        bool queue_moved;   /* since then its queue was seen empty or shorter */
        bool harvested;     /* that epoch returned it with the expected inode */
        bool ambiguous;     /* two listeners of that epoch are called so: never held, never passed */
};

#define CLAIM_NONE ((struct escrow_claim){ .epoch = NO_EPOCH })

struct escrow_key {
        struct hr_key key;
        uint64_t inode;     /* of the held socket; 0: not held */
        uint64_t opened;    /* of one that was opened for the epoch on trial, and is nobody else's yet; then none is held */
        uint32_t steer;     /* the group's new connections go to this many members; 0: wherever the kernel sends them */
        bool is_static;     /* stands in the bootstrap of the epoch that was looked at last */
        bool silenced;
        bool fresh;         /* opened by us, and nobody was seen to listen on it yet: who connects is refused */
        bool shuffled;      /* silenced once, or opened beside a stranger's: where it stands in its group is not known */
        bool leaving;       /* what serves now does not listen there: closed once its predecessor has ceased to */
        bool inherited;     /* of LISTEN_FDS: it is somebody else's as well, and neither silenced nor closed before baton ends */
        struct escrow_claim by[CLAIMS];
};

struct escrow {
        uint64_t trial;     /* the epoch on trial, or NO_EPOCH */
        uint32_t n;
        struct escrow_key keys[KEYS_MAX];
};

void escrow_init(struct escrow *e);

/** escrow_claim() - what an epoch has to do with a key; its claim's epoch may be another one */
static inline const struct escrow_claim *escrow_claim(const struct escrow *e, uint32_t key, uint64_t epoch)
{
        return &e->keys[key].by[epoch == e->trial ? CLAIM_TRIAL : CLAIM_WANTED];
}

static inline bool escrow_asked_by(const struct escrow *e, uint32_t key, uint64_t epoch)
{
        return escrow_claim(e, key, epoch)->epoch == epoch;
}

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
        LACK_AMBIGUOUS,
        LACK_READY, /* without the protocol */
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

/* What there is to be passed on to whoever asks: the inode, or 0. */
static inline uint64_t escrow_socket(const struct escrow_key *k)
{
        return k->inode ? k->inode : k->opened;
}

/**
 * escrow_to_open() - an epoch asks for a key of an address that it may not bind itself
 *
 * To be called before escrow_asked(). Return: the index of the key whose socket must be opened first, or NO_KEY: there is one, or
 * the key is ambiguous, or the table is full.
 */
uint32_t escrow_to_open(struct escrow *e, uint64_t epoch, const struct hr_key *key);

/** escrow_opened() - it was, for this epoch, and the keeper has it */
void escrow_opened(struct escrow *e, uint64_t epoch, uint32_t key, uint64_t inode);

/** escrow_held_by_keeper() - a new agent learns from the keeper what is held. Return: index or NO_KEY */
uint32_t escrow_held_by_keeper(struct escrow *e, const struct hr_key *key, uint64_t inode);

/** escrow_not_held() - stored as held, but the keeper never got it, or no longer has it */
void escrow_not_held(struct escrow *e, uint32_t key);

/** escrow_held_for_good() - a socket of LISTEN_FDS, or found to be one by a new agent. Return: index or NO_KEY */
uint32_t escrow_held_for_good(struct escrow *e, const struct hr_key *key, uint64_t inode);

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

/** escrow_begin_trial() - an epoch is launched beside the one that is wanted: what it asks for is noted apart */
void escrow_begin_trial(struct escrow *e, uint64_t epoch);

/** escrow_end_trial() - it is not wanted any more: as if it had never asked; what was opened for it alone is closed */
void escrow_end_trial(struct escrow *e, struct effects *out);

/**
 * escrow_grow() - an epoch on trial asks for a worker's socket that nobody holds, of a listener that has some
 *
 * It is about to listen on a socket of its own in the group, opened by itself or for it. Until it is wanted, new connections shall not go there.
 */
void escrow_grow(struct escrow *e, const struct hr_key *key, struct effects *out);

/**
 * escrow_commit() - the epoch on trial is the one that is wanted from now on
 *
 * What it listens on is held, as by escrow_settle(); what else is held leaves: see escrow_leave().
 */
void escrow_commit(struct escrow *e, const struct look *look, struct effects *out);

/** escrow_trial_leaves_any() - would something leave, were the epoch on trial the one that is wanted after this look? */
bool escrow_trial_leaves_any(const struct escrow *e, const struct look *look);

/*
 * What leaves has a predecessor that still accepts from it. Where a whole listener goes, no new connection begins (DO_HUSH);
 * where a listener has fewer workers, new connections go to those that stay (DO_STEER), or if their places are not known, those
 * that begin elsewhere are not heard before it has gone (DO_HUSH). When the queues are empty the predecessor is told to drain;
 * then what was hushed is silenced and closed, and a moment later the rest, highest worker first.
 */
enum { LEAVES_HUSHED = 1, LEAVES_STEERED = 2 };
unsigned escrow_leave(struct escrow *e, struct effects *out); /* Return: what there is to wait for; 0: nothing leaves */
void escrow_leave_refuse(struct escrow *e, struct effects *out); /* what was hushed is silenced and closed */
void escrow_leave_close(struct escrow *e, struct effects *out);  /* all the rest, whoever has it */
bool escrow_any_leaving(const struct escrow *e);

/** escrow_steered_unknown() - without a state: any group may be steered */
void escrow_steered_unknown(struct escrow *e);

/** escrow_not_steered() - the kernel or a stranger is in the way: what leaves this key's listener is hushed instead */
void escrow_not_steered(struct escrow *e, uint32_t key, struct effects *out);

/** escrow_unsteer() - every group gets its connections as the kernel sends them */
void escrow_unsteer(struct escrow *e, struct effects *out);

/** escrow_terminated() - Terminate came: keys that this epoch did not ask for will never be asked for */
void escrow_terminated(struct escrow *e, uint64_t epoch, struct effects *out);

/** escrow_hush_all() - a stop: no new connection begins, so that what has begun can be accepted before it is silenced */
void escrow_hush_all(const struct escrow *e, struct effects *out);

void escrow_silence_all(struct escrow *e, struct effects *out);

/** escrow_revive_all() - without the protocol: whoever is launched next accepts from them, and does not listen() itself */
bool escrow_revive_all(struct escrow *e, struct effects *out); /* Return: was any silent? */

/** escrow_silence_idle() - as escrow_silence_all(), but leaves what this epoch was seen to accept from (NO_EPOCH: none) */
void escrow_silence_idle(struct escrow *e, uint64_t epoch, struct effects *out);

/**
 * escrow_silence_fresh() - one is dead that may have listened on what was opened for another; that one revives it
 * Return: true if there was any
 */
bool escrow_silence_fresh(struct escrow *e, struct effects *out);

/** escrow_revive_accepted() - what this epoch accepts from need not be silent until it accepts everywhere */
void escrow_revive_accepted(struct escrow *e, uint64_t epoch, struct effects *out);
void escrow_close_all(struct escrow *e, struct effects *out);
bool escrow_holds_any(const struct escrow *e); /* that may be silenced */
bool escrow_holds_udp(const struct escrow *e);
bool escrow_holds_url(const struct escrow *e, const char *url); /* of any worker */
bool escrow_any_silenced(const struct escrow *e);

/**
 * escrow_repeat() - a new agent: what was silenced or revived may not have been
 * @revive:   something was silenced in this outage, or in the last one: the revival at its end may be what was lost
 * @steered:  groups may have been steered and not be so any more
 */
void escrow_repeat(const struct escrow *e, bool revive, bool steered, struct effects *out);

/** escrow_queues() - DrainListeners came: remember the accept queues as they are now */
void escrow_queues(struct escrow *e, uint64_t epoch, const struct look_key *keys, size_t n);
