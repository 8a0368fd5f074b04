/* SPDX-License-Identifier: MIT */
/* Bootstraps of any origin: reading never fails badly; what is merged is readable, has our address and the same listeners. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/bootstrap.h"
#include "agent/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        CLEANUP(free_ptr) char *text = malloc(size + 1), *merged = NULL;
        struct bootstrap before, after;

        if (!text || size > 16384) /* libyaml is slow on what nobody writes */
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';
        bootstrap_read(text, size, NULL, "x.yaml", &before);
        if (bootstrap_merge_admin(text, "/r/admin.sock", &merged) == 0) {
                bootstrap_read(merged, strlen(merged), NULL, "x.yaml", &after);
                if (!after.readable || !strstr(merged, "/r/admin.sock"))
                        abort();
                if (strlen(text) == size && (after.n_urls != before.n_urls || after.lds != before.lds))
                        abort();
                bootstrap_done(&after);
        }
        bootstrap_done(&before);
        return 0;
}
