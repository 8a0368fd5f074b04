/* SPDX-License-Identifier: MIT */
/*
 * baton-watch PATH...: says when one of them may have changed. It knows nothing of what they are for.
 *
 * On stdout a line each: "look again: PATH", and "warning: TEXT" where it cannot see all and looks every few seconds instead. It
 * ends when its stdin does, or when nobody reads what it says. A process of its own because libinotifytools keeps its state in
 * globals, and because its licence (GPL-2) and that of the libraries of the agent do not go together.
 *
 * Where an event changes which directories matter these are watched before the path is named: who looks then sees at least what was
 * there when it began. Where all begins anew every path is named. Who reads is expected to compare contents.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <inotifytools/inotifytools.h>

#include "agent/watch/interests.h"

enum {
        COMES_AND_GOES = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB,
        WRITTEN = IN_MODIFY | IN_CLOSE_WRITE,
        POLL_MS = 10000,  /* where something cannot be watched */
        PAUSE_MS = 10,    /* a burst of events is one */
        CHANGES_MAX = 64,
        LOOKS_MAX = 8,
};

struct watcher {
        char *const *paths;
        size_t n;
        struct interests interests, before;
        unsigned changes;  /* of the interests, since all began anew */
        bool some_gone;    /* of the directories that are watched */
        bool *changed;
        bool blind;        /* something cannot be watched */
        bool lost;         /* a directory that is watched is elsewhere now, or the kernel forgot events */
        bool any;          /* of the events that were read was about us */
        int inotify, mounts;
};

static void put_line(const char *what, const char *text)
{
        if (printf("%s: %s\n", what, text) < 0 || fflush(stdout) != 0)
                exit(1);
}

static void warn(struct watcher *w, const char *what, const char *path, const char *why)
{
        char text[PATH_MAX + 256];

        if (!w->blind) { /* once, not at each event */
                (void)snprintf(text, sizeof(text), "%s%s%s: %s; looking every %d s instead", what, *path ? " " : "", path, why, POLL_MS / 1000);
                put_line("warning", text);
        }
        w->blind = true;
}

static void say_changed(struct watcher *w, bool all)
{
        for (size_t i = 0; i < w->n; i++) {
                if (all || w->changed[i])
                        put_line("look again", w->paths[i]);
                w->changed[i] = false;
        }
}

/* The library tells its descriptor nobody: it is the lowest that is free. */
static int next_descriptor(void)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
                (void)close(fd);
        return fd;
}

static void start_anew(struct watcher *w)
{
        if (w->inotify >= 0)
                inotifytools_cleanup();
        w->lost = false;
        w->changes = 0;
        w->inotify = next_descriptor();
        if (w->inotify < 0 || !inotifytools_initialize()) {
                warn(w, "cannot watch anything", "", strerror(errno));
                w->inotify = -1;
                return;
        }
        (void)fcntl(w->inotify, F_SETFL, O_NONBLOCK);
}

/* What is asked of a directory, by all who have to do with it; 0: an interest before this one has asked. */
static int mask_of(const struct interests *s, size_t i)
{
        int mask = COMES_AND_GOES;

        for (size_t k = 0; k < s->n; k++) {
                if (strcmp(s->list[k].dir, s->list[i].dir) != 0)
                        continue;
                if (k < i)
                        return 0;
                mask |= s->list[k].content ? WRITTEN : 0;
        }
        return mask;
}

/* What the library was told of these directories stands; of others it is only not asked for any more. */
static int told_before(const struct watcher *w, const char *dir)
{
        for (size_t i = 0; i < w->before.n; i++)
                if (w->before.list[i].told && !w->before.list[i].gone && strcmp(w->before.list[i].dir, dir) == 0)
                        return w->before.list[i].told;
        return 0;
}

/* Of a directory that it knows already the library forgets some memory with each call: once it was told of more, that stands. */
static bool tell(struct watcher *w, struct interest *one, int mask)
{
        int told = told_before(w, one->dir);

        if ((told & mask) == mask) {
                one->told = told;
                return true;
        }
        if (inotifytools_watch_file(one->dir, told | mask)) {
                one->told = told | mask;
                return true;
        }
        return inotifytools_error() == ENOENT || inotifytools_error() == ENOTDIR; /* where it has just gone, what it lay in is watched */
}

static void watch_all(struct watcher *w)
{
        bool blind = w->interests.full;

        if (blind)
                warn(w, "cannot watch all", "", "too many directories");
        for (size_t i = 0; i < w->interests.n; i++) {
                int mask = mask_of(&w->interests, i);

                if (!mask || tell(w, &w->interests.list[i], mask))
                        continue;
                blind = true;
                warn(w, "cannot watch", w->interests.list[i].dir, strerror(inotifytools_error()));
        }
        w->blind = blind;
}

/*
 * All directories that matter now. Those that do not any more stay watched, and nobody hears of them: taking one away that has gone
 * already is not to be had from the library, so now and then all begins anew. Return: whether it does: then events may be lost.
 */
static bool arm_once(struct watcher *w, bool *ret_more)
{
        bool anew = w->inotify < 0 || w->lost || w->changes > CHANGES_MAX;
        struct interests now = INTERESTS_NULL;

        for (size_t i = 0; i < w->n; i++)
                if (interests_add(&now, w->paths[i], i) < 0)
                        exit(1);
        if (!anew && !w->some_gone && interests_same(&now, &w->interests)) {
                interests_done(&now);
                *ret_more = false;
                return false;
        }
        *ret_more = true;
        w->before = w->interests;
        w->interests = now;
        w->changes++;
        w->some_gone = false;
        if (anew) {
                interests_done(&w->before);
                start_anew(w);
        }
        if (w->inotify >= 0)
                watch_all(w);
        interests_done(&w->before);
        return anew;
}

/* Until two looks say the same: what came while the watches were set is in nobody's interests yet. */
static bool arm(struct watcher *w)
{
        bool more = true, anew = false;

        for (int i = 0; more && i < LOOKS_MAX; i++)
                anew |= arm_once(w, &more);
        return anew;
}

/* Its watch has gone with it; there may be another one of its name. */
static void is_gone(struct watcher *w, const char *dir)
{
        for (size_t i = 0; i < w->interests.n; i++)
                if (strcmp(w->interests.list[i].dir, dir) == 0)
                        w->interests.list[i].gone = w->some_gone = true;
}

static void take_event(struct watcher *w, const struct inotify_event *e)
{
        const char *dir = e->wd >= 0 ? inotifytools_filename_from_wd(e->wd) : NULL;
        char plain[PATH_MAX] = "";
        size_t bytes;

        w->lost |= (e->mask & (IN_UNMOUNT | IN_Q_OVERFLOW | IN_MOVE_SELF)) != 0;
        if (dir)
                (void)snprintf(plain, sizeof(plain), "%s", dir);
        bytes = strlen(plain);
        if (bytes > 1 && plain[bytes - 1] == '/') /* the library likes it so */
                plain[bytes - 1] = '\0';
        if (e->mask & IN_IGNORED) {
                is_gone(w, plain);
                w->any = true;
                return;
        }
        for (size_t i = 0; i < w->n; i++)
                if ((e->mask & IN_Q_OVERFLOW) || !dir || interests_hit(&w->interests, i, plain, e->len ? e->name : ""))
                        w->any = w->changed[i] = true;
}

/*
 * By hand: the library's own reading blocks when its buffer is empty, and nobody can ask whether it is. Not more than a few rounds:
 * what comes faster than it can be read is the same as all. Return: whether any was about us.
 */
static bool read_events(struct watcher *w)
{
        enum { ROUNDS = 16 };
        union {
                struct inotify_event first; /* for its alignment */
                char bytes[64 * 1024];
        } buf;
        ssize_t n;

        w->any = false;
        for (int round = 0; round < ROUNDS && (n = read(w->inotify, buf.bytes, sizeof(buf.bytes))) > 0; round++) {
                const struct inotify_event *e;

                for (const char *p = buf.bytes; p < buf.bytes + n; p += sizeof(*e) + e->len) {
                        e = (const struct inotify_event *)(const void *)p;
                        take_event(w, e);
                }
        }
        return w->any;
}

static void wait_and_tell(struct watcher *w)
{
        struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
                                { .fd = w->mounts, .events = POLLPRI },
                                { .fd = w->inotify, .events = POLLIN } };
        char byte;
        int n = poll(fds, 3, w->blind ? POLL_MS : -1);
        bool mounted;

        if (n < 0 && errno != EINTR)
                exit(1);
        if (n > 0 && fds[0].revents && read(STDIN_FILENO, &byte, 1) <= 0)
                _exit(0); /* the library forgets some of its memory */
        mounted = n > 0 && (fds[1].revents & (POLLPRI | POLLERR));
        if (n > 0 && !mounted && !(fds[2].revents && read_events(w)))
                return;
        w->lost |= mounted || w->blind;
        say_changed(w, arm(w));
        (void)poll(NULL, 0, PAUSE_MS);
}

int main(int argc, char **argv)
{
        struct watcher w = { .paths = argv + 1, .n = argc > 1 ? (size_t)argc - 1 : 0, .inotify = -1 };

        if (w.n == 0) {
                fprintf(stderr, "baton-watch is started by baton-agent, not by hand\n");
                return 2;
        }
        (void)signal(SIGPIPE, SIG_IGN);
        w.changed = calloc(w.n, sizeof(*w.changed));
        if (!w.changed)
                return 1;
        w.mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        (void)arm(&w);
        say_changed(&w, true); /* who starts us may have missed something before */
        for (;;)
                wait_and_tell(&w);
}
