/* SPDX-License-Identifier: MIT */
/* What a check found out: a table for people, problems on stderr; or one JSON object on stdout. */
#include <inttypes.h>
#include <stdio.h>

#include "agent/cleanup.h"
#include "agent/ctl/check.h"
#include "agent/json.h"

static const char *const changes[] = { [CHANGE_NONE] = "none", [CHANGE_PASSED] = "passed", [CHANGE_OPENED] = "opened", [CHANGE_CLOSED] = "closed" };

static const char *or_unknown(const char *text)
{
        return *text ? text : "unknown";
}

static void show_versions(const struct check *c)
{
        if (c->diff && c->running.epoch >= 0)
                printf("running   epoch %" PRId64 "\n", c->running.epoch);
        printf("proxy     %s\n", c->args.program);
        if (!*c->version && !*c->hot_restart_version)
                return;
        printf("version   ");
        if (c->diff)
                printf("%s -> ", or_unknown(c->running.version));
        printf("%s, hot restart %s\n", or_unknown(c->version), or_unknown(c->hot_restart_version));
}

static void show_workers(const struct check *c)
{
        if (c->workers < 0)
                return;
        printf("workers   ");
        if (c->diff && c->running.workers > 0)
                printf("%" PRId64 " -> ", c->running.workers);
        printf("%" PRId64 "\n", c->workers);
}

void check_show_table(const struct check *c)
{
        if (c->args.program) {
                show_versions(c);
                show_workers(c);
        }
        for (size_t i = 0; i < c->n_rows; i++) {
                const struct check_row *row = &c->rows[i];

                printf("listener  %-40s %s", row->address, row->reuse_port ? "shared" : "single");
                if (c->diff)
                        printf("  %s", row->change == CHANGE_NONE ? "unknown" : changes[row->change]);
                printf("%s%s\n", *row->note ? "  " : "", row->note);
        }
        for (size_t i = 0; i < c->args.n_notices; i++)
                printf("note      %s\n", c->args.notices[i]);
        for (size_t i = 0; i < c->n_notes; i++)
                printf("note      %s\n", c->notes[i]);
        if (c->n_problems == 0)
                printf("ok: an upgrade would be tried\n");
        (void)fflush(stdout);
        for (size_t i = 0; i < c->n_problems; i++)
                fprintf(stderr, "baton check: %s: %s\n", c->problems[i].what, c->problems[i].reason);
}

static void json_member(struct json_writer *w, const char *key, const char *text)
{
        json_key(w, key);
        json_string_value(w, text);
}

static void write_listeners(const struct check *c, struct json_writer *w)
{
        json_key(w, "listeners");
        json_begin_array(w);
        for (size_t i = 0; i < c->n_rows; i++) {
                json_begin_object(w);
                json_member(w, "address", c->rows[i].address);
                json_key(w, "reuse_port");
                json_bool_value(w, c->rows[i].reuse_port);
                json_member(w, "change", changes[c->rows[i].change]);
                json_member(w, "note", c->rows[i].note);
                json_end_object(w);
        }
        json_end_array(w);
}

static void write_running(const struct check *c, struct json_writer *w)
{
        json_key(w, "running");
        json_begin_object(w);
        json_key(w, "epoch");
        if (c->running.epoch >= 0)
                json_int_value(w, c->running.epoch);
        else
                json_null(w);
        json_member(w, "version", c->running.version);
        json_key(w, "workers");
        json_int_value(w, c->running.workers);
        json_end_object(w);
}

static void write_problems(const struct check *c, struct json_writer *w)
{
        json_key(w, "problems");
        json_begin_array(w);
        for (size_t i = 0; i < c->n_problems; i++) {
                json_begin_object(w);
                json_member(w, "what", c->problems[i].what);
                json_member(w, "reason", c->problems[i].reason);
                json_end_object(w);
        }
        json_end_array(w);
}

void check_show_json(const struct check *c)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;

        json_begin_object(&w);
        json_key(&w, "ok");
        json_bool_value(&w, c->n_problems == 0);
        write_problems(c, &w);
        json_key(&w, "proxy");
        json_begin_object(&w);
        json_member(&w, "path", c->args.program ? c->args.program : "");
        json_member(&w, "version", c->version);
        json_member(&w, "hot_restart_version", c->hot_restart_version);
        json_end_object(&w);
        json_key(&w, "workers");
        if (c->workers >= 0)
                json_int_value(&w, c->workers);
        else
                json_null(&w);
        write_listeners(c, &w);
        if (c->diff)
                write_running(c, &w);
        json_key(&w, "notes");
        json_begin_array(&w);
        for (size_t i = 0; i < c->args.n_notices; i++)
                json_string_value(&w, c->args.notices[i]);
        for (size_t i = 0; i < c->n_notes; i++)
                json_string_value(&w, c->notes[i]);
        json_end_array(&w);
        json_end_object(&w);
        printf("%s\n", json_writer_text(&w) ? json_writer_text(&w) : "");
        (void)fflush(stdout);
}
