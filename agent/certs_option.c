/* SPDX-License-Identifier: MIT */
/* PURE. See certs_option.h. */
#include "agent/certs_option.h"

#include <stdio.h>
#include <string.h>

static int complain(struct certs_error *e, const char *text, const char *why)
{
        (void)snprintf(e->text, sizeof(e->text), "'%.500s': %s; write DIR or DIR:cert=FILE,key=FILE[,ca=FILE]", text, why);
        return 1;
}

/* Where the names begin: a directory may have colons of its own. */
static const char *find_names(const char *text)
{
        const char *colon = strrchr(text, ':');

        return colon && (strncmp(colon, ":cert=", 6) == 0 || strncmp(colon, ":key=", 5) == 0 || strncmp(colon, ":ca=", 4) == 0) ? colon : NULL;
}

static char *field_of(struct certs_names *n, const char *word, size_t bytes, size_t *ret_value)
{
        static const char *const keys[] = { "cert=", "key=", "ca=" };
        char *const fields[] = { n->chain, n->key, n->root };

        for (size_t i = 0; i < 3; i++) {
                *ret_value = strlen(keys[i]);
                if (bytes >= *ret_value && strncmp(word, keys[i], *ret_value) == 0)
                        return fields[i];
        }
        return NULL;
}

int certs_option_parse(const char *text, struct certs_option *ret, struct certs_error *reterr)
{
        const char *names = find_names(text);
        size_t n = names ? (size_t)(names - text) : strlen(text);

        memset(ret, 0, sizeof(*ret));
        if (n == 0)
                return complain(reterr, text, "no directory");
        if (n >= sizeof(ret->dir))
                return complain(reterr, text, "the path is too long");
        memcpy(ret->dir, text, n);
        ret->named = names != NULL;
        for (const char *p = names; p && *p;) {
                const char *word = p + 1;
                size_t bytes = strcspn(word, ","), at;
                char *field = field_of(&ret->names, word, bytes, &at);

                if (!field)
                        return complain(reterr, text, "only cert=, key= and ca= can be named");
                if (*field)
                        return complain(reterr, text, "one of the files is named twice");
                if (bytes == at || bytes - at >= CERTS_NAME_BYTES)
                        return complain(reterr, text, "a name is empty or too long");
                if (memchr(word + at, '/', bytes - at))
                        return complain(reterr, text, "a name is that of a file in the directory");
                memcpy(field, word + at, bytes - at);
                p = word + bytes;
        }
        if (ret->named && (!*ret->names.chain || !*ret->names.key))
                return complain(reterr, text, "cert= and key= are needed both");
        return 0;
}

struct certs_policy certs_option_policy(const struct options *o)
{
        return (struct certs_policy){ .chain = o->certs_verify == CERTS_STRICT, .rsa_bits = (int)o->certs_rsa_bits,
                                      .ec_bits = (int)o->certs_ec_bits };
}
