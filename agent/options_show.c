/* SPDX-License-Identifier: MIT */
/* The options as the user sees them: --help out of the table; --print-options as a table, or as a file that --config takes. */
#include <stdio.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/json.h"
#include "agent/options_parse.h"

static const char *standard_text(const struct option_key *k, char *buf, size_t size)
{
        buf[0] = '\0';
        if (k->kind == K_DURATION || k->kind == K_INT) {
                if (k->standard < 0)
                        (void)snprintf(buf, size, "none");
                else
                        (void)option_number_text(k, k->standard, buf, size);
        }
        for (const struct choice *c = k->choices; c && c->name; c++)
                if (c->value == k->standard)
                        (void)snprintf(buf, size, "%s", c->name);
        return buf;
}

void options_print_help(void)
{
        char left[64], standard[32];

        printf("Usage: baton run [OPTIONS] -- PROXY [ARGS...]\n\nRun PROXY and keep its ports open whatever happens to it.\n\n");
        for (int k = 0; k < N_KEYS; k++) {
                (void)snprintf(left, sizeof(left), "--%s%s%s", option_keys[k].name, option_keys[k].argument ? "=" : "",
                               option_keys[k].argument ? option_keys[k].argument : "");
                (void)standard_text(&option_keys[k], standard, sizeof(standard));
                printf("  %-36s %s%s%s%s%s\n", left, option_keys[k].help, *standard ? " [" : "", standard, *standard ? "]" : "",
                       option_keys[k].later ? " (not in this version)" : "");
        }
        printf("  %-36s %s\n", "--print-options[=json]", "show every option and where its value comes from");
        printf("  %-36s %s\n\n", "-h, --help", "show this help");
        printf("Each option may also be given as BATON_<OPTION> or in the file of --config. Durations: ms, s, min, m, h.\n");
}

static void value_text(const struct options *o, int k, char *buf, size_t size)
{
        const char *base = (const char *)o;
        int64_t v = 0;

        buf[0] = '\0';
        if (option_keys[k].kind == K_INT || option_keys[k].kind == K_DURATION || option_keys[k].kind == K_CHOICE)
                v = *(const int64_t *)(const void *)(base + option_keys[k].field);
        switch (option_keys[k].kind) {
        case K_STRING:
                (void)snprintf(buf, size, "%s", options_str(o, *(const options_string *)(const void *)(base + option_keys[k].field)));
                return;
        case K_LIST:
                return;
        case K_FLAG:
                (void)snprintf(buf, size, "%s", *(const bool *)(base + option_keys[k].field) ? "true" : "false");
                return;
        case K_INT:
        case K_DURATION:
                if (v < 0)
                        (void)snprintf(buf, size, "none");
                else
                        (void)option_number_text(&option_keys[k], v, buf, size);
                return;
        case K_CHOICE:
                for (const struct choice *c = option_keys[k].choices; c->name; c++)
                        if (c->value == v)
                                (void)snprintf(buf, size, "%s", c->name);
                return;
        }
}

void options_print_table(const struct parse *p)
{
        static const char *const sources[] = { "default", "file", "environment", "command line" };
        char text[4096];

        for (int k = 0; k < N_KEYS; k++) {
                const struct options_list *list = (const struct options_list *)(const void *)((const char *)p->out + option_keys[k].field);

                if (option_keys[k].kind != K_LIST) {
                        value_text(p->out, k, text, sizeof(text));
                        printf("%-20s %-28s %s\n", option_keys[k].name, *text ? text : "-", sources[p->used[k]]);
                        continue;
                }
                for (uint32_t i = 0; i < list->n; i++)
                        printf("%-20s %-28s %s\n", option_keys[k].name, options_str(p->out, list->items[i]), sources[p->used[k]]);
                if (list->n == 0)
                        printf("%-20s %-28s %s\n", option_keys[k].name, "-", sources[p->used[k]]);
        }
        for (uint32_t i = 0; i < p->out->n_proxy_args; i++)
                printf("%-20s %s\n", "proxy", options_proxy_arg(p->out, i));
}

void options_print_json(const struct parse *p)
{
        CLEANUP(json_writer_done) struct json_writer w = JSON_WRITER_NULL;
        char text[4096];

        json_begin_object(&w);
        for (int k = 0; k < N_KEYS; k++) {
                const struct options_list *list = (const struct options_list *)(const void *)((const char *)p->out + option_keys[k].field);

                value_text(p->out, k, text, sizeof(text));
                if (strcmp(option_keys[k].name, "handover") == 0 && p->out->handover_detected)
                        continue; /* the file may be used with another proxy */
                if (strcmp(option_keys[k].name, "config") == 0 || (option_keys[k].kind == K_LIST ? list->n == 0 : !*text))
                        continue;
                json_key(&w, option_keys[k].name);
                if (option_keys[k].kind == K_FLAG) {
                        json_bool_value(&w, strcmp(text, "true") == 0);
                        continue;
                }
                if (option_keys[k].kind != K_LIST) {
                        json_string_value(&w, text);
                        continue;
                }
                json_begin_array(&w);
                for (uint32_t i = 0; i < list->n; i++)
                        json_string_value(&w, options_str(p->out, list->items[i]));
                json_end_array(&w);
        }
        if (p->out->n_proxy_args > 0)
                json_key(&w, "proxy"), json_begin_array(&w);
        for (uint32_t i = 0; i < p->out->n_proxy_args; i++)
                json_string_value(&w, options_proxy_arg(p->out, i));
        if (p->out->n_proxy_args > 0)
                json_end_array(&w);
        json_end_object(&w);
        printf("%s\n", json_writer_text(&w) ? json_writer_text(&w) : "");
}
