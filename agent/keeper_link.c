/* SPDX-License-Identifier: MIT */
/* See keeper_link.h. Knows the wire and nothing of what the names or jobs mean. */
#include "agent/keeper_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "agent/cleanup.h"

enum {
        FDS_POSSIBLE = 253, /* the kernel's limit: more than we want, so that nothing is cut off */
        EVENTS_MAX = 1 << 16,
        RETRY_MS = 2,
};

struct event_queue {
        struct keeper_event *list;
        size_t first, n, room;
};

struct keeper_link {
        int fd;
        uint64_t id;
        bool gone;
        struct event_queue events;
        unsigned char payload[WIRE_MESSAGE_BYTES];
};

/* One received message. The payload lies in the link until the next one comes. */
struct message {
        struct wire_header head;
        int fds[FDS_POSSIBLE];
        size_t n_fds;
        bool cut;
};

struct list_call {
        void (*on_held)(void *userdata, const char *name, int fd);
        void (*on_job)(void *userdata, const struct wire_job *job, int pidfd);
        void *userdata;
        bool lost;
};

struct request {
        struct wire_header head;
        struct iovec payload[WIRE_FDS_MAX];
        size_t n_payload;
        const int *fds;
        size_t n_fds;
        struct list_call *list; /* or NULL */
};

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int keeper_link_new(int fd, struct keeper_link **ret)
{
        struct keeper_link *l;
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        l = malloc(sizeof(*l)); /* no calloc: most of the payload is never touched */
        if (!l)
                return -ENOMEM;
        l->fd = fd;
        l->id = 0;
        l->gone = false;
        l->events = (struct event_queue){ 0 };
        *ret = l;
        return 0;
}

struct keeper_link *keeper_link_free(struct keeper_link *l)
{
        if (!l)
                return NULL;
        (void)close(l->fd);
        free(l->events.list);
        free(l);
        return NULL;
}

int keeper_link_fd(const struct keeper_link *l)
{
        return l->fd;
}

/* ---- events ------------------------------------------------------------------------------------------- */

static int queue_push(struct event_queue *q, const struct keeper_event *e)
{
        if (q->first + q->n == q->room && q->first > 0) {
                memmove(q->list, q->list + q->first, q->n * sizeof(*q->list));
                q->first = 0;
        }
        if (q->n == q->room) {
                size_t room = q->room ? 2 * q->room : 16;
                struct keeper_event *list = q->n >= EVENTS_MAX ? NULL : realloc(q->list, room * sizeof(*list));

                if (!list)
                        return -ENOMEM;
                q->list = list;
                q->room = room;
        }
        q->list[q->first + q->n++] = *e;
        return 0;
}

static bool queue_pop(struct event_queue *q, struct keeper_event *ret)
{
        if (q->n == 0)
                return false;
        *ret = q->list[q->first++];
        q->n--;
        if (q->n == 0)
                q->first = 0;
        return true;
}

bool keeper_link_pending(const struct keeper_link *l)
{
        return l->events.n > 0 || l->gone;
}

/* ---- one message -------------------------------------------------------------------------------------- */

static void message_done(struct message *m)
{
        for (size_t i = 0; i < m->n_fds; i++)
                if (m->fds[i] >= 0)
                        (void)close(m->fds[i]);
        m->n_fds = 0;
}

static int take_fd(struct message *m, size_t i)
{
        return i < m->n_fds ? TAKE_FD(m->fds[i]) : -1;
}

static void take_fds(struct msghdr *h, struct message *m)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || n > FDS_POSSIBLE - m->n_fds)
                        continue;
                memcpy(m->fds + m->n_fds, CMSG_DATA(c), n * sizeof(int));
                m->n_fds += n;
        }
}

static int gone(struct keeper_link *l, int error)
{
        l->gone = true;
        return error;
}

/* Return: 0 and a message, to be ended by message_done(); -EAGAIN; -EPIPE; -EPROTO. */
static int receive(struct keeper_link *l, struct message *m)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int) * FDS_POSSIBLE)];
                struct cmsghdr align;
        } control;
        struct iovec iov[2] = { { &m->head, sizeof(m->head) }, { l->payload, sizeof(l->payload) } };
        struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof(control) };
        ssize_t n;

        m->n_fds = 0;
        do {
                n = recvmsg(l->fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOMEM || errno == ENOBUFS))
                return -EAGAIN; /* what could not be received now is still there */
        if (n <= 0)
                return gone(l, -EPIPE);
        take_fds(&h, m);
        m->cut = (h.msg_flags & MSG_CTRUNC) != 0;
        if ((size_t)n < sizeof(m->head) || (h.msg_flags & MSG_TRUNC) || m->head.magic != WIRE_MAGIC ||
            m->head.bytes != (size_t)n - sizeof(m->head)) {
                message_done(m);
                return gone(l, -EPROTO);
        }
        return 0;
}

/* A newer keeper may send more than we know of a struct, an older one less: the rest is 0. */
static void read_struct(const struct keeper_link *l, const struct message *m, void *ret, size_t size)
{
        size_t n = m->head.bytes < size ? m->head.bytes : size;

        memset(ret, 0, size);
        memcpy(ret, l->payload, n);
}

/* A refusal without a reason is one all the same. */
static void note_text(const struct keeper_link *l, const struct message *m, struct keeper_event *e)
{
        e->ticket = m->head.job;
        read_struct(l, m, e->text, sizeof(e->text) - 1);
        if (m->head.value != 0 && !*e->text)
                memcpy(e->text, "unknown", sizeof("unknown"));
}

/* What comes unasked. Anything else is an answer that nobody waits for any more. */
static int note_event(struct keeper_link *l, const struct message *m)
{
        struct keeper_event e = { .type = (enum wire_type)m->head.type };

        if (m->head.type == WIRE_SELF_ENDED)
                note_text(l, m, &e);
        else if (m->head.type == WIRE_EXITED)
                read_struct(l, m, &e.job, sizeof(e.job));
        else if (m->head.type == WIRE_SIGNAL)
                read_struct(l, m, &e.signal, sizeof(e.signal));
        else
                return 0;
        return queue_push(&l->events, &e);
}

static int pass_held(struct keeper_link *l, struct message *m, struct list_call *call)
{
        const char *name = (const char *)l->payload;
        size_t left = m->head.bytes;

        if (m->cut || m->n_fds < m->head.n)
                call->lost = true;
        for (uint32_t i = 0; i < m->head.n; i++) {
                size_t n = strnlen(name, left);
                int fd = take_fd(m, i);

                if (n == left) {
                        close_fd(&fd);
                        return gone(l, -EPROTO);
                }
                if (fd >= 0)
                        call->on_held(call->userdata, name, fd);
                name += n + 1;
                left -= n + 1;
        }
        return 0;
}

static int pass_on(struct keeper_link *l, struct message *m, const struct request *q)
{
        struct wire_job job;

        if (!q->list || m->head.id != q->head.id)
                return note_event(l, m);
        if (m->head.type == WIRE_HELD)
                return pass_held(l, m, q->list);
        if (m->head.type != WIRE_JOB)
                return note_event(l, m);
        read_struct(l, m, &job, sizeof(job));
        q->list->lost = q->list->lost || m->cut;
        q->list->on_job(q->list->userdata, &job, take_fd(m, 0));
        return 0;
}

/* ---- one request -------------------------------------------------------------------------------------- */

static struct request request_new(uint16_t type)
{
        struct request q;

        q.head = (struct wire_header){ .magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = type };
        q.n_payload = 0;
        q.fds = NULL;
        q.n_fds = 0;
        q.list = NULL;
        return q;
}

static void request_add(struct request *q, const char *bytes, size_t n)
{
        q->payload[q->n_payload++] = (struct iovec){ (void *)bytes, n };
        q->head.bytes += (uint32_t)n;
}

static int request_add_name(struct request *q, const char *name)
{
        size_t n = strlen(name) + 1;

        if (n > WIRE_NAME_BYTES)
                return -ENAMETOOLONG;
        request_add(q, name, n);
        q->head.n++;
        return 0;
}

static int wait_for(struct keeper_link *l, short events, int64_t until_ms)
{
        struct pollfd p = { .fd = l->fd, .events = events };
        int64_t left = until_ms - now_ms();

        if (left <= 0)
                return -ETIMEDOUT;
        if (poll(&p, 1, (int)left) < 0 && errno != EINTR && errno != ENOMEM)
                return -errno;
        return 0;
}

static int send_once(struct keeper_link *l, const struct request *q)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
                struct cmsghdr align;
        } control;
        struct iovec iov[1 + WIRE_FDS_MAX];
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = 1 + q->n_payload };
        struct cmsghdr *c;

        iov[0] = (struct iovec){ (void *)&q->head, sizeof(q->head) };
        memcpy(iov + 1, q->payload, q->n_payload * sizeof(*iov));
        if (q->n_fds > 0) {
                m.msg_control = control.bytes;
                m.msg_controllen = CMSG_SPACE(sizeof(int) * q->n_fds);
                memset(control.bytes, 0, m.msg_controllen); /* the padding too */
                c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * q->n_fds);
                memcpy(CMSG_DATA(c), q->fds, sizeof(int) * q->n_fds);
        }
        return sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* The kernel is out of something. ETOOMANYREFS: too many descriptors are under way between all of this user's processes. */
static bool for_a_moment(int r)
{
        return r == -ETOOMANYREFS || r == -ENOBUFS || r == -ENOMEM;
}

static int send_request(struct keeper_link *l, const struct request *q, int64_t until_ms)
{
        for (;;) {
                int r = send_once(l, q);

                if (r == -EPIPE || r == -ECONNRESET)
                        return gone(l, -EPIPE);
                if (r != -EAGAIN && r != -EINTR && !for_a_moment(r))
                        return r;
                if (for_a_moment(r))
                        (void)poll(NULL, 0, RETRY_MS);
                r = wait_for(l, POLLOUT, until_ms);
                if (r < 0)
                        return r;
        }
}

/* @ret_reply is to be ended by message_done(), whatever the answer. */
static int call(struct keeper_link *l, struct request *q, struct message *ret_reply)
{
        int64_t until_ms = now_ms() + KEEPER_LINK_TIMEOUT_MS;
        int r;

        ret_reply->n_fds = 0;
        if (l->gone)
                return -EPIPE;
        q->head.id = ++l->id;
        r = send_request(l, q, until_ms);
        while (r == 0) {
                r = receive(l, ret_reply);
                if (r == -EAGAIN) {
                        r = wait_for(l, POLLIN, until_ms);
                        continue;
                }
                if (r < 0)
                        return r;
                if (ret_reply->head.type == WIRE_REPLY && ret_reply->head.id == q->head.id)
                        return ret_reply->head.value < 0 ? (int)ret_reply->head.value : 0;
                r = pass_on(l, ret_reply, q);
                message_done(ret_reply);
        }
        return r;
}

static int call_plain(struct keeper_link *l, struct request *q)
{
        CLEANUP(message_done) struct message reply;

        return call(l, q, &reply);
}

int keeper_link_list(struct keeper_link *l, struct wire_facts *ret,
                     void (*on_held)(void *userdata, const char *name, int fd),
                     void (*on_job)(void *userdata, const struct wire_job *job, int pidfd), void *userdata)
{
        struct list_call list = { .on_held = on_held, .on_job = on_job, .userdata = userdata };
        struct request q = request_new(WIRE_LIST);
        CLEANUP(message_done) struct message reply;
        int r;

        q.list = &list;
        r = call(l, &q, &reply);
        if (r < 0)
                return r;
        read_struct(l, &reply, ret, sizeof(*ret));
        return list.lost ? -EMFILE : 0;
}

static int call_names(struct keeper_link *l, uint16_t type, const char *const *names, const int *fds, size_t n)
{
        while (n > 0) {
                struct request q = request_new(type);
                size_t part = n < WIRE_FDS_MAX ? n : WIRE_FDS_MAX;
                int r = 0;

                for (size_t i = 0; r == 0 && i < part; i++)
                        r = request_add_name(&q, names[i]);
                q.fds = fds;
                q.n_fds = fds ? part : 0;
                if (r == 0)
                        r = call_plain(l, &q);
                if (r < 0)
                        return r;
                names += part;
                fds = fds ? fds + part : NULL;
                n -= part;
        }
        return 0;
}

int keeper_link_hold(struct keeper_link *l, const char *const *names, const int *fds, size_t n)
{
        return call_names(l, WIRE_HOLD, names, fds, n);
}

int keeper_link_drop(struct keeper_link *l, const char *const *names, size_t n)
{
        return call_names(l, WIRE_DROP, names, NULL, n);
}

int keeper_link_launch(struct keeper_link *l, uint64_t job, const char *record_name, struct wire_job *ret_job, int *ret_pidfd)
{
        struct request q = request_new(WIRE_LAUNCH);
        CLEANUP(message_done) struct message reply;
        int r;

        reply.n_fds = 0;
        q.head.job = job;
        r = request_add_name(&q, record_name);
        if (r == 0)
                r = call(l, &q, &reply);
        if (r < 0)
                return r;
        read_struct(l, &reply, ret_job, sizeof(*ret_job));
        *ret_pidfd = take_fd(&reply, 0);
        return 0;
}

int keeper_link_ack_exit(struct keeper_link *l, uint64_t job)
{
        struct request q = request_new(WIRE_ACK_EXIT);

        q.head.job = job;
        return call_plain(l, &q);
}

int keeper_link_working(struct keeper_link *l, int64_t stop_timeout_ms)
{
        struct request q = request_new(WIRE_WORKING);

        q.head.value = stop_timeout_ms;
        return call_plain(l, &q);
}

int keeper_link_stop(struct keeper_link *l)
{
        struct request q = request_new(WIRE_STOP);

        return call_plain(l, &q);
}

int keeper_link_end(struct keeper_link *l, int status)
{
        struct request q = request_new(WIRE_END);
        int r;

        q.head.value = status;
        r = call_plain(l, &q);
        return r == -EPIPE ? 0 : r;
}

int keeper_link_notify(struct keeper_link *l, const char *text)
{
        struct request q = request_new(WIRE_NOTIFY);
        size_t n = strlen(text);

        if (n > WIRE_MESSAGE_BYTES - sizeof(q.head))
                return -E2BIG;
        request_add(&q, text, n);
        return call_plain(l, &q);
}

int keeper_link_self(struct keeper_link *l, const char *path, uint64_t ticket)
{
        struct request q = request_new(WIRE_SELF);

        q.head.job = ticket;
        request_add(&q, path, strlen(path));
        return call_plain(l, &q);
}

int keeper_link_dispatch(struct keeper_link *l, struct keeper_event *ret)
{
        for (;;) {
                struct message m;
                int r;

                if (queue_pop(&l->events, ret))
                        return 0;
                if (l->gone)
                        return -EPIPE;
                r = receive(l, &m);
                if (r == -EAGAIN)
                        return KEEPER_LINK_NOTHING;
                if (r < 0)
                        return r;
                r = note_event(l, &m);
                message_done(&m);
                if (r < 0)
                        return r;
        }
}

int keeper_link_rearm(int heartbeat_fd)
{
        const struct itimerspec in = {
                .it_value = { .tv_sec = WIRE_HEARTBEAT_MS / 1000, .tv_nsec = WIRE_HEARTBEAT_MS % 1000 * 1000000 },
        };

        return timerfd_settime(heartbeat_fd, 0, &in, NULL) < 0 ? -errno : 0;
}
