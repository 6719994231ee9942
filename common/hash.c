#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <xxhash.h>

#include "common/hash.h"
#include "common/mem.h"

#define HMAC_BLOCK 64u /* of SHA-256 */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key_local;
static EVP_MD *sha256;
static __thread EVP_MD_CTX
    *local; /* key_local holds the same pointer, only to free it when the thread ends */

/* What this file asks of OpenSSL cannot fail on a sound machine, and a wrong digest would be worse than no process. */
static void
must(int ok)
{
    if (ok != 1)
        abort();
}

static void
local_free(void *ctx)
{
    EVP_MD_CTX_free(ctx);
    local = NULL;
}

static void
setup(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    must(sha256 != NULL);
    must(pthread_key_create(&key_local, local_free) == 0);
}

static EVP_MD_CTX *
ctx_make(void)
{
    must(pthread_once(&once, setup) == 0);
    EVP_MD_CTX *const ctx = EVP_MD_CTX_new();

    must(ctx != NULL);
    must(EVP_DigestInit_ex2(ctx, sha256, NULL));
    return ctx;
}

/* The thread's context, started. */
static EVP_MD_CTX *
ctx_local(void)
{
    if (local == NULL) {
        local = ctx_make();
        must(pthread_setspecific(key_local, local) == 0);
    } else {
        must(EVP_DigestInit_ex2(local, NULL, NULL));
    }
    return local;
}

void
hash_sha256(const void *bytes, size_t size, struct digest *ret)
{
    EVP_MD_CTX *const ctx = ctx_local();

    must(EVP_DigestUpdate(ctx, bytes, size));
    must(EVP_DigestFinal_ex(ctx, ret->at, NULL));
}

void
hash_prefixed(uint8_t prefix, const void *bytes, size_t size, struct digest *ret)
{
    EVP_MD_CTX *const ctx = ctx_local();

    must(EVP_DigestUpdate(ctx, &prefix, 1));
    must(EVP_DigestUpdate(ctx, bytes, size));
    must(EVP_DigestFinal_ex(ctx, ret->at, NULL));
}

void
hash_pair(const struct digest *left, const struct digest *right, struct digest *ret)
{
    uint8_t both[1 + 2 * HASH_BYTES] = { 0x01 };

    memcpy(both + 1, left->at, HASH_BYTES);
    memcpy(both + 1 + HASH_BYTES, right->at, HASH_BYTES);
    hash_sha256(both, sizeof both, ret);
}

struct hash_stream {
    EVP_MD_CTX *ctx;
};

struct hash_stream *
hash_stream_new(void)
{
    struct hash_stream *const s = mem_zero(1, sizeof *s);

    s->ctx = ctx_make();
    return s;
}

void
hash_stream_put(struct hash_stream *s, const void *bytes, size_t size)
{
    must(EVP_DigestUpdate(s->ctx, bytes, size));
}

void
hash_stream_end(struct hash_stream *s, struct digest *ret)
{
    must(EVP_DigestFinal_ex(s->ctx, ret->at, NULL));
    must(EVP_DigestInit_ex2(s->ctx, NULL, NULL));
}

void
hash_stream_free(struct hash_stream **s)
{
    if (*s == NULL)
        return;
    EVP_MD_CTX_free((*s)->ctx);
    free(*s);
    *s = NULL;
}

/* Two plain digests (RFC 2104 section 2): EVP_MAC would allocate and fetch for every row key of the index. */
void
hash_hmac(const uint8_t key[32], const void *bytes, size_t size, struct digest *ret)
{
    uint8_t inner[HMAC_BLOCK];
    uint8_t outer[HMAC_BLOCK + HASH_BYTES];
    struct digest d;

    memset(inner, 0x36, sizeof inner);
    memset(outer, 0x5c, HMAC_BLOCK);
    for (size_t i = 0; i < 32; i++) {
        inner[i] ^= key[i];
        outer[i] ^= key[i];
    }
    EVP_MD_CTX *const ctx = ctx_local();
    must(EVP_DigestUpdate(ctx, inner, sizeof inner));
    must(EVP_DigestUpdate(ctx, bytes, size));
    must(EVP_DigestFinal_ex(ctx, d.at, NULL));
    memcpy(outer + HMAC_BLOCK, d.at, HASH_BYTES);
    hash_sha256(outer, sizeof outer, ret);
    OPENSSL_cleanse(inner, sizeof inner);
    OPENSSL_cleanse(outer, sizeof outer);
}

void
hash_derive(const uint8_t key[32], const char *label, uint8_t ret_key[32])
{
    static const uint8_t no_salt[32];
    const size_t length = strlen(label);
    struct digest prk;
    struct digest out;
    uint8_t *const info = mem_alloc(length + 1);

    /* RFC 5869: extract, then the first block of expand: HMAC(PRK, info || 0x01). */
    memcpy(info, label, length);
    info[length] = 0x01;
    hash_hmac(no_salt, key, 32, &prk);
    hash_hmac(prk.at, info, length + 1, &out);
    memcpy(ret_key, out.at, 32);
    OPENSSL_cleanse(&prk, sizeof prk);
    OPENSSL_cleanse(&out, sizeof out);
    free(info);
}

void
hash_random(void *bytes, size_t size)
{
    uint8_t *at = bytes;

    while (size > 0) {
        const ssize_t n = getrandom(at, size, 0);

        if (n < 0 && errno == EINTR)
            continue;
        must(n > 0);
        at += n;
        size -= (size_t)n;
    }
}

uint64_t
hash_check(const void *bytes, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, size, seed);
}

void
hash_hex(const struct digest *d, char ret_text[HASH_HEX_ROOM])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < HASH_BYTES; i++) {
        ret_text[2 * i] = digits[d->at[i] >> 4];
        ret_text[2 * i + 1] = digits[d->at[i] & 15];
    }
    ret_text[2 * HASH_BYTES] = '\0';
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int
hash_from_hex(const char *text, struct digest *ret)
{
    struct digest d;

    if (strnlen(text, HASH_HEX_ROOM) != 2 * HASH_BYTES)
        return -1;
    for (size_t i = 0; i < HASH_BYTES; i++) {
        const int high = hex_value(text[2 * i]);
        const int low = hex_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return -1;
        d.at[i] = (uint8_t)(high << 4 | low);
    }
    *ret = d;
    return 0;
}

int
hash_same(const struct digest *a, const struct digest *b)
{
    return CRYPTO_memcmp(a->at, b->at, HASH_BYTES) == 0;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Returns the end of the text. */
static char *
base64_put(const char *digits, const uint8_t *at, size_t size, char *text)
{
    uint32_t held = 0;
    unsigned bits = 0;

    for (size_t i = 0; i < size; i++) {
        held = held << 8 | at[i];
        bits += 8;
        while (bits >= 6) {
            bits -= 6;
            *text++ = digits[held >> bits & 63];
        }
    }
    if (bits > 0)
        *text++ = digits[held << (6 - bits) & 63];
    *text = '\0';
    return text;
}

void
hash_base64(const void *bytes, size_t size, char *ret_text)
{
    char *end = base64_put(base64_digits, bytes, size, ret_text);

    while ((end - ret_text) % 4 != 0)
        *end++ = '=';
    *end = '\0';
}

void
hash_base64url(const void *bytes, size_t size, char *ret_text)
{
    (void)base64_put(base64url_digits, bytes, size, ret_text);
}

long
hash_from_base64url(const char *text, void *ret_bytes, size_t room)
{
    const size_t length = strlen(text);
    uint8_t *const out = ret_bytes;
    uint32_t held = 0;
    unsigned bits = 0;
    size_t n = 0;

    if (length % 4 == 1 || length / 4 * 3 + (length % 4 * 3) / 4 > room)
        return -1;
    for (size_t i = 0; i < length; i++) {
        const char *const digit = strchr(base64url_digits, text[i]);

        if (digit == NULL)
            return -1;
        held = held << 6 | (uint32_t)(digit - base64url_digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (uint8_t)(held >> bits);
        }
    }
    /* Bits beyond the last byte are zero, or one value would have several texts (RFC 4648 section 3.5). */
    if ((held & ((1u << bits) - 1)) != 0)
        return -1;
    return (long)n;
}
