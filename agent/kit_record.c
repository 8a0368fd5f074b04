/* SPDX-License-Identifier: MIT */
/*
 * Launch records: what the keeper shall execute, of a proxy with or without the protocol, and of its program where it is only
 * asked something. See kit.h; what there is in one: launch.h.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/bootstrap.h"
#include "agent/cleanup.h"
#include "agent/kit_parts.h"
#include "agent/launch.h"

void kit_run_as(struct launch *l, const struct proxy_user *u)
{
        if (!u->other)
                return;
        l->flags |= LAUNCH_SET_IDS | LAUNCH_CHOWN_OUTPUT;
        l->uid = u->uid;
        l->gid = u->gid;
        l->groups = u->groups;
        l->n_groups = u->n_groups;
}

/* An Envoy that takes part in hot restart asks for its parent's death itself; any other process is told. */
static int seal(const struct kit_maker *m, char *const *argv, const char *const *envp, const char *binary, const char *out_name,
                uint32_t flags, int *ret_fd)
{
        struct launch l = {
                .argv = (const char *const *)argv,
                .envp = envp ? envp : (const char *const *)m->environment,
                .path = m->args->program,
                .binary = binary,
                .out = out_name,
                .err = out_name,
                .flags = flags,
                .oom_score_adj = INT32_MIN,
                .nofile_soft = m->nofile_soft,
                .nofile_hard = m->nofile_hard,
                .listen = m->listen,
                .listen_names = m->listen_names,
                .n_listen = m->n_listen,
        };

        kit_run_as(&l, m->user);
        return launch_seal(&l, ret_fd);
}

/* What it leaves behind would go on accepting beside its successor: see LAUNCH_ALONE. */
int kit_seal_plain(const struct kit_maker *m, const char *notify, const char *binary, struct kit *k)
{
        CLEANUP(free_ptr) const char **envp = NULL;
        char variable[sizeof(((struct sockaddr_un *)0)->sun_path) + 16];
        size_t n = 0;

        while (m->environment[n])
                n++;
        envp = calloc(n + 2, sizeof(*envp));
        if (!envp)
                return -ENOMEM;
        memcpy(envp, m->environment, n * sizeof(*envp));
        (void)snprintf(variable, sizeof(variable), "NOTIFY_SOCKET=%s", notify);
        if (m->notify)
                envp[n] = variable;
        return seal(m, m->args->all, envp, binary, "", LAUNCH_DEATH_SIGNAL | LAUNCH_ALONE, &k->record_fd);
}

int kit_seal_envoy(const struct kit_maker *m, uint64_t epoch, bool udp, const char *binary, struct kit *k)
{
        CLEANUP(free_strv) char **argv = NULL;
        CLEANUP(free_ptr) char *yaml = NULL;
        char socket_path[PATH_MAX], config[PATH_MAX], admin[PATH_MAX];
        int r;

        r = kit_socket_path(m->run_dir, epoch, socket_path, sizeof(socket_path));
        if (r == 0)
                r = kit_admin_path(m->run_dir, epoch, admin, sizeof(admin));
        if (r == 0)
                r = kit_snapshot_path(m, epoch, config, sizeof(config));
        if (r == 0)
                r = bootstrap_merge_admin(m->args->config_yaml, admin, &yaml);
        if (r == -EINVAL)
                return KIT_E_CONFIG;
        if (r == 0)
                r = proxy_args_compose(m->args,
                                       &(struct launch_params){
                                               .epoch = epoch,
                                               .base_id = k->base_id,
                                               .socket_path = socket_path,
                                               .config_path = m->args->config_path ? config : NULL,
                                               .config_yaml = yaml,
                                               .drain_time_s = m->drain_time_s,
                                               .parent_shutdown_time_s = udp ? 0 : 315360000,
                                       },
                                       &argv);
        return r < 0 ? r : seal(m, argv, NULL, binary, "", 0, &k->record_fd);
}

int kit_version_record(const struct kit_maker *m, const char *binary, const char *out_name, int *ret_fd)
{
        CLEANUP(free_strv) char **argv = NULL;
        int r = proxy_args_compose_version(m->args, &argv);

        return r < 0 ? r : seal(m, argv, NULL, binary, out_name, LAUNCH_DEATH_SIGNAL, ret_fd);
}

int kit_validate_record(const struct kit_maker *m, uint64_t epoch, const char *binary, const char *out_name, int *ret_fd)
{
        CLEANUP(free_strv) char **argv = NULL;
        CLEANUP(free_ptr) char *yaml = NULL;
        char config[PATH_MAX], admin[PATH_MAX];
        int r = kit_snapshot_path(m, epoch, config, sizeof(config));

        if (r == 0)
                r = kit_admin_path(m->run_dir, epoch, admin, sizeof(admin));
        if (r == 0)
                r = bootstrap_merge_admin(m->args->config_yaml, admin, &yaml);
        if (r == 0)
                r = proxy_args_compose_validate(m->args, m->args->config_path ? config : NULL, yaml, &argv);
        return r < 0 ? r : seal(m, argv, NULL, binary, out_name, LAUNCH_DEATH_SIGNAL, ret_fd);
}
