/* SPDX-License-Identifier: MIT */
/*
 * A stored state of any origin. The first byte chooses: an image by itself, whose bytes image_write() must give again if they
 * are read; or a whole state file, that must be answered without reading past its ends and be good for the next store.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/image.h"
#include "agent/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_IMAGE_BYTES = 4096 };

static struct succession s;

static void read_image(const uint8_t *data, size_t size)
{
        static uint8_t again[IMAGE_BYTES_MAX];

        if (image_read(data, size, &s) != 0)
                return;
        if (image_write(&s, again, sizeof(again)) != size || memcmp(again, data, size) != 0)
                abort();
}

static void load_file(const uint8_t *data, size_t size)
{
        static char image[FILE_IMAGE_BYTES];
        int fd = memfd_create("state", MFD_CLOEXEC);
        struct state_file *f = NULL;
        size_t n = 0;
        int r;

        if (fd < 0 || (size && pwrite(fd, data, size, 0) != (ssize_t)size) || state_open(fd, FILE_IMAGE_BYTES, &f) != 0)
                abort();
        r = state_load(f, image, sizeof(image), &n);
        if (r == 0 && n > sizeof(image))
                abort();
        if (state_store(f, "next", 4) != 0 || state_load(f, image, sizeof(image), &n) != 0 || n != 4 || memcmp(image, "next", 4) != 0)
                abort();
        (void)state_free(f);
        (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        if (data[0] & 1)
                load_file(data + 1, size - 1);
        else
                read_image(data + 1, size - 1);
        return 0;
}
