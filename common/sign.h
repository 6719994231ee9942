/* sign.h - Ed25519 (RFC 8032) over domain-named texts. */
#ifndef COMMON_SIGN_H
#define COMMON_SIGN_H

#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

#define SIGN_BYTES 64u
#define SIGN_PUBLIC_BYTES 32u

struct sign_key; /* a private key */

/* Make a key and write it as PKCS#8 PEM, mode 0600, durably, to dir_fd/name, which must not exist. */
ERR_CHECK enum err_kind sign_key_make(int dir_fd, const char *name, struct err *err);
ERR_CHECK enum err_kind sign_key_load(int dir_fd, const char *name, struct sign_key **ret, struct err *err);
void sign_key_free(struct sign_key **key);
void sign_public(const struct sign_key *key, uint8_t ret_public[SIGN_PUBLIC_BYTES]);

/* Thread-safe. */
void sign_make(const struct sign_key *key, const void *bytes, size_t size, uint8_t ret_signature[SIGN_BYTES]);
/* Errors: ERR_CORRUPT when the signature does not hold. */
ERR_CHECK enum err_kind sign_check(const uint8_t public[SIGN_PUBLIC_BYTES], const void *bytes, size_t size,
                                   const uint8_t signature[SIGN_BYTES]);

/* A public key as SubjectPublicKeyInfo PEM (RFC 8410), as openssl pkey -pubin reads it. */
ERR_CHECK enum err_kind sign_public_save(int dir_fd, const char *name, const uint8_t public[SIGN_PUBLIC_BYTES],
                                         struct err *err);
ERR_CHECK enum err_kind sign_public_load(int dir_fd, const char *name, uint8_t ret_public[SIGN_PUBLIC_BYTES],
                                         struct err *err);
#endif
