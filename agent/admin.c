/* SPDX-License-Identifier: MIT */
/* See admin.h. */
#include "agent/admin.h"

#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/io_again.h"
#include "agent/late.h"

struct admin {
        struct ev_loop *loop;
        CURLM *multi;
        ev_timer timer;
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
        char *body;
        size_t n, max;
};

struct admin *admin_new(struct ev_loop *loop)
{
        struct admin *a = calloc(1, sizeof(*a));

        if (a)
                a->loop = loop;
        return a;
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
        (void)curl_multi_remove_handle(r->admin->multi, r->easy);
        curl_easy_cleanup(r->easy);
        free(r->body);
        free(r);
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

static size_t on_body(char *bytes, size_t one, size_t n, void *userdata)
{
        struct admin_request *r = userdata;
        char *more;

        if (n > r->max - r->n)
                return 0;
        more = realloc(r->body, r->n + n + 1);
        if (!more)
                return 0;
        memcpy(more + r->n, bytes, n);
        r->body = more;
        r->n += n;
        r->body[r->n] = '\0';
        return one * n;
}

int admin_request(struct admin *a, const char *unix_path, const char *method, const char *path, int timeout_ms, size_t max_bytes,
                  void (*done)(void *userdata, int status, const char *body, size_t n), void *userdata,
                  struct admin_request **ret)
{
        struct admin_request *r;
        char url[1024];
        int ready = a ? set_up(a) : -ENOMEM;

        if (ready < 0)
                return ready;
        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        *r = (struct admin_request){ .admin = a, .easy = curl_easy_init(), .done = done, .userdata = userdata, .max = max_bytes };
        if (!r->easy) {
                free(r);
                return -ENOMEM;
        }
        (void)snprintf(url, sizeof(url), "http://proxy%s", path);
        (void)curl_easy_setopt(r->easy, CURLOPT_URL, url);
        (void)curl_easy_setopt(r->easy, CURLOPT_UNIX_SOCKET_PATH, unix_path);
        (void)curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, method);
        (void)curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
        (void)curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
        (void)curl_easy_setopt(r->easy, CURLOPT_PROXY, "");
        (void)curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
        (void)curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
        (void)curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
        (void)curl_easy_setopt(r->easy, CURLOPT_FORBID_REUSE, 1L); /* an idle admin connection would count as one */
        if (curl_multi_add_handle(a->multi, r->easy) != CURLM_OK) {
                curl_easy_cleanup(r->easy);
                free(r);
                return -ENOMEM;
        }
        *ret = r;
        return 0;
}
