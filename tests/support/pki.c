/* SPDX-License-Identifier: MIT */
/* See pki.h. */
#include "tests/support/pki.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

static EVP_PKEY *make_key(enum pki_kind kind, int bits)
{
        switch (kind) {
        case PKI_RSA:
                return EVP_RSA_gen((unsigned)(bits ? bits : 2048));
        case PKI_ED25519:
                return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        case PKI_EC:
                return EVP_EC_gen(bits == 192 ? "P-192" : bits == 384 ? "P-384" : "P-256");
        }
        return NULL;
}

static char *text_of(BIO *b)
{
        char *data, *text;
        long n = BIO_get_mem_data(b, &data);

        text = strndup(data, (size_t)n);
        BIO_free(b);
        assert(text);
        return text;
}

static void extend(X509 *cert, int nid, const char *value)
{
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

        assert(e && X509_add_ext(cert, e, -1));
        X509_EXTENSION_free(e);
}

static X509 *make_certificate(const struct pki_wish *w, EVP_PKEY *key)
{
        static long serial = 0x1000;
        X509 *cert = X509_new();
        int64_t from_s = w->from_s ? w->from_s : PKI_NOW_S - PKI_DAY_S, until_s = w->until_s ? w->until_s : PKI_NOW_S + 90 * PKI_DAY_S;
        int ok = cert && X509_set_version(cert, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial) &&
                 ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)from_s) && ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)until_s) &&
                 X509_set_pubkey(cert, key);

        if (w->name)
                ok = ok && X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)w->name, -1, -1, 0);
        assert(ok);
        ok = X509_set_issuer_name(cert, X509_get_subject_name(w->issuer ? w->issuer->x509 : cert));
        assert(ok);
        if (w->ca) {
                extend(cert, NID_basic_constraints, "critical,CA:TRUE");
                extend(cert, NID_key_usage, "critical,keyCertSign,cRLSign");
        }
        if (!w->name)
                extend(cert, NID_subject_alt_name, "URI:spiffe://test/leaf");
        else if (!w->ca)
                extend(cert, NID_subject_alt_name, "DNS:a.example,DNS:b.example");
        return cert;
}

struct pki pki_make(struct pki_wish w)
{
        struct pki p = { .key = make_key(w.kind, w.bits) };
        EVP_PKEY *signer = w.issuer ? w.issuer->key : p.key;
        BIO *cert = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
        int ok;

        assert(p.key && cert && key);
        p.x509 = make_certificate(&w, p.key);
        ok = X509_sign(p.x509, signer, EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519 ? NULL : EVP_sha256());
        assert(ok);
        ok = PEM_write_bio_X509(cert, p.x509) && PEM_write_bio_PrivateKey(key, p.key, NULL, NULL, 0, NULL, NULL);
        assert(ok);
        p.cert_pem = text_of(cert);
        p.key_pem = text_of(key);
        return p;
}

void pki_done(struct pki *p)
{
        X509_free(p->x509);
        EVP_PKEY_free(p->key);
        free(p->cert_pem);
        free(p->key_pem);
}

char *pki_encrypted_key(const struct pki *p)
{
        BIO *b = BIO_new(BIO_s_mem());
        int ok = b && PEM_write_bio_PKCS8PrivateKey(b, p->key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);

        assert(ok);
        return text_of(b);
}

void pki_write(const char *dir, const char *name, const char *text, ...)
{
        char path[512];
        va_list ap;
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        f = fopen(path, "we");
        assert(f);
        va_start(ap, text);
        for (const char *one = text; one; one = va_arg(ap, const char *))
                (void)fputs(one, f);
        va_end(ap);
        (void)fclose(f);
}
