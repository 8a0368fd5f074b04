/* SPDX-License-Identifier: MIT */
/* See commands.h. A command lies in a sealed memfd: the folder of who gave it, then the words, each with its NUL. */
#include "agent/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"

enum { TEXT_BYTES_MAX = ORDER_BYTES_MAX + ORDER_WORDS_MAX + 4096 };

struct command {
        uint64_t number;
        char *text;
        size_t bytes;
        const char **words; /* into the text */
        char *config_path;  /* absolute, or NULL */
        struct proxy_args args;
};

static void name_of(uint64_t number, char name[32])
{
        (void)snprintf(name, 32, "command/%" PRIu64, number);
}

static void command_done(struct command *c)
{
        proxy_args_done(&c->args);
        free(c->text);
        free(c->words);
        free(c->config_path);
        *c = (struct command){ 0 };
}

/* A relative config belongs to the folder of who gave the command, not to ours. */
static int read_words(struct command *c, bool envoy, struct proxy_args_error *reterr)
{
        const char *cwd = c->text;
        size_t n = 0;
        int r;

        c->words = calloc(c->bytes + 1, sizeof(*c->words));
        if (!c->words)
                return -ENOMEM;
        for (const char *p = cwd + strlen(cwd) + 1; p < c->text + c->bytes; p += strlen(p) + 1)
                c->words[n++] = p;
        if (n == 0)
                return -EINVAL;
        r = proxy_args_read(c->words, n, envoy, &c->args, reterr);
        if (r != 0 || !c->args.config_path || c->args.config_path[0] == '/' || !*cwd)
                return r;
        if (asprintf(&c->config_path, "%s/%s", cwd, c->args.config_path) < 0)
                return -ENOMEM;
        c->args.config_path = c->config_path;
        return 0;
}

static const struct command *find(const struct agent *a, uint64_t number)
{
        for (size_t i = 0; i < COMMANDS_MAX; i++) {
                const struct command *c = a->commands[i];

                if (c && c->number == number)
                        return c;
        }
        return NULL;
}

/* Takes the text. */
static int add(struct agent *a, uint64_t number, char *text, size_t bytes, struct proxy_args_error *reterr)
{
        struct command *c = calloc(1, sizeof(*c));
        size_t i = 0;
        int r;

        while (i < COMMANDS_MAX && a->commands[i])
                i++;
        if (!c || i == COMMANDS_MAX) {
                free(text);
                free(c);
                return c ? -ENOSPC : -ENOMEM;
        }
        *c = (struct command){ .number = number, .text = text, .bytes = bytes };
        r = read_words(c, a->kits.protocol, reterr);
        if (r == 0 && c->args.plain) {
                (void)snprintf(reterr->text, sizeof(reterr->text), "such a command serves nobody: --help, --version or --mode validate");
                r = PROXY_ARGS_E_REFUSED;
        }
        if (r != 0) {
                command_done(c);
                free(c);
                return r;
        }
        a->commands[i] = c;
        return 0;
}

static int compose(const struct control_order *o, char **ret_text, size_t *ret_bytes)
{
        size_t n = strlen(o->cwd) + 1, at;
        char *text;

        for (size_t i = 0; i < o->n_proxy; i++)
                n += strlen(o->proxy[i]) + 1;
        if (n > TEXT_BYTES_MAX)
                return -E2BIG;
        text = malloc(n);
        if (!text)
                return -ENOMEM;
        at = (size_t)(stpcpy(text, o->cwd) - text) + 1;
        for (size_t i = 0; i < o->n_proxy; i++)
                at += (size_t)(stpcpy(text + at, o->proxy[i]) - (text + at)) + 1;
        *ret_text = text;
        *ret_bytes = n;
        return 0;
}

static void drop(struct agent *a, uint64_t number)
{
        char name[32];
        const char *names[] = { name };

        name_of(number, name);
        (void)keeper_link_drop(a->link, names, 1);
}

static int hold(struct agent *a, uint64_t number, const char *text, size_t bytes)
{
        CLEANUP(close_fd) int fd = memfd_create("command", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        char name[32];
        const char *names[] = { name };

        name_of(number, name);
        if (fd < 0 || pwrite(fd, text, bytes, 0) != (ssize_t)bytes ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return errno ? -errno : -EIO;
        return keeper_link_hold(a->link, names, &fd, 1);
}

int commands_add(struct agent *a, const struct control_order *o, uint64_t *ret_number, char *reterr, size_t size)
{
        static const char verb[] = "baton run: ";
        struct proxy_args_error error = { "the command cannot be read" };
        uint64_t number = a->s.upgrade.commands + 1;
        char *text;
        size_t bytes;
        int r = compose(o, &text, &bytes);

        if (r < 0) {
                (void)snprintf(reterr, size, "the command cannot be taken: %s", strerror(-r));
                return r;
        }
        for (size_t i = 0; i < COMMANDS_MAX; i++) {
                const struct command *c = a->commands[i];

                if (!c || c->bytes != bytes || memcmp(c->text, text, bytes) != 0)
                        continue;
                free(text);
                *ret_number = c->number;
                return 0;
        }
        r = hold(a, number, text, bytes);
        if (r < 0) {
                free(text);
                (void)snprintf(reterr, size, "the keeper cannot hold the command: %s", strerror(-r));
                return r;
        }
        r = add(a, number, text, bytes, &error);
        if (r != 0) {
                drop(a, number);
                (void)snprintf(reterr, size, "%s", error.text + (strncmp(error.text, verb, strlen(verb)) == 0 ? strlen(verb) : 0));
                return r;
        }
        *ret_number = number;
        return 0;
}

static void take(struct agent *a, const char *name, int fd)
{
        struct proxy_args_error error;
        struct stat st;
        char *text;

        if (fstat(fd, &st) < 0 || st.st_size <= 1 || st.st_size > TEXT_BYTES_MAX)
                return;
        text = malloc((size_t)st.st_size);
        if (!text)
                return;
        if (pread(fd, text, (size_t)st.st_size, 0) != st.st_size || text[st.st_size - 1] != '\0') {
                free(text);
                return;
        }
        (void)add(a, strtoull(strchr(name, '/') + 1, NULL, 10), text, (size_t)st.st_size, &error);
}

void commands_take(struct agent *a, struct inventory *inv)
{
        for (size_t i = 0; i < inv->n_commands; i++) {
                take(a, inv->commands[i].name, inv->commands[i].fd);
                close_fd(&inv->commands[i].fd);
        }
}

void commands_sweep(struct agent *a)
{
        for (size_t i = 0; i < COMMANDS_MAX; i++) {
                if (!a->commands[i] || succession_needs_command(&a->s, a->commands[i]->number))
                        continue;
                drop(a, a->commands[i]->number);
                command_done(a->commands[i]);
                free(TAKE(a->commands[i]));
        }
}

const struct proxy_args *commands_args(const struct agent *a, uint64_t number)
{
        const struct command *c = number ? find(a, number) : NULL;

        return c ? &c->args : &a->args;
}
