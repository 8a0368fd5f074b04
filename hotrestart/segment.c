/* SPDX-License-Identifier: MIT */
/* Envoy's shared memory page, byte by byte (docs/protocol.md, segment). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"

enum {
        SIZE_AT = 0,
        VERSION_AT = 8,
        LOG_LOCK_AT = 16,
        KIND_IN_LOCK = 16,          /* of a glibc mutex: which kind it is */
        KIND_ROBUST_SHARED = 0x90,  /* what pthread_mutex_init() writes for a robust, process-shared one */
        INITIALIZING = 1,
};

/* size, version, two mutexes, flags: the mutexes are what differs between machines. */
static size_t lock_bytes(uint64_t bytes)
{
        return (bytes - LOG_LOCK_AT - 8) / 2;
}

static void fill(uint8_t *page, const struct hr_segment_layout *l)
{
        uint32_t kind = KIND_ROBUST_SHARED;
        size_t lock = lock_bytes(l->bytes);

        memcpy(page + SIZE_AT, &l->bytes, sizeof(l->bytes));
        memcpy(page + VERSION_AT, &l->version, sizeof(l->version));
        memcpy(page + LOG_LOCK_AT + KIND_IN_LOCK, &kind, sizeof(kind));
        memcpy(page + LOG_LOCK_AT + lock + KIND_IN_LOCK, &kind, sizeof(kind));
}

static int write_page(int fd, const struct hr_segment_layout *l, uid_t uid, gid_t gid)
{
        uint8_t page[HR_SEGMENT_BYTES_AARCH64] = { 0 };
        ssize_t n;

        if (l->bytes > sizeof(page))
                return -EINVAL;
        fill(page, l);
        if (fchmod(fd, 0600) < 0)
                return -errno;
        if ((uid != geteuid() || gid != getegid()) && fchown(fd, uid, gid) < 0)
                return -errno;
        n = write(fd, page, l->bytes);
        if (n < 0)
                return -errno;
        return (size_t)n == l->bytes ? 0 : -ENOSPC;
}

int hr_segment_create(uint64_t base_id, const struct hr_segment_layout *layout, uid_t uid, gid_t gid)
{
        char name[HR_SEGMENT_NAME_BYTES];
        int r = hr_segment_name(base_id, name, sizeof(name));
        int fd;

        if (r < 0)
                return r;
        fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_page(fd, layout, uid, gid);
        (void)close(fd);
        if (r < 0)
                (void)shm_unlink(name);
        return r;
}

static int map_page(uint64_t base_id, uint8_t **ret_page, size_t *ret_bytes)
{
        char name[HR_SEGMENT_NAME_BYTES];
        struct stat st;
        void *page;
        int r = hr_segment_name(base_id, name, sizeof(name));
        int fd;

        if (r < 0)
                return r;
        fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                r = -errno;
        else if (st.st_size != HR_SEGMENT_BYTES_X86_64 && st.st_size != HR_SEGMENT_BYTES_AARCH64)
                r = -EINVAL;
        page = r < 0 ? MAP_FAILED : mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (r == 0 && page == MAP_FAILED)
                r = -errno;
        (void)close(fd);
        if (r < 0)
                return r;
        *ret_page = page;
        *ret_bytes = (size_t)st.st_size;
        return 0;
}

/* The flags are the last eight bytes, and Envoy changes them atomically. */
static uint64_t *flags_of(uint8_t *page, size_t bytes)
{
        return (uint64_t *)(void *)(page + bytes - 8);
}

static int with_flags(uint64_t base_id, bool clear)
{
        uint8_t *page;
        uint64_t *flags, seen;
        size_t bytes;
        int r = map_page(base_id, &page, &bytes);

        if (r < 0)
                return r;
        flags = flags_of(page, bytes);
        seen = clear ? __atomic_and_fetch(flags, ~(uint64_t)INITIALIZING, __ATOMIC_SEQ_CST)
                     : __atomic_load_n(flags, __ATOMIC_SEQ_CST);
        (void)munmap(page, bytes);
        return (int)(seen & INITIALIZING);
}

int hr_segment_begin(uint64_t base_id, const struct hr_segment_layout *layout)
{
        uint64_t size, version;
        uint8_t *page;
        size_t bytes;
        int r = map_page(base_id, &page, &bytes);

        if (r < 0)
                return r;
        memcpy(&size, page + SIZE_AT, sizeof(size));
        memcpy(&version, page + VERSION_AT, sizeof(version));
        if (bytes != layout->bytes || size != layout->bytes || version != layout->version)
                r = -EINVAL;
        else if (__atomic_fetch_or(flags_of(page, bytes), INITIALIZING, __ATOMIC_SEQ_CST) & INITIALIZING)
                r = HR_SEGMENT_BUSY;
        (void)munmap(page, bytes);
        return r;
}

int hr_segment_initializing(uint64_t base_id)
{
        return with_flags(base_id, false);
}

int hr_segment_clear(uint64_t base_id)
{
        return with_flags(base_id, true);
}

int hr_segment_remove(uint64_t base_id)
{
        char name[HR_SEGMENT_NAME_BYTES];
        int r = hr_segment_name(base_id, name, sizeof(name));

        if (r < 0)
                return r;
        return shm_unlink(name) < 0 && errno != ENOENT ? -errno : 0;
}
