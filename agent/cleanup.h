/* SPDX-License-Identifier: MIT */
/* Who owns what: CLEANUP() frees a local on every way out of its block, TAKE() hands it on before that. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define TAKE(p)                                                                                                        \
        ({                                                                                                            \
                __typeof__(p) taken_ = (p);                                                                           \
                (p) = NULL;                                                                                           \
                taken_;                                                                                               \
        })
#define TAKE_FD(fd)                                                                                                    \
        ({                                                                                                            \
                int taken_ = (fd);                                                                                    \
                (fd) = -1;                                                                                            \
                taken_;                                                                                               \
        })

static inline void close_fd(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
}

static inline void free_ptr(void *p)
{
        void **pp = (void **)p;

        free(*pp);
        *pp = NULL;
}

static inline void free_strv(char ***v)
{
        for (char **s = *v; s && *s; s++)
                free(*s);
        free(*v);
        *v = NULL;
}
