/* SPDX-License-Identifier: MIT */
/*
 * The ways in which it ends: the agent says so, or a stop was asked for and there is no agent to see to it.
 * A stop, once asked for, is never forgotten.
 */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/keeper/keeper.h"

static bool is_listening(const char *name)
{
        return strncmp(name, "listen/", 7) == 0 || strncmp(name, "status/", 7) == 0 || strncmp(name, "admin/", 6) == 0;
}

/* Refuses new connections at once, whoever else has copies. */
static void silence(struct keeper *k)
{
        for (uint32_t i = 0; i < k->table.n; i++)
                if (is_listening(table_name(&k->table, i)))
                        (void)shutdown(k->table.fd[i], SHUT_RD);
}

static void kill_all(struct keeper *k)
{
        k->stop.phase = KEEPER_KILLS;
        k->stop.deadline = mono_after_ms(keeper_now(), LAST_WAIT_MS);
        jobs_signal(k, SIGKILL);
}

void stop_end(struct keeper *k, int status)
{
        k->stop.status = status;
        kill_all(k);
        if (k->agent.pid > 0)
                k->agent.kill_at = mono_after_ms(keeper_now(), GRACE_MS);
}

/* The whole stop shall last no longer than the stop timeout, but the proxies get a moment in any case. */
static void stop_alone(struct keeper *k, struct mono now)
{
        struct mono regular = mono_after_ms(k->stop.first, k->stop.timeout_ms);
        struct mono least = mono_after_ms(now, 2 * GRACE_MS);

        say("keeper.stops-alone", "agent=%s stops=%u", k->agent.working ? "overdue" : "none", k->stop.count);
        k->stop.phase = KEEPER_STOPS;
        k->stop.deadline = mono_before(regular, least) ? least : regular;
        k->stop.status = k->agent.ever_worked ? 0 : 1;
        agent_kill(k);
        silence(k);
        jobs_signal(k, SIGTERM);
}

void stop_requested(struct keeper *k, int signo)
{
        struct mono now = keeper_now();

        if (k->stop.count++ == 0)
                k->stop.first = now;
        k->talk.last_signal = signo;
        if (k->stop.phase == KEEPER_STOPS)
                kill_all(k);
        else if (k->stop.phase == KEEPER_RUNS && k->stop.count > 1 && !k->agent.working)
                stop_alone(k, now);
}

/* When the keeper stops waiting for an agent to see to the stop. */
static struct mono patience_ends(const struct keeper *k)
{
        struct mono overdue = mono_after_ms(k->stop.first, k->stop.timeout_ms + OVERDUE_STOP_MS);

        if (k->stop.count == 0)
                return MONO_NEVER;
        if (k->agent.working)
                return overdue;
        if (k->agent.quick > QUICK_DEATHS)
                return k->stop.first;
        return mono_min(overdue, mono_after_ms(k->agent.idle_since, IDLE_STOP_MS));
}

void stop_tick(struct keeper *k, struct mono now)
{
        switch (k->stop.phase) {
        case KEEPER_RUNS:
                if (!mono_before(now, patience_ends(k)))
                        stop_alone(k, now);
                return;
        case KEEPER_STOPS:
                if (!mono_before(now, k->stop.deadline))
                        kill_all(k);
                return;
        case KEEPER_KILLS:
                return;
        }
}

struct mono stop_deadline(const struct keeper *k)
{
        return k->stop.phase == KEEPER_RUNS ? patience_ends(k) : k->stop.deadline;
}

bool stop_is_over(const struct keeper *k)
{
        if (k->stop.phase == KEEPER_RUNS)
                return false;
        if (jobs_alive(k) == 0 && k->agent.pid == 0 && k->self.pid == 0)
                return true;
        return k->stop.phase == KEEPER_KILLS && !mono_before(keeper_now(), k->stop.deadline);
}
