#include <assert.h>
#include <signal.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/auto.h"
#include "common/channel_internal.h"
#include "common/limits.h"
#include "common/mem.h"
#include "common/pem.h"

#define READ_BUFFER_BYTES (64u * KIB) /* a few records a system call */
#define CHAIN_MAX 16u

static void
bio_drop(BIO **bio)
{
    BIO_free_all(*bio);
}

static void
cert_drop(X509 **cert)
{
    X509_free(*cert);
}

static void
pkey_drop(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

int
channel_print(X509 *cert, struct digest *ret)
{
    unsigned char *der = NULL;
    const int length = i2d_X509(cert, &der);

    if (length <= 0)
        return -1;
    hash_sha256(der, (size_t)length, ret);
    OPENSSL_free(der);
    return 0;
}

/* Join: the only thing known of the site is the print of its CA.  The CA that the site sends is the anchor if it has
 * that print; the rest is what the library does with any anchor (signatures, times, purpose, host). */
static int
verify_by_print(X509_STORE_CTX *x, void *arg)
{
    const struct channel_context *const c = arg;
    STACK_OF(X509) *const sent = X509_STORE_CTX_get0_untrusted(x);
    X509 *anchor = NULL;
    struct digest print;

    for (int i = 0; i < sk_X509_num(sent); i++) {
        X509 *const cert = sk_X509_value(sent, i);

        if (channel_print(cert, &print) == 0 && hash_same(&print, &c->ca_print) && X509_check_ca(cert) == 1 &&
            X509_cmp(cert, X509_STORE_CTX_get0_cert(x)) != 0)
            anchor = cert;
    }
    STACK_OF(X509) *const trusted = sk_X509_new_null();
    if (anchor == NULL || trusted == NULL || sk_X509_push(trusted, anchor) <= 0) {
        sk_X509_free(trusted);
        X509_STORE_CTX_set_error(x, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    X509_STORE_CTX_set0_trusted_stack(x, trusted);
    const int ok = X509_verify_cert(x);
    sk_X509_free(trusted);
    return ok;
}

/* The first certificate of the file is the identity's own, further ones belong to its chain. */
static enum err_kind
load_cert(SSL_CTX *ssl, const struct channel_identity *id, struct err *err)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    AUTO(bio_drop) BIO *bio = NULL;
    AUTO(pkey_drop) EVP_PKEY *key = NULL;
    enum err_kind kind = pem_open(id->dir_fd, id->cert, &bytes, &bio, err);

    for (unsigned n = 0; kind == ERR_OK && n < CHAIN_MAX; n++) {
        AUTO(cert_drop) X509 *cert = PEM_read_bio_X509(bio, NULL, pem_no_phrase, NULL);

        if (cert == NULL && n > 0)
            break;
        if (cert == NULL)
            kind = pem_fail(err, "\"%s\" holds no certificate", id->cert);
        else if ((n == 0 ? SSL_CTX_use_certificate(ssl, cert) : SSL_CTX_add1_chain_cert(ssl, cert)) != 1)
            kind = pem_fail(err, "could not use the certificate \"%s\"", id->cert);
    }
    if (kind == ERR_OK)
        kind = pem_key_load(id->dir_fd, id->key, &key, err);
    if (kind == ERR_OK && (SSL_CTX_use_PrivateKey(ssl, key) != 1 || SSL_CTX_check_private_key(ssl) != 1))
        kind = pem_fail(err, "the key \"%s\" does not belong to the certificate \"%s\"", id->key, id->cert);
    ERR_clear_error();
    return kind;
}

/* Trust the CA.  A server sends it as well: who joins knows only its print. */
static enum err_kind
load_ca(SSL_CTX *ssl, const struct channel_identity *id, int server, struct err *err)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    AUTO(bio_drop) BIO *bio = NULL;
    enum err_kind kind = pem_open(id->dir_fd, id->ca, &bytes, &bio, err);

    for (unsigned n = 0; kind == ERR_OK && n < CHAIN_MAX; n++) {
        AUTO(cert_drop) X509 *cert = PEM_read_bio_X509(bio, NULL, pem_no_phrase, NULL);

        if (cert == NULL && n > 0)
            break;
        if (cert == NULL)
            kind = pem_fail(err, "\"%s\" holds no certificate", id->ca);
        else if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), cert) != 1 ||
                 (server && id->cert != NULL && SSL_CTX_add1_chain_cert(ssl, cert) != 1))
            kind = pem_fail(err, "could not use the CA certificate \"%s\"", id->ca);
    }
    ERR_clear_error();
    return kind;
}

static int
setup_tls(SSL_CTX *ssl)
{
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                    SSL_MODE_NO_AUTO_CHAIN);
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_default_read_buffer_len(ssl, READ_BUFFER_BYTES);
    /* Without FAIL_IF_NO_PEER_CERT: who joins has none.  A client refuses a server without one in any case. */
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    /* A CA of the province may itself stand under another: it is an anchor nevertheless. */
    return SSL_CTX_set_num_tickets(ssl, 0) == 1 && SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN) == 1;
}

enum err_kind
channel_context_new(const struct channel_identity *id, int server, struct channel_context **ret,
                    struct err *err)
{
    AUTO(channel_context_free) struct channel_context *c = mem_zero(1, sizeof *c);
    struct sigaction old;
    enum err_kind kind = ERR_OK;

    assert((id->cert == NULL) == (id->key == NULL) && (id->ca != NULL || id->ca_print != NULL));
    assert(!server || (id->cert != NULL && id->ca != NULL));
    /* OpenSSL writes to its socket with write(2): a peer that is gone must be an error, not the end of the process. */
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        (void)signal(SIGPIPE, SIG_IGN);
    ERR_clear_error();
    c->server = server != 0;
    c->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (c->ssl == NULL || !setup_tls(c->ssl))
        return pem_fail(err, "could not set up TLS 1.3");
    if (id->cert != NULL)
        kind = load_cert(c->ssl, id, err);
    if (kind == ERR_OK && id->ca != NULL)
        kind = load_ca(c->ssl, id, server, err);
    if (kind != ERR_OK)
        return kind;
    if (id->ca == NULL) {
        c->ca_print = *id->ca_print;
        SSL_CTX_set_cert_verify_callback(c->ssl, verify_by_print, c);
    }
    *ret = c;
    c = NULL;
    return ERR_OK;
}

void
channel_context_free(struct channel_context **c)
{
    if (*c == NULL)
        return;
    SSL_CTX_free((*c)->ssl);
    free(*c);
    *c = NULL;
}
