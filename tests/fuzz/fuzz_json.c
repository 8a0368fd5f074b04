/* SPDX-License-Identifier: MIT */
/* JSON of any origin: what is taken can be walked, and what is copied by the writer reads the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cleanup.h"
#include "agent/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 4096 };

static void copy(const struct json *d, json_node n, struct json_writer *w)
{
        static char text[3 * INPUT_MAX]; /* each byte that is no UTF-8 becomes three; not needed after a deeper one is copied */
        int64_t number;
        bool yes;

        if (json_is_object(d, n)) {
                json_begin_object(w);
                for (size_t i = 0; i < json_size(d, n); i++) {
                        json_node k = json_key_at(d, n, i);

                        if (json_string(d, k, text, sizeof(text)) != 0)
                                text[0] = '\0';
                        if (json_get(d, n, "a") >= d->n_tokens)
                                abort();
                        json_key(w, text);
                        copy(d, json_value_of(d, k), w);
                }
                json_end_object(w);
        } else if (json_is_array(d, n)) {
                json_begin_array(w);
                for (size_t i = 0; i < json_size(d, n); i++)
                        copy(d, json_at(d, n, i), w);
                json_end_array(w);
        } else if (json_is_string(d, n)) {
                json_string_value(w, json_string(d, n, text, sizeof(text)) == 0 ? text : "");
        } else if (json_int(d, n, &number) == 0) {
                json_int_value(w, number);
        } else if (json_bool(d, n, &yes) == 0) {
                json_bool_value(w, yes);
        } else if (json_text(d, n, text, sizeof(text)) == 0) {
                json_raw(w, text, strlen(text));
        } else {
                json_null(w);
        }
}

static char *copied(const char *text, size_t n)
{
        struct json_writer w = JSON_WRITER_NULL;
        struct json_error e = { 0 };
        struct json d;

        if (json_parse(text, n, &d, &e) != 0) {
                if (e.line == 0 || e.column == 0 || !*e.text)
                        abort();
                return NULL;
        }
        copy(&d, JSON_ROOT, &w);
        json_done(&d);
        return w.text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        CLEANUP(free_ptr) char *once = size < INPUT_MAX ? copied((const char *)data, size) : NULL;
        CLEANUP(free_ptr) char *twice = once ? copied(once, strlen(once)) : NULL;

        if (once && (!twice || strcmp(once, twice) != 0))
                abort();
        return 0;
}
