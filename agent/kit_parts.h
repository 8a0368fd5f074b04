/* SPDX-License-Identifier: MIT */
/*
 * What the files of a kit share: what it is called on disk, and its launch record. Private to them.
 *
 *   kit.c         what comes: the snapshot, the number, the segment, the names; and all of it together
 *   kit_record.c  launch records: of a proxy, and of the questions that are put to its program
 *   kit_forget.c  what goes
 */
#pragma once

#include "agent/kit.h"

#define KIT_LEFT ".left-" /* in the name of a folder that could not be emptied, and was put aside */

/* RUN_DIR/PREFIX<epoch>TAIL. Return: 0; -ENAMETOOLONG */
int kit_path(char *ret, size_t size, const char *run_dir, const char *prefix, uint64_t epoch, const char *tail);
int kit_id_path(const char *run_dir, uint64_t epoch, char *ret, size_t size); /* of its number, eN.id */

/* kit_record.c: the record of a kit. @notify: the path of eN/notify; it counts if the maker says `notify`. Return: 0; -errno */
int kit_seal_plain(const struct kit_maker *m, const char *notify, const char *binary, struct kit *k);
/* Its base id is reserved. Return: 0; KIT_E_CONFIG: --config-yaml cannot be merged; -errno */
int kit_seal_envoy(const struct kit_maker *m, uint64_t epoch, bool udp, const char *binary, struct kit *k);

/* kit_forget.c. @base_id: or 0. Needs no descriptor. The number goes last: while it is on disk, who comes next can remove the segment. */
void kit_remove_segment(const char *run_dir, uint64_t epoch, uint64_t base_id);
