/* SPDX-License-Identifier: MIT */
/*
 * What is on disk and not what serves, for `stale` in the status and in the metrics. Certificates: cert_sets_stale(). Each answer
 * costs a stat() as long as the file is the one of the last question; none changes anything.
 */
#pragma once

#include <stdbool.h>

struct agent;

/** stale_config() - the config of what serves, or what --watch names */
bool stale_config(const struct agent *a);

/** stale_binary() - another file lies at the program's path */
bool stale_binary(struct agent *a);

/** stale_command() - the file of --config names another command; never where the command line of `baton run` does */
bool stale_command(const struct agent *a);
