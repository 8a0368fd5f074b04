/* SPDX-License-Identifier: MIT */
/* See program.h. */
#include "agent/keeper/program.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

int program_path(const char *name, char *ret_path, size_t size)
{
        static const char *const places[] = { "../libexec/baton/", "" };
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash;

        if (n < 0)
                return -errno;
        self[n] = 0;
        slash = strrchr(self, '/');
        if (!slash)
                return -ENOENT;
        slash[1] = 0;
        for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
                int m = snprintf(ret_path, size, "%s%s%s", self, places[i], name);

                if (m < 0 || (size_t)m >= size)
                        return -ENAMETOOLONG;
                if (access(ret_path, X_OK) == 0)
                        return 0;
        }
        return -ENOENT;
}

static bool is_this(const char *path)
{
        struct stat there, ours;

        return stat(path, &there) == 0 && stat("/proc/self/exe", &ours) == 0 && there.st_dev == ours.st_dev &&
               there.st_ino == ours.st_ino;
}

/* Whoever was executed by descriptor, or by an interpreter, has no path but the resolved one. */
int program_self(char *ret_path, size_t size)
{
        const char *given = (const char *)getauxval(AT_EXECFN);
        char folder[PATH_MAX];
        ssize_t n;
        int m = -1;

        if (given && *given == '/')
                m = snprintf(ret_path, size, "%s", given);
        else if (given && getcwd(folder, sizeof(folder)))
                m = snprintf(ret_path, size, "%s/%s", folder, given);
        if (m > 0 && (size_t)m < size && is_this(ret_path))
                return 0;
        n = readlink("/proc/self/exe", ret_path, size);
        if (n < 0)
                return -errno;
        if ((size_t)n == size)
                return -ENAMETOOLONG;
        ret_path[n] = 0;
        return 0;
}
