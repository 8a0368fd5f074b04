/* SPDX-License-Identifier: MIT */
/* What the keeper holds, as an agent finds it at its start: sorted, until each descriptor has found its place. */
#pragma once

#include "agent/agent.h"
#include "agent/held_name.h"

enum { STRANGERS_MAX = 64 };

struct inventory_named {
        char name[WIRE_NAME_BYTES];
        int fd;
};

struct inventory {
        int options_fd, lock_fd, state_fd, events_fd, control_fd;
        size_t n_status;
        struct inventory_named statuses[OPTIONS_STATUS_MAX];
        size_t n_inherited;
        struct inventory_named inherited[LAUNCH_LISTEN_MAX];
        size_t n_admin;
        struct inventory_named admins[ADMIN_PLACES_MAX];
        size_t n_listen;
        struct inventory_named listens[KEYS_MAX];
        struct {
                uint64_t epoch; /* or NO_EPOCH */
                int fds[HELD_KINDS];
        } kits[GENERATIONS_MAX];
        struct {
                struct wire_job job;
                int pidfd;
        } jobs[GENERATIONS_MAX * 2];
        size_t n_jobs;
        size_t n_commands;
        struct inventory_named commands[COMMANDS_MAX];
        size_t n_strangers;
        char strangers[STRANGERS_MAX][WIRE_NAME_BYTES]; /* names that mean nothing to this agent */
};

/** inventory_take() - ask the keeper. Return: 0, and the caller frees it (its descriptors belong to whoever takes them); -errno */
int inventory_take(struct agent *a, struct inventory **ret);

/** inventory_job() - what the keeper launched under that number, or NULL; the pidfd is the caller's to take */
const struct wire_job *inventory_job(const struct inventory *inv, uint64_t number, int *ret_pidfd);

/** inventory_drop_strangers() - have the keeper close what belongs to no epoch that is known */
void inventory_drop_strangers(struct agent *a, const struct inventory *inv);
