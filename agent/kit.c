/* SPDX-License-Identifier: MIT */
/* What a launch kit is called, and how it is made. See kit.h; what removes it is in kit_forget.c, its launch record in kit_record.c. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/effects.h"
#include "agent/expand.h"
#include "agent/kit_parts.h"
#include "agent/write_all.h"

enum { FILE_BYTES_MAX = 64 * 1024 * 1024, BASE_ID_TRIES = 100 };

int kit_path(char *ret, size_t size, const char *run_dir, const char *prefix, uint64_t epoch, const char *tail)
{
        int n = snprintf(ret, size, "%s/%s%" PRIu64 "%s", run_dir, prefix, epoch, tail);

        return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

const char *kit_extension(const char *path)
{
        const char *base = path ? strrchr(path, '/') : NULL;
        const char *dot;

        base = base ? base + 1 : path;
        dot = base ? strrchr(base, '.') : NULL;
        return dot && dot != base ? dot : "";
}

int kit_snapshot_path(const struct kit_maker *m, uint64_t epoch, char *ret, size_t size)
{
        char extension[16];

        (void)snprintf(extension, sizeof(extension), "%s", kit_extension(m->args->config_path)); /* a long one is cut */
        return kit_path(ret, size, m->run_dir, "envoy-rev", epoch, extension);
}

int kit_socket_path(const char *run_dir, uint64_t epoch, char *ret, size_t size)
{
        return kit_path(ret, size, run_dir, "e", epoch, "/s");
}

int kit_admin_path(const char *run_dir, uint64_t epoch, char *ret, size_t size)
{
        return kit_path(ret, size, run_dir, "e", epoch, "/admin");
}

int kit_id_path(const char *run_dir, uint64_t epoch, char *ret, size_t size)
{
        return kit_path(ret, size, run_dir, "e", epoch, ".id");
}

void kit_done(struct kit *k)
{
        close_fd(&k->record_fd);
        close_fd(&k->parent_fd);
        close_fd(&k->child_fd);
        close_fd(&k->udp_fd);
        close_fd(&k->notify_fd);
}

/* ---- files ------------------------------------------------------------------------------------------ */

int kit_read_file(const char *path, char **ret_text, size_t *ret_bytes)
{
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        CLEANUP(free_ptr) char *text = NULL;
        struct stat st;
        size_t have = 0;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (st.st_size > FILE_BYTES_MAX)
                return -EFBIG;
        text = malloc((size_t)st.st_size + 1);
        if (!text)
                return -ENOMEM;
        while (have < (size_t)st.st_size) {
                ssize_t n = read(fd, text + have, (size_t)st.st_size - have);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break; /* it was cut while we read: what is there is what there is */
                have += (size_t)n;
        }
        text[have] = '\0';
        *ret_bytes = have;
        *ret_text = TAKE(text);
        return 0;
}

/* @gid: of the group that may read it; -1: ours */
static int write_new_file(const char *path, mode_t mode, gid_t gid, const char *text, size_t n)
{
        CLEANUP(close_fd) int fd = -1;
        int r;

        (void)unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return -errno;
        r = (gid != (gid_t)-1 && fchown(fd, (uid_t)-1, gid) < 0) || fchmod(fd, mode) < 0 ? -errno : write_all(fd, text, n);
        if (r < 0)
                (void)unlink(path);
        return r;
}

/* ---- what comes ------------------------------------------------------------------------------------- */

int kit_read_snapshot(const struct kit_maker *m, uint64_t epoch, char **ret_text, size_t *ret_bytes)
{
        char path[PATH_MAX];
        int r = m->args->config_path ? kit_snapshot_path(m, epoch, path, sizeof(path)) : -ENOENT;

        return r < 0 ? r : kit_read_file(path, ret_text, ret_bytes);
}

static int read_and_expand(const char *path, char *const *environment, char **ret_text, size_t *ret_bytes, char *reterr, size_t reterr_size)
{
        CLEANUP(free_ptr) char *text = NULL;
        struct expand_error e;
        size_t n;
        int r = kit_read_file(path, &text, &n);

        if (r < 0) {
                (void)snprintf(reterr, reterr_size, "cannot read config %s: %s", path, r == -EINVAL ? "not a regular file" : strerror(-r));
                return KIT_E_CONFIG;
        }
        if (!environment) {
                *ret_text = TAKE(text);
                *ret_bytes = n;
                return 0;
        }
        r = expand_env(text, n, environment, ret_text, ret_bytes, &e);
        if (r > 0)
                (void)snprintf(reterr, reterr_size, "%s:%u: %s", path, e.line, e.text);
        return r > 0 ? KIT_E_CONFIG : r;
}

int kit_read_config(const char *path, char *const *environment, const struct rewrite *rules, size_t n_rules, char **ret_text, size_t *ret_bytes,
                    char *reterr, size_t reterr_size)
{
        CLEANUP(free_ptr) char *text = NULL;
        size_t n;
        int r = read_and_expand(path, environment, &text, &n, reterr, reterr_size);

        if (r != 0)
                return r;
        if (n_rules > 0)
                return rewrite_paths(text, n, rules, n_rules, ret_text, ret_bytes);
        *ret_text = TAKE(text);
        *ret_bytes = n;
        return 0;
}

int kit_read_content(const struct kit_maker *m, char **ret_text, size_t *ret_bytes)
{
        char words[1];

        return kit_read_config(m->args->config_path, m->expand ? m->environment : NULL, m->rules, m->n_rules, ret_text, ret_bytes, words,
                               sizeof(words));
}

/* @environment: NULL unless variables are to be replaced; @rules: NULL: a copy of a snapshot, in which all leads where it should */
static int write_snapshot(const struct kit_maker *m, const char *source, char *const *environment, const struct kit_maker *rules,
                          const char *path, char *reterr, size_t reterr_size)
{
        CLEANUP(free_ptr) char *text = NULL;
        size_t n;
        int r = kit_read_config(source, environment, rules ? rules->rules : NULL, rules ? rules->n_rules : 0, &text, &n, reterr,
                                reterr_size);

        if (r != 0)
                return r;
        r = write_new_file(path, 0440, m->user->other ? m->user->gid : (gid_t)-1, text, n);
        if (r < 0)
                (void)snprintf(reterr, reterr_size, "cannot write snapshot %s: %s", path, strerror(-r));
        return r;
}

/* A snapshot is immutable, so a second name is as good as a copy; not every file system has second names. */
static int copy_snapshot(const struct kit_maker *m, const char *source, const char *path, char *reterr, size_t reterr_size)
{
        (void)unlink(path);
        if (link(source, path) == 0)
                return 0;
        if (errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK)
                return write_snapshot(m, source, NULL, NULL, path, reterr, reterr_size);
        (void)snprintf(reterr, reterr_size, "cannot link snapshot %s to %s: %s", source, path, strerror(errno));
        return -errno;
}

static int make_snapshot(const struct kit_maker *m, uint64_t epoch, uint64_t copy_of, char *reterr, size_t reterr_size)
{
        char source[PATH_MAX], path[PATH_MAX];
        int r = kit_snapshot_path(m, epoch, path, sizeof(path));

        if (r == 0 && copy_of == CONTENT_DISK)
                return write_snapshot(m, m->args->config_path, m->expand ? m->environment : NULL, m, path, reterr, reterr_size);
        if (r == 0 && copy_of == CONTENT_KEPT)
                return write_snapshot(m, m->kept, NULL, m, path, reterr, reterr_size);
        if (r == 0)
                r = kit_snapshot_path(m, copy_of, source, sizeof(source));
        return r < 0 ? r : copy_snapshot(m, source, path, reterr, reterr_size);
}

/* @base_id: 0 without the protocol: then the number of its command is all that is on disk, and survives the state by this. */
static int write_id(const struct kit_maker *m, const char *path, uint64_t base_id)
{
        char text[48];

        return write_new_file(path, 0600, (gid_t)-1, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 "\n", base_id, m->command));
}

static int read_id(const char *run_dir, uint64_t epoch, uint64_t *ret_base_id, uint64_t *ret_command)
{
        CLEANUP(free_ptr) char *text = NULL;
        char path[PATH_MAX], *end;
        uint64_t base_id;
        size_t n;
        int r = kit_id_path(run_dir, epoch, path, sizeof(path));

        if (r == 0)
                r = kit_read_file(path, &text, &n);
        if (r < 0)
                return r;
        base_id = strtoull(text, &end, 10);
        if (end == text || base_id > HR_BASE_ID_MAX)
                return -EINVAL;
        *ret_base_id = base_id;
        *ret_command = strtoull(end, NULL, 10);
        return 0;
}

int kit_base_id(const char *run_dir, uint64_t epoch, uint64_t *ret)
{
        uint64_t base_id, command;
        int r = read_id(run_dir, epoch, &base_id, &command);

        if (r == 0 && base_id == 0)
                r = -EINVAL;
        if (r == 0)
                *ret = base_id;
        return r;
}

uint64_t kit_command(const char *run_dir, uint64_t epoch)
{
        uint64_t base_id, command;

        return read_id(run_dir, epoch, &base_id, &command) == 0 ? command : 0;
}

/* Creating the segment exclusively is what reserves a base id; its number is on disk before, so that it can be removed. */
static int reserve_base_id(const struct kit_maker *m, uint64_t epoch, uint64_t *ret, char *reterr, size_t reterr_size)
{
        struct hr_segment_layout layout = HR_SEGMENT_DEFAULT;
        char path[PATH_MAX];
        int r = kit_id_path(m->run_dir, epoch, path, sizeof(path));

        for (int i = 0; r == 0 && i < BASE_ID_TRIES; i++) {
                uint32_t draw;
                uint64_t id;

                if (getrandom(&draw, sizeof(draw), 0) != (ssize_t)sizeof(draw))
                        return -errno;
                id = 1 + draw % HR_BASE_ID_MAX;
                r = write_id(m, path, id);
                if (r < 0)
                        break;
                r = hr_segment_create(id, &layout, m->user->other ? m->user->uid : geteuid(), m->user->other ? m->user->gid : getegid());
                if (r == 0) {
                        *ret = id;
                        return 0;
                }
                (void)unlink(path); /* before anything else: it is somebody else's segment */
                if (r == -EEXIST)
                        r = 0;
        }
        if (r == 0)
                r = -EEXIST;
        (void)snprintf(reterr, reterr_size, "cannot make a shared memory segment for the proxy: %s", strerror(-r));
        return r;
}

/* The folder is still ours, so what is given away is what was bound. */
static int give(const struct kit_maker *m, const char *path)
{
        return m->user->other && lchown(path, m->user->uid, m->user->gid) < 0 ? -errno : 0;
}

static int bind_one(const struct kit_maker *m, const char *socket_path, uint64_t base_id, unsigned index, enum hr_role role, int *ret)
{
        struct sockaddr_un addr;
        int r = hr_name(socket_path, base_id, index, role, &addr);

        if (r == 0)
                r = hr_bind(&addr, 0600, ret);
        return r < 0 ? r : give(m, addr.sun_path);
}

/* One that could not be emptied is put aside: its number must not be lost to us by what is in it. */
static int make_folder(const char *folder)
{
        char aside[PATH_MAX];
        uint32_t draw;
        int n;

        if (mkdir(folder, 0700) == 0)
                return 0;
        if (errno != EEXIST)
                return -errno;
        if (getrandom(&draw, sizeof(draw), 0) != (ssize_t)sizeof(draw))
                return -errno;
        errno = EEXIST;
        n = snprintf(aside, sizeof(aside), "%s" KIT_LEFT "%08x", folder, draw);
        if (n >= (int)sizeof(aside) || rename(folder, aside) < 0)
                return -errno;
        return mkdir(folder, 0700) < 0 ? -errno : 0;
}

/* The proxy runs with restart epoch N+1: it asks the index of N, and answers the index of N+2. */
static int bind_names(const struct kit_maker *m, uint64_t epoch, struct kit *k, char *reterr, size_t reterr_size)
{
        char folder[PATH_MAX], path[PATH_MAX];
        int r = kit_path(folder, sizeof(folder), m->run_dir, "e", epoch, "");

        if (r == 0)
                r = kit_socket_path(m->run_dir, epoch, path, sizeof(path));
        if (r == 0)
                r = make_folder(folder);
        if (r == 0)
                r = bind_one(m, path, k->base_id, hr_index(epoch), HR_ROLE_PARENT, &k->parent_fd);
        if (r == 0)
                r = bind_one(m, path, k->base_id, hr_index(epoch + 2), HR_ROLE_CHILD, &k->child_fd);
        if (r == 0)
                r = bind_one(m, path, k->base_id, hr_index(epoch + 2), HR_ROLE_UDP_CHILD, &k->udp_fd);
        if (r == 0)
                r = give(m, folder);
        if (r < 0)
                (void)snprintf(reterr, reterr_size, "cannot bind the protocol sockets in %s: %s", folder, strerror(-r));
        return r;
}

/* Others send to it: who they are comes along. */
static int bind_notify(const struct kit_maker *m, uint64_t epoch, struct sockaddr_un *ret_addr, int *ret_fd, char *reterr, size_t reterr_size)
{
        char folder[PATH_MAX], path[PATH_MAX];
        CLEANUP(close_fd) int fd = -1;
        int one = 1;
        int r = kit_path(folder, sizeof(folder), m->run_dir, "e", epoch, "");

        *ret_addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (r == 0)
                r = kit_path(path, sizeof(path), m->run_dir, "e", epoch, "/notify");
        if (r == 0 && (size_t)snprintf(ret_addr->sun_path, sizeof(ret_addr->sun_path), "%s", path) >= sizeof(ret_addr->sun_path))
                r = -ENAMETOOLONG;
        if (r == 0)
                r = make_folder(folder);
        if (r == 0)
                r = hr_bind(ret_addr, 0600, &fd);
        if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0)
                r = -errno;
        if (r == 0)
                r = give(m, path);
        if (r == 0)
                r = give(m, folder);
        if (r == 0)
                *ret_fd = TAKE_FD(fd);
        else
                (void)snprintf(reterr, reterr_size, "cannot bind %s/notify: %s", folder, strerror(-r));
        return r;
}

static int make_plain(const struct kit_maker *m, uint64_t epoch, const char *binary, struct kit *k, char *reterr, size_t reterr_size)
{
        struct sockaddr_un notify = { 0 };
        char path[PATH_MAX];
        int r = kit_id_path(m->run_dir, epoch, path, sizeof(path));

        if (r == 0)
                r = write_id(m, path, 0);
        if (r < 0)
                (void)snprintf(reterr, reterr_size, "cannot write %s: %s", path, strerror(-r));
        if (r == 0 && m->notify)
                r = bind_notify(m, epoch, &notify, &k->notify_fd, reterr, reterr_size);
        if (r < 0)
                return r;
        r = kit_seal_plain(m, notify.sun_path, binary, k);
        if (r < 0)
                (void)snprintf(reterr, reterr_size, "cannot make the launch record: %s", strerror(-r));
        return r;
}

static int make_envoy(const struct kit_maker *m, uint64_t epoch, uint64_t copy_of, bool udp, const char *binary, struct kit *k, char *reterr,
                      size_t reterr_size)
{
        int r = m->args->config_path ? make_snapshot(m, epoch, copy_of, reterr, reterr_size) : 0;

        if (r == 0)
                r = reserve_base_id(m, epoch, &k->base_id, reterr, reterr_size);
        if (r == 0)
                r = bind_names(m, epoch, k, reterr, reterr_size);
        if (r != 0)
                return r;
        r = kit_seal_envoy(m, epoch, udp, binary, k);
        if (r == KIT_E_CONFIG)
                (void)snprintf(reterr, reterr_size, "%s", "--config-yaml is not a YAML mapping");
        else if (r < 0)
                (void)snprintf(reterr, reterr_size, "cannot make the launch record: %s", strerror(-r));
        return r;
}

int kit_make(const struct kit_maker *m, uint64_t epoch, uint64_t copy_of, bool udp, const char *binary, struct kit *ret,
             char *reterr, size_t reterr_size)
{
        CLEANUP(kit_done) struct kit k = KIT_NULL;
        int r;

        (void)snprintf(reterr, reterr_size, "%s", "cannot make a launch kit");
        kit_forget(m->run_dir, epoch);
        r = m->protocol ? make_envoy(m, epoch, copy_of, udp, binary, &k, reterr, reterr_size)
                        : make_plain(m, epoch, binary, &k, reterr, reterr_size);
        if (r != 0) {
                if (k.base_id)
                        kit_remove_segment(m->run_dir, epoch, k.base_id);
                kit_forget(m->run_dir, epoch);
                return r;
        }
        *ret = k;
        k = KIT_NULL;
        return 0;
}
