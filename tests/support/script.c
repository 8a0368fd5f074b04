/* SPDX-License-Identifier: MIT */
/* See script.h. Renders and answers; decides nothing. */
#include "tests/support/script.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image.h"

enum { CODE_EXITED = 1, CODE_KILLED = 2, FOREVER_STEPS = 100000, FIRST_WORKER = 4 };

struct succession_limits script_limits(void)
{
        return (struct succession_limits){
                .epoch = { .protocol = true, .ready_ms = 60000, .quiet_ms = 1000, .sample_ms = 100, .kill_ms = 5000 },
                .backoff = { .initial_ms = 200, .max_ms = -1, .stable_ms = 10000, .refill_ms = 60000, .tokens = 10 },
                .hold_ms = 30000,
                .stop_timeout_ms = 25000,
                .watch_ms = 1000,
        };
}

const struct hr_key *script_key(size_t i)
{
        static struct hr_key keys[SCRIPT_KEYS];

        if (!keys[0].url[0])
                for (size_t k = 0; k < SCRIPT_KEYS; k++) {
                        (void)snprintf(keys[k].url, sizeof(keys[k].url), "tcp://127.0.0.1:808%zu", k < FIRST_WORKER ? k : 0);
                        keys[k].worker = k < FIRST_WORKER ? 0 : (uint32_t)(k - FIRST_WORKER + 1);
                }
        return &keys[i];
}

/* ---- lines ------------------------------------------------------------------------------------------ */

static void __attribute__((format(printf, 2, 3))) say(struct script *w, const char *format, ...)
{
        va_list ap;
        int n;

        if (w->quiet)
                return;
        va_start(ap, format);
        n = vsnprintf(w->text + w->text_bytes, sizeof(w->text) - w->text_bytes, format, ap);
        va_end(ap);
        if (n < 0 || (size_t)n >= sizeof(w->text) - w->text_bytes)
                abort(); /* a test that writes a book */
        w->text_bytes += (size_t)n;
}

static void say_reply(struct script *w, const struct effect *fx)
{
        static const char *const names[] = { [OWED_NOTHING] = "nothing", [OWED_SHUTDOWN_ADMIN] = "admin", [OWED_PASS] = "pass",
                                             [OWED_STATS] = "stats", [OWED_UNRECOGNIZED] = "unrecognized" };

        if (fx->value != OWED_PASS)
                say(w, " reply-%s", names[fx->value]);
        else if (fx->key == NO_KEY)
                say(w, " pass-nothing");
        else
                say(w, " pass:%u", fx->key);
}

static void say_report(struct script *w, const struct effect *fx)
{
        const char *dot = strchr(report_name((enum report_kind)fx->value), '.');

        say(w, " (%s", dot ? dot + 1 : "?");
        if (fx->value == REPORT_EXITED || fx->value == REPORT_WAITING || fx->value == REPORT_STOPPED || fx->value == REPORT_STOPPING)
                say(w, " %" PRId64, fx->arg);
        if (fx->value == REPORT_ACCEPTED && fx->arg >= 0)
                say(w, " gap=%" PRId64, fx->arg / 1000000);
        say(w, ")");
}

static void say_effect(struct script *w, const struct effect *fx)
{
        static const char *const plain[] = {
                [DO_LAUNCH] = "launch", [DO_FORGET] = "forget", [DO_LOOK] = "look", [DO_WATCH_LISTENERS] = "watch-listeners", [DO_PROBE] = "probe",
                [DO_FAIL_HEALTHCHECK] = "fail-health", [DO_PASS_HEALTHCHECK] = "pass-health",
                [DO_DRAIN_LISTENERS] = "drain-listeners", [DO_SAMPLE] = "sample", [DO_VALIDATE] = "validate", [DO_KEEP] = "keep", [DO_PREFLIGHT] = "preflight",
        };
        static const char *const keyed[] = { [DO_REVIVE] = "revive", [DO_HOLD] = "hold", [DO_CLOSE] = "close",
                                             [DO_HUSH] = "hush", [DO_SILENCE] = "silence", [DO_UNSTEER] = "unsteer", [DO_OPEN] = "open" };

        switch (fx->kind) {
        case DO_MAKE_KIT:
                if ((uint64_t)fx->value == CONTENT_DISK)
                        say(w, " kit:%" PRIu64 "<-disk", fx->epoch);
                else
                        say(w, " kit:%" PRIu64 "<-%" PRId64, fx->epoch, fx->value);
                return;
        case DO_SIGNAL:
                say(w, " %s:%" PRIu64, fx->value == SIGTERM ? "term" : "kill", fx->epoch);
                return;
        case DO_STEER:
                say(w, " steer:%u->%" PRId64, fx->key, fx->value);
                return;
        case DO_COUNT_LEAVING:
                say(w, " count-leaving");
                return;
        case DO_TAKE:
                say(w, " take");
                return;
        case DO_REPLY:
                say_reply(w, fx);
                return;
        case DO_WATCH_CONTENT:
                if (fx->value == WATCH_SINCE_SNAPSHOT || fx->value == WATCH_SINCE_NOW)
                        say(w, " watch-content-since-%s", fx->value == 1 ? "snapshot" : "now");
                return;
        case DO_REPORT:
                say_report(w, fx);
                return;
        case DO_END:
                say(w, " end:%" PRId64, fx->value);
                return;
        case DO_LAUNCH:
        case DO_FORGET:
        case DO_LOOK:
        case DO_WATCH_LISTENERS:
        case DO_PROBE:
        case DO_FAIL_HEALTHCHECK:
        case DO_PASS_HEALTHCHECK:
        case DO_DRAIN_LISTENERS:
        case DO_SAMPLE:
        case DO_PREFLIGHT:
        case DO_VALIDATE:
        case DO_KEEP:
                say(w, " %s:%" PRIu64, plain[fx->kind], fx->epoch);
                return;
        case DO_REVIVE:
        case DO_HOLD:
        case DO_CLOSE:
        case DO_HUSH:
        case DO_SILENCE:
        case DO_UNSTEER:
        case DO_OPEN:
                say(w, " %s:%u", keyed[fx->kind], fx->key);
                return;
        }
}

static const char *event_name(const struct succession_input *in)
{
        static const char *const names[] = {
                [ON_BEGIN] = "begin", [ON_KIT_READY] = "kit-ready", [ON_KIT_FAILED] = "kit-failed", [ON_PROCESS] = "process",
                [ON_LAUNCH_FAILED] = "launch-failed", [ON_EXIT] = "exit", [ON_REQUEST] = "request", [ON_LOOK] = "look",
                [ON_READINESS] = "readiness", [ON_LISTENERS] = "listeners", [ON_SAMPLE] = "sample", [ON_VALIDATED] = "validated", [ON_CONTENT] = "content", [ON_SEEN] = "seen",
                [ON_STOP] = "stop", [ON_UPGRADE] = "upgrade", [ON_ROLLBACK] = "rollback", [ON_PREFLIGHT] = "preflight", [ON_LEFT] = "left", [ON_OPENED] = "opened", [ON_NOT_STEERED] = "not-steered",
                [ON_PAUSE] = "pause", [ON_UNREADY] = "unready", [ON_CLOCK] = "clock",
        };

        return in ? in->event == ON_REQUEST ? hr_type_name(in->request) : names[in->event] : "resume";
}

/* ---- steps ------------------------------------------------------------------------------------------ */

static struct mono moment(const struct script *w)
{
        return (struct mono){ w->now_ms * 1000000 };
}

static struct digest digest_of(uint8_t disk)
{
        return (struct digest){ { disk } };
}

static void answer(struct script *w, const struct effect *fx)
{
        struct succession_input in = { .epoch = fx->epoch };

        if (fx->kind == DO_MAKE_KIT && (uint64_t)fx->value == CONTENT_DISK)
                in.digest = digest_of(w->disk);
        if (w->queued == sizeof(w->queue) / sizeof(w->queue[0]))
                abort();
        if (fx->kind == DO_MAKE_KIT && w->kits_fail) {
                in.event = ON_KIT_FAILED;
                in.value = w->kits_answer;
        } else if (fx->kind == DO_MAKE_KIT) {
                in.event = ON_KIT_READY;
                in.base_id = 100 + fx->epoch;
                in.value = escrow_holds_udp(&w->s.escrow);
        } else if (fx->kind == DO_LAUNCH) {
                in.event = ON_PROCESS;
                in.pid = (int)(1000 + fx->epoch);
        } else if (fx->kind == DO_OPEN) {
                in.event = ON_OPENED;
                in.value = fx->key;
                in.inode = w->opens_fail ? 0 : 7000 + fx->key;
        } else {
                return;
        }
        w->queue[w->queued++] = in;
}

static void tell(struct script *w, const struct succession_input *in, bool always)
{
        if (w->fx.n == 0 && !always)
                return;
        say(w, "%7" PRId64 " %-16s", w->now_ms, event_name(in));
        for (size_t i = 0; i < w->fx.n; i++)
                say_effect(w, &w->fx.list[i]);
        say(w, "\n");
        for (size_t i = 0; i < w->fx.n; i++)
                answer(w, &w->fx.list[i]);
}

static void step(struct script *w, const struct succession_input *in, bool always)
{
        w->fx.n = 0;
        succession_step(&w->s, &w->l, in, moment(w), &w->fx);
        tell(w, in, always);
}

static void settle(struct script *w)
{
        for (size_t i = 0; i < w->queued; i++) {
                struct succession_input in = w->queue[i];

                step(w, &in, false);
        }
        w->queued = 0;
}

static int64_t ceil_ms(struct mono t)
{
        return (t.ns + 999999) / 1000000;
}

void script_run(struct script *w, int64_t until_ms)
{
        for (int i = 0; i < FOREVER_STEPS; i++) {
                struct mono next = succession_next(&w->s);

                if (mono_is_never(next) || ceil_ms(next) > until_ms) {
                        w->now_ms = until_ms;
                        return;
                }
                if (ceil_ms(next) > w->now_ms)
                        w->now_ms = ceil_ms(next);
                step(w, &(struct succession_input){ .event = ON_CLOCK }, false);
                settle(w);
        }
        abort(); /* a deadline that a step does not consume: the agent would spin */
}

void script_feed(struct script *w, int64_t at_ms, struct succession_input in)
{
        script_run(w, at_ms);
        step(w, &in, true);
        settle(w);
}

struct script *script_new(const struct succession_limits *l)
{
        static struct script w;

        memset(&w, 0, sizeof(w));
        w.l = *l;
        w.kits_answer = -ENOSPC;
        succession_init(&w.s, l);
        return &w;
}

struct script *script_begin(const struct succession_limits *l)
{
        struct script *w = script_new(l);

        w->quiet = true;
        script_feed(w, 0, (struct succession_input){ .event = ON_BEGIN });
        w->quiet = false;
        return w;
}

/* ---- events ----------------------------------------------------------------------------------------- */

void script_exit(struct script *w, int64_t at_ms, uint64_t epoch, int code, int status)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_EXIT, .epoch = epoch, .exit_code = code,
                                                         .exit_status = status, .exited = { at_ms * 1000000 } });
}

void script_crash(struct script *w, int64_t at_ms, uint64_t epoch)
{
        script_exit(w, at_ms, epoch, CODE_KILLED, SIGSEGV);
}

void script_ask(struct script *w, int64_t at_ms, uint64_t epoch, size_t key)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_REQUEST, .epoch = epoch, .request = HR_PASS_LISTEN_SOCKET,
                                                         .key = script_key(key) });
}

void script_say(struct script *w, int64_t at_ms, uint64_t epoch, enum hr_type request)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_REQUEST, .epoch = epoch, .request = request });
}

/* What it has not asked for cannot be harvested; what is in the mask is in its bootstrap. */
void script_look_on(struct script *w, int64_t at_ms, uint64_t epoch, unsigned mask)
{
        static char statics[SCRIPT_KEYS][HR_URL_BYTES];
        struct look_key keys[SCRIPT_KEYS];
        struct look look = { .keys = keys, .statics = (const char (*)[HR_URL_BYTES])statics, .admin_answered = true };

        for (size_t i = 0; i < SCRIPT_KEYS; i++) {
                uint32_t key = escrow_find(&w->s.escrow, script_key(i));
                uint64_t held = key == NO_KEY ? 0 : w->s.escrow.keys[key].inode;

                if (mask & 1u << i)
                        memcpy(statics[look.n_statics++], script_key(i)->url, HR_URL_BYTES);
                if (key == NO_KEY || !escrow_asked_by(&w->s.escrow, key, epoch))
                        continue;
                keys[look.n++] = (struct look_key){ .key = key, .inode = !(mask & 1u << i) ? 0
                                                                         : held ? held : 5000 + i };
        }
        script_feed(w, at_ms, (struct succession_input){ .event = ON_LOOK, .epoch = epoch, .look = &look });
}

void script_look(struct script *w, int64_t at_ms, uint64_t epoch, size_t n_keys)
{
        script_look_on(w, at_ms, epoch, (1u << n_keys) - 1);
}

void script_up_on(struct script *w, int64_t at_ms, uint64_t epoch, unsigned mask)
{
        bool quiet = w->quiet;

        script_run(w, at_ms);
        w->quiet = true;
        for (size_t i = 0; i < SCRIPT_KEYS; i++)
                if (mask & 1u << i)
                        script_ask(w, at_ms, epoch, i);
        script_say(w, at_ms, epoch, HR_DRAIN_LISTENERS);
        w->quiet = quiet;
        script_look_on(w, at_ms, epoch, mask);
}

void script_up(struct script *w, int64_t at_ms, uint64_t epoch, size_t n_keys)
{
        script_up_on(w, at_ms, epoch, (1u << n_keys) - 1);
}

void script_upgrade(struct script *w, int64_t at_ms, uint64_t ticket, int64_t observe_ms)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_UPGRADE, .ticket = ticket, .observe_ms = observe_ms });
}

void script_rollback(struct script *w, int64_t at_ms, uint64_t ticket, uint64_t epoch)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_ROLLBACK, .ticket = ticket, .epoch = epoch, .observe_ms = -1 });
}

void script_preflight(struct script *w, int64_t at_ms, uint64_t epoch, const char *refusal)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_PREFLIGHT, .epoch = epoch, .value = refusal != NULL, .text = refusal });
}

void script_left(struct script *w, int64_t at_ms, int64_t waiting)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_LEFT, .value = waiting });
}

uint64_t script_candidate(struct script *w, int64_t at_ms, uint64_t ticket)
{
        bool quiet = w->quiet;
        uint64_t epoch;

        script_run(w, at_ms);
        w->quiet = true;
        script_upgrade(w, at_ms, ticket, -1);
        epoch = w->s.upgrade.candidate;
        script_preflight(w, at_ms, epoch, NULL);
        w->quiet = quiet;
        return epoch;
}

void script_stop(struct script *w, int64_t at_ms, int64_t times)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_STOP, .value = times });
}

void script_content(struct script *w, int64_t at_ms)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_CONTENT, .value = CHANGED_RELAUNCH });
}

void script_seen(struct script *w, int64_t at_ms, uint8_t disk, int64_t wait_ms)
{
        w->disk = disk;
        script_feed(w, at_ms, (struct succession_input){ .event = ON_SEEN, .digest = digest_of(disk), .value = wait_ms });
}

void script_validated(struct script *w, int64_t at_ms, uint64_t epoch, bool rejected)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_VALIDATED, .epoch = epoch, .value = rejected });
}

void script_sample(struct script *w, int64_t at_ms, uint64_t epoch, int64_t in_flight, uint64_t requests_total)
{
        script_feed(w, at_ms, (struct succession_input){ .event = ON_SAMPLE, .epoch = epoch, .in_flight = in_flight,
                                                         .connections = in_flight, .requests_total = requests_total });
}

void script_die(struct script *w, const struct resume_fact *facts, size_t n)
{
        static uint8_t image[IMAGE_BYTES_MAX];
        size_t bytes = image_write(&w->s, image, sizeof(image));

        if (!bytes || image_read(image, bytes, &w->s) != 0)
                abort();
        w->queued = 0;
        w->fx.n = 0;
        succession_resume(&w->s, &w->l, facts, n, moment(w), &w->fx);
        tell(w, NULL, true);
        settle(w);
}

bool script_expect(struct script *w, const char *want)
{
        bool same = strcmp(w->text, want) == 0;

        if (!same)
                fprintf(stderr, "---- expected\n%s---- happened\n%s----\n", want, w->text);
        w->text_bytes = 0;
        w->text[0] = '\0';
        return same;
}
