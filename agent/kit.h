/* SPDX-License-Identifier: MIT */
/*
 * Launch kits: all that must lie ready so that a death costs one message, one fork, one exec. A kit of epoch N is
 *
 *   RUN_DIR/envoy-revN.EXT   the immutable snapshot that it runs from, readable for the proxy's group
 *   RUN_DIR/eN/              0700, the proxy's: our three protocol names and, once it runs, Envoy's four and its admin socket; without the protocol `notify`
 *   RUN_DIR/eN.id            its base id (without the protocol: 0) and the number of its command line, written before the segment is made, so that no segment is ever lost
 *   a segment of Envoy's shared memory, which reserves the base id
 *   a launch record, for the keeper
 *
 * Blocks for file system calls only. Decides nothing: which epoch copies which is succession.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/proxy_args.h"
#include "agent/proxy_user.h"
#include "agent/rewrite.h"
#include "hotrestart/hotrestart.h"

struct launch;

struct kit_maker {
        const char *run_dir;
        int64_t drain_time_s;
        bool protocol;                  /* --handover envoy; else a kit is a launch record, perhaps eN/notify, and the number of its command */
        bool notify;                    /* and it may say READY=1 */
        const char *const *listen;      /* names of held descriptors that it inherits */
        const char *const *listen_names; /* and what LISTEN_FDNAMES calls them */
        size_t n_listen;
        bool expand;                    /* --expand-env: variables in the config become values when it is read from disk */
        const struct proxy_args *args;  /* of the proxy's command line */
        uint64_t command;               /* its number */
        char *const *environment;       /* what the proxy gets */
        const struct proxy_user *user;  /* who it runs as */
        uint64_t nofile_soft, nofile_hard;
        uid_t uid;                      /* of the proxy */
        gid_t gid;
        const char *kept;               /* of --state-dir */
        const struct rewrite *rules;    /* paths that lead elsewhere in what is read from disk */
        size_t n_rules;
};

struct kit {
        uint64_t base_id;
        int record_fd;               /* sealed launch record */
        int parent_fd, child_fd, udp_fd; /* -1 without the protocol */
        int notify_fd;               /* -1 with it, or with a probe */
};

#define KIT_NULL ((struct kit){ .record_fd = -1, .parent_fd = -1, .child_fd = -1, .udp_fd = -1, .notify_fd = -1 })

/**
 * kit_make() - make everything for one launch; whatever was left of an earlier try for this epoch goes first
 * @copy_of:  the epoch whose snapshot is copied, CONTENT_DISK, or CONTENT_KEPT: the file `kept` of the maker
 * @udp:      a held key is udp://: the proxy must not wait with reading (--parent-shutdown-time-s 0)
 * @binary:   name under which the keeper will hold the executable, or "": whatever lies at the path then
 * @ret:      the caller owns the descriptors
 * @reterr:   on failure: what failed on which file, for people
 *
 * Return: 0; KIT_E_CONFIG: the config on disk cannot be read or expanded, or --config-yaml is no
 * mapping; -errno.
 */
enum { KIT_E_CONFIG = 1 };
int kit_make(const struct kit_maker *m, uint64_t epoch, uint64_t copy_of, bool udp, const char *binary, struct kit *ret,
             char *reterr, size_t reterr_size);
void kit_done(struct kit *k); /* closes what is open */

/** kit_run_as() - a launch gives its rights away before it executes; and the pipes that it prints to, so that /dev/stdout can be opened */
void kit_run_as(struct launch *l, const struct proxy_user *u);

/**
 * kit_validate_record() - a launch record for `PROXY --mode validate` on the snapshot of an epoch
 * @binary: as for kit_make()
 *
 * Return: 0; -errno
 */
int kit_validate_record(const struct kit_maker *m, uint64_t epoch, const char *binary, const char *out_name, int *ret_fd);

/** kit_version_record() - a launch record for `PROXY --hot-restart-version`. Return: 0; -errno */
int kit_version_record(const struct kit_maker *m, const char *binary, const char *out_name, int *ret_fd);

/**
 * kit_forget() - remove names, folder, segment and snapshot of an epoch
 *
 * Never fails: what is not there is gone, and what cannot be removed now keeps the file that names it, for kit_sweep().
 */
void kit_forget(const char *run_dir, uint64_t epoch);

/** kit_forget_process() - the same, but the snapshot stays: what served once may be wanted back */
void kit_forget_process(const char *run_dir, uint64_t epoch);

/** kit_sweep() - forget every epoch that has left something in the run directory and that @known does not claim */
void kit_sweep(const char *run_dir, bool (*known)(void *userdata, uint64_t epoch), void *userdata);

/** kit_base_id() - the base id that an epoch's kit was made with. Return: 0; -errno */
int kit_base_id(const char *run_dir, uint64_t epoch, uint64_t *ret);

/** kit_command() - the number of the command line that it was made for; 0 also if that is not known */
uint64_t kit_command(const char *run_dir, uint64_t epoch);

/** kit_extension() - of a config file, with its dot; "" if it has none. @path may be NULL; the answer is a part of it */
const char *kit_extension(const char *path);

/* Paths, for whoever talks to the proxy. Return: 0; -ENAMETOOLONG */
int kit_snapshot_path(const struct kit_maker *m, uint64_t epoch, char *ret, size_t size);
int kit_socket_path(const char *run_dir, uint64_t epoch, char *ret, size_t size);
int kit_admin_path(const char *run_dir, uint64_t epoch, char *ret, size_t size);

/** kit_read_file() - a whole file, NUL-terminated, at most 64 MB; the caller frees it. Return: 0; -errno */
int kit_read_file(const char *path, char **ret_text, size_t *ret_bytes);

/** kit_read_snapshot() - of an epoch, as kit_read_file(). Return: 0; -ENOENT also if its command has no config; -errno */
int kit_read_snapshot(const struct kit_maker *m, uint64_t epoch, char **ret_text, size_t *ret_bytes);

/**
 * kit_read_config() - the config as a snapshot would have it
 * @environment:  where the variables of --expand-env come from; NULL: they stay
 * @rules:        paths that lead elsewhere, @n_rules of them
 * @reterr:       for KIT_E_CONFIG: what is wrong, in which file and line
 *
 * Return: 0: the caller frees @ret_text; KIT_E_CONFIG; -ENOMEM.
 */
int kit_read_config(const char *path, char *const *environment, const struct rewrite *rules, size_t n_rules, char **ret_text, size_t *ret_bytes,
                    char *reterr, size_t reterr_size);

/** kit_read_content() - the same of the config on disk, without words: to compare it with a snapshot. Return: as above */
int kit_read_content(const struct kit_maker *m, char **ret_text, size_t *ret_bytes);
