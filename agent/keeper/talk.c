/* SPDX-License-Identifier: MIT */
/*
 * The keeper's side of the wire. One request at a time: the next is read when the answer to the last is sent.
 * So nothing needs a queue: what is owed to the agent stands in the tables themselves (a cursor, a flag at each
 * job), and an agent that does not read can neither block the keeper nor make it grow.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/keeper/self.h"

enum {
        FDS_POSSIBLE = 253, /* the kernel's limit: more than we want, so that nothing is cut off */
        DAY_MS = 24 * 3600 * 1000,
};

static unsigned char payload[WIRE_MESSAGE_BYTES];

struct request {
        struct wire_header head;
        const char *names; /* the payload */
        size_t bytes;
        int fds[FDS_POSSIBLE];
        size_t n_fds;
        bool cut;
};

void talk_open(struct keeper *k, int fd)
{
        struct talk *t = &k->talk;

        *t = (struct talk){ .fd = fd, .reply_job = JOBS_MAX, .retry_at = MONO_NEVER, .last_signal = t->last_signal,
                            .tell_hup = t->tell_hup, .tell_usr1 = t->tell_usr1 };
}

void talk_close(struct keeper *k)
{
        if (k->talk.fd >= 0)
                (void)close(k->talk.fd);
        talk_open(k, -1);
}

short talk_events(const struct keeper *k)
{
        const struct talk *t = &k->talk;
        short events = t->listing || t->owes ? 0 : POLLIN;

        return t->stuck && mono_is_never(t->retry_at) ? events | POLLOUT : events;
}

/* ---- to the agent ------------------------------------------------------------------------------------- */

static int send_message(struct talk *t, const struct wire_header *h, const void *bytes, const int *fds, size_t n_fds)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
                struct cmsghdr align;
        } control;
        struct iovec iov[2] = { { (void *)h, sizeof(*h) }, { (void *)bytes, h->bytes } };
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
        struct cmsghdr *c;

        if (n_fds > 0) {
                m.msg_control = control.bytes;
                m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                memset(control.bytes, 0, m.msg_controllen); /* the padding too */
                c = &control.align;
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        return sendmsg(t->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static struct wire_header header(uint16_t type, uint64_t id, uint32_t n, size_t bytes)
{
        return (struct wire_header){ .magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = type, .id = id, .n = n,
                                     .bytes = (uint32_t)bytes };
}

static int send_job(struct keeper *k, uint32_t i, uint16_t type, uint64_t id)
{
        struct job *j = &k->jobs.list[i];
        struct wire_header h = header(type, id, j->pidfd >= 0, sizeof(j->record));
        int r;

        h.job = j->record.job;
        r = send_message(&k->talk, &h, &j->record, &j->pidfd, type != WIRE_EXITED && j->pidfd >= 0);
        if (r == 0 && j->record.code)
                j->tell = false;
        return r;
}

/* The names of a run of entries lie one behind the other, so they are sent from where they are. */
static int send_held(struct keeper *k)
{
        const struct table *t = &k->table;
        uint32_t from = k->talk.next_held;
        uint32_t n = t->n - from < WIRE_FDS_MAX ? t->n - from : WIRE_FDS_MAX;
        uint32_t end = from + n < t->n ? t->name[from + n] : t->text_bytes;
        struct wire_header h = header(WIRE_HELD, k->talk.reply.id, n, end - t->name[from]);
        int r = send_message(&k->talk, &h, table_name(t, from), t->fd + from, n);

        if (r == 0)
                k->talk.next_held += n;
        return r;
}

static int send_list(struct keeper *k)
{
        struct talk *t = &k->talk;
        int r = 0;

        while (r == 0 && t->next_held < k->table.n)
                r = send_held(k);
        while (r == 0 && t->next_job < k->jobs.top) {
                if (k->jobs.list[t->next_job].used)
                        r = send_job(k, t->next_job, WIRE_JOB, t->reply.id);
                if (r == 0)
                        t->next_job++;
        }
        return r;
}

/* How many descriptors we can hold: the table's size, or what the limit of descriptors leaves for it. */
static uint32_t table_room(const struct keeper *k)
{
        enum { OWN_FDS = 64 }; /* ours, and a pidfd for each process that runs */
        uint64_t fds = k->nofile_hard > OWN_FDS ? k->nofile_hard - OWN_FDS : 0;

        return fds < TABLE_MAX ? (uint32_t)fds : TABLE_MAX;
}

static int send_facts(struct keeper *k)
{
        struct talk *t = &k->talk;
        uint32_t fresh = k->agent.quick >= QUICK_DEATHS ? WIRE_FRESH : 0;
        struct wire_facts f = {
                .keeper_pid = k->pid,
                .stop_count = k->stop.count,
                .agent_starts = k->agent.starts,
                .flags = k->flags | fresh | (k->agent.heir ? WIRE_REPLACED : 0) |
                         (self_is_tried(k) || k->self.tell ? WIRE_TRIES : 0),
                .nofile_soft = k->nofile_soft,
                .nofile_hard = k->nofile_hard,
                .listen_fds = k->inherited,
                .held = table_room(k),
                .started_ns = k->started.ns,
                .replaced = k->replaced,
                .replaced_ticket = k->ticket,
        };
        int r;

        memcpy(f.replaced_version, k->version, sizeof(f.replaced_version));
        t->reply.bytes = sizeof(f);
        r = send_message(t, &t->reply, &f, NULL, 0);
        if (r < 0)
                return r;
        t->listing = false;
        t->listed = true;
        t->last_signal = 0; /* the facts have told of it */
        return 0;
}

static int send_reply(struct keeper *k)
{
        struct talk *t = &k->talk;

        if (t->listing)
                return send_facts(k);
        if (t->reply_job < JOBS_MAX) {
                struct job *j = &k->jobs.list[t->reply_job];
                bool alive = j->pidfd >= 0;

                t->reply.n = alive;
                t->reply.bytes = sizeof(j->record);
                return send_message(t, &t->reply, &j->record, &j->pidfd, alive);
        }
        return send_message(t, &t->reply, NULL, NULL, 0);
}

static int send_signal(struct keeper *k, int signo)
{
        struct wire_signal s = { .signo = signo, .stop_count = k->stop.count };
        struct wire_header h = header(WIRE_SIGNAL, 0, 0, sizeof(s));

        return send_message(&k->talk, &h, &s, NULL, 0);
}

/* To an agent that has restarted meanwhile, too: what it makes of a try that it did not begin is its business. */
static int send_self_ended(struct keeper *k)
{
        const char *text = k->self.refusal;
        struct wire_header h = header(WIRE_SELF_ENDED, 0, 0, strlen(text));
        int r;

        h.job = k->self.ticket;
        h.value = *text ? -ECANCELED : 0;
        r = send_message(&k->talk, &h, text, NULL, 0);
        if (r == 0)
                k->self.tell = false;
        return r;
}

static int send_news(struct keeper *k)
{
        struct talk *t = &k->talk;
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < k->jobs.top; i++)
                if (k->jobs.list[i].used && k->jobs.list[i].tell)
                        r = send_job(k, i, WIRE_EXITED, 0);
        if (r == 0 && t->last_signal && (r = send_signal(k, t->last_signal)) == 0)
                t->last_signal = 0;
        if (r < 0 || !k->agent.working)
                return r;
        if (k->self.tell)
                r = send_self_ended(k);
        if (r == 0 && t->tell_hup && (r = send_signal(k, SIGHUP)) == 0)
                t->tell_hup = false;
        if (r == 0 && t->tell_usr1 && (r = send_signal(k, SIGUSR1)) == 0)
                t->tell_usr1 = false;
        return r;
}

void talk_flush(struct keeper *k)
{
        struct talk *t = &k->talk;
        int r = 0;

        if (t->fd < 0)
                return;
        if (t->listing)
                r = send_list(k);
        if (r == 0 && t->owes && (r = send_reply(k)) == 0)
                t->owes = false;
        if (r == 0 && t->listed)
                r = send_news(k);
        t->stuck = r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM || r == -ETOOMANYREFS || r == -EINTR;
        t->retry_at = t->stuck && r != -EAGAIN ? mono_after_ms(keeper_now(), RETRY_MS) : MONO_NEVER;
        if (r < 0 && !t->stuck)
                agent_lost(k);
}

/* ---- from the agent ----------------------------------------------------------------------------------- */

static void close_fds(struct request *q)
{
        for (size_t i = 0; i < q->n_fds; i++)
                (void)close(q->fds[i]);
        q->n_fds = 0;
}

static void take_fds(struct msghdr *m, struct request *q)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                if (n > FDS_POSSIBLE - q->n_fds)
                        n = FDS_POSSIBLE - q->n_fds; /* cannot be: there is no room for more in the buffer */
                memcpy(q->fds + q->n_fds, CMSG_DATA(c), n * sizeof(int));
                q->n_fds += n;
        }
}

/* Return: 0; -EAGAIN; -ECONNRESET when the agent has closed its end; -EBADMSG for what is not the wire. */
static int receive(int fd, struct request *q)
{
        union {
                char bytes[CMSG_SPACE(sizeof(int) * FDS_POSSIBLE)];
                struct cmsghdr align;
        } control;
        struct iovec iov[2] = { { &q->head, sizeof(q->head) }, { payload, sizeof(payload) } };
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

        q->n_fds = 0;
        if (n < 0)
                return -errno;
        take_fds(&m, q);
        q->names = (const char *)payload;
        q->bytes = (size_t)n < sizeof(q->head) ? 0 : (size_t)n - sizeof(q->head);
        q->cut = (m.msg_flags & MSG_CTRUNC) != 0;
        if (n == 0)
                return -ECONNRESET;
        if ((size_t)n < sizeof(q->head) || (m.msg_flags & MSG_TRUNC) || q->head.magic != WIRE_MAGIC ||
            q->head.bytes != q->bytes) {
                close_fds(q);
                return -EBADMSG;
        }
        return 0;
}

/* Exactly n names, each with its NUL and of a fitting length. */
static bool names_are_sound(const struct request *q)
{
        size_t at = 0;

        if (q->head.n > WIRE_FDS_MAX)
                return false;
        for (uint32_t i = 0; i < q->head.n; i++) {
                size_t n = strnlen(q->names + at, q->bytes - at);

                if (n == 0 || n == q->bytes - at || n >= WIRE_NAME_BYTES)
                        return false;
                at += n + 1;
        }
        return at == q->bytes;
}

/*
 * Listen sockets may not fill the table: one that is not held costs its own clients in a crash, a launch kit that is not
 * held costs everybody's, for nothing could be launched any more.
 */
static bool table_has_room(const struct keeper *k, const struct request *q)
{
        const char *name = q->names;
        uint32_t more = 0, room = table_room(k);
        bool listens = false;

        for (uint32_t i = 0; i < q->head.n; i++, name += strlen(name) + 1) {
                if (table_fd(&k->table, name) >= 0)
                        continue;
                more++;
                listens |= strncmp(name, "listen/", 7) == 0;
        }
        if (listens)
                room -= room / 8;
        return more == 0 || (k->table.n <= room && more <= room - k->table.n);
}

/* All or nothing. */
static int hold(struct keeper *k, struct request *q)
{
        const char *name = q->names;

        if (q->cut)
                return -EMFILE;
        if (!names_are_sound(q) || q->n_fds != q->head.n)
                return -EINVAL;
        if (!table_has_room(k, q))
                return -ENOSPC;
        for (uint32_t i = 0; i < q->head.n; i++, name += strlen(name) + 1)
                (void)table_put(&k->table, name, q->fds[i]); /* cannot fail any more */
        q->n_fds = 0;
        return 0;
}

static int drop(struct keeper *k, const struct request *q)
{
        const char *name = q->names;

        if (!names_are_sound(q))
                return -EINVAL;
        for (uint32_t i = 0; i < q->head.n; i++, name += strlen(name) + 1)
                table_drop(&k->table, name);
        return 0;
}

static int launch(struct keeper *k, const struct request *q)
{
        if (q->head.n != 1 || !names_are_sound(q))
                return -EINVAL;
        return job_launch(k, q->head.job, q->names, &k->talk.reply_job);
}

static int working(struct keeper *k, int64_t stop_timeout_ms)
{
        if (stop_timeout_ms < 0 || stop_timeout_ms > DAY_MS)
                return -EINVAL;
        k->stop.timeout_ms = stop_timeout_ms;
        agent_working(k);
        return 0;
}

/* An agent cannot know whether the one before it was ready and could still say so: it says it again, and that goes no further. */
static void notify(struct keeper *k, const struct request *q)
{
        static const char ready[] = "READY=1";
        bool is_ready = q->bytes >= sizeof(ready) - 1 && memcmp(q->names, ready, sizeof(ready) - 1) == 0;

        if (k->notify_fd < 0 || (is_ready && k->said_ready))
                return;
        if (sendto(k->notify_fd, q->names, q->bytes, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&k->notify,
                   k->notify_len) >= 0 && is_ready)
                k->said_ready = true;
}

static int replace_self(struct keeper *k, const struct request *q)
{
        char path[PATH_MAX];

        if (q->bytes >= sizeof(path))
                return -ENAMETOOLONG;
        memcpy(path, q->names, q->bytes);
        path[q->bytes] = 0;
        if (strlen(path) != q->bytes || (*path && *path != '/'))
                return -EINVAL;
        return self_begin(k, path, q->head.job);
}

static int obey(struct keeper *k, struct request *q)
{
        switch (q->head.type) {
        case WIRE_LIST:
                k->talk.listing = true;
                k->talk.next_held = 0;
                k->talk.next_job = 0;
                return 0;
        case WIRE_HOLD:
                return hold(k, q);
        case WIRE_DROP:
                return drop(k, q);
        case WIRE_LAUNCH:
                return launch(k, q);
        case WIRE_ACK_EXIT:
                job_ack(k, q->head.job);
                return 0;
        case WIRE_WORKING:
                return working(k, q->head.value);
        case WIRE_STOP:
                stop_requested(k, SIGTERM); /* the agent that asked hears of it as of any other */
                return 0;
        case WIRE_END:
                stop_end(k, (int)(q->head.value & 0xff));
                return 0;
        case WIRE_NOTIFY:
                notify(k, q);
                return 0;
        case WIRE_SELF:
                return replace_self(k, q);
        default: /* an agent that is newer than the keeper */
                return -EOPNOTSUPP;
        }
}

void talk_read(struct keeper *k)
{
        struct talk *t = &k->talk;
        struct request q;
        int r = receive(t->fd, &q);

        if (r == -EAGAIN || r == -EINTR || r == -ENOMEM || r == -ENOBUFS)
                return; /* it is still there */
        if (r < 0) {
                if (r != -ECONNRESET)
                        say("keeper.wire-broken", "error=\"%s\" then=\"the agent is replaced\"", strerror(-r));
                agent_lost(k);
                return;
        }
        t->reply = header(WIRE_REPLY, q.head.id, 0, 0);
        t->reply.job = q.head.job;
        t->reply_job = JOBS_MAX;
        t->owes = true;
        t->reply.value = obey(k, &q);
        close_fds(&q);
        talk_flush(k);
}
