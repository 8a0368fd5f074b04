/* SPDX-License-Identifier: MIT */
/*
 * libcerts: certificate sets of a TLS server as they lie in a directory: found by their names, read whole, judged, put in place.
 *
 * A set is a chain (the leaf first), its private key, and perhaps the roots that peers trust. Every function that takes an error
 * to fill leaves in it one line for a person: which file, whose certificate, what is wrong. No line ever holds key material.
 * Nothing here logs, and only reading and writing files may block. PEM alone is read, with LF or CRLF, and text around the blocks
 * is skipped, as OpenSSL does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
        CERTS_NAME_BYTES = 256,
        CERTS_FILE_BYTES_MAX = 1024 * 1024, /* a bundle of all public roots has a quarter of it */
        CERTS_DIGEST_BYTES = 32,
        CERTS_CHAIN_MAX = 512,              /* certificates in one file */
};

/* File names within the directory. An empty root: the set has none. */
struct certs_names {
        char chain[CERTS_NAME_BYTES], key[CERTS_NAME_BYTES], root[CERTS_NAME_BYTES];
};

struct certs_error {
        char text[1024];
};

enum { CERTS_E_NONE = 1, CERTS_E_FILE = 2, CERTS_E_TWO = 3 };

/**
 * certs_find() - which set lies in a directory, by the names that their writers use
 * @ret_layout:  whose names they are, for a person; it lives for ever
 *
 * Known are those of Istio (cert-chain.pem), Kubernetes and cert-manager (tls.crt), certbot (fullchain.pem) and SPIFFE helper
 * (svid.pem). A layout counts if its chain or its key is there, so that half a set is told as one and not as nothing.
 *
 * Return: 0; CERTS_E_NONE: none of them; CERTS_E_TWO: more than one, so nobody knows which is meant; CERTS_E_FILE: the
 * directory cannot be read. All three with a text: the user names the files.
 */
int certs_find(const char *dir, struct certs_names *ret_names, const char **ret_layout, struct certs_error *reterr);

struct certs_bytes {
        uint8_t *data; /* with a NUL behind it */
        size_t n;
};

/* The bytes of one set as they were at one moment. certs_set_done() frees and wipes them. */
struct certs_set {
        char dir[4096];
        struct certs_names names;
        struct certs_bytes chain, key, root;
        bool has_root; /* else none is named, or it is not there */
        uint8_t digest[CERTS_DIGEST_BYTES]; /* SHA-256 of all three: two sets are the same if and only if these are */
};

#define CERTS_SET_NULL ((struct certs_set){ .has_root = false })

void certs_set_done(struct certs_set *s);

/**
 * certs_read() - read the files of a set
 * @ret:  the caller's, to be ended by certs_set_done()
 *
 * Where the directory is a volume of Kubernetes all files come from the version that its `..data` leads to at this moment. Anywhere
 * else a writer may be at work between two of the files: the judgement finds out if that matters.
 *
 * Return: 0; CERTS_E_FILE: a file is missing, unreadable, empty, no regular file or too large; -ENOMEM.
 */
int certs_read(const char *dir, const struct certs_names *names, struct certs_set *ret, struct certs_error *reterr);

/**
 * certs_load() - certs_find() if nobody has named the files, then certs_read()
 * @named:       or NULL. A root that is named must be there
 * @ret_names, @ret_layout:  written as soon as they are known, also if the files cannot be read then; the layout is "named" or as of
 *                           certs_find()
 *
 * Return: as both; reterr has a text for every answer.
 */
int certs_load(const char *dir, const struct certs_names *named, struct certs_names *ret_names, const char **ret_layout,
               struct certs_set *ret, struct certs_error *reterr);

struct certs_policy {
        bool chain;    /* must lead to the roots of the set, if it has any */
        int rsa_bits;  /* fewer are refused; 0: any */
        int ec_bits;
};

#define CERTS_POLICY_STANDARD ((struct certs_policy){ .chain = true, .rsa_bits = 2048, .ec_bits = 256 })

/* About the leaf. Text is UTF-8 and may hold what its maker liked: to be escaped before a terminal sees it. */
struct certs_facts {
        char subject[512], issuer[512];
        char names[1024];      /* the subject's other names: "DNS:a.example, IP:..."; cut where there are too many */
        char serial[64];       /* hexadecimal */
        char fingerprint[2 * CERTS_DIGEST_BYTES + 1]; /* SHA-256 of the certificate, hexadecimal */
        char key_kind[32];     /* "RSA 2048", "EC prime256v1", "ED25519" */
        int64_t not_before_s, not_after_s; /* Unix time */
};

enum { CERTS_TIME_BYTES = 32 };

/** certs_time_text() - Unix time as 2027-01-15T08:00:00Z. Return: @buf */
const char *certs_time_text(int64_t s, char buf[CERTS_TIME_BYTES]);

enum certs_verdict {
        CERTS_GOOD,
        CERTS_BAD_CHAIN, /* all is well but that no root vouches for it: the caller may still prefer it to one that expires */
        CERTS_BAD,
};

/**
 * certs_judge() - may a server be given this set now?
 * @now_s:      Unix time
 * @ret_facts:  what is known of the leaf; empty texts and zeros if it does not even parse
 * @reterr:     filled unless it is good
 *
 * Good: all files parse to their end, the key is not encrypted, not weak and fits the leaf, the leaf is valid now, and, if the policy
 * says so and there are roots, some certificate of the root file vouches for it (X509_V_FLAG_PARTIAL_CHAIN: an intermediate will do).
 */
enum certs_verdict certs_judge(const struct certs_set *s, const struct certs_policy *p, int64_t now_s, struct certs_facts *ret_facts,
                               struct certs_error *reterr);

/* ---- putting it in place ------------------------------------------------------------------------------ */

/**
 * certs_put() - write a set into a new directory
 * @path:      does not exist, or holds what a call that was cut off has left
 * @uid, @gid: whose the files will be, with mode 0600; the directory is the caller's, with mode 0711
 *
 * Return: 0; -errno, and nothing is left.
 */
int certs_put(const char *path, const struct certs_set *s, uid_t uid, gid_t gid);

/** certs_remove() - a directory that certs_put() has made, and all files in it; never fails */
void certs_remove(const char *path);

/**
 * certs_point() - publish: the names of @dir lead to the files of one of its sub-directories, by one rename of `..data`
 * @version:  as the link shall read
 *
 * As Kubernetes does it, so that an Envoy whose file SDS watches @dir (watched_directory) reads the whole set anew, and never half
 * of it. Return: 0; -errno, and all is as it was.
 */
int certs_point(const char *dir, const char *version, const struct certs_names *names);

/* ---- PURE: what becomes of a set; when to warn of its end -------------------------------------------------------------------- */

enum certs_step {
        CERTS_STAYS,   /* it is the set in use */
        CERTS_TAKE,
        CERTS_TAKE_ALL_THE_SAME, /* its chain leads nowhere, but the set in use ends within a day */
        CERTS_REFUSE,
};

/**
 * certs_decide() - a set was looked at
 * @in_use:      there is one, and it is this one if @same
 * @in_use_ends_s:  its end, if there is one
 */
enum certs_step certs_decide(enum certs_verdict verdict, bool in_use, bool same, int64_t in_use_ends_s, int64_t now_s);

enum { CERTS_WARN_MAX = 8 };

/**
 * certs_expiry_warns() - which warning is due
 * @days:     before the end, falling, as {30, 7, 1}; n of them
 * @warned:   how many of them have been said for this certificate already
 * @ret_next_s:  when to ask again, INT64_MAX: never
 *
 * Of several that are due only the last is said. Return: the number of those said, this one included; as @warned if none is due.
 */
size_t certs_expiry_warns(int64_t not_after_s, const int *days, size_t n, size_t warned, int64_t now_s, int64_t *ret_next_s);
