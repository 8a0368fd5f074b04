/* SPDX-License-Identifier: MIT */
/* See program.h. */
#include "agent/keeper/program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
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
