/* SPDX-License-Identifier: MIT */
/* See preflight.h. Three questions, one after the other; the first no is the answer. */
#include "agent/preflight.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent/bind_probe.h"
#include "agent/cleanup.h"
#include "agent/log.h"
#include "agent/proxy_words.h"

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

static bool same_file(const struct stat *a, const struct stat *b)
{
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
               a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* "11.104", on a line of its own or not, among what a wrapper may have said. */
static bool find_version(const char *text, size_t n, char *ret, size_t size)
{
        char copy[256];
        char *rest = copy;

        if (n >= sizeof(copy))
                n = sizeof(copy) - 1;
        memcpy(copy, text, n);
        copy[n] = '\0';
        for (char *line; (line = strsep(&rest, "\r\n"));) {
                struct hr_segment_layout l;

                if (hr_segment_layout_parse(line, &l) != 0)
                        continue;
                (void)snprintf(ret, size, "%s", line);
                return l.version == HR_SEGMENT_DEFAULT.version && l.bytes == HR_SEGMENT_DEFAULT.bytes;
        }
        (void)snprintf(ret, size, "%.*s", (int)strcspn(copy, "\r\n"), copy);
        return false;
}

static void version_done(struct agent *a, const struct helper_result *r)
{
        struct preflight *f = &a->preflight;
        const char *program = agent_args(a, f->epoch)->program;
        char version[64];
        bool spoken;

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
        spoken = find_version(r->text, r->n, version, sizeof(version));
        if (!spoken && (r->job->status != 0 || !*version)) {
                refuse(a, "%s --hot-restart-version tells no version, exit status %d%s%s", program, r->job->status,
                       *version ? ": " : "", version);
                return;
        }
        if (!spoken) {
                refuse(a, "%s has hot restart version '%s', and baton speaks %llu.%llu", program, version,
                       (unsigned long long)HR_SEGMENT_DEFAULT.version, (unsigned long long)HR_SEGMENT_DEFAULT.bytes);
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

static bool is_held(const struct agent *a, const char *url)
{
        for (uint32_t i = 0; i < a->s.escrow.n; i++)
                if (a->s.escrow.keys[i].inode && strcmp(a->s.escrow.keys[i].key.url, url) == 0)
                        return true;
        return false;
}

/* What it will have to bind itself: an address that somebody else has makes it end, or go on without the listener. */
static void try_to_bind(struct agent *a)
{
        CLEANUP(bootstrap_done) struct bootstrap b = { 0 };
        CLEANUP(free_ptr) char *text = NULL;
        struct preflight *f = &a->preflight;
        struct kit_maker m = agent_maker(a, f->epoch);
        char path[512];
        size_t n = 0;

        if (m.args->config_path && kit_snapshot_path(&m, f->epoch, path, sizeof(path)) == 0)
                (void)kit_read_file(path, &text, &n);
        bootstrap_read(text, n, m.args->config_yaml, m.args->config_path, &b);
        for (size_t i = 0; i < b.n_urls; i++) {
                int r = is_held(a, b.urls[i]) ? 0 : bind_probe(b.urls[i], &b.listeners[i]);

                if (r >= 0)
                        continue;
                refuse(a, "listener %s cannot be opened: %s", b.urls[i], strerror(-r));
                return;
        }
        answer(a, false);
}

/* Its snapshot goes with it: the user shall read of his own file. */
static void reject(struct agent *a, const struct proxy_args *args, char *words, size_t size)
{
        struct preflight *f = &a->preflight;
        struct kit_maker m = agent_maker(a, f->epoch);
        char path[512];

        if (args->config_path && kit_snapshot_path(&m, f->epoch, path, sizeof(path)) == 0)
                proxy_words_rename(words, size, path, args->config_path);
        refuse(a, "the proxy rejects its config or arguments: %s", words);
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
                reject(a, args, words, sizeof(words));
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

/* ---- */

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
        ask_version(a);
}
