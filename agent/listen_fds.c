/* SPDX-License-Identifier: MIT */
/* See listen_fds.h. */
#include "agent/listen_fds.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/listen_spec.h"

/* ---- names ------------------------------------------------------------------------------------------ */

void listen_fds_key(int fd, uint32_t number, struct hr_key *ret)
{
        char text[HR_URL_BYTES - sizeof("unix://")];
        socklen_t len = sizeof(int);
        int type = 0;

        *ret = (struct hr_key){ .worker = number };
        (void)snprintf(ret->url, sizeof(ret->url), "fd://%u", number);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || !*control_address(fd, text, sizeof(text)))
                return;
        if (strncmp(text, "unix:", 5) == 0)
                (void)snprintf(ret->url, sizeof(ret->url), "unix://%s", text + 5);
        else
                (void)snprintf(ret->url, sizeof(ret->url), "%s://%s", type == SOCK_STREAM ? "tcp" : "udp", text);
}

/* "inherited/N/NAME", "listen/N/URL" */
static bool has_number(const char *name, const char *prefix, uint32_t number, const char **ret_rest)
{
        char *end;

        if (strncmp(name, prefix, strlen(prefix)) != 0 || strtoul(name + strlen(prefix), &end, 10) != number)
                return false;
        *ret_rest = *end == '/' ? end + 1 : "";
        return *end == '/' || !*end;
}

static const char *find(const struct inventory_named *list, size_t n, const char *prefix, uint32_t number, const char **ret_rest)
{
        for (size_t i = 0; i < n; i++)
                if (has_number(list[i].name, prefix, number, ret_rest))
                        return list[i].name;
        return NULL;
}

static void pass(struct agent *a, const char *held, const char *name)
{
        struct passed *p = &a->passed;

        (void)snprintf(p->held[p->n], sizeof(p->held[0]), "%s", held);
        (void)snprintf(p->name[p->n], sizeof(p->name[0]), "%.*s", LISTEN_NAME_BYTES - 1, *name ? name : "unknown");
        p->held_list[p->n] = p->held[p->n];
        p->name_list[p->n] = p->name[p->n];
        p->n++;
}

/* ---- opening ---------------------------------------------------------------------------------------- */

/* A path that nobody listens on any more is in the way of bind(); one that somebody does is his. Return: 0; -errno */
static int make_room(const char *path)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        CLEANUP(close_fd) int fd = -1;
        struct stat st;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 || errno != ECONNREFUSED)
                return -EADDRINUSE;
        return unlink(path) < 0 ? -errno : 0;
}

/* As systemd passes them: blocking; a Unix socket for everybody. */
static int open_one(struct hr_key *key, int *ret_fd)
{
        CLEANUP(close_fd) int fd = -1;
        mode_t mask;
        int r = hr_key_path(key) ? make_room(hr_key_path(key)) : 0;

        if (r < 0)
                return r;
        mask = umask(0111);
        r = hr_listener_open(key, false, INT_MAX, &fd); /* the kernel cuts it to somaxconn */
        (void)umask(mask);
        if (r < 0)
                return r;
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0)
                return -errno;
        listen_fds_key(fd, key->worker, key); /* the kernel may have chosen the port */
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int open_and_hold(struct agent *a, struct inventory *inv, const char *word, struct hr_key key, char *reterr, size_t size)
{
        struct inventory_named *to = &inv->listens[inv->n_listen];
        CLEANUP(close_fd) int fd = -1;
        const char *names[] = { to->name };
        int r = open_one(&key, &fd);

        if (r < 0) {
                (void)snprintf(reterr, size, "--listen %s: cannot listen there: %s%s", word, strerror(-r),
                               r == -EACCES ? "; for a low port see net.ipv4.ip_unprivileged_port_start and CAP_NET_BIND_SERVICE" : "");
                return r;
        }
        r = key_name(&key, to->name, sizeof(to->name));
        if (r == 0)
                r = keeper_link_hold(a->link, names, &fd, 1);
        if (r < 0) {
                (void)snprintf(reterr, size, "--listen %s: the keeper cannot hold the socket: %s", word, strerror(-r));
                return r;
        }
        to->fd = TAKE_FD(fd);
        inv->n_listen++;
        return 0;
}

static int one_listen(struct agent *a, struct inventory *inv, uint32_t i, bool open, char *reterr, size_t size)
{
        const char *word = options_str(a->options, a->options->listen.items[i]), *rest, *held;
        struct listen_spec spec;
        int r = listen_spec_read(word, &spec);

        if (r < 0)
                return r; /* cannot be: options.c has read it */
        spec.key.worker = i;
        held = find(inv->listens, inv->n_listen, "listen/", i, &rest);
        if (!held && open) {
                r = open_and_hold(a, inv, word, spec.key, reterr, size);
                held = r == 0 ? inv->listens[inv->n_listen - 1].name : NULL;
        }
        if (held)
                pass(a, held, spec.name);
        return r;
}

const char *listen_fds_refusal(const struct agent *a)
{
        static_assert(LAUNCH_LISTEN_MAX == 64, "the text says so");
        size_t n = a->keeper.listen_fds + a->options->listen.n;

        if (options_probe_needs_sockets(a->options) && (a->keeper.listen_fds == 0 || a->options->handover == HANDOVER_NONE))
                return "baton run: --probe=tcp: there is no socket to connect to; name one with --listen, or probe a URL";
        if (a->options->handover != HANDOVER_LISTEN_FDS)
                return NULL;
        if (n == 0)
                return "baton run: --handover=listen-fds: there is no socket to hand over; name one with --listen, or let a service manager "
                       "pass some (LISTEN_FDS)";
        return n > LAUNCH_LISTEN_MAX ? "baton run: --listen: more than 64 sockets to hand over, with those of LISTEN_FDS" : NULL;
}

int listen_fds_prepare(struct agent *a, struct inventory *inv, bool open, char *reterr, size_t size)
{
        const char *rest, *held;
        int r = 0;

        if (a->options->handover != HANDOVER_LISTEN_FDS)
                return 0;
        for (uint32_t i = 0; i < a->keeper.listen_fds; i++) {
                held = find(inv->inherited, inv->n_inherited, "inherited/", i, &rest);
                if (held)
                        pass(a, held, rest);
        }
        for (uint32_t i = 0; r == 0 && i < a->options->listen.n; i++)
                r = one_listen(a, inv, i, open, reterr, size);
        return r;
}

void listen_fds_clean(const struct agent *a)
{
        struct listen_spec spec;

        for (uint32_t i = 0; i < a->options->listen.n; i++)
                if (listen_spec_read(options_str(a->options, a->options->listen.items[i]), &spec) == 0 && hr_key_path(&spec.key))
                        (void)unlink(hr_key_path(&spec.key));
}
