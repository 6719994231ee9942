/* hash.h - digests, keyed digests, derived keys, random bytes.  Digests are fetched once (implicit fetch costs a lock at
 * each use in OpenSSL 3.0) and contexts are reused per thread.  A digest that fails is a broken machine: the process ends. */
#ifndef COMMON_HASH_H
#define COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 32u
struct digest {
    uint8_t at[HASH_BYTES];
};

/* SHA-256 of the bytes. */
void hash_sha256(const void *bytes, size_t size, struct digest *ret);

/* SHA-256 of one prefix byte and the bytes (RFC 6962 section 2.1 separates leaves and nodes so). */
void hash_prefixed(uint8_t prefix, const void *bytes, size_t size, struct digest *ret);

/* SHA-256 of 0x01, left, right. */
void hash_pair(const struct digest *left, const struct digest *right, struct digest *ret);

/* A digest in pieces. */
struct hash_stream;
struct hash_stream *hash_stream_new(void);
void hash_stream_put(struct hash_stream *s, const void *bytes, size_t size);
void hash_stream_end(struct hash_stream *s, struct digest *ret); /* and start anew */
void hash_stream_free(struct hash_stream **s);

/* HMAC-SHA-256 (RFC 2104) under a 32-byte key. */
void hash_hmac(const uint8_t key[32], const void *bytes, size_t size, struct digest *ret);

/* HKDF-SHA-256 (RFC 5869), empty salt, info = label, 32 bytes out. */
void hash_derive(const uint8_t key[32], const char *label, uint8_t ret_key[32]);

void hash_random(void *bytes, size_t size);

/* XXH3-64: a fast checksum of index rows, never a proof. */
uint64_t hash_check(const void *bytes, size_t size, uint64_t seed);

#define HASH_HEX_ROOM (2 * HASH_BYTES + 1)
void hash_hex(const struct digest *d, char ret_text[HASH_HEX_ROOM]);
int hash_from_hex(const char *text, struct digest *ret); /* 0, or -1 unless exactly 64 hex digits */
int hash_same(const struct digest *a, const struct digest *b); /* 1 if equal; constant time */

/* base64 with padding, for signed notes; base64url without, for tokens (RFC 4648).  ret_text has room for
 * 4 * ((size + 2) / 3) + 1. */
void hash_base64(const void *bytes, size_t size, char *ret_text);
void hash_base64url(const void *bytes, size_t size, char *ret_text);
/* Decode base64url; returns the number of bytes, or -1 on a bad text or one longer than room. */
long hash_from_base64url(const char *text, void *ret_bytes, size_t room);

#endif
