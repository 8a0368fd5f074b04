/* SPDX-License-Identifier: MIT */
/* Finding the instance, and what its answers mean. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/ctl/ctl.h"
#include "agent/instance.h"
#include "agent/json.h"

int64_t ctl_now_ms(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int ctl_find(struct ctl *c)
{
        struct instance_error e;

        if (instance_find(c->run_dir, c->name, c->found, sizeof(c->found), &e) == 0)
                return 0;
        fprintf(stderr, "baton: %s\n", e.text);
        return EXIT_NO_INSTANCE;
}

bool ctl_still_there(struct ctl *c)
{
        struct instance_error e;
        char dir[sizeof(c->found)];

        return instance_find(c->found, "", dir, sizeof(dir), &e) == 0;
}

static int meaning_of(int status)
{
        switch (status) {
        case 400:
        case 413:
        case 501:
                return EXIT_USAGE;
        case 409:
                return EXIT_REFUSED;
        default:
                return EXIT_FAILED;
        }
}

int ctl_judge(int status, const char *body)
{
        struct json d;
        struct json_error e;
        char error[128] = "", detail[512] = "";

        if (status >= 200 && status < 300)
                return EXIT_FINE;
        if (status == -ETIMEDOUT || status == 504) {
                fprintf(stderr, "baton: timed out\n");
                return EXIT_TIMED_OUT;
        }
        if (status < 0) {
                fprintf(stderr, "baton: the instance does not answer: %s\n", strerror(-status));
                return status == -ECONNREFUSED ? EXIT_NO_INSTANCE : EXIT_FAILED;
        }
        if (json_parse(body, strlen(body), &d, &e) == 0) {
                (void)json_string(&d, json_get(&d, JSON_ROOT, "error"), error, sizeof(error));
                (void)json_string(&d, json_get(&d, JSON_ROOT, "detail"), detail, sizeof(detail));
                json_done(&d);
        }
        show_escape(error, sizeof(error));
        show_escape(detail, sizeof(detail));
        fprintf(stderr, "baton: %s%s%s\n", *error ? error : "refused", *detail && strcmp(error, detail) != 0 ? ": " : "",
                strcmp(error, detail) != 0 ? detail : "");
        return meaning_of(status);
}
