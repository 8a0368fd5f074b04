/* SPDX-License-Identifier: MIT */
/*
 * Both ends of the wire against a peer that sends anything. The input is a row of messages, each with a length of two
 * bytes and a number of descriptors in front; the first byte says which end reads them. Promise: no crash, no
 * descriptor left over, and what the keeper holds is exactly what it has room and names for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/keeper/keeper.h"
#include "agent/keeper_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
pid_t __wrap_fork(void);

static struct keeper keeper;
static uint32_t errors[SHARED];
static char *words[4];

pid_t __wrap_fork(void)
{
        errno = EAGAIN;
        return -1;
}

struct input {
        const uint8_t *data;
        size_t size;
};

/* Return: how many bytes the message has, or -1 at the end of the input. */
static int next_message(struct input *in, const uint8_t **ret, size_t *ret_fds)
{
        size_t n;

        if (in->size < 3)
                return -1;
        n = (size_t)in->data[0] | (size_t)in->data[1] << 8;
        *ret_fds = in->data[2] % 8;
        in->data += 3;
        in->size -= 3;
        n = n < in->size ? n : in->size;
        *ret = in->data;
        in->data += n;
        in->size -= n;
        return (int)n;
}

static void send_bytes(int fd, const uint8_t *bytes, size_t n, size_t n_fds)
{
        union {
                char bytes[CMSG_SPACE(8 * sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec iov = { (void *)bytes, n };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        int fds[8];

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = STDERR_FILENO;
        if (n_fds) {
                memset(&control, 0, sizeof(control));
                m.msg_control = control.bytes;
                m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
                CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
                CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n_fds * sizeof(int));
        }
        (void)sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* With a true magic and length, unless it has seven descriptors: else nothing behind them is ever reached. */
static void send_message(int fd, const uint8_t *bytes, size_t n, size_t n_fds)
{
        static uint8_t copy[1 << 16];
        struct wire_header h;

        if (n < sizeof(h) || n_fds == 7) {
                send_bytes(fd, bytes, n, n_fds);
                return;
        }
        memcpy(copy, bytes, n);
        memcpy(&h, bytes, sizeof(h));
        h.magic = WIRE_MAGIC;
        h.bytes = (uint32_t)(n - sizeof(h));
        memcpy(copy, &h, sizeof(h));
        send_bytes(fd, copy, n, n_fds);
}

static void drain(int fd)
{
        char bytes[4096];

        while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC) > 0)
                ;
}

static void check_table(const struct table *t)
{
        uint32_t at = 0;

        if (t->n > TABLE_MAX)
                abort();
        for (uint32_t i = 0; i < t->n; i++) {
                size_t n = strlen(table_name(t, i));

                if (t->name[i] != at || n == 0 || n >= WIRE_NAME_BYTES || fcntl(t->fd[i], F_GETFD) < 0)
                        abort();
                at += (uint32_t)n + 1;
        }
        if (at != t->text_bytes)
                abort();
}

static void run_keeper(struct input in, const int *pair)
{
        struct keeper *k = &keeper;
        const uint8_t *bytes;
        size_t n_fds;
        int n;

        memset(&k->stop, 0, sizeof(k->stop));
        k->agent = (struct agent_process){ .start_at = MONO_NEVER, .kill_at = MONO_NEVER, .warned = MONO_NEVER };
        k->errors = errors;
        k->alone = errors + ERRORS;
        k->path = "/dev/null";
        k->self_argv = words;
        k->self = (struct self){ .pid = 0 };
        k->notify_fd = -1;
        talk_open(k, pair[0]);
        while (k->talk.fd >= 0 && (n = next_message(&in, &bytes, &n_fds)) >= 0) {
                send_message(pair[1], bytes, (size_t)n, n_fds);
                talk_read(k);
                check_table(&k->table);
                drain(pair[1]);
                talk_flush(k);
        }
        talk_close(k);
        while (k->table.n)
                table_drop(&k->table, table_name(&k->table, 0));
        (void)close(pair[1]);
}

static void on_held(void *userdata, const char *name, int fd)
{
        (void)userdata;
        if (strlen(name) >= WIRE_MESSAGE_BYTES || fd < 0)
                abort();
        (void)close(fd);
}

static void on_job(void *userdata, const struct wire_job *job, int pidfd)
{
        (void)userdata;
        (void)job;
        if (pidfd >= 0)
                (void)close(pidfd);
}

static void run_link(struct input in, const int *pair)
{
        struct keeper_link *l;
        struct wire_facts facts;
        struct keeper_event e;
        const uint8_t *bytes;
        size_t n_fds;
        int n, room = 65536;

        while (room > 0 && (n = next_message(&in, &bytes, &n_fds)) >= 0) {
                send_message(pair[1], bytes, (size_t)n, n_fds);
                room -= n;
        }
        (void)shutdown(pair[1], SHUT_WR); /* so that nobody waits for an answer */
        if (keeper_link_new(pair[0], &l) < 0)
                abort();
        (void)keeper_link_list(l, &facts, on_held, on_job, NULL);
        while (keeper_link_dispatch(l, &e) == 0)
                if (e.type != WIRE_EXITED && e.type != WIRE_SIGNAL && e.type != WIRE_SELF_ENDED)
                        abort();
        (void)keeper_link_free(l);
        (void)close(pair[1]);
}

static int lowest_free_fd(void)
{
        int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

        (void)close(fd);
        return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        int before = lowest_free_fd();
        int pair[2];

        if (size == 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return 0;
        if (*data % 2)
                run_link((struct input){ data + 1, size - 1 }, pair);
        else
                run_keeper((struct input){ data + 1, size - 1 }, pair);
        if (lowest_free_fd() != before)
                abort();
        return 0;
}
