/* SPDX-License-Identifier: MIT */
/* Is a set good? See certs.h. */
#include "certs/certs.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "certs/internal.h"

/* What is parsed of one set. */
struct parsed {
        STACK_OF(X509) *chain; /* the leaf first */
        STACK_OF(X509) *roots;
        EVP_PKEY *key;
};

static void parsed_done(struct parsed *p)
{
        sk_X509_pop_free(p->chain, X509_free);
        sk_X509_pop_free(p->roots, X509_free);
        EVP_PKEY_free(p->key);
}

static X509 *leaf_of(const struct parsed *p)
{
        return sk_X509_value(p->chain, 0);
}

/* ---- texts ------------------------------------------------------------------------------------------ */

static void take_text(BIO *b, char *ret, size_t size)
{
        int n = b ? BIO_read(b, ret, (int)size - 1) : 0;

        ret[n > 0 ? n : 0] = '\0';
        BIO_free(b);
}

static void name_text(const X509_NAME *name, char *ret, size_t size)
{
        BIO *b = BIO_new(BIO_s_mem());

        if (b)
                (void)X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
        take_text(b, ret, size);
}

static void names_text(const X509 *leaf, char *ret, size_t size)
{
        GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
        BIO *b = names ? BIO_new(BIO_s_mem()) : NULL;

        for (int i = 0; b && i < sk_GENERAL_NAME_num(names); i++) {
                if (i > 0)
                        (void)BIO_puts(b, ", ");
                (void)GENERAL_NAME_print(b, sk_GENERAL_NAME_value(names, i));
        }
        take_text(b, ret, size);
        GENERAL_NAMES_free(names);
}

static void hex_text(const uint8_t *bytes, size_t n, char *ret, size_t size)
{
        *ret = '\0';
        for (size_t i = 0; i < n && 2 * i + 3 <= size; i++)
                (void)snprintf(ret + 2 * i, size - 2 * i, "%02x", bytes[i]);
}

static int64_t unix_time(const ASN1_TIME *t)
{
        struct tm tm;

        return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

const char *certs_time_text(int64_t s, char buf[CERTS_TIME_BYTES])
{
        time_t t = (time_t)s;
        struct tm tm;

        if (!gmtime_r(&t, &tm) || strftime(buf, CERTS_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                *buf = '\0';
        return buf;
}

/* In a sentence. */
static const char *day_text(int64_t s, char *buf, size_t size)
{
        time_t t = (time_t)s;
        struct tm tm;

        if (!gmtime_r(&t, &tm) || strftime(buf, size, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
                *buf = '\0';
        return buf;
}

static void kind_text(EVP_PKEY *key, char *ret, size_t size)
{
        char group[64] = "";

        switch (EVP_PKEY_get_base_id(key)) {
        case EVP_PKEY_RSA:
        case EVP_PKEY_RSA_PSS:
                (void)snprintf(ret, size, "RSA %d", EVP_PKEY_get_bits(key));
                return;
        case EVP_PKEY_EC:
                (void)EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
                (void)snprintf(ret, size, "EC %s", group);
                return;
        default:
                (void)snprintf(ret, size, "%s", EVP_PKEY_get0_type_name(key) ? EVP_PKEY_get0_type_name(key) : "unknown");
        }
}

static void read_facts(X509 *leaf, struct certs_facts *f)
{
        const ASN1_INTEGER *serial = X509_get0_serialNumber(leaf);
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned n = 0;

        name_text(X509_get_subject_name(leaf), f->subject, sizeof(f->subject));
        name_text(X509_get_issuer_name(leaf), f->issuer, sizeof(f->issuer));
        names_text(leaf, f->names, sizeof(f->names));
        hex_text(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial), f->serial, sizeof(f->serial));
        if (X509_digest(leaf, EVP_sha256(), digest, &n))
                hex_text(digest, n, f->fingerprint, sizeof(f->fingerprint));
        if (X509_get0_pubkey(leaf))
                kind_text(X509_get0_pubkey(leaf), f->key_kind, sizeof(f->key_kind));
        f->not_before_s = unix_time(X509_get0_notBefore(leaf));
        f->not_after_s = unix_time(X509_get0_notAfter(leaf));
}

/* Whose certificate a line is about: its subject, or what it is else known by. */
static const char *who(const struct certs_facts *f)
{
        return *f->subject ? f->subject : *f->names ? f->names : "(no name)";
}

/* ---- parsing ---------------------------------------------------------------------------------------- */

static BIO *bio_of(const struct certs_bytes *b)
{
        return BIO_new_mem_buf(b->data, (int)b->n);
}

/* What OpenSSL said last, without its codes; "" if nothing. */
static const char *openssl_said(void)
{
        unsigned long code = ERR_peek_last_error();
        const char *text = code ? ERR_reason_error_string(code) : NULL;

        return text ? text : "";
}

static bool at_the_end(void)
{
        unsigned long code = ERR_peek_last_error();

        return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

static int on_password(char *buf, int size, int writing, void *asked)
{
        (void)buf;
        (void)size;
        (void)writing;
        *(bool *)asked = true;
        return -1;
}

static bool read_certificates(const struct certs_set *s, const struct certs_bytes *bytes, const char *name, STACK_OF(X509) **ret,
                              struct certs_error *e)
{
        STACK_OF(X509) *all = sk_X509_new_null();
        BIO *b = bio_of(bytes);
        bool whole = false, asked = false; /* for a passphrase: nobody is there to ask */
        X509 *one = NULL;
        int n = 0;

        ERR_clear_error();
        while (all && b && n < CERTS_CHAIN_MAX && (one = PEM_read_bio_X509(b, NULL, on_password, &asked)) && sk_X509_push(all, one))
                n++;
        whole = !one && at_the_end() && n > 0;
        if (!whole && n == CERTS_CHAIN_MAX)
                (void)certs_complain(e, 0, "%s/%s holds more than %d certificates", s->dir, name, CERTS_CHAIN_MAX);
        else if (!whole && n == 0 && at_the_end())
                (void)certs_complain(e, 0, "%s/%s holds no certificate", s->dir, name);
        else if (!whole)
                (void)certs_complain(e, 0, "%s/%s: certificate %d of it cannot be read: %s", s->dir, name, n + 1, openssl_said());
        BIO_free(b);
        if (whole)
                *ret = all;
        else
                sk_X509_pop_free(all, X509_free);
        return whole;
}

static bool read_key(const struct certs_set *s, EVP_PKEY **ret, struct certs_error *e)
{
        BIO *b = bio_of(&s->key);
        bool encrypted = false;

        ERR_clear_error();
        *ret = b ? PEM_read_bio_PrivateKey(b, NULL, on_password, &encrypted) : NULL;
        BIO_free(b);
        if (*ret)
                return true;
        if (encrypted)
                (void)certs_complain(e, 0, "%s/%s is encrypted: a proxy has nobody who could type its passphrase; store it without one", s->dir,
                                     s->names.key);
        else if (!strstr((const char *)s->key.data, "PRIVATE KEY-----"))
                (void)certs_complain(e, 0, "%s/%s holds no private key", s->dir, s->names.key);
        else
                (void)certs_complain(e, 0, "%s/%s: the private key cannot be read: %s", s->dir, s->names.key, openssl_said());
        return false;
}

static bool parse(const struct certs_set *s, struct parsed *ret, struct certs_facts *facts, struct certs_error *e)
{
        if (!read_certificates(s, &s->chain, s->names.chain, &ret->chain, e))
                return false;
        read_facts(leaf_of(ret), facts);
        if (s->has_root && !read_certificates(s, &s->root, s->names.root, &ret->roots, e))
                return false;
        return read_key(s, &ret->key, e);
}

/* ---- judging ---------------------------------------------------------------------------------------- */

static bool strong(const struct certs_set *s, const struct certs_policy *p, const struct parsed *parsed, const struct certs_facts *f,
                   struct certs_error *e)
{
        int bits = EVP_PKEY_get_bits(parsed->key), least = 0;

        switch (EVP_PKEY_get_base_id(parsed->key)) {
        case EVP_PKEY_RSA:
        case EVP_PKEY_RSA_PSS:
                least = p->rsa_bits;
                break;
        case EVP_PKEY_EC:
                least = p->ec_bits;
                break;
        case EVP_PKEY_ED25519:
        case EVP_PKEY_ED448:
                return true;
        default:
                (void)certs_complain(e, 0, "%s/%s: a key of the kind %s is not for TLS", s->dir, s->names.key, f->key_kind);
                return false;
        }
        if (bits >= least)
                return true;
        (void)certs_complain(e, 0, "%s/%s: the key of %s is weak: %s, and %d bits are the least", s->dir, s->names.key, who(f), f->key_kind, least);
        return false;
}

static bool valid_now(const struct certs_set *s, int64_t now_s, const struct certs_facts *f, struct certs_error *e)
{
        char day[32];

        if (now_s < f->not_before_s) {
                (void)certs_complain(e, 0, "%s/%s: the certificate of %s is not valid before %s", s->dir, s->names.chain, who(f),
                                     day_text(f->not_before_s, day, sizeof(day)));
                return false;
        }
        if (now_s >= f->not_after_s) { /* as OpenSSL counts the last second */
                (void)certs_complain(e, 0, "%s/%s: the certificate of %s expired at %s", s->dir, s->names.chain, who(f),
                                     day_text(f->not_after_s, day, sizeof(day)));
                return false;
        }
        return true;
}

static X509_STORE *store_of(const struct parsed *p, int64_t now_s)
{
        X509_STORE *store = X509_STORE_new();
        bool ok = store != NULL;

        for (int i = 0; ok && i < sk_X509_num(p->roots); i++)
                ok = X509_STORE_add_cert(store, sk_X509_value(p->roots, i));
        if (ok) {
                X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), (time_t)now_s);
                (void)X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
                return store;
        }
        X509_STORE_free(store);
        return NULL;
}

static bool chain_holds(const struct certs_set *s, const struct parsed *p, int64_t now_s, const struct certs_facts *f, struct certs_error *e)
{
        X509_STORE *store = store_of(p, now_s);
        X509_STORE_CTX *c = store ? X509_STORE_CTX_new() : NULL;
        bool good = c && X509_STORE_CTX_init(c, store, leaf_of(p), p->chain) && X509_verify_cert(c) == 1;
        X509 *at = good || !c ? NULL : X509_STORE_CTX_get_current_cert(c);
        char subject[256] = "";

        if (at)
                name_text(X509_get_subject_name(at), subject, sizeof(subject));
        if (!good)
                (void)certs_complain(e, 0, "%s/%s: the chain of %s does not lead to a certificate of %s: %s%s%s", s->dir, s->names.chain, who(f),
                                     s->names.root, c ? X509_verify_cert_error_string(X509_STORE_CTX_get_error(c)) : "out of memory",
                                     *subject ? ", at " : "", subject);
        X509_STORE_CTX_free(c);
        X509_STORE_free(store);
        return good;
}

enum certs_verdict certs_judge(const struct certs_set *s, const struct certs_policy *p, int64_t now_s, struct certs_facts *ret_facts,
                               struct certs_error *reterr)
{
        __attribute__((cleanup(parsed_done))) struct parsed parsed = { 0 };

        memset(ret_facts, 0, sizeof(*ret_facts));
        if (!parse(s, &parsed, ret_facts, reterr))
                return CERTS_BAD;
        if (X509_check_private_key(leaf_of(&parsed), parsed.key) != 1) {
                (void)certs_complain(reterr, 0, "%s/%s does not fit the certificate of %s in %s: one of the two is of another pair, or not written yet",
                                     s->dir, s->names.key, who(ret_facts), s->names.chain);
                return CERTS_BAD;
        }
        if (!strong(s, p, &parsed, ret_facts, reterr) || !valid_now(s, now_s, ret_facts, reterr))
                return CERTS_BAD;
        return p->chain && parsed.roots && !chain_holds(s, &parsed, now_s, ret_facts, reterr) ? CERTS_BAD_CHAIN : CERTS_GOOD;
}
