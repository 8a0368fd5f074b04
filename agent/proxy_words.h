/* SPDX-License-Identifier: MIT */
/*
 * PURE. What a proxy says about its config when it is run with --mode validate: is the config at fault, or did the run end for
 * another reason? A config at fault ends baton at once, so without words that blame it nothing is blamed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "hotrestart/hotrestart.h"

/**
 * proxy_words() - the first line that complains
 * @text:    everything that the run printed; any bytes
 * @status:  its exit status, or -1 if it did not exit by itself
 * @ret:     its words without the prefix of the log, runs of blanks as one, cut to size and NUL-terminated; written only if
 *           there are any
 *
 * Return: true if the proxy rejected its config: it exited with another status than 0 and said why.
 */
bool proxy_words(const char *text, size_t n, int status, char *ret, size_t size);

/**
 * proxy_words_version() - what `PROXY --hot-restart-version` printed
 * @ret:  the line that is a version, wherever loaders and wrappers have put theirs; else the last line that is not empty
 *
 * Return: is there one? Then @ret_layout is what it says.
 */
bool proxy_words_version(const char *text, size_t n, struct hr_segment_layout *ret_layout, char *ret, size_t size);

/** proxy_words_rename() - in its words, calls a file as the user knows it; @words: cut to size again */
void proxy_words_rename(char *words, size_t size, const char *file, const char *known_as);
