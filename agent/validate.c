/* SPDX-License-Identifier: MIT */
/* See validate.h. */
#include "agent/validate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/cleanup.h"
#include "agent/log.h"
#include "agent/proxy_words.h"

enum { VALIDATE_MS = 10000 };

static void finish(struct agent *a, bool rejected)
{
        agent_feed(a, &(struct succession_input){ .event = ON_VALIDATED, .epoch = a->validate_epoch, .value = rejected });
}

const char *validate_words(const struct agent *a, uint64_t epoch, char *words, size_t size)
{
        const struct kit_maker m = agent_maker(a, epoch);
        char path[512];

        if (m.args->config_path && kit_snapshot_path(&m, epoch, path, sizeof(path)) == 0)
                proxy_words_rename(words, size, path, m.args->config_path);
        return words;
}

static void on_done(struct agent *a, const struct helper_result *r)
{
        bool rejected;

        if (r->timed_out) {
                log_event(LOG_WARNING, "validate.timeout", F_UINT("epoch", a->validate_epoch));
                finish(a, false);
                return;
        }
        rejected = proxy_words(r->text, r->n, r->job->code == CLD_EXITED ? r->job->status : -1, a->rejected, sizeof(a->rejected));
        if (rejected)
                (void)validate_words(a, a->validate_epoch, a->rejected, sizeof(a->rejected));
        if (r->job->error) {
                (void)snprintf(a->rejected, sizeof(a->rejected), "cannot execute %s: %s", agent_args(a, a->validate_epoch)->program,
                               strerror((int)r->job->error));
                rejected = true;
        }
        finish(a, rejected);
}

void validate_init(struct agent *a)
{
        helper_init(&a->validate, a, on_done);
}

void validate_start(struct agent *a, uint64_t epoch)
{
        CLEANUP(close_fd) int record = -1;
        struct kit_maker m = agent_maker(a, epoch);
        char out[HELPER_OUT_NAME_BYTES];
        int r;

        if (a->validate.running && a->validate_epoch == epoch)
                return;
        helper_begin(&a->validate, out); /* what one says about other content must not be taken for the answer */
        a->validate_epoch = epoch;
        r = kit_validate_record(&m, epoch, "", out, &record);
        if (r == 0)
                r = helper_run(&a->validate, record, VALIDATE_MS);
        if (r < 0) {
                log_event(LOG_WARNING, "validate.failed", F_UINT("epoch", epoch), F_STR("error", strerror(-r)));
                agent_queue(a, (struct succession_input){ .event = ON_VALIDATED, .epoch = epoch });
        }
}
