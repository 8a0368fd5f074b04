/* SPDX-License-Identifier: MIT */
/*
 * PURE. What Envoy's admin says in JSON: /listeners (where does it listen?) and /server_info (which version is it?). The first
 * decides which held sockets count as removed, so a page that is not understood is no answer, never an empty one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "hotrestart/hotrestart.h"

#define LISTENERS_QUERY "/listeners?format=json"
#define SERVER_INFO_QUERY "/server_info"

struct listeners_page {
        char (*addresses)[HR_URL_BYTES]; /* sorted; as in a key's URL, behind "://" */
        size_t n;
};

#define LISTENERS_PAGE_NULL ((struct listeners_page){ 0 })

/**
 * listeners_page_read() - the addresses on a page; listeners_page_done() it
 *
 * Return: 0; -EBADMSG, -EFBIG: it is no such page; -ENOMEM.
 */
int listeners_page_read(const char *text, size_t n, struct listeners_page *ret);
void listeners_page_done(struct listeners_page *l);

bool listeners_page_has(const struct listeners_page *l, const struct hr_key *k);

/** server_info_version() - Return: false: it names none, and ret is as it was */
bool server_info_version(const char *text, size_t n, char *ret, size_t size);
