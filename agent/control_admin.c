/* SPDX-License-Identifier: MIT */
/*
 * Requests for the proxy's admin: at its stable address, where Envoy's own manners hold, and as /v1/admin on the control socket.
 * What would end a generation or its listeners behind our back is done by baton instead; all else goes to admin_front.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/admin_front.h"
#include "agent/cleanup.h"
#include "agent/control_server.h"
#include "agent/escrow.h"

enum { HEADERS_MAX = 64 };

struct control_admin {
        struct front_request *asked;
        size_t n_headers;
        char *headers[HEADERS_MAX + 1];
};

void control_admin_drop(struct control_request *r)
{
        struct control_admin *a = r->admin;

        if (!a)
                return;
        front_drop(a->asked); /* it reads the headers */
        for (size_t i = 0; i < a->n_headers; i++)
                free(a->headers[i]);
        free(a);
        r->admin = NULL;
}

bool control_admin_answered(const struct control_request *r)
{
        return r->control->closing || !r->admin || front_look(r->admin->asked);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

/* Of one connection, and not of what is asked over it. */
static bool hop_by_hop(const char *name, size_t n)
{
        static const char *const names[] = { "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
                                             "trailer", "transfer-encoding", "upgrade", "content-length", "expect", "date" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strlen(names[i]) == n && strncasecmp(name, names[i], n) == 0)
                        return true;
        return false;
}

static void add_header(struct MHD_Response *response, const char *line, size_t n)
{
        const char *colon = memchr(line, ':', n);
        char name[128], value[4096];
        size_t at;

        if (!colon || hop_by_hop(line, (size_t)(colon - line)))
                return;
        at = (size_t)(colon - line) + 1;
        while (at < n && (line[at] == ' ' || line[at] == '\t'))
                at++;
        if ((size_t)(colon - line) >= sizeof(name) || n - at >= sizeof(value))
                return; /* Envoy's admin has none so long */
        (void)snprintf(name, sizeof(name), "%.*s", (int)(colon - line), line);
        (void)snprintf(value, sizeof(value), "%.*s", (int)(n - at), line + at);
        (void)MHD_add_response_header(response, name, value);
}

static void add_headers(struct MHD_Response *response, const struct front_answer *answer)
{
        char epoch[24];

        for (const char *line = answer->headers, *end; (end = strstr(line, "\r\n")); line = end + 2)
                add_header(response, line, (size_t)(end - line));
        (void)snprintf(epoch, sizeof(epoch), "%" PRIu64, answer->epoch);
        (void)MHD_add_response_header(response, "Baton-Epoch", epoch);
}

static enum MHD_Result queue(struct control_request *r, unsigned status, struct MHD_Response *response)
{
        enum MHD_Result ok;

        if (r->server->listen_fd < 0) /* its address is not this one any more */
                (void)MHD_add_response_header(response, "Connection", "close");
        ok = MHD_queue_response(r->connection, status, response);
        MHD_destroy_response(response);
        return ok;
}

/* As Envoy says it of its own. */
static enum MHD_Result say(struct control_request *r, unsigned status, const char *text)
{
        struct MHD_Response *response;

        if (r->server->kind == CONTROL_PRIVATE && status >= 400)
                return control_answer_error(r->connection, status, "no answer", text);
        response = MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
        if (!response)
                return MHD_NO;
        (void)MHD_add_response_header(response, "Content-Type", "text/plain; charset=UTF-8");
        (void)MHD_add_response_header(response, "Cache-Control", "no-cache, max-age=0");
        (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
        return queue(r, status, response);
}

static enum MHD_Result say_line(struct control_request *r, unsigned status, const char *text)
{
        char line[512];

        (void)snprintf(line, sizeof(line), r->server->kind == CONTROL_PRIVATE ? "%s" : "%s\n", text);
        return say(r, status, line);
}

/* The body stays the front's until the request is completed: a large one is not copied. */
static enum MHD_Result deliver(struct control_request *r, const struct front_answer *answer)
{
        struct MHD_Response *response;

        if (answer->epoch == NO_EPOCH)
                return say_line(r, answer->status, answer->reason);
        response = MHD_create_response_from_buffer(answer->n, (void *)answer->body, MHD_RESPMEM_PERSISTENT);
        if (!response)
                return MHD_NO;
        add_headers(response, answer);
        return queue(r, answer->status, response);
}

/* ---- requests --------------------------------------------------------------------------------------- */

static void keep_header(struct control_admin *a, const char *name, const char *value)
{
        char *line;

        if (a->n_headers == HEADERS_MAX || asprintf(&line, *value ? "%s: %s" : "%s:", name, value) < 0)
                return;
        a->headers[a->n_headers++] = line;
}

static enum MHD_Result on_header(void *userdata, enum MHD_ValueKind kind, const char *name, const char *value)
{
        (void)kind;
        if (!hop_by_hop(name, strlen(name)) && value && *value)
                keep_header(userdata, name, value);
        return MHD_YES;
}

static enum MHD_Result begin(struct control_request *r, const char *method, const char *target, int64_t wait_ms)
{
        struct front *front = r->control->ops.front;

        if (!front)
                return say_line(r, 404, "what runs here has no admin interface");
        r->admin = calloc(1, sizeof(*r->admin));
        if (!r->admin)
                return MHD_NO;
        if (r->server->kind == CONTROL_ADMIN)
                (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, on_header, r->admin);
        if (r->n > 0)
                keep_header(r->admin, "Expect", ""); /* libcurl would ask first whether a body may come */
        r->admin->asked = front_ask(front, &(struct front_call){ .method = method, .target = target, .body = r->body, .body_bytes = r->n,
                                                                 .headers = (const char *const *)r->admin->headers, .wait_ms = wait_ms });
        return r->admin->asked ? MHD_YES : MHD_NO;
}

/* Called again when the wait is over. */
static enum MHD_Result ask(struct control_request *r, const char *method, const char *target, int64_t wait_ms)
{
        const struct front_answer *answer;

        if (!r->admin && !r->control->closing) {
                enum MHD_Result ok = begin(r, method, target, wait_ms);

                if (!r->admin || !r->admin->asked)
                        return ok;
        }
        answer = r->admin ? front_look(r->admin->asked) : NULL;
        if (answer)
                return deliver(r, answer);
        if (r->control->closing)
                return r->server->kind == CONTROL_PRIVATE ? control_ending(r) : say_line(r, 503, "the instance is ending");
        r->waits = WAIT_ADMIN;
        r->until = MONO_NEVER; /* the front knows how long */
        control_suspend(r);
        return MHD_YES;
}

static enum MHD_Result obey(struct control_request *r, enum control_command command)
{
        char detail[512] = "";
        int code = r->control->ops.command(r->control->ops.ud, command, &CONTROL_ORDER_NULL, detail, sizeof(detail));

        return code == 0 ? say(r, 200, "OK\n") : say_line(r, 500, *detail ? detail : strerror(-code));
}

static bool is(const char *target, const char *path)
{
        size_t n = strcspn(target, "?");

        return strlen(path) == n && memcmp(target, path, n) == 0;
}

/* Envoy takes //stats and /st%61ts for /stats; of what changes something only one spelling shall get through to it. */
static bool is_plain(const char *target)
{
        size_t n = strcspn(target, "?");

        return !memchr(target, '%', n) && !memmem(target, n, "//", 2) && !memmem(target, n, "/.", 2) && !memchr(target, '\\', n);
}

static bool is_clean(const char *target)
{
        for (const unsigned char *c = (const unsigned char *)target; *c; c++)
                if (*c <= ' ' || *c == 0x7f)
                        return false;
        return true;
}

static enum MHD_Result route(struct control_request *r, const char *method, const char *target, int64_t wait_ms)
{
        static const struct {
                const char *path;
                enum control_command command;
        } ours[] = { { "/quitquitquit", CONTROL_STOP }, { "/drain_listeners", CONTROL_DRAIN } };
        bool post = strcmp(method, "POST") == 0;
        char text[64];

        if (!is_clean(target))
                return say_line(r, 400, "no spaces or control characters in a path");
        if (post && !is_plain(target))
                return say_line(r, 400, "what changes something has its path written plainly");
        for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
                if (!is(target, ours[i].path))
                        continue;
                if (post)
                        return obey(r, ours[i].command);
                (void)snprintf(text, sizeof(text), "Method %.16s not allowed, POST required.", method);
                return say(r, 405, text);
        }
        return ask(r, post ? "POST" : "GET", target, wait_ms);
}

/* HEAD is asked as GET, and only what comes before the body is told: the length is that of the body. */
enum MHD_Result control_admin_front(struct control_request *r, const char *method)
{
        if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 && strcmp(method, "POST") != 0)
                return say_line(r, 405, "only GET, HEAD and POST");
        return route(r, method, r->target, FRONT_WAIT_MS);
}

static enum MHD_Result on_control(struct control_request *r, const char *method)
{
        const char *path = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, "path");
        int64_t wait_ms;

        if (!path || *path != '/')
                return control_bad_argument(r, "path: of the proxy's admin, from its / on");
        if (!control_argument(r->connection, "timeout_ms", FRONT_WAIT_MS, WAIT_MS_MAX, &wait_ms))
                return control_bad_argument(r, "timeout_ms: milliseconds, up to ten years");
        return route(r, method, path, wait_ms);
}

enum MHD_Result control_admin_get(struct control_request *r)
{
        return on_control(r, "GET");
}

enum MHD_Result control_admin_post(struct control_request *r)
{
        return on_control(r, "POST");
}
