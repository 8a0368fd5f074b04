/* SPDX-License-Identifier: MIT */
/*
 * Let the n-th call fail. A fault test names what it wraps, `baton_fault_test(listener hotrestart WRAP socket bind)`,
 * and then asks of the operation under test, for n = 0, 1, 2... until no fault was met: does it report the failure,
 * is nothing leaked, is the next try good?
 *
 *     for (int n = 0;; n++) {
 *             fault_arm(n, ENFILE);
 *             int r = operation();
 *             if (!fault_fired())
 *                     break;
 *             ...
 *     }
 */
#pragma once

#include <stdbool.h>

/* From here on the call number n (from 0) of all wrapped ones fails with errno `error`, once. */
void fault_arm(int n, int error);

/* Did the armed fault happen? Disarms. */
bool fault_fired(void);

/* Open descriptors of this process, to compare before and after. */
int open_fd_count(void);
