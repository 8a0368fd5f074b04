/* SPDX-License-Identifier: MIT */
/*
 * Whatever lies in a certificate directory: it is judged without harm, a reason is one line without key material, and what is good
 * is good again. The bytes are the chain, the key and the roots, each ended by a byte 0.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "certs/certs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void want(bool truth)
{
        if (!truth)
                abort();
}

/* Up to the next 0, or to the end. */
static struct certs_bytes part_of(const uint8_t **data, size_t *left)
{
        const uint8_t *end = *left ? memchr(*data, 0, *left) : NULL;
        size_t n = end ? (size_t)(end - *data) : *left;
        struct certs_bytes b = { OPENSSL_zalloc(n + 1), n };

        want(b.data != NULL);
        if (n)
                memcpy(b.data, *data, n);
        *data += end ? n + 1 : n;
        *left -= end ? n + 1 : n;
        return b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct certs_set s = { .dir = "/tls", .names = { "tls.crt", "tls.key", "ca.crt" } };
        struct certs_error e = { "" };
        struct certs_facts f, again;
        enum certs_verdict v;

        s.chain = part_of(&data, &size);
        s.key = part_of(&data, &size);
        s.root = part_of(&data, &size);
        s.has_root = s.root.n > 0;
        v = certs_judge(&s, &CERTS_POLICY_STANDARD, 1800000000, &f, &e);
        want((v == CERTS_GOOD) == (*e.text == '\0'));
        want(!strstr(e.text, "PRIVATE") && memchr(e.text, 0, sizeof(e.text)));
        want(v == CERTS_BAD || *f.fingerprint);
        want(certs_judge(&s, &CERTS_POLICY_STANDARD, 1800000000, &again, &e) == v);
        want(memcmp(&f, &again, sizeof(f)) == 0);
        certs_set_done(&s);
        return 0;
}
