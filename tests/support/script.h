/* SPDX-License-Identifier: MIT */
/*
 * A succession under a clock that the test turns, so that a test reads like a log. What the shell would do at once (a kit
 * that is made, a process that is forked) is answered by itself; what a proxy, a user or a disk does is the test's. Every
 * step becomes a line: time in ms, event, effects.
 */
#pragma once

#include "agent/succession.h"

enum { SCRIPT_TEXT_BYTES = 64 * 1024, SCRIPT_KEYS = 8 };

struct script {
        struct succession s;
        struct succession_limits l;
        struct effects fx; /* of the last step */
        int64_t now_ms;
        bool quiet;        /* write no lines */
        bool kits_fail;
        bool opens_fail;
        int kits_answer;   /* what kit_make() says then */
        uint8_t disk;      /* names what lies on disk; 0: nobody makes a digest of it */
        struct succession_input queue[64];
        size_t queued;
        size_t text_bytes;
        char text[SCRIPT_TEXT_BYTES];
};

/* The defaults of the command line. */
struct succession_limits script_limits(void);

/** script_new() - the one script of this process, before ON_BEGIN */
struct script *script_new(const struct succession_limits *l);

/** script_run() - to a moment; the deadlines on the way come as ON_CLOCK */
void script_run(struct script *w, int64_t until_ms);

/** script_feed() - run to a moment, then one event and whatever follows from it at once */
void script_feed(struct script *w, int64_t at_ms, struct succession_input in);

/** script_begin() - from nothing to a launched epoch 0, quietly */
struct script *script_begin(const struct succession_limits *l);

/** script_up() - epoch asks for the first n keys, says DrainListeners, and a look shows that it accepts on them */
void script_up(struct script *w, int64_t at_ms, uint64_t epoch, size_t n_keys);

/* Single events. */
void script_exit(struct script *w, int64_t at_ms, uint64_t epoch, int code, int status);
void script_crash(struct script *w, int64_t at_ms, uint64_t epoch); /* by SIGSEGV */
void script_ask(struct script *w, int64_t at_ms, uint64_t epoch, size_t key);
void script_say(struct script *w, int64_t at_ms, uint64_t epoch, enum hr_type request);
void script_look(struct script *w, int64_t at_ms, uint64_t epoch, size_t n_keys); /* accepts on the first n keys */
void script_stop(struct script *w, int64_t at_ms, int64_t times);
void script_content(struct script *w, int64_t at_ms);
void script_seen(struct script *w, int64_t at_ms, uint8_t disk, int64_t wait_ms); /* what lies on disk now; of --splay */
void script_validated(struct script *w, int64_t at_ms, uint64_t epoch, bool rejected);
void script_sample(struct script *w, int64_t at_ms, uint64_t epoch, int64_t in_flight, uint64_t requests_total);

/** script_die() - the agent dies and the next one resumes from the stored bytes */
void script_die(struct script *w, const struct resume_fact *facts, size_t n);

/** script_expect() - compare the lines since the last call, print both where they differ. Return: do they agree? */
bool script_expect(struct script *w, const char *want);

/** script_up_on() - as script_up(), on the keys of a mask */
void script_up_on(struct script *w, int64_t at_ms, uint64_t epoch, unsigned mask);
void script_look_on(struct script *w, int64_t at_ms, uint64_t epoch, unsigned mask);

/* Upgrades. */
void script_upgrade(struct script *w, int64_t at_ms, uint64_t ticket, int64_t observe_ms); /* -1: as configured */
void script_rollback(struct script *w, int64_t at_ms, uint64_t ticket, uint64_t epoch);
void script_preflight(struct script *w, int64_t at_ms, uint64_t epoch, const char *refusal); /* NULL: it may be launched */
void script_left(struct script *w, int64_t at_ms, int64_t waiting);

/** script_candidate() - an upgrade is asked for, passes the checks and is launched, quietly. Return: its epoch */
uint64_t script_candidate(struct script *w, int64_t at_ms, uint64_t ticket);

/* The keys of the tests: 0 to 3 are tcp://127.0.0.1:808N, worker 0; 4 to 7 are workers 1 to 4 of the first. */
const struct hr_key *script_key(size_t i);
