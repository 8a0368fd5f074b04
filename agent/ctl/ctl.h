/* SPDX-License-Identifier: MIT */
/* The client verbs: what they share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_INSTANCE = 3, EXIT_TIMED_OUT = 4, EXIT_REFUSED = 5 };

struct ctl {
        const char *verb;
        const char *run_dir, *name; /* as given, "" if not */
        char found[256];            /* the run directory of a living instance */
        bool json, follow, watch, undo, ready, no_wait, self;
        bool takes_proxy, takes_argument, takes_words;
        const char *argument;       /* the word that is no option; NULL: there is none */
        int64_t epoch;              /* -1 */
        int64_t to;                 /* -1 */
        int64_t timeout_ms;         /* -1: none */
        int64_t observe_ms;         /* -1: not given */
        int64_t seen;               /* number of the newest event that was */
        const char *canary;
        const char *words[2];       /* METHOD and PATH of a verb that takes them */
        size_t n_words;
        char **proxy;               /* behind "--"; NULL: there is none */
        size_t n_proxy;
        int argc;                   /* what stands behind a verb that reads its words itself */
        char **argv;
};

/* ask.c */
int64_t ctl_now_ms(void);
int ctl_find(struct ctl *c); /* Return: 0; the exit status, and why is said */
bool ctl_still_there(struct ctl *c); /* ...is an instance, this one or its like: without a word */
/* What the answer means for the exit status; a refusal is said in its own words. */
int ctl_judge(int status, const char *body);

/* http.c: one request to control.sock. Return: the HTTP status, or -errno (-ETIMEDOUT); the caller frees *ret_body */
int ctl_request(const struct ctl *c, const char *method, const char *path, int64_t timeout_ms, char **ret_body);
int ctl_post(const struct ctl *c, const char *path, const char *json, int64_t timeout_ms, char **ret_body);
struct ctl_answer {
        char *body; /* the caller's to free; NULL: it is empty */
        size_t n;
        bool from_proxy; /* else baton has said it */
};
/* A request for the proxy's admin; it waits so long for a generation that serves. Return: as above */
int ctl_admin(const struct ctl *c, const char *method, const char *target, int64_t timeout_ms, struct ctl_answer *ret);
/* The body goes to @line line by line as it comes. Return: as above */
int ctl_stream(const struct ctl *c, const char *path, void (*line)(const char *text, size_t n, void *userdata), void *userdata);

/* events.c: verbs */
int verb_status(struct ctl *c);
int verb_events(struct ctl *c);
int verb_why(struct ctl *c);

/* orders.c: verbs */
int verb_upgrade(struct ctl *c);
int verb_rollback(struct ctl *c);
int verb_pause(struct ctl *c);
int verb_resume(struct ctl *c);

/* admin.c */
int verb_admin(struct ctl *c);

/* show.c: for people */
void show_escape(char *text, size_t size); /* control characters as \xNN */
void show_status(const char *json);
void show_event(const char *line, size_t n);
/* One line: on stdout what serves now, on stderr why it does not. Return: the exit status */
int show_end_of_order(const char *json, bool quiet);

/* certs.c */
int verb_certs(struct ctl *c);

/* check.c */
int verb_check(struct ctl *c);
