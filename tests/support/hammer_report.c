/* SPDX-License-Identifier: MIT */
/* See hammer_report.h. */
#include "tests/support/hammer_report.h"

#include <stdio.h>
#include <string.h>

static const char *const outcome_names[DONE_KINDS] = {
        [DONE_OK] = "ok",
        [DONE_REFUSED] = "refused",
        [DONE_RESET] = "reset",
        [DONE_EOF] = "eof",
        [DONE_CUT] = "cut",
        [DONE_TIMEOUT] = "timeouts",
        [DONE_NO_CONNECTION] = "no_connection",
        [DONE_BAD_STATUS] = "bad_status",
        [DONE_BAD_BODY] = "bad_body",
        [DONE_GARBAGE] = "garbage",
        [DONE_LOCAL] = "local",
        [DONE_REUSED_RESET] = "reused_reset",
        [DONE_REUSED_EOF] = "reused_eof",
};

static void counts_begin(struct counts *c, const char *name, int64_t now_us)
{
        memset(c, 0, sizeof(*c));
        (void)snprintf(c->name, sizeof(c->name), "%s", name);
        c->began_us = now_us;
}

void report_init(struct report *r, unsigned n_clients, int64_t now_us)
{
        memset(r, 0, sizeof(*r));
        r->n_clients = n_clients;
        for (unsigned i = 0; i < n_clients; i++)
                r->client_ok_us[i] = now_us;
        counts_begin(&r->total, "total", now_us);
        counts_begin(&r->slice, "start", now_us);
        r->began_us = now_us;
        r->last_ok_us = now_us;
}

/* Up to 31 us exactly; above that each doubling has 32 buckets, so a latency is right to about 3 %. */
static size_t bucket_of(int64_t us)
{
        unsigned shift = 0;
        size_t i;

        while (us >> shift >= 64)
                shift++;
        i = (size_t)shift * 32 + (size_t)(us >> shift);
        return i < REPORT_BUCKETS ? i : REPORT_BUCKETS - 1;
}

static int64_t bucket_us(size_t i)
{
        size_t shift = i < 64 ? 0 : i / 32 - 1;

        return (int64_t)(i - shift * 32) << shift;
}

static void counts_add(struct counts *c, enum outcome outcome, int64_t took_us, int64_t at_us, int error)
{
        c->outcomes[outcome]++;
        if (outcome == DONE_OK) {
                c->latency[bucket_of(took_us)]++;
                if (took_us > c->latency_max_us)
                        c->latency_max_us = took_us;
        } else if (c->n_samples < REPORT_SAMPLES) {
                c->samples[c->n_samples].at_us = at_us;
                c->samples[c->n_samples].outcome = outcome;
                c->samples[c->n_samples].error = error;
                c->n_samples++;
        }
}

static void raise_to(int64_t *max, int64_t value)
{
        if (value > *max)
                *max = value;
}

static void note_gap(struct report *r, int64_t now_us)
{
        if (r->stopped_us)
                return;
        raise_to(&r->total.longest_gap_us, now_us - r->last_ok_us);
        raise_to(&r->slice.longest_gap_us, now_us - r->last_ok_us);
}

static void note_client_gap(struct report *r, unsigned client, int64_t now_us)
{
        if (r->stopped_us)
                return;
        raise_to(&r->total.longest_client_gap_us, now_us - r->client_ok_us[client]);
        raise_to(&r->slice.longest_client_gap_us, now_us - r->client_ok_us[client]);
}

/* Also those who still wait. */
static void note_all_gaps(struct report *r, int64_t now_us)
{
        note_gap(r, now_us);
        for (unsigned i = 0; i < r->n_clients; i++)
                note_client_gap(r, i, now_us);
}

void report_add(struct report *r, unsigned client, enum outcome outcome, int64_t began_us, int64_t now_us, int error)
{
        counts_add(&r->total, outcome, now_us - began_us, now_us - r->began_us, error);
        counts_add(&r->slice, outcome, now_us - began_us, now_us - r->began_us, error);
        if (outcome != DONE_OK)
                return;
        note_gap(r, now_us);
        note_client_gap(r, client, now_us);
        r->last_ok_us = now_us;
        r->client_ok_us[client] = now_us;
}

static void counts_body(struct counts *c, const char *body, size_t len, int64_t at_us)
{
        for (size_t i = 0; i < REPORT_BODIES; i++) {
                if (!c->bodies[i].n) {
                        memcpy(c->bodies[i].text, body, len);
                        c->bodies[i].len = len;
                        c->bodies[i].first_us = at_us;
                }
                if (c->bodies[i].len == len && memcmp(c->bodies[i].text, body, len) == 0) {
                        c->bodies[i].n++;
                        c->bodies[i].last_us = at_us;
                        return;
                }
        }
        c->bodies_more++;
}

void report_body(struct report *r, const char *body, size_t len, int64_t now_us)
{
        if (len > sizeof(r->total.bodies[0].text))
                len = sizeof(r->total.bodies[0].text);
        counts_body(&r->total, body, len, now_us - r->began_us);
        counts_body(&r->slice, body, len, now_us - r->began_us);
}

void report_status(struct report *r, int status)
{
        if (status < 0 || status >= REPORT_STATUSES)
                return;
        r->total.statuses[status]++;
        r->slice.statuses[status]++;
}

void report_idle_closed(struct report *r)
{
        r->total.idle_closed++;
        r->slice.idle_closed++;
}

void report_connection(struct report *r)
{
        r->total.connections++;
        r->slice.connections++;
}

static void print_text(const char *text, size_t len)
{
        putchar('"');
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)text[i];

                if (c == '"' || c == '\\')
                        printf("\\%c", c);
                else if (c < 0x20 || c >= 0x7f) /* as Latin-1: a body need not be UTF-8, our output must */
                        printf("\\u%04x", c);
                else
                        putchar(c);
        }
        putchar('"');
}

int64_t report_percentile_us(const struct counts *c, double share)
{
        uint64_t want = (uint64_t)((double)c->outcomes[DONE_OK] * share), seen = 0;

        for (size_t i = 0; i < REPORT_BUCKETS; i++) {
                seen += c->latency[i];
                if (seen > want)
                        return bucket_us(i);
        }
        return c->latency_max_us;
}

static void print_sums(const struct counts *c)
{
        uint64_t requests = 0, failed = 0;

        for (size_t i = 0; i < DONE_KINDS; i++) {
                requests += c->outcomes[i];
                if (i != DONE_OK && i < DONE_REUSED_RESET)
                        failed += c->outcomes[i];
        }
        printf(",\"requests\":%llu,\"failed\":%llu", (unsigned long long)requests, (unsigned long long)failed);
        for (size_t i = 0; i < DONE_KINDS; i++)
                printf(",\"%s\":%llu", outcome_names[i], (unsigned long long)c->outcomes[i]);
}

static void print_lists(const struct counts *c)
{
        const char *comma = "";

        printf(",\"statuses\":{");
        for (int i = 0; i < REPORT_STATUSES; i++) {
                if (!c->statuses[i])
                        continue;
                printf("%s\"%d\":%llu", comma, i, (unsigned long long)c->statuses[i]);
                comma = ",";
        }
        printf("},\"bodies\":{");
        comma = "";
        for (size_t i = 0; i < REPORT_BODIES && c->bodies[i].n; i++) {
                printf("%s", comma);
                print_text(c->bodies[i].text, c->bodies[i].len);
                printf(":%llu", (unsigned long long)c->bodies[i].n);
                comma = ",";
        }
        printf("},\"bodies_more\":%llu,\"body_times\":{", (unsigned long long)c->bodies_more);
        comma = "";
        for (size_t i = 0; i < REPORT_BODIES && c->bodies[i].n; i++) {
                printf("%s", comma);
                print_text(c->bodies[i].text, c->bodies[i].len);
                printf(":[%.1f,%.1f]", (double)c->bodies[i].first_us / 1000.0, (double)c->bodies[i].last_us / 1000.0);
                comma = ",";
        }
        printf("},\"samples\":[");
        comma = "";
        for (size_t i = 0; i < c->n_samples; i++) {
                const char *error = c->samples[i].outcome == DONE_BAD_STATUS ? NULL : strerrorname_np(c->samples[i].error);

                printf("%s{\"at_ms\":%.1f,\"what\":\"%s\"", comma, (double)c->samples[i].at_us / 1000.0,
                       outcome_names[c->samples[i].outcome]);
                if (c->samples[i].outcome == DONE_BAD_STATUS)
                        printf(",\"status\":%d", c->samples[i].error);
                else if (c->samples[i].error && error)
                        printf(",\"error\":\"%s\"", error);
                putchar('}');
                comma = ",";
        }
        putchar(']');
}

static void print_latencies(const struct counts *c)
{
        const char *comma = "";

        printf(",\"latencies_us\":[");
        for (size_t i = 0; i < REPORT_BUCKETS; i++) {
                if (!c->latency[i])
                        continue;
                printf("%s[%lld,%u]", comma, (long long)bucket_us(i), c->latency[i]);
                comma = ",";
        }
        putchar(']');
}

static void counts_print(const struct report *r, const struct counts *c, int64_t now_us)
{
        printf("{\"slice\":");
        if (c == &r->total)
                printf("null");
        else
                print_text(c->name, strlen(c->name));
        printf(",\"from_ms\":%.1f,\"to_ms\":%.1f", (double)(c->began_us - r->began_us) / 1000.0,
               (double)(now_us - r->began_us) / 1000.0);
        print_sums(c);
        printf(",\"idle_closed\":%llu,\"connections\":%llu,\"longest_gap_ms\":%.1f", (unsigned long long)c->idle_closed,
               (unsigned long long)c->connections, (double)c->longest_gap_us / 1000.0);
        printf(",\"longest_client_gap_ms\":%.1f", (double)c->longest_client_gap_us / 1000.0);
        printf(",\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f", (double)report_percentile_us(c, 0.50) / 1000.0,
               (double)report_percentile_us(c, 0.99) / 1000.0, (double)c->latency_max_us / 1000.0);
        print_lists(c);
        if (r->histogram)
                print_latencies(c);
        printf("}\n");
        (void)fflush(stdout);
}

void report_mark(struct report *r, const char *name, int64_t now_us)
{
        note_all_gaps(r, now_us);
        counts_print(r, &r->slice, now_us);
        r->n_slices++;
        counts_begin(&r->slice, name, now_us);
}

void report_stop(struct report *r, int64_t now_us)
{
        if (r->stopped_us)
                return;
        note_all_gaps(r, now_us);
        r->stopped_us = now_us;
}

void report_end(struct report *r)
{
        if (r->n_slices)
                counts_print(r, &r->slice, r->stopped_us);
        counts_print(r, &r->total, r->stopped_us);
}
