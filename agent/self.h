/* SPDX-License-Identifier: MIT */
/*
 * `baton upgrade --self`, seen from the agent: it asks the keeper, and either nothing has changed, or the keeper is of the
 * next version and this agent has to make room for the next one.
 */
#pragma once

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

struct agent;

/**
 * self_ended - how it ended, once for each self_upgrade() that began
 * @refusal:  why everything is as it was, a text for people; or NULL: the keeper is of the new version. Then this is the
 *            last chance to answer: the agent ends SELF_LAST_WORDS_MS later
 */
typedef void self_ended(void *userdata, const char *refusal);

enum { SELF_LAST_WORDS_MS = 100 };

struct self {
        bool asked;        /* this agent has begun it */
        self_ended *ended; /* or NULL */
        void *userdata;
        ev_timer last_words;
};

/**
 * self_upgrade() - have the keeper and this agent replaced by the version that is installed now
 * @path:  of the next `baton`, absolute; NULL: where the running one was started from
 *
 * Returns at once; it is tried for up to 10 s and nothing else waits for that. An agent that dies meanwhile takes the
 * callback with it, not the upgrade.
 *
 * Return: 0, and @ended will be called; -errno with @reterr for people: refused, it will not.
 */
int self_upgrade(struct agent *a, const char *path, self_ended *ended, void *userdata, char *reterr, size_t size);

/** self_told() - the keeper has said how it ended; @refusal is "" if it did as was asked */
void self_told(struct agent *a, const char *refusal);

/** self_report() - an agent begins: say so if it is the first of a new version */
void self_report(const struct agent *a);

/** self_try() - the whole life of `baton-agent --try`: could this version go on from here? Return: its exit status */
int self_try(int argc, char **argv);
