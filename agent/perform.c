/* SPDX-License-Identifier: MIT */
/*
 * The effects: what succession_step() decided is done, one after the other. Each may be done twice (a new agent repeats what the
 * state names), and what comes of it at once is queued as an event.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/keep.h"
#include "agent/log.h"
#include "agent/open_port.h"
#include "agent/preflight.h"
#include "agent/readiness.h"
#include "agent/reports.h"
#include "agent/same_file.h"
#include "agent/validate.h"
#include "agent/watch_content.h"

/* What served comes back, even if another file lies at its path by now: a copy of content is a copy of the binary, too. */
static int pin_binary(struct agent *a, uint64_t epoch, uint64_t copy_of, struct stat *ret)
{
        const struct proc *source = copy_of == CONTENT_DISK ? NULL : agent_proc(a, copy_of);
        int fd;

        if (source && source->binary_fd >= 0) {
                *ret = source->binary;
                return fcntl(source->binary_fd, F_DUPFD_CLOEXEC, 3);
        }
        fd = open(agent_args(a, epoch)->program, O_PATH | O_CLOEXEC); /* if there is none, the launch will say so */
        if (fd < 0 || fstat(fd, ret) < 0)
                *ret = file_at(agent_args(a, epoch)->program);
        return fd;
}

static int hold_kit(struct agent *a, uint64_t epoch, const struct kit *k, int binary_fd)
{
        const int given[HELD_KINDS] = { [HELD_RECORD] = k->record_fd, [HELD_PARENT] = k->parent_fd, [HELD_CHILD] = k->child_fd,
                                        [HELD_UDP] = k->udp_fd, [HELD_BINARY] = binary_fd, [HELD_NOTIFY] = k->notify_fd };
        struct held_name names[HELD_KINDS];
        const char *list[HELD_KINDS];
        int fds[HELD_KINDS];
        size_t n = 0;

        for (int kind = 0; kind < HELD_KINDS; kind++) {
                if (given[kind] < 0)
                        continue;
                names[n] = held_name((enum held_kind)kind, epoch);
                list[n] = names[n].text;
                fds[n++] = given[kind];
        }
        return keeper_link_hold(a->link, list, fds, n);
}

/* What a candidate lacks is told by the report of its end. */
static void kit_failed(struct agent *a, uint64_t epoch, int r, const char *error, struct digest digest)
{
        (void)snprintf(a->kit_error, sizeof(a->kit_error), "%.*s", (int)sizeof(a->kit_error) - 1, error);
        if (a->s.upgrade.candidate != epoch) {
                (void)snprintf(a->last_reason, sizeof(a->last_reason), "%s", error);
                log_event(LOG_ERR, "kit.failed", F_UINT("epoch", epoch), F_STR("error", error));
        }
        agent_queue(a, (struct succession_input){ .event = ON_KIT_FAILED, .epoch = epoch, .value = r, .text = a->kit_error, .digest = digest });
}

static bool same_binary(const struct proc *a, const struct proc *b)
{
        struct stat x, y;

        return a->binary_fd >= 0 && b->binary_fd >= 0 && fstat(a->binary_fd, &x) == 0 && fstat(b->binary_fd, &y) == 0 && same_file(&x, &y);
}

static bool same_snapshot(const struct kit_maker *m, uint64_t a, uint64_t b)
{
        CLEANUP(free_ptr) char *x = NULL;
        CLEANUP(free_ptr) char *y = NULL;
        size_t n, k;

        if (!m->args->config_path)
                return true;
        return kit_read_snapshot(m, a, &x, &n) == 0 && kit_read_snapshot(m, b, &y, &k) == 0 && n == k && memcmp(x, y, n) == 0;
}

/* Content that served before may be read from disk once more: then it is no other. */
static bool find_original(struct agent *a, const struct kit_maker *m, uint64_t epoch, uint64_t *ret)
{
        const struct proc *p = agent_proc(a, epoch);

        for (size_t i = 0; p && i < GENERATIONS_MAX; i++) {
                const struct epoch *e = &a->s.epochs[i];
                const struct proc *other = epoch_has_served(e) ? agent_proc(a, e->number) : NULL;

                if (!other || e->command != m->command || !same_binary(p, other) || !same_snapshot(m, epoch, e->number))
                        continue;
                *ret = e->number;
                return true;
        }
        return false;
}

static void make_kit(struct agent *a, const struct effect *fx)
{
        CLEANUP(kit_done) struct kit k = KIT_NULL;
        uint64_t from = (uint64_t)fx->value;
        struct stat pinned;
        CLEANUP(close_fd) int binary_fd = pin_binary(a, fx->epoch, from, &pinned);
        struct kit_maker maker = agent_maker(a, fx->epoch);
        bool udp = escrow_holds_udp(&a->s.escrow);
        struct held_name binary = held_name(HELD_BINARY, fx->epoch);
        char error[sizeof(a->kit_error)];
        uint64_t original = NO_EPOCH;
        /* Before it is read: what is changed in between is news again. */
        struct digest digest = from == CONTENT_DISK ? watching_digest(a, &maker) : (struct digest){ { 0 } };
        bool copy;
        struct proc *p;
        const char *lack = from == CONTENT_DISK || from == CONTENT_KEPT ? cert_sets_lack(a) : NULL;
        int r;

        if (from == CONTENT_DISK)
                watch_content_tried(a, &maker, &pinned);
        r = lack ? KIT_E_CONFIG : kit_make(&maker, fx->epoch, from, udp, binary_fd >= 0 ? binary.text : "", &k, error, sizeof(error));

        if (lack)
                (void)snprintf(error, sizeof(error), "the certificates are refused: %.400s", lack);
        if (r == 0) {
                r = hold_kit(a, fx->epoch, &k, binary_fd);
                if (r < 0)
                        (void)snprintf(error, sizeof(error), "the keeper cannot hold the launch kit: %s", strerror(-r));
        }
        if (r != 0) {
                kit_failed(a, fx->epoch, r, error, digest);
                return;
        }
        proc_open(a, fx->epoch, k.base_id, TAKE_FD(k.parent_fd), TAKE_FD(k.child_fd), TAKE_FD(k.udp_fd));
        p = agent_proc(a, fx->epoch);
        if (p) {
                p->binary_fd = TAKE_FD(binary_fd);
                p->binary = pinned;
                p->notify_fd = TAKE_FD(k.notify_fd);
                p->child_used = true; /* a new name: nobody before us has asked anything by it */
        }
        copy = from == CONTENT_DISK && find_original(a, &maker, fx->epoch, &original);
        agent_queue(a, (struct succession_input){ .event = ON_KIT_READY, .epoch = fx->epoch, .base_id = k.base_id, .value = udp,
                                                  .is_copy = copy, .original = original, .digest = digest,
                                                  .certs = a->certs.n_rules ? cert_sets_lowest(a) : 0,
                                                  .certs_to = a->certs.n_rules ? a->certs.last : 0 });
}

/*
 * A keeper whose answer does not arrive may have done it, or do it later: then a proxy would run that nobody listens to. A repeat
 * is harmless; if that is not answered either, the next agent learns from the keeper's list what is true.
 */
static int launch_for_sure(struct agent *a, uint64_t epoch, struct wire_job *ret_job, int *ret_pidfd)
{
        struct held_name record = held_name(HELD_RECORD, epoch);
        int r = keeper_link_launch(a->link, epoch, record.text, ret_job, ret_pidfd);

        if (r == -ETIMEDOUT)
                r = keeper_link_launch(a->link, epoch, record.text, ret_job, ret_pidfd);
        if (r == -ETIMEDOUT || r == -EPIPE || r == -EPROTO)
                agent_keeper_is_gone(a, r);
        return r;
}

static void launch(struct agent *a, const struct effect *fx)
{
        struct proc *p = agent_proc(a, fx->epoch);
        struct wire_job job = { 0 };
        int pidfd = -1;
        int r = launch_for_sure(a, fx->epoch, &job, &pidfd);

        if (r < 0 || !p) {
                (void)snprintf(a->kit_error, sizeof(a->kit_error), "the keeper cannot launch it: %s", strerror(-r));
                log_event(LOG_ERR, "launch.failed", F_UINT("epoch", fx->epoch), F_STR("error", strerror(-r)));
                close_fd(&pidfd);
                agent_queue(a, (struct succession_input){ .event = ON_LAUNCH_FAILED, .epoch = fx->epoch, .exit_code = CLD_EXITED,
                                                          .exit_status = 127, .exited = clock_now(), .text = a->kit_error });
                return;
        }
        p->pid = job.pid;
        close_fd(&p->pidfd);
        p->pidfd = pidfd;
        proc_listen(p);
        agent_queue(a, (struct succession_input){ .event = ON_PROCESS, .epoch = fx->epoch, .pid = job.pid });
}

static void send_signal(struct agent *a, const struct effect *fx)
{
        struct proc *p = agent_proc(a, fx->epoch);

        if (p && p->pidfd >= 0)
                (void)syscall(SYS_pidfd_send_signal, p->pidfd, (int)fx->value, NULL, 0); /* gone already is as good */
}

static void close_proc(struct agent *a, uint64_t epoch, bool keep_binary)
{
        struct proc *p = agent_proc(a, epoch);
        int binary_fd = p && keep_binary ? TAKE_FD(p->binary_fd) : -1;
        struct stat binary;

        if (!p)
                return;
        binary = p->binary;
        proc_close(p);
        if (!keep_binary)
                return;
        proc_open(a, epoch, 0, -1, -1, -1);
        p = agent_proc(a, epoch);
        if (!p)
                return;
        p->binary_fd = binary_fd;
        p->binary = binary;
}

static void forget(struct agent *a, const struct effect *fx)
{
        const struct proc *p = agent_proc(a, fx->epoch);
        uint64_t base_id = p ? p->base_id : 0, on_disk;
        bool keep_binary = fx->value == FORGET_PROCESS;
        struct held_name names[HELD_KINDS];
        const char *list[HELD_KINDS];
        size_t n = 0;

        close_proc(a, fx->epoch, keep_binary);
        for (int kind = 0; kind < HELD_KINDS; kind++) {
                if (kind == HELD_BINARY && keep_binary)
                        continue;
                names[n] = held_name((enum held_kind)kind, fx->epoch);
                list[n] = names[n].text;
                n++;
        }
        (void)keeper_link_drop(a->link, list, n);
        (void)keeper_link_ack_exit(a->link, fx->epoch);
        if (base_id && kit_base_id(a->run_dir, fx->epoch, &on_disk) < 0)
                (void)hr_segment_remove(base_id); /* the file that would tell has gone, perhaps with the whole run directory */
        if (keep_binary)
                kit_forget_process(a->run_dir, fx->epoch);
        else
                kit_forget(a->run_dir, fx->epoch);
        cert_sets_sweep(a);
}

/* What a socket of ours has thrown away counts on when we hold it no more. */
static void count_drops(struct agent *a, uint32_t key, int successor_fd)
{
        uint64_t inode = 0, other = 0;
        uint32_t drops;

        if (successor_fd >= 0 && hr_listener_inode(a->sockets[key], &inode) == 0 && hr_listener_inode(successor_fd, &other) == 0 && inode == other)
                return;
        if (hr_listener_drops(a->sockets[key], &drops) == 0 && drops > 0)
                agent_queue(a, (struct succession_input){ .event = ON_DROPPED, .value = drops });
}

static void hold(struct agent *a, const struct effect *fx)
{
        char name[WIRE_NAME_BYTES];
        const char *names[] = { name };
        int r;

        if (a->looked[fx->key] < 0)
                return;
        r = key_name(&a->s.escrow.keys[fx->key].key, name, sizeof(name));
        if (r == 0)
                r = keeper_link_hold(a->link, names, &a->looked[fx->key], 1);
        if (r < 0)
                log_event(LOG_ERR, "socket.not-held", F_STR("url", a->s.escrow.keys[fx->key].key.url),
                          F_STR("error", strerror(-r)), F_STR("then", "a crash of the proxy refuses its clients"));
        if (a->sockets[fx->key] >= 0)
                count_drops(a, fx->key, a->looked[fx->key]);
        close_fd(&a->sockets[fx->key]);
        a->sockets[fx->key] = TAKE_FD(a->looked[fx->key]);
        log_event(LOG_INFO, "socket.held", F_STR("url", a->s.escrow.keys[fx->key].key.url),
                  F_UINT("worker", a->s.escrow.keys[fx->key].key.worker));
}

/* The keeper first: its table is the truth, and a new agent must not find what we have given up. */
static void close_socket(struct agent *a, const struct effect *fx)
{
        char name[WIRE_NAME_BYTES];
        const char *names[] = { name };

        if (key_name(&a->s.escrow.keys[fx->key].key, name, sizeof(name)) == 0)
                (void)keeper_link_drop(a->link, names, 1);
        if (a->sockets[fx->key] >= 0)
                count_drops(a, fx->key, -1);
        close_fd(&a->sockets[fx->key]);
}

/* Where a member is that nobody knows, the kernel counts otherwise than we: then nobody is steered, and what leaves is hushed. */
static void steer(struct agent *a, const struct effect *fx)
{
        enum { FOREIGN = 1 };
        const struct escrow_key *k = &a->s.escrow.keys[fx->key];
        uint64_t inodes[HR_GROUP_MAX];
        size_t n = 0, known = 0;
        int r = a->sockets[fx->key] < 0 ? -EBADF : hr_steer_members(a->sockets[fx->key], inodes, HR_GROUP_MAX, &n);

        for (uint32_t i = 0; i < a->s.escrow.n; i++)
                for (size_t m = 0; m < n; m++)
                        known += a->s.escrow.keys[i].inode == inodes[m];
        if (r == 0)
                r = n > known && fx->arg != STEER_AGAIN ? FOREIGN : hr_steer_attach(a->sockets[fx->key], &(struct hr_steer){ .count = (uint16_t)fx->value });
        if (r == 0)
                return;
        log_event(LOG_INFO, "steering.refused", F_STR("url", k->key.url),
                  F_STR("reason", r == FOREIGN   ? "sockets of others are bound to the same address"
                                  : r == -EINVAL ? "the listener does not share its port"
                                                 : strerror(-r)),
                  F_STR("then", "what leaves it hears no new connection until it has left; who begins there tries again"));
        agent_queue(a, (struct succession_input){ .event = ON_NOT_STEERED, .value = fx->key });
}

static void count_leaving(struct agent *a)
{
        int64_t waiting = 0;

        for (uint32_t i = 0; i < a->s.escrow.n; i++) {
                uint32_t n = 0;

                if (a->s.escrow.keys[i].leaving && a->sockets[i] >= 0 && hr_listener_queue(a->sockets[i], &n) == 0)
                        waiting += n;
        }
        agent_queue(a, (struct succession_input){ .event = ON_LEFT, .value = waiting });
}

static void stop_all(struct agent *a, int status)
{
        if (status != 0 && *a->last_reason)
                log_event(LOG_ERR, "baton.failed", F_INT("status", status), F_STR("reason", a->last_reason));
        if (status != 0)
                report_last_words(a->last_reason);
        if (a->s.stops == 0) /* else it was said when the stop began */
                (void)keeper_link_notify(a->link, "STOPPING=1");
        control_free(a->control);
        a->control = NULL;
        start_clean(a); /* the keeper holds the state to the last: an agent that has to take over here ends it, too */
        log_flush();
        (void)keeper_link_end(a->link, status);
        exit(status);
}

/*
 * Should memory run out, one that drains is the one to lose: its successor serves. Relative to us, whose value it was launched with,
 * so that doing it twice does no more, and never less than it has. Who may not is not helped.
 */
static void make_expendable(const struct proc *p)
{
        enum { MORE = 500, MOST = 1000 };
        AS_THE_PROXY(&p->agent->options->user);
        CLEANUP(close_fd) int ours = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
        CLEANUP(close_fd) int its = -1;
        char path[64], text[16] = "", now[16] = "";
        long want;

        (void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", p->pid);
        its = open(path, O_RDWR | O_CLOEXEC);
        /* Signal 0 after the file was opened: it lives, so the file is not of another one with its number. */
        if (ours < 0 || its < 0 || p->pidfd < 0 || syscall(SYS_pidfd_send_signal, p->pidfd, 0, NULL, 0) < 0 ||
            read(ours, text, sizeof(text) - 1) <= 0 || read(its, now, sizeof(now) - 1) <= 0)
                return;
        want = strtol(text, NULL, 10) + MORE;
        want = want > MOST ? MOST : want;
        if (want > strtol(now, NULL, 10))
                (void)!pwrite(its, text, (size_t)snprintf(text, sizeof(text), "%ld", want), 0);
}

static void perform_on_proc(struct proc *p, const struct effect *fx)
{
        switch (fx->kind) {
        case DO_TAKE:
                proc_take(p);
                return;
        case DO_REPLY:
                proc_reply(p, (enum owed_kind)fx->value, fx->key);
                return;
        case DO_LOOK:
                look_start(p);
                return;
        case DO_WATCH_LISTENERS:
                look_watch_listeners(p);
                return;
        case DO_PROBE:
                probe_start(p);
                return;
        case DO_FAIL_HEALTHCHECK:
                look_order(p, "/healthcheck/fail");
                return;
        case DO_PASS_HEALTHCHECK:
                look_order(p, "/healthcheck/ok");
                return;
        case DO_DRAIN_LISTENERS:
                proc_drain_listeners(p);
                make_expendable(p);
                return;
        case DO_SAMPLE:
                look_sample(p);
                return;
        case DO_MAKE_KIT:
        case DO_LAUNCH:
        case DO_SIGNAL:
        case DO_FORGET:
        case DO_OPEN:
        case DO_REVIVE:
        case DO_HOLD:
        case DO_CLOSE:
        case DO_HUSH:
        case DO_SILENCE:
        case DO_STEER:
        case DO_UNSTEER:
        case DO_COUNT_LEAVING:
        case DO_PREFLIGHT:
        case DO_KEEP:
        case DO_VALIDATE:
        case DO_WATCH_CONTENT:
        case DO_REPORT:
        case DO_END: /* not about a process that we speak with: see perform() */
                return;
        }
}

/* Longer than most: one case an effect, without a default, so that a new effect does not compile until it is done here. */
void perform(struct agent *a, const struct effect *fx)
{
        struct proc *p;

        switch (fx->kind) {
        case DO_MAKE_KIT:
                make_kit(a, fx);
                return;
        case DO_LAUNCH:
                launch(a, fx);
                return;
        case DO_SIGNAL:
                send_signal(a, fx);
                return;
        case DO_FORGET:
                forget(a, fx);
                return;
        case DO_OPEN:
                open_port(a, fx);
                return;
        case DO_REVIVE:
                if (a->sockets[fx->key] >= 0)
                        (void)hr_listener_revive(a->sockets[fx->key]);
                return;
        case DO_HOLD:
                hold(a, fx);
                return;
        case DO_CLOSE:
                close_socket(a, fx);
                return;
        case DO_HUSH:
                if (a->sockets[fx->key] >= 0)
                        (void)hr_listener_hush(a->sockets[fx->key]);
                return;
        case DO_SILENCE:
                if (a->sockets[fx->key] >= 0)
                        (void)hr_listener_silence(a->sockets[fx->key]);
                return;
        case DO_STEER:
                steer(a, fx);
                return;
        case DO_UNSTEER:
                if (a->sockets[fx->key] >= 0)
                        (void)hr_steer_detach(a->sockets[fx->key]);
                return;
        case DO_COUNT_LEAVING:
                count_leaving(a);
                return;
        case DO_PREFLIGHT:
                preflight_start(a, fx->epoch);
                return;
        case DO_KEEP:
                keep_content(a, fx->epoch);
                return;
        case DO_VALIDATE:
                validate_start(a, fx->epoch);
                return;
        case DO_WATCH_CONTENT:
                watch_content(a, fx->epoch, (enum content_watch)fx->value);
                return;
        case DO_REPORT:
                report(a, fx);
                return;
        case DO_END:
                stop_all(a, (int)fx->value);
                return;
        case DO_TAKE:
        case DO_REPLY:
        case DO_LOOK:
        case DO_WATCH_LISTENERS:
        case DO_PROBE:
        case DO_FAIL_HEALTHCHECK:
        case DO_PASS_HEALTHCHECK:
        case DO_DRAIN_LISTENERS:
        case DO_SAMPLE:
                p = agent_proc(a, fx->epoch);
                if (p)
                        perform_on_proc(p, fx);
                return;
        }
}
