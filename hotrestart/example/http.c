/* SPDX-License-Identifier: MIT */
/*
 * Connections: requests in, answers out, kept alive until someone says close. A body is read past. A request with the header
 * "x-envoy-fault-delay-request: MS" is answered so much later, as an Envoy with its fault filter would. The answer's header
 * "x-listener" says which listener the request came in by.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hotrestart/example/server.h"

enum { ACCEPTS_A_ROUND = 64, PAUSE_MS = 10, DELAY_MS_MAX = 600000 };

struct request {
        const char *method, *path;
        bool close;
        int64_t delay_ms;
        int status; /* 0: understood */
};

static void drop(struct server *s, struct connection *c)
{
        if (c->dead)
                return;
        server_unwatch(s, &c->watch);
        (void)close(c->watch.fd);
        c->dead = true; /* an event of this round may still name it */
        if (c->busy)
                s->requests_active--;
        if (c->listener) {
                c->listener->connections--;
                s->n_connections--;
        }
}

static void flush(struct server *s, struct connection *c)
{
        while (c->out_done < c->out_bytes) {
                ssize_t n = send(c->watch.fd, c->out + c->out_done, c->out_bytes - c->out_done, MSG_NOSIGNAL);

                if (n < 0 && errno == EAGAIN)
                        return;
                if (n < 0) {
                        drop(s, c);
                        return;
                }
                c->out_done += (size_t)n;
        }
        free(c->out);
        c->out = NULL;
        c->out_bytes = c->out_done = 0;
        if (c->busy)
                s->requests_active--;
        c->busy = false;
        if (c->close_after)
                drop(s, c);
}

static void respond(struct server *s, struct connection *c, int status, const char *type, const char *body)
{
        char *out = NULL;
        int n;

        if (c->listener && (s->draining || s->unhealthy || s->stopping))
                c->close_after = true;
        n = asprintf(&out, "HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\nx-listener: %s\r\n%s\r\n%s", status,
                     status == 200 ? "OK" : "Error", type, strlen(body), c->listener ? c->listener->key.url : "admin",
                     c->close_after ? "connection: close\r\n" : "", body);
        if (n < 0) {
                drop(s, c);
                return;
        }
        c->out = out;
        c->out_bytes = (size_t)n;
        flush(s, c);
}

static void respond_to(struct server *s, struct connection *c, const struct request *r)
{
        char *body = NULL;
        int status;

        if (r->status) {
                c->close_after = true; /* what follows cannot be told apart */
                respond(s, c, r->status, "text/plain", "");
        } else if (c->listener) {
                respond(s, c, 200, "text/plain", s->opt.body);
        } else {
                status = admin_page(s, r->method, r->path, &body);
                respond(s, c, status, body && *body == '{' ? "application/json" : "text/plain", body ? body : "");
                free(body);
        }
}

static const char *header(const char *line, const char *name)
{
        size_t n = strlen(name);

        if (strncasecmp(line, name, n) != 0 || line[n] != ':')
                return NULL;
        return line + n + 1 + strspn(line + n + 1, " \t");
}

static void read_header(struct connection *c, const char *line, struct request *r)
{
        const char *value;
        char *end;

        if ((value = header(line, "content-length"))) {
                unsigned long long n = strtoull(value, &end, 10);

                if (end == value || *value < '0' || *value > '9' || n > SIZE_MAX / 2)
                        r->status = 400;
                else
                        c->skip_bytes = (size_t)n;
        } else if (header(line, "transfer-encoding")) {
                r->status = 411;
        } else if ((value = header(line, "connection"))) {
                if (strcasecmp(value, "close") == 0)
                        r->close = true;
                else if (strcasecmp(value, "keep-alive") == 0)
                        r->close = false;
        } else if ((value = header(line, "x-envoy-fault-delay-request"))) {
                r->delay_ms = strtol(value, NULL, 10);
                if (r->delay_ms < 0 || r->delay_ms > DELAY_MS_MAX)
                        r->delay_ms = 0;
        }
}

/* The head is cut into lines in place; it ends with an empty one. */
static void parse(struct connection *c, char *head, struct request *r)
{
        char *line = head, *path = NULL, *version = NULL;

        *r = (struct request){ .method = head };
        for (char *end; (end = strstr(line, "\r\n")); line = end + 2) {
                *end = '\0';
                if (line != head)
                        read_header(c, line, r);
                else if (!(path = strchr(line, ' ')) || !(version = strchr(path + 1, ' ')) ||
                         strncmp(version + 1, "HTTP/1.", 7) != 0)
                        r->status = 400;
                else
                        r->close = version[8] == '0';
        }
        if (!version) /* not even a first line: there is a NUL in it */
                r->status = 400;
        if (r->status)
                return;
        *path++ = '\0';
        *version = '\0';
        r->path = path;
}

static void consume(struct connection *c, size_t n)
{
        memmove(c->in, c->in + n, c->in_bytes - n);
        c->in_bytes -= n;
}

static void start_request(struct server *s, struct connection *c, struct request *r)
{
        c->close_after = r->close || r->status;
        if (c->listener) {
                c->busy = true;
                s->requests++;
                s->requests_active++;
        }
        if (!r->status && c->listener && r->delay_ms)
                c->due_ms = now_ms() + r->delay_ms;
        else
                respond_to(s, c, r);
}

static void process(struct server *s, struct connection *c)
{
        while (!c->dead && !c->out && !c->due_ms) {
                size_t skipped = c->skip_bytes < c->in_bytes ? c->skip_bytes : c->in_bytes;
                struct request r;
                char head[IN_BYTES + 1], *end;
                size_t n;

                consume(c, skipped);
                c->skip_bytes -= skipped;
                if (c->skip_bytes)
                        return;
                end = memmem(c->in, c->in_bytes, "\r\n\r\n", 4);
                if (!end && c->in_bytes < sizeof(c->in))
                        return;
                if (!end) {
                        start_request(s, c, &(struct request){ .status = 431 });
                        return;
                }
                n = (size_t)(end - c->in) + 4;
                memcpy(head, c->in, n);
                head[n] = '\0';
                consume(c, n);
                parse(c, head, &r);
                start_request(s, c, &r);
        }
}

static void want(struct server *s, struct connection *c)
{
        struct epoll_event ev = { .events = c->out ? EPOLLOUT : c->due_ms ? 0 : EPOLLIN, .data.ptr = &c->watch };

        if (!c->dead)
                (void)epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, c->watch.fd, &ev);
}

static void on_connection(struct server *s, struct watch *w, uint32_t events)
{
        struct connection *c = (struct connection *)w;
        bool was_busy = c->out || c->due_ms;
        ssize_t n;

        if (c->dead)
                return;
        if (c->out)
                flush(s, c);
        else if (c->due_ms && (events & (EPOLLHUP | EPOLLERR)))
                drop(s, c);
        if (!c->dead && !c->out && !c->due_ms && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
                n = recv(w->fd, c->in + c->in_bytes, sizeof(c->in) - c->in_bytes, 0);
                if (n <= 0) {
                        if (n == 0 || errno != EAGAIN)
                                drop(s, c);
                        return;
                }
                c->in_bytes += (size_t)n;
        }
        process(s, c);
        if (was_busy || c->out || c->due_ms)
                want(s, c);
}

static void take(struct server *s, struct listener *l, int fd)
{
        struct connection *c = calloc(1, sizeof(*c));

        if (!c) {
                (void)close(fd);
                return;
        }
        c->watch = (struct watch){ on_connection, fd };
        c->listener = l;
        if (server_watch(s, &c->watch, EPOLLIN) < 0) {
                (void)close(fd);
                free(c);
                return;
        }
        c->next = s->connections;
        if (c->next)
                c->next->prev = c;
        s->connections = c;
        if (l) {
                l->connections++;
                s->n_connections++;
        }
}

/* The queue of the kernel is the better place to wait in, as long as we cannot take more. */
static void pause_accepting(struct server *s)
{
        if (s->resume_ms)
                return;
        s->resume_ms = now_ms() + PAUSE_MS;
        for (size_t i = 0; i < s->n_listeners; i++)
                if (s->listeners[i].watch.fd >= 0)
                        server_unwatch(s, &s->listeners[i].watch);
}

static void resume_accepting(struct server *s)
{
        s->resume_ms = 0;
        for (size_t i = 0; i < s->n_listeners; i++)
                if (s->listeners[i].watch.fd >= 0)
                        (void)server_watch(s, &s->listeners[i].watch, EPOLLIN);
}

void http_on_listener(struct server *s, struct watch *w, uint32_t events)
{
        struct listener *l = w == &s->admin ? NULL : (struct listener *)w;

        (void)events;
        for (int i = 0; i < ACCEPTS_A_ROUND && w->fd >= 0; i++) {
                bool full = l && s->n_connections >= CONNECTIONS_MAX;
                int fd = full ? -1 : accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd < 0) {
                        if (full || errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                                pause_accepting(s);
                        return;
                }
                take(s, l, fd);
        }
}

int http_time(struct server *s)
{
        int64_t now = now_ms(), next = INT64_MAX;

        if (s->resume_ms && s->resume_ms <= now)
                resume_accepting(s);
        if (s->resume_ms)
                next = s->resume_ms;
        for (struct connection *c = s->connections; c; c = c->next) {
                if (c->dead || !c->due_ms)
                        continue;
                if (c->due_ms <= now) {
                        c->due_ms = 0;
                        respond(s, c, 200, "text/plain", s->opt.body);
                        process(s, c);
                        want(s, c);
                }
                if (!c->dead && c->due_ms && c->due_ms < next)
                        next = c->due_ms;
        }
        return next == INT64_MAX ? -1 : next <= now ? 0 : (int)(next - now);
}

void http_sweep(struct server *s)
{
        struct connection *next;

        for (struct connection *c = s->connections; c; c = next) {
                next = c->next;
                if (!c->dead)
                        continue;
                if (c->prev)
                        c->prev->next = next;
                else
                        s->connections = next;
                if (next)
                        next->prev = c->prev;
                free(c->out);
                free(c);
        }
}

void http_close_all(struct server *s)
{
        for (struct connection *c = s->connections; c; c = c->next)
                drop(s, c);
        http_sweep(s);
}
