/* SPDX-License-Identifier: MIT */
/* See keep.h. */
#include "agent/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/log.h"
#include "agent/write_all.h"

static const char *state_dir(const struct agent *a)
{
        return options_str(a->options, a->options->state_dir);
}

static void failed(struct agent *a, const char *what, int r)
{
        if (!a->keep_failed)
                log_event(LOG_WARNING, "state-dir.failed", F_STR("path", what), F_STR("error", strerror(-r)),
                          F_STR("then", "a reboot finds what was kept before"));
        a->keep_failed = true;
}

/* One that was there already must be ours: what lies in it is started at the next boot. */
static int make_dir(const char *path)
{
        struct stat st;

        if (mkdir(path, 0700) == 0)
                return 0;
        if (errno != EEXIST || stat(path, &st) < 0)
                return -errno;
        return !S_ISDIR(st.st_mode) ? -ENOTDIR : (st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022) ? -EPERM : 0;
}

void keep_open(struct agent *a)
{
        int r, n;

        a->limits.keeps = *state_dir(a) != '\0';
        if (!a->limits.keeps)
                return;
        r = make_dir(state_dir(a));
        n = snprintf(a->kept, sizeof(a->kept), "%s/config%s", state_dir(a), kit_extension(a->args.config_path));
        if (n < 0 || (size_t)n >= sizeof(a->kept))
                r = -ENAMETOOLONG;
        if (r < 0) {
                a->limits.keeps = false;
                failed(a, state_dir(a), r);
                return;
        }
        a->kits.kept = a->kept;
        a->limits.kept = a->args.config_path && access(a->kept, R_OK) == 0;
}

/* Whole or not at all, also if the power fails. */
static int write_file(const char *path, const char *text, size_t n)
{
        CLEANUP(close_fd) int fd = -1;
        char new[PATH_MAX];
        int r;

        if ((size_t)snprintf(new, sizeof(new), "%s.new", path) >= sizeof(new))
                return -ENAMETOOLONG;
        (void)unlink(new);
        fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, text, n);
        if (r < 0)
                return r;
        return fsync(fd) < 0 || rename(new, path) < 0 ? -errno : 0;
}

/* The paths of copies lead nowhere after a reboot: the config names the directories again. */
static int keep_config(struct agent *a, uint64_t epoch)
{
        const struct kit_maker m = agent_maker(a, epoch);
        CLEANUP(free_ptr) char *text = NULL;
        CLEANUP(free_ptr) char *plain = NULL;
        struct rewrite back[CERT_SETS_MAX];
        size_t n = 0, bytes = 0;
        int r = kit_read_snapshot(&m, epoch, &text, &n);

        for (size_t i = 0; i < m.n_rules; i++)
                back[i] = (struct rewrite){ m.rules[i].to, m.rules[i].from };
        if (r == 0)
                r = rewrite_paths(text, n, back, m.n_rules, &plain, &bytes);
        return r < 0 ? r : write_file(a->kept, plain, bytes);
}

static int set_path(const struct agent *a, size_t i, const char *tail, char *ret, size_t size)
{
        const char *slash = strrchr(a->certs.slots[i].option.dir, '/');
        int n = snprintf(ret, size, "%s/certs/%zu-%.255s%s", state_dir(a), i, slash ? slash + 1 : "", tail);

        return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* The old one is not gone before the new one is there; a reader in between finds it beside. */
static int keep_set(struct agent *a, size_t i)
{
        __attribute__((cleanup(certs_set_done))) struct certs_set set = CERTS_SET_NULL;
        const struct cert_slot *slot = &a->certs.slots[i];
        char path[PATH_MAX], new[PATH_MAX], old[PATH_MAX];
        struct certs_error e;
        int r = set_path(a, i, "", path, sizeof(path));

        if (r == 0)
                r = set_path(a, i, ".new", new, sizeof(new));
        if (r == 0)
                r = set_path(a, i, ".old", old, sizeof(old));
        if (r == 0 && certs_read(slot->path, &slot->names, &set, &e) != 0)
                r = -ENOENT;
        if (r == 0)
                r = certs_put(new, &set, geteuid(), getegid());
        if (r < 0)
                return r;
        certs_remove(old);
        if (rename(path, old) < 0 && errno != ENOENT)
                return -errno;
        if (rename(new, path) < 0)
                return -errno;
        certs_remove(old);
        return 0;
}

void keep_certs(struct agent *a)
{
        char path[PATH_MAX];
        int r = 0;

        if (!a->limits.keeps || a->certs.n == 0)
                return;
        (void)snprintf(path, sizeof(path), "%.4000s/certs", state_dir(a));
        r = make_dir(path);
        for (size_t i = 0; r == 0 && i < a->certs.n; i++)
                if (a->certs.slots[i].n)
                        r = keep_set(a, i);
        if (r < 0)
                failed(a, path, r);
        else
                a->keep_failed = false;
}

void keep_content(struct agent *a, uint64_t epoch)
{
        const struct epoch *e = succession_look_up(&a->s, epoch);
        int r;

        if (!a->limits.keeps || !e || (e->certs_to && e->certs_to != a->certs.last))
                return; /* a newer set came meanwhile: its own epoch follows */
        keep_certs(a);
        if (!agent_args(a, epoch)->config_path)
                return;
        if (strcmp(kit_extension(agent_args(a, epoch)->config_path), kit_extension(a->args.config_path)) != 0) {
                failed(a, a->kept, -EINVAL); /* under this name Envoy would read it as another format */
                return;
        }
        r = keep_config(a, epoch);
        if (r < 0)
                failed(a, a->kept, r);
}

void keep_bring_back(struct agent *a)
{
        static const char *const tails[] = { "", ".old" };
        char path[PATH_MAX];

        for (size_t i = 0; a->limits.keeps && i < a->certs.n; i++) {
                struct cert_slot *slot = &a->certs.slots[i];

                for (size_t k = 0; !slot->n && k < 2; k++) {
                        struct certs_names names = slot->option.names;
                        struct certs_error e;
                        const char *layout;

                        if (set_path(a, i, tails[k], path, sizeof(path)) < 0 ||
                            (!slot->option.named && certs_find(path, &names, &layout, &e) != 0) || !cert_sets_take(a, i, path, &names))
                                continue;
                        log_event(LOG_WARNING, "certs.kept", F_STR("directory", slot->option.dir), F_STR("kept", path),
                                  F_STR("reason", slot->refused), F_STR("then", "the set that served before is used"));
                }
        }
}
