/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without a fuzzer, so that the corpus is part of every test run and of every compiler: each file of
 * the given folders, then a fixed number of mutations of each from a fixed seed. It looks for nothing new by itself;
 * for that build with the preset `fuzz`. A folder without a file is an error: a corpus that got lost tests nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/counts.h"
#include "tests/support/prng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_BYTES_MAX = 1 << 20 };

static uint8_t input[INPUT_BYTES_MAX];

/* An exact copy on the heap, so that a read past the end is seen. */
static void run_one(const uint8_t *data, size_t size)
{
        uint8_t *copy = malloc(size ? size : 1);

        if (!copy)
                abort();
        memcpy(copy, data, size);
        (void)LLVMFuzzerTestOneInput(copy, size);
        free(copy);
}

static void mutate(struct prng *rng, uint8_t *data, size_t *size)
{
        uint64_t changes = 1 + prng_below(rng, 4);

        for (uint64_t i = 0; i < changes && *size; i++) {
                uint64_t at = prng_below(rng, *size);
                uint64_t how = prng_below(rng, 4);

                if (how == 0)
                        data[at] = (uint8_t)prng_next(rng);
                else if (how == 1)
                        data[at] ^= (uint8_t)(1U << prng_below(rng, 8));
                else if (how == 2)
                        *size = at;
                else
                        data[at] = at ? data[at - 1] : 0xff;
        }
}

static void run_mutations(const uint8_t *data, size_t size, uint64_t seed)
{
        static uint8_t work[INPUT_BYTES_MAX];
        struct prng rng = { seed };
        unsigned long n = count_of(20000, 1000);

        for (unsigned long i = 0; i < n; i++) {
                size_t left = size;

                memcpy(work, data, size);
                mutate(&rng, work, &left);
                run_one(work, left);
        }
}

static int run_file(const char *path, uint64_t seed)
{
        FILE *f = fopen(path, "re");
        size_t size;

        if (!f) {
                fprintf(stderr, "driver: %s: %s\n", path, strerror(errno));
                return -1;
        }
        size = fread(input, 1, sizeof(input), f);
        (void)fclose(f);
        run_one(input, size);
        run_mutations(input, size, seed);
        return 0;
}

static int run_folder(const char *folder)
{
        struct dirent **entries = NULL;
        int n = scandir(folder, &entries, NULL, alphasort), files = 0;

        if (n < 0) {
                fprintf(stderr, "driver: %s: %s\n", folder, strerror(errno));
                return -1;
        }
        for (int i = 0; i < n; i++) {
                char path[4096];
                int len = snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);

                if (entries[i]->d_name[0] != '.' && len > 0 && (size_t)len < sizeof(path)) {
                        if (run_file(path, (uint64_t)files + 1) < 0)
                                exit(1);
                        files++;
                }
                free(entries[i]);
        }
        free(entries);
        return files;
}

int main(int argc, char **argv)
{
        int files = 0;

        for (int i = 1; i < argc; i++) {
                int n = run_folder(argv[i]);

                if (n < 0)
                        return 1;
                files += n;
        }
        if (!files) {
                fprintf(stderr, "driver: no corpus\n");
                return 1;
        }
        printf("driver: %d files, each with %lu mutations\n", files, count_of(20000, 1000));
        return 0;
}
