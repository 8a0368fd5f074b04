/* SPDX-License-Identifier: MIT */
/* How a later agent begins: it takes over what the keeper holds, finds out how things stand, and goes on. */
#pragma once

#include "agent/inventory.h"

/** resume() - the run directory, the options and the state file are open; afterwards the succession is where it was left */
void resume(struct agent *a, struct inventory *inv);


/** resume_sockets() - the listen sockets that the keeper holds take their places; @loaded: the stored state says which it has given up */
void resume_sockets(struct agent *a, struct inventory *inv, bool loaded);
