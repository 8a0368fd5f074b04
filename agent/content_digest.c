/* SPDX-License-Identifier: MIT */
/* See content_digest.h. */
#include "agent/content_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "agent/cleanup.h"

enum { BYTES_MAX = 64 * 1024 * 1024, DEPTH_MAX = 16 };

struct sum {
        EVP_MD_CTX *c;
        size_t left;
        bool failed;
};

static void put(struct sum *s, const void *p, size_t n)
{
        s->failed |= !EVP_DigestUpdate(s->c, p, n);
}

/* With its NUL, or a name and the bytes behind it could pass for another name. */
static void put_word(struct sum *s, const char *word)
{
        put(s, word, strlen(word) + 1);
}

static void put_number(struct sum *s, uint64_t n)
{
        put(s, &n, sizeof(n));
}

static void put_file(struct sum *s, const char *path)
{
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        char buf[16 * 1024];
        uint64_t bytes = 0;
        ssize_t n = 0;

        while (fd >= 0 && s->left > 0 && (n = read(fd, buf, sizeof(buf) < s->left ? sizeof(buf) : s->left)) > 0) {
                put(s, buf, (size_t)n);
                s->left -= (size_t)n;
                bytes += (uint64_t)n;
        }
        if (fd < 0 || n < 0) /* what is ours to blame says nothing about the content */
                s->failed |= errno != ENOENT && errno != EACCES && errno != ELOOP && errno != EISDIR;
        put_number(s, bytes);
        put_number(s, fd < 0 || n < 0 ? (uint64_t)errno : 0);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
        return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* A volume of Kubernetes holds each file twice: as a link, and in the directory that it leads to. The former will do. */
static bool is_version(const FTSENT *e)
{
        return e->fts_level > 0 && strncmp(e->fts_name, "..", 2) == 0;
}

static void put_path(struct sum *s, const char *path)
{
        char *const paths[] = { (char *)path, NULL }; /* fts takes it so, and changes nothing */
        FTS *tree = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name);
        FTSENT *e;

        while (tree && (e = fts_read(tree))) {
                if (e->fts_info == FTS_DP)
                        continue;
                if (is_version(e) || e->fts_level > DEPTH_MAX) {
                        (void)fts_set(tree, e, FTS_SKIP);
                        continue;
                }
                put_word(s, e->fts_level > 0 ? e->fts_name : "");
                put_number(s, (uint64_t)e->fts_level);
                if (e->fts_info == FTS_F)
                        put_file(s, e->fts_accpath);
                else
                        put_number(s, (uint64_t)e->fts_info);
        }
        s->failed |= !tree;
        if (tree)
                (void)fts_close(tree);
}

struct digest content_digest(const char *const *paths, size_t n, const struct digest *more, size_t n_more)
{
        struct sum s = { .c = EVP_MD_CTX_new(), .left = BYTES_MAX };
        struct digest d = { { 0 } };

        s.failed = !s.c || !EVP_DigestInit_ex(s.c, EVP_sha256(), NULL);
        for (size_t i = 0; i < n && !s.failed; i++) {
                put_number(&s, i);
                put_path(&s, paths[i]);
        }
        if (!s.failed && n_more > 0)
                put(&s, more, n_more * sizeof(*more));
        if (s.failed || !EVP_DigestFinal_ex(s.c, d.bytes, NULL))
                d = (struct digest){ { 0 } };
        EVP_MD_CTX_free(s.c);
        return d;
}
