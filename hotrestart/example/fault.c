/* SPDX-License-Identifier: MIT */
/* Misbehaviour on order: at one step of the protocol crash, hang, send garbage or be late. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hotrestart/example/server.h"

enum { SEND_TRIES = 2000, LATE_MS_MAX = 600000 };

static const char *const steps[] = {
        [BEFORE_SHUTDOWN_ADMIN] = "before-shutdown-admin",
        [AFTER_SHUTDOWN_ADMIN] = "after-shutdown-admin",
        [BEFORE_PASS] = "before-pass",
        [AFTER_SOCKETS] = "after-sockets",
        [BEFORE_DRAIN_LISTENERS] = "before-drain-listeners",
        [AFTER_DRAIN_LISTENERS] = "after-drain-listeners",
        [ON_HARVEST] = "on-harvest",
        [ON_DRAIN] = "on-drain",
        [ON_TERM] = "on-term",
};

static const char *const whats[] = {
        [FAULT_CRASH] = "crash",
        [FAULT_HANG] = "hang",
        [FAULT_GARBAGE] = "garbage",
        [FAULT_LATE] = "late",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int number(const char *text, long max, long *ret)
{
        char *end;
        long v;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        errno = 0;
        v = strtol(text, &end, 10);
        if (*end || errno || v > max)
                return -EINVAL;
        *ret = v;
        return 0;
}

/* "before-pass-3" is the fourth of its kind, "before-pass" the first. */
static int parse_step(const char *text, struct fault *ret)
{
        for (size_t i = 0; i < COUNT(steps); i++) {
                size_t n = strlen(steps[i]);
                bool counted = i == BEFORE_PASS || i == ON_HARVEST;
                long nth = 0;

                if (strncmp(text, steps[i], n) != 0 || (text[n] && !(counted && text[n] == '-')))
                        continue;
                if (text[n] && number(text + n + 1, LISTENERS_MAX, &nth) < 0)
                        return -EINVAL;
                ret->step = (enum fault_step)i;
                ret->nth = (unsigned)nth;
                return 0;
        }
        return -EINVAL;
}

int fault_parse(const char *text, struct fault *ret)
{
        struct fault f = { 0 };
        char copy[128], *what, *ms;
        long late = 0;

        if (strlen(text) >= sizeof(copy))
                return -EINVAL;
        strcpy(copy, text);
        what = strchr(copy, ':');
        if (!what)
                return -EINVAL;
        *what++ = '\0';
        ms = strchr(what, ':');
        if (ms)
                *ms++ = '\0';
        if (parse_step(copy, &f) < 0)
                return -EINVAL;
        for (size_t i = 0; i < COUNT(whats); i++) {
                if (strcmp(what, whats[i]) != 0)
                        continue;
                f.what = (enum fault_what)i;
                if ((f.what == FAULT_LATE) != (ms != NULL) || (ms && number(ms, LATE_MS_MAX, &late) < 0))
                        return -EINVAL;
                f.ms = late;
                *ret = f;
                return 0;
        }
        return -EINVAL;
}

int fault_file(const char *path, struct fault *faults, size_t *n)
{
        FILE *f = fopen(path, "re");
        char line[128];
        int r = 0;

        if (!f)
                return errno == ENOENT ? 0 : -errno;
        (void)unlink(path); /* before anything can go wrong with us */
        while (r == 0 && fgets(line, sizeof(line), f)) {
                line[strcspn(line, "\n")] = '\0';
                if (!*line)
                        continue;
                r = *n == FAULTS_MAX ? -EINVAL : fault_parse(line, &faults[*n]);
                *n += r == 0;
        }
        (void)fclose(f);
        return r;
}

static void pause_ms(int64_t ms)
{
        struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

        while (nanosleep(&t, &t) < 0 && errno == EINTR)
                ;
}

static void throw(struct fault_target target, const void *bytes, size_t n, int n_fds)
{
        union {
                char bytes[CMSG_SPACE(3 * sizeof(int))];
                struct cmsghdr align;
        } control = { { 0 } };
        struct iovec iov = { (void *)bytes, n };
        struct msghdr msg = { .msg_name = (void *)target.peer, .msg_namelen = sizeof(*target.peer), .msg_iov = &iov, .msg_iovlen = 1 };
        int fds[3] = { STDERR_FILENO, STDERR_FILENO, STDERR_FILENO };

        if (n_fds) {
                struct cmsghdr *c;

                msg.msg_control = control.bytes;
                msg.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
                c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
                memcpy(CMSG_DATA(c), fds, (size_t)n_fds * sizeof(int));
        }
        for (int i = 0; i < SEND_TRIES && sendmsg(target.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EAGAIN; i++)
                pause_ms(1);
}

/* Everything that is no message, and messages that are none of those who wait for one. */
static void throw_garbage(struct fault_target target)
{
        static const uint8_t no_protobuf[] = { 0, 0, 0, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff };
        static const uint8_t unknown[] = { 0, 0, 0, 0, 0, 0, 0, 5, 0x0a, 0x03, 0xf2, 0x07, 0x00 };
        static const uint8_t empty_message[HR_HEADER_BYTES];
        static const uint8_t too_much[] = { 0, 0, 0, 0, 0, 0, 0, 1, 0x0a, 0x02, 0x12, 0x00 };
        static const uint8_t huge[] = { 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0a };
        static const uint8_t cut[] = { 0, 0, 0, 0, 0, 0, 0, 100, 0x0a, 0x02 };
        static const uint8_t bell[] = { 0, 0, 0, 0, 0, 0, 0, 9, 0x0a, 0x07, 0x0a, 0x05, 0x0a, 0x03, 't', 0x07, 'p' };
        static uint8_t full[HR_DATAGRAM_BYTES];

        memset(full, 0xff, sizeof(full));
        throw(target, "", 0, 0);
        throw(target, "four", 4, 0);
        throw(target, no_protobuf, sizeof(no_protobuf), 0);
        throw(target, unknown, sizeof(unknown), 1);
        throw(target, empty_message, sizeof(empty_message), 3);
        throw(target, too_much, sizeof(too_much), 0);
        throw(target, huge, sizeof(huge), 0);
        throw(target, bell, sizeof(bell), 0);
        throw(target, full, sizeof(full), 0);
        throw(target, cut, sizeof(cut), 2);
}

static void happen(const struct fault *f, struct fault_target target)
{
        say("fault: %s at %s", whats[f->what], steps[f->step]);
        switch (f->what) {
        case FAULT_CRASH:
                (void)kill(getpid(), SIGKILL);
                return;
        case FAULT_HANG:
                for (;;)
                        (void)pause();
        case FAULT_GARBAGE:
                throw_garbage(target);
                return;
        case FAULT_LATE:
                pause_ms(f->ms);
                return;
        }
}

void fault_at(struct fault *faults, size_t n, enum fault_step step, unsigned nth, struct fault_target target)
{
        for (size_t i = 0; i < n; i++) {
                if (faults[i].step != step || faults[i].nth != nth || faults[i].done)
                        continue;
                faults[i].done = true;
                happen(&faults[i], target);
        }
}
