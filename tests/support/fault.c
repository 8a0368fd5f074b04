/* SPDX-License-Identifier: MIT */
/*
 * The wrappers behind `-Wl,--wrap=`: each exists only in a test that asked for it (FAULT_WRAP_name). They count calls
 * and let one fail; they refuse to know what is right afterwards. Calls that allocate answer NULL, the others -1.
 */
#include "tests/support/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int countdown = -1;
static int armed_error;
static bool fired;

void fault_arm(int n, int error)
{
        countdown = n;
        armed_error = error;
        fired = false;
}

bool fault_fired(void)
{
        countdown = -1;
        return fired;
}

int open_fd_count(void)
{
        DIR *dir = opendir("/proc/self/fd");
        int n = 0;

        if (!dir)
                return -1;
        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n - 3; /* ".", ".." and the directory itself */
}

static bool __attribute__((unused)) fault_now(void)
{
        if (countdown < 0 || countdown-- > 0)
                return false;
        fired = true;
        errno = armed_error;
        return true;
}

#define WRAPPER(type, name, failed, params, args)                                                                      \
        type __real_##name params;                                                                                     \
        type __wrap_##name params;                                                                                     \
        type __wrap_##name params                                                                                      \
        {                                                                                                              \
                return fault_now() ? (failed) : __real_##name args;                                                    \
        }

#ifdef FAULT_WRAP_malloc
WRAPPER(void *, malloc, NULL, (size_t n), (n))
#endif
#ifdef FAULT_WRAP_calloc
WRAPPER(void *, calloc, NULL, (size_t n, size_t size), (n, size))
#endif
#ifdef FAULT_WRAP_realloc
WRAPPER(void *, realloc, NULL, (void *p, size_t n), (p, n))
#endif
#ifdef FAULT_WRAP_strdup
WRAPPER(char *, strdup, NULL, (const char *s), (s))
#endif
#ifdef FAULT_WRAP_socket
WRAPPER(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
#endif
#ifdef FAULT_WRAP_socketpair
WRAPPER(int, socketpair, -1, (int domain, int type, int protocol, int sv[2]), (domain, type, protocol, sv))
#endif
#ifdef FAULT_WRAP_bind
WRAPPER(int, bind, -1, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
#endif
#ifdef FAULT_WRAP_listen
WRAPPER(int, listen, -1, (int fd, int backlog), (fd, backlog))
#endif
#ifdef FAULT_WRAP_connect
WRAPPER(int, connect, -1, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
#endif
#ifdef FAULT_WRAP_accept4
WRAPPER(int, accept4, -1, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
#endif
#ifdef FAULT_WRAP_shutdown
WRAPPER(int, shutdown, -1, (int fd, int how), (fd, how))
#endif
#ifdef FAULT_WRAP_setsockopt
WRAPPER(int, setsockopt, -1, (int fd, int level, int name, const void *v, socklen_t n), (fd, level, name, v, n))
#endif
#ifdef FAULT_WRAP_getsockopt
WRAPPER(int, getsockopt, -1, (int fd, int level, int name, void *v, socklen_t *n), (fd, level, name, v, n))
#endif
#ifdef FAULT_WRAP_getsockname
WRAPPER(int, getsockname, -1, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
#endif
#ifdef FAULT_WRAP_sendmsg
WRAPPER(ssize_t, sendmsg, -1, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
#endif
#ifdef FAULT_WRAP_recvmsg
WRAPPER(ssize_t, recvmsg, -1, (int fd, struct msghdr *m, int flags), (fd, m, flags))
#endif
#ifdef FAULT_WRAP_sendto
WRAPPER(ssize_t, sendto, -1, (int fd, const void *b, size_t n, int flags, const struct sockaddr *a, socklen_t an),
        (fd, b, n, flags, a, an))
#endif
#ifdef FAULT_WRAP_read
WRAPPER(ssize_t, read, -1, (int fd, void *b, size_t n), (fd, b, n))
#endif
#ifdef FAULT_WRAP_write
WRAPPER(ssize_t, write, -1, (int fd, const void *b, size_t n), (fd, b, n))
#endif
#ifdef FAULT_WRAP_pread
WRAPPER(ssize_t, pread, -1, (int fd, void *b, size_t n, off_t at), (fd, b, n, at))
#endif
#ifdef FAULT_WRAP_pwrite
WRAPPER(ssize_t, pwrite, -1, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at))
#endif
#ifdef FAULT_WRAP_fsync
WRAPPER(int, fsync, -1, (int fd), (fd))
#endif
#ifdef FAULT_WRAP_fdatasync
WRAPPER(int, fdatasync, -1, (int fd), (fd))
#endif
#ifdef FAULT_WRAP_ftruncate
WRAPPER(int, ftruncate, -1, (int fd, off_t n), (fd, n))
#endif
#ifdef FAULT_WRAP_fstat
WRAPPER(int, fstat, -1, (int fd, struct stat *st), (fd, st))
#endif
#ifdef FAULT_WRAP_fchmod
WRAPPER(int, fchmod, -1, (int fd, mode_t mode), (fd, mode))
#endif
#ifdef FAULT_WRAP_link
WRAPPER(int, link, -1, (const char *from, const char *to), (from, to))
#endif
#ifdef FAULT_WRAP_mkdir
WRAPPER(int, mkdir, -1, (const char *p, mode_t mode), (p, mode))
#endif
#ifdef FAULT_WRAP_mmap
WRAPPER(void *, mmap, MAP_FAILED, (void *p, size_t n, int prot, int flags, int fd, off_t at),
        (p, n, prot, flags, fd, at))
#endif
#ifdef FAULT_WRAP_shm_open
WRAPPER(int, shm_open, -1, (const char *name, int flags, mode_t mode), (name, flags, mode))
#endif
#ifdef FAULT_WRAP_memfd_create
WRAPPER(int, memfd_create, -1, (const char *name, unsigned int flags), (name, flags))
#endif
#ifdef FAULT_WRAP_dup
WRAPPER(int, dup, -1, (int fd), (fd))
#endif
#ifdef FAULT_WRAP_fork
WRAPPER(pid_t, fork, -1, (void), ())
#endif

/* These take one more argument at times; fcntl reads it always, which our ABIs forgive. */
#ifdef FAULT_WRAP_open
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
        va_list ap;

        va_start(ap, flags);
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
        va_end(ap);
        return fault_now() ? -1 : __real_open(path, flags, mode);
}
#endif
#ifdef FAULT_WRAP_openat
int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...)
{
        va_list ap;

        va_start(ap, flags);
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
        va_end(ap);
        return fault_now() ? -1 : __real_openat(dir, path, flags, mode);
}
#endif
#ifdef FAULT_WRAP_fcntl
int __real_fcntl(int fd, int op, ...);
int __wrap_fcntl(int fd, int op, ...);
int __wrap_fcntl(int fd, int op, ...)
{
        va_list ap;

        va_start(ap, op);
        long value = va_arg(ap, long);
        va_end(ap);
        return fault_now() ? -1 : __real_fcntl(fd, op, value);
}
#endif
