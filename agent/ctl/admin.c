/* SPDX-License-Identifier: MIT */
/* baton admin GET|POST PATH: one request to the admin interface of whoever serves. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/ctl/ctl.h"

enum { PATIENCE_MS = 10000, AGAIN_US = 10000 };

static int usage(const char *text)
{
        fprintf(stderr, "baton admin: %s; as in baton admin GET /clusters\n", text);
        return EXIT_USAGE;
}

static int check_words(const struct ctl *c)
{
        if (c->n_words < 2)
                return usage("give GET or POST, and a path");
        if (strcmp(c->words[0], "GET") != 0 && strcmp(c->words[0], "POST") != 0)
                return usage("it is GET or POST");
        if (*c->words[1] != '/')
                return usage("the path begins with /");
        for (const unsigned char *p = (const unsigned char *)c->words[1]; *p; p++)
                if (*p <= ' ' || *p == 0x7f)
                        return usage("no spaces or control characters in a path: write %20");
        return 0;
}

static int show(int status, const struct ctl_answer *a)
{
        bool fine = status >= 200 && status < 300;

        if (!fine && !a->from_proxy) {
                int r = ctl_judge(status, a->body ? a->body : "");

                return status == 503 ? EXIT_TIMED_OUT : status == 400 ? EXIT_USAGE : r == EXIT_TIMED_OUT ? r : EXIT_FAILED;
        }
        if (a->n > 0 && fwrite(a->body, 1, a->n, fine ? stdout : stderr) != a->n)
                return EXIT_FAILED;
        if (fflush(fine ? stdout : stderr) != 0)
                return EXIT_FAILED;
        return fine ? EXIT_FINE : EXIT_FAILED;
}

/* Nobody answered, or an agent that died over it: what only asks is asked again, and what did not get to the proxy. */
static bool may_repeat(const struct ctl *c, int status, const struct ctl_answer *a)
{
        return status == -ECONNREFUSED || (status == -EIO && strcmp(c->words[0], "GET") == 0) || (status == 503 && !a->from_proxy);
}

int verb_admin(struct ctl *c)
{
        int64_t patience_ms = c->timeout_ms < 0 ? PATIENCE_MS : c->timeout_ms, until = ctl_now_ms() + patience_ms;
        int r = check_words(c);

        if (r == 0)
                r = ctl_find(c);
        while (r == 0) {
                int64_t left = until - ctl_now_ms();
                struct ctl_answer a = { 0 };
                int status = ctl_admin(c, c->words[0], c->words[1], left > 0 ? left : 0, &a);

                if (!may_repeat(c, status, &a) || left <= 0) {
                        r = status < 0 ? ctl_judge(status, "") : show(status, &a);
                        free(a.body);
                        return r;
                }
                free(a.body);
                (void)usleep(AGAIN_US);
                r = ctl_find(c);
        }
        return r;
}
