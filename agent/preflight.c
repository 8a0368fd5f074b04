/* SPDX-License-Identifier: MIT */
/* See preflight.h. Three questions, one after the other; the first no is the answer. */
#include "agent/preflight.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/bind_probe.h"
#include "agent/cleanup.h"
#include "agent/log.h"
#include "agent/proxy_words.h"
#include "agent/same_file.h"
#include "agent/validate.h"

enum { VERSION_MS = 10000 };

static void validate(struct agent *a);

static void answer(struct agent *a, bool refused)
{
        struct preflight *f = &a->preflight;

        helper_cancel(&f->run);
        f->state = PREFLIGHT_NOT;
        agent_feed(a, &(struct succession_input){ .event = ON_PREFLIGHT, .epoch = f->epoch, .value = refused,
                                                  .text = refused ? f->verdict : NULL });
}

static void __attribute__((format(printf, 2, 3))) refuse(struct agent *a, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(a->preflight.verdict, sizeof(a->preflight.verdict), format, ap);
        va_end(ap);
        answer(a, true);
}

static const char *binary_of(struct agent *a, struct held_name *name)
{
        const struct proc *p = agent_proc(a, a->preflight.epoch);

        *name = held_name(HELD_BINARY, a->preflight.epoch);
        return p && p->binary_fd >= 0 ? name->text : "";
}

/* ---- does its binary speak our hot restart? ---------------------------------------------------------- */

static void version_done(struct agent *a, const struct helper_result *r)
{
        struct preflight *f = &a->preflight;
        const char *program = agent_args(a, f->epoch)->program;
        struct hr_segment_layout have = { 0 };
        const struct hr_segment_layout want = HR_SEGMENT_DEFAULT;
        char version[64];
        bool told;

        if (r->timed_out) {
                refuse(a, "%s --hot-restart-version has not ended within %d s", program, VERSION_MS / 1000);
                return;
        }
        if (r->job->error) {
                refuse(a, "cannot execute %s: %s", program, strerror((int)r->job->error));
                return;
        }
        if (r->job->code != CLD_EXITED) {
                refuse(a, "%s --hot-restart-version was killed by signal %d", program, r->job->status);
                return;
        }
        told = proxy_words_version(r->text, r->n, &have, version, sizeof(version));
        if (!told && (r->job->status != 0 || !*version)) {
                refuse(a, "%s --hot-restart-version tells no version, exit status %d%s%s", program, r->job->status,
                       *version ? ": " : "", version);
                return;
        }
        if (!told || have.version != want.version || have.bytes != want.bytes) {
                refuse(a, "%s has hot restart version '%s', and baton speaks %" PRIu64 ".%" PRIu64, program, version, want.version, want.bytes);
                return;
        }
        f->known = f->asked;
        f->known_version = true;
        validate(a);
}

static void ask_version(struct agent *a)
{
        CLEANUP(close_fd) int record = -1;
        struct preflight *f = &a->preflight;
        struct kit_maker m = agent_maker(a, f->epoch);
        const struct proc *p = agent_proc(a, f->epoch);
        char out[HELPER_OUT_NAME_BYTES];
        struct held_name name;
        int r;

        if (!p || p->binary_fd < 0 || fstat(p->binary_fd, &f->asked) < 0) {
                refuse(a, "cannot execute %s: %s", m.args->program, strerror(ENOENT));
                return;
        }
        if (f->known_version && same_file(&f->known, &f->asked)) {
                validate(a);
                return;
        }
        f->state = PREFLIGHT_VERSION;
        helper_begin(&f->run, out);
        r = kit_version_record(&m, binary_of(a, &name), out, &record);
        if (r == 0)
                r = helper_run(&f->run, record, VERSION_MS);
        if (r < 0)
                refuse(a, "%s --hot-restart-version cannot be run: %s", m.args->program, strerror(-r));
}

/* ---- does it accept its config? ---------------------------------------------------------------------- */

/* What it will have to bind itself: an address that somebody else has makes it end, or go on without the listener. */
static void try_to_bind(struct agent *a)
{
        CLEANUP(bootstrap_done) struct bootstrap b = { 0 };

        agent_bootstrap(a, a->preflight.epoch, &b);
        for (size_t i = 0; i < b.n_urls; i++) {
                int r = escrow_holds_url(&a->s.escrow, b.urls[i]) ? 0 : bind_probe(b.urls[i], &b.listeners[i], &a->options->user);

                if (r >= 0)
                        continue;
                refuse(a, "listener %s cannot be opened: %s", b.urls[i], strerror(-r));
                return;
        }
        answer(a, false);
}

static void validate_done(struct agent *a, const struct helper_result *r)
{
        struct preflight *f = &a->preflight;
        const struct proxy_args *args = agent_args(a, f->epoch);
        char words[REASON_BYTES - 64];

        if (r->timed_out)
                refuse(a, "%s --mode validate has not ended within %lld ms (--ready-timeout)", args->program,
                       (long long)a->options->ready_timeout_ms);
        else if (r->job->error)
                refuse(a, "cannot execute %s: %s", args->program, strerror((int)r->job->error));
        else if (proxy_words(r->text, r->n, r->job->code == CLD_EXITED ? r->job->status : -1, words, sizeof(words)))
                refuse(a, "the proxy rejects its config or arguments: %s", validate_words(a, f->epoch, words, sizeof(words)));
        else if (r->job->code != CLD_EXITED)
                refuse(a, "%s --mode validate was killed by signal %d", args->program, r->job->status);
        else if (r->job->status != 0)
                refuse(a, "%s --mode validate ended with exit status %d", args->program, r->job->status);
        else
                try_to_bind(a);
}

static void validate(struct agent *a)
{
        CLEANUP(close_fd) int record = -1;
        struct preflight *f = &a->preflight;
        struct kit_maker m = agent_maker(a, f->epoch);
        char out[HELPER_OUT_NAME_BYTES];
        struct held_name name;
        int r;

        f->state = PREFLIGHT_VALIDATE;
        helper_begin(&f->run, out);
        r = kit_validate_record(&m, f->epoch, binary_of(a, &name), out, &record);
        if (r == 0)
                r = helper_run(&f->run, record, a->options->ready_timeout_ms);
        if (r < 0)
                refuse(a, "%s --mode validate cannot be run: %s", m.args->program, strerror(-r));
}

/* ---- no Envoy ----------------------------------------------------------------------------------------- */

/* By the right of who will execute it. A sandbox may not know the call. */
static bool may_execute(const struct agent *a, const char *path)
{
        AS_THE_PROXY(&a->options->user);

        if (syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS) == 0)
                return true;
        return (errno == ENOSYS || errno == EPERM) && access(path, X_OK) == 0;
}

/* Nothing else can be asked of just any program. */
static void can_be_executed(struct agent *a)
{
        const struct preflight *f = &a->preflight;
        const char *program = agent_args(a, f->epoch)->program;
        const struct proc *p = agent_proc(a, f->epoch);
        char path[64];
        struct stat st;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", p ? p->binary_fd : -1);
        if (!p || p->binary_fd < 0 || fstat(p->binary_fd, &st) < 0)
                refuse(a, "cannot execute %s: %s", program, strerror(ENOENT));
        else if (!S_ISREG(st.st_mode) || !may_execute(a, path))
                refuse(a, "cannot execute %s: %s", program, strerror(EACCES));
        else
                answer(a, false);
}

/* ---- the run that asks -------------------------------------------------------------------------------- */

static void on_done(struct agent *a, const struct helper_result *r)
{
        if (a->preflight.state == PREFLIGHT_VERSION)
                version_done(a, r);
        else if (a->preflight.state == PREFLIGHT_VALIDATE)
                validate_done(a, r);
}

void preflight_init(struct agent *a)
{
        helper_init(&a->preflight.run, a, on_done);
}

void preflight_start(struct agent *a, uint64_t epoch)
{
        a->preflight.epoch = epoch;
        if (a->kits.protocol)
                ask_version(a);
        else
                can_be_executed(a);
}
