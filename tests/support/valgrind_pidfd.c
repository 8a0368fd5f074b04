/* SPDX-License-Identifier: MIT */
/*
 * To be preloaded under valgrind alone, which does not know pidfds before 3.21: a folder of /proc plays one. It stays that of the
 * process when the number is given to another one: then nothing is sent.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...);

static long send_signal(int fd, int signo)
{
        char path[64], folder[64];
        ssize_t n;

        if (faccessat(fd, "stat", F_OK, 0) < 0)
                return -1; /* ESRCH */
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, folder, sizeof(folder) - 1);
        if (n <= 6)
                return -1;
        folder[n] = '\0';
        return kill(atoi(folder + 6), signo);
}

static long call(const char *name, long number, const long a[6])
{
        long (*real)(long, ...);
        void *address = dlsym(RTLD_NEXT, name);

        memcpy(&real, &address, sizeof(real));
        return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

long syscall(long number, ...)
{
        char path[64];
        va_list args;
        long a[6];

        va_start(args, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(args, long);
        va_end(args);
        switch (number) {
        case SYS_pidfd_open:
                (void)snprintf(path, sizeof(path), "/proc/%ld", a[0]);
                return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        case SYS_pidfd_send_signal:
                return send_signal((int)a[0], (int)a[1]);
        default:
                return call("syscall", number, a);
        }
}
