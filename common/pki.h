/* pki.h - the few X.509 acts that are needed: a CA, a certificate for a raw public key, fingerprints.  Nothing foreign is
 * parsed but PEM certificates that the TLS library checks anyhow: no CSR, no PKCS#7, no PKCS#12 (PITFALLS: 71 CVE ids). */
#ifndef COMMON_PKI_H
#define COMMON_PKI_H

#include <stddef.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "common/hash.h"

#define PKI_POINT_BYTES 65u /* an uncompressed P-256 point */

/* Make a P-256 key, PKCS#8 PEM, mode 0600, durable, in dir_fd/name. */
ERR_CHECK enum err_kind pki_key_make(int dir_fd, const char *name, struct err *err);
ERR_CHECK enum err_kind pki_key_point(int dir_fd, const char *name, uint8_t ret_point[PKI_POINT_BYTES], struct err *err);

/* Proof that the holder of point's private key meant these bytes: ECDSA with SHA-256, DER, at most 80 bytes. */
ERR_CHECK enum err_kind pki_prove(int dir_fd, const char *key, const void *bytes, size_t size, struct buf *ret,
                                  struct err *err);
ERR_CHECK enum err_kind pki_proof_check(const uint8_t point[PKI_POINT_BYTES], const void *bytes, size_t size,
                                        const uint8_t *proof, size_t proof_bytes, struct err *err);

struct pki_subject {
    const char *name;      /* common name */
    const char *address;   /* site: host or IP for the subjectAltName, else NULL */
    int days;              /* of validity from an hour ago */
    int server;            /* 1: serverAuth, 0: clientAuth */
};
/* A self-signed CA certificate over key ca_key; PEM appended to ret. */
ERR_CHECK enum err_kind pki_ca_make(int dir_fd, const char *ca_key, const char *name, struct buf *ret, struct err *err);
/* A certificate for point, signed by the CA; PEM appended to ret. */
ERR_CHECK enum err_kind pki_issue(int dir_fd, const char *ca_key, const char *ca_cert, const struct pki_subject *subject,
                                  const uint8_t point[PKI_POINT_BYTES], struct buf *ret, struct err *err);
/* SHA-256 over the DER of the first certificate in the PEM. */
ERR_CHECK enum err_kind pki_fingerprint(const void *pem, size_t size, struct digest *ret, struct err *err);
/* The time after which the first certificate in the PEM is no longer valid, ns since 1970. */
ERR_CHECK enum err_kind pki_expiry(const void *pem, size_t size, int64_t *ret_ns, struct err *err);

#endif
