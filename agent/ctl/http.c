/* SPDX-License-Identifier: MIT */
/* Requests to the control socket, with libcurl's easy interface. */
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/cleanup.h"
#include "agent/ctl/ctl.h"

/* Beyond the wait for a generation that serves: it has 30 s to answer, and then the answer comes. */
enum { ADMIN_ANSWER_MS = 60000 };

struct body {
        char *text;
        size_t n, reserved;
        bool from_proxy;
        void (*line)(const char *text, size_t n, void *userdata);
        void *userdata;
};

static void give_lines(struct body *b)
{
        char *end;
        size_t done = 0;

        while ((end = memchr(b->text + done, '\n', b->n - done))) {
                b->line(b->text + done, (size_t)(end - b->text) - done, b->userdata);
                done = (size_t)(end - b->text) + 1;
        }
        memmove(b->text, b->text + done, b->n - done);
        b->n -= done;
}

static size_t on_body(char *bytes, size_t one, size_t n, void *userdata)
{
        struct body *b = userdata;

        if (b->n + n + 1 > b->reserved) { /* doubled: an answer of the proxy's admin may have many megabytes */
                size_t wanted = 2 * (b->n + n + 1);
                char *more = realloc(b->text, wanted);

                if (!more)
                        return 0;
                b->text = more;
                b->reserved = wanted;
        }
        memcpy(b->text + b->n, bytes, n);
        b->n += n;
        b->text[b->n] = '\0';
        if (b->line)
                give_lines(b);
        return one * n;
}

/* What the proxy answered has this header; what baton says itself has not. */
static size_t on_header(char *bytes, size_t one, size_t n, void *userdata)
{
        static const char name[] = "baton-epoch:";
        struct body *b = userdata;

        b->from_proxy |= n > sizeof(name) && strncasecmp(bytes, name, sizeof(name) - 1) == 0;
        return one * n;
}

static int perform(const struct ctl *c, const char *method, const char *path, const char *json, int64_t timeout_ms, struct body *b)
{
        struct curl_slist *headers = NULL;
        CURL *easy = curl_easy_init();
        char socket[512];
        CURLcode r;
        long status = 0;

        if (!easy)
                return -ENOMEM;
        (void)snprintf(socket, sizeof(socket), "%s/control.sock", c->found);
        (void)curl_easy_setopt(easy, CURLOPT_URL, "http://baton/");
        (void)curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, path);
        (void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket);
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
        (void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
        (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms > 0 ? (long)timeout_ms : 0L);
        (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
        (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, b);
        (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
        (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, b);
        if (json) {
                headers = curl_slist_append(NULL, "Content-Type: application/json");
                (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
                (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(json));
                (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, json);
        }
        r = curl_easy_perform(easy);
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_cleanup(easy);
        curl_slist_free_all(headers);
        if (r == CURLE_OPERATION_TIMEDOUT)
                return -ETIMEDOUT;
        if (r == CURLE_COULDNT_CONNECT)
                return -ECONNREFUSED;
        return r == CURLE_OK ? (int)status : -EIO;
}

static int ask(const struct ctl *c, const char *method, const char *path, const char *json, int64_t timeout_ms, char **ret_body)
{
        struct body b = { 0 };
        int status = perform(c, method, path, json, timeout_ms, &b);

        if (!b.text)
                b.text = strdup("");
        *ret_body = b.text;
        return b.text ? status : -ENOMEM;
}

int ctl_request(const struct ctl *c, const char *method, const char *path, int64_t timeout_ms, char **ret_body)
{
        return ask(c, method, path, NULL, timeout_ms, ret_body);
}

int ctl_post(const struct ctl *c, const char *path, const char *json, int64_t timeout_ms, char **ret_body)
{
        return ask(c, "POST", path, json, timeout_ms, ret_body);
}

int ctl_admin(const struct ctl *c, const char *method, const char *target, int64_t timeout_ms, struct ctl_answer *ret)
{
        CLEANUP(free_ptr) char *path = NULL;
        char *escaped = curl_easy_escape(NULL, target, 0);
        struct body b = { 0 };
        int n = escaped ? asprintf(&path, "/v1/admin?timeout_ms=%" PRId64 "&path=%s", timeout_ms, escaped) : -1;

        curl_free(escaped);
        if (n < 0) {
                path = NULL;
                return -ENOMEM;
        }
        n = perform(c, method, path, NULL, timeout_ms + ADMIN_ANSWER_MS, &b);
        *ret = (struct ctl_answer){ .body = b.text, .n = b.n, .from_proxy = b.from_proxy };
        return n;
}

int ctl_stream(const struct ctl *c, const char *path, void (*line)(const char *text, size_t n, void *userdata), void *userdata)
{
        struct body b = { .line = line, .userdata = userdata };
        int status = perform(c, "GET", path, NULL, c->timeout_ms, &b);

        free(b.text);
        return status;
}
