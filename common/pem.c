#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/pem.h"

enum err_kind
pem_fail(struct err *err, const char *fmt, ...)
{
    char text[400];
    const unsigned long code = ERR_peek_error();
    const char *const reason = ERR_reason_error_string(code);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ERR_clear_error();
    if (code == 0)
        return err_set(err, ERR_CRYPTO, "%s", text);
    if (reason == NULL)
        return err_set(err, ERR_CRYPTO, "%s: openssl error %lx", text, code);
    return err_set(err, ERR_CRYPTO, "%s: %s", text, reason);
}

void
pem_wipe(struct buf *b)
{
    if (b->at != NULL)
        OPENSSL_cleanse(b->at, b->room);
    buf_free(b);
}

int
pem_no_phrase(char *room, int size, int rw, void *arg)
{
    (void)room;
    (void)size;
    (void)rw;
    (void)arg;
    return -1;
}

static void
bio_drop(BIO **bio)
{
    BIO_free_all(*bio);
}

enum err_kind
pem_key_save(int dir_fd, const char *name, EVP_PKEY *key, struct err *err)
{
    AUTO(bio_drop) BIO *bio = BIO_new(BIO_s_mem());
    struct stat st;
    char *bytes = NULL;

    /* The caller holds the directory's lock, so nothing comes between this look and the writing. */
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return err_set(err, ERR_REFUSED, "\"%s\" exists already; a key is never overwritten", name);
    if (errno != ENOENT)
        return err_errno(err, "could not look for \"%s\"", name);
    ERR_clear_error();
    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return pem_fail(err, "could not encode the key for \"%s\"", name);
    const long size = BIO_get_mem_data(bio, &bytes);
    const struct fs_file file = { .bytes = bytes, .size = (size_t)size, .mode = 0600 };
    const enum err_kind kind = fs_replace(dir_fd, name, &file, err);

    OPENSSL_cleanse(bytes, (size_t)size);
    return kind;
}

enum err_kind
pem_open(int dir_fd, const char *name, struct buf *ret_bytes, BIO **ret, struct err *err)
{
    const enum err_kind kind = fs_read(dir_fd, name, PEM_FILE_BYTES_MAX, ret_bytes, err);

    if (kind != ERR_OK)
        return kind;
    ERR_clear_error();
    /* An empty buffer may have no memory at all, and a BIO wants a pointer. */
    BIO *const bio = BIO_new_mem_buf(ret_bytes->at == NULL ? (const void *)"" : ret_bytes->at,
                                     (int)ret_bytes->size);
    if (bio == NULL)
        return pem_fail(err, "could not read \"%s\"", name);
    *ret = bio;
    return ERR_OK;
}

enum err_kind
pem_key_load(int dir_fd, const char *name, EVP_PKEY **ret, struct err *err)
{
    AUTO(pem_wipe) struct buf bytes = { 0 };
    AUTO(bio_drop) BIO *bio = NULL;
    const enum err_kind kind = pem_open(dir_fd, name, &bytes, &bio, err);

    if (kind != ERR_OK)
        return kind;
    EVP_PKEY *const key = PEM_read_bio_PrivateKey(bio, NULL, pem_no_phrase, NULL);
    if (key == NULL)
        return pem_fail(err, "\"%s\" holds no private key", name);
    *ret = key;
    return ERR_OK;
}
