/* SPDX-License-Identifier: MIT */
/*
 * --help, --version and --mode validate: the proxy is run as it is given, once, and its exit status is ours. No run directory,
 * no relaunch, nothing held.
 */
#pragma once

#include "agent/agent.h"

/** plain_run() - to the end. Never returns */
_Noreturn void plain_run(struct agent *a);
