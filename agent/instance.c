/* SPDX-License-Identifier: MIT */
/* See instance.h. */
#include "agent/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/cleanup.h"

/* RUN_DIR/eNNNNNNNNNN/s must leave room for the longest suffix of a socket name. */
enum { TAIL_BYTES = sizeof("/e4294967295/s") - 1, SOCKET_PATH_MAX = 85, RUN_DIR_MAX = SOCKET_PATH_MAX - TAIL_BYTES };

static void add(struct instance_candidates *c, const char *base, const char *middle, const char *name)
{
        int n;

        if (!base || !*base || c->n == INSTANCE_CANDIDATES_MAX)
                return;
        n = snprintf(c->paths[c->n], INSTANCE_PATH_BYTES, "%s%s%s", base, middle, name);
        if (n > 0 && n < INSTANCE_PATH_BYTES)
                c->n++;
}

/* systemd lists all that the unit asks for, with colons: ours is the first. */
static void add_runtime_directory(struct instance_candidates *c, const char *list)
{
        char first[INSTANCE_PATH_BYTES];
        size_t n = list ? strcspn(list, ":") : 0;

        if (n >= sizeof(first))
                return;
        (void)snprintf(first, sizeof(first), "%.*s", (int)n, list ? list : "");
        add(c, first, "", "");
}

void instance_candidates(const char *run_dir, const char *name, struct instance_candidates *ret)
{
        char tmp[64];
        const char *from_environment = getenv("BATON_RUN_DIR"), *named = getenv("BATON_NAME");

        *ret = (struct instance_candidates){ 0 };
        if (!name || !*name)
                name = named && *named ? named : "default";
        if (run_dir && *run_dir) {
                add(ret, run_dir, "", "");
                ret->explicit_first = 1;
                return;
        }
        if (from_environment && *from_environment) {
                add(ret, from_environment, "", "");
                ret->explicit_first = 1;
                return;
        }
        add_runtime_directory(ret, getenv("RUNTIME_DIRECTORY"));
        add(ret, "/run", "/baton/", name);
        add(ret, getenv("XDG_RUNTIME_DIR"), "/baton/", name);
        (void)snprintf(tmp, sizeof(tmp), "/tmp/baton-%u/", (unsigned)geteuid());
        add(ret, tmp, "", name);
}

/* The folders above are made as well, but only those that are missing. */
static int make_folders(const char *path)
{
        char part[INSTANCE_PATH_BYTES];

        (void)snprintf(part, sizeof(part), "%s", path);
        for (char *p = part + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                if (mkdir(part, 0755) < 0 && errno != EEXIST)
                        return -errno;
                *p = '/';
        }
        return mkdir(part, 0711) < 0 && errno != EEXIST ? -errno : 0;
}

/* In /tmp anybody may have been there first. */
static int check_owner(const char *path)
{
        char parent[INSTANCE_PATH_BYTES];
        struct stat st;
        char *slash;

        if (strncmp(path, "/tmp/baton-", 11) != 0)
                return 0;
        (void)snprintf(parent, sizeof(parent), "%s", path);
        slash = strchr(parent + 5, '/');
        if (slash)
                *slash = '\0';
        if (lstat(parent, &st) < 0)
                return -errno;
        return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : -EPERM;
}

static int try_one(const char *path, int *ret_lock)
{
        CLEANUP(close_fd) int fd = -1;
        struct stat st;
        int r = make_folders(path);

        if (r == 0)
                r = check_owner(path);
        if (r < 0)
                return r;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid())
                return -EACCES;
        if (access(path, W_OK) < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? INSTANCE_E_TAKEN : -errno;
        if (fchmod(fd, 0711) < 0)
                return -errno;
        *ret_lock = TAKE_FD(fd);
        return 0;
}

static int too_long(const char *path, struct instance_error *e)
{
        (void)snprintf(e->text, sizeof(e->text),
                       "run directory %.160s has %zu characters: at most %d leave room for the proxy's socket names; use a shorter one", path,
                       strlen(path), RUN_DIR_MAX);
        return INSTANCE_E_USAGE;
}

/* Envoy and our clients may have another working directory, so only a whole path will do; its own spelling if that fits. */
static int whole_path(const char *path, char *ret_dir, size_t size, struct instance_error *e)
{
        char real[PATH_MAX];

        if (!realpath(path, real)) {
                (void)snprintf(e->text, sizeof(e->text), "run directory %s cannot be used: %s", path, strerror(errno));
                return INSTANCE_E_NONE;
        }
        if (strlen(real) <= RUN_DIR_MAX)
                path = real;
        else if (*path != '/')
                return too_long(real, e);
        (void)snprintf(ret_dir, size, "%s", path);
        return 0;
}

int instance_create_and_lock(const char *run_dir, const char *name, char *ret_dir, size_t size, int *ret_lock,
                             struct instance_error *reterr)
{
        const char *given = run_dir && *run_dir ? run_dir : getenv("BATON_RUN_DIR");
        struct instance_candidates c;
        int r = -ENOENT;

        if (given && strlen(given) > RUN_DIR_MAX)
                return too_long(given, reterr);
        instance_candidates(run_dir, name, &c);
        (void)snprintf(reterr->text, sizeof(reterr->text), "no run directory can be used; give one with --run-dir");
        for (size_t i = 0; i < c.n; i++) {
                CLEANUP(close_fd) int lock = -1;

                r = strlen(c.paths[i]) <= RUN_DIR_MAX ? try_one(c.paths[i], &lock) : -ENAMETOOLONG;
                if (r == INSTANCE_E_TAKEN) {
                        (void)snprintf(reterr->text, sizeof(reterr->text),
                                       "run directory %s belongs to a running instance; stop it, or use another --name or --run-dir", c.paths[i]);
                        return r;
                }
                if (r == 0) {
                        r = whole_path(c.paths[i], ret_dir, size, reterr);
                        if (r == 0)
                                *ret_lock = TAKE_FD(lock);
                        return r;
                }
                if (c.explicit_first)
                        (void)snprintf(reterr->text, sizeof(reterr->text), "run directory %s cannot be used: %s", c.paths[i], strerror(-r));
        }
        return INSTANCE_E_NONE;
}

int instance_of_lock(int lock_fd, char *ret_dir, size_t size)
{
        char link[64];
        ssize_t n;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", lock_fd);
        n = readlink(link, ret_dir, size - 1);
        if (n < 0)
                return -errno;
        ret_dir[n] = '\0';
        return 0;
}

static int connect_to(const char *dir)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        CLEANUP(close_fd) int fd = -1;
        int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control.sock", dir);

        if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
                return -ENAMETOOLONG;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        return connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

int instance_find(const char *run_dir, const char *name, char *ret_dir, size_t size, struct instance_error *reterr)
{
        struct instance_candidates c;
        size_t at;

        instance_candidates(run_dir, name, &c);
        at = (size_t)snprintf(reterr->text, sizeof(reterr->text), "no instance of baton is running; tried");
        for (size_t i = 0; i < c.n; i++) {
                int r = connect_to(c.paths[i]);

                if (r == 0) {
                        (void)snprintf(ret_dir, size, "%s", c.paths[i]);
                        return 0;
                }
                if (at < sizeof(reterr->text))
                        at += (size_t)snprintf(reterr->text + at, sizeof(reterr->text) - at, "%s %s/control.sock (%s)", i ? "," : "",
                                               c.paths[i], strerror(-r));
        }
        return INSTANCE_E_NONE;
}
