/* SPDX-License-Identifier: MIT */
/* See self.h. The keeper does it (agent/keeper/self.c); here it is asked for, told of, and tried. */
#include "agent/self.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/image.h"
#include "agent/keeper/trial_say.h"
#include "agent/log.h"

extern char **environ;

enum { STATUS_USAGE = 2 };

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

enum control_ticket self_ticket(const struct agent *a, uint64_t id, const char **ret_refusal)
{
        bool replaced = a->keeper.replaced_ticket == id;

        if (!is_known(a, id))
                return CONTROL_TICKET_UNKNOWN;
        if (!replaced && a->self.state == SELF_TRIED)
                return CONTROL_TICKET_WAITS;
        *ret_refusal = replaced ? "" : a->self.reason;
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
        if (a->control)
                control_changed(a->control);
}

void self_report(const struct agent *a)
{
        if (a->keeper.flags & WIRE_REPLACED)
                log_event(LOG_NOTICE, "self.replaced", F_STR("version", BATON_VERSION), F_STR("from", a->keeper.replaced_version),
                          F_UINT("times", a->keeper.replaced));
}

/* ---- tried -------------------------------------------------------------------------------------------- */

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
                return trial_say(false, "baton %s does not accept the options: %.180s", BATON_VERSION, error.text);
        if (r < 0)
                return trial_say(false, "baton %s cannot read the options: %s", BATON_VERSION, strerror(-r));
        return trial_say(true, "the state is %s", try_state() ? "kept" : "rebuilt");
}
