/* SPDX-License-Identifier: MIT */
/*
 * How an agent begins: the first one of an instance parses the options, claims the run directory and launches; a later one
 * maps the options and resumes. And how a run directory is left behind.
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

#include "agent/admin_listen.h"
#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/events.h"
#include "agent/image.h"
#include "agent/instance.h"
#include "agent/keeper/trial.h"
#include "agent/keep.h"
#include "agent/listen_fds.h"
#include "agent/log.h"
#include "agent/open_port.h"
#include "agent/plain.h"
#include "agent/preflight.h"
#include "agent/reports.h"
#include "agent/resume.h"
#include "agent/validate.h"

extern char **environ;

enum { STATUS_FAILED = 1, STATUS_USAGE = 2, STATE_BYTES_MAX = IMAGE_BYTES_MAX };

/* ---- ends before it began --------------------------------------------------------------------------- */

/* Nothing is ended because an agent cannot begin: where something runs, or may run, the next agent tries. */
static void give_up(struct agent *a, int status)
{
        log_flush();
        if (a->alone)
                (void)keeper_link_end(a->link, status);
        exit(status);
}

static void *fail(struct agent *a, int status, const char *event, const char *text)
{
        log_event(LOG_ERR, event, F_STR("error", text));
        if (a->alone)
                report_last_words(text);
        give_up(a, status);
        return NULL;
}

/* ---- options ---------------------------------------------------------------------------------------- */

static void set_limits(struct agent *a)
{
        const struct options *o = a->options;

        a->limits = (struct succession_limits){
                .epoch = { .protocol = o->handover == HANDOVER_ENVOY, .probe = *options_str(o, o->probe), .silent_ms = 1000,
                           .ready_ms = o->ready_timeout_ms, .quiet_ms = 1000, .sample_ms = 100, .kill_ms = 5000 },
                .backoff = { .initial_ms = o->retry_initial_ms, .max_ms = o->retry_max_ms, .stable_ms = o->stable_ms,
                             .refill_ms = o->token_refill_ms, .tokens = (int32_t)o->retry_tokens },
                .hold_ms = o->hold_time_ms,
                .stop_delay_ms = o->stop_delay_ms,
                .stop_timeout_ms = o->stop_timeout_ms,
                .drain_ms = a->args.drain_time_s >= 0 && !o->drain_time_given ? a->args.drain_time_s * 1000 : o->drain_time_ms,
                .observe_ms = o->observe_ms,
                .watch_ms = 1000,
                .wait_exhausted = o->on_exhausted == ON_EXHAUSTED_WAIT,
                .restart_clean = o->on_clean_exit == ON_CLEAN_EXIT_RESTART,
                .allow_loss = o->allow_listener_loss,
                .no_auto = o->no_auto_upgrade,
                .low_ports = open_port_limit(o),
                .one_by_one = o->handover == HANDOVER_NONE,
        };
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
        struct certs_error certs_error = { "" };

        log_setup(o->log_format, o->log_level);
        for (size_t i = 0; i < o->n_proxy_args; i++)
                argv[i] = options_proxy_arg(o, i);
        if (proxy_args_read(argv, o->n_proxy_args, o->handover == HANDOVER_ENVOY, &a->args, &error) != 0)
                refuse_options(a, error.text);
        if (a->args.plain)
                plain_run(a);
        if (cert_sets_init(a, &certs_error) != 0)
                refuse_options(a, certs_error.text);
        if (listen_fds_refusal(a))
                refuse_options(a, listen_fds_refusal(a));
}

static void use_options(struct agent *a)
{
        const struct options *o = a->options;

        set_limits(a);
        a->kits = (struct kit_maker){
                .run_dir = a->run_dir,
                .args = &a->args,
                .environment = environ,
                .drain_time_s = o->drain_time_ms / 1000,
                .protocol = o->handover == HANDOVER_ENVOY,
                .notify = o->handover != HANDOVER_ENVOY && !*options_str(o, o->probe),
                .expand = o->expand_env,
                .user = &o->user,
                .uid = o->user.other ? o->user.uid : geteuid(),
                .gid = o->user.other ? o->user.gid : getegid(),
                .nofile_soft = a->keeper.nofile_soft,
                .nofile_hard = a->keeper.nofile_hard,
        };
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
        case OPTIONS_PRINT: /* options_show.c has printed what was asked for */
                give_up(a, 0);
                break;
        default:
                refuse_options(a, error.text);
        }
        if (o.handover == HANDOVER_NONE && o.handover_detected && a->keeper.listen_fds > 0)
                o.handover = HANDOVER_LISTEN_FDS; /* only the keeper knows of them: it took them out of the environment */
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
        r = proxy_user_reaches(&a->options->user, a->run_dir);
        if (r < 0) {
                (void)snprintf(error.text, sizeof(error.text), "the proxy's user (--proxy-user %s) cannot get into run directory %s: %s; use one whose "
                               "parents let everybody pass", options_str(a->options, a->options->proxy_user), a->run_dir, strerror(-r));
                (void)fail(a, STATUS_FAILED, "run-dir.refused", error.text);
        }
        if (hold_one(a, "lock", lock) < 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "the keeper cannot hold the lock");
        kit_sweep(a->run_dir, nobody, NULL); /* leftovers of an instance that could not clean up */
        cert_sets_remove(a);
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

/* An agent before this one may have opened some of them, and died: what the keeper holds is not opened again. */
static bool is_open(const struct inventory *inv, const char *name)
{
        for (size_t i = 0; i < inv->n_status; i++)
                if (strcmp(inv->statuses[i].name, name) == 0)
                        return true;
        return false;
}

static void open_statuses(struct agent *a, struct inventory *inv)
{
        char name[WIRE_NAME_BYTES], error[512];

        for (size_t i = 0; i < a->options->statuses.n; i++) {
                const char *address = options_str(a->options, a->options->statuses.items[i]);
                int fd, r;

                (void)snprintf(name, sizeof(name), "status/%s", address);
                if (is_open(inv, name))
                        continue;
                r = control_open_status(address, &fd, error, sizeof(error));
                if (r < 0)
                        (void)fail(a, r == -EINVAL ? STATUS_USAGE : STATUS_FAILED, "status.refused", error);
                (void)hold_one(a, name, fd);
                (void)snprintf(inv->statuses[inv->n_status].name, WIRE_NAME_BYTES, "%s", name);
                inv->statuses[inv->n_status++].fd = fd;
        }
}

static void open_listens(struct agent *a, struct inventory *inv, bool first)
{
        char error[512] = "";
        int r = listen_fds_prepare(a, inv, first, error, sizeof(error));

        if (r < 0)
                (void)fail(a, STATUS_FAILED, "listen.refused", error);
        a->kits.listen = a->passed.held_list;
        a->kits.listen_names = a->passed.name_list;
        a->kits.n_listen = a->passed.n;
}

static void open_admin(struct agent *a, struct inventory *inv)
{
        char error[512];
        int r = admin_listen_first(a, inv, error, sizeof(error));

        if (r < 0)
                (void)fail(a, r == -EINVAL ? STATUS_USAGE : STATUS_FAILED, "admin.refused", error);
}

static void open_control(struct agent *a, struct inventory *inv)
{
        char path[320], error[512];
        int r;

        if (inv->control_fd >= 0)
                return;
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
        log_event(LOG_NOTICE, "baton.started", F_STR("version", BATON_VERSION), F_STR("handover", options_handover(a->options)),
                  F_STR("run_dir", a->run_dir), F_STR("proxy", a->args.program), F_INT("keeper_pid", a->keeper.keeper_pid));
        for (size_t i = 0; i < a->args.n_notices; i++)
                log_event(LOG_NOTICE, "options.notice", F_STR("text", a->args.notices[i]));
        if (a->limits.epoch.protocol && a->options->drain_time_ms > a->options->stop_timeout_ms)
                log_event(LOG_INFO, "options.notice", F_STR("text", "--drain-time is above --stop-timeout: a stop ends at its own timeout"));
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
                const char *file = control_file(options_str(a->options, a->options->statuses.items[i]));

                if (file)
                        (void)unlink(file);
        }
        listen_fds_clean(a);
        admin_listen_clean(a);
        kit_sweep(a->run_dir, nobody, NULL);
        cert_sets_remove(a);
}

/* ---- main ------------------------------------------------------------------------------------------- */

static bool admin_target(void *userdata, uint64_t *ret_epoch, char *path, size_t size)
{
        struct agent *a = userdata;
        const struct epoch *e = succession_admin(&a->s);
        const char *reason;

        if (e && kit_admin_path(a->run_dir, e->number, path, size) == 0) {
                *ret_epoch = e->number;
                return true;
        }
        (void)succession_ready(&a->s, &reason);
        (void)snprintf(path, size, "nobody serves, %s", reason);
        return false;
}

static void admin_answered(void *userdata)
{
        struct agent *a = userdata;

        if (a->control)
                control_changed(a->control);
}

void start_control(struct agent *a)
{
        struct control_ops ops = {
                .ud = a, .status = status_write, .sampling = status_sampling, .ready = status_ready, .live = status_live,
                .command = orders_command, .ticket = orders_ticket, .metrics = status_metrics,
        };
        struct front_ops front = { .ud = a, .target = admin_target, .answered = admin_answered };
        int r;

        if (a->limits.epoch.protocol && !a->front)
                a->front = front_new(a->loop, a->admin, &front);
        ops.front = a->front;
        r = a->control ? 0 : control_new(a->loop, &ops, &a->control);
        while (r == 0 && a->doors.open < a->doors.n) {
                r = control_serve(a->control, a->doors.list[a->doors.open].fd, a->doors.list[a->doors.open].kind);
                if (r == 0)
                        a->doors.open++;
        }
        if (r < 0 && !a->doors.failed)
                log_event(LOG_ERR, "control.failed", F_STR("error", strerror(-r)),
                          F_STR("then", "it is tried every few seconds; until it works there is no status and no order by HTTP"));
        a->doors.failed = r < 0;
        if (r == 0)
                admin_listen_start(a);
}

static void serve_control(struct agent *a, const struct inventory *inv)
{
        struct doors *d = &a->doors;

        d->list[d->n++] = (struct door){ inv->control_fd, CONTROL_PRIVATE };
        for (size_t i = 0; i < inv->n_status; i++)
                d->list[d->n++] = (struct door){ inv->statuses[i].fd, CONTROL_STATUS };
        for (size_t i = 0; i < inv->n_admin; i++) {
                struct admin_place *p = &a->admin_listener.waiting[a->admin_listener.n_waiting++];

                p->fd = inv->admins[i].fd;
                (void)snprintf(p->name, sizeof(p->name), "%.*s", (int)sizeof(p->name) - 1, inv->admins[i].name);
        }
        start_control(a);
}

/* An agent that died between opening the state file and its first step has left nothing to resume. */
static bool nothing_stored(struct agent *a)
{
        uint8_t byte;
        size_t n;

        return !(a->keeper.flags & WIRE_FRESH) && state_load(a->state, &byte, 0, &n) == STATE_E_EMPTY;
}

static void begin(struct agent *a, struct inventory *inv, int argc, char **argv)
{
        bool first = inv->options_fd < 0;
        int r = first ? -EPROTO : options_map(inv->options_fd, &a->options);

        if (r == -EPROTO) /* none yet, or those of a version before this one: its words and environment are still here */
                parse_options(a, argc, argv);
        else if (r != 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "cannot read the options that the keeper holds");
        read_proxy_args(a);
        if (first || inv->lock_fd < 0)
                claim_run_dir(a);
        else if (instance_of_lock(inv->lock_fd, a->run_dir, sizeof(a->run_dir)) < 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "cannot find the run directory");
        use_options(a);
        admin_of_user(a->admin, a->kits.uid);
        keep_open(a);
        if (cert_sets_open(a) < 0)
                (void)fail(a, STATUS_FAILED, "run-dir.refused", "cannot make the folder for certificates in the run directory");
        first = inv->state_fd < 0; /* an agent that died before this has left nothing to resume */
        if (first)
                inv->state_fd = open_file(a, "state", O_TRUNC);
        if (inv->events_fd < 0)
                inv->events_fd = open_file(a, "events", 0);
        (void)events_open(inv->events_fd, a->run_dir);
        if (state_open(inv->state_fd, STATE_BYTES_MAX, &a->state) < 0)
                (void)fail(a, STATUS_FAILED, "agent.failed", "cannot map the state file");
        first = first || (a->alone && nothing_stored(a));
        self_report(a);
        open_statuses(a, inv);
        open_listens(a, inv, first);
        open_admin(a, inv);
        open_control(a, inv);
        agent_watch(a);
        if (first) {
                say_hello(a);
                cert_sets_look(a);
                keep_bring_back(a);
                succession_init(&a->s, &a->limits);
                resume_sockets(a, inv, false);
                agent_feed(a, &(struct succession_input){ .event = ON_BEGIN });
                if (a->keeper.stop_count)
                        agent_feed(a, &(struct succession_input){ .event = ON_STOP, .value = a->keeper.stop_count });
        } else {
                resume(a, inv);
        }
        watching_start(a);
        /* Libraries that the launch did not wait for are loaded while the proxy starts. */
        serve_control(a, inv);
        (void)admin_prepare(a->admin);
}

/* libev cannot wait any more. Its own answer is abort(), and a core file; ours is the next agent. */
static void cannot_wait(const char *what)
{
        const char *error = strerror(errno);

        (void)what;
        log_event(LOG_ERR, "agent.failed", F_STR("error", error), F_STR("then", "another agent resumes"));
        log_flush();
        exit(STATUS_FAILED);
}

int main(int argc, char **argv)
{
        static struct agent a;
        struct inventory *inv;
        int r;

        if (argc > 1 && strcmp(argv[1], TRIAL_WORD) == 0)
                return self_try(argc - 1, argv + 1);
        (void)signal(SIGPIPE, SIG_IGN);
        ev_set_syserr_cb(cannot_wait);
        a.loop = ev_loop_new(EVFLAG_AUTO);
        a.unix_start_s = time(NULL);
        validate_init(&a);
        preflight_init(&a);
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
        r = inventory_take(&a, &inv);
        if (r < 0)
                (void)fail(&a, STATUS_FAILED, "keeper.unreachable", strerror(-r));
        a.alone = inv->n_jobs == 0;
        begin(&a, inv, argc, argv);
        free(inv);
        (void)keeper_link_working(a.link, a.limits.stop_timeout_ms);
        ev_run(a.loop, 0);
        return STATUS_FAILED;
}
