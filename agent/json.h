/* SPDX-License-Identifier: MIT */
/*
 * JSON, in and out. In: jsmn makes the tokens, this is the one accessor layer over them. Out: a small writer into a buffer that
 * grows. Neither blocks, logs or keeps state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- reading ---------------------------------------------------------------------------------------- */

typedef int json_node; /* index of a token */

#define JSON_ROOT 0
#define JSON_NONE (-1) /* not there; every accessor takes it and finds nothing in it */

enum { JSON_BYTES_MAX = 64 * 1024 * 1024, JSON_DEPTH_MAX = 128, JSON_E_TYPE = 1 };

struct json {
        const char *text; /* the caller's: must stay as long as the document */
        size_t n;
        void *tokens;
        int n_tokens;
};

struct json_error {
        unsigned line, column;
        char text[96];
};

/** json_check() - Return: NULL: it is JSON; else what is wrong at *@ret_at. A static text */
const char *json_check(const char *text, size_t n, size_t *ret_at);

/**
 * json_parse() - strict: what json_check() says is JSON, and nothing else
 * Return: 0: json_done() it; -EBADMSG, -EFBIG, -ENOMEM: @reterr says what and where.
 */
int json_parse(const char *text, size_t n, struct json *ret, struct json_error *reterr);
void json_done(struct json *j);

json_node json_get(const struct json *j, json_node object, const char *key); /* the first of that name, or JSON_NONE */
json_node json_at(const struct json *j, json_node array, size_t i);
json_node json_first(const struct json *j, json_node array); /* with json_next(): each element in turn, in one pass */
json_node json_next(const struct json *j, json_node array, json_node element);
size_t json_size(const struct json *j, json_node n); /* members or elements; 0 for anything else */
json_node json_key_at(const struct json *j, json_node object, size_t i); /* the i-th key; its value is json_value_of() */
json_node json_value_of(const struct json *j, json_node key);
unsigned json_line(const struct json *j, json_node n);
bool json_is_object(const struct json *j, json_node n);
bool json_is_array(const struct json *j, json_node n);
bool json_is_string(const struct json *j, json_node n);

/* Return: 0; JSON_E_TYPE: not there or of another type; -EMSGSIZE: does not fit */
int json_string(const struct json *j, json_node n, char *ret, size_t size);
int json_int(const struct json *j, json_node n, int64_t *ret);
int json_bool(const struct json *j, json_node n, bool *ret);
bool json_is_utf8(const char *text); /* json_string() hands on what stands there, be it UTF-8 or not */
int json_text(const struct json *j, json_node n, char *ret, size_t size); /* of any scalar, as it is written */

/* ---- writing ---------------------------------------------------------------------------------------- */

struct json_writer {
        char *text;
        size_t n, room;
        unsigned depth;
        bool comma;   /* something stands before: the next value needs a comma */
        bool failed;  /* out of memory: the text is not whole */
};

#define JSON_WRITER_NULL ((struct json_writer){ 0 })

void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_string_value(struct json_writer *w, const char *text); /* bytes that are not UTF-8 become U+FFFD */
void json_int_value(struct json_writer *w, int64_t v);
void json_uint_value(struct json_writer *w, uint64_t v);
void json_double_value(struct json_writer *w, double v); /* what JSON cannot say becomes null */
void json_bool_value(struct json_writer *w, bool v);
void json_null(struct json_writer *w);
void json_raw(struct json_writer *w, const char *text, size_t n); /* whole JSON of somebody else's */
void json_raw_end(struct json_writer *w, const char *text); /* behind everything: a newline */
const char *json_writer_text(const struct json_writer *w); /* NUL-terminated, or NULL if memory ran out */
void json_writer_done(struct json_writer *w);
