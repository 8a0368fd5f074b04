/* SPDX-License-Identifier: MIT */
/* See admin.h. */
#include "agent/admin.h"

#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/io_again.h"
#include "agent/late.h"

enum { HEAD_BYTES_MAX = 8192, BODY_BYTES_FIRST = 16 * 1024 };

struct admin {
        struct ev_loop *loop;
        CURLM *multi;
        ev_timer timer;
        uid_t owner; /* of the proxy's socket */
};

struct watched {
        struct admin *admin;
        ev_io io;
};

struct admin_request {
        struct admin *admin;
        CURL *easy;
        void (*done)(void *userdata, int status, const char *body, size_t n);
        void *userdata;
        struct curl_slist *headers;
        char *body;
        size_t n, reserved;
        size_t *room;  /* bytes that the body may still have: the caller's for several requests, or @own_room */
        size_t own_room;
        char head[HEAD_BYTES_MAX];
        size_t n_head;
        int fd;        /* a connection that libcurl has not taken yet; -1 */
        int at;        /* the socket to connect to; -1 */
};

struct admin *admin_new(struct ev_loop *loop)
{
        struct admin *a = calloc(1, sizeof(*a));

        if (a) {
                a->loop = loop;
                a->owner = geteuid();
        }
        return a;
}

void admin_of_user(struct admin *a, uid_t owner)
{
        a->owner = owner;
}

static int errno_of(CURLcode c)
{
        switch ((int)c) {
        case CURLE_COULDNT_CONNECT:
                return -ECONNREFUSED;
        case CURLE_OPERATION_TIMEDOUT:
                return -ETIMEDOUT;
        case CURLE_OUT_OF_MEMORY:
                return -ENOMEM;
        case CURLE_WRITE_ERROR:
                return -EFBIG;
        default:
                return -EIO;
        }
}

static void request_free(struct admin_request *r)
{
        if (r->easy) {
                (void)curl_multi_remove_handle(r->admin->multi, r->easy);
                curl_easy_cleanup(r->easy);
        }
        close_fd(&r->fd);
        close_fd(&r->at);
        curl_slist_free_all(r->headers);
        *r->room += r->n;
        free(r->body);
        free(r);
}

static void request_freep(struct admin_request **r)
{
        admin_cancel(*r);
}

void admin_cancel(struct admin_request *r)
{
        if (r)
                request_free(r);
}

static void collect(struct admin *a)
{
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(a->multi, &left))) {
                struct admin_request *r;
                CURLcode result = m->data.result;
                long status = 0;

                if (m->msg != CURLMSG_DONE)
                        continue;
                (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
                (void)curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
                (void)curl_multi_remove_handle(a->multi, r->easy);
                r->done(r->userdata, result == CURLE_OK ? (int)status : errno_of(result), r->body ? r->body : "", r->n);
                request_free(r);
        }
}

static void act(struct admin *a, curl_socket_t fd, int what)
{
        int running;

        (void)curl_multi_socket_action(a->multi, fd, what, &running);
        collect(a);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
        struct watched *s = w->data;

        io_again(loop, w, revents);
        act(s->admin, w->fd, (revents & EV_READ ? CURL_CSELECT_IN : 0) | (revents & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
        struct admin *a = w->data;

        (void)revents;
        ev_timer_stop(loop, w);
        act(a, CURL_SOCKET_TIMEOUT, 0);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket)
{
        struct admin *a = userdata;
        struct watched *s = socket;
        int events = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);

        (void)easy;
        if (what == CURL_POLL_REMOVE) {
                if (s)
                        ev_io_stop(a->loop, &s->io);
                free(s);
                return 0;
        }
        if (!s) {
                s = calloc(1, sizeof(*s));
                if (!s)
                        return -1;
                s->admin = a;
                ev_init(&s->io, on_io);
                s->io.data = s;
                (void)curl_multi_assign(a->multi, fd, s);
        }
        ev_io_stop(a->loop, &s->io);
        ev_io_set(&s->io, fd, events);
        ev_io_start(a->loop, &s->io);
        return 0;
}

static int on_timeout_wanted(CURLM *multi, long ms, void *userdata)
{
        struct admin *a = userdata;

        (void)multi;
        ev_timer_stop(a->loop, &a->timer);
        if (ms < 0)
                return 0;
        ev_timer_set(&a->timer, (double)ms / 1e3, 0.);
        ev_timer_start(a->loop, &a->timer);
        return 0;
}

static int set_up(struct admin *a)
{
        if (a->multi)
                return 0;
        if (late_curl() < 0)
                return -ELIBACC;
        if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK) /* no TLS: the admin is a Unix socket */
                return -ENOMEM;
        a->multi = curl_multi_init();
        if (!a->multi)
                return -ENOMEM;
        ev_init(&a->timer, on_timer);
        a->timer.data = a;
        (void)curl_multi_setopt(a->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        (void)curl_multi_setopt(a->multi, CURLMOPT_SOCKETDATA, a);
        (void)curl_multi_setopt(a->multi, CURLMOPT_TIMERFUNCTION, on_timeout_wanted);
        (void)curl_multi_setopt(a->multi, CURLMOPT_TIMERDATA, a);
        (void)curl_multi_setopt(a->multi, CURLMOPT_MAXCONNECTS, 4L);
        return 0;
}

int admin_prepare(struct admin *a)
{
        return a ? set_up(a) : -ENOMEM;
}

/* Doubling: an answer may have many megabytes, and comes in small pieces. What is reserved and not used yet costs nothing. */
static bool reserve(struct admin_request *r, size_t bytes)
{
        size_t wanted = r->reserved ? r->reserved : BODY_BYTES_FIRST;
        char *more;

        if (bytes <= r->reserved)
                return true;
        while (wanted < bytes)
                wanted *= 2;
        more = realloc(r->body, wanted);
        if (!more)
                return false;
        r->body = more;
        r->reserved = wanted;
        return true;
}

static size_t on_body(char *bytes, size_t one, size_t n, void *userdata)
{
        struct admin_request *r = userdata;

        if (n > *r->room || !reserve(r, r->n + n + 1))
                return 0;
        memcpy(r->body + r->n, bytes, n);
        *r->room -= n;
        r->n += n;
        r->body[r->n] = '\0';
        return one * n;
}

/* A line of the head. "100 Continue" has a head of its own, which is not what the caller asked for. */
static size_t on_head(char *bytes, size_t one, size_t n, void *userdata)
{
        struct admin_request *r = userdata;

        if (n > 5 && memcmp(bytes, "HTTP/", 5) == 0) {
                r->n_head = 0;
                return one * n;
        }
        if (n >= sizeof(r->head) - r->n_head)
                return 0;
        memcpy(r->head + r->n_head, bytes, n);
        r->n_head += n;
        r->head[r->n_head] = '\0';
        return one * n;
}

const char *admin_headers(const struct admin_request *r)
{
        return r->head;
}

char *admin_take_body(struct admin_request *r)
{
        r->n = 0;
        return TAKE(r->body);
}

static int add_headers(struct admin_request *r, const struct admin_call *call)
{
        for (const char *const *h = call->headers; h && *h; h++) {
                struct curl_slist *more = curl_slist_append(r->headers, *h);

                if (!more)
                        return -ENOMEM;
                r->headers = more;
        }
        if (r->headers)
                (void)curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
        return 0;
}

/* libcurl owns it from here. A second connection, for a retry say, there is not. */
static curl_socket_t on_connection_wanted(void *userdata, curlsocktype purpose, struct curl_sockaddr *addr)
{
        struct admin_request *r = userdata;

        (void)purpose;
        (void)addr;
        return r->fd < 0 ? CURL_SOCKET_BAD : TAKE_FD(r->fd);
}

static int on_connection_opened(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
        (void)userdata;
        (void)fd;
        (void)purpose;
        return CURL_SOCKOPT_ALREADY_CONNECTED;
}

static void lead_over_connection(struct admin_request *r)
{
        (void)curl_easy_setopt(r->easy, CURLOPT_OPENSOCKETFUNCTION, on_connection_wanted);
        (void)curl_easy_setopt(r->easy, CURLOPT_OPENSOCKETDATA, r);
        (void)curl_easy_setopt(r->easy, CURLOPT_SOCKOPTFUNCTION, on_connection_opened);
}

/*
 * The folder is the proxy's, and a broken one may have put a link there to a socket that answers us and not it: what is connected
 * to is a socket of the proxy's own, by a descriptor of it. Return: -1: libcurl finds nothing there, and is refused.
 */
static int own_socket(const struct admin *a, const char *path)
{
        CLEANUP(close_fd) int at = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        return at < 0 || fstat(at, &st) < 0 || !S_ISSOCK(st.st_mode) || st.st_uid != a->owner ? -1 : TAKE_FD(at);
}

/* Where it goes: to the Unix socket of the call, or over a connection that is there already. */
struct whereto {
        int fd; /* -1: to the Unix socket */
        const char *authority;
};

static int send_request(struct admin *a, const struct whereto *to, const struct admin_call *call, size_t max_bytes,
                        void (*done)(void *userdata, int status, const char *body, size_t n), void *userdata, struct admin_request **ret)
{
        CLEANUP(request_freep) struct admin_request *r = NULL;
        CLEANUP(close_fd) int owned = to->fd;
        char url[512], path[64];
        int ready = a ? set_up(a) : -ENOMEM;

        if (ready < 0)
                return ready;
        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        *r = (struct admin_request){ .admin = a, .easy = curl_easy_init(), .done = done, .userdata = userdata, .own_room = max_bytes,
                                     .fd = TAKE_FD(owned), .at = -1 };
        r->room = call->room ? call->room : &r->own_room;
        if (!r->easy || add_headers(r, call) < 0)
                return -ENOMEM;
        (void)snprintf(url, sizeof(url), "http://%s/", to->authority);
        (void)curl_easy_setopt(r->easy, CURLOPT_URL, url);
        (void)curl_easy_setopt(r->easy, CURLOPT_REQUEST_TARGET, call->path); /* a URL would be cut at a # and tidied up */
        if (call->unix_path) {
                r->at = own_socket(a, call->unix_path);
                (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", r->at);
                (void)curl_easy_setopt(r->easy, CURLOPT_UNIX_SOCKET_PATH, path);
        } else {
                lead_over_connection(r);
        }
        if (call->body_bytes > 0) {
                (void)curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE, (long)call->body_bytes);
                (void)curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, call->body);
        }
        (void)curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, call->method);
        (void)curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
        (void)curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
        (void)curl_easy_setopt(r->easy, CURLOPT_PROXY, "");
        (void)curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
        (void)curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
        (void)curl_easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, on_head);
        (void)curl_easy_setopt(r->easy, CURLOPT_HEADERDATA, r);
        (void)curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
        (void)curl_easy_setopt(r->easy, CURLOPT_FORBID_REUSE, 1L); /* an idle admin connection would count as one */
        if (curl_multi_add_handle(a->multi, r->easy) != CURLM_OK)
                return -ENOMEM;
        *ret = TAKE(r);
        return 0;
}

static const struct whereto to_the_proxy = { .fd = -1, .authority = "proxy" };

int admin_request(struct admin *a, const char *unix_path, const char *method, const char *path, int timeout_ms, size_t max_bytes,
                  void (*done)(void *userdata, int status, const char *body, size_t n), void *userdata,
                  struct admin_request **ret)
{
        return send_request(a, &to_the_proxy, &(struct admin_call){ .unix_path = unix_path, .method = method, .path = path, .timeout_ms = timeout_ms },
                            max_bytes, done, userdata, ret);
}

int admin_request_over(struct admin *a, int fd, const char *authority, const char *path, int timeout_ms, size_t max_bytes,
                       void (*done)(void *userdata, int status, const char *body, size_t n), void *userdata,
                       struct admin_request **ret)
{
        return send_request(a, &(struct whereto){ fd, authority }, &(struct admin_call){ .method = "GET", .path = path, .timeout_ms = timeout_ms },
                            max_bytes, done, userdata, ret);
}

int admin_call(struct admin *a, const struct admin_call *call, void (*done)(void *userdata, int status, const char *body, size_t n),
               void *userdata, struct admin_request **ret)
{
        return send_request(a, &to_the_proxy, call, 0, done, userdata, ret);
}
