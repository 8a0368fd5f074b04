/* SPDX-License-Identifier: MIT */
/*
 * sock_diag's answer, of any bytes: no more is read or counted than there is, what is counted lies where it was asked for, and
 * the same bytes in one datagram or cut between two messages tell the same. First a byte for the family and one for the room.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "hotrestart/internal.h"

enum { ROOM = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_all(const uint8_t *data, size_t size, size_t max, uint8_t family, uint64_t *inodes, size_t *n)
{
        const struct hr_diag_place at = { .family = family, .port_be = 0x5000, .addr = { 127, 0, 0, 1 }, .scope = family == AF_INET6 ? 2 : 0 };
        int r;

        memset(inodes, 0xff, (ROOM + 1) * sizeof(inodes[0]));
        *n = 0;
        r = hr_diag_read(data, size, &at, inodes, max, n);
        if (r > HR_DIAG_DONE || *n > max)
                abort();
        for (size_t i = 0; i <= ROOM; i++)
                if ((i < *n) != (inodes[i] != UINT64_MAX))
                        abort(); /* inodes have 32 bits there */
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint64_t inodes[ROOM + 1], again[ROOM + 1];
        size_t n, n_again, max;
        uint8_t family;
        int r;

        if (size < 2)
                return 0;
        family = data[0] & 1 ? AF_INET6 : AF_INET;
        max = data[1] % (ROOM + 1);
        r = read_all(data + 2, size - 2, max, family, inodes, &n);
        /* A shorter answer never tells of somebody whom the whole one does not tell of. */
        for (size_t cut = 0; cut < size - 2; cut += 4) {
                int r_cut = read_all(data + 2, cut, max, family, again, &n_again);

                if (n_again > n || memcmp(again, inodes, n_again * sizeof(again[0])) != 0)
                        abort();
                if (r_cut == HR_DIAG_DONE && (r != HR_DIAG_DONE || n_again != n))
                        abort(); /* an end is an end, whatever follows */
        }
        return 0;
}
