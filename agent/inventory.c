/* SPDX-License-Identifier: MIT */
/* See inventory.h. */
#include "agent/inventory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cleanup.h"

static void stranger(struct inventory *inv, const char *name, int fd)
{
        close_fd(&fd);
        if (inv->n_strangers < STRANGERS_MAX)
                (void)snprintf(inv->strangers[inv->n_strangers++], WIRE_NAME_BYTES, "%s", name);
}

static void keep(struct inventory_named *to, const char *name, int fd)
{
        (void)snprintf(to->name, sizeof(to->name), "%s", name);
        to->fd = fd;
}

static void sort_kit(struct inventory *inv, const char *name, enum held_kind kind, uint64_t epoch, int fd)
{
        size_t i = 0;

        while (i < GENERATIONS_MAX && inv->kits[i].epoch != epoch && inv->kits[i].epoch != NO_EPOCH)
                i++;
        if (i == GENERATIONS_MAX) {
                stranger(inv, name, fd);
                return;
        }
        inv->kits[i].epoch = epoch;
        inv->kits[i].fds[kind] = fd;
}

static void on_held(void *userdata, const char *name, int fd)
{
        struct inventory *inv = userdata;
        const struct {
                const char *name;
                int *fd;
        } single[] = { { "options", &inv->options_fd }, { "lock", &inv->lock_fd },       { "state", &inv->state_fd },
                       { "events", &inv->events_fd },   { "control", &inv->control_fd } };
        enum held_kind kind;
        uint64_t epoch;

        for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
                if (strcmp(name, single[i].name) == 0) {
                        *single[i].fd = fd;
                        return;
                }
        if (strncmp(name, "status/", 7) == 0 && inv->n_status < OPTIONS_STATUS_MAX) {
                keep(&inv->statuses[inv->n_status++], name, fd);
        } else if (strncmp(name, "admin/", 6) == 0 && inv->n_admin < ADMIN_PLACES_MAX) {
                keep(&inv->admins[inv->n_admin++], name, fd);
        } else if (strncmp(name, "listen/", 7) == 0 && inv->n_listen < KEYS_MAX) {
                keep(&inv->listens[inv->n_listen++], name, fd);
        } else if (strncmp(name, "command/", 8) == 0 && inv->n_commands < COMMANDS_MAX) {
                keep(&inv->commands[inv->n_commands++], name, fd);
        } else if (held_of_name(name, &kind, &epoch) && epoch < WIRE_JOB_HELPER) {
                sort_kit(inv, name, kind, epoch, fd);
        } else if (strncmp(name, "inherited/", 10) == 0) {
                if (inv->n_inherited < LAUNCH_LISTEN_MAX)
                        keep(&inv->inherited[inv->n_inherited++], name, fd);
                else
                        close_fd(&fd); /* they stay the keeper's */
        } else {
                stranger(inv, name, fd);
        }
}

static void on_job(void *userdata, const struct wire_job *job, int pidfd)
{
        struct inventory *inv = userdata;

        if (inv->n_jobs == sizeof(inv->jobs) / sizeof(inv->jobs[0])) {
                close_fd(&pidfd);
                return;
        }
        inv->jobs[inv->n_jobs].job = *job;
        inv->jobs[inv->n_jobs++].pidfd = pidfd;
}

int inventory_take(struct agent *a, struct inventory **ret)
{
        CLEANUP(free_ptr) struct inventory *inv = calloc(1, sizeof(*inv));
        int r;

        if (!inv)
                return -ENOMEM;
        inv->options_fd = inv->lock_fd = inv->state_fd = inv->events_fd = inv->control_fd = -1;
        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                inv->kits[i].epoch = NO_EPOCH;
                for (int k = 0; k < HELD_KINDS; k++)
                        inv->kits[i].fds[k] = -1;
        }
        r = keeper_link_list(a->link, &a->keeper, on_held, on_job, inv);
        if (r < 0)
                return r;
        *ret = TAKE(inv);
        return 0;
}

const struct wire_job *inventory_job(const struct inventory *inv, uint64_t number, int *ret_pidfd)
{
        for (size_t i = 0; i < inv->n_jobs; i++) {
                if (inv->jobs[i].job.job != number)
                        continue;
                *ret_pidfd = inv->jobs[i].pidfd;
                return &inv->jobs[i].job;
        }
        return NULL;
}

/* What a dead agent gave up half-way: descriptors of epochs that no longer are, of a validate run that nobody waits for. */
void inventory_drop_strangers(struct agent *a, const struct inventory *inv)
{
        for (size_t i = 0; i < inv->n_strangers; i++) {
                const char *name = inv->strangers[i];

                (void)keeper_link_drop(a->link, &name, 1);
        }
        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                if (inv->kits[i].epoch == NO_EPOCH || succession_find(&a->s, inv->kits[i].epoch))
                        continue;
                for (int k = 0; k < HELD_KINDS; k++) {
                        struct held_name n = held_name((enum held_kind)k, inv->kits[i].epoch);
                        const char *name = n.text;

                        (void)keeper_link_drop(a->link, &name, 1);
                }
        }
}
