/* pem.h - private keys in PEM files, and OpenSSL's error queue as a text: what sign.c, pki.c and channel.c share. */
#ifndef COMMON_PEM_H
#define COMMON_PEM_H

#include <openssl/types.h>

#include "common/bytes.h"
#include "common/err.h"

#define PEM_FILE_BYTES_MAX (64u * 1024u) /* a chain of certificates is a few KiB */

/* Write a private key as PKCS#8 PEM, mode 0600, durably, to dir_fd/name.  Errors: ERR_REFUSED when name exists: a key is
 * never overwritten. */
ERR_CHECK enum err_kind pem_key_save(int dir_fd, const char *name, EVP_PKEY *key, struct err *err);

/* Errors: ERR_ABSENT, ERR_CRYPTO (not a private key, or one under a passphrase). */
ERR_CHECK enum err_kind pem_key_load(int dir_fd, const char *name, EVP_PKEY **ret, struct err *err);

/* A BIO over the bytes of a file; *ret_bytes holds them and must live as long as the BIO. */
ERR_CHECK enum err_kind pem_open(int dir_fd, const char *name, struct buf *ret_bytes, BIO **ret,
                                 struct err *err);

/* Answers that there is no passphrase, so that OpenSSL never asks a terminal for one. */
int pem_no_phrase(char *room, int size, int rw, void *arg);

/* ERR_CRYPTO: the message, then the first reason in OpenSSL's queue, which is emptied. */
enum err_kind pem_fail(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Empty a buffer that held a secret. */
void pem_wipe(struct buf *b);

#endif
