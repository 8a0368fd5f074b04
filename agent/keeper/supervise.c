/* SPDX-License-Identifier: MIT */
/*
 * The agent: started, watched, replaced. Nothing is killed because it died. It is started from a descriptor
 * that was pinned when the keeper started, so that a package upgrade under our feet changes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/keeper/keeper.h"

enum { USAGE = 2, ONCE_A_SECOND = QUICK_DEATHS + 1 };

int agent_open(struct keeper *k, const char *path)
{
        k->agent_path = path;
        k->agent_fd = open(path, O_PATH | O_CLOEXEC);
        return k->agent_fd < 0 ? -errno : 0;
}

static void arm_heartbeat(const struct keeper *k, int64_t ms)
{
        const struct itimerspec in = { .it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 } };

        (void)timerfd_settime(k->heartbeat_fd, 0, &in, NULL);
}

static void try_later(struct keeper *k, const char *what)
{
        say("keeper.agent-not-started", "step=%s error=\"%s\"", what, strerror(errno));
        k->agent.start_at = mono_after_ms(keeper_now(), RESTART_MS);
}

void agent_start(struct keeper *k)
{
        struct agent_process *a = &k->agent;
        int pair[2];
        pid_t pid;

        a->start_at = MONO_NEVER;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
                try_later(k, "socketpair");
                return;
        }
        k->errors[AGENT_ERROR] = 0;
        pid = fork();
        if (pid == 0)
                child_agent(k, pair[1]);
        (void)close(pair[1]);
        if (pid < 0) {
                (void)close(pair[0]);
                try_later(k, "fork");
                return;
        }
        a->pid = pid;
        a->starts++;
        a->working = false;
        a->started = keeper_now();
        a->kill_at = MONO_NEVER;
        a->warned = MONO_NEVER;
        talk_open(k, pair[0]);
        arm_heartbeat(k, WIRE_HEARTBEAT_MS);
}

void agent_kill(struct keeper *k)
{
        k->agent.kill_at = MONO_NEVER;
        if (k->agent.pid > 0)
                (void)kill(k->agent.pid, SIGKILL); /* ours and not reaped: the number is its own */
}

/*
 * The timer ran out. When all of us were frozen (a paused container, a debugger on the machine) the agent had
 * no chance to re-arm it: it gets a moment to do so, and only who lets that pass as well is hung.
 */
void agent_heartbeat(struct keeper *k)
{
        struct mono now = keeper_now();
        uint64_t times;

        if (read(k->heartbeat_fd, &times, sizeof(times)) != (ssize_t)sizeof(times) || k->agent.pid == 0)
                return; /* re-armed in this very moment */
        if (!mono_is_never(k->agent.warned) && mono_before(now, mono_after_ms(k->agent.warned, 2 * GRACE_MS))) {
                say("keeper.agent-hung", "pid=%d then=\"it is replaced\"", (int)k->agent.pid);
                agent_kill(k);
                return;
        }
        k->agent.warned = now;
        arm_heartbeat(k, GRACE_MS);
}

void agent_working(struct keeper *k)
{
        k->agent.working = true;
        k->agent.ever_worked = true;
        k->agent.quick = 0;
        if (!k->agent.leaving)
                k->agent.heir = false;
}

void agent_lost(struct keeper *k)
{
        talk_close(k);
        if (k->agent.pid > 0)
                k->agent.kill_at = mono_after_ms(keeper_now(), GRACE_MS);
}

static const char *reason(int code)
{
        return code == CLD_EXITED ? "exit" : "signal";
}

/* What the first agent could not even begin, no second one could: it has said why. */
static bool never_began(const struct keeper *k, int code, int status)
{
        if (k->agent.starts > 1 || k->agent.ever_worked || k->launched || code != CLD_EXITED)
                return false;
        return status == 0 || status == USAGE || k->errors[AGENT_ERROR] != 0;
}

/* Told to go, for the keeper is another one now: no death to speak of, and nobody waits for it. */
static void agent_left(struct keeper *k, struct mono now)
{
        struct agent_process *a = &k->agent;

        a->leaving = false;
        a->working = false;
        a->quick = 0;
        a->hasty = 0;
        a->start_at = now;
        a->idle_since = now;
        k->self.tell = false;
}

static struct mono next_start(struct agent_process *a, struct mono now)
{
        struct mono regular = mono_after_ms(a->started, RESTART_MS);

        if (!a->working) {
                a->hasty = 0;
                return ++a->quick >= ONCE_A_SECOND ? regular : now;
        }
        a->hasty = mono_before(now, regular) ? a->hasty + 1 : 0;
        return a->hasty > HASTY_DEATHS ? regular : now;
}

void agent_died(struct keeper *k, int code, int status)
{
        struct agent_process *a = &k->agent;
        struct mono now = keeper_now();
        uint32_t error = k->errors[AGENT_ERROR];
        bool never = never_began(k, code, status);

        arm_heartbeat(k, 0);
        talk_close(k);
        a->pid = 0;
        a->kill_at = MONO_NEVER;
        if (k->stop.phase != KEEPER_RUNS)
                return;
        if (a->leaving) {
                agent_left(k, now);
                return;
        }
        if (error)
                say("keeper.agent-not-started", "step=exec path=%s error=\"%s\"", k->agent_path, strerror((int)error));
        if (never) {
                stop_end(k, error ? 1 : status);
                return;
        }
        a->start_at = next_start(a, now);
        if (!error)
                say("keeper.agent-died", "reason=%s:%d worked=%s up_ms=%lld quick=%u", reason(code), status,
                    a->working ? "yes" : "no", (long long)(now.ns - a->started.ns) / 1000000, a->quick);
        if (a->working)
                a->idle_since = now;
        a->working = false;
}

void agent_tick(struct keeper *k, struct mono now)
{
        if (!mono_before(now, k->agent.kill_at))
                agent_kill(k);
        if (k->agent.pid == 0 && k->stop.phase == KEEPER_RUNS && !mono_before(now, k->agent.start_at))
                agent_start(k);
}

struct mono agent_deadline(const struct keeper *k)
{
        struct mono start = k->agent.pid == 0 && k->stop.phase == KEEPER_RUNS ? k->agent.start_at : MONO_NEVER;

        return mono_min(start, k->agent.kill_at);
}
