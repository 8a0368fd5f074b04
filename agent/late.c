/* SPDX-License-Identifier: MIT */
/* See late.h. */
#define LATE_DEFINES
#include "agent/late.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/clock.h"
#include "agent/log.h"

struct late late;

enum { AGAIN_MS = 1000 };

/*
 * One library: not tried yet, there, or not there. A descriptor or the memory for it may have been lacking for a moment, and without
 * libcurl no proxy would ever be seen to accept: so it is tried again, but not more than once a second.
 */
struct library {
        const char *soname;
        bool there, said;
        struct mono again; /* not tried before */
        int answer;
};

static void missing(struct library *l)
{
        const char *error = dlerror();

        if (!l->said)
                log_event(LOG_ERR, "library.missing", F_STR("library", l->soname), F_STR("error", error));
        l->said = true;
}

static void *open_library(struct library *l)
{
        void *handle = dlopen(l->soname, RTLD_LAZY | RTLD_LOCAL);

        l->again = mono_after_ms(clock_now(), AGAIN_MS);
        l->there = handle;
        l->answer = handle ? 0 : -ELIBACC;
        if (!handle)
                missing(l);
        return handle;
}

/* POSIX wants a function's address to fit a void pointer; ISO C has no cast for it, so the bytes are copied. */
static void look_up(struct library *l, void *handle, const char *name, void *ret)
{
        void *address = handle ? dlsym(handle, name) : NULL;

        memcpy(ret, &address, sizeof(address));
        if (address || l->answer < 0)
                return;
        l->answer = -ELIBACC;
        missing(l);
}

#define LOOK_UP(f) look_up(&library, handle, #f, &late.f##_);
#define LOAD(name, list)                                                                                                  \
        static struct library library = { .soname = name };                                                               \
        if (!library.there && !mono_before(clock_now(), library.again)) {                                                 \
                void *handle = open_library(&library);                                                                    \
                                                                                                                          \
                list(LOOK_UP)                                                                                             \
        }                                                                                                                 \
        return library.answer

int late_curl(void)
{
        LOAD(BATON_CURL_SONAME, LATE_CURL);
}

int late_mhd(void)
{
        LOAD(BATON_MICROHTTPD_SONAME, LATE_MHD);
}

int late_journal(void)
{
        LOAD(BATON_SYSTEMD_SONAME, LATE_JOURNAL);
}
