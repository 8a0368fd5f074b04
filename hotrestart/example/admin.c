/* SPDX-License-Identifier: MIT */
/* The admin socket: the pages of Envoy's that a supervisor reads, with our own figures. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hotrestart/example/server.h"

int admin_open(struct server *s)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int fd, r = 0;

        if (!*s->opt.admin_path)
                return 0;
        (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", s->opt.admin_path);
        (void)unlink(addr.sun_path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || fchmod(fd, s->opt.admin_mode) < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
            listen(fd, 16) < 0)
                r = -errno;
        s->admin = (struct watch){ http_on_listener, fd };
        if (r == 0)
                r = server_watch(s, &s->admin, EPOLLIN);
        if (r < 0) {
                say("admin %s: %s", addr.sun_path, strerror(-r));
                if (fd >= 0)
                        (void)close(fd);
                s->admin.fd = -1;
        }
        return r;
}

static void list_stats(const struct server *s, FILE *f)
{
        (void)fprintf(f, "http.example.downstream_cx_active: %zu\nhttp.example.downstream_rq_active: %llu\n", s->n_connections,
                      (unsigned long long)s->requests_active);
        (void)fprintf(f, "http.example.downstream_rq_total: %llu\n", (unsigned long long)s->requests);
        for (size_t i = 0; i < s->n_listeners; i += s->opt.concurrency) {
                const struct hr_key *key = &s->listeners[i].key;
                uint64_t sum = 0;

                for (size_t j = i; j < s->n_listeners && strcmp(s->listeners[j].key.url, key->url) == 0; j++)
                        sum += s->listeners[j].connections;
                (void)fprintf(f, "listener.%s.downstream_cx_active: %llu\n", strstr(key->url, "://") + 3, (unsigned long long)sum);
        }
        (void)fprintf(f, "listener_manager.listener_create_failure: 0\n");
}

static void list_one(const struct hr_key *key, FILE *f)
{
        const char *address = strstr(key->url, "://") + 3;
        const char *colon = strrchr(address, ':');
        bool bracket = *address == '[';

        if (hr_key_is_unix(key) || !colon)
                (void)fprintf(f, "{\"name\":\"%s\",\"local_address\":{\"pipe\":{\"path\":\"%s\"}}}", address, address);
        else
                (void)fprintf(f, "{\"name\":\"%s\",\"local_address\":{\"socket_address\":{\"address\":\"%.*s\",\"port_value\":%s}}}",
                              address, (int)(colon - address) - 2 * bracket, address + bracket, colon + 1);
}

/* As with Envoy a stop of the listeners does not take them off the list. */
static void list_listeners(const struct server *s, FILE *f)
{
        const char *comma = "";

        (void)fprintf(f, "{\"listener_statuses\":[");
        for (size_t i = 0; i < s->n_listeners; i++) {
                if (s->listeners[i].key.worker != 0)
                        continue;
                (void)fputs(comma, f);
                list_one(&s->listeners[i].key, f);
                comma = ",";
        }
        (void)fprintf(f, "]}");
}

static bool is_page(const char *path, const char *page)
{
        size_t n = strlen(page);

        return strncmp(path, page, n) == 0 && (path[n] == '\0' || path[n] == '?');
}

static int get(struct server *s, const char *path, FILE *f)
{
        if (is_page(path, "/ready")) {
                (void)fprintf(f, "%s\n", s->unhealthy ? "DRAINING" : "LIVE");
                return s->unhealthy ? 503 : 200;
        }
        if (is_page(path, "/stats"))
                list_stats(s, f);
        else if (is_page(path, "/listeners"))
                list_listeners(s, f);
        else if (is_page(path, "/server_info"))
                (void)fprintf(f, "{\"version\":\"0/%s/Clean/RELEASE/none\",\"state\":\"%s\",\"uptime_current_epoch\":\"%llds\"}",
                              BATON_VERSION, s->unhealthy ? "DRAINING" : "LIVE", (long long)(now_ms() - s->started_ms) / 1000);
        else
                return 404;
        return 200;
}

static int post(struct server *s, const char *path, FILE *f)
{
        if (is_page(path, "/healthcheck/fail"))
                s->unhealthy = true;
        else if (is_page(path, "/healthcheck/ok"))
                s->unhealthy = false;
        else if (is_page(path, "/drain_listeners"))
                listeners_stop(s);
        else if (is_page(path, "/quitquitquit"))
                s->stopping = true;
        else
                return 404;
        (void)fprintf(f, "OK\n");
        return 200;
}

int admin_page(struct server *s, const char *method, const char *path, char **ret_body)
{
        char *body = NULL;
        size_t n;
        FILE *f = open_memstream(&body, &n);
        int status = 405;

        if (!f)
                return 500;
        if (strcmp(method, "GET") == 0)
                status = get(s, path, f);
        else if (strcmp(method, "POST") == 0)
                status = post(s, path, f);
        if (fclose(f) != 0) {
                free(body);
                return 500;
        }
        *ret_body = body;
        return status;
}
