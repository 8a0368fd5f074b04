/* SPDX-License-Identifier: MIT */
/* See late.h. */
#define LATE_DEFINES
#include "agent/late.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/log.h"

struct late late;

/* One library: not tried yet, there, or not there. */
struct library {
        const char *soname;
        bool tried;
        int answer;
};

static void *open_library(struct library *l)
{
        void *handle = dlopen(l->soname, RTLD_LAZY | RTLD_LOCAL);

        l->tried = true;
        l->answer = handle ? 0 : -ELIBACC;
        if (!handle)
                log_event(LOG_ERR, "library.missing", F_STR("library", l->soname), F_STR("error", dlerror()));
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
        log_event(LOG_ERR, "library.missing", F_STR("library", l->soname), F_STR("error", dlerror()));
}

#define LOOK_UP(f) look_up(&library, handle, #f, &late.f##_);
#define LOAD(name, list)                                                                                                  \
        static struct library library = { .soname = name };                                                               \
        if (!library.tried) {                                                                                             \
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
