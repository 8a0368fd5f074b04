/* SPDX-License-Identifier: MIT */
/* PURE. protobuf-c structs <-> struct hr_message. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hot_restart.pb-c.h"
#include "hotrestart/hotrestart.h"

const char *hr_type_name(enum hr_type t)
{
        static const char *const names[] = {
                [HR_PASS_LISTEN_SOCKET] = "PassListenSocket",
                [HR_SHUTDOWN_ADMIN] = "ShutdownAdmin",
                [HR_STATS] = "Stats",
                [HR_DRAIN_LISTENERS] = "DrainListeners",
                [HR_TERMINATE] = "Terminate",
                [HR_FORWARDED_UDP] = "ForwardedUdpPacket",
                [HR_TEST_CONNECTION] = "TestConnection",
                [HR_UNKNOWN_REQUEST] = "unknown request",
                [HR_REPLY_PASS] = "PassListenSocket reply",
                [HR_REPLY_SHUTDOWN_ADMIN] = "ShutdownAdmin reply",
                [HR_REPLY_STATS] = "Stats reply",
                [HR_REPLY_UNRECOGNIZED] = "did-not-recognize reply",
                [HR_UNKNOWN_REPLY] = "unknown reply",
                [HR_EMPTY] = "empty message",
        };

        return (size_t)t < sizeof(names) / sizeof(names[0]) ? names[t] : "?";
}

static int pack(const HrWire__HotRestartMessage *m, uint8_t *buf, size_t size, size_t *ret_bytes)
{
        size_t n = hr_wire__hot_restart_message__get_packed_size(m);

        if (n + HR_HEADER_BYTES > size || n + HR_HEADER_BYTES > HR_DATAGRAM_BYTES)
                return -ENOBUFS;
        for (int i = 0; i < HR_HEADER_BYTES; i++)
                buf[i] = (uint8_t)((uint64_t)n >> (8 * (HR_HEADER_BYTES - 1 - i)));
        (void)hr_wire__hot_restart_message__pack(m, buf + HR_HEADER_BYTES);
        *ret_bytes = n + HR_HEADER_BYTES;
        return 0;
}

/* Return: false for a text without an end. */
static bool give_text(const char *text, size_t size, ProtobufCBinaryData *ret)
{
        *ret = (ProtobufCBinaryData){ strnlen(text, size), (uint8_t *)text };
        return ret->len < size;
}

static int pack_request(const struct hr_message *m, uint8_t *buf, size_t size, size_t *ret_bytes)
{
        HrWire__HotRestartMessage out = HR_WIRE__HOT_RESTART_MESSAGE__INIT;
        HrWire__Request request = HR_WIRE__REQUEST__INIT;
        HrWire__Request__PassListenSocket pass = HR_WIRE__REQUEST__PASS_LISTEN_SOCKET__INIT;
        HrWire__Request__ShutdownAdmin admin = HR_WIRE__REQUEST__SHUTDOWN_ADMIN__INIT;
        HrWire__Request__Stats stats = HR_WIRE__REQUEST__STATS__INIT;
        HrWire__Request__DrainListeners drain = HR_WIRE__REQUEST__DRAIN_LISTENERS__INIT;
        HrWire__Request__Terminate terminate = HR_WIRE__REQUEST__TERMINATE__INIT;
        HrWire__Request__TestConnection test = HR_WIRE__REQUEST__TEST_CONNECTION__INIT;

        out.requestreply_case = HR_WIRE__HOT_RESTART_MESSAGE__REQUESTREPLY_REQUEST;
        out.request = &request;
        if (m->type == HR_PASS_LISTEN_SOCKET) {
                if (!give_text(m->key.url, sizeof(m->key.url), &pass.address) ||
                    !give_text(m->key.netns, sizeof(m->key.netns), &pass.network_namespace))
                        return -EINVAL;
                pass.worker_index = m->key.worker;
                request.request_case = HR_WIRE__REQUEST__REQUEST_PASS_LISTEN_SOCKET;
                request.pass_listen_socket = &pass;
        } else if (m->type == HR_SHUTDOWN_ADMIN) {
                request.request_case = HR_WIRE__REQUEST__REQUEST_SHUTDOWN_ADMIN;
                request.shutdown_admin = &admin;
        } else if (m->type == HR_STATS) {
                request.request_case = HR_WIRE__REQUEST__REQUEST_STATS;
                request.stats = &stats;
        } else if (m->type == HR_DRAIN_LISTENERS) {
                request.request_case = HR_WIRE__REQUEST__REQUEST_DRAIN_LISTENERS;
                request.drain_listeners = &drain;
        } else if (m->type == HR_TERMINATE) {
                request.request_case = HR_WIRE__REQUEST__REQUEST_TERMINATE;
                request.terminate = &terminate;
        } else if (m->type == HR_TEST_CONNECTION) {
                request.request_case = HR_WIRE__REQUEST__REQUEST_TEST_CONNECTION;
                request.test_connection = &test;
        } else {
                return -EINVAL;
        }
        return pack(&out, buf, size, ret_bytes);
}

static int pack_reply(const struct hr_message *m, uint8_t *buf, size_t size, size_t *ret_bytes)
{
        HrWire__HotRestartMessage out = HR_WIRE__HOT_RESTART_MESSAGE__INIT;
        HrWire__Reply reply = HR_WIRE__REPLY__INIT;
        HrWire__Reply__PassListenSocket pass = HR_WIRE__REPLY__PASS_LISTEN_SOCKET__INIT;
        HrWire__Reply__ShutdownAdmin admin = HR_WIRE__REPLY__SHUTDOWN_ADMIN__INIT;
        HrWire__Reply__Stats stats = HR_WIRE__REPLY__STATS__INIT;

        out.requestreply_case = HR_WIRE__HOT_RESTART_MESSAGE__REQUESTREPLY_REPLY;
        out.reply = &reply;
        if (m->type == HR_REPLY_PASS) {
                pass.fd = m->fd;
                reply.reply_case = HR_WIRE__REPLY__REPLY_PASS_LISTEN_SOCKET;
                reply.pass_listen_socket = &pass;
        } else if (m->type == HR_REPLY_SHUTDOWN_ADMIN) {
                admin.original_start_time_unix_seconds = m->start_time_unix_s;
                admin.enable_reuse_port_default = m->enable_reuse_port_default;
                reply.reply_case = HR_WIRE__REPLY__REPLY_SHUTDOWN_ADMIN;
                reply.shutdown_admin = &admin;
        } else {
                stats.memory_allocated = m->memory_allocated;
                stats.num_connections = m->num_connections;
                reply.reply_case = HR_WIRE__REPLY__REPLY_STATS;
                reply.stats = &stats;
        }
        return pack(&out, buf, size, ret_bytes);
}

int hr_encode(const struct hr_message *m, uint8_t *buf, size_t size, size_t *ret_bytes)
{
        HrWire__HotRestartMessage out = HR_WIRE__HOT_RESTART_MESSAGE__INIT;

        switch (m->type) {
        case HR_PASS_LISTEN_SOCKET:
        case HR_SHUTDOWN_ADMIN:
        case HR_STATS:
        case HR_DRAIN_LISTENERS:
        case HR_TERMINATE:
        case HR_TEST_CONNECTION:
                return pack_request(m, buf, size, ret_bytes);
        case HR_REPLY_PASS:
        case HR_REPLY_SHUTDOWN_ADMIN:
        case HR_REPLY_STATS:
                return pack_reply(m, buf, size, ret_bytes);
        case HR_REPLY_UNRECOGNIZED:
                out.didnt_recognize_your_last_message = true;
                return pack(&out, buf, size, ret_bytes);
        case HR_EMPTY:
                return pack(&out, buf, size, ret_bytes);
        case HR_FORWARDED_UDP: /* what is in it is not kept, so it cannot be said again */
        case HR_UNKNOWN_REQUEST:
        case HR_UNKNOWN_REPLY:
                return -EINVAL;
        }
        return -EINVAL;
}

static int take_text(const ProtobufCBinaryData *text, char *ret, size_t size)
{
        if (text->len >= size)
                return -EBADMSG;
        for (size_t i = 0; i < text->len; i++)
                if (text->data[i] < 0x20 || text->data[i] == 0x7f)
                        return -EBADMSG;
        if (text->len > 0)
                memcpy(ret, text->data, text->len);
        ret[text->len] = '\0';
        return 0;
}

static int take_request(const HrWire__Request *r, struct hr_message *m)
{
        int e;

        switch (r->request_case) {
        case HR_WIRE__REQUEST__REQUEST_PASS_LISTEN_SOCKET:
                m->type = HR_PASS_LISTEN_SOCKET;
                m->key.worker = r->pass_listen_socket->worker_index;
                e = take_text(&r->pass_listen_socket->address, m->key.url, sizeof(m->key.url));
                return e ? e : take_text(&r->pass_listen_socket->network_namespace, m->key.netns, sizeof(m->key.netns));
        case HR_WIRE__REQUEST__REQUEST_SHUTDOWN_ADMIN:
                m->type = HR_SHUTDOWN_ADMIN;
                return 0;
        case HR_WIRE__REQUEST__REQUEST_STATS:
                m->type = HR_STATS;
                return 0;
        case HR_WIRE__REQUEST__REQUEST_DRAIN_LISTENERS:
                m->type = HR_DRAIN_LISTENERS;
                return 0;
        case HR_WIRE__REQUEST__REQUEST_TERMINATE:
                m->type = HR_TERMINATE;
                return 0;
        case HR_WIRE__REQUEST__REQUEST_FORWARDED_UDP_PACKET:
                m->type = HR_FORWARDED_UDP;
                return 0;
        case HR_WIRE__REQUEST__REQUEST_TEST_CONNECTION:
                m->type = HR_TEST_CONNECTION;
                return 0;
        case HR_WIRE__REQUEST__REQUEST__NOT_SET:
        case _HR_WIRE__REQUEST__REQUEST__CASE_IS_INT_SIZE:
                break;
        }
        m->type = HR_UNKNOWN_REQUEST;
        return 0;
}

static int take_reply(const HrWire__Reply *r, struct hr_message *m)
{
        switch (r->reply_case) {
        case HR_WIRE__REPLY__REPLY_PASS_LISTEN_SOCKET:
                m->type = HR_REPLY_PASS;
                m->fd = r->pass_listen_socket->fd;
                return 0;
        case HR_WIRE__REPLY__REPLY_SHUTDOWN_ADMIN:
                m->type = HR_REPLY_SHUTDOWN_ADMIN;
                m->start_time_unix_s = r->shutdown_admin->original_start_time_unix_seconds;
                m->enable_reuse_port_default = r->shutdown_admin->enable_reuse_port_default;
                return 0;
        case HR_WIRE__REPLY__REPLY_STATS:
                m->type = HR_REPLY_STATS;
                m->memory_allocated = r->stats->memory_allocated;
                m->num_connections = r->stats->num_connections;
                return 0;
        case HR_WIRE__REPLY__REPLY__NOT_SET:
        case _HR_WIRE__REPLY__REPLY__CASE_IS_INT_SIZE:
                break;
        }
        m->type = HR_UNKNOWN_REPLY;
        return 0;
}

/* protobuf-c says NULL for "no memory" as for "no message". To take the one for the other would drop a good request. */
struct memory {
        bool exhausted;
};

static void *memory_alloc(void *data, size_t n)
{
        struct memory *memory = data;
        void *p = malloc(n);

        if (!p)
                memory->exhausted = true;
        return p;
}

static void memory_free(void *data, void *p)
{
        (void)data;
        free(p);
}

int hr_decode(const uint8_t *bytes, size_t n, struct hr_message *ret)
{
        struct memory memory = { false };
        ProtobufCAllocator allocator = { .alloc = memory_alloc, .free = memory_free, .allocator_data = &memory };
        HrWire__HotRestartMessage *in;
        struct hr_message m = { .type = HR_EMPTY, .fd = -1 };
        int r = 0;

        if (n == 0) {
                *ret = m;
                return 0;
        }
        in = hr_wire__hot_restart_message__unpack(&allocator, n, bytes);
        if (!in)
                return memory.exhausted ? -ENOMEM : -EBADMSG;
        if (in->requestreply_case == HR_WIRE__HOT_RESTART_MESSAGE__REQUESTREPLY_REQUEST)
                r = take_request(in->request, &m);
        else if (in->requestreply_case == HR_WIRE__HOT_RESTART_MESSAGE__REQUESTREPLY_REPLY)
                r = take_reply(in->reply, &m);
        else
                m.type = in->didnt_recognize_your_last_message ? HR_REPLY_UNRECOGNIZED : HR_UNKNOWN_REQUEST;
        hr_wire__hot_restart_message__free_unpacked(in, &allocator);
        if (r == 0)
                *ret = m;
        return r;
}
