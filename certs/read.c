/* SPDX-License-Identifier: MIT */
/* Which set lies in a directory, and its bytes. See certs.h. */
#include "certs/certs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "certs/internal.h"

static const struct layout {
        const char *whose, *chain, *key, *root;
} layouts[] = {
        { "Istio", "cert-chain.pem", "key.pem", "root-cert.pem" },
        { "Kubernetes", "tls.crt", "tls.key", "ca.crt" },
        { "certbot", "fullchain.pem", "privkey.pem", "chain.pem" },
        { "SPIFFE helper", "svid.pem", "svid_key.pem", "svid_bundle.pem" },
};

int certs_complain(struct certs_error *e, int r, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(e->text, sizeof(e->text), format, ap);
        va_end(ap);
        return r;
}

static void close_it(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
}

/* ---- finding ---------------------------------------------------------------------------------------- */

static bool is_there(int dir_fd, const char *name)
{
        return faccessat(dir_fd, name, F_OK, 0) == 0;
}

static bool is_missing(int dir_fd, const char *name)
{
        return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

int certs_find(const char *dir, struct certs_names *ret_names, const char **ret_layout, struct certs_error *reterr)
{
        __attribute__((cleanup(close_it))) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct layout *found = NULL;

        if (fd < 0)
                return certs_complain(reterr, CERTS_E_FILE, "cannot read the directory %s: %s", dir, strerror(errno));
        for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
                if (!is_there(fd, layouts[i].chain) && !is_there(fd, layouts[i].key))
                        continue;
                if (found)
                        return certs_complain(reterr, CERTS_E_TWO, "%s holds the set of %s (%s) and that of %s (%s): name the files", dir,
                                              found->whose, found->chain, layouts[i].whose, layouts[i].chain);
                found = &layouts[i];
        }
        if (!found)
                return certs_complain(reterr, CERTS_E_NONE, "%s holds no set of a known name (cert-chain.pem, tls.crt, fullchain.pem or svid.pem "
                                      "with their keys): name the files", dir);
        (void)snprintf(ret_names->chain, sizeof(ret_names->chain), "%s", found->chain);
        (void)snprintf(ret_names->key, sizeof(ret_names->key), "%s", found->key);
        (void)snprintf(ret_names->root, sizeof(ret_names->root), "%s", found->root);
        *ret_layout = found->whose;
        return 0;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static void wipe(struct certs_bytes *b)
{
        OPENSSL_clear_free(b->data, b->n + 1);
        *b = (struct certs_bytes){ NULL, 0 };
}

void certs_set_done(struct certs_set *s)
{
        wipe(&s->chain);
        wipe(&s->key);
        wipe(&s->root);
}

/* Return: 0; -ENOENT...: errno of what failed; -EMEDIUMTYPE, -EFBIG, -ENODATA: it is no regular file, too large, empty */
static int read_bytes(int dir_fd, const char *name, struct certs_bytes *ret)
{
        __attribute__((cleanup(close_it))) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        size_t room;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EMEDIUMTYPE;
        if (st.st_size > CERTS_FILE_BYTES_MAX)
                return -EFBIG;
        room = (size_t)st.st_size;
        ret->data = OPENSSL_zalloc(room + 1);
        if (!ret->data)
                return -ENOMEM;
        ret->n = room; /* so that all of it is wiped, whatever comes */
        for (size_t have = 0; have < room;) {
                ssize_t n = read(fd, ret->data + have, room - have);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0) { /* it was cut while we read: what is there is what there is */
                        ret->n = have;
                        break;
                }
                have += (size_t)n;
        }
        return ret->n ? 0 : -ENODATA;
}

static int read_file(int dir_fd, const char *dir, const char *name, struct certs_bytes *ret, struct certs_error *e)
{
        int r = read_bytes(dir_fd, name, ret);

        switch (-r) {
        case 0:
        case ENOMEM:
                return r;
        case EMEDIUMTYPE:
                return certs_complain(e, CERTS_E_FILE, "%s/%s is no regular file", dir, name);
        case EFBIG:
                return certs_complain(e, CERTS_E_FILE, "%s/%s is larger than %d bytes", dir, name, CERTS_FILE_BYTES_MAX);
        case ENODATA:
                return certs_complain(e, CERTS_E_FILE, "%s/%s is empty", dir, name);
        default:
                return certs_complain(e, CERTS_E_FILE, "cannot read %s/%s: %s", dir, name, strerror(-r));
        }
}

/* The length before the bytes, or moving a byte from one file to the next would not show. */
static bool digest_of(const struct certs_set *s, uint8_t *ret)
{
        const struct certs_bytes *parts[] = { &s->chain, &s->key, &s->root };
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL);

        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
                uint64_t n = parts[i]->n;

                ok = ok && EVP_DigestUpdate(c, &n, sizeof(n)) && EVP_DigestUpdate(c, parts[i]->data, parts[i]->n);
        }
        ok = ok && EVP_DigestFinal_ex(c, ret, NULL);
        EVP_MD_CTX_free(c);
        return ok;
}

/* A volume of Kubernetes is changed by one rename of `..data`: who goes through it once sees one version. */
static int open_version(const char *dir)
{
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int version = fd < 0 ? -1 : openat(fd, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (version < 0)
                return fd;
        (void)close(fd);
        return version;
}

int certs_read(const char *dir, const struct certs_names *names, struct certs_set *ret, struct certs_error *reterr)
{
        __attribute__((cleanup(close_it))) int fd = open_version(dir);
        __attribute__((cleanup(certs_set_done))) struct certs_set s = { .names = *names };
        int r;

        if (fd < 0)
                return certs_complain(reterr, CERTS_E_FILE, "cannot read the directory %s: %s", dir, strerror(errno));
        if ((size_t)snprintf(s.dir, sizeof(s.dir), "%s", dir) >= sizeof(s.dir))
                return certs_complain(reterr, CERTS_E_FILE, "the path of the directory is too long: %.200s...", dir);
        r = read_file(fd, dir, names->chain, &s.chain, reterr);
        if (r == 0)
                r = read_file(fd, dir, names->key, &s.key, reterr);
        s.has_root = r == 0 && *names->root && !is_missing(fd, names->root); /* one that cannot be reached is told */
        if (s.has_root)
                r = read_file(fd, dir, names->root, &s.root, reterr);
        if (r == 0 && !digest_of(&s, s.digest))
                r = -ENOMEM;
        if (r != 0)
                return r;
        *ret = s;
        s.chain.data = s.key.data = s.root.data = NULL;
        return 0;
}

int certs_load(const char *dir, const struct certs_names *named, struct certs_names *ret_names, const char **ret_layout,
               struct certs_set *ret, struct certs_error *reterr)
{
        int r = 0;

        if (named) {
                *ret_names = *named;
                *ret_layout = "named";
        } else {
                r = certs_find(dir, ret_names, ret_layout, reterr);
        }
        if (r == 0)
                r = certs_read(dir, ret_names, ret, reterr);
        if (r < 0)
                return certs_complain(reterr, r, "%s: %s", dir, strerror(-r));
        if (r == 0 && named && *named->root && !ret->has_root) {
                certs_set_done(ret);
                return certs_complain(reterr, CERTS_E_FILE, "%s/%s is not there", dir, named->root);
        }
        return r;
}
