/* SPDX-License-Identifier: MIT */
/*
 * Configs of any origin with --expand-env: what has no "${" stays byte by byte; with every "$" doubled where it begins a
 * brace nothing is a variable any more, and expanding gives the text back; a complaint has a line that the text has.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/expand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *environment[] = { "A=1", "B=", "C=${A}", "LONG=0123456789012345678901234567890123456789", NULL };

static void check_plain(const char *text, size_t n)
{
        CLEANUP(free_ptr) char *quoted = malloc(2 * n + 1), *back = NULL;
        struct expand_error e;
        size_t at = 0, back_n;

        if (!quoted)
                return;
        for (size_t i = 0; i < n; i++) {
                if (text[i] == '$' && i + 1 < n && text[i + 1] == '{')
                        quoted[at++] = '$';
                quoted[at++] = text[i];
        }
        if (expand_env(quoted, at, environment, &back, &back_n, &e) != 0 || back_n != n || memcmp(back, text, n) != 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        CLEANUP(free_ptr) char *got = NULL;
        struct expand_error e = { 0 };
        const char *text = (const char *)data;
        unsigned lines = 1;
        size_t n;
        int r = expand_env(text, size, environment, &got, &n, &e);

        for (size_t i = 0; i < size; i++)
                lines += text[i] == '\n';
        if (r == 0 && got[n] != '\0')
                abort();
        if (r == 0 && !memmem(text, size, "${", 2) && (n != size || memcmp(got, text, n) != 0))
                abort();
        if (r > 0 && (e.line < 1 || e.line > lines || !*e.text || got))
                abort();
        if (size > 0)
                check_plain(text, size);
        return 0;
}
