/* SPDX-License-Identifier: MIT */
/* What the control and status servers say about the instance: built from the state, nothing else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/cleanup.h"
#include "agent/clock.h"
#include "agent/commands.h"
#include "agent/json.h"
#include "agent/metrics/metrics.h"
#include "agent/stale.h"

/* A moment of the monotonic clock as wall time, by what both clocks say now; to the second, so that it does not flicker. */
static const char *wall_of(int64_t mono_ns, char *buf, size_t size)
{
        int64_t ago_ns = clock_now().ns - mono_ns;
        struct timespec ts;
        struct tm tm;
        time_t s;

        (void)clock_gettime(CLOCK_REALTIME, &ts);
        s = (time_t)(((int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec - ago_ns) / 1000000000);
        if (!gmtime_r(&s, &tm) || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                buf[0] = '\0';
        return buf;
}

static uint64_t rss_bytes(int pid)
{
        char path[48];
        unsigned long long size = 0, resident = 0;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/statm", pid);
        f = fopen(path, "re");
        if (!f)
                return 0;
        if (fscanf(f, "%llu %llu", &size, &resident) != 2)
                resident = 0;
        (void)fclose(f);
        return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static const char *base_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static void number_or_null(struct json_writer *w, const char *key, int64_t value)
{
        json_key(w, key);
        if (value < 0)
                json_null(w);
        else
                json_int_value(w, value);
}

static void write_epoch(struct agent *a, struct json_writer *w, const struct epoch *e)
{
        const struct proc *p = agent_proc(a, e->number);
        const struct kit_maker m = agent_maker(a, e->number);
        char text[512];
        struct mono now = clock_now();
        bool timed = e->state == EPOCH_DRAINING || e->state == EPOCH_STOPPING;

        json_begin_object(w);
        json_key(w, "epoch"), json_uint_value(w, e->number);
        json_key(w, "pid"), json_int_value(w, e->pid);
        json_key(w, "state"), json_string_value(w, epoch_state_name(e->state));
        json_key(w, "version"), json_string_value(w, p ? p->version : "");
        json_key(w, "started"), json_string_value(w, mono_is_never(e->launched) ? "" : wall_of(e->launched.ns, text, sizeof(text)));
        json_key(w, "config");
        json_string_value(w, m.args->config_path && kit_snapshot_path(&m, e->number, text, sizeof(text)) == 0 ? base_name(text) : "");
        number_or_null(w, "connections", e->connections);
        number_or_null(w, "in_flight", e->in_flight);
        json_key(w, "rss_bytes"), json_uint_value(w, rss_bytes(e->pid));
        number_or_null(w, "deadline", timed && !mono_is_never(e->deadline) && mono_before(now, e->deadline)
                                              ? mono_ms_between(now, e->deadline) : -1);
        json_key(w, "weight"), json_null(w);
        json_end_object(w);
}

static int by_number(const void *a, const void *b)
{
        uint64_t x = (*(const struct epoch *const *)a)->number, y = (*(const struct epoch *const *)b)->number;

        return x < y ? -1 : x > y;
}

static void write_epochs(struct agent *a, struct json_writer *w)
{
        const struct epoch *alive[GENERATIONS_MAX];
        size_t n = 0;

        for (size_t i = 0; i < GENERATIONS_MAX; i++)
                if (epoch_alive(&a->s.epochs[i]))
                        alive[n++] = &a->s.epochs[i];
        qsort(alive, n, sizeof(*alive), by_number);
        json_key(w, "epochs");
        json_begin_array(w);
        for (size_t i = 0; i < n; i++)
                write_epoch(a, w, alive[i]);
        json_end_array(w);
}

/* One line an address: how many workers have it, how many of their sockets are held. */
struct line {
        const struct escrow_key *first;
        unsigned workers, held;
};

static int same_address(const struct escrow_key *a, const struct escrow_key *b)
{
        int r = strcmp(a->key.url, b->key.url);

        return r ? r : strcmp(a->key.netns, b->key.netns);
}

static int by_age(const void *a, const void *b)
{
        const struct escrow_key *x = ((const struct line *)a)->first, *y = ((const struct line *)b)->first;

        return x < y ? -1 : x > y;
}

static int by_address(const void *a, const void *b)
{
        int r = same_address(((const struct line *)a)->first, ((const struct line *)b)->first);

        return r ? r : by_age(a, b);
}

/* Sorted, joined, and sorted back: comparing each with each takes a second for 4096 keys. Return: how many lines. */
static size_t list_lines(const struct escrow *e, struct line *lines)
{
        size_t n = 0, joined = 0;

        for (uint32_t i = 0; i < e->n; i++)
                if (e->keys[i].by[CLAIM_WANTED].epoch != NO_EPOCH || e->keys[i].inode)
                        lines[n++] = (struct line){ &e->keys[i], 1, e->keys[i].inode != 0 };
        qsort(lines, n, sizeof(*lines), by_address);
        for (size_t i = 0; i < n; i++) {
                if (joined == 0 || same_address(lines[joined - 1].first, lines[i].first) != 0) {
                        lines[joined++] = lines[i];
                        continue;
                }
                lines[joined - 1].workers++;
                lines[joined - 1].held += lines[i].held;
        }
        qsort(lines, joined, sizeof(*lines), by_age);
        return joined;
}

static void write_listeners(struct agent *a, struct json_writer *w)
{
        CLEANUP(free_ptr) struct line *lines = calloc(a->s.escrow.n + 1, sizeof(*lines));
        size_t n = lines ? list_lines(&a->s.escrow, lines) : 0;

        json_key(w, "listeners");
        json_begin_array(w);
        for (size_t i = 0; i < n; i++) {
                const struct escrow_key *k = lines[i].first;

                json_begin_object(w);
                json_key(w, "address"), json_string_value(w, k->key.url);
                if (*k->key.netns)
                        json_key(w, "network_namespace"), json_string_value(w, k->key.netns);
                json_key(w, "workers"), json_uint_value(w, lines[i].workers);
                json_key(w, "held"), json_uint_value(w, lines[i].held);
                json_key(w, "silenced"), json_bool_value(w, k->silenced);
                json_end_object(w);
        }
        json_end_array(w);
}

static void write_last(struct agent *a, struct json_writer *w)
{
        static const char *const kinds[] = { [LAST_NONE] = "", [LAST_START] = "start", [LAST_CRASH] = "crash",
                                             [LAST_UPGRADE] = "upgrade", [LAST_ROLLBACK] = "rollback" };
        bool transaction = a->s.last.kind >= LAST_UPGRADE;
        const struct last_change *l = &a->s.last;
        char text[64];

        json_key(w, "last");
        if (l->kind == LAST_NONE) {
                json_null(w);
                return;
        }
        json_begin_object(w);
        json_key(w, "kind"), json_string_value(w, kinds[l->kind]);
        json_key(w, "from");
        if (l->kind != LAST_START && l->from != NO_EPOCH)
                json_uint_value(w, l->from);
        else
                json_null(w);
        json_key(w, "to");
        if (l->to != NO_EPOCH)
                json_uint_value(w, l->to);
        else
                json_null(w);
        json_key(w, "result"), json_string_value(w, run_result_name(l->result));
        json_key(w, "reason"), json_string_value(w, transaction ? l->reason : a->last_reason);
        json_key(w, "gap_ms");
        if (l->gap_ns < 0)
                json_null(w);
        else
                json_double_value(w, (double)l->gap_ns / 1e6);
        json_key(w, "at"), json_string_value(w, wall_of(l->at_ns, text, sizeof(text)));
        json_end_object(w);
}

/* Tokens return when somebody looks: while all is quiet, that is here. */
static struct backoff backoff_now(const struct agent *a, struct mono now)
{
        struct backoff b = a->s.backoff;

        backoff_refill(&b, &a->limits.backoff, now);
        return b;
}

/* As it was given, with the folder of a relative config: what `baton check` would be asked about. */
static void write_command(struct agent *a, struct json_writer *w)
{
        const struct proxy_args *args = commands_args(a, succession_command(&a->s));

        json_key(w, "command"), json_begin_array(w);
        for (size_t i = 0; args->all[i]; i++) {
                const char *word = i == 0 ? args->program : args->all[i];
                CLEANUP(free_ptr) char *absolute = word == args->config_path ? realpath(word, NULL) : NULL;

                json_string_value(w, absolute ? absolute : word);
        }
        json_end_array(w);
}

static void write_people(struct agent *a, struct json_writer *w)
{
        char text[40];
        struct mono now = clock_now();
        struct backoff b = backoff_now(a, now);

        json_key(w, "keeper"), json_begin_object(w);
        json_key(w, "pid"), json_int_value(w, a->keeper.keeper_pid);
        json_key(w, "replaced"), json_uint_value(w, a->keeper.replaced);
        json_end_object(w);
        json_key(w, "agent"), json_begin_object(w);
        json_key(w, "pid"), json_int_value(w, getpid());
        json_key(w, "version"), json_string_value(w, BATON_VERSION);
        json_key(w, "started"), json_string_value(w, wall_of(a->started.ns, text, sizeof(text)));
        json_key(w, "starts"), json_uint_value(w, a->keeper.agent_starts);
        json_end_object(w);
        json_key(w, "tokens"), json_begin_object(w);
        json_key(w, "left"), json_int_value(w, b.tokens);
        json_key(w, "max"), json_int_value(w, a->limits.backoff.tokens);
        json_end_object(w);
        json_key(w, "retry"), json_begin_object(w);
        json_key(w, "n"), json_uint_value(w, b.n);
        number_or_null(w, "in_ms", mono_is_never(a->s.relaunch_at)         ? -1
                                   : mono_before(now, a->s.relaunch_at) ? mono_ms_between(now, a->s.relaunch_at)
                                                                        : 0);
        json_end_object(w);
}

/* ---- the pages --------------------------------------------------------------------------------------- */

bool status_sampling(void *userdata, bool start)
{
        enum { FRESH_MS = 1000 };
        struct agent *a = userdata;
        struct mono now = clock_now();
        bool under_way = false;

        for (size_t i = 0; i < GENERATIONS_MAX; i++) {
                struct proc *p = &a->procs[i];
                const struct epoch *e = p->used ? succession_find(&a->s, p->epoch) : NULL;

                if (!e || (e->state != EPOCH_WARMING && e->state != EPOCH_SERVING && e->state != EPOCH_DRAINING))
                        continue;
                if (start && !mono_before(now, mono_after_ms(p->sampled, FRESH_MS)))
                        look_sample(p);
                under_way |= p->sampling != NULL;
        }
        return under_way;
}

void status_write(void *userdata, bool own, struct json_writer *w)
{
        struct agent *a = userdata;
        const char *reason;
        bool ready = succession_ready(&a->s, &reason);

        json_begin_object(w);
        json_key(w, "name"), json_string_value(w, options_str(a->options, a->options->name));
        json_key(w, "state"), json_string_value(w, succession_state_name(&a->s));
        json_key(w, "ready"), json_bool_value(w, ready);
        json_key(w, "reason"), json_string_value(w, *a->last_reason && !ready ? a->last_reason : reason);
        json_key(w, "paused"), json_bool_value(w, a->s.paused);
        json_key(w, "stale"), json_begin_array(w);
        if (stale_config(a))
                json_string_value(w, "config");
        if (stale_binary(a))
                json_string_value(w, "binary");
        if (cert_sets_stale(a))
                json_string_value(w, "certs");
        if (stale_command(a))
                json_string_value(w, "command");
        json_end_array(w);
        json_key(w, "run_dir"), json_string_value(w, a->run_dir);
        json_key(w, "handover"), json_string_value(w, options_handover(a->options));
        json_key(w, "admin");
        if (a->admin_listener.n > 0)
                json_string_value(w, a->admin_listener.places[0].address);
        else
                json_null(w);
        if (own) /* words of a command line may be nobody else's business */
                write_command(a, w);
        write_people(a, w);
        write_epochs(a, w);
        write_listeners(a, w);
        cert_sets_status(a, w);
        write_last(a, w);
        json_end_object(w);
}

bool status_ready(void *userdata, char *reason, size_t n)
{
        struct agent *a = userdata;
        const char *text;
        bool ready = succession_ready(&a->s, &text);

        (void)snprintf(reason, n, "%s", text);
        return ready;
}

bool status_live(void *userdata, char *reason, size_t n)
{
        struct agent *a = userdata;
        bool live = backoff_now(a, clock_now()).tokens > 0 && a->s.end == END_NOT;

        (void)snprintf(reason, n, "%s", live ? "" : a->s.end != END_NOT ? "ending" : "no retry tokens left");
        return live;
}

static void generations(struct agent *a, struct metrics_writer *w)
{
        for (uint32_t state = EPOCH_KIT; state <= EPOCH_STOPPING; state++) {
                unsigned n = 0;

                for (size_t i = 0; i < GENERATIONS_MAX; i++)
                        n += a->s.epochs[i].state == state;
                if (state != EPOCH_KIT)
                        metrics_value(w, "baton_generations", "state", epoch_state_name(state), n);
        }
}

void status_metrics(void *userdata, struct metrics_writer *w)
{
        struct agent *a = userdata;
        uint64_t drops = a->s.drops_gone;
        unsigned held = 0;

        for (uint32_t i = 0; i < a->s.escrow.n; i++) {
                uint32_t n;

                held += a->s.escrow.keys[i].inode != 0;
                if (a->sockets[i] >= 0 && hr_listener_drops(a->sockets[i], &n) == 0)
                        drops += n;
        }
        metrics_family(w, "baton_build_info", "gauge", "The version of baton that runs.");
        metrics_value(w, "baton_build_info", "version", BATON_VERSION, 1);
        metrics_family(w, "baton_ready", "gauge", "1 while a generation serves and no stop or drain was asked for.");
        metrics_value(w, "baton_ready", NULL, NULL, succession_ready(&a->s, NULL));
        metrics_family(w, "baton_generations", "gauge", "Generations of the proxy by state.");
        generations(a, w);
        metrics_family(w, "baton_retry_tokens", "gauge", "Relaunches that are left.");
        metrics_value(w, "baton_retry_tokens", NULL, NULL, backoff_now(a, clock_now()).tokens);
        metrics_family(w, "baton_proxy_exits_total", "counter", "Ends of the proxy by reason.");
        metrics_value(w, "baton_proxy_exits_total", "reason", "clean", (double)a->s.exits_clean);
        metrics_value(w, "baton_proxy_exits_total", "reason", "error", (double)a->s.exits_error);
        metrics_value(w, "baton_proxy_exits_total", "reason", "signal", (double)a->s.exits_signal);
        metrics_family(w, "baton_handovers_total", "counter", "Changes of the serving generation.");
        metrics_value2(w, "baton_handovers_total", "kind", "crash", "result", "committed", (double)a->s.crashes_recovered);
        for (uint32_t kind = 0; kind < RUN_KINDS; kind++)
                for (uint32_t result = RESULT_COMMITTED; result < RESULTS; result++)
                        metrics_value2(w, "baton_handovers_total", "kind", run_kind_name(kind), "result", run_result_name(result),
                                       (double)a->s.upgrade.counts[kind][result]);
        if (a->s.last.kind != LAST_NONE && a->s.last.kind != LAST_START && a->s.last.gap_ns >= 0) {
                metrics_family(w, "baton_handover_gap_seconds", "gauge", "Time without an acceptor in the last handover.");
                metrics_value(w, "baton_handover_gap_seconds", NULL, NULL, (double)a->s.last.gap_ns / 1e9);
        }
        if (a->s.last_drain_ns >= 0) {
                metrics_family(w, "baton_drain_duration_seconds", "gauge", "From the order to drain to the end of the process, of the last one that ended so.");
                metrics_value(w, "baton_drain_duration_seconds", NULL, NULL, (double)a->s.last_drain_ns / 1e9);
        }
        metrics_family(w, "baton_listen_drops_total", "counter", "Packets that the kernel threw away at held listen sockets: full accept queues, and listeners that end.");
        metrics_value(w, "baton_listen_drops_total", NULL, NULL, (double)drops);
        metrics_family(w, "baton_config_last_reload_successful", "gauge", "0 after an upgrade that was refused or rolled back.");
        metrics_value(w, "baton_config_last_reload_successful", NULL, NULL, !a->s.reload_failed);
        metrics_family(w, "baton_stale", "gauge", "1 while what is on disk is not what serves.");
        metrics_value(w, "baton_stale", "what", "config", stale_config(a));
        metrics_value(w, "baton_stale", "what", "binary", stale_binary(a));
        metrics_value(w, "baton_stale", "what", "certs", cert_sets_stale(a));
        metrics_value(w, "baton_stale", "what", "command", stale_command(a));
        cert_sets_metrics(a, w);
        metrics_family(w, "baton_agent_restarts_total", "counter", "Times the agent was replaced.");
        metrics_value(w, "baton_agent_restarts_total", NULL, NULL, a->keeper.agent_starts > 0 ? a->keeper.agent_starts - 1 : 0);
        metrics_family(w, "baton_held_sockets", "gauge", "Listen sockets that survive the proxy.");
        metrics_value(w, "baton_held_sockets", NULL, NULL, held);
}
