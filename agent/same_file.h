/* SPDX-License-Identifier: MIT */
/* Is a file still the one that it was? Another inode, or the same one written to since, is another. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

/* Links are followed. All 0: it is not there. */
static inline struct stat file_at(const char *path)
{
        struct stat st;

        return path && stat(path, &st) == 0 ? st : (struct stat){ .st_ino = 0 };
}

static inline bool same_file(const struct stat *a, const struct stat *b)
{
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}
