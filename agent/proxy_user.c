/* SPDX-License-Identifier: MIT */
/* See proxy_user.h. */
#include "agent/proxy_user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/cleanup.h"

static int __attribute__((format(printf, 2, 3))) refuse(struct proxy_user_error *e, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(e->text, sizeof(e->text), format, ap);
        va_end(ap);
        return PROXY_USER_E_REFUSED;
}

/* ---- the user database ------------------------------------------------------------------------------ */

/* The greatest number means "nobody in particular" to the kernel. */
static bool is_id(const char *text, uint32_t *ret)
{
        char *end;
        unsigned long long n;

        if (*text < '0' || *text > '9')
                return false;
        errno = 0;
        n = strtoull(text, &end, 10);
        if (*end || errno || n >= UINT32_MAX)
                return false;
        *ret = (uint32_t)n;
        return true;
}

static const char *why(int error)
{
        return error ? strerror(error) : "there is none";
}

static int find_user(const char *name, struct proxy_user *u, const char **ret_name, struct proxy_user_error *e)
{
        const struct passwd *p;

        errno = 0;
        if (is_id(name, &u->uid)) {
                p = getpwuid(u->uid);
                u->gid = p ? p->pw_gid : u->uid;
                *ret_name = p ? p->pw_name : NULL;
                return 0;
        }
        p = getpwnam(name);
        if (!p)
                return refuse(e, "cannot find user '%s': %s", name, why(errno));
        u->uid = p->pw_uid;
        u->gid = p->pw_gid;
        *ret_name = p->pw_name;
        return 0;
}

static int find_group(const char *name, struct proxy_user *u, struct proxy_user_error *e)
{
        const struct group *g;

        if (is_id(name, &u->gid))
                return 0;
        errno = 0;
        g = getgrnam(name);
        if (!g)
                return refuse(e, "cannot find group '%s': %s", name, why(errno));
        u->gid = g->gr_gid;
        return 0;
}

static int find_groups(const char *name, struct proxy_user *u, struct proxy_user_error *e)
{
        int n = PROXY_GROUPS_MAX;

        if (getgrouplist(name, u->gid, u->groups, &n) < 0)
                return refuse(e, "user '%s' is in more than %d groups: run the proxy as one that is in fewer", name, PROXY_GROUPS_MAX);
        u->n_groups = (uint32_t)n;
        return 0;
}

static int look_up(const char *text, struct proxy_user *u, struct proxy_user_error *e)
{
        CLEANUP(free_ptr) char *user = strdup(text);
        char *group = user ? strchr(user, ':') : NULL;
        const char *name = NULL;
        int r;

        if (!user)
                return refuse(e, "%s", strerror(ENOMEM));
        if (group)
                *group++ = '\0';
        if (!*user || (group && !*group))
                return refuse(e, "'%s' is not a USER, UID, USER:GROUP or UID:GID", text);
        r = find_user(user, u, &name, e);
        if (r == 0 && group)
                r = find_group(group, u, e);
        return r == 0 && name ? find_groups(name, u, e) : r;
}

/* ---- is it ours to give? ---------------------------------------------------------------------------- */

static const struct {
        int number;
        const char *name;
        bool not_root; /* root does without: /dev/shm is its own */
} needed[] = {
        { CAP_SETUID, "CAP_SETUID", false },
        { CAP_SETGID, "CAP_SETGID", false },
        { CAP_CHOWN, "CAP_CHOWN", false },
        { CAP_KILL, "CAP_KILL", false },
        { CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", false },
        { CAP_FOWNER, "CAP_FOWNER", true },
};

static uint64_t capabilities(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

        if (syscall(SYS_capget, &header, data) < 0)
                return UINT64_MAX; /* whatever is missing will say so itself */
        return data[0].effective | (uint64_t)data[1].effective << 32;
}

static int check_rights(struct proxy_user_error *e)
{
        uint64_t have = capabilities();
        char missing[128] = "";
        size_t n = 0;

        for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
                if (!(have & UINT64_C(1) << needed[i].number) && !(needed[i].not_root && geteuid() == 0))
                        n += (size_t)snprintf(missing + n, sizeof(missing) - n, "%s%s", n ? ", " : "", needed[i].name);
        if (n == 0)
                return 0;
        if (geteuid() != 0 && !(have & UINT64_C(1) << CAP_SETUID))
                return refuse(e, "baton runs as uid %u, and only root may run the proxy as somebody else: start baton as root, or as that user and "
                                 "without this option", (unsigned)geteuid());
        return refuse(e, "to run the proxy as somebody else baton lacks %s: let it have that, or start it as that user and without this option", missing);
}

int proxy_user_resolve(const char *text, struct proxy_user *ret, struct proxy_user_error *reterr)
{
        struct proxy_user u = { 0 };
        int r = *text ? look_up(text, &u, reterr) : 0;

        u.other = *text && (u.uid != geteuid() || u.gid != getegid());
        if (r == 0 && u.other)
                r = check_rights(reterr);
        if (r == 0)
                *ret = u;
        return r;
}

/* ---- to be it --------------------------------------------------------------------------------------- */

int proxy_user_become(const struct proxy_user *u)
{
        if (!u->other)
                return 0;
        if (setgroups(u->n_groups, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 || setresuid(u->uid, u->uid, u->uid) < 0)
                return -errno;
        (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* between two users without uid 0 the kernel lets them be */
        return 0;
}

/* Of this thread alone: the C library would do it for all. */
static void set_groups(size_t n, const gid_t *groups)
{
        (void)syscall(SYS_setgroups, n, groups);
}

struct proxy_user_view proxy_user_view(const struct proxy_user *u)
{
        struct proxy_user_view v = { .entered = u->other };

        if (!u->other)
                return v;
        v.n_groups = getgroups(PROXY_GROUPS_MAX, v.groups);
        if (v.n_groups >= 0)
                set_groups(u->n_groups, u->groups);
        v.dumpable = prctl(PR_GET_DUMPABLE);
        v.gid = (gid_t)setfsgid(u->gid);
        v.uid = (uid_t)setfsuid(u->uid);
        return v;
}

void proxy_user_leave(struct proxy_user_view *v)
{
        int error = errno; /* of what was done in between */

        if (!v->entered)
                return;
        v->entered = false;
        (void)setfsuid(v->uid);
        (void)setfsgid(v->gid);
        if (v->n_groups >= 0)
                set_groups((size_t)v->n_groups, v->groups);
        if (v->dumpable == 1)
                (void)prctl(PR_SET_DUMPABLE, 1); /* the kernel takes it away with each change of who opens files */
        errno = error;
}

int proxy_user_reaches(const struct proxy_user *u, const char *folder)
{
        AS_THE_PROXY(u);
        CLEANUP(close_fd) int fd = -1;
        char inside[4096];

        if (snprintf(inside, sizeof(inside), "%s/.", folder) >= (int)sizeof(inside))
                return -ENAMETOOLONG;
        fd = open(inside, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : 0;
}
