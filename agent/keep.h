/* SPDX-License-Identifier: MIT */
/*
 * --state-dir: what served last, kept over a reboot.
 *
 *   STATE_DIR/config.EXT     the config, variables replaced, with the certificates' own directories
 *   STATE_DIR/certs/I-NAME/  the set of the I-th --certs
 *
 * Nothing is lost if it cannot be written: that is said once.
 */
#pragma once

#include <stdint.h>

struct agent;

/** keep_open() - makes the directory; is there something in it? */
void keep_open(struct agent *a);

/** keep_content() - an epoch serves: its config and the certificates that it leads to */
void keep_content(struct agent *a, uint64_t epoch);

/** keep_certs() - the sets that count */
void keep_certs(struct agent *a);

/** keep_bring_back() - at the first start: a set that is refused and has no copy is replaced by the kept one, loudly */
void keep_bring_back(struct agent *a);
