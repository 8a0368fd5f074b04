/* SPDX-License-Identifier: MIT */
/*
 * How an agent begins: the first one of an instance parses the options, claims the run directory and launches; a later one
 * maps the options, takes over what the keeper holds, and resumes. And how a run directory is left behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/events.h"
#include "agent/image.h"
#include "agent/instance.h"
#include "agent/log.h"
#include "agent/plain.h"
#include "agent/reports.h"

extern char **environ;

enum { STATUS_FAILED = 1, STATUS_USAGE = 2, STATE_BYTES_MAX = IMAGE_BYTES_MAX };

/* What the keeper's list brings, until the state is loaded and each finds its place. */
struct inventory {
        struct agent *agent;
        int options_fd, lock_fd, state_fd, events_fd, control_fd;
        int status_fds[OPTIONS_STATUS_MAX];
        size_t n_status;
        size_t n_listen;
        struct {
                char name[WIRE_NAME_BYTES];
                int fd;
        } listens[KEYS_MAX];
        struct {
                uint64_t epoch;
                int kit, parent, child, udp, binary;
        } kits[GENERATIONS_MAX];
        struct {
                struct wire_job job;
                int pidfd;
        } jobs[GENERATIONS_MAX * 2];
        size_t n_jobs;
};

/* ---- ends before it began --------------------------------------------------------------------------- */

static void give_up(struct agent *a, int status)
{
        log_flush();
        (void)keeper_link_end(a->link, status);
        exit(status);
}

static void *fail(struct agent *a, int status, const char *event, const char *text)
{
        log_event(LOG_ERR, event, F_STR("error", text));
        give_up(a, status);
        return NULL;
}

/* ---- the keeper's list ------------------------------------------------------------------------------ */

static void sort_kit(struct inventory *inv, const char *name, int fd)
{
        uint64_t epoch = strtoull(strchr(name, '/') + 1, NULL, 10);
        size_t i = 0;

        while (i < GENERATIONS_MAX && inv->kits[i].epoch != epoch && inv->kits[i].epoch != NO_EPOCH)
                i++;
        if (i == GENERATIONS_MAX) {
                close_fd(&fd);
                return;
        }
        inv->kits[i].epoch = epoch;
        if (strncmp(name, "kit/", 4) == 0)
                inv->kits[i].kit = fd;
        else if (strncmp(name, "parent/", 7) == 0)
                inv->kits[i].parent = fd;
        else if (strncmp(name, "child/", 6) == 0)
                inv->kits[i].child = fd;
        else if (strncmp(name, "bin/", 4) == 0)
                inv->kits[i].binary = fd;
        else
                inv->kits[i].udp = fd;
}

static void on_held(void *userdata, const char *name, int fd)
{
        struct inventory *inv = userdata;

        if (strcmp(name, "options") == 0) {
                inv->options_fd = fd;
        } else if (strcmp(name, "lock") == 0) {
                inv->lock_fd = fd;
        } else if (strcmp(name, "state") == 0) {
                inv->state_fd = fd;
        } else if (strcmp(name, "events") == 0) {
                inv->events_fd = fd;
        } else if (strcmp(name, "control") == 0) {
                inv->control_fd = fd;
        } else if (strncmp(name, "status/", 7) == 0 && inv->n_status < OPTIONS_STATUS_MAX) {
                inv->status_fds[inv->n_status++] = fd;
        } else if (strncmp(name, "listen/", 7) == 0 && inv->n_listen < KEYS_MAX) {
                (void)snprintf(inv->listens[inv->n_listen].name, sizeof(inv->listens[0].name), "%s", name);
                inv->listens[inv->n_listen++].fd = fd;
        } else if (strncmp(name, "kit/", 4) == 0 || strncmp(name, "parent/", 7) == 0 || strncmp(name, "child/", 6) == 0 ||
                   strncmp(name, "udp/", 4) == 0 || strncmp(name, "bin/", 4) == 0) {
                sort_kit(inv, name, fd);
        } else {
                close_fd(&fd);
        }
}

static void on_job(void *userdata, const struct wire_job *job, int pidfd)
{
        struct inventory *inv = userdata;

        if (inv->n_jobs == sizeof(inv->jobs) / sizeof(inv->jobs[0])) {
                close_fd(&pidfd);
                return;
        }
        inv->jobs[inv->n_jobs].job = *job;
        inv->jobs[inv->n_jobs++].pidfd = pidfd;
}

static struct inventory *take_inventory(struct agent *a)
{
        struct inventory *inv = calloc(1, sizeof(*inv));
        int r;

        if (!inv)
                return fail(a, STATUS_FAILED, "agent.failed", "out of memory");
        inv->agent = a;
        inv->options_fd = inv->lock_fd = inv->state_fd = inv->events_fd = inv->control_fd = -1;
        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                inv->kits[i].epoch = NO_EPOCH;
                inv->kits[i].kit = inv->kits[i].parent = inv->kits[i].child = inv->kits[i].udp = inv->kits[i].binary = -1;
        }
        r = keeper_link_list(a->link, &a->keeper, on_held, on_job, inv);
        if (r < 0)
                return fail(a, STATUS_FAILED, "keeper.unreachable", strerror(-r));
        return inv;
}

/* ---- options ---------------------------------------------------------------------------------------- */

static void set_limits(struct agent *a)
{
        const struct options *o = a->options;

        a->limits = (struct succession_limits){
                .epoch = { .protocol = o->handover == HANDOVER_ENVOY, .ready_ms = o->ready_timeout_ms, .quiet_ms = 1000,
                           .sample_ms = 100, .kill_ms = 5000 },
                .backoff = { .initial_ms = o->retry_initial_ms, .max_ms = o->retry_max_ms, .stable_ms = o->stable_ms,
                             .refill_ms = o->token_refill_ms, .tokens = (int32_t)o->retry_tokens },
                .hold_ms = o->hold_time_ms,
                .stop_delay_ms = o->stop_delay_ms,
                .stop_timeout_ms = o->stop_timeout_ms,
                .watch_ms = 1000,
                .wait_exhausted = o->on_exhausted == ON_EXHAUSTED_WAIT,
                .restart_clean = o->on_clean_exit == ON_CLEAN_EXIT_RESTART,
                .allow_loss = o->allow_listener_loss,
        };
}

static const char *extension_of(const char *path)
{
        const char *base = path ? strrchr(path, '/') : NULL;
        const char *dot;

        base = base ? base + 1 : path;
        dot = base ? strrchr(base, '.') : NULL;
        return dot && dot != base ? dot : "";
}

static void refuse_options(struct agent *a, const char *text)
{
        fprintf(stderr, "%s\n", text);
        give_up(a, STATUS_USAGE);
}

/* What must be known before a run directory is taken. */
static void read_proxy_args(struct agent *a)
{
        const struct options *o = a->options;
        static const char *argv[OPTIONS_PROXY_ARGS_MAX + 1];
        struct proxy_args_error error = { "baton run: out of memory" };

        log_setup(o->log_format, o->log_level);
        for (size_t i = 0; i < o->n_proxy_args; i++)
                argv[i] = options_proxy_arg(o, i);
        if (proxy_args_read(argv, o->n_proxy_args, o->handover == HANDOVER_ENVOY, &a->args, &error) != 0)
                refuse_options(a, error.text);
        if (a->args.plain)
                plain_run(a);
        if (o->handover == HANDOVER_NONE && o->handover_detected && a->keeper.listen_fds > 0)
                refuse_options(a, "baton run: LISTEN_FDS: sockets for the proxy are not in this version; "
                                  "--handover=none runs it without them");
}

static void use_options(struct agent *a)
{
        const struct options *o = a->options;

        set_limits(a);
        a->kits = (struct kit_maker){
                .run_dir = a->run_dir,
                .args = &a->args,
                .environment = environ,
                .drain_time_s = a->args.drain_time_s >= 0 && !o->drain_time_given ? a->args.drain_time_s : o->drain_time_ms / 1000,
                .protocol = o->handover == HANDOVER_ENVOY,
                .nofile_soft = a->keeper.nofile_soft,
                .nofile_hard = a->keeper.nofile_hard,
        };
        (void)snprintf(a->kits.extension, sizeof(a->kits.extension), "%s", extension_of(a->args.config_path));
}

/* The first agent: the command line becomes one immutable struct that the keeper holds for every agent to come. */
static void parse_options(struct agent *a, int argc, char **argv)
{
        static struct options o;
        struct options_error error = { 0 };
        const char *names[] = { "options" };
        int fd = -1;

        switch (options_parse(argc, argv, environ, &o, &error)) {
        case 0:
                break;
        case OPTIONS_HELP:
        case OPTIONS_PRINT: /* options.c has printed what was asked for */
                give_up(a, 0);
                break;
        default:
                refuse_options(a, error.text);
        }
        if (options_seal(&o, &fd) < 0 || keeper_link_hold(a->link, names, &fd, 1) < 0 || options_map(fd, &a->options) != 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "cannot keep the options");
        close_fd(&fd);
}

/* ---- the first agent -------------------------------------------------------------------------------- */

static int hold_one(struct agent *a, const char *name, int fd)
{
        return keeper_link_hold(a->link, &name, &fd, 1);
}

static bool nobody(void *userdata, uint64_t epoch)
{
        (void)userdata;
        (void)epoch;
        return false;
}

static void claim_run_dir(struct agent *a)
{
        struct instance_error error = { 0 };
        CLEANUP(close_fd) int lock = -1;
        int r = instance_create_and_lock(options_str(a->options, a->options->run_dir),
                                         options_str(a->options, a->options->name), a->run_dir, sizeof(a->run_dir), &lock, &error);

        if (r != 0)
                (void)fail(a, r == INSTANCE_E_USAGE ? STATUS_USAGE : STATUS_FAILED, "run-dir.refused", error.text);
        if (hold_one(a, "lock", lock) < 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "the keeper cannot hold the lock");
        kit_sweep(a->run_dir, nobody, NULL); /* leftovers of an instance that could not clean up */
}

static int open_file(struct agent *a, const char *name, int flags)
{
        char path[320], error[512];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", a->run_dir, name);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
        if (fd < 0) {
                (void)snprintf(error, sizeof(error), "cannot open %s: %s", path, strerror(errno));
                (void)fail(a, STATUS_FAILED, "run-dir.refused", error);
        }
        if (hold_one(a, name, fd) < 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "the keeper cannot hold a file");
        return fd;
}

static void open_listeners(struct agent *a, struct inventory *inv)
{
        char path[320], name[WIRE_NAME_BYTES], error[512];
        int r;

        for (size_t i = 0; i < a->options->statuses.n; i++) {
                const char *address = options_str(a->options, a->options->statuses.items[i]);

                r = control_open_status(address, &inv->status_fds[inv->n_status], error, sizeof(error));
                if (r < 0)
                        (void)fail(a, r == -EINVAL ? STATUS_USAGE : STATUS_FAILED, "status.refused", error);
                (void)snprintf(name, sizeof(name), "status/%s", address);
                (void)hold_one(a, name, inv->status_fds[inv->n_status++]);
        }
        (void)snprintf(path, sizeof(path), "%s/control.sock", a->run_dir);
        r = control_open_unix(path, 0600, &inv->control_fd);
        if (r < 0) {
                (void)snprintf(error, sizeof(error), "cannot listen on %s: %s", path, strerror(-r));
                (void)fail(a, STATUS_FAILED, "run-dir.refused", error);
        }
        (void)hold_one(a, "control", inv->control_fd);
}

static void say_hello(const struct agent *a)
{
        static const char *const handovers[] = { [HANDOVER_ENVOY] = "envoy", [HANDOVER_LISTEN_FDS] = "listen-fds",
                                                 [HANDOVER_NONE] = "none" };

        log_event(LOG_NOTICE, "baton.started", F_STR("version", BATON_VERSION), F_STR("handover", handovers[a->options->handover]),
                  F_STR("run_dir", a->run_dir), F_STR("proxy", a->args.program), F_INT("keeper_pid", a->keeper.keeper_pid));
        for (size_t i = 0; i < a->args.n_notices; i++)
                log_event(LOG_NOTICE, "options.notice", F_STR("text", a->args.notices[i]));
        if (a->limits.epoch.protocol && a->options->drain_time_ms > a->options->stop_timeout_ms)
                log_event(LOG_INFO, "options.notice", F_STR("text", "--drain-time is above --stop-timeout: a stop ends at its own timeout"));
}

/* ---- a later agent ---------------------------------------------------------------------------------- */

static void take_sockets(struct agent *a, struct inventory *inv)
{
        for (size_t i = 0; i < inv->n_listen; i++) {
                struct hr_key key;
                uint64_t inode;
                uint32_t k = NO_KEY;

                if (key_of_name(inv->listens[i].name, &key) && hr_listener_inode(inv->listens[i].fd, &inode) == 0)
                        k = escrow_held_by_keeper(&a->s.escrow, &key, inode);
                if (k == NO_KEY) {
                        close_fd(&inv->listens[i].fd);
                        continue;
                }
                close_fd(&a->sockets[k]);
                a->sockets[k] = inv->listens[i].fd;
        }
        for (uint32_t i = 0; i < a->s.escrow.n; i++) /* stored as held, but the keeper never got it */
                if (a->sockets[i] < 0)
                        a->s.escrow.keys[i].inode = 0;
}

static const struct wire_job *job_of(const struct inventory *inv, uint64_t epoch, int *ret_pidfd)
{
        for (size_t i = 0; i < inv->n_jobs; i++) {
                if (inv->jobs[i].job.job != epoch)
                        continue;
                if (ret_pidfd)
                        *ret_pidfd = inv->jobs[i].pidfd;
                return &inv->jobs[i].job;
        }
        return NULL;
}

/*
 * Without a usable state: what runs is taken as it is. Envoy's own flag tells a starting one from one that accepts, and an
 * accepting one is serving, never on trial.
 */
static void rebuild(struct agent *a, struct inventory *inv)
{
        succession_init(&a->s, &a->limits);
        for (size_t i = 0; i < inv->n_jobs; i++) {
                const struct wire_job *j = &inv->jobs[i].job;
                struct epoch *e = &a->s.epochs[i % GENERATIONS_MAX];
                uint64_t base_id = 0;

                if (j->job >= WIRE_JOB_HELPER)
                        continue;
                if (j->job >= a->s.next_number) /* also of those that have ended: a number is given once */
                        a->s.next_number = j->job + 1;
                if (j->code != 0)
                        continue;
                epoch_init(e, j->job, CONTENT_DISK, j->job);
                (void)kit_base_id(a->run_dir, j->job, &base_id);
                e->base_id = base_id;
                e->pid = j->pid;
                e->launched = (struct mono){ j->launched_ns };
                e->state = EPOCH_STARTING;
                if (!a->limits.epoch.protocol || hr_segment_initializing(base_id) == 0) {
                        e->state = EPOCH_SERVING;
                        e->up = e->accepted = e->launched;
                        a->s.served = e->number;
                        backoff_serving(&a->s.backoff, clock_now());
                }
                if (a->s.wanted == NO_EPOCH || j->job > a->s.wanted)
                        a->s.wanted = j->job;
        }
        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (inv->kits[i].epoch != NO_EPOCH && inv->kits[i].epoch >= a->s.next_number)
                        a->s.next_number = inv->kits[i].epoch + 1;
        a->s.kit_retry_at = clock_now();
        take_sockets(a, inv);
        for (uint32_t i = 0; i < a->s.escrow.n; i++)
                a->s.escrow.keys[i].asked_by = a->s.wanted;
        if (a->s.wanted == NO_EPOCH)
                a->s.relaunch_at = clock_now();
}

static void load(struct agent *a, struct inventory *inv)
{
        static uint8_t image[IMAGE_BYTES_MAX];
        bool fresh = a->keeper.flags & WIRE_FRESH;
        size_t n = 0;
        int r = fresh ? STATE_E_EMPTY : state_load(a->state, image, sizeof(image), &n);

        if (r == 0)
                r = image_read(image, n, &a->s);
        if (r == 0) {
                take_sockets(a, inv);
                return;
        }
        log_event(LOG_WARNING, "state.rebuilt", F_BOOL("fresh", fresh), F_INT("answer", r),
                  F_STR("then", "rebuilt from the keeper's list; tokens and waits start over"));
        rebuild(a, inv);
}

static bool known_epoch(void *userdata, uint64_t epoch)
{
        struct agent *a = userdata;

        return succession_find(&a->s, epoch) != NULL;
}

static void adopt_kits(struct agent *a, struct inventory *inv, struct resume_fact *facts, size_t *ret_n)
{
        size_t n = 0;

        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                struct epoch *e = inv->kits[i].epoch == NO_EPOCH ? NULL : succession_find(&a->s, inv->kits[i].epoch);
                int pidfd = -1;
                const struct wire_job *job = e ? job_of(inv, e->number, &pidfd) : NULL;
                struct proc *p;

                if (!e) {
                        close_fd(&inv->kits[i].parent);
                        close_fd(&inv->kits[i].child);
                        close_fd(&inv->kits[i].udp);
                        close_fd(&inv->kits[i].binary);
                        close_fd(&inv->kits[i].kit);
                        continue;
                }
                proc_open(a, e->number, e->base_id, inv->kits[i].parent, inv->kits[i].child, inv->kits[i].udp);
                p = agent_proc(a, e->number);
                if (p)
                        p->binary_fd = TAKE_FD(inv->kits[i].binary);
                facts[n] = (struct resume_fact){
                        .epoch = e->number,
                        .kit_held = inv->kits[i].kit >= 0 && (!a->kits.protocol || inv->kits[i].child >= 0),
                        .job_known = job != NULL,
                        .pid = job ? job->pid : 0,
                };
                close_fd(&inv->kits[i].kit);
                if (job && p) {
                        p->pid = job->pid;
                        p->pidfd = pidfd;
                        if (job->code == 0) {
                                proc_listen(p);
                                facts[n].waits_for_reply = proc_waits_for_reply(p);
                                facts[n].hangs = facts[n].waits_for_reply && e->owed == OWED_NOTHING && proc_hangs(p);
                        }
                }
                n++;
        }
        *ret_n = n;
}

/* What a dead agent gave up half-way: names in the keeper's table of epochs that no longer are. */
static void drop_strangers(struct agent *a, struct inventory *inv)
{
        static const char *const kinds[] = { "kit", "parent", "child", "udp", "bin" };

        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                if (inv->kits[i].epoch == NO_EPOCH || succession_find(&a->s, inv->kits[i].epoch))
                        continue;
                for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
                        char name[48];
                        const char *list[] = { name };

                        (void)snprintf(name, sizeof(name), "%s/%" PRIu64, kinds[k], inv->kits[i].epoch);
                        (void)keeper_link_drop(a->link, list, 1);
                }
        }
        kit_sweep(a->run_dir, known_epoch, a);
}

static void resume(struct agent *a, struct inventory *inv)
{
        static struct effects out;
        struct resume_fact facts[GENERATIONS_MAX];
        size_t n = 0;

        load(a, inv);
        adopt_kits(a, inv, facts, &n);
        drop_strangers(a, inv);
        log_event(LOG_WARNING, "agent.restarted", F_UINT("starts", a->keeper.agent_starts), F_STR("state", succession_state_name(&a->s)));
        out.n = 0;
        a->feeding = true;
        succession_resume(&a->s, &a->limits, facts, n, clock_now(), &out);
        agent_perform(a, &out);
        a->feeding = false;
        agent_feed(a, NULL);
        if (succession_serving(&a->s)) /* the agent that saw it accept may have died before it could say so */
                report_ready(a);
        for (size_t i = 0; i < inv->n_jobs; i++)
                if (inv->jobs[i].job.code != 0)
                        agent_exited(a, &inv->jobs[i].job);
        if (a->keeper.stop_count > a->s.stops)
                agent_feed(a, &(struct succession_input){ .event = ON_STOP, .value = a->keeper.stop_count });
}

/* ---- what is left behind ---------------------------------------------------------------------------- */

void start_clean(struct agent *a)
{
        static const char *const names[] = { "control.sock", "state" };
        char path[320];

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", a->run_dir, names[i]);
                (void)unlink(path);
        }
        for (size_t i = 0; i < a->options->statuses.n; i++) {
                const char *address = options_str(a->options, a->options->statuses.items[i]);

                if (strncmp(address, "unix:", 5) == 0)
                        (void)unlink(address + 5);
        }
        kit_sweep(a->run_dir, nobody, NULL);
}

/* ---- main ------------------------------------------------------------------------------------------- */

static int on_command(void *userdata, enum control_command c, const struct control_args *args, char *detail, size_t n)
{
        struct agent *a = userdata;

        (void)args;
        switch (c) {
        case CONTROL_STOP:
                /* Not from here: a stop may end the very server that we are called by. */
                (void)keeper_link_stop(a->link);
                a->stops_asked = a->s.stops + 1;
                ev_timer_stop(a->loop, &a->stop_timer);
                ev_timer_set(&a->stop_timer, 0., 0.);
                ev_timer_start(a->loop, &a->stop_timer);
                return 0;
        case CONTROL_DRAIN:
        case CONTROL_DRAIN_UNDO:
                agent_feed(a, &(struct succession_input){ .event = ON_UNREADY, .value = c == CONTROL_DRAIN });
                return 0;
        case CONTROL_UPGRADE:
        case CONTROL_ROLLBACK:
        case CONTROL_PAUSE:
        case CONTROL_RESUME:
                break;
        }
        (void)snprintf(detail, n, "%s", "not in this version");
        return CONTROL_NOT_IN_THIS_VERSION;
}

static void serve_control(struct agent *a, struct inventory *inv)
{
        struct control_ops ops = {
                .ud = a, .status = status_write, .sampling = status_sampling, .ready = status_ready, .live = status_live, .command = on_command,
                .metrics = status_metrics,
        };
        int r = control_new(a->loop, &ops, &a->control);

        if (r == 0)
                r = control_serve(a->control, inv->control_fd, CONTROL_PRIVATE);
        for (size_t i = 0; r == 0 && i < inv->n_status; i++)
                r = control_serve(a->control, inv->status_fds[i], CONTROL_STATUS);
        if (r < 0)
                log_event(LOG_ERR, "control.failed", F_STR("error", strerror(-r)), F_STR("then", "status and stop by HTTP do not work"));
}

static void begin(struct agent *a, struct inventory *inv, int argc, char **argv)
{
        bool first = inv->options_fd < 0;

        if (first)
                parse_options(a, argc, argv);
        else if (options_map(inv->options_fd, &a->options) != 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "cannot read the options that the keeper holds");
        read_proxy_args(a);
        if (first || inv->lock_fd < 0)
                claim_run_dir(a);
        else if (instance_of_lock(inv->lock_fd, a->run_dir, sizeof(a->run_dir)) < 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "cannot find the run directory");
        use_options(a);
        first = inv->state_fd < 0; /* an agent that died before this has left nothing to resume */
        if (first)
                inv->state_fd = open_file(a, "state", O_TRUNC);
        if (inv->events_fd < 0)
                inv->events_fd = open_file(a, "events", 0);
        (void)events_open(inv->events_fd, a->run_dir);
        if (state_open(inv->state_fd, STATE_BYTES_MAX, &a->state) < 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "cannot map the state file");
        if (inv->control_fd < 0) {
                inv->n_status = 0;
                open_listeners(a, inv);
        }
        agent_watch(a);
        if (first) {
                say_hello(a);
                succession_init(&a->s, &a->limits);
                agent_feed(a, &(struct succession_input){ .event = ON_BEGIN });
                if (a->keeper.stop_count)
                        agent_feed(a, &(struct succession_input){ .event = ON_STOP, .value = a->keeper.stop_count });
        } else {
                resume(a, inv);
        }
        /* Libraries that the launch did not wait for are loaded while the proxy starts. */
        serve_control(a, inv);
        (void)admin_prepare(a->admin);
}

int main(int argc, char **argv)
{
        static struct agent a;
        struct inventory *inv;
        int r;

        (void)signal(SIGPIPE, SIG_IGN);
        a.loop = ev_loop_new(EVFLAG_AUTO);
        a.unix_start_s = time(NULL);
        a.validate_out = a.validate_pidfd = -1;
        for (size_t i = 0; i < KEYS_MAX; i++)
                a.sockets[i] = a.looked[i] = -1;
        a.started = clock_now();
        log_setup(LOG_FORMAT_TEXT, LOG_NOTICE);
        r = a.loop ? keeper_link_new(WIRE_AGENT_FD, &a.link) : -ENOMEM;
        if (r < 0) {
                fprintf(stderr, "baton-agent is started by `baton run`, not by hand\n");
                return STATUS_USAGE;
        }
        a.admin = admin_new(a.loop);
        inv = take_inventory(&a);
        begin(&a, inv, argc, argv);
        free(inv);
        (void)keeper_link_working(a.link, a.limits.stop_timeout_ms);
        ev_run(a.loop, 0);
        return STATUS_FAILED;
}
