/* SPDX-License-Identifier: MIT */
/* Whatever a proxy prints: the words are text without a line's end, or were not touched. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/proxy_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char words[64] = "\n";

        if (proxy_words((const char *)data, size, 1, words, sizeof(words)) == (strchr(words, '\n') != NULL))
                abort();
        return 0;
}
