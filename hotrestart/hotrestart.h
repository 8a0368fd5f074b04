/* SPDX-License-Identifier: MIT */
/*
 * libhotrestart: both ends of Envoy's hot restart protocol, for a process that is not Envoy.
 *
 * The library posts and reads datagrams, opens and harvests listen sockets and lays out Envoy's shared
 * memory page. It never blocks unless a function says so, never logs, starts no thread, keeps no global state,
 * and knows neither an event loop nor who uses it. Facts about the protocol are from docs/protocol.md, those about the kernel's
 * groups of sockets from docs/steering.md.
 *
 * Errors: 0 is success; a negative value is -errno, to be passed on unchanged; a positive value is an answer
 * documented at the function that gives it. Results go to ret_* and are written on success only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- names: pure ------------------------------------------------------------------------------------ */

/* Above this base id Envoy's 32-bit arithmetic differs between sockets and segment (protocol.md, names). */
#define HR_BASE_ID_MAX UINT64_C(214748364)

/* Longest `--socket-path`, so that every name fits into sun_path whatever the base id. */
#define HR_PATH_MAX 85

enum hr_role {
        HR_ROLE_PARENT,     /* requests to this Envoy arrive here */
        HR_ROLE_CHILD,      /* replies to this Envoy arrive here */
        HR_ROLE_UDP_PARENT, /* bound by Envoy, never addressed */
        HR_ROLE_UDP_CHILD,  /* forwarded UDP packets arrive here */
};

/* Two Envoys whose epochs differ by a multiple of three have the same names. */
static inline unsigned hr_index(uint64_t restart_epoch)
{
        return (unsigned)(restart_epoch % 3);
}

/**
 * hr_name() - the address of one end
 * @path:      Envoy's --socket-path; a leading '@' means the abstract namespace
 * @base_id:   at most HR_BASE_ID_MAX
 * @index:     hr_index() of the --restart-epoch of the Envoy that owns the role
 * @role:      which of the four sockets
 * @ret_addr:  zero-padded; always pass it with its full size, as Envoy does
 *
 * Return: 0; -EINVAL for a base id out of range; -ENAMETOOLONG.
 */
int hr_name(const char *path, uint64_t base_id, unsigned index, enum hr_role role, struct sockaddr_un *ret_addr);

enum { HR_SEGMENT_NAME_BYTES = 40 };

/**
 * hr_segment_name() - the name for shm_open() of the page that belongs to a base id
 * @base_id:         at most HR_BASE_ID_MAX
 * @ret_name, @size: HR_SEGMENT_NAME_BYTES are always enough; ends in a NUL
 *
 * Return: 0; -EINVAL for a base id out of range; -ENAMETOOLONG: @size is too small, what @ret_name holds is of no use.
 */
int hr_segment_name(uint64_t base_id, char *ret_name, size_t size);

/* ---- keys: pure ------------------------------------------------------------------------------------- */

enum { HR_URL_BYTES = 136, HR_NETNS_BYTES = 160 };

/*
 * What names one listen socket: the address text exactly as Envoy sent it, the network namespace that newer
 * Envoys name ("" = the default one), and the worker.
 */
struct hr_key {
        uint32_t worker;
        char url[HR_URL_BYTES];
        char netns[HR_NETNS_BYTES];
};

bool hr_key_equal(const struct hr_key *a, const struct hr_key *b);
bool hr_key_is_udp(const struct hr_key *k);
bool hr_key_is_unix(const struct hr_key *k);
const char *hr_key_path(const struct hr_key *k); /* of a Unix socket that has one; else NULL: another kind, or an abstract name */
/* Ends in port 0: the kernel chooses, so nobody can ask for it by this text again. */
bool hr_key_is_ephemeral(const struct hr_key *k);

int hr_key_tcp_port(const struct hr_key *k); /* -1: it is not TCP, or no address */

/**
 * hr_key_address() - parse the text of a key into a socket address
 *
 * Only what Envoy itself writes is understood: tcp:// and udp:// with an IPv4 or bracketed IPv6 address (a numeric
 * scope allowed) and a port, unix:// with a path or an abstract name ('@' in front).
 * @ret_addr, @ret_len:  as bind(2) wants them; an abstract name has exactly its own length
 * @ret_type:            SOCK_DGRAM for udp://, else SOCK_STREAM
 *
 * The network namespace of the key is not looked at.
 * Return: 0; -EINVAL.
 */
int hr_key_address(const struct hr_key *k, struct sockaddr_storage *ret_addr, socklen_t *ret_len, int *ret_type);

/* ---- messages: pure --------------------------------------------------------------------------------- */

enum { HR_DATAGRAM_BYTES = 4096, HR_HEADER_BYTES = 8, HR_MESSAGE_BYTES_MAX = 64 * 1024 * 1024 };

enum hr_type {
        HR_PASS_LISTEN_SOCKET,
        HR_SHUTDOWN_ADMIN,
        HR_STATS,
        HR_DRAIN_LISTENERS,
        HR_TERMINATE,
        HR_FORWARDED_UDP,
        HR_TEST_CONNECTION,
        HR_UNKNOWN_REQUEST, /* an empty request or one with a number we do not know */
        HR_REPLY_PASS,
        HR_REPLY_SHUTDOWN_ADMIN,
        HR_REPLY_STATS,
        HR_REPLY_UNRECOGNIZED, /* "18 01" */
        HR_UNKNOWN_REPLY,
        HR_EMPTY, /* the length prefix says 0: answered with HR_REPLY_UNRECOGNIZED, so it can be used as a marker */
};

const char *hr_type_name(enum hr_type t); /* "PassListenSocket"... */

struct hr_message {
        enum hr_type type;
        struct hr_key key;               /* HR_PASS_LISTEN_SOCKET */
        int32_t fd;                      /* HR_REPLY_PASS: the number in the message, -1 = nothing */
        uint64_t start_time_unix_s;      /* HR_REPLY_SHUTDOWN_ADMIN */
        bool enable_reuse_port_default;  /* HR_REPLY_SHUTDOWN_ADMIN */
        uint64_t memory_allocated;       /* HR_REPLY_STATS */
        uint64_t num_connections;        /* HR_REPLY_STATS */
};

/**
 * hr_encode() - one message with its length prefix
 * @buf, @size:  at least HR_DATAGRAM_BYTES; every message this library sends fits into one datagram
 * @ret_bytes:   how much of @buf is used
 *
 * Return: 0; -EINVAL for a message that cannot be sent (a text too long, HR_UNKNOWN_*); -ENOBUFS.
 */
int hr_encode(const struct hr_message *m, uint8_t *buf, size_t size, size_t *ret_bytes);

/**
 * hr_decode() - one whole message, without its length prefix
 *
 * Unknown fields are skipped. Texts that do not fit struct hr_key, hold a NUL or a control character are refused.
 * Return: 0; -EBADMSG for bytes that are no message; -ENOMEM.
 */
int hr_decode(const uint8_t *bytes, size_t n, struct hr_message *ret);

/* What a parent owes its child for one message. The numbers are kept by those who store them: add, never move. */
enum hr_owes {
        HR_OWES_NOTHING,        /* and an answer all the same would be taken for the answer to the next question */
        HR_OWES_SHUTDOWN_ADMIN, /* HR_REPLY_SHUTDOWN_ADMIN */
        HR_OWES_PASS,           /* HR_REPLY_PASS: a socket, or an explicit -1 */
        HR_OWES_STATS,          /* HR_REPLY_STATS */
        HR_OWES_UNRECOGNIZED,   /* HR_REPLY_UNRECOGNIZED */
};

/**
 * hr_parent_owes() - the answer to one message that came in at the parent role
 *
 * Exactly one reply is owed for each message that does not give HR_OWES_NOTHING, in the order of the messages: the child
 * blocks without a limit until it has come.
 */
enum hr_owes hr_parent_owes(enum hr_type request);

/*
 * Puts datagrams together to messages. Envoy cuts what is longer than 4096 bytes; a message always starts a
 * datagram. Feeding never fails for good: after -EBADMSG the next datagram starts a new message.
 */
struct hr_frame {
        uint64_t want; /* bytes of the message under way, without header; 0 with have == 0: none */
        size_t have;
        uint8_t *bytes;
        size_t room;
};

#define HR_FRAME_NULL ((struct hr_frame){ 0 })
enum { HR_FRAME_MORE = 1 };

/**
 * hr_frame_feed() - take one datagram
 * Return: 0: @ret_bytes and @ret_n are one whole message (may be 0 bytes), valid until the next call;
 *         HR_FRAME_MORE: the message goes on in the next datagram;
 *         -EBADMSG: garbage, dropped; -ENOMEM.
 */
int hr_frame_feed(struct hr_frame *f, const uint8_t *datagram, size_t n, const uint8_t **ret_bytes, size_t *ret_n);
void hr_frame_done(struct hr_frame *f);

/* ---- sockets of the protocol ------------------------------------------------------------------------ */

/**
 * hr_bind() - a datagram socket bound to one of the names
 * @addr:   from hr_name()
 * @mode:   for a path: the file's mode (fchmod before bind; the caller's umask applies, so call with umask 0)
 * @ret_fd: non-blocking, close-on-exec; the caller owns it, and the file of a path: nothing here unlinks it later
 *
 * A socket file that lies under the path is unlinked first, as Envoy does, even if somebody is bound to it: whoever that is
 * hears nothing from then on. Any other kind of file is left alone.
 *
 * Return: 0; -EADDRINUSE: an abstract name that is bound, or a path at which something lies that is no socket; -errno.
 */
int hr_bind(const struct sockaddr_un *addr, unsigned mode, int *ret_fd);

enum { HR_NOTHING = 1, HR_GARBAGE = 2, HR_WOULD_BLOCK = 3, HR_NO_PEER = 4 };

/**
 * hr_peek() - look at the next request without taking it from the queue
 * @fd:        the socket that plays the parent
 * @ret:       the request
 * @ret_peer:  where to answer (Envoy's bound child-role name)
 *
 * A request always fits into one datagram. Taking it is hr_take(), so that the caller can store what it is about to
 * do first. Descriptors that come along are closed.
 * Return: 0; HR_NOTHING; HR_GARBAGE: the datagram was no request and has been dropped: go on; -errno.
 */
int hr_peek(int fd, struct hr_message *ret, struct sockaddr_un *ret_peer);

/** hr_take() - drop the request that hr_peek() showed. Return: 0; HR_NOTHING; -errno */
int hr_take(int fd);

/**
 * hr_send() - send one message, with at most one descriptor
 * @fd:       a bound socket of ours
 * @peer:     from hr_name() or hr_peek()
 * @pass_fd:  with HR_REPLY_PASS: the descriptor to pass, and then m->fd must be >= 0; else -1
 *
 * Never blocks. Return: 0; HR_WOULD_BLOCK: the peer's queue is full, or the kernel out of something: try again; HR_NO_PEER: nobody
 * is bound there (ECONNREFUSED, ENOENT); -errno.
 */
int hr_send(int fd, const struct sockaddr_un *peer, const struct hr_message *m, int pass_fd);

/**
 * hr_relay() - pass one datagram on as it is: a UDP packet that a draining Envoy forwards to its successor
 * @fd:    bound to the HR_ROLE_UDP_CHILD name that the draining one sends to
 * @peer:  the HR_ROLE_UDP_CHILD name of the Envoy that serves now
 *
 * Never blocks. Descriptors that come along are closed. A datagram that nobody takes is dropped, as the network would: nothing
 * is owed for it. Return: 0; HR_NOTHING: none is there; HR_WOULD_BLOCK: no room at @peer, it is left where it was: try again, or
 * hr_take(); HR_NO_PEER: dropped; -errno: dropped.
 */
int hr_relay(int fd, const struct sockaddr_un *peer);

/*
 * The child role: asks a running Envoy as its successor would. Rules that keep it alive (protocol.md, harvest):
 * our name is bound before anything is asked, addresses are only text that Envoy itself sent, every reply is read.
 */
struct hr_child {
        int fd;                   /* bound to the child-role name of the successor; owned by the caller */
        struct sockaddr_un envoy; /* its parent-role name */
        struct hr_frame frame;
        unsigned outstanding;     /* requests sent and not yet answered */
        bool syncing;             /* a marker is under way: replies before its answer are from another life */
        bool shifted;             /* a reply of the Envoy's could not be read: sync before the next question */
};

enum { HR_OUTSTANDING_MAX = 8 };

/**
 * hr_child_init() - nothing is asked or outstanding yet
 * @fd:     from hr_bind(); stays the caller's, who closes it after hr_child_done()
 * @envoy:  from hr_name(), HR_ROLE_PARENT; is copied
 */
void hr_child_init(struct hr_child *c, int fd, const struct sockaddr_un *envoy);
void hr_child_done(struct hr_child *c); /* frees what it holds; closes nothing */

/**
 * hr_child_sync() - send the empty message, so that replies meant for a predecessor of ours can be told apart
 *
 * What lies in the queue is dropped first. Until the answer has been read, hr_child_read() drops what arrives and closes
 * its descriptors.
 * Return: 0; HR_WOULD_BLOCK; HR_NO_PEER; -errno.
 */
int hr_child_sync(struct hr_child *c);

/**
 * hr_child_ask() - ask for one listen socket, or give an order (HR_DRAIN_LISTENERS, HR_TERMINATE, HR_STATS)
 *
 * Return: 0; HR_WOULD_BLOCK: also when HR_OUTSTANDING_MAX requests are not answered yet, or a sync is under way;
 *         HR_NO_PEER; -EINVAL: an address that Envoy would not survive; -errno.
 */
int hr_child_ask(struct hr_child *c, const struct hr_message *m);

/**
 * hr_child_read() - one reply
 * @ret:     the reply; replies come in the order of the requests
 * @ret_fd:  for HR_REPLY_PASS the passed socket (close-on-exec), the caller owns it; else -1
 *
 * The answer to a sync is not returned; c->syncing turns false. What does not come from the Envoy's own socket is HR_GARBAGE.
 *
 * After HR_GARBAGE or an error a reply may be lost, and which one cannot be told: c->shifted turns true then, and the next reply
 * may belong to a later request than the caller thinks. Call hr_child_sync() and ask again before an order is trusted.
 *
 * Return: 0; HR_NOTHING: nothing to read now; HR_GARBAGE: dropped; -errno.
 */
int hr_child_read(struct hr_child *c, struct hr_message *ret, int *ret_fd);

/* ---- Envoy's shared memory page --------------------------------------------------------------------- */

/*
 * What an Envoy expects of the page. Both fields are in what `envoy --hot-restart-version` prints, such as "11.104": a caller
 * that is to serve Envoys which it does not know runs that and parses it. An Envoy of another layout ends itself when it
 * attaches to the page. baton asks nobody and takes HR_SEGMENT_DEFAULT, which every Envoy that it supports has.
 */
struct hr_segment_layout {
        uint64_t version;
        uint64_t bytes;
};

enum { HR_SEGMENT_BYTES_X86_64 = 104, HR_SEGMENT_BYTES_AARCH64 = 120 };

#if defined(__aarch64__)
#define HR_SEGMENT_DEFAULT ((struct hr_segment_layout){ 11, HR_SEGMENT_BYTES_AARCH64 })
#else
#define HR_SEGMENT_DEFAULT ((struct hr_segment_layout){ 11, HR_SEGMENT_BYTES_X86_64 })
#endif

/* Return: 0; -EINVAL for text that is not "N.M", or names a size whose layout we do not know. */
int hr_segment_layout_parse(const char *text, struct hr_segment_layout *ret);

/**
 * hr_segment_create() - make the page of a base id, exclusively: this reserves the base id
 * @uid, @gid:  who Envoy will run as; mode 0600
 *
 * Return: 0; -EEXIST: this base id is taken, try another; -errno.
 */
int hr_segment_create(uint64_t base_id, const struct hr_segment_layout *layout, uid_t uid, gid_t gid);

enum { HR_SEGMENT_BUSY = 1 };

/**
 * hr_segment_begin() - set the flag, as an Envoy does that starts
 *
 * Return: 0; HR_SEGMENT_BUSY: it was set already, so somebody starts or died while it did: the page is as it was;
 *         -ENOENT; -EINVAL: the page is not of @layout; -errno.
 */
int hr_segment_begin(uint64_t base_id, const struct hr_segment_layout *layout);

/** hr_segment_initializing() - Return: 1 while the flag is set, 0 when it is clear; -errno (also -ENOENT) */
int hr_segment_initializing(uint64_t base_id);

/** hr_segment_clear() - clear the flag. Only while no Envoy of this base id is starting. Return: 0; -errno */
int hr_segment_clear(uint64_t base_id);

/** hr_segment_remove() - Return: 0, also if there is none; -errno */
int hr_segment_remove(uint64_t base_id);

/* ---- listen sockets --------------------------------------------------------------------------------- */

/**
 * hr_listener_open() - socket, SO_REUSEADDR, SO_REUSEPORT if asked, bind, listen
 * @key:         the address; the worker is not looked at
 * @reuse_port:  several sockets may be bound to the address, TCP and UDP alike; to be false for unix://, where kernels refuse
 *               or ignore it
 * @backlog:     as in listen(2); without a meaning for udp://, which is bound and no more
 * @ret_fd:      the caller owns it; non-blocking and close-on-exec from birth
 *
 * A Unix path is not unlinked, neither before nor later: one at which something lies is -EADDRINUSE. An IPv6 socket is IPv6
 * only, as Envoy's default is.
 *
 * Return: 0; -EADDRINUSE, -EACCES and the like as they come; -EINVAL: hr_key_address() does not understand the key;
 * -EOPNOTSUPP: the key names a network namespace; -errno.
 */
int hr_listener_open(const struct hr_key *key, bool reuse_port, int backlog, int *ret_fd);

/** hr_listener_inode() - what tells two sockets apart. Return: 0; -errno */
int hr_listener_inode(int fd, uint64_t *ret_inode);

/**
 * hr_listener_silence() - new connections are refused at once, whoever holds copies
 * TCP only: there is nothing to refuse with UDP, and a Unix socket could not be revived: both are left as they are.
 * Return: 0; -errno
 */
int hr_listener_silence(int fd);

/**
 * hr_listener_hush() - no new connection begins, whoever holds copies; those whose handshake is under way or done are kept
 *
 * The first packet of a handshake is dropped unanswered, so a client tries again a second later. To be called a moment
 * before hr_listener_silence(), which cuts what waits in the accept queue: the acceptor empties it in between. TCP only.
 * Return: 0; -errno
 */
int hr_listener_hush(int fd);

/**
 * hr_listener_revive() - listen() again, with the greatest backlog, and let connections begin: it was silenced, or hushed
 * One that was bound to port 0 has lost its port by being silenced, and comes back on another. Return: 0; -errno
 */
int hr_listener_revive(int fd);

/** hr_listener_accepts() - Return: 1 if the socket is listening, 0 if not; -errno */
int hr_listener_accepts(int fd);

/**
 * hr_listener_queue() - connections that wait in the accept queue
 * TCP: from TCP_INFO. Unix: from sock_diag. UDP: 0.
 * Return: 0; -errno
 */
int hr_listener_queue(int fd, uint32_t *ret_waiting);

/**
 * hr_listener_drops() - packets that the kernel threw away at this socket since it was opened: a full accept queue, a hushed listener
 * From SO_MEMINFO; the kernel counts in 32 bits. Return: 0; -errno
 */
int hr_listener_drops(int fd, uint32_t *ret_drops);

/* ---- steering: the model and the removal rule, pure -------------------------------------------------- */

/*
 * The TCP sockets with SO_REUSEPORT that listen on one address are a group, and a new connection goes to one of them. The
 * kernel keeps them in an order: listen() puts a socket last, and when one leaves, the last takes its place. It leaves when its
 * last copy is closed, and when it is silenced. A program attached to the group (hr_steer_attach) chooses by place, so who
 * steers needs the order, and the kernel tells nobody: here it is followed. Why it is done so: docs/steering.md.
 */
enum { HR_GROUP_MAX = 256 };

struct hr_group {
        size_t n;
        uint64_t members[HR_GROUP_MAX]; /* inodes, in the kernel's order */
};

/** hr_group_append() - a socket began to listen. Return: 0; -EEXIST: it is a member; -ENOSPC */
int hr_group_append(struct hr_group *g, uint64_t inode);

/** hr_group_find() - Return: the place of a member; HR_GROUP_MAX: it is none */
size_t hr_group_find(const struct hr_group *g, uint64_t inode);

/** hr_group_remove() - the member at a place left: closed everywhere, or silenced. @index is below g->n */
void hr_group_remove(struct hr_group *g, size_t index);

/**
 * hr_group_silenced() - a member was silenced: for the kernel it has left, and hr_group_append() follows when it is revived
 *
 * Return: false; true: it was the last one (or there was none), and what was attached is void: once a socket listens again,
 * attach or detach anew. Until then nobody is steered.
 */
bool hr_group_silenced(struct hr_group *g, uint64_t inode);

/**
 * hr_group_is() - are these the members, in whatever order?
 * To be asked with the answer of hr_steer_members() before a place is trusted. No: somebody else listens there, or the model
 * missed something; then do not steer.
 */
bool hr_group_is(const struct hr_group *g, const uint64_t inodes[], size_t n);

enum { HR_SHARE_ALL = 10000 };

/*
 * Over what new connections are spread: `count` places from `first` on; `share` of HR_SHARE_ALL connections go over the second
 * range instead. Places named by `without` (hr_steer_leave_out) are in neither. Plain bytes without padding: can be stored.
 * Zeroed, with a count: an even spread over the first range.
 */
struct hr_steer {
        uint16_t first, count;
        uint16_t second_first, second_count;
        uint16_t share;
        uint8_t without[HR_GROUP_MAX / 8]; /* one bit a place, the lowest of each byte first */
};

/** hr_steer_leave_out() - @place is below HR_GROUP_MAX */
void hr_steer_leave_out(struct hr_steer *s, size_t place);

/** hr_steer_selects() - can a connection be sent to this place? */
bool hr_steer_selects(const struct hr_steer *s, size_t place);

/**
 * hr_steer_fits() - can it be attached to a group of n members?
 * Not if it reaches past the end, where the kernel takes any member, or if a share that is not 0 would go to no place.
 */
bool hr_steer_fits(const struct hr_steer *s, size_t n);

/* One step: attach `steer`, wait until the leaver's queue is empty, close the leaver (or silence it) at place `index`. */
struct hr_removal {
        struct hr_steer steer;
        size_t index;
};

enum { HR_GROUP_SHARE = 1 };

/**
 * hr_group_plan_removal() - how members leave without a connection being lost
 * @leaves:     g->n flags, by place
 * @ret_steps:  room for as many as leave
 * @ret_n:      0 if nobody leaves
 *
 * The steps are to be taken in this order, each with hr_group_remove() after it. While they are, and between any two of their
 * system calls, nothing selected is a leaver or about to move. Where a keeper is about to move it gets no connection for as
 * long as the step takes. After the last step the program still leaves out who moved last: hr_steer_detach() then.
 *
 * The plan is for the group as it is. If somebody begins to listen meanwhile, the step under way may be ended, with
 * hr_group_append() before its hr_group_remove(); for the rest make a new plan, or who has just come is taken for a keeper.
 * Where one member is left, detach before anybody else begins to listen: what is attached may name the place he will have.
 *
 * Return: 0; HR_GROUP_SHARE: it cannot be done: the only keeper would have to move while other leavers are there. Hand the
 * leavers' sockets to the successor instead; -EINVAL: all leave, and nobody is there to steer to.
 */
int hr_group_plan_removal(const struct hr_group *g, const bool leaves[], struct hr_removal *ret_steps, size_t *ret_n);

/* ---- steering: the kernel --------------------------------------------------------------------------- */

/**
 * hr_steer_attach() - steer new connections of the group of which this socket is a member, in the place of what was attached
 * @fd:  any listening member, whoever has copies of it; no privilege is needed
 *
 * Holds until the next attach, detach, or the end of the group's last member, whatever becomes of the caller and of @fd.
 * It concerns connections that begin later; one that began is where it was sent.
 *
 * Return: 0; -EINVAL: not in a group: no TCP, not listening (silenced, say), or listening without SO_REUSEPORT; -ERANGE: @s
 * does not fit even the largest group; -errno.
 */
int hr_steer_attach(int fd, const struct hr_steer *s);

/** hr_steer_detach() - the kernel's own spread again. Return: 0, also if none is attached; -EINVAL as above; -errno */
int hr_steer_detach(int fd);

/**
 * hr_steer_members() - every TCP socket that listens on the address and port of this one, whoever owns it
 * @fd:          a TCP socket, listening or not
 * @ret_inodes:  room for @max, in no order that means anything; of no use after a failure
 *
 * Looks in the network namespace of the caller, by sock_diag; no privilege is needed. Also counts what the kernel would not
 * put into the same group (another device, another user, IPv6 only or not): it takes connections away all the same. Does not
 * count wider or narrower addresses of the port. While others come and go the answer may be a mixture.
 *
 * Return: 0; -ENOSPC: more than @max; -EAGAIN: changed while it was read; -EAFNOSUPPORT: not an internet socket; -ENOENT,
 * -EPROTONOSUPPORT and the like: this kernel does not tell; -EBADMSG: an answer that cannot be read; -errno.
 */
int hr_steer_members(int fd, uint64_t *ret_inodes, size_t max, size_t *ret_n);

#ifdef __cplusplus
}
#endif
