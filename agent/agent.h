/* SPDX-License-Identifier: MIT */
/*
 * What the files of the agent's shell share: the loop and everything that hangs on it. Private to agent/.
 *
 * The one road: callbacks do nothing but give what happened a name and hand it to agent_feed(). There the clock is read, once,
 * succession_step() decides, what it decided is stored, and then it is done. What comes of that at once (the number of a
 * process, a failure) waits in a queue for its own turn.
 */
#pragma once

#include <ev.h>
#include <sys/stat.h>

#include "agent/admin.h"
#include "agent/admin_front.h"
#include "agent/admin_plan.h"
#include "agent/bootstrap.h"
#include "agent/cert_sets.h"
#include "agent/control.h"
#include "agent/helper.h"
#include "agent/keeper/wire.h"
#include "agent/keeper_link.h"
#include "agent/held_name.h"
#include "agent/key_name.h"
#include "agent/kit.h"
#include "agent/options.h"
#include "agent/proxy_args.h"
#include "agent/self.h"
#include "agent/state.h"
#include "agent/succession.h"
#include "agent/watch_content.h"
#include "agent/watching.h"
#include "hotrestart/hotrestart.h"

struct agent;
struct command;
struct look_run;
struct probe;

enum { COMMANDS_MAX = GENERATIONS_MAX + RUNS_MAX + 2 };

enum preflight_state { PREFLIGHT_NOT, PREFLIGHT_VERSION, PREFLIGHT_VALIDATE };

struct preflight {
        enum preflight_state state;
        uint64_t epoch;
        struct helper run;
        bool known_version;       /* the binary `known` speaks what we speak */
        struct stat known, asked;
        char verdict[REASON_BYTES];
};

/* What the bootstrap of one content says of its listeners. */
struct content_facts {
        bool known;
        uint64_t origin;
        struct bootstrap b;
};

/* What we hold of one generation: its process, the sockets of the protocol, what is being asked. */
struct proc {
        struct agent *agent;
        bool used;
        uint64_t epoch;
        uint64_t base_id;
        int pid;
        int pidfd;
        int parent_fd, child_fd, udp_fd; /* -1: none */
        struct stat binary;   /* the executable as it was when it was pinned; all 0: there was none */
        int binary_fd;        /* O_PATH: the executable as it was when its content was taken from disk; -1: none */
        int notify_fd;        /* of a proxy without the protocol: where it says READY=1; -1: none */
        ev_io parent_io, child_io, udp_io, notify_io;
        struct probe *probe;  /* under way, or NULL; see readiness.h */
        ev_timer udp_room;    /* runs while the one that serves has no room for a packet; then udp_io does not */
        unsigned udp_waits;   /* how often it ran in a row */
        ev_timer reply_again; /* runs while an answer could not be sent: the proxy waits for it, and asks for nothing else */
        enum owed_kind reply;
        uint32_t reply_key;
        struct sockaddr_un replies_to; /* the child-role name of the proxy */
        struct sockaddr_un packets_to; /* where it takes UDP packets that its predecessors forward */
        struct hr_child child;
        bool child_used;      /* we have asked; else the queue may hold answers to an agent before us */
        bool drain_owed;      /* DrainListeners could not be sent yet */
        struct look_run *look;
        bool look_again;      /* asked for while one is under way */
        char version[64];     /* as its admin says; "" until it has said it */
        char *listeners;      /* last answer of /listeners */
        size_t listeners_bytes;
        struct admin_request *sampling, *watching, *ordering, *asking;
        const char *order_owed; /* POST to the admin that has not been answered with 200; NULL: none. A literal */
        bool order_failed;    /* and that was said */
        struct mono sampled;  /* when the last sample was begun */
};

/* What every generation without the protocol inherits, in this order. */
struct passed {
        size_t n;
        char held[LAUNCH_LISTEN_MAX][WIRE_NAME_BYTES]; /* what the keeper calls it */
        char name[LAUNCH_LISTEN_MAX][WIRE_NAME_BYTES]; /* in LISTEN_FDNAMES */
        const char *held_list[LAUNCH_LISTEN_MAX], *name_list[LAUNCH_LISTEN_MAX];
};

enum { ADMIN_PLACES_MAX = 4 };

/* Where the front of the proxy's admin listens; see admin_listen.h. */
struct admin_listener {
        size_t n; /* the first place is the one; others are about to be left */
        struct admin_place {
                int fd; /* the server's */
                char name[ADMIN_NAME_BYTES];       /* in the keeper's table */
                char address[ADMIN_ADDRESS_BYTES]; /* as it is, be it chosen by the kernel */
        } places[ADMIN_PLACES_MAX];
        size_t n_waiting; /* held already, and not served yet: the server may not be there */
        struct admin_place waiting[ADMIN_PLACES_MAX];
        ev_prepare prepare;
        bool opened;            /* by this agent, before it could serve it */
        bool followed, failed;  /* once; the last time */
        uint64_t epoch, origin; /* whose content was followed */
};

/* The listeners of control and status: they are the keeper's, and served by us. */
struct doors {
        size_t n, open; /* those before `open` are served */
        bool failed;    /* and it was said */
        struct door {
                int fd;
                enum control_kind kind;
        } list[1 + OPTIONS_STATUS_MAX];
};

struct agent {
        struct ev_loop *loop;
        const struct options *options;
        struct proxy_args args;
        struct kit_maker kits;
        struct passed passed;
        char run_dir[256];
        struct wire_facts keeper;
        struct keeper_link *link;
        bool alone;                  /* at its start the keeper knew of no job: nothing is lost if all ends */
        struct state_file *state;
        struct admin *admin;
        struct front *front;
        struct admin_listener admin_listener;
        struct control *control;
        struct doors doors;
        struct self self;
        struct succession_limits limits;
        struct succession s;
        struct proc procs[GENERATIONS_MAX];
        int sockets[KEYS_MAX];       /* by the escrow's index; -1 */
        int looked[KEYS_MAX];        /* what the look under judgement brought; -1 */
        struct content_facts facts[2]; /* of what serves, and of what is on trial */
        struct command *commands[COMMANDS_MAX]; /* see commands.h */
        uint64_t jobs;               /* helper runs so far */
        struct helper validate;
        uint64_t validate_epoch;
        struct preflight preflight;
        bool feeding;
        struct succession_input queue[128];
        size_t queued;
        ev_io keeper_io;
        ev_prepare keeper_news;
        ev_timer clock;
        ev_timer heartbeat;
        struct watching watching;
        struct cert_sets certs;
        char kept[PATH_MAX];         /* the config that --state-dir keeps; "": it keeps none */
        bool keep_failed;            /* and that was said */
        struct content_wait content;
        int64_t unix_start_s;        /* told to every proxy as the original start */
        struct mono started;
        char kit_error[512]; /* why the last kit could not be made, or the last launch */
        char last_reason[640];
        char rejected[512];          /* the proxy's own words */
};

/* agent.c */
void agent_feed(struct agent *a, const struct succession_input *in); /* NULL: only what is queued */
void agent_queue(struct agent *a, struct succession_input in);       /* from within an effect; no pointers in it */
void agent_perform(struct agent *a, struct effects *out);            /* stores first */
void agent_arm(struct agent *a);
void agent_watch(struct agent *a);
void agent_exited(struct agent *a, const struct wire_job *job);
_Noreturn void agent_keeper_is_gone(struct agent *a, int error);     /* or only the way to it: the next agent goes on */
struct proc *agent_proc(struct agent *a, uint64_t epoch); /* or NULL */
const struct proxy_args *agent_args(const struct agent *a, uint64_t epoch); /* the command line that an epoch runs */
void agent_bootstrap(const struct agent *a, uint64_t epoch, struct bootstrap *ret);                 /* what its config says; never fails */
struct kit_maker agent_maker(const struct agent *a, uint64_t epoch);        /* for the kit of an epoch */

/* perform.c */
void perform(struct agent *a, const struct effect *fx); /* may be done again; what comes of it at once is queued */

/* broker.c: the protocol with one generation */
void proc_open(struct agent *a, uint64_t epoch, uint64_t base_id, int parent_fd, int child_fd, int udp_fd);
void proc_close(struct proc *p);
void proc_listen(struct proc *p); /* start reading its requests */
void proc_take(struct proc *p);
void proc_reply(struct proc *p, enum owed_kind kind, uint32_t key);
void proc_drain_listeners(struct proc *p);
bool proc_waits_for_reply(const struct proc *p);
bool proc_hangs(const struct proc *p); /* waits for a reply for a second on end; blocks for as long */

/* look.c: one look at a generation: harvest and admin facts; watching /listeners; samples */
void look_start(struct proc *p);
void look_abort(struct proc *p);
const struct bootstrap *look_content(struct agent *a, const struct epoch *e); /* what the content of an epoch says; read once for each */
void look_read(struct proc *p); /* replies may have come */
void look_watch_listeners(struct proc *p);
void look_sample(struct proc *p);
void look_order(struct proc *p, const char *path); /* POST, again with each sample until the admin says 200; @path is a literal */

/* start.c */
void start_control(struct agent *a); /* opens the doors that are not open yet: control socket and status listeners */
void start_clean(struct agent *a); /* nobody runs any more: remove what only a living instance needs */

/* orders.c: what clients want done */
int orders_command(void *userdata, enum control_command c, const struct control_order *o, char *detail, size_t n);
enum control_ticket orders_ticket(void *userdata, uint64_t id, struct json_writer *w);
void orders_upgrade(struct agent *a); /* SIGHUP: as if somebody had asked who does not wait for the answer */

/* status.c */
void status_write(void *userdata, bool own, struct json_writer *w);
bool status_sampling(void *userdata, bool start);
bool status_ready(void *userdata, char *reason, size_t n);
bool status_live(void *userdata, char *reason, size_t n);
void status_metrics(void *userdata, struct metrics_writer *w);
