/* SPDX-License-Identifier: MIT */
/*
 * envoy-stamp FILE PROGRAM ARGS...: appends "CLOCK_MONOTONIC in ns, pid" to FILE, then executes PROGRAM. Put between any
 * supervisor and what it runs, it tells when the exec happened, without anything that would slow the supervisor down.
 * Linked statically, so that main() is as close to the exec as it can be. The name contains "envoy" so that baton takes
 * it for one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
        struct timespec t;
        char line[64];
        int fd, n;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        if (argc < 3)
                return 2;
        n = snprintf(line, sizeof(line), "%lld %d\n", (long long)t.tv_sec * 1000000000 + t.tv_nsec, (int)getpid());
        fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, line, (size_t)n) != n)
                return 1;
        (void)execv(argv[2], argv + 2);
        return 127;
}
