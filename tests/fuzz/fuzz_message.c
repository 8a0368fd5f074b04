/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a message: refused, or understood as something that is sound. What is understood and can be said again is said
 * in one form only: encoding it, reading that and encoding once more gives the same bytes, and the same message.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t size)
{
        size_t n = strnlen(text, size);

        if (n == size)
                abort();
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
                        abort();
}

static void check_same(const struct hr_message *a, const struct hr_message *b)
{
        if (a->type != b->type || !hr_key_equal(&a->key, &b->key) || a->fd != b->fd ||
            a->start_time_unix_s != b->start_time_unix_s || a->enable_reuse_port_default != b->enable_reuse_port_default ||
            a->memory_allocated != b->memory_allocated || a->num_connections != b->num_connections)
                abort();
}

/* Whatever the text is: an address that fits its type, or none. */
static void check_address(const struct hr_key *k)
{
        struct sockaddr_storage addr;
        socklen_t len;
        int type;

        if (hr_key_address(k, &addr, &len, &type) != 0)
                return;
        if (len > sizeof(addr) || (type != SOCK_STREAM && type != SOCK_DGRAM) || (hr_key_is_unix(k) && addr.ss_family != AF_UNIX))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t once[HR_DATAGRAM_BYTES], twice[HR_DATAGRAM_BYTES];
        struct hr_message m, again;
        size_t n, n2;
        int r = hr_decode(data, size, &m);

        if (r == -EBADMSG)
                return 0;
        if (r != 0 || *hr_type_name(m.type) == '?')
                abort();
        check_text(m.key.url, sizeof(m.key.url));
        check_text(m.key.netns, sizeof(m.key.netns));
        check_address(&m.key);
        (void)hr_parent_owes(m.type);
        r = hr_encode(&m, once, sizeof(once), &n);
        if (r == -EINVAL && (m.type == HR_FORWARDED_UDP || m.type == HR_UNKNOWN_REQUEST || m.type == HR_UNKNOWN_REPLY))
                return 0;
        if (r != 0 || hr_decode(once + HR_HEADER_BYTES, n - HR_HEADER_BYTES, &again) != 0)
                abort();
        check_same(&m, &again);
        if (hr_encode(&again, twice, sizeof(twice), &n2) != 0 || n2 != n || memcmp(once, twice, n) != 0)
                abort();
        return 0;
}
