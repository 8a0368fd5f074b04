/* SPDX-License-Identifier: MIT */
/* See interests.h. */
#include "agent/watch/interests.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40 };

void interests_done(struct interests *s)
{
        for (size_t i = 0; i < s->n; i++) {
                free(s->list[i].dir);
                free(s->list[i].name);
        }
        free(s->list);
        *s = INTERESTS_NULL;
}

static bool same_name(const char *a, const char *b)
{
        return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same(const struct interest *a, const struct interest *b)
{
        return a->target == b->target && a->content == b->content && strcmp(a->dir, b->dir) == 0 && same_name(a->name, b->name);
}

bool interests_same(const struct interests *a, const struct interests *b)
{
        if (a->n != b->n || a->full != b->full)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!same(&a->list[i], &b->list[i]))
                        return false;
        return true;
}

/* @ret_at: where it stands; the last slot if there is no room. Return: 0; -ENOMEM */
static int add(struct interests *s, const char *dir, const char *name, size_t target, size_t *ret_at)
{
        struct interest one = { .target = target, .content = !name };
        struct interest *list;

        for (*ret_at = 0; *ret_at < s->n; ++*ret_at)
                if (s->list[*ret_at].target == target && strcmp(s->list[*ret_at].dir, dir) == 0 && same_name(s->list[*ret_at].name, name))
                        return 0;
        if (s->n == INTERESTS_MAX) {
                s->full = true;
                *ret_at = s->n - 1;
                return 0;
        }
        list = reallocarray(s->list, s->n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        s->list = list;
        one.dir = strdup(dir);
        one.name = name ? strdup(name) : NULL;
        if (!one.dir || (name && !one.name)) {
                free(one.dir);
                free(one.name);
                return -ENOMEM;
        }
        s->list[s->n++] = one;
        return 0;
}

static void go_up(char *path)
{
        char *slash = strrchr(path, '/');

        if (slash)
                slash[slash == path] = '\0';
}

/* @dir "/" has its slash already. Return: false: too long for the system, so nothing can be there */
static bool join(char *ret, const char *dir, const char *name, size_t n)
{
        return snprintf(ret, PATH_MAX, "%s%s%.*s", dir, strcmp(dir, "/") == 0 ? "" : "/", (int)n, name) < PATH_MAX;
}

/* What is left of the way once a link has been read: where it leads to, and what stood behind it. */
static bool follow(char *left, char *here, const char *link, const char *behind)
{
        char target[PATH_MAX], rest[PATH_MAX];
        ssize_t n = readlink(link, target, sizeof(target) - 1);

        if (n < 0)
                return false;
        target[n] = '\0';
        (void)snprintf(rest, sizeof(rest), "%s", behind);
        if (*target == '/')
                (void)strcpy(here, "/");
        return snprintf(left, PATH_MAX, "%s/%s", target, rest) < PATH_MAX;
}

/*
 * From the root on, one entry at a time, as the kernel goes: each entry on the way may be replaced. Stops where something is
 * missing; what comes there is seen. Return: 1: @ret is where it leads to; 0: it leads to nothing now; -ENOMEM
 */
static int walk(struct interests *s, const char *path, size_t target, char ret[PATH_MAX])
{
        char left[PATH_MAX], next[PATH_MAX], name[NAME_MAX + 1];
        struct stat st;
        size_t at = 0;
        int links = 0, r;

        (void)strcpy(ret, "/");
        if (snprintf(left, sizeof(left), "%s", path) >= (int)sizeof(left))
                return 0;
        for (const char *p = left;;) {
                size_t n;

                p += strspn(p, "/");
                n = strcspn(p, "/");
                if (n == 0) {
                        if (s->n > 0)
                                s->list[at].content = true;
                        return 1;
                }
                if (n == 2 && strncmp(p, "..", 2) == 0) {
                        go_up(ret);
                } else if (n != 1 || *p != '.') {
                        if (n > NAME_MAX || !join(next, ret, p, n))
                                return 0;
                        (void)snprintf(name, sizeof(name), "%.*s", (int)n, p);
                        r = add(s, ret, name, target, &at);
                        if (r < 0)
                                return r;
                        if (lstat(next, &st) < 0)
                                return 0;
                        if (S_ISLNK(st.st_mode)) {
                                if (++links > LINKS_MAX || !follow(left, ret, next, p + n))
                                        return 0;
                                p = left;
                                continue;
                        }
                        (void)strcpy(ret, next);
                }
                p += n;
        }
}

static int add_entries(struct interests *s, const char *dir, size_t target, unsigned depth);

/* Of a directory: links lead elsewhere, and directories have entries of their own. */
static int add_entry(struct interests *s, const char *dir, const char *name, size_t target, unsigned depth)
{
        char path[PATH_MAX], end[PATH_MAX];
        struct stat st;
        int r;

        if (!join(path, dir, name, strlen(name)) || lstat(path, &st) < 0)
                return 0;
        if (S_ISDIR(st.st_mode))
                return add_entries(s, path, target, depth + 1);
        if (!S_ISLNK(st.st_mode))
                return 0;
        r = walk(s, path, target, end);
        if (r == 1 && stat(end, &st) == 0 && S_ISDIR(st.st_mode))
                return add_entries(s, end, target, depth + 1);
        return r < 0 ? r : 0;
}

static bool was_read(const struct interests *s, const char *dir, size_t target)
{
        for (size_t i = 0; i < s->n; i++)
                if (s->list[i].target == target && !s->list[i].name && strcmp(s->list[i].dir, dir) == 0)
                        return true;
        return false;
}

static int add_entries(struct interests *s, const char *dir, size_t target, unsigned depth)
{
        struct dirent *e;
        size_t at;
        DIR *d;
        int r;

        if (was_read(s, dir, target))
                return 0; /* links may lead in circles */
        if (depth > INTERESTS_DEPTH_MAX) {
                s->full = true; /* told, and looked at now and then */
                return 0;
        }
        r = add(s, dir, NULL, target, &at);
        d = r == 0 ? opendir(dir) : NULL;
        while (d && r == 0 && !s->full && (e = readdir(d)))
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        r = add_entry(s, dir, e->d_name, target, depth);
        if (d)
                closedir(d);
        return r;
}

int interests_add(struct interests *s, const char *path, size_t target)
{
        char absolute[PATH_MAX], end[PATH_MAX], cwd[PATH_MAX] = "";
        struct stat st;
        int r;

        if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
                return 0;
        if (snprintf(absolute, sizeof(absolute), "%s/%s", cwd, path) >= (int)sizeof(absolute))
                return 0;
        r = walk(s, absolute, target, end);
        if (r == 1 && lstat(end, &st) == 0 && S_ISDIR(st.st_mode))
                return add_entries(s, end, target, 0);
        return r < 0 ? r : 0;
}

bool interests_hit(const struct interests *s, size_t target, const char *dir, const char *name)
{
        for (size_t i = 0; i < s->n; i++) {
                const struct interest *one = &s->list[i];

                if (one->target == target && strcmp(one->dir, dir) == 0 && (!one->name || !*name || strcmp(one->name, name) == 0))
                        return true;
        }
        return false;
}
