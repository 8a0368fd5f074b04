/* SPDX-License-Identifier: MIT */
/*
 * The certificate sets of --certs: each is looked at when its directory may have changed, judged, and if it is good copied to
 *
 *   RUN_DIR/certs/<n>/      the checked copy, by a number that rises; readable for the proxy alone
 *   RUN_DIR/certs/current.<i>, dir.<i>   links: the copy that counts for the i-th --certs, and its directory
 *   RUN_DIR/certs/NAME/     --certs-mode=publish: links to the copy, NAME being the last part of the directory's path
 *
 * The last good copy counts, over the death of agents too, until a better set comes. Restart mode: the paths in the config lead to
 * the copies, so a new copy is other content and an upgrade follows (watching.c). Publish mode: Envoy's file SDS reads it anew.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/certs_option.h"
#include "agent/digest.h"
#include "agent/json.h"
#include "agent/rewrite.h"

enum { CERT_SETS_MAX = 8 };

struct agent;
struct metrics_writer;

struct cert_slot {
        struct certs_option option;
        struct certs_names names; /* of the copy */
        uint64_t n;               /* number of the copy; 0: there is none */
        char path[512];           /* its folder */
        struct digest digest;
        struct certs_facts facts;
        char refused[1024];       /* why what lies there now is not taken; "": it is, or nothing was seen yet */
        size_t warned;            /* of its end */
};

struct cert_sets {
        size_t n;
        struct cert_slot slots[CERT_SETS_MAX];
        struct rewrite rules[CERT_SETS_MAX]; /* restart mode */
        size_t n_rules;
        uint64_t last;            /* the highest number */
        uint64_t swept;           /* up to this one nothing is left */
        int days[CERTS_WARN_MAX];
        size_t n_days;
};

/** cert_sets_init() - from the options, before a run directory is taken. Return: 0; 1: @reterr says which option is wrong */
int cert_sets_init(struct agent *a, struct certs_error *reterr);

/** cert_sets_open() - in the run directory: what the agent before this one had taken counts. Return: 0; -errno */
int cert_sets_open(struct agent *a);

/** cert_sets_look() - at all directories, now; blocks for reading them */
void cert_sets_look(struct agent *a);

/** cert_sets_take() - another directory's set counts, if it is good now. Return: does it? */
bool cert_sets_take(struct agent *a, size_t i, const char *dir, const struct certs_names *names);

/** cert_sets_lack() - is there a set for each? Return: NULL, or why not: valid until the next look */
const char *cert_sets_lack(const struct agent *a);

/** cert_sets_lowest() - the lowest number of those that a config read now leads to; 0: to none */
uint64_t cert_sets_lowest(const struct agent *a);

/** cert_sets_digests() - what of them is content: nothing in publish mode. Return: how many */
size_t cert_sets_digests(const struct agent *a, struct digest ret[CERT_SETS_MAX]);

/** cert_sets_sweep() - copies that no epoch, and no later one, will need */
void cert_sets_sweep(struct agent *a);

void cert_sets_remove(struct agent *a); /* all of it: the instance ends */
bool cert_sets_stale(const struct agent *a);
void cert_sets_status(const struct agent *a, struct json_writer *w);
void cert_sets_metrics(const struct agent *a, struct metrics_writer *w);
