/* SPDX-License-Identifier: MIT */
/*
 * What is, what happened, and why: the verbs `status`, `events` and `why`. Events come from the event files, which tell everything,
 * and from the agent, which tells the newest and goes on; `status --watch` looks again at each.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/ctl/ctl.h"
#include "agent/events.h"
#include "agent/instance.h"
#include "agent/json.h"

enum { FILE_BYTES_MAX = 8 * 1024 * 1024 };

/* ---- the status, and what the agent streams --------------------------------------------------------- */

static int status_once(const struct ctl *c, bool again)
{
        CLEANUP(free_ptr) char *body = NULL;
        int status = ctl_request(c, "GET", "/v1/status", 10000, &body);
        int r = again && status != 200 ? EXIT_FAILED : ctl_judge(status, body ? body : ""); /* an instance that ends is no error */

        if (r)
                return r;
        if (again && !c->json && isatty(STDOUT_FILENO))
                printf("\033[H\033[2J"); /* home, and what was there goes */
        if (c->json)
                printf("%s", body);
        else
                show_status(body);
        fflush(stdout);
        return EXIT_FINE;
}

/* The number of an event, and that it was seen: what comes again is skipped. Return: false: it was seen before */
static bool is_new(struct ctl *c, const char *line, size_t n)
{
        struct json d;
        struct json_error e;
        int64_t seq = 0;

        if (json_parse(line, n, &d, &e) != 0)
                return true;
        (void)json_int(&d, json_get(&d, JSON_ROOT, "seq"), &seq);
        json_done(&d);
        if (seq > 0 && seq <= c->seen)
                return false;
        c->seen = seq > 0 ? seq : c->seen;
        return true;
}

/*
 * Events behind those that were seen. An agent that dies ends the stream, not the instance: the next one is asked for the
 * rest. Over when nobody listens any more, or, if it is not to follow, when all is told.
 */
static int stream_events(struct ctl *c, bool follow, void (*line)(const char *text, size_t n, void *userdata))
{
        for (;;) {
                struct instance_error e;
                char path[64];
                int status;

                (void)snprintf(path, sizeof(path), "/v1/events?after=%" PRId64 "&follow=%d", c->seen, follow);
                status = ctl_stream(c, path, line, c);
                if (status == 200 && !follow)
                        return EXIT_FINE;
                if (status != 200 && status != -EIO && status != -ECONNREFUSED)
                        return ctl_judge(status, "");
                if (instance_find(c->run_dir, c->name, c->found, sizeof(c->found), &e) != 0)
                        return EXIT_FINE; /* it stopped */
                (void)usleep(10000);
        }
}

static void on_old(const char *line, size_t n, void *userdata)
{
        (void)is_new(userdata, line, n);
}

static void on_change(const char *line, size_t n, void *userdata)
{
        struct ctl *c = userdata;

        if (!is_new(c, line, n))
                return;
        (void)status_once(c, true);
}

int verb_status(struct ctl *c)
{
        int r = ctl_find(c);

        if (r == 0 && c->watch)
                r = stream_events(c, false, on_old);
        if (r == 0)
                r = status_once(c, false);
        return r || !c->watch ? r : stream_events(c, true, on_change);
}

static void on_line(const char *line, size_t n, void *userdata)
{
        struct ctl *c = userdata;

        if (!is_new(c, line, n))
                return;
        if (!c->json) {
                show_event(line, n);
                return;
        }
        printf("%.*s\n", (int)n, line);
        fflush(stdout);
}

/* ---- the event files -------------------------------------------------------------------------------- */

struct event_files {
        char *text[2]; /* events.1, events */
        size_t n[2];
};

static void event_files_done(struct event_files *f)
{
        free(f->text[0]);
        free(f->text[1]);
}

static int read_one(const char *dir, const char *name, char **ret, size_t *ret_n)
{
        char path[512];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        f = fopen(path, "re");
        if (!f)
                return -errno;
        *ret = malloc(FILE_BYTES_MAX);
        *ret_n = *ret ? fread(*ret, 1, FILE_BYTES_MAX, f) : 0;
        (void)fclose(f);
        return *ret ? 0 : -ENOMEM;
}

/* `events` first: if it is copied to events.1 between the two, lines are read twice instead of never. */
static int read_dir(const char *dir, struct event_files *ret)
{
        int r = read_one(dir, "events", &ret->text[1], &ret->n[1]);

        if (r == 0)
                (void)read_one(dir, "events.1", &ret->text[0], &ret->n[0]);
        return r;
}

/* Of the instance that runs, else what the last one left. */
static int read_events(struct ctl *c, bool runs, struct event_files *ret)
{
        struct instance_candidates all;

        *ret = (struct event_files){ 0 };
        if (runs)
                return read_dir(c->found, ret);
        instance_candidates(c->run_dir, c->name, &all);
        for (size_t i = 0; i < all.n; i++)
                if (read_dir(all.paths[i], ret) == 0)
                        return 0;
        fprintf(stderr, "baton: no instance runs, and none has left events\n");
        return -ENOENT;
}

static void each_line(struct ctl *c, const char *text, size_t n, void (*line)(const char *text, size_t n, void *userdata))
{
        for (const char *p = text, *end; p && p < text + n && (end = memchr(p, '\n', (size_t)(text + n - p))); p = end + 1)
                line(p, (size_t)(end - p), c);
}

/* The files tell everything, the agent only the newest; it is asked for what comes after them. */
int verb_events(struct ctl *c)
{
        CLEANUP(event_files_done) struct event_files files;
        struct instance_error e;
        bool runs = instance_find(c->run_dir, c->name, c->found, sizeof(c->found), &e) == 0;

        if (read_events(c, runs, &files) < 0 && !runs)
                return EXIT_NO_INSTANCE;
        each_line(c, files.text[0], files.n[0], on_line);
        each_line(c, files.text[1], files.n[1], on_line);
        return runs ? stream_events(c, c->follow, on_line) : EXIT_FINE;
}

/* What the agent knows and the files do not: where the disk is full nothing is written any more. An agent that hangs tells nothing. */
static char *unwritten(struct ctl *c, const struct event_files *files)
{
        enum { PATIENCE_MS = 2000 };
        char *lines = NULL, path[64];

        each_line(c, files->text[0], files->n[0], on_old);
        each_line(c, files->text[1], files->n[1], on_old);
        (void)snprintf(path, sizeof(path), "/v1/events?after=%" PRId64 "&follow=0", c->seen);
        if (ctl_request(c, "GET", path, PATIENCE_MS, &lines) == 200)
                return lines;
        free(lines);
        return NULL;
}

int verb_why(struct ctl *c)
{
        CLEANUP(event_files_done) struct event_files files;
        CLEANUP(free_ptr) char *text = NULL, *newest = NULL;
        struct instance_error e;
        bool runs = instance_find(c->run_dir, c->name, c->found, sizeof(c->found), &e) == 0;
        size_t n, n_newest;
        char words[1024];

        if (read_events(c, runs, &files) < 0 && !runs)
                return EXIT_NO_INSTANCE;
        newest = runs ? unwritten(c, &files) : NULL;
        n_newest = newest ? strlen(newest) : 0;
        n = files.n[0] + files.n[1] + 1 + n_newest;
        text = malloc(n);
        if (!text)
                return EXIT_FAILED;
        if (files.n[0])
                memcpy(text, files.text[0], files.n[0]);
        if (files.n[1])
                memcpy(text + files.n[0], files.text[1], files.n[1]);
        text[files.n[0] + files.n[1]] = '\n'; /* behind a line that was cut */
        if (n_newest)
                memcpy(text + n - n_newest, newest, n_newest);
        why_explain(text, n, words, sizeof(words));
        for (char *q = words; *q; q++) /* one line, and nothing that a terminal would obey */
                if ((unsigned char)*q < ' ' || *q == 0x7f)
                        *q = ' ';
        printf("%s\n", words);
        return EXIT_FINE;
}
