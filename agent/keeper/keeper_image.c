/* SPDX-License-Identifier: MIT */
/* PURE. See keeper_image.h. */
#include "agent/keeper/keeper_image.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define IMAGE_MAGIC 0x6b696d31u

enum {
        CORE_BYTES_FIRST = 304, /* of version 1 */
        JOB_BYTES_FIRST = 56,
        DAY_MS = 24 * 3600 * 1000,
};

enum {
        BIT_LAUNCHED = 1 << 0,
        BIT_SAID_READY = 1 << 1,
        BIT_WORKING = 1 << 2,
        BIT_EVER_WORKED = 1 << 3,
        BIT_LISTED = 1 << 4,
        BIT_TELL_HUP = 1 << 5,
        BIT_TELL_USR1 = 1 << 6,
};

struct image_header {
        uint32_t magic, version;
        uint32_t bytes; /* of all */
        uint32_t core_bytes, job_bytes;
        uint32_t n_jobs, n_held, text_bytes;
};
static_assert(sizeof(struct image_header) == 32, "this never changes");

struct image_core {
        int64_t started_ns;
        uint64_t nofile_soft, nofile_hard;
        uint32_t flags, inherited, bits;
        int32_t pid;
        int32_t null_fd, signal_fd, heartbeat_fd, errors_fd, notify_fd, wire_fd; /* the last two may be -1 */
        uint32_t notify_len;
        char notify[112];
        int32_t agent_pid; /* 0: none */
        uint32_t agent_starts, agent_quick, agent_hasty;
        int32_t last_signal;
        int64_t agent_started, agent_idle_since, agent_start_at, agent_kill_at, agent_warned;
        int64_t stop_first, stop_timeout_ms;
        uint32_t stop_count, replaced;
        char version[VERSION_BYTES];
        uint64_t ticket;
};
static_assert(sizeof(struct image_core) == CORE_BYTES_FIRST, "add at the end, and to KEEPER_IMAGE_VERSION");
static_assert(sizeof(struct sockaddr_un) <= sizeof(((struct image_core *)0)->notify), "it fits");

struct image_job {
        struct wire_job record;
        int32_t pidfd; /* -1: reaped */
        uint32_t slot; /* its errno lies in the shared memory under this number */
        uint32_t tell;
        uint32_t reserved;
};
static_assert(sizeof(struct image_job) == JOB_BYTES_FIRST, "add at the end, and to KEEPER_IMAGE_VERSION");

static uint32_t used_jobs(const struct keeper *k)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < k->jobs.top; i++)
                n += k->jobs.list[i].used;
        return n;
}

size_t keeper_image_bytes(const struct keeper *k)
{
        return sizeof(struct image_header) + sizeof(struct image_core) + used_jobs(k) * sizeof(struct image_job) +
               k->table.n * sizeof(int32_t) + k->table.text_bytes;
}

static struct image_core core_of(const struct keeper *k)
{
        struct image_core c = {
                .started_ns = k->started.ns,
                .nofile_soft = k->nofile_soft,
                .nofile_hard = k->nofile_hard,
                .flags = k->flags,
                .inherited = k->inherited,
                .bits = (k->launched ? BIT_LAUNCHED : 0) | (k->said_ready ? BIT_SAID_READY : 0) |
                        (k->agent.working ? BIT_WORKING : 0) | (k->agent.ever_worked ? BIT_EVER_WORKED : 0) |
                        (k->talk.listed ? BIT_LISTED : 0) | (k->talk.tell_hup ? BIT_TELL_HUP : 0) |
                        (k->talk.tell_usr1 ? BIT_TELL_USR1 : 0),
                .pid = k->pid,
                .null_fd = k->null_fd,
                .signal_fd = k->signal_fd,
                .heartbeat_fd = k->heartbeat_fd,
                .errors_fd = k->errors_fd,
                .notify_fd = k->notify_fd,
                .wire_fd = k->talk.fd,
                .notify_len = k->notify_len,
                .agent_pid = k->agent.pid,
                .agent_starts = k->agent.starts,
                .agent_quick = k->agent.quick,
                .agent_hasty = k->agent.hasty,
                .last_signal = k->talk.last_signal,
                .agent_started = k->agent.started.ns,
                .agent_idle_since = k->agent.idle_since.ns,
                .agent_start_at = k->agent.start_at.ns,
                .agent_kill_at = k->agent.kill_at.ns,
                .agent_warned = k->agent.warned.ns,
                .stop_first = k->stop.first.ns,
                .stop_timeout_ms = k->stop.timeout_ms,
                .stop_count = k->stop.count,
                .replaced = k->replaced,
                .ticket = k->ticket,
        };

        memcpy(c.notify, &k->notify, sizeof(k->notify));
        memcpy(c.version, k->version, sizeof(c.version));
        return c;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t n)
{
        memcpy(at, bytes, n);
        return at + n;
}

void keeper_image_write(const struct keeper *k, void *to)
{
        const struct image_header h = {
                .magic = IMAGE_MAGIC,
                .version = KEEPER_IMAGE_VERSION,
                .bytes = (uint32_t)keeper_image_bytes(k),
                .core_bytes = sizeof(struct image_core),
                .job_bytes = sizeof(struct image_job),
                .n_jobs = used_jobs(k),
                .n_held = k->table.n,
                .text_bytes = k->table.text_bytes,
        };
        const struct image_core core = core_of(k);
        uint8_t *at = put(put(to, &h, sizeof(h)), &core, sizeof(core));

        for (uint32_t i = 0; i < k->jobs.top; i++) {
                const struct job *j = &k->jobs.list[i];
                const struct image_job out = { .record = j->record, .pidfd = j->pidfd, .slot = i, .tell = j->tell };

                if (j->used)
                        at = put(at, &out, sizeof(out));
        }
        for (uint32_t i = 0; i < k->table.n; i++)
                at = put(at, &k->table.fd[i], sizeof(int32_t));
        (void)put(at, k->table.text, k->table.text_bytes);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static bool sizes_are_sound(const struct image_header *h, size_t n)
{
        const bool same = h->version == KEEPER_IMAGE_VERSION;
        const uint64_t sum = sizeof(*h) + h->core_bytes + (uint64_t)h->n_jobs * h->job_bytes +
                             (uint64_t)h->n_held * sizeof(int32_t) + h->text_bytes;

        if (h->n_jobs > JOBS_MAX || h->n_held > TABLE_MAX || h->bytes != n || sum != n)
                return false;
        if (same)
                return h->core_bytes == sizeof(struct image_core) && h->job_bytes == sizeof(struct image_job);
        return h->core_bytes >= CORE_BYTES_FIRST && h->core_bytes <= sizeof(struct image_core) &&
               h->job_bytes >= JOB_BYTES_FIRST && h->job_bytes <= sizeof(struct image_job);
}

static bool core_is_sound(const struct image_core *c)
{
        const uint32_t all_bits = (BIT_TELL_USR1 << 1) - 1;

        return c->pid > 0 && c->null_fd >= 0 && c->signal_fd >= 0 && c->heartbeat_fd >= 0 && c->errors_fd >= 0 &&
               c->notify_fd >= -1 && c->wire_fd >= -1 && c->notify_len <= sizeof(struct sockaddr_un) && c->agent_pid >= 0 &&
               c->bits <= all_bits && c->stop_timeout_ms >= 0 && c->stop_timeout_ms <= DAY_MS &&
               memchr(c->version, 0, sizeof(c->version));
}

static void take_core(const struct image_core *c, struct keeper *k)
{
        k->pid = c->pid;
        k->started.ns = c->started_ns;
        k->nofile_soft = c->nofile_soft;
        k->nofile_hard = c->nofile_hard;
        k->flags = c->flags;
        k->inherited = c->inherited;
        k->launched = c->bits & BIT_LAUNCHED;
        k->said_ready = c->bits & BIT_SAID_READY;
        k->null_fd = c->null_fd;
        k->signal_fd = c->signal_fd;
        k->heartbeat_fd = c->heartbeat_fd;
        k->errors_fd = c->errors_fd;
        k->notify_fd = c->notify_fd;
        k->notify_len = c->notify_len;
        memcpy(&k->notify, c->notify, sizeof(k->notify));
        k->replaced = c->replaced;
        k->ticket = c->ticket;
        memcpy(k->version, c->version, sizeof(k->version));
        k->agent = (struct agent_process){
                .pid = c->agent_pid,
                .starts = c->agent_starts,
                .quick = c->agent_quick,
                .hasty = c->agent_hasty,
                .working = c->bits & BIT_WORKING,
                .ever_worked = c->bits & BIT_EVER_WORKED,
                .started = { c->agent_started },
                .idle_since = { c->agent_idle_since },
                .start_at = { c->agent_start_at },
                .kill_at = { c->agent_kill_at },
                .warned = { c->agent_warned },
        };
        k->talk = (struct talk){
                .fd = c->wire_fd,
                .listed = c->bits & BIT_LISTED,
                .retry_at = MONO_NEVER,
                .reply_job = JOBS_MAX,
                .last_signal = c->last_signal,
                .tell_hup = c->bits & BIT_TELL_HUP,
                .tell_usr1 = c->bits & BIT_TELL_USR1,
        };
        k->stop = (struct stop){ .count = c->stop_count, .first = { c->stop_first }, .timeout_ms = c->stop_timeout_ms,
                                 .deadline = MONO_NEVER };
}

/* They come in the order of their slots, so none comes twice. */
static bool take_jobs(const struct image_header *h, const uint8_t *at, struct keeper *k)
{
        for (uint32_t i = 0; i < h->n_jobs; i++, at += h->job_bytes) {
                struct image_job in = { 0 };

                memcpy(&in, at, h->job_bytes);
                if (in.slot >= JOBS_MAX || in.slot < k->jobs.top || in.record.pid <= 0 || in.tell > 1 || in.reserved ||
                    in.pidfd < -1 || (in.pidfd >= 0) != (in.record.code == 0))
                        return false;
                k->jobs.list[in.slot] = (struct job){ .record = in.record, .pidfd = in.pidfd, .used = true, .tell = in.tell };
                k->jobs.top = in.slot + 1;
        }
        return true;
}

static bool take_table(const struct image_header *h, const uint8_t *fds, struct keeper *k)
{
        struct table *t = &k->table;
        const char *text = (const char *)fds + h->n_held * sizeof(int32_t);

        for (uint32_t i = 0; i < h->n_held; i++) {
                const char *name = text + t->text_bytes;
                size_t left = h->text_bytes - t->text_bytes, n = strnlen(name, left);

                if (n == 0 || n == left || n >= WIRE_NAME_BYTES)
                        return false;
                memcpy(&t->fd[i], fds + i * sizeof(int32_t), sizeof(int32_t));
                if (t->fd[i] < 0)
                        return false;
                memcpy(t->text + t->text_bytes, name, n + 1);
                t->name[i] = t->text_bytes;
                t->text_bytes += (uint32_t)n + 1;
                t->n++;
        }
        return t->text_bytes == h->text_bytes;
}

int keeper_image_read(const void *bytes, size_t n, struct keeper *k)
{
        const uint8_t *at = bytes;
        struct image_core core = { 0 };
        struct image_header h;

        if (n < sizeof(h))
                return -EINVAL;
        memcpy(&h, at, sizeof(h));
        if (h.magic != IMAGE_MAGIC || h.version == 0)
                return -EINVAL;
        if (h.version > KEEPER_IMAGE_VERSION)
                return KEEPER_IMAGE_E_NEWER;
        if (!sizes_are_sound(&h, n))
                return -EINVAL;
        at += sizeof(h);
        memcpy(&core, at, h.core_bytes);
        if (!core_is_sound(&core))
                return -EINVAL;
        take_core(&core, k);
        at += h.core_bytes;
        if (!take_jobs(&h, at, k) || !take_table(&h, at + (size_t)h.n_jobs * h.job_bytes, k))
                return -EINVAL;
        return 0;
}
