/* SPDX-License-Identifier: MIT */
/* See readiness.h. The socket is bound with the kit and held by the keeper, so that no word is lost with an agent. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/accepted.h"
#include "agent/cleanup.h"
#include "agent/io_again.h"
#include "agent/log.h"
#include "agent/readiness.h"

enum { WORDS_BYTES = 4096, WORDS_A_ROUND = 16, FDS_MAX = 16 };

static bool says_ready(char *text)
{
        char *rest;

        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (strcmp(line, "READY=1") == 0)
                        return true;
        return false;
}

/* Descriptors that come along are closed: of BARRIER=1 that is all that its sender waits for. Return: the sender, or 0 */
static int take_ancillary(struct msghdr *m)
{
        int pid = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                if (c->cmsg_level != SOL_SOCKET)
                        continue;
                if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len >= CMSG_LEN(sizeof(struct ucred))) {
                        struct ucred who;

                        memcpy(&who, CMSG_DATA(c), sizeof(who));
                        pid = who.pid;
                }
                for (size_t at = 0; c->cmsg_type == SCM_RIGHTS && CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
                        (void)close(fd);
                }
        }
        return pid;
}

/* Return: false: there is nothing more */
static bool hear(struct proc *p, char *text, int *ret_pid)
{
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct iovec v = { text, WORDS_BYTES - 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(p->notify_fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0)
                return errno == EINTR && hear(p, text, ret_pid);
        text[n] = '\0';
        *ret_pid = take_ancillary(&m);
        return true;
}

/* Who is gone already cannot be told from a stranger: it is not heard. */
static void on_words(struct ev_loop *loop, ev_io *w, int revents)
{
        struct proc *p = w->data;
        uint64_t epoch = p->epoch;
        char text[WORDS_BYTES];
        int pid;

        io_again(loop, w, revents);
        for (int i = 0; i < WORDS_A_ROUND && p->used && p->epoch == epoch && hear(p, text, &pid); i++) {
                if (!p->pid || !belongs_to(p->pid, pid)) {
                        log_event(LOG_INFO, "notify.stranger", F_UINT("epoch", epoch), F_INT("pid", pid));
                        continue;
                }
                agent_feed(p->agent, &(struct succession_input){ .event = ON_READINESS, .epoch = epoch, .value = says_ready(text) });
        }
}

void notify_listen(struct proc *p)
{
        if (p->notify_fd < 0 || ev_is_active(&p->notify_io))
                return;
        ev_io_init(&p->notify_io, on_words, p->notify_fd, EV_READ);
        p->notify_io.data = p;
        ev_io_start(p->agent->loop, &p->notify_io);
}
