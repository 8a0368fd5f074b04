/* SPDX-License-Identifier: MIT */
/* PURE. The names of sockets and of the segment (docs/protocol.md, names), and what the segment is said to be like. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

int hr_name(const char *path, uint64_t base_id, unsigned index, enum hr_role role, struct sockaddr_un *ret_addr)
{
        static const char *const roles[] = {
                [HR_ROLE_PARENT] = "_parent_",
                [HR_ROLE_CHILD] = "_child_",
                [HR_ROLE_UDP_PARENT] = "_udp_parent_",
                [HR_ROLE_UDP_CHILD] = "_udp_child_",
        };
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int n;

        if (base_id > HR_BASE_ID_MAX || index > 2)
                return -EINVAL;
        n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s%s%" PRIu64, path, roles[role], base_id * 10 + index);
        if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
                return -ENAMETOOLONG;
        if (addr.sun_path[0] == '@')
                addr.sun_path[0] = '\0';
        *ret_addr = addr;
        return 0;
}

int hr_segment_name(uint64_t base_id, char *ret_name, size_t size)
{
        int n;

        if (base_id > HR_BASE_ID_MAX)
                return -EINVAL;
        n = snprintf(ret_name, size, "/envoy_shared_memory_%" PRIu64, base_id * 10);
        return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int hr_segment_layout_parse(const char *text, struct hr_segment_layout *ret)
{
        char *end;
        unsigned long long version, bytes;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        version = strtoull(text, &end, 10);
        if (*end != '.' || end[1] < '0' || end[1] > '9')
                return -EINVAL;
        bytes = strtoull(end + 1, &end, 10);
        if ((*end && *end != '\n') || version != 11 || (bytes != HR_SEGMENT_BYTES_X86_64 && bytes != HR_SEGMENT_BYTES_AARCH64))
                return -EINVAL;
        *ret = (struct hr_segment_layout){ version, bytes };
        return 0;
}
