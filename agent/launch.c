/* SPDX-License-Identifier: MIT */
/* See launch.h. The record is laid out in memory, checked by the keeper's own check, then sealed. */
#include "agent/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/write_all.h"

struct record_text {
        char *bytes; /* the record comes first */
        size_t n, room;
        int error;
};

static void text_done(struct record_text *t)
{
        free(t->bytes);
}

static bool text_grow(struct record_text *t, size_t more)
{
        size_t room = t->room;
        char *bytes;

        if (t->error)
                return false;
        if (more > LAUNCH_BYTES_MAX - t->n) {
                t->error = -E2BIG;
                return false;
        }
        while (room < t->n + more)
                room = room ? 2 * room : 4096;
        if (room == t->room)
                return true;
        bytes = realloc(t->bytes, room);
        if (!bytes) {
                t->error = -ENOMEM;
                return false;
        }
        t->bytes = bytes;
        t->room = room;
        return true;
}

/* Return: the offset of the string; errors are collected in t->error. */
static uint32_t text_add(struct record_text *t, const char *s)
{
        size_t n = s ? strlen(s) + 1 : 1;
        size_t at = t->n;

        if (!text_grow(t, n))
                return 0;
        memcpy(t->bytes + at, s ? s : "", n);
        t->n += n;
        return (uint32_t)at;
}

static uint32_t add_args(struct record_text *t, const struct launch *l, uint32_t *ret_n)
{
        uint32_t at = (uint32_t)t->n, n = 0;

        for (; l->argv && l->argv[n]; n++)
                (void)text_add(t, l->argv[n]);
        *ret_n = n;
        return at;
}

static bool is_listen_variable(const char *s)
{
        return strncmp(s, "LISTEN_", 7) == 0;
}

/* Replaces the NUL that ends the text, so that `s` goes on where the last string stopped. */
static void text_append(struct record_text *t, char separator, const char *s)
{
        if (t->error)
                return;
        t->n--;
        if (separator)
                t->bytes[t->n++] = separator;
        (void)text_add(t, s);
}

/* LISTEN_FDNAMES=a:b:c; a name with a colon in it would shift all behind it. */
static void add_listen_names(struct record_text *t, const struct launch *l)
{
        (void)text_add(t, "LISTEN_FDNAMES=");
        for (size_t i = 0; i < l->n_listen; i++) {
                const char *name = l->listen_names && l->listen_names[i] ? l->listen_names[i] : "unknown";

                if (strchr(name, ':') && !t->error)
                        t->error = -EINVAL;
                text_append(t, i ? ':' : 0, name);
        }
}

static uint32_t add_environment(struct record_text *t, const struct launch *l, uint32_t *ret_n)
{
        uint32_t at = (uint32_t)t->n, n = 0;
        char count[32];

        for (const char *const *e = l->envp; e && *e; e++) {
                if (is_listen_variable(*e))
                        continue;
                (void)text_add(t, *e);
                n++;
        }
        if (l->n_listen > 0) {
                (void)snprintf(count, sizeof(count), "LISTEN_FDS=%zu", l->n_listen);
                (void)text_add(t, count);
                add_listen_names(t, l);
                n += 2;
        }
        *ret_n = n;
        return at;
}

static int lay_out(const struct launch *l, struct record_text *t)
{
        struct launch_record r = {
                .magic = LAUNCH_MAGIC,
                .version = LAUNCH_VERSION,
                .flags = l->flags,
                .uid = l->uid,
                .gid = l->gid,
                .n_groups = (uint32_t)l->n_groups,
                .oom_score_adj = l->oom_score_adj,
                .n_listen = (uint32_t)l->n_listen,
                .nofile_soft = l->nofile_soft,
                .nofile_hard = l->nofile_hard,
        };

        if (l->n_groups > LAUNCH_GROUPS_MAX || l->n_listen > LAUNCH_LISTEN_MAX)
                return -EINVAL;
        if (!text_grow(t, sizeof(r)))
                return t->error;
        t->n = sizeof(r);
        for (size_t i = 0; i < l->n_groups; i++)
                r.groups[i] = l->groups[i];
        r.args = add_args(t, l, &r.n_args);
        r.env = add_environment(t, l, &r.n_env);
        r.path = text_add(t, l->path);
        r.binary = text_add(t, l->binary);
        r.cwd = text_add(t, l->cwd);
        r.out = text_add(t, l->out);
        r.err = text_add(t, l->err);
        for (size_t i = 0; i < l->n_listen; i++) {
                r.listen[i] = text_add(t, l->listen[i]);
                r.listen_name[i] = text_add(t, l->listen_names ? l->listen_names[i] : NULL);
        }
        r.bytes = (uint32_t)t->n;
        if (t->error)
                return t->error;
        memcpy(t->bytes, &r, sizeof(r));
        return launch_check(t->bytes, t->n);
}

int launch_seal(const struct launch *l, int *ret_fd)
{
        CLEANUP(text_done) struct record_text t = { 0 };
        CLEANUP(close_fd) int fd = -1;
        int r = lay_out(l, &t);

        if (r < 0)
                return r;
        fd = memfd_create("launch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        r = write_all(fd, t.bytes, t.n);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}
