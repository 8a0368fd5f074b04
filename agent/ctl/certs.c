/* SPDX-License-Identifier: MIT */
/* baton certs DIR: what lies there, and whether baton would put it to work. Asks no instance. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/certs_option.h"
#include "agent/cleanup.h"
#include "agent/ctl/ctl.h"
#include "agent/json.h"

enum { DAY_S = 24 * 3600 };

struct found {
        struct certs_option option;
        struct certs_names names;
        const char *layout;
        struct certs_set set;
        struct certs_facts facts;
        enum certs_verdict verdict;
        struct certs_error error;
        int64_t now_s;
};

static const char *const verdicts[] = { [CERTS_GOOD] = "good", [CERTS_BAD_CHAIN] = "bad_chain", [CERTS_BAD] = "bad" };

static void look(struct found *f)
{
        const struct certs_option *o = &f->option;

        f->verdict = CERTS_BAD;
        f->layout = "";
        if (certs_load(o->dir, o->named ? &o->names : NULL, &f->names, &f->layout, &f->set, &f->error) == 0)
                f->verdict = certs_judge(&f->set, &CERTS_POLICY_STANDARD, f->now_s, &f->facts, &f->error);
}

static int64_t days_left(const struct found *f)
{
        int64_t left = f->facts.not_after_s - f->now_s;

        return left >= 0 ? left / DAY_S : -((-left + DAY_S - 1) / DAY_S);
}

static void string(struct json_writer *w, const char *key, const char *text)
{
        json_key(w, key);
        if (*text)
                json_string_value(w, text);
        else
                json_null(w);
}

static void show_json(const struct found *f)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        bool known = *f->facts.fingerprint;
        char text[CERTS_TIME_BYTES];

        json_begin_object(&w);
        string(&w, "directory", f->option.dir);
        string(&w, "layout", f->layout);
        string(&w, "chain", f->names.chain);
        string(&w, "key", f->names.key);
        string(&w, "root", f->set.has_root ? f->names.root : "");
        string(&w, "subject", f->facts.subject);
        string(&w, "names", f->facts.names);
        string(&w, "issuer", f->facts.issuer);
        string(&w, "serial", f->facts.serial);
        string(&w, "sha256", f->facts.fingerprint);
        string(&w, "key_kind", f->facts.key_kind);
        string(&w, "not_before", known ? certs_time_text(f->facts.not_before_s, text) : "");
        string(&w, "not_after", known ? certs_time_text(f->facts.not_after_s, text) : "");
        json_key(&w, "days_left");
        if (known)
                json_int_value(&w, days_left(f));
        else
                json_null(&w);
        string(&w, "verdict", verdicts[f->verdict]);
        json_key(&w, "reason"), json_string_value(&w, f->error.text);
        json_end_object(&w);
        printf("%s\n", json_writer_text(&w) ? json_writer_text(&w) : "{}");
}

/* Names in a certificate are its maker's words. */
static void row(const char *title, const char *text)
{
        char plain[512]; /* a long list of names is cut */

        (void)snprintf(plain, sizeof(plain), "%.500s", text);
        show_escape(plain, sizeof(plain));
        if (*plain)
                printf("%-10s %s\n", title, plain);
}

static void show_table(const struct found *f)
{
        char from[CERTS_TIME_BYTES], until[CERTS_TIME_BYTES];

        printf("%-10s %s%s%s%s\n", "directory", f->option.dir, *f->layout ? " (" : "", f->layout, *f->layout ? ")" : "");
        row("chain", f->names.chain);
        row("key", f->names.key);
        if (*f->layout)
                row("root", f->set.has_root ? f->names.root : "none: the chain is not checked");
        if (!*f->facts.fingerprint)
                return;
        row("subject", f->facts.subject);
        row("names", f->facts.names);
        row("issuer", f->facts.issuer);
        row("serial", f->facts.serial);
        row("sha256", f->facts.fingerprint);
        row("kind", f->facts.key_kind);
        printf("%-10s %s to %s, %" PRId64 " days left\n", "valid", certs_time_text(f->facts.not_before_s, from),
               certs_time_text(f->facts.not_after_s, until), days_left(f));
}

int verb_certs(struct ctl *c)
{
        struct found f = { .set = CERTS_SET_NULL, .now_s = (int64_t)time(NULL) };
        int r;

        if (!c->argument) {
                fprintf(stderr, "baton certs: which directory? see baton certs --help\n");
                return EXIT_USAGE;
        }
        if (certs_option_parse(c->argument, &f.option, &f.error) != 0) {
                fprintf(stderr, "baton certs: %s\n", f.error.text);
                return EXIT_USAGE;
        }
        look(&f);
        if (c->json)
                show_json(&f);
        else
                show_table(&f);
        (void)fflush(stdout);
        show_escape(f.error.text, sizeof(f.error.text));
        if (f.verdict != CERTS_GOOD && !c->json)
                fprintf(stderr, "baton: refused: %s\n", f.error.text);
        r = f.verdict == CERTS_GOOD ? EXIT_FINE : EXIT_FAILED;
        certs_set_done(&f.set);
        return r;
}
