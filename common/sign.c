#include <assert.h>
#include <stdlib.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/mem.h"
#include "common/pem.h"
#include "common/sign.h"

struct sign_key {
    EVP_PKEY *pkey;
    uint8_t public[SIGN_PUBLIC_BYTES];
};

static void
pkey_drop(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static void
bio_drop(BIO **bio)
{
    BIO_free_all(*bio);
}

static void
ctx_drop(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

enum err_kind
sign_key_make(int dir_fd, const char *name, struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;

    ERR_clear_error();
    pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (pkey == NULL)
        return pem_fail(err, "could not make an Ed25519 key");
    return pem_key_save(dir_fd, name, pkey, err);
}

/* ERR_CRYPTO unless pkey is an Ed25519 key. */
static enum err_kind
public_of(EVP_PKEY *pkey, const char *name, uint8_t *ret_public, struct err *err)
{
    size_t size = SIGN_PUBLIC_BYTES;

    if (EVP_PKEY_is_a(pkey, "ED25519") != 1)
        return err_set(err, ERR_CRYPTO, "\"%s\" is not an Ed25519 key", name);
    if (EVP_PKEY_get_raw_public_key(pkey, ret_public, &size) != 1 || size != SIGN_PUBLIC_BYTES)
        return pem_fail(err, "could not take the public key of \"%s\"", name);
    return ERR_OK;
}

enum err_kind
sign_key_load(int dir_fd, const char *name, struct sign_key **ret, struct err *err)
{
    AUTO(sign_key_free) struct sign_key *key = mem_zero(1, sizeof *key);
    enum err_kind kind = pem_key_load(dir_fd, name, &key->pkey, err);

    if (kind != ERR_OK)
        return kind;
    kind = public_of(key->pkey, name, key->public, err);
    if (kind != ERR_OK)
        return kind;
    *ret = key;
    key = NULL;
    return ERR_OK;
}

void
sign_key_free(struct sign_key **key)
{
    if (*key == NULL)
        return;
    EVP_PKEY_free((*key)->pkey);
    free(*key);
    *key = NULL;
}

void
sign_public(const struct sign_key *key, uint8_t ret_public[SIGN_PUBLIC_BYTES])
{
    for (size_t i = 0; i < SIGN_PUBLIC_BYTES; i++)
        ret_public[i] = key->public[i];
}

void
sign_make(const struct sign_key *key, const void *bytes, size_t size, uint8_t ret_signature[SIGN_BYTES])
{
    AUTO(ctx_drop) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = SIGN_BYTES;

    /* With a sound key only a broken machine fails here. */
    if (ctx == NULL || EVP_DigestSignInit(ctx, NULL, NULL, NULL, key->pkey) != 1 ||
        EVP_DigestSign(ctx, ret_signature, &n, bytes, size) != 1)
        abort();
    assert(n == SIGN_BYTES);
}

enum err_kind
sign_check(const uint8_t public[SIGN_PUBLIC_BYTES], const void *bytes, size_t size,
           const uint8_t signature[SIGN_BYTES])
{
    AUTO(pkey_drop)
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, SIGN_PUBLIC_BYTES);
    AUTO(ctx_drop) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    enum err_kind kind = ERR_CORRUPT;

    if (pkey != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
        EVP_DigestVerify(ctx, signature, SIGN_BYTES, bytes, size) == 1)
        kind = ERR_OK;
    else
        ERR_clear_error();
    return kind;
}

enum err_kind
sign_public_save(int dir_fd, const char *name, const uint8_t public[SIGN_PUBLIC_BYTES], struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;
    AUTO(bio_drop) BIO *bio = NULL;
    char *bytes = NULL;

    ERR_clear_error();
    pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, SIGN_PUBLIC_BYTES);
    bio = BIO_new(BIO_s_mem());
    if (pkey == NULL || bio == NULL || PEM_write_bio_PUBKEY(bio, pkey) != 1)
        return pem_fail(err, "could not encode the public key for \"%s\"", name);
    const long size = BIO_get_mem_data(bio, &bytes);
    const struct fs_file file = { .bytes = bytes, .size = (size_t)size, .mode = 0644 };
    return fs_replace(dir_fd, name, &file, err);
}

enum err_kind
sign_public_load(int dir_fd, const char *name, uint8_t ret_public[SIGN_PUBLIC_BYTES], struct err *err)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    AUTO(bio_drop) BIO *bio = NULL;
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;
    const enum err_kind kind = pem_open(dir_fd, name, &bytes, &bio, err);

    if (kind != ERR_OK)
        return kind;
    pkey = PEM_read_bio_PUBKEY(bio, NULL, pem_no_phrase, NULL);
    if (pkey == NULL)
        return pem_fail(err, "\"%s\" holds no public key", name);
    return public_of(pkey, name, ret_public, err);
}
