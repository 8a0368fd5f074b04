/* SPDX-License-Identifier: MIT */
/* The admin's pages of any origin: what is read is sorted, and each of its addresses is found. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/listeners_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        CLEANUP(listeners_page_done) struct listeners_page l = LISTENERS_PAGE_NULL;
        char version[16];

        (void)server_info_version((const char *)data, size, version, sizeof(version));
        if (listeners_page_read((const char *)data, size, &l) != 0)
                return 0;
        for (size_t i = 0; i < l.n; i++) {
                struct hr_key k = { .url = "tcp://" };

                if (i && strcmp(l.addresses[i - 1], l.addresses[i]) > 0)
                        abort();
                if (strlen(l.addresses[i]) + 7 > sizeof(k.url))
                        continue;
                strcat(k.url, l.addresses[i]);
                if (!listeners_page_has(&l, &k))
                        abort();
        }
        return 0;
}
