/* SPDX-License-Identifier: MIT */
/*
 * Both roles of the protocol (docs/protocol.md): as a child we take the listen sockets over, as a parent we hand them on.
 * The only file here that knows datagrams; all of it goes through hotrestart.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "hotrestart/example/server.h"

enum { BACKLOG = 4096, RETRY_MS = 1, RETRIES = 10000, CONNECT_TRIES = 10, REQUESTS_A_ROUND = 64 };

static void pause_ms(long ms)
{
        struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

        while (nanosleep(&t, &t) < 0 && errno == EINTR)
                ;
}

static void fault(struct server *s, enum fault_step step, unsigned nth)
{
        struct fault_target to_parent = { s->child.fd, &s->child.envoy };
        struct fault_target to_successor = { s->parent_role.fd, &s->successor };

        fault_at(s->opt.faults, s->opt.n_faults, step, nth, step >= ON_HARVEST ? to_successor : to_parent);
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static int attach(const struct options *o)
{
        struct hr_segment_layout layout = HR_SEGMENT_DEFAULT;
        int r = 0;

        if (o->restart_epoch == 0) { /* the first of a chain makes the page anew */
                r = hr_segment_remove(o->base_id);
                if (r == 0)
                        r = hr_segment_create(o->base_id, &layout, geteuid(), getegid());
        }
        if (r == 0)
                r = hr_segment_begin(o->base_id, &layout);
        if (r == HR_SEGMENT_BUSY) {
                say("the previous process is still initializing");
                return -EBUSY;
        }
        if (r < 0)
                say("cannot attach the shared memory of base id %llu: %s", (unsigned long long)o->base_id, strerror(-r));
        return r;
}

static int bind_name(const struct options *o, enum hr_role role, int *ret)
{
        struct sockaddr_un addr;
        int r = hr_name(o->socket_path, o->base_id, hr_index(o->restart_epoch), role, &addr);

        return r < 0 ? r : hr_bind(&addr, o->socket_mode, ret);
}

/* In Envoy's order. The names come before the page: in the abstract namespace they are what keeps a second one out. */
int protocol_open(struct server *s)
{
        const struct options *o = &s->opt;
        struct sockaddr_un before;
        int child_fd = -1;
        int r = bind_name(o, HR_ROLE_CHILD, &child_fd);

        if (r == 0)
                r = bind_name(o, HR_ROLE_UDP_CHILD, &s->udp_fds[0]);
        if (r == 0)
                r = bind_name(o, HR_ROLE_PARENT, &s->parent_role.fd);
        if (r == 0)
                r = bind_name(o, HR_ROLE_UDP_PARENT, &s->udp_fds[1]);
        if (r == 0)
                r = hr_name(o->socket_path, o->base_id, hr_index(o->restart_epoch + 2), HR_ROLE_PARENT, &before);
        if (r == 0)
                r = hr_name(o->socket_path, o->base_id, hr_index(o->restart_epoch + 1), HR_ROLE_CHILD, &s->successor);
        if (r < 0) {
                say("cannot bind the names of base id %llu: %s", (unsigned long long)o->base_id, strerror(-r));
                if (child_fd >= 0)
                        (void)close(child_fd);
                return r;
        }
        hr_child_init(&s->child, child_fd, &before);
        s->has_parent = o->restart_epoch > 0;
        return attach(o);
}

/* The page and the files of path sockets stay: with Envoy, too, they are for whoever comes next. */
void protocol_close(struct server *s)
{
        int *fds[] = { &s->child.fd, &s->parent_role.fd, &s->udp_fds[0], &s->udp_fds[1] };

        for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
                if (*fds[i] >= 0)
                        (void)close(*fds[i]);
                *fds[i] = -1;
        }
        hr_child_done(&s->child);
}

/* ---- the child role --------------------------------------------------------------------------------- */

/* Nobody there is given ten tries a second apart, a full queue as long as it takes: what Envoy does. */
static int ask(struct server *s, const struct hr_message *m)
{
        for (int tries = 1;; tries++) {
                int r = hr_child_ask(&s->child, m);

                if (r == HR_WOULD_BLOCK) {
                        pause_ms(RETRY_MS);
                        tries = 0;
                } else if (r != HR_NO_PEER) {
                        return r;
                } else if (m->type == HR_TEST_CONNECTION || tries == CONNECT_TRIES) {
                        return -ECONNREFUSED;
                } else {
                        pause_ms(1000);
                }
        }
}

/*
 * Blocks in recvmsg() until there is something. Not in poll(): a supervisor that came back from the dead looks at what this
 * thread is blocked in, to know whether we still wait for the answer that it owed.
 */
static int wait_for_reply(int fd)
{
        struct msghdr msg = { 0 };
        int flags = fcntl(fd, F_GETFL);
        ssize_t n;

        (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
        do
                n = recvmsg(fd, &msg, MSG_PEEK);
        while (n < 0 && errno == EINTR);
        (void)fcntl(fd, F_SETFL, flags);
        return n < 0 ? -errno : 0;
}

static int await(struct server *s, enum hr_type type, int *ret_fd)
{
        struct hr_message m;
        int fd, r;

        for (;;) {
                r = hr_child_read(&s->child, &m, &fd);
                if (r == HR_NOTHING)
                        r = wait_for_reply(s->child.fd);
                else if (r == 0)
                        break;
                if (r < 0)
                        return r;
        }
        if (m.type != type) {
                if (fd >= 0)
                        (void)close(fd);
                return -EPROTO;
        }
        *ret_fd = fd;
        return 0;
}

static int shutdown_admin(struct server *s)
{
        int fd, r;

        if (s->opt.skip_no_parent) {
                r = ask(s, &(struct hr_message){ .type = HR_TEST_CONNECTION, .fd = -1 });
                if (r == -ECONNREFUSED) {
                        say("nobody is there to inherit from");
                        s->has_parent = false;
                        return 0;
                }
                if (r < 0)
                        return r;
        }
        fault(s, BEFORE_SHUTDOWN_ADMIN, 0);
        r = ask(s, &(struct hr_message){ .type = HR_SHUTDOWN_ADMIN, .fd = -1 });
        if (r == 0)
                r = await(s, HR_REPLY_SHUTDOWN_ADMIN, &fd);
        if (r == 0)
                fault(s, AFTER_SHUTDOWN_ADMIN, 0);
        return r;
}

static int ask_for_socket(struct server *s, struct listener *l, unsigned nth)
{
        int r;

        fault(s, BEFORE_PASS, nth);
        r = ask(s, &(struct hr_message){ .type = HR_PASS_LISTEN_SOCKET, .key = l->key, .fd = -1 });
        if (r == 0)
                r = await(s, HR_REPLY_PASS, &l->watch.fd);
        if (r < 0 || l->watch.fd < 0)
                return r;
        return hr_listener_revive(l->watch.fd); /* whoever had it may have silenced it */
}

/* A path that nobody handed on is in nobody's use. */
static int open_socket(struct server *s, struct listener *l)
{
        if (hr_key_path(&l->key))
                (void)unlink(hr_key_path(&l->key));
        return hr_listener_open(&l->key, s->opt.concurrency > 1 && !hr_key_is_unix(&l->key), BACKLOG, &l->watch.fd);
}

int protocol_inherit(struct server *s)
{
        int r = s->has_parent ? shutdown_admin(s) : 0;

        if (r < 0) {
                say("ShutdownAdmin: %s", strerror(-r));
                return r;
        }
        for (size_t i = 0; i < s->n_listeners; i++) {
                struct listener *l = &s->listeners[i];

                if (s->has_parent)
                        r = ask_for_socket(s, l, (unsigned)i);
                if (r == 0 && l->watch.fd < 0)
                        r = open_socket(s, l);
                if (r < 0) {
                        say("%s, worker %u: %s", l->key.url, l->key.worker, strerror(-r));
                        return r;
                }
        }
        fault(s, AFTER_SOCKETS, 0);
        return 0;
}

int protocol_up(struct server *s)
{
        int r;

        fault(s, BEFORE_DRAIN_LISTENERS, 0);
        r = hr_segment_clear(s->opt.base_id);
        if (r >= 0 && s->has_parent) {
                r = ask(s, &(struct hr_message){ .type = HR_DRAIN_LISTENERS, .fd = -1 });
                s->terminate_ms = now_ms() + 1000 * s->opt.parent_shutdown_s;
        }
        if (r < 0) {
                say("DrainListeners: %s", strerror(-r));
                return r;
        }
        fault(s, AFTER_DRAIN_LISTENERS, 0);
        return 0;
}

void protocol_goodbye(struct server *s)
{
        if (!s->has_parent)
                return;
        s->has_parent = false;
        s->terminate_ms = 0;
        (void)hr_child_ask(&s->child, &(struct hr_message){ .type = HR_TERMINATE, .fd = -1 });
}

/* ---- the parent role -------------------------------------------------------------------------------- */

static int held_socket(const struct server *s, const struct hr_key *key)
{
        for (size_t i = 0; i < s->n_listeners; i++)
                if (hr_key_equal(&s->listeners[i].key, key))
                        return s->listeners[i].watch.fd; /* -1 once it is closed */
        return -1;
}

void listeners_stop(struct server *s)
{
        s->draining = true;
        for (size_t i = 0; i < s->n_listeners; i++) {
                struct listener *l = &s->listeners[i];

                if (l->watch.fd < 0)
                        continue;
                server_unwatch(s, &l->watch);
                (void)close(l->watch.fd);
                l->watch.fd = -1;
        }
}

static void obey(struct server *s, const struct hr_message *m)
{
        switch (m->type) {
        case HR_SHUTDOWN_ADMIN:
                if (s->admin.fd >= 0) {
                        server_unwatch(s, &s->admin);
                        (void)close(s->admin.fd);
                        s->admin.fd = -1;
                }
                protocol_goodbye(s); /* the one before us has no more use */
                return;
        case HR_DRAIN_LISTENERS:
                fault(s, ON_DRAIN, 0);
                listeners_stop(s);
                return;
        case HR_TERMINATE:
                s->stopping = true;
                return;
        case HR_PASS_LISTEN_SOCKET:
                fault(s, ON_HARVEST, s->harvests++);
                return;
        case HR_STATS:
        case HR_FORWARDED_UDP:
        case HR_TEST_CONNECTION:
        case HR_UNKNOWN_REQUEST:
        case HR_REPLY_PASS:
        case HR_REPLY_SHUTDOWN_ADMIN:
        case HR_REPLY_STATS:
        case HR_REPLY_UNRECOGNIZED:
        case HR_UNKNOWN_REPLY:
        case HR_EMPTY:
                return;
        }
}

/* A full queue is waited for, as long as anybody may call patience: the replies must stay in order. */
static void reply(struct server *s, const struct hr_message *m, int pass_fd)
{
        int r = HR_WOULD_BLOCK;

        for (int i = 0; i < RETRIES && r == HR_WOULD_BLOCK; i++) {
                r = hr_send(s->parent_role.fd, &s->successor, m, pass_fd);
                if (r == HR_WOULD_BLOCK)
                        pause_ms(RETRY_MS);
        }
        if (r != 0)
                say("%s was not sent: %s", hr_type_name(m->type), r == HR_NO_PEER ? "nobody is there" : r < 0 ? strerror(-r) : "nobody reads");
}

static void answer(struct server *s, const struct hr_message *request)
{
        struct hr_message m = { .type = HR_REPLY_UNRECOGNIZED, .fd = -1 };

        switch (hr_parent_owes(request->type)) {
        case HR_OWES_NOTHING:
                return;
        case HR_OWES_SHUTDOWN_ADMIN:
                m.type = HR_REPLY_SHUTDOWN_ADMIN;
                m.start_time_unix_s = (uint64_t)time(NULL) - (uint64_t)(now_ms() - s->started_ms) / 1000;
                m.enable_reuse_port_default = true;
                break;
        case HR_OWES_PASS:
                m.type = HR_REPLY_PASS;
                m.fd = held_socket(s, &request->key);
                break;
        case HR_OWES_STATS:
                m.type = HR_REPLY_STATS;
                m.num_connections = s->n_connections;
                break;
        case HR_OWES_UNRECOGNIZED:
                break;
        }
        reply(s, &m, m.type == HR_REPLY_PASS ? m.fd : -1);
}

static void on_request(struct server *s, struct watch *w, uint32_t events)
{
        struct hr_message m;
        struct sockaddr_un peer;

        (void)events;
        for (int i = 0; i < REQUESTS_A_ROUND; i++) {
                int r = hr_peek(w->fd, &m, &peer);

                if (r == HR_GARBAGE)
                        continue;
                if (r != 0)
                        return;
                (void)hr_take(w->fd);
                obey(s, &m);
                answer(s, &m);
        }
}

int protocol_listen(struct server *s)
{
        s->parent_role.ready = on_request;
        return server_watch(s, &s->parent_role, EPOLLIN);
}
