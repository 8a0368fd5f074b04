/* SPDX-License-Identifier: MIT */
/*
 * Command lines, environments and files of --config of any origin. The input is words with NULs between them; one of them
 * that says "\x01FILE" is followed by the file. A refusal is one line; what is taken lies within
 * the struct and its bounds, and is the same after it was sealed and mapped.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/options.h"
#include "agent/proxy_args.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS_MAX = 64 };

static int write_file(const char *text, size_t n)
{
        static int fd = -1;

        if (fd < 0)
                fd = memfd_create("file", 0);
        if (ftruncate(fd, 0) < 0 || pwrite(fd, text, n, 0) != (ssize_t)n)
                abort();
        return fd;
}

static void expect_sound(const struct options *o)
{
        static const char *words[OPTIONS_PROXY_ARGS_MAX];
        struct proxy_args_error error = { "" };
        struct proxy_args a;

        if (o->n_strings > sizeof(o->strings) || o->n_proxy_args == 0 || o->statuses.n > OPTIONS_STATUS_MAX || o->retry_tokens < 0 ||
            o->stop_timeout_ms < 0 || o->ready_timeout_ms < 1 || o->retry_initial_ms < 1 || o->handover == HANDOVER_DETECT ||
            o->standby || o->watch.n > OPTIONS_LIST_MAX || o->certs.n > OPTIONS_LIST_MAX)
                abort();
        for (uint32_t i = 0; i < o->n_proxy_args; i++) {
                if (o->proxy_args[i] >= o->n_strings)
                        abort();
                words[i] = options_proxy_arg(o, i);
        }
        if (proxy_args_read(words, o->n_proxy_args, o->handover == HANDOVER_ENVOY, &a, &error) == 0)
                proxy_args_done(&a);
        else if (!*error.text)
                abort();
}

/* What the agent maps is what was accepted, byte by byte. */
static void expect_sealed_alike(const struct options *o)
{
        size_t bytes = offsetof(struct options, strings) + o->n_strings;
        const struct options *mapped = NULL;
        int fd = -1;

        if (options_seal(o, &fd) != 0 || options_map(fd, &mapped) != 0 || memcmp(o, mapped, bytes) != 0)
                abort();
        (void)munmap((void *)mapped, bytes);
        (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct options o;
        static char text[65536];
        static char config[64];
        char *argv[WORDS_MAX + 4] = { (char *)"run" }, *environment[WORDS_MAX + 1] = { NULL };
        struct options_error error = { "" };
        int argc = 1;
        size_t n_environment = 0;

        if (size >= sizeof(text))
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';
        for (char *p = text; p < text + size && argc < WORDS_MAX; p += strlen(p) + 1) {
                if (strcmp(p, "\x01" "FILE") == 0) {
                        char *file = p + strlen(p) + 1;

                        (void)snprintf(config, sizeof(config), "--config=/proc/self/fd/%d",
                                       write_file(file, file < text + size ? (size_t)(text + size - file) : 0));
                        for (int i = argc; i > 1; i--) /* before a "--" */
                                argv[i] = argv[i - 1];
                        argv[1] = config;
                        argc++;
                        break;
                }
                if (strncmp(p, "BATON_", 6) == 0)
                        environment[n_environment++] = p;
                else if (strncmp(p, "--help", 5) != 0 && strncmp(p, "--print", 7) != 0 && strncmp(p, "-h", 2) != 0)
                        argv[argc++] = p; /* what only prints is left out */
        }
        environment[n_environment] = NULL;
        for (size_t i = 0; i < n_environment; i++)
                if (strncmp(environment[i], "BATON_CONFIG", 12) == 0)
                        return 0; /* files of this machine are nobody's input */
        for (int i = 1; i < argc; i++)
                if (strncmp(argv[i], "--config", 8) == 0 && argv[i] != config)
                        return 0;
        switch (options_parse(argc, argv, environment, &o, &error)) {
        case 0:
                expect_sound(&o);
                expect_sealed_alike(&o);
                break;
        case OPTIONS_E_USAGE:
        case OPTIONS_E_NO_PROXY:
                if (!*error.text)
                        abort();
                break;
        default:
                break;
        }
        return 0;
}
