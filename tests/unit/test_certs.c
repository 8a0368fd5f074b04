/* SPDX-License-Identifier: MIT */
/* Sets as issuers write them, and as they go wrong: each is judged, and the reason names file and subject. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/certs.h"
#include "tests/support/pki.h"

/* A root, an issuer between, a leaf; and a folder with them as tls.crt, tls.key, ca.crt. */
static struct pki root, issuer, leaf;
static char dir[64];

static struct pki leaf_like(struct pki_wish w)
{
        w.name = w.name ? w.name : "leaf";
        w.issuer = &issuer;
        return pki_make(w);
}

static void write_set(const char *chain, const char *key, const char *ca)
{
        pki_write(dir, "tls.crt", chain, issuer.cert_pem, NULL);
        pki_write(dir, "tls.key", key, NULL);
        pki_write(dir, "ca.crt", ca, NULL);
}

static void set_up(void)
{
        (void)snprintf(dir, sizeof(dir), "/tmp/certs.XXXXXX");
        cr_assert(mkdtemp(dir));
        root = pki_make((struct pki_wish){ .name = "root", .ca = true });
        issuer = pki_make((struct pki_wish){ .name = "issuer", .ca = true, .issuer = &root });
        leaf = leaf_like((struct pki_wish){ 0 });
        write_set(leaf.cert_pem, leaf.key_pem, root.cert_pem);
}

static void tear_down(void)
{
        char command[128];

        (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
        cr_assert_eq(system(command), 0);
        pki_done(&leaf);
        pki_done(&issuer);
        pki_done(&root);
}

TestSuite(certs, .init = set_up, .fini = tear_down);

static const struct certs_names names = { "tls.crt", "tls.key", "ca.crt" };

/* Reads and judges; what cannot even be read is bad. */
static enum certs_verdict judge(const struct certs_policy *p, struct certs_facts *facts, char *reason, size_t size)
{
        __attribute__((cleanup(certs_set_done))) struct certs_set s = CERTS_SET_NULL;
        struct certs_error e = { "" };
        enum certs_verdict v = certs_read(dir, &names, &s, &e) == 0 ? certs_judge(&s, p, PKI_NOW_S, facts, &e) : CERTS_BAD;

        (void)snprintf(reason, size, "%s", e.text);
        cr_assert_eq(v == CERTS_GOOD, !*reason, "%s", reason);
        return v;
}

static void expect(enum certs_verdict want, const char *words)
{
        struct certs_facts facts;
        char reason[1024];
        enum certs_verdict v = judge(&CERTS_POLICY_STANDARD, &facts, reason, sizeof(reason));

        cr_expect_eq(v, want, "not %d but %d: %s", want, v, reason);
        cr_expect(strstr(reason, words), "'%s' is not in: %s", words, reason);
        cr_expect(v == CERTS_GOOD || strstr(reason, dir), "no file in: %s", reason);
        cr_expect_not(strstr(reason, "PRIVATE"), "key material");
}

/* ---- good ------------------------------------------------------------------------------------------- */

Test(certs, a_set_with_an_issuer_between_is_good_and_its_facts_are_those_of_the_leaf)
{
        struct certs_facts f;
        char reason[1024];

        cr_assert_eq(judge(&CERTS_POLICY_STANDARD, &f, reason, sizeof(reason)), CERTS_GOOD);
        cr_expect_str_eq(f.subject, "CN=leaf");
        cr_expect_str_eq(f.issuer, "CN=issuer");
        cr_expect_str_eq(f.names, "DNS:a.example, DNS:b.example");
        cr_expect_str_eq(f.key_kind, "EC prime256v1");
        cr_expect_eq(f.not_before_s, PKI_NOW_S - PKI_DAY_S);
        cr_expect_eq(f.not_after_s, PKI_NOW_S + 90 * PKI_DAY_S);
        cr_expect_eq(strlen(f.fingerprint), 64);
        cr_expect_gt(strlen(f.serial), 0);
}

Test(certs, keys_of_every_common_kind_are_good)
{
        static const struct pki_wish wishes[] = { { .kind = PKI_RSA }, { .kind = PKI_EC, .bits = 384 }, { .kind = PKI_ED25519 } };

        for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
                struct pki p = leaf_like(wishes[i]);

                write_set(p.cert_pem, p.key_pem, root.cert_pem);
                expect(CERTS_GOOD, "");
                pki_done(&p);
        }
}

/* Every LF becomes CR LF. To be freed. */
static char *with_crlf(const char *text)
{
        char *out = malloc(2 * strlen(text) + 1), *to = out;

        for (; *text; text++) {
                if (*text == '\n')
                        *to++ = '\r';
                *to++ = *text;
        }
        *to = '\0';
        return out;
}

Test(certs, other_line_ends_and_text_around_the_blocks_are_no_matter)
{
        char *cert = with_crlf(leaf.cert_pem), *key = with_crlf(leaf.key_pem);

        write_set(cert, key, root.cert_pem);
        expect(CERTS_GOOD, "");
        pki_write(dir, "tls.crt", "subject: leaf\n", leaf.cert_pem, "\n# issuer\n", issuer.cert_pem, "the end\n", NULL);
        expect(CERTS_GOOD, "");
        free(cert);
        free(key);
}

Test(certs, a_bundle_of_roots_may_hold_the_right_one_anywhere_or_an_issuer_between)
{
        struct pki other = pki_make((struct pki_wish){ .name = "other", .ca = true });

        pki_write(dir, "ca.crt", other.cert_pem, root.cert_pem, NULL);
        expect(CERTS_GOOD, "");
        pki_write(dir, "ca.crt", issuer.cert_pem, NULL);
        expect(CERTS_GOOD, "");
        pki_done(&other);
}

Test(certs, without_a_root_file_the_chain_is_not_asked_for)
{
        struct pki other = pki_make((struct pki_wish){ .name = "alone" });
        char path[128];

        write_set(other.cert_pem, other.key_pem, root.cert_pem);
        (void)snprintf(path, sizeof(path), "%s/ca.crt", dir);
        cr_assert_eq(unlink(path), 0);
        expect(CERTS_GOOD, "");
        pki_done(&other);
}

Test(certs, a_leaf_without_a_subject_is_known_by_its_other_name)
{
        struct pki svid = pki_make((struct pki_wish){ .issuer = &issuer });
        struct pki stranger = pki_make((struct pki_wish){ .name = "stranger" });

        write_set(svid.cert_pem, svid.key_pem, root.cert_pem);
        expect(CERTS_GOOD, "");
        write_set(svid.cert_pem, stranger.key_pem, root.cert_pem);
        expect(CERTS_BAD, "URI:spiffe://test/leaf");
        pki_done(&svid);
        pki_done(&stranger);
}

/* ---- refused ---------------------------------------------------------------------------------------- */

Test(certs, a_key_of_another_pair_is_refused)
{
        struct pki other = leaf_like((struct pki_wish){ 0 });

        write_set(leaf.cert_pem, other.key_pem, root.cert_pem);
        expect(CERTS_BAD, "does not fit the certificate of CN=leaf");
        pki_done(&other);
}

Test(certs, key_and_certificate_swapped_are_refused)
{
        pki_write(dir, "tls.crt", leaf.key_pem, NULL);
        pki_write(dir, "tls.key", leaf.cert_pem, NULL);
        expect(CERTS_BAD, "tls.crt holds no certificate");
        pki_write(dir, "tls.crt", leaf.cert_pem, NULL);
        expect(CERTS_BAD, "tls.key holds no private key");
}

Test(certs, a_leaf_is_refused_before_and_after_its_time_and_good_to_the_last_second)
{
        static const struct {
                int64_t from_s, until_s;
                enum certs_verdict want;
                const char *words;
        } cases[] = {
                { PKI_NOW_S + 1, PKI_NOW_S + PKI_DAY_S, CERTS_BAD, "is not valid before 2027-01-15 08:00:01 UTC" },
                { PKI_NOW_S, PKI_NOW_S + 1, CERTS_GOOD, "" },
                { PKI_NOW_S - PKI_DAY_S, PKI_NOW_S, CERTS_BAD, "expired at 2027-01-15 08:00:00 UTC" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct pki p = leaf_like((struct pki_wish){ .from_s = cases[i].from_s, .until_s = cases[i].until_s });

                write_set(p.cert_pem, p.key_pem, root.cert_pem);
                expect(cases[i].want, cases[i].words);
                pki_done(&p);
        }
}

Test(certs, a_chain_that_leads_elsewhere_is_bad_for_its_chain_alone_and_good_if_nobody_asks_for_it)
{
        struct pki other = pki_make((struct pki_wish){ .name = "other", .ca = true });
        struct certs_policy pair = CERTS_POLICY_STANDARD;
        struct certs_facts f;
        char reason[1024];

        write_set(leaf.cert_pem, leaf.key_pem, other.cert_pem);
        expect(CERTS_BAD_CHAIN, "does not lead to a certificate of ca.crt");
        pair.chain = false;
        cr_expect_eq(judge(&pair, &f, reason, sizeof(reason)), CERTS_GOOD);
        pki_done(&other);
}

Test(certs, a_chain_without_its_issuer_or_with_one_that_expired_is_bad_for_its_chain)
{
        struct pki old = pki_make((struct pki_wish){ .name = "old issuer", .ca = true, .issuer = &root, .from_s = PKI_NOW_S - 9, .until_s = PKI_NOW_S - 1 });
        struct pki p = pki_make((struct pki_wish){ .name = "leaf", .issuer = &old });

        pki_write(dir, "tls.crt", leaf.cert_pem, NULL);
        expect(CERTS_BAD_CHAIN, "unable to get");
        pki_write(dir, "tls.crt", p.cert_pem, old.cert_pem, NULL);
        pki_write(dir, "tls.key", p.key_pem, NULL);
        expect(CERTS_BAD_CHAIN, "expired, at CN=old issuer");
        pki_done(&p);
        pki_done(&old);
}

Test(certs, weak_keys_are_refused_unless_the_policy_lets_them)
{
        static const struct pki_wish wishes[] = { { .kind = PKI_RSA, .bits = 1024 }, { .kind = PKI_EC, .bits = 192 } };
        struct certs_policy any = { .chain = true };
        struct certs_facts f;
        char reason[1024];

        for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
                struct pki p = leaf_like(wishes[i]);

                write_set(p.cert_pem, p.key_pem, root.cert_pem);
                expect(CERTS_BAD, "is weak");
                cr_expect_eq(judge(&any, &f, reason, sizeof(reason)), CERTS_GOOD, "%s", reason);
                pki_done(&p);
        }
}

Test(certs, an_encrypted_key_is_refused_and_says_so)
{
        char *key = pki_encrypted_key(&leaf);

        write_set(leaf.cert_pem, key, root.cert_pem);
        expect(CERTS_BAD, "tls.key is encrypted");
        free(key);
}

Test(certs, a_file_that_is_cut_anywhere_is_never_good)
{
        size_t n = strlen(leaf.cert_pem) + strlen(issuer.cert_pem);
        char *chain = malloc(n + 1), *key = strdup(leaf.key_pem), reason[1024];
        struct certs_facts f;

        (void)snprintf(chain, n + 1, "%s%s", leaf.cert_pem, issuer.cert_pem);
        for (size_t cut = 0; cut + 1 < n; cut += 7) {
                char kept = chain[cut];

                chain[cut] = '\0';
                pki_write(dir, "tls.crt", chain, NULL);
                cr_expect_neq(judge(&CERTS_POLICY_STANDARD, &f, reason, sizeof(reason)), CERTS_GOOD, "cut at %zu", cut);
                chain[cut] = kept;
        }
        pki_write(dir, "tls.crt", chain, NULL);
        for (size_t cut = 0; cut + 2 < strlen(leaf.key_pem); cut += 5) {
                key[cut] = '\0';
                pki_write(dir, "tls.key", key, NULL);
                expect(CERTS_BAD, "");
                key[cut] = leaf.key_pem[cut];
        }
        free(chain);
        free(key);
}

Test(certs, empty_missing_garbage_and_too_large_files_are_refused_by_name)
{
        char path[128], *noise = malloc(CERTS_FILE_BYTES_MAX + 2);

        pki_write(dir, "tls.key", "", NULL);
        expect(CERTS_BAD, "tls.key is empty");
        (void)snprintf(path, sizeof(path), "%s/tls.key", dir);
        cr_assert_eq(unlink(path), 0);
        expect(CERTS_BAD, "tls.key: No such file or directory");
        cr_assert_eq(mkdir(path, 0700), 0);
        expect(CERTS_BAD, "tls.key is no regular file");
        cr_assert_eq(rmdir(path), 0);
        for (size_t i = 0; i < CERTS_FILE_BYTES_MAX; i++)
                noise[i] = (char)(1 + (i * 7919 + i / 251) % 255);
        noise[CERTS_FILE_BYTES_MAX] = '\0';
        write_set(leaf.cert_pem, noise, root.cert_pem);
        expect(CERTS_BAD, "tls.key holds no private key");
        pki_write(dir, "ca.crt", noise, NULL);
        expect(CERTS_BAD, "ca.crt holds no certificate");
        pki_write(dir, "ca.crt", noise, "x", NULL);
        expect(CERTS_BAD, "ca.crt is larger than 1048576 bytes");
        free(noise);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

Test(certs, a_set_is_the_same_only_if_every_byte_is_in_the_same_file)
{
        struct certs_set a = CERTS_SET_NULL, b = CERTS_SET_NULL;
        struct certs_error e;

        cr_assert_eq(certs_read(dir, &names, &a, &e), 0);
        cr_assert_eq(certs_read(dir, &names, &b, &e), 0);
        cr_expect_arr_eq(a.digest, b.digest, CERTS_DIGEST_BYTES);
        certs_set_done(&b);
        pki_write(dir, "ca.crt", root.cert_pem, "\n", NULL);
        cr_assert_eq(certs_read(dir, &names, &b, &e), 0);
        cr_expect_arr_neq(a.digest, b.digest, CERTS_DIGEST_BYTES);
        certs_set_done(&b);
        certs_set_done(&a);
}

Test(certs, of_a_kubernetes_volume_all_files_are_of_one_version)
{
        struct pki other = leaf_like((struct pki_wish){ 0 });
        char path[160], new[160];

        (void)snprintf(path, sizeof(path), "%s/v1", dir);
        cr_assert_eq(mkdir(path, 0755), 0);
        pki_write(path, "tls.crt", other.cert_pem, issuer.cert_pem, NULL);
        pki_write(path, "tls.key", other.key_pem, NULL);
        pki_write(path, "ca.crt", root.cert_pem, NULL);
        (void)snprintf(path, sizeof(path), "%s/..data", dir);
        cr_assert_eq(symlink("v1", path), 0);
        /* Outside of the version lies a key that is half changed: it is not looked at. */
        (void)snprintf(new, sizeof(new), "%s/tls.key", dir);
        cr_assert_eq(unlink(new), 0);
        expect(CERTS_GOOD, "");
        pki_done(&other);
}

Test(certs, a_set_is_found_by_the_names_of_its_writer)
{
        static const char *const layouts[][4] = {
                { "Istio", "cert-chain.pem", "key.pem", "root-cert.pem" },
                { "Kubernetes", "tls.crt", "tls.key", "ca.crt" },
                { "certbot", "fullchain.pem", "privkey.pem", "chain.pem" },
                { "SPIFFE helper", "svid.pem", "svid_key.pem", "svid_bundle.pem" },
        };
        const char *whose = "";
        struct certs_names found;
        struct certs_error e;

        for (size_t i = 0; i < 4; i++) {
                char sub[80];

                (void)snprintf(sub, sizeof(sub), "%s/%zu", dir, i);
                cr_assert_eq(mkdir(sub, 0755), 0);
                cr_expect_eq(certs_find(sub, &found, &whose, &e), CERTS_E_NONE);
                pki_write(sub, layouts[i][2], "x", NULL);
                cr_expect_eq(certs_find(sub, &found, &whose, &e), 0, "half a set is one");
                cr_expect_str_eq(whose, layouts[i][0]);
                cr_expect_str_eq(found.chain, layouts[i][1]);
                cr_expect_str_eq(found.key, layouts[i][2]);
                cr_expect_str_eq(found.root, layouts[i][3]);
        }
        pki_write(dir, "fullchain.pem", "x", NULL);
        cr_expect_eq(certs_find(dir, &found, &whose, &e), CERTS_E_TWO);
        cr_expect(strstr(e.text, "Kubernetes") && strstr(e.text, "certbot"), "%s", e.text);
        cr_expect_eq(certs_find("/nowhere", &found, &whose, &e), CERTS_E_FILE);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

Test(certs_expiry, a_set_that_fails_for_its_chain_alone_is_taken_when_the_one_in_use_ends_within_a_day_however_often_it_was_refused)
{
        int64_t end = PKI_NOW_S;

        cr_expect_eq(certs_decide(CERTS_BAD_CHAIN, true, false, end, end - PKI_DAY_S - 1), CERTS_REFUSE);
        cr_expect_eq(certs_decide(CERTS_BAD_CHAIN, true, false, end, end - PKI_DAY_S), CERTS_TAKE_ALL_THE_SAME);
        cr_expect_eq(certs_decide(CERTS_BAD, true, false, end, end), CERTS_REFUSE);
        cr_expect_eq(certs_decide(CERTS_BAD_CHAIN, false, false, 0, end), CERTS_REFUSE, "there is none to end");
        cr_expect_eq(certs_decide(CERTS_GOOD, false, false, 0, end), CERTS_TAKE);
        cr_expect_eq(certs_decide(CERTS_BAD, true, true, end, end + 1), CERTS_STAYS, "it was judged when it was taken");
}

Test(certs, a_root_that_is_named_must_be_there_and_one_that_is_found_need_not)
{
        const struct certs_names other = { "tls.crt", "tls.key", "typo.crt" };
        struct certs_set s = CERTS_SET_NULL;
        struct certs_names found;
        struct certs_error e = { "" };
        const char *layout = "";
        char path[128];

        cr_expect_eq(certs_load(dir, &other, &found, &layout, &s, &e), CERTS_E_FILE);
        cr_expect(strstr(e.text, "typo.crt is not there"), "%s", e.text);
        (void)snprintf(path, sizeof(path), "%s/ca.crt", dir);
        cr_assert_eq(unlink(path), 0);
        cr_expect_eq(certs_load(dir, NULL, &found, &layout, &s, &e), 0);
        cr_expect_str_eq(layout, "Kubernetes");
        certs_set_done(&s);
}

Test(certs_expiry, each_warning_is_said_once_and_of_several_that_are_due_only_the_last)
{
        static const int days[] = { 30, 7, 1 };
        int64_t end = PKI_NOW_S, next = 0;

        cr_expect_eq(certs_expiry_warns(end, days, 3, 0, end - 31 * PKI_DAY_S, &next), 0);
        cr_expect_eq(next, end - 30 * PKI_DAY_S);
        cr_expect_eq(certs_expiry_warns(end, days, 3, 0, next, &next), 1);
        cr_expect_eq(next, end - 7 * PKI_DAY_S);
        cr_expect_eq(certs_expiry_warns(end, days, 3, 1, next - 1, &next), 1, "not again");
        cr_expect_eq(certs_expiry_warns(end, days, 3, 1, end - 3600, &next), 3);
        cr_expect_eq(next, INT64_MAX);
        cr_expect_eq(certs_expiry_warns(end, days, 3, 3, end + 3600, &next), 3);
}
