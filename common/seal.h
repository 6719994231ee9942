/* seal.h - AES-256-GCM (NIST SP 800-38D). */
#ifndef COMMON_SEAL_H
#define COMMON_SEAL_H

#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

#define SEAL_KEY_BYTES 32u
#define SEAL_NONCE_BYTES 12u
#define SEAL_TAG_BYTES 16u

struct seal_text {
    const void *aad; /* [aad_bytes], authenticated, not encrypted; borrowed */
    size_t aad_bytes;
    const void *in;  /* [bytes], borrowed */
    size_t bytes;
};

/* Encrypt t->in to ret_out [t->bytes] (may be the same buffer).  The caller never gives a nonce twice under one key.
 * Contexts are per thread.  A failure of the library ends the process. */
void seal_close(const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_NONCE_BYTES], const struct seal_text *t,
                uint8_t *ret_out, uint8_t ret_tag[SEAL_TAG_BYTES]);

/* Decrypt and check.  Errors: ERR_CORRUPT when the tag does not hold; ret_out is then zeroed. */
ERR_CHECK enum err_kind seal_open(const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_NONCE_BYTES],
                                  const struct seal_text *t, const uint8_t tag[SEAL_TAG_BYTES], uint8_t *ret_out);
#endif
