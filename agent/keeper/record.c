/* SPDX-License-Identifier: MIT */
/* PURE. See record.h. Takes the bytes as hostile: reads nothing outside them and trusts no count. */
#include "agent/keeper/record.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "agent/keeper/wire.h"

enum { FLAGS_KNOWN = LAUNCH_SET_IDS | LAUNCH_DEATH_SIGNAL | LAUNCH_CHOWN_OUTPUT | LAUNCH_ALONE };

struct span {
        const char *bytes;
        size_t n;
};

/* Where the string at `offset` ends: the offset behind its NUL, or 0 if it does not lie within the record. */
static size_t string_end(struct span s, size_t offset)
{
        const char *nul;

        if (offset < sizeof(struct launch_record) || offset >= s.n)
                return 0;
        nul = memchr(s.bytes + offset, 0, s.n - offset);
        return nul ? (size_t)(nul - s.bytes) + 1 : 0;
}

static bool string_is_sound(struct span s, size_t offset)
{
        return string_end(s, offset) != 0;
}

static bool name_is_sound(struct span s, size_t offset)
{
        size_t end = string_end(s, offset);

        return end != 0 && end - offset <= WIRE_NAME_BYTES;
}

/* Each string has at least its NUL, so a count that lies ends the loop within the record. */
static bool list_is_sound(struct span s, size_t offset, uint32_t n)
{
        if (offset < sizeof(struct launch_record) || offset > s.n)
                return false; /* an empty list has a place, too */
        for (uint32_t i = 0; i < n; i++) {
                offset = string_end(s, offset);
                if (offset == 0)
                        return false;
        }
        return true;
}

static bool listen_is_sound(struct span s, const struct launch_record *r)
{
        if (r->n_listen > LAUNCH_LISTEN_MAX)
                return false;
        for (uint32_t i = 0; i < r->n_listen; i++)
                if (!name_is_sound(s, r->listen[i]) || s.bytes[r->listen[i]] == 0 || !string_is_sound(s, r->listen_name[i]))
                        return false;
        return true;
}

int launch_check(const void *bytes, size_t n)
{
        struct span s = { bytes, n };
        struct launch_record r;

        if (n < sizeof(r) || n > LAUNCH_BYTES_MAX)
                return -EINVAL;
        memcpy(&r, bytes, sizeof(r));
        if (r.magic != LAUNCH_MAGIC || r.version != LAUNCH_VERSION || r.bytes != n)
                return -EINVAL;
        if ((r.flags & ~(uint32_t)FLAGS_KNOWN) || r.n_groups > LAUNCH_GROUPS_MAX)
                return -EINVAL;
        if (r.n_args == 0 || !list_is_sound(s, r.args, r.n_args) || !list_is_sound(s, r.env, r.n_env))
                return -EINVAL;
        if (!string_is_sound(s, r.path) || !string_is_sound(s, r.cwd) || !listen_is_sound(s, &r))
                return -EINVAL;
        if (!name_is_sound(s, r.binary) || !name_is_sound(s, r.out) || !name_is_sound(s, r.err))
                return -EINVAL;
        if (s.bytes[r.binary] == 0 && s.bytes[r.path] == 0)
                return -EINVAL;
        return 0;
}
