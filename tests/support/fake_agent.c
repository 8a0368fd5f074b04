/* SPDX-License-Identifier: MIT */
/*
 * What a test puts in the place of baton-agent: `baton run --rig SOCKET` starts it, and it hands its end of the wire and
 * the heartbeat timer to the test, which then plays the agent itself. It exits when the test says with what status,
 * when the test is gone, or when the keeper is. Tried as a next version it is content with everything.
 */
#include "agent/keeper/trial.h"
#include "tests/support/keeper_rig.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int stray_fds(int known)
{
        DIR *d = opendir("/proc/self/fd");
        int n = 0;

        if (!d)
                return -1;
        for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
                int fd = atoi(e->d_name);

                n += *e->d_name != '.' && fd > WIRE_HEARTBEAT_FD && fd != known && fd != dirfd(d);
        }
        (void)closedir(d);
        return n;
}

static bool stdin_is_null(void)
{
        struct stat in, null;

        return fstat(0, &in) == 0 && stat("/dev/null", &null) == 0 && in.st_rdev == null.st_rdev;
}

static int blocked_signals(void)
{
        sigset_t set;
        int n = 0;

        if (sigprocmask(SIG_BLOCK, NULL, &set) < 0)
                return -1;
        for (int signo = 1; signo < NSIG; signo++)
                n += sigismember(&set, signo) == 1;
        return n;
}

static int meet(const char *path)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
                exit(98);
        return fd;
}

static void say_hello(int fd, int argc)
{
        struct rig_hello hello = {
                .pid = getpid(),
                .session = getsid(0),
                .argc = argc,
                .stray_fds = stray_fds(fd),
                .blocked_signals = blocked_signals(),
                .stray_environment = getenv("NOTIFY_SOCKET") || getenv("LISTEN_FDS") || getenv("LISTEN_PID") || getenv("WATCHDOG_USEC"),
                .stdin_is_null = stdin_is_null(),
        };
        int fds[] = { WIRE_AGENT_FD, WIRE_HEARTBEAT_FD };
        union {
                char bytes[CMSG_SPACE(sizeof(fds))];
                struct cmsghdr align;
        } control;
        struct iovec iov = { &hello, sizeof(hello) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control) };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        memset(&control, 0, sizeof(control));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fds));
        memcpy(CMSG_DATA(c), fds, sizeof(fds));
        if (sendmsg(fd, &m, MSG_NOSIGNAL) < 0)
                exit(97);
}

static int pass(void)
{
        struct trial_verdict v = { .magic = TRIAL_MAGIC, .good = 1, .wire_version = WIRE_VERSION };

        (void)snprintf(v.version, sizeof(v.version), "%s", BATON_VERSION);
        return write(TRIAL_VERDICT_FD, &v, sizeof(v)) == (ssize_t)sizeof(v) ? 0 : 94;
}

int main(int argc, char **argv)
{
        struct pollfd p[2] = { { .events = POLLIN }, { .fd = WIRE_AGENT_FD } };
        unsigned char status = 96;

        if (argc > 1 && strcmp(argv[1], TRIAL_WORD) == 0)
                return pass();
        if (argc < 3 || strcmp(argv[1], "--rig") != 0)
                return 99;
        p[0].fd = meet(argv[2]);
        say_hello(p[0].fd, argc);
        while (poll(p, 2, -1) < 0 || !(p[0].revents || p[1].revents))
                ;
        if (p[0].revents && read(p[0].fd, &status, 1) != 1)
                status = 95;
        return status;
}
