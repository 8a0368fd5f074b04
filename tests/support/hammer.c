/* SPDX-License-Identifier: MIT */
/*
 * hammer: a small load client; it keeps apart what was refused, what was reset and what was slow.
 * N clients in a closed loop over HTTP/1.1, some on connections that they keep, the others with a connection for each request. One thread, libc and epoll only, so
 * that it costs little beside what it measures. It speaks no TLS, follows no redirect and repeats nothing silently:
 * every attempt is one request in the report.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/hammer_http.h"
#include "tests/support/hammer_report.h"

enum { CLIENTS_MAX = REPORT_CLIENTS, TARGETS_MAX = 64, REQUEST_BYTES = 4096, HEADERS_MAX = 16 };
enum { TAG_SIGNAL = CLIENTS_MAX, TAG_MARK };

#define NEVER INT64_MAX

struct target {
        struct sockaddr_storage addr;
        socklen_t len;
        char host[128]; /* for the Host header */
};

enum client_state { RESTING, CONNECTING, SENDING, READING };

struct client {
        enum client_state state;
        int fd;         /* -1: no connection; while RESTING: a kept one */
        bool keep;      /* this client keeps its connections */
        bool reused;    /* this request runs on a connection that has served one */
        bool has_ok;
        unsigned n;
        const struct target *target;
        int64_t wake_us; /* RESTING: when to go on; else: when to give up */
        int64_t began_us;
        size_t sent;
        size_t request_len;
        char request[REQUEST_BYTES];
        struct http_response response;
};

struct hammer {
        int epoll, signals, mark_fd;
        unsigned n_clients, n_kept, n_targets, n_headers, n_expected, n_flowing;
        int64_t pace_us, timeout_us, retry_us, duration_us, end_us;
        uint64_t requests_max, begun;
        bool announce, histogram, stopping;
        const char *path;
        const char *headers[HEADERS_MAX];
        const char *expected[HEADERS_MAX];
        struct target targets[TARGETS_MAX];
        struct client *clients;
        struct report report;
        char mark[REPORT_NAME_BYTES];
        size_t mark_len;
        unsigned n_marks;
};

static int64_t now_us(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void hang_up(struct client *c)
{
        if (c->fd >= 0)
                (void)close(c->fd);
        c->fd = -1;
}

static void rest(struct client *c, int64_t until_us)
{
        c->state = RESTING;
        c->wake_us = until_us;
}

/* The request failed; the connection is of no use any more. */
static void lose(struct hammer *h, struct client *c, enum outcome outcome, int error)
{
        int64_t now = now_us();

        hang_up(c);
        report_add(&h->report, c->n, outcome, c->began_us, now, error);
        rest(c, now + (outcome < DONE_REUSED_RESET ? h->retry_us : 0));
}

/* The connection ended, by EOF (error 0) or an error, while an answer was due. */
static void lose_connection(struct hammer *h, struct client *c, int error)
{
        if (c->response.started)
                lose(h, c, DONE_CUT, error);
        else if (c->reused)
                lose(h, c, error ? DONE_REUSED_RESET : DONE_REUSED_EOF, error);
        else
                lose(h, c, error ? DONE_RESET : DONE_EOF, error);
}

static bool body_is_expected(const struct hammer *h, const struct http_response *r)
{
        for (unsigned i = 0; i < h->n_expected; i++) {
                size_t n = strlen(h->expected[i]);

                if (r->body_len >= n && memcmp(r->body, h->expected[i], n) == 0)
                        return true;
        }
        return h->n_expected == 0;
}

static void announce_flow(struct hammer *h, struct client *c)
{
        if (c->has_ok)
                return;
        c->has_ok = true;
        if (++h->n_flowing == h->n_clients && h->announce) {
                printf("{\"flowing\":true}\n");
                (void)fflush(stdout);
        }
}

static void finish(struct hammer *h, struct client *c)
{
        const struct http_response *r = &c->response;
        int64_t now = now_us();
        enum outcome outcome = DONE_OK;

        report_status(&h->report, r->status);
        if (r->status / 100 != 2)
                outcome = DONE_BAD_STATUS;
        else if (!body_is_expected(h, r))
                outcome = DONE_BAD_BODY;
        report_body(&h->report, r->body, r->body_len, now);
        report_add(&h->report, c->n, outcome, c->began_us, now, outcome == DONE_BAD_STATUS ? r->status : 0);
        if (outcome == DONE_OK)
                announce_flow(h, c);
        if (!c->keep || r->close)
                hang_up(c);
        rest(c, now + (outcome == DONE_OK ? h->pace_us : h->retry_us > h->pace_us ? h->retry_us : h->pace_us));
}

static void read_some(struct hammer *h, struct client *c)
{
        char buf[16384];
        size_t used;

        for (;;) {
                ssize_t n = recv(c->fd, buf, sizeof(buf), 0);

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n < 0) {
                        lose_connection(h, c, errno);
                        return;
                }
                if (n == 0) {
                        c->response.close = true;
                        if (http_end(&c->response))
                                finish(h, c);
                        else
                                lose_connection(h, c, 0);
                        return;
                }
                int r = http_feed(&c->response, buf, (size_t)n, &used);
                if (r < 0) {
                        lose(h, c, DONE_GARBAGE, 0);
                        return;
                }
                if (r == HTTP_E_COMPLETE) {
                        if (used < (size_t)n) /* bytes that nobody asked for: this connection is not to be trusted */
                                c->response.close = true;
                        finish(h, c);
                        return;
                }
        }
}

static void send_some(struct hammer *h, struct client *c)
{
        while (c->sent < c->request_len) {
                ssize_t n = send(c->fd, c->request + c->sent, c->request_len - c->sent, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n < 0) {
                        lose_connection(h, c, errno);
                        return;
                }
                c->sent += (size_t)n;
        }
        c->state = READING;
}

static void begin_sending(struct hammer *h, struct client *c)
{
        c->state = SENDING;
        c->sent = 0;
        http_init(&c->response);
        send_some(h, c);
}

static void lose_connect(struct hammer *h, struct client *c, int error)
{
        if (error == ECONNREFUSED || error == ENOENT)
                lose(h, c, DONE_REFUSED, error);
        else if (error == ECONNRESET)
                lose(h, c, DONE_RESET, error);
        else if (error == EADDRNOTAVAIL || error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
                lose(h, c, DONE_LOCAL, error);
        else
                lose(h, c, DONE_NO_CONNECTION, error);
}

static void connected(struct hammer *h, struct client *c)
{
        report_connection(&h->report);
        begin_sending(h, c);
}

static void connect_client(struct hammer *h, struct client *c)
{
        struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = c->n };
        int on = 1;

        c->fd = socket(c->target->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->fd < 0) {
                lose_connect(h, c, errno);
                return;
        }
        if (c->target->addr.ss_family != AF_UNIX)
                (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (epoll_ctl(h->epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
                lose(h, c, DONE_LOCAL, errno);
                return;
        }
        c->state = CONNECTING;
        if (connect(c->fd, (const struct sockaddr *)&c->target->addr, c->target->len) == 0) {
                connected(h, c);
        } else if (errno == EAGAIN) { /* a Unix socket whose queue is full: not an answer yet */
                hang_up(c);
                c->state = RESTING;
                c->wake_us = now_us() + 1000;
                h->begun--;
        } else if (errno != EINPROGRESS) {
                lose_connect(h, c, errno);
        }
}

/* An end that came together with the last answer raised no event of its own. */
static void check_kept(struct hammer *h, struct client *c)
{
        char byte;

        if (c->fd < 0 || (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN))
                return;
        hang_up(c);
        report_idle_closed(&h->report);
}

static void begin_request(struct hammer *h, struct client *c)
{
        check_kept(h, c);
        c->began_us = now_us();
        c->wake_us = c->began_us + h->timeout_us;
        c->reused = c->fd >= 0;
        h->begun++;
        http_init(&c->response);
        if (c->reused)
                begin_sending(h, c);
        else
                connect_client(h, c);
}

static void on_socket(struct hammer *h, struct client *c, uint32_t events)
{
        if (c->fd < 0)
                return;
        if (c->state == RESTING) { /* a kept connection, between two requests */
                if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
                        hang_up(c);
                        report_idle_closed(&h->report);
                }
                return;
        }
        if (c->state == CONNECTING) {
                int error = 0;
                socklen_t len = sizeof(error);

                if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
                        return;
                (void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
                if (error)
                        lose_connect(h, c, error);
                else
                        connected(h, c);
        } else if (c->state == SENDING) {
                send_some(h, c);
        }
        if (c->fd >= 0 && c->state == READING)
                read_some(h, c);
}

static void on_time(struct hammer *h, struct client *c, int64_t now)
{
        if (now < c->wake_us)
                return;
        if (c->state == RESTING) {
                if (h->requests_max && h->begun >= h->requests_max)
                        h->stopping = true;
                if (h->stopping) {
                        hang_up(c);
                        c->wake_us = NEVER;
                } else {
                        begin_request(h, c);
                }
        } else {
                lose(h, c, c->state == CONNECTING ? DONE_NO_CONNECTION : DONE_TIMEOUT, ETIMEDOUT);
        }
}

static void on_signal(struct hammer *h)
{
        struct signalfd_siginfo info;
        char name[REPORT_NAME_BYTES];

        while (read(h->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                if (info.ssi_signo == SIGUSR1) {
                        (void)snprintf(name, sizeof(name), "%u", ++h->n_marks);
                        report_mark(&h->report, name, now_us());
                } else {
                        h->stopping = true;
                }
        }
}

/* Each line names the slice that begins now. The end of the pipe ends the run: who started us is gone. */
static void on_mark(struct hammer *h)
{
        char buf[512];
        ssize_t n = read(h->mark_fd, buf, sizeof(buf));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                (void)epoll_ctl(h->epoll, EPOLL_CTL_DEL, h->mark_fd, NULL);
                h->stopping = true;
                return;
        }
        for (ssize_t i = 0; i < n; i++) {
                if (buf[i] != '\n') {
                        if (h->mark_len < sizeof(h->mark) - 1)
                                h->mark[h->mark_len++] = buf[i];
                        continue;
                }
                h->mark[h->mark_len] = '\0';
                h->mark_len = 0;
                report_mark(&h->report, h->mark, now_us());
        }
}

static int64_t next_wake(const struct hammer *h, bool *ret_busy)
{
        int64_t next = h->stopping ? NEVER : h->end_us;

        *ret_busy = false;
        for (unsigned i = 0; i < h->n_clients; i++) {
                const struct client *c = &h->clients[i];

                if (c->state != RESTING)
                        *ret_busy = true;
                else if (h->stopping)
                        continue;
                if (c->wake_us < next)
                        next = c->wake_us;
        }
        return next;
}

static void dispatch(struct hammer *h, const struct epoll_event *ev)
{
        if (ev->data.u32 == TAG_SIGNAL)
                on_signal(h);
        else if (ev->data.u32 == TAG_MARK)
                on_mark(h);
        else
                on_socket(h, &h->clients[ev->data.u32], ev->events);
}

static void run(struct hammer *h)
{
        struct epoll_event events[64];
        int64_t now = now_us();
        bool busy = false;

        report_init(&h->report, h->n_clients, now);
        h->report.histogram = h->histogram;
        h->end_us = now + h->duration_us;
        for (;;) {
                now = now_us();
                if (now >= h->end_us)
                        h->stopping = true;
                for (unsigned i = 0; i < h->n_clients; i++)
                        on_time(h, &h->clients[i], now);
                if (h->stopping)
                        report_stop(&h->report, now);
                int64_t next = next_wake(h, &busy);
                if (h->stopping && !busy)
                        break;
                now = now_us();
                int wait_ms = next <= now ? 0 : next - now > 1000000 ? 1000 : (int)((next - now + 999) / 1000);
                int n = epoll_wait(h->epoll, events, 64, wait_ms);
                for (int i = 0; i < n; i++)
                        dispatch(h, &events[i]);
        }
        report_end(&h->report);
}

static int parse_unix(const char *text, struct target *t)
{
        struct sockaddr_un *un = (struct sockaddr_un *)&t->addr;
        size_t n = strlen(text);

        if (!n || n >= sizeof(un->sun_path))
                return -EINVAL;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, text, n + 1);
        t->len = sizeof(*un);
        if (text[0] == '@') {
                un->sun_path[0] = '\0';
                t->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
        }
        (void)snprintf(t->host, sizeof(t->host), "localhost");
        return 0;
}

/* unix:PATH, unix:@NAME, HOST:PORT or [V6]:PORT; an http:// before it and a slash behind it do not matter */
static int parse_target(const char *text, struct target *t)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found = NULL;
        char host[128];
        char *colon;

        if (strncmp(text, "unix:", 5) == 0)
                return parse_unix(text + 5, t);
        if (strncmp(text, "http://", 7) == 0)
                text += 7;
        if (strlen(text) >= sizeof(host))
                return -EINVAL;
        memcpy(host, text, strlen(text) + 1);
        host[strcspn(host, "/")] = '\0';
        (void)snprintf(t->host, sizeof(t->host), "%s", host);
        colon = strrchr(host, ':');
        if (!colon)
                return -EINVAL;
        *colon = '\0';
        if (host[0] == '[' && colon[-1] == ']') {
                colon[-1] = '\0';
                memmove(host, host + 1, strlen(host));
        }
        if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
                return -EINVAL;
        memcpy(&t->addr, found->ai_addr, found->ai_addrlen);
        t->len = found->ai_addrlen;
        freeaddrinfo(found);
        return 0;
}

static int build_request(const struct hammer *h, struct client *c)
{
        int n = snprintf(c->request, sizeof(c->request), "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: hammer\r\n", h->path,
                         c->target->host);

        for (unsigned i = 0; i <= h->n_headers && n > 0 && (size_t)n < sizeof(c->request); i++) {
                if (i < h->n_headers)
                        n += snprintf(c->request + n, sizeof(c->request) - (size_t)n, "%s\r\n", h->headers[i]);
                else
                        n += snprintf(c->request + n, sizeof(c->request) - (size_t)n, "%s\r\n",
                                      c->keep ? "" : "Connection: close\r\n");
        }
        if (n < 0 || (size_t)n >= sizeof(c->request))
                return -EMSGSIZE;
        c->request_len = (size_t)n;
        return 0;
}

static int make_clients(struct hammer *h)
{
        int64_t now = now_us();

        h->clients = calloc(h->n_clients, sizeof(*h->clients));
        if (!h->clients)
                return -ENOMEM;
        for (unsigned i = 0; i < h->n_clients; i++) {
                struct client *c = &h->clients[i];

                c->fd = -1;
                c->n = i;
                c->keep = i < h->n_kept;
                c->target = &h->targets[i % h->n_targets];
                /* spread over the first pace, so that not all come at once for ever */
                rest(c, now + (int64_t)i * h->pace_us / (int64_t)h->n_clients);
                int r = build_request(h, c);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int watch(struct hammer *h, int fd, uint32_t tag)
{
        struct epoll_event ev = { .events = EPOLLIN, .data.u32 = tag };

        return epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int set_up(struct hammer *h)
{
        sigset_t set;
        int r;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGUSR1);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        h->epoll = epoll_create1(EPOLL_CLOEXEC);
        h->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (h->epoll < 0 || h->signals < 0)
                return -errno;
        r = watch(h, h->signals, TAG_SIGNAL);
        if (r == 0 && h->mark_fd >= 0) {
                (void)fcntl(h->mark_fd, F_SETFL, fcntl(h->mark_fd, F_GETFL) | O_NONBLOCK);
                r = watch(h, h->mark_fd, TAG_MARK);
        }
        return r < 0 ? r : make_clients(h);
}

static const char usage[] =
        "hammer [OPTIONS] TARGET...     TARGET = HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME\n"
        "  --clients N      clients in a closed loop (8); each has one of the targets, in turn\n"
        "  --kept K         so many of them keep their connections (0)\n"
        "  --pace MS        pause of a client after each request (0)\n"
        "  --retry MS       pause after a failed one (5)\n"
        "  --timeout MS     for one request, connecting included (10000)\n"
        "  --duration S     stop after so long (600); SIGTERM and SIGINT stop as well\n"
        "  --requests N     stop after so many (no limit)\n"
        "  --path P         (/)          --header 'NAME: VALUE'   repeatable\n"
        "  --expect TEXT    each body must begin with one of these; repeatable\n"
        "  --mark-fd FD     each line read there ends a slice of the report and names the next; its end stops the run\n"
        "  --announce       print {\"flowing\":true} when every client has had an answer\n"
        "  --histogram      each line tells the latencies too, as [microseconds, how many]\n"
        "SIGUSR1 begins a new slice too. Each slice, and the whole run at the end, is one line of JSON.\n";

enum { OPT_CLIENTS = 256, OPT_KEPT, OPT_PACE, OPT_RETRY, OPT_TIMEOUT, OPT_DURATION, OPT_REQUESTS, OPT_PATH, OPT_HEADER,
       OPT_EXPECT, OPT_MARK_FD, OPT_ANNOUNCE, OPT_HISTOGRAM, OPT_URL, OPT_HELP };

static const struct option long_options[] = {
        { "clients", required_argument, NULL, OPT_CLIENTS },   { "kept", required_argument, NULL, OPT_KEPT },
        { "pace", required_argument, NULL, OPT_PACE },         { "retry", required_argument, NULL, OPT_RETRY },
        { "timeout", required_argument, NULL, OPT_TIMEOUT },   { "duration", required_argument, NULL, OPT_DURATION },
        { "requests", required_argument, NULL, OPT_REQUESTS }, { "path", required_argument, NULL, OPT_PATH },
        { "header", required_argument, NULL, OPT_HEADER },     { "expect", required_argument, NULL, OPT_EXPECT },
        { "mark-fd", required_argument, NULL, OPT_MARK_FD },   { "announce", no_argument, NULL, OPT_ANNOUNCE },
        { "histogram", no_argument, NULL, OPT_HISTOGRAM },     { "url", required_argument, NULL, OPT_URL },
        { "help", no_argument, NULL, OPT_HELP },
        { 0 },
};

static void die(const char *what, const char *about)
{
        fprintf(stderr, "hammer: %s%s\n", what, about);
        exit(2);
}

static double number(const char *text, double min, double max)
{
        char *end;
        double n = strtod(text, &end);

        if (end == text || *end || !(n >= min && n <= max))
                die("a number out of range: ", text);
        return n;
}

static void add_target(struct hammer *h, const char *text)
{
        if (h->n_targets == TARGETS_MAX)
                die("too many targets", "");
        if (parse_target(text, &h->targets[h->n_targets]) < 0)
                die("not an address: ", text);
        h->n_targets++;
}

static void add_text(const char **list, unsigned *n, const char *text)
{
        if (*n == HEADERS_MAX)
                die("too many of: ", text);
        list[(*n)++] = text;
}

static void take_option(struct hammer *h, int option)
{
        switch (option) {
        case OPT_CLIENTS:
                h->n_clients = (unsigned)number(optarg, 1, CLIENTS_MAX);
                return;
        case OPT_KEPT:
                h->n_kept = (unsigned)number(optarg, 0, CLIENTS_MAX);
                return;
        case OPT_PACE:
                h->pace_us = (int64_t)(number(optarg, 0, 3600000) * 1000);
                return;
        case OPT_RETRY:
                h->retry_us = (int64_t)(number(optarg, 0, 3600000) * 1000);
                return;
        case OPT_TIMEOUT:
                h->timeout_us = (int64_t)(number(optarg, 1, 3600000) * 1000);
                return;
        case OPT_DURATION:
                h->duration_us = (int64_t)(number(optarg, 0, 86400) * 1000000);
                return;
        case OPT_REQUESTS:
                h->requests_max = (uint64_t)number(optarg, 0, 1e12);
                return;
        case OPT_PATH:
                h->path = optarg;
                return;
        case OPT_HEADER:
                add_text(h->headers, &h->n_headers, optarg);
                return;
        case OPT_EXPECT:
                add_text(h->expected, &h->n_expected, optarg);
                return;
        case OPT_MARK_FD:
                h->mark_fd = (int)number(optarg, 0, 1024);
                return;
        case OPT_ANNOUNCE:
                h->announce = true;
                return;
        case OPT_HISTOGRAM:
                h->histogram = true;
                return;
        case OPT_URL:
                add_target(h, optarg);
                return;
        case OPT_HELP:
                printf("%s", usage);
                exit(0);
        default:
                fprintf(stderr, "%s", usage);
                exit(2);
        }
}

int main(int argc, char **argv)
{
        static struct hammer h = {
                .mark_fd = -1,
                .n_clients = 8,
                .timeout_us = 10000000,
                .retry_us = 5000,
                .duration_us = 600000000,
                .path = "/",
        };
        int option, r;

        while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
                take_option(&h, option);
        for (int i = optind; i < argc; i++)
                add_target(&h, argv[i]);
        if (!h.n_targets)
                die("no target; see --help", "");
        r = set_up(&h);
        if (r < 0)
                die("cannot start: ", strerror(-r));
        run(&h);
        for (unsigned i = 0; i < h.n_clients; i++)
                hang_up(&h.clients[i]);
        free(h.clients);
        return 0;
}
