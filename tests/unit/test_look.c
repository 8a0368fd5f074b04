/* SPDX-License-Identifier: MIT */
/* A look, with an Envoy and an admin that the test plays: whose answer is whose. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "tests/support/hr_pair.h"

static struct agent a;
static struct hr_pair pair;
static bool sync_blocks;
static int markers, looks;
static struct look_key seen[4];
static size_t n_seen;
static bool failed;

/* What look.c wants of the others. Nothing here is slow, so the admin never answers before the harvest is done. */
struct proc *agent_proc(struct agent *agent, uint64_t epoch)
{
        (void)epoch;
        return &agent->procs[0];
}

void agent_feed(struct agent *agent, const struct succession_input *in)
{
        (void)agent;
        if (in->event != ON_LOOK)
                return;
        looks++;
        failed = in->look->harvest_failed;
        n_seen = in->look->n;
        memcpy(seen, in->look->keys, n_seen * sizeof(seen[0]));
        ev_break(a.loop, EVBREAK_ALL);
}

void proc_drain_listeners(struct proc *p)
{
        (void)p;
}

int admin_request(struct admin *admin, const char *unix_path, const char *method, const char *path, int timeout_ms, size_t max_bytes,
                  void (*done)(void *userdata, int status, const char *body, size_t n), void *userdata, struct admin_request **ret)
{
        (void)admin, (void)unix_path, (void)method, (void)path, (void)timeout_ms, (void)max_bytes, (void)done, (void)userdata, (void)ret;
        return -1;
}

void admin_cancel(struct admin_request *r)
{
        (void)r;
}

int kit_admin_path(const char *run_dir, uint64_t epoch, char *ret, size_t size)
{
        (void)run_dir, (void)epoch, (void)ret, (void)size;
        return 0;
}

void agent_bootstrap(const struct agent *agent, uint64_t epoch, struct bootstrap *ret)
{
        (void)agent, (void)epoch, (void)ret;
}

int __real_hr_send(int fd, const struct sockaddr_un *peer, const struct hr_message *m, int pass_fd);
int __wrap_hr_send(int fd, const struct sockaddr_un *peer, const struct hr_message *m, int pass_fd);
int __wrap_hr_send(int fd, const struct sockaddr_un *peer, const struct hr_message *m, int pass_fd)
{
        if (m->type == HR_EMPTY && markers++ == 0 && sync_blocks)
                return HR_WOULD_BLOCK;
        return __real_hr_send(fd, peer, m, pass_fd);
}

static int socket_on(int *ret_fd, uint64_t *ret_inode)
{
        struct hr_key k = { .url = "tcp://127.0.0.1:0" };

        return hr_listener_open(&k, false, 1, ret_fd) == 0 ? hr_listener_inode(*ret_fd, ret_inode) : -1;
}

static void begin(uint32_t keys)
{
        struct proc *p = &a.procs[0];

        pair = hr_pair_open();
        a.loop = ev_loop_new(EVFLAG_AUTO);
        a.facts[0] = (struct content_facts){ .known = true, .origin = 7 };
        a.s.epochs[0] = (struct epoch){ .number = 7, .origin = 7, .state = EPOCH_SERVING };
        a.s.escrow.n = keys;
        for (uint32_t i = 0; i < keys; i++) {
                a.s.escrow.keys[i] = (struct escrow_key){ .by = { { .epoch = 7 }, CLAIM_NONE } };
                (void)sprintf(a.s.escrow.keys[i].key.url, "tcp://127.0.0.1:%u", 1000 + i);
        }
        for (size_t i = 0; i < KEYS_MAX; i++)
                a.sockets[i] = a.looked[i] = -1;
        *p = (struct proc){ .agent = &a, .used = true, .epoch = 7, .parent_fd = pair.envoy, .child_fd = pair.us, .pidfd = -1 };
        hr_child_init(&p->child, pair.us, &pair.envoy_name);
        cr_assert(succession_find(&a.s, 7), "the look finds its generation");
}

/* The next request that the Envoy would read; HR_NOTHING when there is none. */
static int take(enum hr_type *ret)
{
        struct sockaddr_un peer;
        struct hr_message m;
        int r = hr_peek(pair.envoy, &m, &peer);

        if (r != 0)
                return r;
        *ret = m.type;
        return hr_take(pair.envoy);
}

static void answer(enum hr_type type, int fd)
{
        struct hr_message m = { .type = type, .fd = fd };

        cr_assert_eq(hr_send(pair.envoy, &pair.our_name, &m, fd), 0);
        look_read(&a.procs[0]);
}

Test(look, nothing_is_asked_before_the_marker_is_sent)
{
        enum hr_type t = HR_TERMINATE;

        sync_blocks = true;
        begin(1);
        look_start(&a.procs[0]);
        cr_expect_eq(take(&t), HR_NOTHING, "asked without a marker");
        look_read(&a.procs[0]); /* as the timer does */
        cr_assert_eq(take(&t), 0);
        cr_expect_eq(t, HR_EMPTY);
        cr_expect_eq(take(&t), HR_NOTHING);
        answer(HR_REPLY_UNRECOGNIZED, -1);
        cr_assert_eq(take(&t), 0);
        cr_expect_eq(t, HR_PASS_LISTEN_SOCKET);
        look_abort(&a.procs[0]);
}

Test(look, a_lost_reply_ends_the_look_and_the_next_one_begins_with_a_marker)
{
        enum hr_type t = HR_TERMINATE;
        uint64_t inode;
        int fd;

        begin(2);
        cr_assert_eq(socket_on(&fd, &inode), 0);
        a.procs[0].child_used = true;
        look_start(&a.procs[0]);
        cr_assert(take(&t) == 0 && take(&t) == 0);
        hr_pair_throw(pair.us, &pair.our_name, "stranger", 8, -1, 0); /* that one harms nobody */
        look_read(&a.procs[0]);
        cr_assert_eq(looks, 0);
        hr_pair_throw(pair.envoy, &pair.our_name, "lost", 4, -1, 0);
        answer(HR_REPLY_PASS, fd); /* of the second key; would be taken for the first one's */
        cr_assert_eq(looks, 1);
        cr_expect(failed);
        look_start(&a.procs[0]);
        cr_assert_eq(take(&t), 0);
        cr_expect_eq(t, HR_EMPTY);
        cr_expect_eq(take(&t), HR_NOTHING);
        look_abort(&a.procs[0]);
}

Test(look, a_socket_that_is_held_already_is_not_held_twice_and_another_one_is_brought)
{
        enum hr_type t;
        uint64_t held, other;
        int held_fd, other_fd, before, now;

        begin(2);
        cr_assert(socket_on(&held_fd, &held) == 0 && socket_on(&other_fd, &other) == 0);
        a.sockets[0] = held_fd;
        a.s.escrow.keys[0].inode = held;
        a.procs[0].child_used = true;
        look_start(&a.procs[0]);
        cr_assert(take(&t) == 0 && take(&t) == 0);
        before = dup(0);
        (void)close(before);
        answer(HR_REPLY_PASS, held_fd);
        now = dup(0);
        (void)close(now);
        cr_expect_eq(now, before, "a second descriptor of what is held");
        answer(HR_REPLY_PASS, other_fd);
        cr_assert_eq(looks, 1);
        cr_expect(!failed && n_seen == 2 && seen[0].inode == held && seen[1].inode == other);
}
