/* SPDX-License-Identifier: MIT */
/* See reports.h. Says, never does. */
#include "agent/reports.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/log.h"

/* The epoch of a report may have been forgotten in the same step: its slot still tells. */
static const struct epoch *epoch_of(const struct agent *a, uint64_t number)
{
        const struct epoch *gone = NULL;

        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                const struct epoch *e = &a->s.epochs[i];

                if (e->number == number && e->pid && e->state != EPOCH_NONE)
                        return e;
                if (e->number == number && e->pid)
                        gone = e;
        }
        return gone;
}

/* "SEGV"; glibc knows the names since 2.32. */
static const char *signal_name(int signo)
{
#if __GLIBC_PREREQ(2, 32)
        if (sigabbrev_np(signo))
                return sigabbrev_np(signo);
#endif
        static char digits[12];

        (void)snprintf(digits, sizeof(digits), "%d", signo);
        return digits;
}

static const char *why_of(const struct epoch *e, char *buf, size_t size)
{
        if (!e || e->exit_code == 0)
                (void)snprintf(buf, size, "%s", "unknown");
        else if (e->exit_code == CLD_EXITED)
                (void)snprintf(buf, size, "exit:%d", e->exit_status);
        else
                (void)snprintf(buf, size, "signal:%s", signal_name(e->exit_status));
        return buf;
}

void report_exit(struct agent *a, const struct wire_job *job)
{
        if (job->error == 0)
                return;
        (void)snprintf(a->kit_error, sizeof(a->kit_error), "cannot execute %s: %s", agent_args(a, job->job)->program,
                       strerror((int)job->error));
        if (job->job != a->s.upgrade.candidate)
                (void)snprintf(a->last_reason, sizeof(a->last_reason), "%s", a->kit_error);
        log_event(LOG_ERR, "launch.failed", F_UINT("epoch", job->job), F_STR("error", a->kit_error),
                  F_STR("do", a->options->user.other ? "check the path, and that the user of --proxy-user may execute it"
                                                     : "check the path and the permissions of the proxy"));
}

static const char *config_of(const struct agent *a, uint64_t epoch)
{
        const char *path = agent_args(a, epoch)->config_path;

        return path ? path : "";
}

static const char *after_change(int64_t what)
{
        switch (what) {
        case CHANGED_HELD_BACK:
                return "nothing: --no-auto-upgrade; `baton upgrade` puts it to work";
        case CHANGED_PAUSED:
                return "nothing while upgrades are paused";
        case CHANGED_RELAUNCH:
                return "it is launched at once";
        case CHANGED_PROGRAM:
                return "the proxy's program is another one, it is launched at once";
        default:
                return "upgrade";
        }
}

static void exited(struct agent *a, const struct effect *fx)
{
        const struct epoch *e = epoch_of(a, fx->epoch);
        /* The death that leads to the end was not asked for; those of the others behind it were. */
        bool wanted = a->s.stops == 0 && (a->s.end == END_NOT || fx->epoch == a->s.wanted) && fx->arg != EXIT_OF_ANOTHER;
        char why[64], wait[48] = "no more";
        int64_t up_ms = e && !mono_is_never(e->launched) ? (e->exited_ns - e->launched.ns) / 1000000 : 0;

        if (up_ms < 0) /* its end was over before we heard of its start */
                up_ms = 0;
        (void)why_of(e, why, sizeof(why));
        if (fx->arg >= 0)
                (void)snprintf(wait, sizeof(wait), "relaunch in %" PRId64 " ms", fx->arg);
        if (wanted)
                (void)snprintf(a->last_reason, sizeof(a->last_reason), "epoch %" PRIu64 " ended (%s) after %" PRId64 " ms%s",
                               fx->epoch, why, up_ms, e && mono_is_never(e->accepted) ? ", before it accepted connections" : "");
        log_event(wanted ? LOG_WARNING : LOG_NOTICE, "epoch.exited", F_UINT("epoch", fx->epoch), F_INT("pid", e ? e->pid : 0),
                  F_STR("reason", why), F_INT("up_ms", up_ms), F_INT("exited_ns", e ? e->exited_ns : 0),
                  F_BOOL("accepted", e && !mono_is_never(e->accepted)), F_INT("tokens", a->s.backoff.tokens), F_STR("then", wanted ? wait : "as asked"));
}

/* systemd waits for it once; the keeper knows whether it has been said. */
void report_ready(struct agent *a)
{
        (void)keeper_link_notify(a->link, "READY=1\nSTATUS=serving");
}

static void accepted(struct agent *a, const struct effect *fx)
{
        const struct epoch *e = epoch_of(a, fx->epoch);
        int64_t start_ms = e && !mono_is_never(e->launched) ? (e->accepted.ns - e->launched.ns) / 1000000 : 0;
        unsigned held = 0;

        for (uint32_t i = 0; i < a->s.escrow.n; i++)
                held += a->s.escrow.keys[i].inode != 0;
        log_event(LOG_NOTICE, "epoch.accepted", F_UINT("epoch", fx->epoch), F_INT("pid", e ? e->pid : 0),
                  F_INT("start_ms", start_ms), F_INT("gap_us", fx->arg < 0 ? -1 : fx->arg / 1000),
                  F_UINT("held", held));
        *a->last_reason = '\0';
        report_ready(a);
}

/* Where Kubernetes looks for the reason of a container's end. Only if it is there: we make nothing in /dev. */
void report_last_words(const char *reason)
{
        int fd = open("/dev/termination-log", O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

        if (fd < 0)
                return;
        (void)dprintf(fd, "%s\n", reason); /* full, or not a file: nobody is left to be told */
        (void)close(fd);
}

static void removed(struct agent *a, const struct effect *fx)
{
        const struct hr_key *k = &a->s.escrow.keys[fx->key].key;
        uint64_t epoch = fx->epoch == NO_EPOCH ? a->s.wanted : fx->epoch; /* at a commit: the new one has never asked for it */

        log_event(LOG_NOTICE, "socket.removed", F_UINT("epoch", epoch), F_STR("url", k->url), F_UINT("worker", k->worker),
                  F_STR("then", "closed: the proxy does not listen there any more"));
}

static void not_accepting(const struct effect *fx, const char *event)
{
        log_event(LOG_WARNING, event, F_UINT("epoch", fx->epoch), F_STR("reason", look_lack_text((enum look_lack)fx->arg)),
                  F_STR("then", "baton goes on waiting; what connects is kept in the accept queue"));
}

static void upgrade_committed(struct agent *a, const struct effect *fx)
{
        const struct last_change *l = &a->s.last;
        const struct epoch *e = epoch_of(a, fx->epoch);

        log_event(LOG_NOTICE, "upgrade.committed", F_UINT("epoch", fx->epoch), F_INT("pid", e ? e->pid : 0),
                  F_STR("kind", l->kind == LAST_ROLLBACK ? "rollback" : "upgrade"),
                  F_INT("from", l->from == NO_EPOCH ? -1 : (int64_t)l->from), F_UINT("to", l->to), F_INT("gap_us", fx->arg / 1000));
        *a->last_reason = '\0';
        report_ready(a);
}

static void upgrade_refused(struct agent *a, const struct effect *fx, const char *event)
{
        const struct last_change *l = &a->s.last;
        const char *then = a->s.stops       ? "all of it stops"
                           : a->s.come_back ? "what served before is launched again"
                           : succession_serving(&a->s) ? "the old generation serves on"
                                                        : "nothing serves";

        if (fx->epoch == NO_EPOCH)
                log_event(LOG_WARNING, event, F_STR("kind", l->kind == LAST_ROLLBACK ? "rollback" : "upgrade"),
                          F_STR("reason", l->reason), F_STR("then", then));
        else
                log_event(LOG_WARNING, event, F_UINT("epoch", fx->epoch), F_STR("kind", l->kind == LAST_ROLLBACK ? "rollback" : "upgrade"),
                          F_STR("reason", l->reason), F_STR("then", then));
}

/* Longer than most: one case a report, without a default, and each says with its own fields what a user needs. */
void report(struct agent *a, const struct effect *fx)
{
        enum report_kind kind = (enum report_kind)fx->value;
        const char *name = report_name(kind);

        switch (kind) {
        case REPORT_LAUNCHED:
                log_event(LOG_NOTICE, name, F_UINT("epoch", fx->epoch), F_INT("pid", fx->arg));
                return;
        case REPORT_ACCEPTED:
                accepted(a, fx);
                return;
        case REPORT_EXITED:
                exited(a, fx);
                return;
        case REPORT_READY_LATE:
        case REPORT_NOT_ACCEPTING:
                not_accepting(fx, name);
                return;
        case REPORT_WAITING:
                log_event(LOG_NOTICE, name, F_INT("wait_ms", fx->arg), F_UINT("n", a->s.backoff.n),
                          F_INT("tokens", a->s.backoff.tokens),
                          F_STR("do", *config_of(a, a->s.wanted)
                                              ? "a change of the config or of the program ends the wait"
                                              : "a change of the program ends the wait, and `baton upgrade` does"));
                return;
        case REPORT_EXHAUSTED:
                log_event(LOG_ERR, name, F_INT("failed_in_a_row", fx->arg), F_STR("reason", a->last_reason),
                          F_STR("then", a->limits.wait_exhausted ? "ports refuse until the config, what else is watched, or the program changes"
                                                                 : "ports closed, baton ends with status 1"));
                return;
        case REPORT_REJECTED:
                (void)snprintf(a->last_reason, sizeof(a->last_reason), "the proxy rejects its config or arguments: %s", a->rejected);
                log_event(LOG_ERR, name, F_UINT("epoch", fx->epoch), F_STR("file", config_of(a, fx->epoch)),
                          F_STR("reason", a->rejected),
                          F_STR("then", a->limits.wait_exhausted ? "waits for the file or the program to change" : "baton ends with status 2"));
                return;
        case REPORT_CLEAN_EXIT:
                log_event(LOG_NOTICE, name, F_UINT("epoch", fx->epoch), F_STR("then", "the proxy ended as asked by somebody else: baton ends too"));
                return;
        case REPORT_SILENCED:
                log_event(LOG_WARNING, name, F_INT("hold_ms", a->limits.hold_ms),
                          F_STR("then", "nothing has served for the hold time: ports refuse until the proxy is back"));
                return;
        case REPORT_STOPPING:
                log_event(LOG_NOTICE, name, F_INT("times", fx->arg), F_INT("timeout_ms", a->limits.stop_timeout_ms));
                if (fx->arg == 1)
                        (void)keeper_link_notify(a->link, "STOPPING=1\nSTATUS=stopping");
                return;
        case REPORT_DRAIN_OVERRUN:
                log_event(LOG_WARNING, name, F_UINT("epoch", fx->epoch), F_INT("in_flight", fx->arg),
                          F_STR("then", "SIGTERM: what is still in flight is cut"));
                return;
        case REPORT_KILLED:
                log_event(LOG_WARNING, name, F_UINT("epoch", fx->epoch), F_STR("then", "SIGKILL: it did not end in time"));
                return;
        case REPORT_HUNG:
                log_event(LOG_WARNING, name, F_UINT("epoch", fx->epoch),
                          F_STR("then", "SIGKILL: it waits for an answer that was lost with the state; the next one starts anew"));
                return;
        case REPORT_CREATE_FAILURES:
                log_event(LOG_WARNING, name, F_UINT("epoch", fx->epoch), F_INT("listeners", fx->arg),
                          F_STR("do", "see the proxy's log: these listeners do not accept"));
                return;
        case REPORT_TOO_MANY_KEYS:
                log_event(LOG_WARNING, name, F_UINT("epoch", fx->epoch), F_INT("limit", fx->arg),
                          F_STR("then", "further listeners work, but do not survive a crash"));
                return;
        case REPORT_REMOVED:
                removed(a, fx);
                return;
        case REPORT_AMBIGUOUS:
                log_event(LOG_WARNING, name, F_UINT("epoch", fx->epoch), F_STR("url", a->s.escrow.keys[fx->key].key.url),
                          F_STR("reason", "two listeners have this address, in different network namespaces that this proxy does not name"),
                          F_STR("then", "baton does not hold their sockets: a crash refuses their clients until the proxy is back"));
                return;
        case REPORT_STOPPED:
                log_event(LOG_NOTICE, name, F_INT("status", fx->arg), F_STR("reason", a->last_reason));
                return;
        case REPORT_UPGRADE_STARTED:
                log_event(LOG_NOTICE, name, F_UINT("epoch", fx->epoch), F_STR("kind", run_kind_name((uint32_t)fx->arg)),
                          F_STR("proxy", agent_args(a, fx->epoch)->program));
                return;
        case REPORT_UPGRADE_WARMING:
                log_event(LOG_NOTICE, name, F_UINT("epoch", fx->epoch), F_INT("observe_ms", fx->arg),
                          F_STR("then", "it serves beside the other one; `baton rollback` takes it back"));
                return;
        case REPORT_UPGRADE_COMMITTED:
                upgrade_committed(a, fx);
                return;
        case REPORT_UPGRADE_REFUSED:
        case REPORT_UPGRADE_ROLLED_BACK:
                upgrade_refused(a, fx, name);
                return;
        case REPORT_KEPT:
                log_event(LOG_WARNING, name, F_STR("kept", a->kept), F_STR("reason", *a->rejected ? a->rejected : a->last_reason),
                          F_STR("then", "the config that served before is used; mend the one on disk"));
                return;
        case REPORT_CONTENT_CHANGED:
                log_event(LOG_NOTICE, name, F_UINT("epoch", fx->epoch),
                          F_STR("then", after_change(fx->arg)),
                          F_INT("wait_ms", fx->arg > 0 ? fx->arg : 0));
                return;
        case REPORT_REVIVED:
        case REPORT_PAUSED:
        case REPORT_RESUMED:
        case REPORT_DRAINING:
        case REPORT_DRAINED:
        case REPORT_UNREADY:
        case REPORT_READY_AGAIN:
                log_event(LOG_NOTICE, name, F_UINT("epoch", fx->epoch));
                return;
        }
}
