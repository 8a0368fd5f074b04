/* SPDX-License-Identifier: MIT */
/* A set put where a proxy finds it: whole, or not at all. See certs.h. */
#include "certs/certs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_file(int dir_fd, const char *name, const struct certs_bytes *b, uid_t uid, gid_t gid)
{
        int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        int r = fd < 0 ? -errno : 0;

        for (size_t done = 0; r == 0 && done < b->n;) {
                ssize_t n = write(fd, b->data + done, b->n - done);

                if (n < 0 && errno != EINTR)
                        r = -errno;
                else if (n > 0)
                        done += (size_t)n;
        }
        if (r == 0 && (uid != geteuid() || gid != getegid()) && fchown(fd, uid, gid) < 0)
                r = -errno;
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        if (fd >= 0 && close(fd) < 0 && r == 0)
                r = -errno;
        return r;
}

void certs_remove(const char *path)
{
        DIR *d = opendir(path);

        if (!d)
                return;
        for (struct dirent *e; (e = readdir(d));)
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        (void)unlinkat(dirfd(d), e->d_name, 0);
        (void)closedir(d);
        (void)rmdir(path);
}

int certs_put(const char *path, const struct certs_set *s, uid_t uid, gid_t gid)
{
        int fd, r;

        certs_remove(path); /* what a try before this one left */
        if (mkdir(path, 0711) < 0)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        r = fd < 0 ? -errno : fchmod(fd, 0711) < 0 ? -errno : 0; /* whatever the umask says */
        if (r == 0)
                r = write_file(fd, s->names.chain, &s->chain, uid, gid);
        if (r == 0)
                r = write_file(fd, s->names.key, &s->key, uid, gid);
        if (r == 0 && s->has_root)
                r = write_file(fd, s->names.root, &s->root, uid, gid);
        if (fd >= 0)
                (void)close(fd);
        if (r < 0)
                certs_remove(path);
        return r;
}

/* By a rename, so that there is always one or the other. */
static int link_to(int dir_fd, const char *target, const char *name)
{
        static const char temporary[] = "..new";

        (void)unlinkat(dir_fd, temporary, 0);
        if (symlinkat(target, dir_fd, temporary) < 0)
                return -errno;
        return renameat(dir_fd, temporary, dir_fd, name) < 0 ? -errno : 0;
}

static bool leads_to(int dir_fd, const char *name, const char *target)
{
        char now[CERTS_NAME_BYTES + 16];
        ssize_t n = readlinkat(dir_fd, name, now, sizeof(now));

        return n == (ssize_t)strlen(target) && memcmp(now, target, (size_t)n) == 0;
}

int certs_point(const char *dir, const char *version, const struct certs_names *names)
{
        const char *const all[] = { names->chain, names->key, names->root };
        char target[CERTS_NAME_BYTES + 16];
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = fd < 0 ? -errno : 0;

        for (size_t i = 0; r == 0 && i < 3; i++) {
                (void)snprintf(target, sizeof(target), "..data/%s", all[i]);
                if (*all[i] && !leads_to(fd, all[i], target))
                        r = link_to(fd, target, all[i]);
        }
        if (r == 0)
                r = link_to(fd, version, "..data"); /* last: who watches the directory finds all of it */
        if (fd >= 0)
                (void)close(fd);
        return r;
}
