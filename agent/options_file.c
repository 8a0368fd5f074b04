/* SPDX-License-Identifier: MIT */
/*
 * The file of --config: a JSON object whose members are called as the options are, and `proxy`, an array of words. What it says is
 * noted as text, with its line; it is parsed with all else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/json.h"
#include "agent/options_parse.h"

/* @k: the option that it is for; -1: a word of the proxy */
static int file_value(struct parse *p, const struct json *doc, json_node value, int k, const char **ret)
{
        const char *name = k < 0 ? "proxy" : option_keys[k].name;
        char *text = p->file_text + p->n_file_text;
        int r = json_text(doc, value, text, sizeof(p->file_text) - p->n_file_text);
        bool flag = k >= 0 && option_keys[k].kind == K_FLAG;
        bool word = r == 0 && !json_is_string(doc, value) && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0);

        if (r < 0)
                return options_complain(p, "%s:%u: %s: the file says more than %d bytes", p->file, json_line(doc, value), name, OPTIONS_STRING_BYTES);
        if (flag && !word)
                return options_complain(p, "%s:%u: %s: true or false is wanted here", p->file, json_line(doc, value), name);
        if (r != 0 || (!flag && word) || (!json_is_string(doc, value) && strcmp(text, "null") == 0))
                return options_complain(p, "%s:%u: %s: a %s is wanted here", p->file, json_line(doc, value), name,
                                        k < 0 ? "word in quotes" : "string or a number");
        p->n_file_text += strlen(text) + 1;
        *ret = text;
        return 0;
}

static int file_proxy(struct parse *p, const struct json *doc, json_node value)
{
        if (!json_is_array(doc, value) || json_size(doc, value) == 0 || json_size(doc, value) > OPTIONS_PROXY_ARGS_MAX)
                return options_complain(p, "%s:%u: proxy: an array of words is wanted here", p->file, json_line(doc, value));
        for (size_t i = 0; i < json_size(doc, value); i++) {
                int r = file_value(p, doc, json_at(doc, value, i), -1, &p->file_proxy[p->n_file_proxy]);

                if (r)
                        return r;
                p->n_file_proxy++;
        }
        return 0;
}

static int file_member(struct parse *p, const struct json *doc, json_node key)
{
        json_node value = json_value_of(doc, key);
        char name[64] = "";
        const char *text = NULL;
        int k, r;

        if (json_string(doc, key, name, sizeof(name)) != 0)
                name[0] = '\0';
        if (strcmp(name, "proxy") == 0)
                return p->n_file_proxy ? options_complain(p, "%s:%u: proxy: stands there twice", p->file, json_line(doc, key)) : file_proxy(p, doc, value);
        k = option_index(name);
        if (k < 0)
                return options_complain(p, "%s:%u: %s: unknown option", p->file, json_line(doc, key), name);
        if (strcmp(name, "config") == 0)
                return options_complain(p, "%s:%u: config: a file does not name another one", p->file, json_line(doc, key));
        if (p->given[FROM_FILE][k].n)
                return options_complain(p, "%s:%u: %s: stands there twice", p->file, json_line(doc, key), name);
        p->given[FROM_FILE][k].line = json_line(doc, key);
        if (!json_is_array(doc, value)) {
                r = file_value(p, doc, value, k, &text);
                return r ? r : options_give(p, FROM_FILE, k, text);
        }
        if (option_keys[k].kind != K_LIST)
                return options_complain(p, "%s:%u: %s: one value is wanted, not a list", p->file, json_line(doc, key), name);
        for (size_t i = 0; i < json_size(doc, value); i++) {
                r = file_value(p, doc, json_at(doc, value, i), k, &text);
                if (r == 0)
                        r = options_give(p, FROM_FILE, k, text);
                if (r)
                        return r;
        }
        return 0;
}

static int slurp(const char *path, char **ret, size_t *ret_n)
{
        enum { MOST = 1024 * 1024 };
        CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        CLEANUP(free_ptr) char *text = malloc(MOST);
        size_t have = 0;

        if (fd < 0)
                return -errno;
        if (!text)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(fd, text + have, MOST - have);

                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                have += (size_t)n;
                if (have == MOST)
                        return -EFBIG;
        }
        *ret_n = have;
        *ret = TAKE(text);
        return 0;
}

int options_read_file(struct parse *p, const char *path)
{
        CLEANUP(free_ptr) char *text = NULL;
        struct json doc;
        struct json_error error;
        size_t n = 0;
        int r = slurp(path, &text, &n);

        p->file = path;
        if (r < 0)
                return options_complain(p, "%s: cannot read it: %s", path, strerror(-r));
        if (json_parse(text, n, &doc, &error) != 0)
                return options_complain(p, "%s:%u:%u: %s", path, error.line, error.column, error.text);
        r = json_is_object(&doc, JSON_ROOT) ? 0 : options_complain(p, "%s:1: an object is wanted: { \"option\": value, ... }", path);
        for (size_t i = 0; r == 0 && i < json_size(&doc, JSON_ROOT); i++)
                r = file_member(p, &doc, json_key_at(&doc, JSON_ROOT, i));
        json_done(&doc);
        return r;
}
