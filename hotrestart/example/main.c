/* SPDX-License-Identifier: MIT */
/* The steps of a start, in Envoy's order, and the loop. What this program is for: server.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "hotrestart/example/server.h"

enum { EVENTS_A_ROUND = 64 };

int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void say(const char *format, ...)
{
        va_list ap;

        (void)fputs("example-server: ", stderr);
        va_start(ap, format);
        (void)vfprintf(stderr, format, ap);
        va_end(ap);
        (void)fputc('\n', stderr);
}

int server_watch(struct server *s, struct watch *w, uint32_t events)
{
        struct epoll_event ev = { .events = events, .data.ptr = w };

        return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) < 0 ? -errno : 0;
}

void server_unwatch(struct server *s, struct watch *w)
{
        (void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
}

/* ---- the start -------------------------------------------------------------------------------------- */

static int open_config(const char *path)
{
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

        if (path && fd < 0) {
                say("%s: %s", path, strerror(errno));
                return -errno;
        }
        if (fd >= 0)
                (void)close(fd);
        return 0;
}

/* "127.0.0.1:80" is "tcp://127.0.0.1:80" to the protocol, "unix:/a" is "unix:///a". Unix sockets have one worker. */
static int plan_listeners(struct server *s)
{
        struct sockaddr_storage addr;
        socklen_t len;
        int type;

        for (size_t i = 0; i < s->opt.n_listen; i++) {
                const char *text = s->opt.listen[i];
                bool is_unix = strncmp(text, "unix:", 5) == 0;

                for (unsigned worker = 0; worker < (is_unix ? 1 : s->opt.concurrency); worker++) {
                        struct listener *l = &s->listeners[s->n_listeners++];
                        int n = snprintf(l->key.url, sizeof(l->key.url), "%s://%s", is_unix ? "unix" : "tcp", is_unix ? text + 5 : text);

                        l->key.worker = worker;
                        l->watch = (struct watch){ http_on_listener, -1 };
                        if (n < 0 || (size_t)n >= sizeof(l->key.url) || hr_key_address(&l->key, &addr, &len, &type) < 0) {
                                say("--listen %s: no address", text);
                                return -EINVAL;
                        }
                }
        }
        return 0;
}

static int catch_signals(struct server *s)
{
        static struct watch signals;
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        if (s->signal_fd < 0)
                return -errno;
        signals = (struct watch){ NULL, s->signal_fd };
        return server_watch(s, &signals, EPOLLIN);
}

static int start(struct server *s)
{
        int r = open_config(s->opt.config_path);

        if (r == 0)
                r = plan_listeners(s);
        if (r == 0)
                r = protocol_open(s);
        if (r == 0)
                r = protocol_inherit(s);
        if (r == 0)
                r = admin_open(s);
        for (size_t i = 0; r == 0 && i < s->n_listeners; i++)
                r = server_watch(s, &s->listeners[i].watch, EPOLLIN);
        if (r == 0)
                r = protocol_up(s);
        if (r == 0)
                r = protocol_listen(s);
        /* Not earlier: until here SIGTERM simply ends us, wherever we wait. */
        if (r == 0)
                r = catch_signals(s);
        return r;
}

/* ---- the loop --------------------------------------------------------------------------------------- */

static int patience(struct server *s)
{
        int ms = http_time(s);
        int64_t left = s->terminate_ms ? s->terminate_ms - now_ms() : INT64_MAX;

        if (left < 0)
                left = 0;
        return left < INT32_MAX && (ms < 0 || left < ms) ? (int)left : ms;
}

static void one_round(struct server *s)
{
        struct epoll_event events[EVENTS_A_ROUND];
        int n = epoll_wait(s->epoll_fd, events, EVENTS_A_ROUND, patience(s));

        for (int i = 0; i < n; i++) {
                struct watch *w = events[i].data.ptr;

                if (w->ready)
                        w->ready(s, w, events[i].events);
                else
                        s->stopping = true;
        }
        http_sweep(s);
        if (s->terminate_ms && s->terminate_ms <= now_ms())
                protocol_goodbye(s);
}

static void stop(struct server *s)
{
        fault_at(s->opt.faults, s->opt.n_faults, ON_TERM, 0, (struct fault_target){ s->parent_role.fd, &s->successor });
        protocol_goodbye(s);
        http_close_all(s);
        listeners_stop(s);
        if (s->admin.fd >= 0)
                (void)close(s->admin.fd);
        (void)close(s->signal_fd);
        (void)close(s->epoll_fd);
        protocol_close(s);
}

int main(int argc, char **argv)
{
        static struct server s = { .signal_fd = -1, .admin = { NULL, -1 }, .child = { .fd = -1 },
                                   .parent_role = { NULL, -1 }, .udp_fds = { -1, -1 } };
        int r = options_read(argc, argv, &s.opt);

        if (r != 0)
                return r > 0 ? 0 : 1;
        if (s.opt.validate)
                return open_config(s.opt.config_path) < 0;
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGUSR1, SIG_IGN); /* Envoy reopens its logs; we have none */
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        s.started_ms = now_ms();
        s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (s.epoll_fd < 0 || start(&s) < 0)
                return 1;
        while (!s.stopping)
                one_round(&s);
        stop(&s);
        return 0;
}
