/* SPDX-License-Identifier: MIT */
/* See self.h. The keeper does it (agent/keeper/self.c); here it is asked for, told of, and tried. */
#include "agent/self.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/image.h"
#include "agent/keeper/trial.h"
#include "agent/log.h"

extern char **environ;

enum { STATUS_FAILED = 1, STATUS_USAGE = 2 };

/* ---- asked for, and told of --------------------------------------------------------------------------- */

static void refused(const char *reason)
{
        log_event(LOG_WARNING, "self.refused", F_STR("reason", reason), F_STR("then", "keeper and agent are what they were"));
}

static const char *why_not(int r)
{
        switch (r) {
        case -EALREADY:
                return "a new version is being tried already";
        case -ESHUTDOWN:
                return "a stop was asked for";
        case -EOPNOTSUPP:
                return "the keeper is of a version that cannot be replaced while it runs";
        default:
                return strerror(-r);
        }
}

static bool is_known(const struct agent *a, uint64_t ticket)
{
        return ticket && ((a->self.state != SELF_NOTHING && a->self.ticket == ticket) || a->keeper.replaced_ticket == ticket);
}

int self_upgrade(struct agent *a, const char *path, uint64_t ticket, char *reterr, size_t size)
{
        int r;

        if (is_known(a, ticket))
                return 0;
        r = keeper_link_self(a->link, path ? path : "", ticket);
        if (r < 0) {
                (void)snprintf(reterr, size, "%s%s%s", path ? path : "", path ? ": " : "", why_not(r));
                refused(reterr);
                return r;
        }
        a->self = (struct self){ .state = SELF_TRIED, .ticket = ticket };
        log_event(LOG_NOTICE, "self.started", F_STR("version", BATON_VERSION), F_STR("path", path ? path : ""));
        return 0;
}

static void write_ticket(struct json_writer *w, uint64_t id, bool done, const char *reason)
{
        if (!w)
                return;
        json_begin_object(w);
        json_key(w, "ticket"), json_uint_value(w, id);
        json_key(w, "state"), json_string_value(w, done ? "done" : "waiting");
        json_key(w, "kind"), json_string_value(w, "self");
        json_key(w, "result"), json_string_value(w, !done ? "" : *reason ? "refused" : "committed");
        json_key(w, "from"), json_null(w);
        json_key(w, "to"), json_null(w);
        json_key(w, "reason"), json_string_value(w, reason);
        json_key(w, "gap_ms"), json_null(w);
        json_end_object(w);
}

enum control_ticket self_ticket(const struct agent *a, uint64_t id, struct json_writer *w)
{
        if (!is_known(a, id))
                return CONTROL_TICKET_UNKNOWN;
        if (a->keeper.replaced_ticket != id && a->self.state == SELF_TRIED) {
                write_ticket(w, id, false, "");
                return CONTROL_TICKET_WAITS;
        }
        write_ticket(w, id, true, a->keeper.replaced_ticket == id ? "" : a->self.reason);
        return CONTROL_TICKET_DONE;
}

void self_told(struct agent *a, uint64_t ticket, const char *refusal)
{
        if (!*refusal) {
                log_flush();
                exit(0); /* what runs is the next agent's, as after any other end of one */
        }
        a->self = (struct self){ .state = SELF_REFUSED, .ticket = ticket };
        (void)snprintf(a->self.reason, sizeof(a->self.reason), "%s", refusal);
        refused(refusal);
        agent_feed(a, &(struct succession_input){ .event = ON_SELF_ENDED, .text = refusal });
}

void self_report(const struct agent *a)
{
        if (a->keeper.flags & WIRE_REPLACED)
                log_event(LOG_NOTICE, "self.replaced", F_STR("version", BATON_VERSION), F_STR("from", a->keeper.replaced_version),
                          F_UINT("times", a->keeper.replaced));
}

/* ---- tried -------------------------------------------------------------------------------------------- */

static __attribute__((format(printf, 2, 3))) int say(bool good, const char *format, ...)
{
        struct trial_verdict v = { .magic = TRIAL_MAGIC, .good = good, .wire_version = WIRE_VERSION };
        va_list args;

        (void)snprintf(v.version, sizeof(v.version), "%s", BATON_VERSION);
        va_start(args, format);
        (void)vsnprintf(v.text, sizeof(v.text), format, args);
        va_end(args);
        return write(TRIAL_VERDICT_FD, &v, sizeof(v)) == (ssize_t)sizeof(v) && good ? 0 : STATUS_FAILED;
}

/* Options of another layout are read anew from where they came from: the words and the environment are still there. */
static int try_options(int argc, char **argv, struct options_error *reterr)
{
        static struct options anew;
        const struct options *o;
        int r = fcntl(TRIAL_OPTIONS_FD, F_GETFD) < 0 ? -EPROTO : options_map(TRIAL_OPTIONS_FD, &o);

        if (r != -EPROTO)
                return r;
        return options_parse(argc, argv, environ, &anew, reterr) == 0 ? 0 : -EINVAL;
}

/* One of another version is no reason not to go on: it is rebuilt from what the keeper holds, as after a lost one. */
static bool try_state(void)
{
        static uint8_t image[IMAGE_BYTES_MAX];
        static struct succession s;
        struct state_file *f;
        bool usable;
        size_t n;

        if (fcntl(TRIAL_STATE_FD, F_GETFD) < 0 || state_open(TRIAL_STATE_FD, sizeof(image), &f) < 0)
                return false;
        usable = state_load(f, image, sizeof(image), &n) == 0 && image_read(image, n, &s) == 0;
        (void)state_free(f);
        return usable;
}

int self_try(int argc, char **argv)
{
        struct options_error error = { "cannot read the options" };
        int r;

        if (fcntl(TRIAL_VERDICT_FD, F_GETFD) < 0) {
                (void)fprintf(stderr, "baton-agent is started by `baton run`, not by hand\n");
                return STATUS_USAGE;
        }
        r = try_options(argc, argv, &error);
        if (r == -EINVAL)
                return say(false, "baton %s does not accept the options: %.180s", BATON_VERSION, error.text);
        if (r < 0)
                return say(false, "baton %s cannot read the options: %s", BATON_VERSION, strerror(-r));
        return say(true, "the state is %s", try_state() ? "kept" : "rebuilt");
}
