/* SPDX-License-Identifier: MIT */
/* See cert_sets.h. */
#include "agent/cert_sets.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/keep.h"
#include "agent/log.h"
#include "agent/metrics/metrics.h"

static bool publishes(const struct agent *a)
{
        return a->options->certs_mode == CERTS_PUBLISH;
}

static int folder_of(const struct agent *a, char *ret, size_t size)
{
        int bytes = snprintf(ret, size, "%s/certs", a->run_dir);

        return bytes < 0 || (size_t)bytes >= size ? -ENAMETOOLONG : 0;
}

static int path_in(const struct agent *a, char *ret, size_t size, const char *format, uint64_t n)
{
        char tail[64];
        int bytes;

        (void)snprintf(tail, sizeof(tail), format, n);
        bytes = snprintf(ret, size, "%s/certs/%s", a->run_dir, tail);
        return bytes < 0 || (size_t)bytes >= size ? -ENAMETOOLONG : 0;
}

/* ---- options ---------------------------------------------------------------------------------------- */

static const char *last_part(const char *dir)
{
        const char *slash = strrchr(dir, '/');

        return slash ? slash + 1 : dir;
}

/* Beside the copies, which are called by numbers, and our links. */
static bool can_be_published(const char *name)
{
        static const char *const ours[] = { "current.", "dir.", "new." };

        for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
                if (strncmp(name, ours[i], strlen(ours[i])) == 0)
                        return false;
        return *name && *name != '.' && name[strspn(name, "0123456789")] != '\0';
}

/* As a config would name it: from the root, without a slash at the end. */
static int make_absolute(char *dir, size_t size, struct certs_error *e)
{
        char cwd[2048], given[4096];
        size_t n;

        (void)snprintf(given, sizeof(given), "%s", dir);
        if (*given != '/' && (!getcwd(cwd, sizeof(cwd)) || (size_t)snprintf(dir, size, "%s/%.2000s", cwd, given) >= size))
                return (void)snprintf(e->text, sizeof(e->text), "baton run: --certs: the path of %.500s is too long", given), 1;
        for (n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--)
                dir[n - 1] = '\0';
        return 0;
}

static int read_days(const char *text, struct cert_sets *s, struct certs_error *e)
{
        for (const char *p = text; *p;) {
                char *end;
                long day = strtol(p, &end, 10);

                if (end == p || day < 0 || day > 3650 || (*end && *end != ',') || s->n_days == CERTS_WARN_MAX ||
                    (s->n_days > 0 && day >= s->days[s->n_days - 1])) {
                        (void)snprintf(e->text, sizeof(e->text), "baton run: --certs-warn: '%.100s' are no days, falling, as in 30,7,1", text);
                        return 1;
                }
                s->days[s->n_days++] = (int)day;
                p = *end ? end + 1 : end;
        }
        return 0;
}

int cert_sets_init(struct agent *a, struct certs_error *reterr)
{
        struct cert_sets *s = &a->certs;
        const struct options *o = a->options;
        struct certs_error e;

        memset(s, 0, sizeof(*s));
        for (size_t i = 0; i < o->certs.n; i++) {
                struct cert_slot *slot = &s->slots[i];

                if (i == CERT_SETS_MAX) {
                        (void)snprintf(reterr->text, sizeof(reterr->text), "baton run: --certs is given more than %d times", CERT_SETS_MAX);
                        return 1;
                }
                if (certs_option_parse(options_str(o, o->certs.items[i]), &slot->option, &e) != 0) {
                        (void)snprintf(reterr->text, sizeof(reterr->text), "baton run: --certs: %.900s", e.text);
                        return 1;
                }
                if (make_absolute(slot->option.dir, sizeof(slot->option.dir), reterr) != 0)
                        return 1;
                if (publishes(a) && !can_be_published(last_part(slot->option.dir))) {
                        (void)snprintf(reterr->text, sizeof(reterr->text), "baton run: --certs: a directory called '%.200s' cannot be published under that name", last_part(slot->option.dir));
                        return 1;
                }
                for (size_t k = 0; publishes(a) && k < i; k++)
                        if (strcmp(last_part(s->slots[k].option.dir), last_part(slot->option.dir)) == 0) {
                                (void)snprintf(reterr->text, sizeof(reterr->text), "baton run: --certs: two directories are called %.200s, and would be published at one place",
                                               last_part(slot->option.dir));
                                return 1;
                        }
                s->n++;
        }
        return read_days(options_str(o, o->certs_warn), s, reterr);
}

/* ---- the copies ------------------------------------------------------------------------------------- */

static void renew_rules(struct agent *a)
{
        struct cert_sets *s = &a->certs;

        s->n_rules = 0;
        for (size_t i = 0; !publishes(a) && i < s->n; i++)
                if (s->slots[i].n)
                        s->rules[s->n_rules++] = (struct rewrite){ s->slots[i].option.dir, s->slots[i].path };
}

static struct digest as_digest(const struct certs_set *set)
{
        struct digest d;

        _Static_assert(sizeof(d.bytes) == CERTS_DIGEST_BYTES, "both are SHA-256");
        memcpy(d.bytes, set->digest, sizeof(d.bytes));
        return d;
}

static int set_link(const struct agent *a, const char *format, size_t i, const char *target)
{
        char path[512], temporary[512];
        int r = path_in(a, path, sizeof(path), format, i);

        if (r == 0)
                r = path_in(a, temporary, sizeof(temporary), "new.%" PRIu64, i);
        if (r < 0)
                return r;
        (void)unlink(temporary);
        return symlink(target, temporary) < 0 || rename(temporary, path) < 0 ? -errno : 0;
}

static bool get_link(const struct agent *a, const char *format, size_t i, char *ret, size_t size)
{
        char path[512];
        ssize_t n = path_in(a, path, sizeof(path), format, i) < 0 ? -1 : readlink(path, ret, size - 1);

        ret[n > 0 ? n : 0] = '\0';
        return n > 0;
}

static int publish(const struct agent *a, const struct cert_slot *slot)
{
        char folder[1024], version[32];

        (void)snprintf(folder, sizeof(folder), "%s/certs/%.255s", a->run_dir, last_part(slot->option.dir));
        (void)snprintf(version, sizeof(version), "../%" PRIu64, slot->n);
        if (mkdir(folder, 0755) < 0 && errno != EEXIST)
                return -errno;
        if (chmod(folder, 0755) < 0) /* links alone; who watches a folder must be able to read it */
                return -errno;
        return certs_point(folder, version, &slot->names);
}

static void not_taken(const struct cert_slot *slot, int r)
{
        log_event(LOG_ERR, "certs.failed", F_STR("directory", slot->option.dir), F_STR("error", strerror(-r)),
                  F_STR("then", "the last good set stays; it is tried again when files change, or in an hour"));
}

static int take(struct agent *a, size_t i, const struct certs_set *set, const struct certs_facts *facts)
{
        struct cert_slot *slot = &a->certs.slots[i], next = *slot;
        char number[32], day[CERTS_TIME_BYTES];
        int r;

        next.n = a->certs.last + 1;
        next.names = set->names;
        next.digest = as_digest(set);
        next.facts = *facts;
        next.warned = 0;
        next.refused[0] = '\0';
        if (!set->has_root)
                next.names.root[0] = '\0';
        r = path_in(a, next.path, sizeof(next.path), "%" PRIu64, next.n);
        if (r == 0)
                r = certs_put(next.path, set, a->kits.uid, a->kits.gid);
        (void)snprintf(number, sizeof(number), "%" PRIu64, next.n);
        if (r == 0)
                r = set_link(a, "dir.%" PRIu64, i, slot->option.dir);
        if (r == 0)
                r = set_link(a, "current.%" PRIu64, i, number);
        if (r == 0 && publishes(a))
                r = publish(a, &next);
        if (r < 0)
                return r;
        *slot = next;
        a->certs.last = next.n;
        renew_rules(a);
        if (publishes(a))
                keep_certs(a);
        log_event(LOG_NOTICE, "certs.taken", F_STR("directory", slot->option.dir), F_STR("subject", facts->subject), F_STR("serial", facts->serial),
                  F_STR("not_after", certs_time_text(facts->not_after_s, day)), F_UINT("copy", slot->n),
                  F_STR("then", publishes(a) ? "published" : "a config that names the directory is put to work with it"));
        return 0;
}

/* ---- looking ---------------------------------------------------------------------------------------- */

static void refuse(struct cert_slot *slot, const char *reason)
{
        if (strcmp(slot->refused, reason) == 0)
                return;
        (void)snprintf(slot->refused, sizeof(slot->refused), "%s", reason);
        log_event(LOG_WARNING, "certs.refused", F_STR("directory", slot->option.dir), F_STR("reason", reason),
                  F_STR("then", slot->n ? "the last good set stays" : "nothing is started with it"));
}

static void look_at(struct agent *a, size_t i, int64_t now_s)
{
        __attribute__((cleanup(certs_set_done))) struct certs_set set = CERTS_SET_NULL;
        const struct certs_policy policy = certs_option_policy(a->options);
        struct cert_slot *slot = &a->certs.slots[i];
        enum certs_verdict verdict = CERTS_BAD;
        struct certs_names names;
        struct certs_error e = { "" };
        struct certs_facts facts;
        struct digest digest;
        const char *layout;
        bool same;
        int r;

        if (certs_load(slot->option.dir, slot->option.named ? &slot->option.names : NULL, &names, &layout, &set, &e) != 0) {
                refuse(slot, e.text);
                return;
        }
        digest = as_digest(&set);
        same = slot->n && digest_same(&digest, &slot->digest);
        if (!same) /* what is in use was judged when it was taken */
                verdict = certs_judge(&set, &policy, now_s, &facts, &e);
        switch (certs_decide(verdict, slot->n > 0, same, slot->facts.not_after_s, now_s)) {
        case CERTS_STAYS:
                slot->refused[0] = '\0';
                return;
        case CERTS_REFUSE:
                refuse(slot, e.text);
                return;
        case CERTS_TAKE_ALL_THE_SAME:
                log_event(LOG_WARNING, "certs.chain-ignored", F_STR("directory", slot->option.dir), F_STR("reason", e.text),
                          F_STR("then", "it is taken all the same: the set in use expires within a day"));
                break;
        case CERTS_TAKE:
                break;
        }
        r = take(a, i, &set, &facts);
        if (r < 0)
                not_taken(slot, r);
}

static void warn_of_end(const struct agent *a, struct cert_slot *slot, int64_t now_s)
{
        const struct cert_sets *s = &a->certs;
        int64_t next;
        char day[CERTS_TIME_BYTES];
        size_t said = certs_expiry_warns(slot->facts.not_after_s, s->days, s->n_days, slot->warned, now_s, &next);

        if (!slot->n || said == slot->warned)
                return;
        slot->warned = said;
        log_event(LOG_WARNING, "certs.expires", F_STR("directory", slot->option.dir), F_STR("subject", slot->facts.subject),
                  F_STR("not_after", certs_time_text(slot->facts.not_after_s, day)),
                  F_STR("do", now_s >= slot->facts.not_after_s ? "it has expired: renew it" : "renew it"));
}

void cert_sets_look(struct agent *a)
{
        int64_t now_s = (int64_t)time(NULL);

        for (size_t i = 0; i < a->certs.n; i++) {
                look_at(a, i, now_s);
                warn_of_end(a, &a->certs.slots[i], now_s);
        }
        cert_sets_sweep(a);
}

bool cert_sets_take(struct agent *a, size_t i, const char *dir, const struct certs_names *names)
{
        __attribute__((cleanup(certs_set_done))) struct certs_set set = CERTS_SET_NULL;
        struct cert_slot *slot = &a->certs.slots[i];
        struct certs_policy policy = certs_option_policy(a->options);
        struct certs_facts facts;
        struct certs_error e;
        char why[sizeof(slot->refused)];
        int r;

        if (certs_read(dir, names, &set, &e) != 0 || certs_judge(&set, &policy, (int64_t)time(NULL), &facts, &e) != CERTS_GOOD)
                return false;
        memcpy(why, slot->refused, sizeof(why));
        r = take(a, i, &set, &facts);
        if (r < 0)
                not_taken(slot, r);
        memcpy(slot->refused, why, sizeof(why)); /* what lies in its directory is refused all the same */
        return r == 0;
}

const char *cert_sets_lack(const struct agent *a)
{
        for (size_t i = 0; i < a->certs.n; i++)
                if (!a->certs.slots[i].n)
                        return *a->certs.slots[i].refused ? a->certs.slots[i].refused : "the certificates cannot be kept in the run directory";
        return NULL;
}

uint64_t cert_sets_lowest(const struct agent *a)
{
        uint64_t lowest = 0;

        for (size_t i = 0; i < a->certs.n; i++)
                if (a->certs.slots[i].n && (!lowest || a->certs.slots[i].n < lowest))
                        lowest = a->certs.slots[i].n;
        return lowest;
}

size_t cert_sets_digests(const struct agent *a, struct digest ret[CERT_SETS_MAX])
{
        for (size_t i = 0; i < a->certs.n; i++)
                ret[i] = a->certs.slots[i].digest;
        return publishes(a) ? 0 : a->certs.n;
}

/* ---- beginning and end ------------------------------------------------------------------------------- */

/* What counted before: it was good when it was taken, whatever the day says now. */
static void adopt(struct agent *a, size_t i)
{
        __attribute__((cleanup(certs_set_done))) struct certs_set set = CERTS_SET_NULL;
        struct cert_slot *slot = &a->certs.slots[i];
        char number[32], dir[4096];
        struct certs_names names = slot->option.names;
        struct certs_error e;
        const char *layout;

        if (!get_link(a, "dir.%" PRIu64, i, dir, sizeof(dir)) || strcmp(dir, slot->option.dir) != 0 ||
            !get_link(a, "current.%" PRIu64, i, number, sizeof(number)))
                return;
        slot->n = strtoull(number, NULL, 10);
        if (slot->n > a->certs.last)
                a->certs.last = slot->n; /* whatever becomes of it: no number is given twice */
        if (path_in(a, slot->path, sizeof(slot->path), "%" PRIu64, slot->n) == 0 &&
            (slot->option.named || certs_find(slot->path, &names, &layout, &e) == 0) && certs_read(slot->path, &names, &set, &e) == 0) {
                slot->names = names;
                slot->digest = as_digest(&set);
                (void)certs_judge(&set, &(struct certs_policy){ .chain = false }, (int64_t)time(NULL), &slot->facts, &e);
                if (!publishes(a) || publish(a, slot) == 0) /* the agent before us may have died in between */
                        return;
        }
        slot->n = 0;
}

int cert_sets_open(struct agent *a)
{
        char path[512];
        int r = folder_of(a, path, sizeof(path));

        if (a->certs.n == 0 || r < 0)
                return r;
        if ((mkdir(path, 0711) < 0 && errno != EEXIST) || chmod(path, 0711) < 0)
                return -errno;
        for (size_t i = 0; i < a->certs.n; i++)
                adopt(a, i);
        renew_rules(a);
        return 0;
}

void cert_sets_sweep(struct agent *a)
{
        uint64_t lowest = cert_sets_lowest(a);
        char path[512];

        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (a->s.epochs[i].state != EPOCH_NONE && a->s.epochs[i].certs && a->s.epochs[i].certs < lowest)
                        lowest = a->s.epochs[i].certs;
        for (; a->certs.swept + 1 < lowest; a->certs.swept++)
                if (path_in(a, path, sizeof(path), "%" PRIu64, a->certs.swept + 1) == 0)
                        certs_remove(path);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
        (void)st;
        (void)kind;
        (void)where;
        (void)remove(path);
        return 0;
}

void cert_sets_remove(struct agent *a)
{
        enum { DESCRIPTORS = 8 };
        char path[512];

        if (folder_of(a, path, sizeof(path)) == 0)
                (void)nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

/* ---- who asks --------------------------------------------------------------------------------------- */

bool cert_sets_stale(const struct agent *a)
{
        const struct epoch *serves = succession_look_up(&a->s, a->s.served);

        for (size_t i = 0; i < a->certs.n; i++)
                if (*a->certs.slots[i].refused || (serves && serves->certs && a->certs.slots[i].n > serves->certs_to))
                        return true;
        return false;
}

void cert_sets_status(const struct agent *a, struct json_writer *w)
{
        char day[CERTS_TIME_BYTES];

        json_key(w, "certs"), json_begin_array(w);
        for (size_t i = 0; i < a->certs.n; i++) {
                const struct cert_slot *slot = &a->certs.slots[i];

                json_begin_object(w);
                json_key(w, "directory"), json_string_value(w, slot->option.dir);
                json_key(w, "mode"), json_string_value(w, publishes(a) ? "publish" : "restart");
                json_key(w, "copy");
                if (slot->n)
                        json_uint_value(w, slot->n);
                else
                        json_null(w);
                json_key(w, "subject"), json_string_value(w, slot->facts.subject);
                json_key(w, "serial"), json_string_value(w, slot->facts.serial);
                json_key(w, "sha256"), json_string_value(w, slot->facts.fingerprint);
                json_key(w, "not_after"), json_string_value(w, slot->n ? certs_time_text(slot->facts.not_after_s, day) : "");
                json_key(w, "refused"), json_string_value(w, slot->refused);
                json_end_object(w);
        }
        json_end_array(w);
}

void cert_sets_metrics(const struct agent *a, struct metrics_writer *w)
{
        char path[4096 + CERTS_NAME_BYTES];

        if (a->certs.n == 0)
                return;
        metrics_family(w, "baton_certificate_not_after_timestamp_seconds", "gauge", "When the certificate that counts expires.");
        for (size_t i = 0; i < a->certs.n; i++) {
                const struct cert_slot *slot = &a->certs.slots[i];

                (void)snprintf(path, sizeof(path), "%s/%s", slot->option.dir, slot->names.chain);
                if (slot->n)
                        metrics_value(w, "baton_certificate_not_after_timestamp_seconds", "path", path, (double)slot->facts.not_after_s);
        }
}
