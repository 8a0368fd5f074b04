/* SPDX-License-Identifier: MIT */
/* PURE. See proxy_words.h. */
#include "agent/proxy_words.h"

#include <stdio.h>
#include <string.h>

/* Skips "[time][pid][level][name] [file:line] " in front of a log line. */
static const char *skip_prefix(const char *line, size_t n)
{
        const char *p = line;

        while (p < line + n && *p == '[') {
                const char *close = memchr(p, ']', (size_t)(line + n - p));

                if (!close)
                        break;
                p = close + 1;
                if (p < line + n && *p == ' ')
                        p++;
        }
        return p;
}

static bool complains(const char *line, size_t n)
{
        static const char *const signs[] = { "][critical]", "][error]", "PARSE ERROR", "error initializing" };

        for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
                if (memmem(line, n, signs[i], strlen(signs[i])))
                        return true;
        return false;
}

/* Runs of blanks become one: protobuf puts one more into its messages, in some processes and not in others. */
static void copy_words(const char *words, size_t n, char *ret, size_t size)
{
        size_t have = 0;
        char last = '\0';

        for (size_t i = 0; i < n && have < size - 1; i++) {
                if (words[i] != ' ' || last != ' ')
                        ret[have++] = words[i];
                last = words[i];
        }
        ret[have] = '\0';
}

bool proxy_words(const char *text, size_t n, int status, char *ret, size_t size)
{
        const char *end = text + n;

        if (status <= 0)
                return false;
        for (const char *line = text; line < end;) {
                const char *newline = memchr(line, '\n', (size_t)(end - line));
                size_t bytes = (size_t)((newline ? newline : end) - line);

                if (complains(line, bytes)) {
                        const char *words = skip_prefix(line, bytes);

                        copy_words(words, bytes - (size_t)(words - line), ret, size);
                        return true;
                }
                line += bytes + (newline != NULL);
        }
        return false;
}

void proxy_words_rename(char *words, size_t size, const char *file, const char *known_as)
{
        char copy[1024];
        const char *at = *file ? strstr(words, file) : NULL;

        if (!at)
                return;
        (void)snprintf(copy, sizeof(copy), "%.*s%s%s", (int)(at - words), words, known_as, at + strlen(file));
        (void)snprintf(words, size, "%s", copy);
}

bool proxy_words_version(const char *text, size_t n, struct hr_segment_layout *ret_layout, char *ret, size_t size)
{
        *ret = '\0';
        for (const char *line = text, *end = text + n; line < end;) {
                size_t bytes = 0;
                char copy[64];

                while (line + bytes < end && line[bytes] != '\n' && line[bytes] != '\r')
                        bytes++;
                copy_words(line, bytes, copy, sizeof(copy));
                if (*copy)
                        copy_words(copy, strlen(copy), ret, size);
                if (bytes < sizeof(copy) && hr_segment_layout_parse(copy, ret_layout) == 0)
                        return true;
                line += bytes + 1;
        }
        return false;
}
