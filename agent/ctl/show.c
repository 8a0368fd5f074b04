/* SPDX-License-Identifier: MIT */
/* Status and events for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/ctl/ctl.h"
#include "agent/json.h"

/* Control characters as \xNN: what a proxy said must not steer somebody's terminal. */
void show_escape(char *buf, size_t size)
{
        char plain[512];
        size_t at = 0, n = strlen(buf);

        for (size_t i = 0; i < n && at + 5 < sizeof(plain) && at + 5 < size; i++) {
                unsigned char one = (unsigned char)buf[i], next = (unsigned char)buf[i + 1];

                if (one == 0xc2 && next >= 0x80 && next < 0xa0) /* C1, as UTF-8 has them */
                        one = (unsigned char)buf[++i];
                else if (one >= ' ' && one != 0x7f) {
                        plain[at++] = buf[i];
                        continue;
                }
                at += (size_t)snprintf(plain + at, sizeof(plain) - at, "\\x%02x", one);
        }
        memcpy(buf, plain, at);
        buf[at] = '\0';
}

static const char *text_of(const struct json *d, json_node n, const char *key, char *buf, size_t size)
{
        if (json_text(d, json_get(d, n, key), buf, size) != 0 || strcmp(buf, "null") == 0 || !*buf)
                (void)snprintf(buf, size, "-");
        show_escape(buf, size);
        return buf;
}

static void show_epochs(const struct json *d, json_node list)
{
        static const struct {
                const char *key, *title;
                int width;
        } columns[] = { { "epoch", "EPOCH", 6 }, { "pid", "PID", 8 }, { "state", "STATE", 10 }, { "version", "VERSION", 9 },
                        { "connections", "CONNS", 7 }, { "in_flight", "FLIGHT", 7 }, { "config", "CONFIG", 20 }, { "started", "STARTED", 0 } };
        char text[256];

        for (size_t c = 0; c < sizeof(columns) / sizeof(columns[0]); c++)
                printf("%-*s ", columns[c].width, columns[c].title);
        printf("\n");
        for (size_t i = 0; i < json_size(d, list); i++) {
                for (size_t c = 0; c < sizeof(columns) / sizeof(columns[0]); c++)
                        printf("%-*s ", columns[c].width, text_of(d, json_at(d, list, i), columns[c].key, text, sizeof(text)));
                printf("\n");
        }
}

static void show_listeners(const struct json *d, json_node list)
{
        char address[256], workers[32], held[32];

        for (size_t i = 0; i < json_size(d, list); i++) {
                json_node one = json_at(d, list, i);

                printf("  %s: %s sockets, %s held\n", text_of(d, one, "address", address, sizeof(address)),
                       text_of(d, one, "workers", workers, sizeof(workers)), text_of(d, one, "held", held, sizeof(held)));
        }
}

void show_status(const char *json)
{
        struct json d;
        struct json_error e;
        char a[512], b[512], c[64];

        if (json_parse(json, strlen(json), &d, &e) != 0) {
                printf("%s", json);
                return;
        }
        printf("%s: %s", text_of(&d, JSON_ROOT, "name", a, sizeof(a)), text_of(&d, JSON_ROOT, "state", b, sizeof(b)));
        text_of(&d, JSON_ROOT, "reason", a, sizeof(a));
        printf("%s%s\n", strcmp(a, "-") == 0 ? "" : ", ", strcmp(a, "-") == 0 ? "" : a);
        printf("keeper %s, agent %s, retry tokens %s of %s\n", text_of(&d, json_get(&d, JSON_ROOT, "keeper"), "pid", a, 64),
               text_of(&d, json_get(&d, JSON_ROOT, "agent"), "pid", b, 64), text_of(&d, json_get(&d, JSON_ROOT, "tokens"), "left", c, sizeof(c)),
               text_of(&d, json_get(&d, JSON_ROOT, "tokens"), "max", a + 128, 64));
        if (json_size(&d, json_get(&d, JSON_ROOT, "stale")))
                printf("changed since it was started:");
        for (size_t i = 0; i < json_size(&d, json_get(&d, JSON_ROOT, "stale")); i++)
                if (json_text(&d, json_at(&d, json_get(&d, JSON_ROOT, "stale"), i), c, sizeof(c)) == 0)
                        printf(" %s%s", c, i + 1 < json_size(&d, json_get(&d, JSON_ROOT, "stale")) ? "," : "\n");
        show_epochs(&d, json_get(&d, JSON_ROOT, "epochs"));
        show_listeners(&d, json_get(&d, JSON_ROOT, "listeners"));
        json_done(&d);
}

void show_event(const char *line, size_t n)
{
        struct json d;
        struct json_error e;
        char key[64], value[512];

        if (json_parse(line, n, &d, &e) != 0)
                return;
        printf("%s", text_of(&d, JSON_ROOT, "time", value, sizeof(value)));
        printf(" %-8s", text_of(&d, JSON_ROOT, "level", value, sizeof(value)));
        printf("%s", text_of(&d, JSON_ROOT, "event", value, sizeof(value)));
        for (size_t i = 0; i < json_size(&d, JSON_ROOT); i++) {
                json_node k = json_key_at(&d, JSON_ROOT, i);

                if (json_string(&d, k, key, sizeof(key)) != 0 || !strcmp(key, "time") || !strcmp(key, "level") || !strcmp(key, "event") ||
                    !strcmp(key, "seq") || !strcmp(key, "mono_ns"))
                        continue;
                show_escape(key, sizeof(key));
                if (json_text(&d, json_value_of(&d, k), value, sizeof(value)) != 0)
                        continue;
                show_escape(value, sizeof(value));
                printf(" %s=%s%s%s", key, strchr(value, ' ') ? "\"" : "", value, strchr(value, ' ') ? "\"" : "");
        }
        printf("\n");
        fflush(stdout);
        json_done(&d);
}

static void say_what_serves(const char *from, const char *to)
{
        if (strcmp(to, "-") == 0)
                printf("done\n");
        else if (strcmp(from, to) == 0)
                printf("epoch %s serves on\n", to);
        else
                printf(strcmp(from, "-") == 0 ? "epoch %s serves\n" : "epoch %s serves, it was %s\n", to, from);
}

int show_end_of_order(const char *json, bool quiet)
{
        char result[32], reason[4096], from[24], to[24];
        struct json d;
        struct json_error e;

        if (json_parse(json, strlen(json), &d, &e) != 0) {
                fprintf(stderr, "baton: the answer is not understood\n");
                return EXIT_FAILED;
        }
        text_of(&d, JSON_ROOT, "result", result, sizeof(result));
        text_of(&d, JSON_ROOT, "reason", reason, sizeof(reason));
        text_of(&d, JSON_ROOT, "from", from, sizeof(from));
        text_of(&d, JSON_ROOT, "to", to, sizeof(to));
        json_done(&d);
        if (strcmp(result, "committed") == 0) {
                if (!quiet)
                        say_what_serves(from, to);
                return EXIT_FINE;
        }
        if (quiet)
                return EXIT_REFUSED;
        fprintf(stderr, "baton: %s%s%s", strcmp(result, "rolled_back") == 0 ? "rolled back" : result, strcmp(reason, "-") == 0 ? "" : ": ",
                strcmp(reason, "-") == 0 ? "" : reason);
        fprintf(stderr, strcmp(from, "-") == 0 ? "\n" : "; epoch %s serves on\n", from);
        return EXIT_REFUSED;
}
