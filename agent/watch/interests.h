/* SPDX-License-Identifier: MIT */
/*
 * What must be watched so that a change of some paths is not missed: every directory on the way to them in which an entry could be
 * replaced, through all symbolic links, whether what they lead to exists or not.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum { INTERESTS_MAX = 2048, INTERESTS_DEPTH_MAX = 8 };

struct interest {
        char *dir;     /* without links in it */
        char *name;    /* an entry of it; NULL: any */
        size_t target; /* which path it is about */
        bool gone;     /* for its user: whoever watched the directory has to do so again */
        int told;      /* for its user: what the watch of the directory was set to; 0: there is none, or another interest has it */
        bool content;  /* what is written to the entry matters; else only that it comes, goes or is replaced */
};

struct interests {
        struct interest *list;
        size_t n;
        bool full; /* there would be more than INTERESTS_MAX */
};

#define INTERESTS_NULL ((struct interests){ .n = 0 })

/** interests_add() - all that @path depends on now. A directory: its entries, and those below. Return: 0; -ENOMEM */
int interests_add(struct interests *s, const char *path, size_t target);

/** interests_hit() - does an event in @dir at @name concern the target? An empty name is the directory itself */
bool interests_hit(const struct interests *s, size_t target, const char *dir, const char *name);

/** interests_same() - in what is to be watched, and for whom */
bool interests_same(const struct interests *a, const struct interests *b);

void interests_done(struct interests *s);
