/* SPDX-License-Identifier: MIT */
/* Certificates for tests, made with OpenSSL: what real issuers make, and what they should not. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pki_kind { PKI_EC, PKI_RSA, PKI_ED25519 };

#define PKI_NOW_S INT64_C(1800000000) /* the tests' clock */
#define PKI_DAY_S INT64_C(86400)

/* One certificate and its key, as text. */
struct pki {
        void *x509, *key; /* X509, EVP_PKEY */
        char *cert_pem, *key_pem;
};

struct pki_wish {
        const char *name;   /* common name; NULL: no subject, only the URI spiffe://test/leaf */
        enum pki_kind kind;
        int bits;           /* 0: usual */
        int64_t from_s, until_s; /* 0, 0: from a day ago, for ninety days */
        bool ca;
        const struct pki *issuer; /* NULL: itself */
};

/* Asserts. Ends with pki_done(). */
struct pki pki_make(struct pki_wish w);
void pki_done(struct pki *p);

/* The key once more, under a passphrase. To be freed. */
char *pki_encrypted_key(const struct pki *p);

/* Writes texts, one behind the other, as a file; the last is NULL. */
void pki_write(const char *dir, const char *name, const char *text, ...) __attribute__((sentinel));
