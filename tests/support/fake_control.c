/* SPDX-License-Identifier: MIT */
/*
 * The control server with nothing behind it: fake_control RUN_DIR serves RUN_DIR/control.sock as an agent does; the test
 * plays the rest. A line on stdin says what happens, and is answered by "ok"; each order that arrives is a line of JSON on
 * stdout, and each question about a ticket is "asked TICKET". Agents die as asked and are followed by the next, which knows the
 * tickets and has the same listening socket, as under the keeper.
 *
 *     end TICKET|* RESULT FROM|null TO|null [REASON]   it ended so
 *     refuse [REASON]     orders are refused at once; without REASON no more
 *     die-unstored, die-unanswered    at the next order: before it is taken, or between that and the answer
 *     die                 now
 *     forget              every ticket
 *     quit                the instance ends
 */
#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/control.h"

enum { TICKETS_MAX = 512 };

struct ticket {
        uint64_t id;
        bool done;
        char kind[16], result[32], from[24], to[24], reason[256];
};

/* What outlives an agent. */
static struct world {
        struct ticket tickets[TICKETS_MAX];
        size_t n;
        unsigned agents;
        char refuse[512];
        bool die_unstored, die_unanswered;
} *world;

static struct control *control;
static const char *run_dir;

static void tell(const char *text)
{
        size_t n = strlen(text);

        while (n > 0) {
                ssize_t k = write(STDOUT_FILENO, text, n);

                if (k < 0)
                        exit(1);
                text += k;
                n -= (size_t)k;
        }
}

static struct ticket *find_ticket(uint64_t id)
{
        for (size_t i = 0; i < world->n; i++)
                if (world->tickets[i].id == id)
                        return &world->tickets[i];
        return NULL;
}

static void tell_order(const char *name, const struct control_order *o, bool known)
{
        struct json_writer w = JSON_WRITER_NULL, order = JSON_WRITER_NULL;

        order_write(o, &order);
        json_begin_object(&w);
        json_key(&w, "command"), json_string_value(&w, name);
        json_key(&w, "known"), json_bool_value(&w, known);
        json_key(&w, "agent"), json_uint_value(&w, world->agents);
        json_key(&w, "order"), json_raw(&w, order.text, order.n);
        json_end_object(&w);
        json_raw_end(&w, "\n");
        tell(json_writer_text(&w));
        json_writer_done(&w);
        json_writer_done(&order);
}

static void die(bool *flag)
{
        *flag = false;
        (void)raise(SIGKILL);
}

static int on_command(void *ud, enum control_command c, const struct control_order *o, char *detail, size_t n)
{
        static const char *const names[] = { "stop", "drain", "undo", "upgrade", "rollback", "pause", "resume" };
        bool known = o->ticket && find_ticket(o->ticket);

        (void)ud;
        if (world->die_unstored)
                die(&world->die_unstored);
        tell_order(names[c], o, known);
        if (*world->refuse) {
                (void)snprintf(detail, n, "%s", world->refuse);
                return CONTROL_REFUSED;
        }
        if (o->ticket && !known) {
                struct ticket *t = &world->tickets[world->n];

                if (world->n == TICKETS_MAX)
                        return -ENOSPC;
                *t = (struct ticket){ .id = o->ticket };
                (void)snprintf(t->kind, sizeof(t->kind), "%s", names[c]);
                world->n++;
        }
        if (world->die_unanswered)
                die(&world->die_unanswered);
        return 0;
}

static enum control_ticket on_ticket(void *ud, uint64_t id, struct json_writer *w)
{
        const struct ticket *t = find_ticket(id);

        (void)ud;
        if (w) {
                char line[48];

                (void)snprintf(line, sizeof(line), "asked %" PRIu64 "\n", id);
                tell(line);
        }
        if (!t)
                return CONTROL_TICKET_UNKNOWN;
        if (w) {
                json_begin_object(w);
                json_key(w, "ticket"), json_uint_value(w, t->id);
                json_key(w, "state"), json_string_value(w, t->done ? "done" : "waiting");
                json_key(w, "kind"), json_string_value(w, t->kind);
                json_key(w, "result"), json_string_value(w, t->result);
                json_key(w, "from"), json_raw(w, t->done ? t->from : "null", strlen(t->done ? t->from : "null"));
                json_key(w, "to"), json_raw(w, t->done ? t->to : "null", strlen(t->done ? t->to : "null"));
                json_key(w, "reason"), json_string_value(w, t->reason);
                json_key(w, "gap_ms"), json_double_value(w, 0.0);
                json_end_object(w);
        }
        return t->done ? CONTROL_TICKET_DONE : CONTROL_TICKET_WAITS;
}

static void on_status(void *ud, bool own, struct json_writer *w)
{
        (void)ud, (void)own;
        json_begin_object(w);
        json_key(w, "name"), json_string_value(w, "fake");
        json_end_object(w);
}

static bool no_sample(void *ud, bool start)
{
        (void)ud;
        (void)start;
        return false;
}

static bool always(void *ud, char *reason, size_t n)
{
        (void)ud;
        (void)reason;
        (void)n;
        return true;
}

static void no_metrics(void *ud, struct metrics_writer *w)
{
        (void)ud;
        (void)w;
}

static void end_tickets(const char *text)
{
        char id[24];
        struct ticket t = { .done = true };

        if (sscanf(text, "%23s %31s %23s %23s %255[^\n]", id, t.result, t.from, t.to, t.reason) < 4)
                exit(1);
        for (size_t i = 0; i < world->n; i++) {
                struct ticket *one = &world->tickets[i];

                if (one->done || (strcmp(id, "*") != 0 && strtoull(id, NULL, 10) != one->id))
                        continue;
                t.id = one->id;
                memcpy(t.kind, one->kind, sizeof(t.kind));
                *one = t;
        }
        control_changed(control);
}

static void obey(struct ev_loop *loop, const char *line)
{
        if (strncmp(line, "end ", 4) == 0)
                end_tickets(line + 4);
        else if (strncmp(line, "refuse", 6) == 0)
                (void)snprintf(world->refuse, sizeof(world->refuse), "%s", line[6] ? line + 7 : "");
        else if (strcmp(line, "die-unstored") == 0)
                world->die_unstored = true;
        else if (strcmp(line, "die-unanswered") == 0)
                world->die_unanswered = true;
        else if (strcmp(line, "forget") == 0)
                world->n = 0;
        else if (strcmp(line, "quit") == 0)
                ev_break(loop, EVBREAK_ALL);
        else if (strcmp(line, "die") != 0)
                exit(1);
        tell("ok\n");
        if (strcmp(line, "die") == 0)
                (void)raise(SIGKILL);
}

/* Byte by byte: what stands behind the line is the next agent's, if this one dies of it. */
static void on_stdin(struct ev_loop *loop, ev_io *w, int revents)
{
        char line[512];
        size_t n = 0;

        (void)w;
        (void)revents;
        while (n < sizeof(line) - 1) {
                if (read(STDIN_FILENO, line + n, 1) != 1)
                        exit(1);
                if (line[n] == '\n')
                        break;
                n++;
        }
        line[n] = '\0';
        obey(loop, line);
}

static int be_agent(int fd)
{
        struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
        struct control_ops ops = { .status = on_status, .sampling = no_sample, .ready = always, .live = always, .command = on_command,
                                   .ticket = on_ticket, .metrics = no_metrics };
        char path[320];
        ev_io in;

        if (!loop || control_new(loop, &ops, &control) != 0 || control_serve(control, fd, CONTROL_PRIVATE) != 0)
                return 1;
        ev_io_init(&in, on_stdin, STDIN_FILENO, EV_READ);
        ev_io_start(loop, &in);
        ev_run(loop, 0);
        control_free(control);
        (void)snprintf(path, sizeof(path), "%s/control.sock", run_dir);
        (void)unlink(path); /* in this order, as at a stop: meanwhile clients still find the socket, and nobody behind it */
        ev_loop_destroy(loop);
        return 0;
}

int main(int argc, char **argv)
{
        char path[320];
        int fd, status;

        if (argc != 2)
                return 2;
        run_dir = argv[1];
        world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        (void)snprintf(path, sizeof(path), "%s/control.sock", run_dir);
        if (world == MAP_FAILED || control_open_unix(path, 0600, &fd) != 0)
                return 1;
        tell("ok\n");
        do {
                pid_t pid = fork();

                if (pid < 0)
                        return 1;
                world->agents += pid == 0;
                if (pid == 0)
                        exit(be_agent(dup(fd)));
                if (waitpid(pid, &status, 0) < 0)
                        return 1;
        } while (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
