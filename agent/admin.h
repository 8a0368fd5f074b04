/* SPDX-License-Identifier: MIT */
/* HTTP client to the proxy's admin socket: libcurl's multi interface inside libev. Never blocks. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct admin;
struct admin_request;
struct ev_loop;

/** admin_new() - costs nothing: libcurl is loaded by the first request or admin_prepare(). Return: NULL if out of memory */
struct admin *admin_new(struct ev_loop *loop);

/** admin_of_user() - whose socket the proxy's must be; as we are, unless told otherwise */
void admin_of_user(struct admin *a, uid_t owner);

/** admin_prepare() - load libcurl now, while there is time, so that the first request need not. Return: as admin_request() */
int admin_prepare(struct admin *a);

/**
 * admin_request() - one request
 * @done:  called once, from the loop, never from here: @status is that of HTTP or -errno; @body is its for the call only.
 *         The request is gone when it returns. Not called after admin_cancel()
 *
 * -ECONNREFUSED: nothing was sent. -ETIMEDOUT. -EFBIG: the answer's head or body is larger than it may be. Anything else: the proxy may have got
 * it, and has not answered as a whole.
 *
 * Return: 0; -ENOMEM; -ELIBACC: libcurl cannot be loaded.
 */
int admin_request(struct admin *a, const char *unix_path, const char *method, const char *path, int timeout_ms, size_t max_bytes,
                  void (*done)(void *userdata, int status, const char *body, size_t n), void *userdata,
                  struct admin_request **ret);
/**
 * admin_request_over() - GET over a connection that is there already
 * @fd:         connected; it is closed in any case
 * @authority:  IP:PORT that it leads to
 *
 * Return: as admin_request()
 */
int admin_request_over(struct admin *a, int fd, const char *authority, const char *path, int timeout_ms, size_t max_bytes,
                       void (*done)(void *userdata, int status, const char *body, size_t n), void *userdata,
                       struct admin_request **ret);
void admin_cancel(struct admin_request *r);

/* What a request may have beside that. */
struct admin_call {
        const char *unix_path, *method, *path; /* @path: the request target as it goes out, of any length */
        const char *const *headers;            /* "Name: value", NULL at the end; or NULL */
        const char *body;                      /* must stay until it is done */
        size_t body_bytes;
        int timeout_ms;
        size_t *room;                          /* bytes that the answer may have: what it has is taken from there, and given back with it */
};

/** admin_call() - as admin_request(), for somebody else: the body goes out, and the answer comes back with its headers */
int admin_call(struct admin *a, const struct admin_call *call, void (*done)(void *userdata, int status, const char *body, size_t n),
               void *userdata, struct admin_request **ret);

/* For @done: the lines of the answer's head, each with its CRLF, without the first; they go with the request. */
const char *admin_headers(const struct admin_request *r);

/** admin_take_body() - for @done: the body is the caller's to free, and it gives the bytes back to the room. Return: or NULL, if it is empty */
char *admin_take_body(struct admin_request *r);
