/* SPDX-License-Identifier: MIT */
/*
 * What a check asks of the world beside the proxy: its listeners and the sockets of --listen, which are bound and never listen, and
 * certificates as they lie there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/bind_probe.h"
#include "agent/certs_option.h"
#include "agent/ctl/check.h"
#include "agent/listen_spec.h"

static bool is_held(const struct check *c, const char *url)
{
        for (size_t i = 0; i < c->running.n_urls; i++)
                if (strcmp(c->running.urls[i], url) == 0)
                        return true;
        return false;
}

static struct check_row *add_row(struct check *c, const char *url, bool reuse_port, enum check_change change)
{
        struct check_row *more = reallocarray(c->rows, c->n_rows + 1, sizeof(*more)), *row;

        if (!more)
                return NULL;
        c->rows = more;
        row = &more[c->n_rows++];
        *row = (struct check_row){ .reuse_port = reuse_port, .change = change };
        (void)snprintf(row->address, sizeof(row->address), "%s", url);
        check_clean(row->address);
        return row;
}

static void check_new_listener(struct check *c, size_t i)
{
        const char *url = c->facts.urls[i];
        bool held = is_held(c, url);
        enum check_change change = !c->diff ? CHANGE_NONE : held ? CHANGE_PASSED : CHANGE_OPENED;
        struct check_row *row = add_row(c, url, c->facts.listeners[i].reuse_port, change);
        const char *text = "";
        int r;

        if (!row)
                return;
        if (held)
                text = "held by the instance";
        else if ((r = bind_probe(url, &c->facts.listeners[i], &c->options->user)) < 0)
                check_add_problem(c, false, url, "cannot be bound: %s", strerror(-r)), text = "cannot be bound";
        else if (r == BIND_PROBE_UNKNOWN)
                text = "not tried";
        (void)snprintf(row->note, sizeof(row->note), "%s", text);
}

static bool is_new(const struct check *c, const char *url)
{
        for (size_t i = 0; i < c->facts.n_urls; i++)
                if (strcmp(c->facts.urls[i], url) == 0)
                        return true;
        return false;
}

void check_listeners(struct check *c)
{
        bool outside = bootstrap_listeners_from_outside(&c->facts);

        for (size_t i = 0; i < c->facts.n_urls; i++)
                check_new_listener(c, i);
        for (size_t i = 0; c->diff && i < c->running.n_urls; i++)
                if (!is_new(c, c->running.urls[i])) {
                        struct check_row *row = add_row(c, c->running.urls[i], true, outside ? CHANGE_NONE : CHANGE_CLOSED);

                        if (row && outside)
                                (void)snprintf(row->note, sizeof(row->note), "%s", "not in the file: the control plane may have it");
                }
        if (!c->facts.readable)
                check_add_note(c, "the listeners are unknown: the config cannot be read as YAML or JSON");
        else if (outside)
                check_add_note(c, "listeners of the control plane (LDS) are unknown here");
}

void check_certs(struct check *c)
{
        const struct options *o = c->options;
        const struct certs_policy policy = certs_option_policy(o);

        for (uint32_t i = 0; i < o->certs.n; i++) {
                __attribute__((cleanup(certs_set_done))) struct certs_set set = CERTS_SET_NULL;
                const char *word = options_str(o, o->certs.items[i]), *layout;
                struct certs_option option;
                struct certs_names names;
                struct certs_facts facts;
                struct certs_error e = { "" };

                if (certs_option_parse(word, &option, &e) != 0 ||
                    certs_load(option.dir, option.named ? &option.names : NULL, &names, &layout, &set, &e) != 0 ||
                    certs_judge(&set, &policy, (int64_t)time(NULL), &facts, &e) != CERTS_GOOD)
                        check_add_problem(c, false, word, "%s", e.text);
        }
        if (o->certs.n > 0 && o->certs_mode == CERTS_RESTART)
                check_add_note(c, "the config is validated with the certificates where they lie: an upgrade leads it to a checked copy");
}

void check_sockets(struct check *c)
{
        for (uint32_t i = 0; i < c->options->listen.n; i++) {
                const char *word = options_str(c->options, c->options->listen.items[i]), *text = "";
                const struct bootstrap_listener plain = { .binds = true };
                const struct proxy_user ourselves = { .other = false };
                struct listen_spec spec;
                struct check_row *row;
                bool held;
                int r = listen_spec_read(word, &spec);

                if (r < 0)
                        continue; /* cannot be: options.c has read it */
                held = is_held(c, spec.key.url);
                row = add_row(c, spec.key.url, false, !c->diff ? CHANGE_NONE : held ? CHANGE_PASSED : CHANGE_OPENED);
                if (held)
                        text = "held by the instance";
                else if ((r = bind_probe(spec.key.url, &plain, &ourselves)) < 0)
                        check_add_problem(c, false, word, "cannot be bound: %s", strerror(-r)), text = "cannot be bound";
                if (row)
                        (void)snprintf(row->note, sizeof(row->note), "%s", text);
        }
}
