/* SPDX-License-Identifier: MIT */
/* PURE. What a listen socket is called in the keeper's table: listen/W/URL[<TAB>NETNS]. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/key_name.h"

int key_name(const struct hr_key *k, char *ret, size_t size)
{
        int n = snprintf(ret, size, "listen/%u/%s%s%s", k->worker, k->url, *k->netns ? "\t" : "", k->netns);

        return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

bool key_of_name(const char *name, struct hr_key *ret)
{
        struct hr_key k = { 0 };
        const char *url, *tab;
        char *end;
        size_t url_bytes;

        if (strncmp(name, "listen/", 7) != 0 || name[7] < '0' || name[7] > '9')
                return false;
        k.worker = (uint32_t)strtoul(name + 7, &end, 10);
        if (*end != '/')
                return false;
        url = end + 1;
        tab = strchrnul(url, '\t');
        url_bytes = (size_t)(tab - url);
        if (url_bytes >= sizeof(k.url) || (*tab && strlen(tab + 1) >= sizeof(k.netns)))
                return false;
        memcpy(k.url, url, url_bytes);
        if (*tab)
                memcpy(k.netns, tab + 1, strlen(tab + 1));
        *ret = k;
        return true;
}
