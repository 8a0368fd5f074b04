/* SPDX-License-Identifier: MIT */
/*
 * What goes of a launch kit: names, folder, segment and snapshot, also those that an earlier agent has left. See kit.h. Nothing
 * here fails: what cannot be removed now can still be found by its name.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kit_parts.h"

enum { ENTRIES_MAX = 10000 };

/* The folder is the proxy's, and a broken one may have made anything in it: no link is followed. @fd is taken. */
static void empty_folder(int fd, int depth)
{
        unsigned left = ENTRIES_MAX;
        DIR *d = fdopendir(fd);

        if (!d) {
                (void)close(fd);
                return;
        }
        /* Ours first, so that nobody adds while we remove; and not for ever. */
        if (fchown(fd, geteuid(), (gid_t)-1) < 0 || fchmod(fd, 0700) < 0)
                errno = 0;
        for (struct dirent *e; left > 0 && (e = readdir(d)); left--) {
                int in;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || unlinkat(dirfd(d), e->d_name, 0) == 0 || depth == 0)
                        continue;
                in = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (in >= 0)
                        empty_folder(in, depth - 1);
                (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        }
        closedir(d);
}

static void remove_folder(const char *path)
{
        enum { DEEPEST = 16 };
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return;
        empty_folder(fd, DEEPEST);
        (void)rmdir(path);
}

static void remove_snapshots(const char *run_dir, uint64_t epoch)
{
        char prefix[48];
        size_t n = (size_t)snprintf(prefix, sizeof(prefix), "envoy-rev%" PRIu64 ".", epoch);
        DIR *d = opendir(run_dir);

        if (!d)
                return;
        for (struct dirent *e; (e = readdir(d));)
                if (strncmp(e->d_name, prefix, n) == 0 ||
                    (strncmp(e->d_name, prefix, n - 1) == 0 && e->d_name[n - 1] == '\0'))
                        (void)unlinkat(dirfd(d), e->d_name, 0);
        closedir(d);
}

void kit_remove_segment(const char *run_dir, uint64_t epoch, uint64_t base_id)
{
        char path[PATH_MAX];

        if (base_id)
                (void)hr_segment_remove(base_id);
        if (kit_id_path(run_dir, epoch, path, sizeof(path)) == 0)
                (void)unlink(path);
}

void kit_forget_process(const char *run_dir, uint64_t epoch)
{
        uint64_t base_id = 0;
        char path[PATH_MAX];
        int r = kit_base_id(run_dir, epoch, &base_id);

        if (kit_path(path, sizeof(path), run_dir, "e", epoch, "") == 0)
                remove_folder(path);
        if (r == 0 || r == -EINVAL) /* else it may name a segment: it stays until it can be read */
                kit_remove_segment(run_dir, epoch, base_id);
}

void kit_forget(const char *run_dir, uint64_t epoch)
{
        remove_snapshots(run_dir, epoch); /* before the number: what an agent that dies in between leaves, the next one sweeps by it */
        kit_forget_process(run_dir, epoch);
}

/* "e12", "e12.id", "envoy-rev12.yaml": the number, or false. */
static bool epoch_of_name(const char *name, uint64_t *ret)
{
        const char *digits = strncmp(name, "envoy-rev", 9) == 0 ? name + 9 : name[0] == 'e' ? name + 1 : NULL;
        char *end;

        if (!digits || *digits < '0' || *digits > '9')
                return false;
        *ret = strtoull(digits, &end, 10);
        return *end == '\0' || *end == '.';
}

void kit_sweep(const char *run_dir, bool (*known)(void *userdata, uint64_t epoch), void *userdata)
{
        DIR *d = opendir(run_dir);
        uint64_t epoch;

        if (!d)
                return;
        for (struct dirent *e; (e = readdir(d));) {
                char aside[PATH_MAX];

                if (strstr(e->d_name, KIT_LEFT) && snprintf(aside, sizeof(aside), "%s/%s", run_dir, e->d_name) < (int)sizeof(aside))
                        remove_folder(aside);
                else if (epoch_of_name(e->d_name, &epoch) && !known(userdata, epoch))
                        kit_forget(run_dir, epoch);
        }
        closedir(d);
}
