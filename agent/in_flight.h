/* SPDX-License-Identifier: MIT */
/*
 * PURE. What Envoy's admin pages say about work in flight and about its listeners. The admin interface itself is left out of
 * every sum: we are its only client.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Asks for just the lines that in_flight_read() understands. */
#define IN_FLIGHT_QUERY                                                                                               \
        "/stats?usedonly&filter=^(http\\..*\\.downstream_(rq_active|rq_total|cx_active)|listener\\..*\\.downstream_cx_" \
        "active)$"

struct in_flight {
        int64_t active;      /* requests, and connections that are not HTTP */
        int64_t connections; /* all of them */
        uint64_t requests_total;
};

/** in_flight_read() - from the text form of /stats. Lines it does not know are skipped. */
void in_flight_read(const char *text, size_t n, struct in_flight *ret);

#define LISTENER_FACTS_QUERY                                                                                         \
        "/stats?filter=^listener_manager\\.(lds\\.update_(success|rejected)|listener_create_failure|total_listeners_warming)$"

struct listener_facts {
        uint64_t create_failures;
        uint64_t lds_answers; /* accepted and rejected updates */
        uint64_t warming;     /* listeners that wait for their routes or secrets */
};

void listener_facts_read(const char *text, size_t n, struct listener_facts *ret);
