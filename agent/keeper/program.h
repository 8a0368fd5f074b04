/* SPDX-License-Identifier: MIT */
/* Where the other programs of this installation are. libc only. */
#pragma once

#include <stddef.h>

/**
 * program_path() - the path of one of our own programs, by where this one lies
 * @name:  its file name
 *
 * Looks for ../libexec/baton/NAME seen from our own folder (installed under any prefix), then beside us (a build
 * folder). No environment variable has a say in it.
 *
 * Return: 0 and an absolute path; -ENOENT if it is in neither place; another -errno.
 */
int program_path(const char *name, char *ret_path, size_t size);

/**
 * program_self() - where this program was found when it was executed
 *
 * Symbolic links are not resolved: what they lead to after a package upgrade is the next version.
 *
 * Return: 0 and an absolute path; -ENAMETOOLONG; another -errno.
 */
int program_self(char *ret_path, size_t size);
