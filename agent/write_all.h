/* SPDX-License-Identifier: MIT */
/* All of it, however many calls that takes. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

/* Return: 0; -errno, and an unknown part was written */
static inline int write_all(int fd, const char *p, size_t n)
{
        while (n > 0) {
                ssize_t m = write(fd, p, n);

                if (m < 0 && errno == EINTR)
                        continue;
                if (m < 0)
                        return -errno;
                p += m;
                n -= (size_t)m;
        }
        return 0;
}
