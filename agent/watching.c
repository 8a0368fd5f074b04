/* SPDX-License-Identifier: MIT */
/* See watching.h. */
#include "agent/watching.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/content_digest.h"
#include "agent/keeper/program.h"
#include "agent/io_again.h"
#include "agent/log.h"

enum { AGAIN_S = 1, HOUR_S = 3600, LONGEST = 10 /* debounces, if things never stay still */ };

extern char **environ;

/* The config first, then every --watch. Return: how many; 0: nothing is watched */
static size_t paths_of(const struct agent *a, const char *config, const char *ret[OPTIONS_LIST_MAX + 1])
{
        size_t n = 0;

        if (config && *config)
                ret[n++] = config;
        for (size_t i = 0; i < a->options->watch.n; i++)
                ret[n++] = options_str(a->options, a->options->watch.items[i]);
        return n;
}

static struct digest digest_with(const struct agent *a, const char *config)
{
        const char *paths[OPTIONS_LIST_MAX + 1];
        struct digest certs[CERT_SETS_MAX];
        size_t n = paths_of(a, config, paths), n_certs = cert_sets_digests(a, certs);

        return n + n_certs > 0 ? content_digest(paths, n, certs, n_certs) : (struct digest){ { 0 } };
}

struct digest watching_digest(const struct agent *a, const struct kit_maker *m)
{
        return digest_with(a, m->protocol && m->args->config_path ? m->args->config_path : "");
}

/* ---- what it says ----------------------------------------------------------------------------------- */

static int64_t splay_ms(const struct agent *a)
{
        uint32_t draw = 0;

        if (a->options->splay_ms <= 0 || getrandom(&draw, sizeof(draw), 0) != (ssize_t)sizeof(draw))
                return 0;
        return (int64_t)draw % (a->options->splay_ms + 1);
}

static void on_settled(struct ev_loop *loop, ev_timer *t, int revents)
{
        struct watching *w = t->data;
        struct agent *a = w->agent;
        struct succession_input in = { .event = ON_SEEN, .value = splay_ms(a) };

        (void)revents;
        ev_timer_stop(loop, t);
        w->since = 0;
        cert_sets_look(a);
        in.digest = digest_with(a, w->config);
        if (digest_known(&in.digest)) {
                agent_feed(a, &in);
        } else if (*w->config || a->options->watch.n > 0) { /* it could not be read for want of something of ours */
                ev_timer_set(t, AGAIN_S, 0.);
                ev_timer_start(loop, t);
        }
}

/* Files are often written in pieces: when nothing has moved for the debounce; but not never. */
static void look_soon(struct watching *w)
{
        struct ev_loop *loop = w->agent->loop;
        double debounce = (double)w->agent->options->debounce_ms / 1e3, now = ev_now(loop), wait;

        if (w->since == 0)
                w->since = now;
        wait = w->since + LONGEST * debounce - now;
        ev_timer_stop(loop, &w->settle);
        ev_timer_set(&w->settle, wait < 0 ? 0. : wait < debounce ? wait : debounce, 0.);
        ev_timer_start(loop, &w->settle);
}

static void take_line(struct watching *w, const char *line)
{
        w->died = false;
        if (strncmp(line, "warning: ", 9) == 0)
                log_event(LOG_WARNING, "watch.limited", F_STR("reason", line + 9));
        else
                look_soon(w);
}

static void on_said(struct ev_loop *loop, ev_io *io, int revents)
{
        struct watching *w = io->data;
        ssize_t n = read(w->out, w->line + w->n, sizeof(w->line) - 1 - w->n);
        char *end, *from = w->line;

        io_again(loop, io, revents);
        if (n == 0)
                ev_io_stop(w->agent->loop, io); /* its end is told by its pidfd */
        if (n <= 0)
                return;
        w->n += (size_t)n;
        w->line[w->n] = '\0';
        while ((end = strchr(from, '\n'))) {
                *end = '\0';
                take_line(w, from);
                from = end + 1;
        }
        w->n -= (size_t)(from - w->line);
        memmove(w->line, from, w->n);
        if (w->n == sizeof(w->line) - 1) /* longer than any path: look, and drop it */
                w->n = 0, look_soon(w);
}

/* ---- its life --------------------------------------------------------------------------------------- */

static void end_it(struct watching *w)
{
        struct ev_loop *loop = w->agent->loop;

        ev_io_stop(loop, &w->said);
        ev_io_stop(loop, &w->ended);
        if (w->pid > 0) {
                (void)kill(w->pid, SIGKILL); /* ours, and not reaped yet */
                (void)waitpid(w->pid, NULL, 0);
        }
        w->pid = 0;
        w->n = 0;
        close_fd(&w->in);
        close_fd(&w->out);
        close_fd(&w->pidfd);
}

static void try_again(struct watching *w)
{
        ev_timer_stop(w->agent->loop, &w->again);
        ev_timer_set(&w->again, AGAIN_S, 0.);
        ev_timer_start(w->agent->loop, &w->again);
}

/* Once, until one has said something: a program that cannot be loaded ends again and again. */
static void tell_end(struct watching *w, const siginfo_t *end)
{
        char how[32];

        (void)snprintf(how, sizeof(how), "%s:%d", end->si_code == CLD_EXITED ? "exit" : "signal", end->si_status);
        if (!w->died)
                log_event(LOG_WARNING, "watch.died", F_STR("reason", how), F_STR("then", "it is started again each second; meanwhile files are looked at then"),
                          F_STR("do", "with exit:127 install libinotifytools"));
        w->died = true;
}

static void on_ended(struct ev_loop *loop, ev_io *io, int revents)
{
        struct watching *w = io->data;
        siginfo_t end = { 0 };

        io_again(loop, io, revents);
        (void)waitid(P_PID, (id_t)w->pid, &end, WEXITED | WNOHANG | WNOWAIT);
        if (!end.si_pid)
                return; /* not yet */
        end_it(w);
        tell_end(w, &end);
        look_soon(w);
        try_again(w);
}

static int spawn(struct watching *w, const char *const *paths, size_t n)
{
        CLEANUP(free_ptr) char **argv = calloc(n + 2, sizeof(*argv));
        char program[PATH_MAX];
        posix_spawn_file_actions_t files;
        posix_spawnattr_t how;
        sigset_t none, all;
        int in[2] = { -1, -1 }, out[2] = { -1, -1 };
        int r = argv ? program_path("baton-watch", program, sizeof(program)) : -ENOMEM;

        if (r < 0)
                return r;
        if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
                r = -errno;
                goto done;
        }
        argv[0] = program;
        for (size_t i = 0; i < n; i++)
                argv[i + 1] = (char *)paths[i];
        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        (void)posix_spawn_file_actions_init(&files);
        (void)posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
        (void)posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
        (void)posix_spawnattr_init(&how);
        (void)posix_spawnattr_setsigmask(&how, &none);
        (void)posix_spawnattr_setsigdefault(&how, &all);
        (void)posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        r = -posix_spawn(&w->pid, program, &files, &how, argv, environ);
        (void)posix_spawn_file_actions_destroy(&files);
        (void)posix_spawnattr_destroy(&how);
        if (r == 0) {
                w->in = TAKE_FD(in[1]);
                w->out = TAKE_FD(out[0]);
                w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0);
        }
done:
        close_fd(&in[0]), close_fd(&in[1]);
        close_fd(&out[0]), close_fd(&out[1]);
        return r;
}

static void start(struct watching *w)
{
        struct agent *a = w->agent;
        const char *paths[OPTIONS_LIST_MAX + 1 + CERT_SETS_MAX];
        size_t n = paths_of(a, w->config, paths);
        int r;

        for (size_t i = 0; i < a->certs.n; i++)
                paths[n++] = a->certs.slots[i].option.dir;
        end_it(w);
        if (n == 0)
                return;
        r = spawn(w, paths, n);
        if (r == 0 && (w->pidfd < 0 || fcntl(w->out, F_SETFL, O_NONBLOCK) < 0))
                r = -errno, end_it(w);
        if (r < 0) {
                if (!w->warned)
                        log_event(LOG_WARNING, "watch.failed", F_STR("error", strerror(-r)), F_STR("then", "changes are looked for every second"));
                w->warned = true;
                look_soon(w);
                try_again(w);
                return;
        }
        w->warned = false;
        ev_io_set(&w->said, w->out, EV_READ);
        ev_io_set(&w->ended, w->pidfd, EV_READ);
        ev_io_start(a->loop, &w->said);
        ev_io_start(a->loop, &w->ended);
}

static void on_again(struct ev_loop *loop, ev_timer *t, int revents)
{
        (void)loop;
        (void)revents;
        start(t->data);
}

void watching_update(struct agent *a)
{
        struct watching *w = &a->watching;
        const struct kit_maker m = agent_maker(a, a->s.served != NO_EPOCH ? a->s.served : a->s.wanted);
        const char *config = m.protocol && m.args->config_path ? m.args->config_path : "";

        if (!w->agent || strcmp(config, w->config) == 0)
                return;
        (void)snprintf(w->config, sizeof(w->config), "%s", config);
        start(w);
}

/* Certificates become valid, and expire, without a change. */
static void on_hour(struct ev_loop *loop, ev_timer *t, int revents)
{
        (void)loop;
        (void)revents;
        look_soon(t->data);
}

void watching_start(struct agent *a)
{
        struct watching *w = &a->watching;

        *w = (struct watching){ .agent = a, .pidfd = -1, .in = -1, .out = -1 };
        ev_init(&w->said, on_said);
        ev_init(&w->ended, on_ended);
        ev_init(&w->again, on_again);
        ev_init(&w->settle, on_settled);
        w->said.data = w->ended.data = w->again.data = w->settle.data = w;
        watching_update(a);
        ev_timer_init(&w->hourly, on_hour, HOUR_S, HOUR_S);
        w->hourly.data = w;
        if (a->certs.n > 0)
                ev_timer_start(a->loop, &w->hourly);
        if (w->pid == 0 && a->options->watch.n + a->certs.n > 0) /* a proxy without a config of its own */
                start(w);
}
