/* SPDX-License-Identifier: MIT */
/* PURE. See rewrite.h. */
#include "agent/rewrite.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Could be a part of the same file name. */
static bool goes_on(char c)
{
        return isalnum((unsigned char)c) || strchr("._-+~@%", c) != NULL || (unsigned char)c >= 0x80;
}

static bool begins_here(const char *text, size_t at)
{
        return at == 0 || text[at - 1] == '\0' || (!goes_on(text[at - 1]) && text[at - 1] != '/');
}

static const struct rewrite *find(const char *text, size_t n, size_t at, const struct rewrite *rules, size_t n_rules)
{
        const struct rewrite *best = NULL;

        for (size_t i = 0; i < n_rules; i++) {
                size_t bytes = strlen(rules[i].from);

                if (bytes == 0 || bytes > n - at || memcmp(text + at, rules[i].from, bytes) != 0)
                        continue;
                if (bytes < n - at && text[at + bytes] != '\0' && goes_on(text[at + bytes]))
                        continue;
                if (!best || bytes > strlen(best->from))
                        best = &rules[i];
        }
        return best;
}

/* Twice: the first time only to count, with @to NULL. Return: how many bytes */
static size_t pass(const char *text, size_t n, const struct rewrite *rules, size_t n_rules, char *to)
{
        size_t out = 0;

        for (size_t at = 0; at < n;) {
                const struct rewrite *r = text[at] == '/' && begins_here(text, at) ? find(text, n, at, rules, n_rules) : NULL;
                size_t bytes = r ? strlen(r->to) : 1;

                if (to)
                        memcpy(to + out, r ? r->to : text + at, bytes);
                out += bytes;
                at += r ? strlen(r->from) : 1;
        }
        return out;
}

int rewrite_paths(const char *text, size_t n, const struct rewrite *rules, size_t n_rules, char **ret, size_t *ret_n)
{
        size_t bytes = pass(text, n, rules, n_rules, NULL);
        char *to = malloc(bytes + 1);

        if (!to)
                return -ENOMEM;
        (void)pass(text, n, rules, n_rules, to);
        to[bytes] = '\0';
        *ret = to;
        *ret_n = bytes;
        return 0;
}
