#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/seal.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key_local;
static EVP_CIPHER *gcm;
static __thread EVP_CIPHER_CTX
    *local; /* key_local holds the same pointer, only to free it when the thread ends */

static void
must(int ok)
{
    if (ok != 1)
        abort();
}

static void
local_free(void *ctx)
{
    EVP_CIPHER_CTX_free(ctx);
    local = NULL;
}

static void
setup(void)
{
    gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    must(gcm != NULL);
    must(pthread_key_create(&key_local, local_free) == 0);
}

/* The thread's context, under this key and nonce. */
static EVP_CIPHER_CTX *
ctx_local(const uint8_t *key, const uint8_t *nonce, int seal)
{
    if (local == NULL) {
        must(pthread_once(&once, setup) == 0);
        local = EVP_CIPHER_CTX_new();
        must(local != NULL);
        must(pthread_setspecific(key_local, local) == 0);
        must(EVP_CipherInit_ex2(local, gcm, NULL, NULL, seal, NULL));
        must(EVP_CIPHER_CTX_get_iv_length(local) == (int)SEAL_NONCE_BYTES);
    }
    must(EVP_CipherInit_ex2(local, NULL, key, nonce, seal, NULL));
    return local;
}

static void
put_all(EVP_CIPHER_CTX *ctx, const struct seal_text *t, uint8_t *out)
{
    int n = 0;

    assert(t->aad_bytes <= INT_MAX && t->bytes <= INT_MAX);
    if (t->aad_bytes > 0)
        must(EVP_CipherUpdate(ctx, NULL, &n, t->aad, (int)t->aad_bytes));
    if (t->bytes > 0) {
        must(EVP_CipherUpdate(ctx, out, &n, t->in, (int)t->bytes));
        assert((size_t)n == t->bytes);
    }
}

void
seal_close(const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_NONCE_BYTES],
           const struct seal_text *t, uint8_t *ret_out, uint8_t ret_tag[SEAL_TAG_BYTES])
{
    EVP_CIPHER_CTX *const ctx = ctx_local(key, nonce, 1);
    uint8_t rest[EVP_MAX_BLOCK_LENGTH];
    int n = 0;

    put_all(ctx, t, ret_out);
    must(EVP_CipherFinal_ex(ctx, rest, &n));
    assert(n == 0);
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, (int)SEAL_TAG_BYTES, ret_tag));
}

enum err_kind
seal_open(const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_NONCE_BYTES], const struct seal_text *t,
          const uint8_t tag[SEAL_TAG_BYTES], uint8_t *ret_out)
{
    EVP_CIPHER_CTX *const ctx = ctx_local(key, nonce, 0);
    uint8_t wanted[SEAL_TAG_BYTES];
    uint8_t rest[EVP_MAX_BLOCK_LENGTH];
    int n = 0;

    for (size_t i = 0; i < sizeof wanted; i++)
        wanted[i] = tag[i];
    put_all(ctx, t, ret_out);
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)SEAL_TAG_BYTES, wanted));
    if (EVP_CipherFinal_ex(ctx, rest, &n) == 1)
        return ERR_OK;
    /* Nobody may go on with bytes that were never proven. */
    OPENSSL_cleanse(ret_out, t->bytes);
    return ERR_CORRUPT;
}
