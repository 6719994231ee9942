#include <arpa/inet.h>
#include <string.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/auto.h"
#include "common/pem.h"
#include "common/pki.h"

#define CURVE "prime256v1"
#define CA_DAYS 3653        /* ten years */
#define BACKDATE_S (-3600L) /* clocks of a province differ */
#define SERIAL_BYTES 16
#define NAME_MAX_BYTES 64 /* ub-common-name, RFC 5280 appendix A */
#define HOST_MAX_BYTES 253

static void
pkey_drop(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static void
cert_drop(X509 **cert)
{
    X509_free(*cert);
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

static void
names_drop(GENERAL_NAMES **names)
{
    GENERAL_NAMES_free(*names);
}

enum err_kind
pki_key_make(int dir_fd, const char *name, struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;

    ERR_clear_error();
    pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    if (pkey == NULL)
        return pem_fail(err, "could not make a P-256 key");
    return pem_key_save(dir_fd, name, pkey, err);
}

static enum err_kind
key_load(int dir_fd, const char *name, EVP_PKEY **ret, struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;
    char group[32] = "";
    size_t length = 0;
    const enum err_kind kind = pem_key_load(dir_fd, name, &pkey, err);

    if (kind != ERR_OK)
        return kind;
    if (EVP_PKEY_is_a(pkey, "EC") != 1 || EVP_PKEY_get_group_name(pkey, group, sizeof group, &length) != 1 ||
        strcmp(group, CURVE) != 0)
        return pem_fail(err, "\"%s\" is not a P-256 key", name);
    *ret = pkey;
    pkey = NULL;
    return ERR_OK;
}

enum err_kind
pki_key_point(int dir_fd, const char *name, uint8_t ret_point[PKI_POINT_BYTES], struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;
    unsigned char *point = NULL;
    const enum err_kind kind = key_load(dir_fd, name, &pkey, err);

    if (kind != ERR_OK)
        return kind;
    const size_t size = EVP_PKEY_get1_encoded_public_key(pkey, &point);
    if (size != PKI_POINT_BYTES || point[0] != 4) {
        OPENSSL_free(point);
        return pem_fail(err, "could not take the public key of \"%s\"", name);
    }
    memcpy(ret_point, point, PKI_POINT_BYTES);
    OPENSSL_free(point);
    return ERR_OK;
}

/* A public key out of a point that somebody sent: on the curve, not at infinity. */
static enum err_kind
key_of_point(const uint8_t *point, EVP_PKEY **ret, struct err *err)
{
    char curve[] = CURVE;
    uint8_t bytes[PKI_POINT_BYTES];
    EVP_PKEY *pkey = NULL;
    int sound = 0;

    memcpy(bytes, point, sizeof bytes);
    OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve, 0),
                            OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, bytes, sizeof bytes),
                            OSSL_PARAM_construct_end() };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (bytes[0] == 4 && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
        sound = EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1;
    EVP_PKEY_CTX_free(ctx);
    if (sound) {
        ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
        sound = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;
        EVP_PKEY_CTX_free(ctx);
    }
    if (!sound) {
        EVP_PKEY_free(pkey);
        return pem_fail(err, "not a point of P-256");
    }
    *ret = pkey;
    return ERR_OK;
}

enum err_kind
pki_prove(int dir_fd, const char *key, const void *bytes, size_t size, struct buf *ret, struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;
    AUTO(ctx_drop) EVP_MD_CTX *ctx = NULL;
    uint8_t proof[80];
    size_t n = sizeof proof;
    const enum err_kind kind = key_load(dir_fd, key, &pkey, err);

    if (kind != ERR_OK)
        return kind;
    ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, pkey, NULL) != 1 ||
        EVP_DigestSign(ctx, proof, &n, bytes, size) != 1)
        return pem_fail(err, "could not sign with \"%s\"", key);
    buf_put(ret, proof, n);
    return ERR_OK;
}

enum err_kind
pki_proof_check(const uint8_t point[PKI_POINT_BYTES], const void *bytes, size_t size, const uint8_t *proof,
                size_t proof_bytes, struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;
    AUTO(ctx_drop) EVP_MD_CTX *ctx = NULL;
    enum err_kind kind;

    ERR_clear_error();
    kind = key_of_point(point, &pkey, err);
    if (kind != ERR_OK)
        return kind;
    ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, pkey, NULL) != 1)
        return pem_fail(err, "could not check a signature");
    if (EVP_DigestVerify(ctx, proof, proof_bytes, bytes, size) != 1) {
        ERR_clear_error();
        return err_set(err, ERR_CRYPTO, "the signature does not belong to this key and text");
    }
    return ERR_OK;
}

static int
serial_put(X509 *cert)
{
    uint8_t bytes[SERIAL_BYTES];

    hash_random(bytes, sizeof bytes);
    /* Positive, and of full length always (RFC 5280 section 4.1.2.2). */
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40);
    BIGNUM *const number = BN_bin2bn(bytes, sizeof bytes, NULL);
    const int done = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return done;
}

static int
name_put(X509 *cert, const char *name)
{
    return X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName, MBSTRING_UTF8,
                                      (const unsigned char *)name, -1, -1, 0) == 1;
}

/* An extension by its configuration text: only constants come here, never a text from outside. */
static int
extension_put(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *const e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    const int done = e != NULL && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return done;
}

static int
host_sound(const char *host)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const size_t length = strlen(host);

    return length >= 1 && length <= HOST_MAX_BYTES && strspn(host, letters) == length;
}

static enum err_kind
address_put(X509 *cert, const char *address, struct err *err)
{
    AUTO(names_drop) GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *const name = GENERAL_NAME_new();
    ASN1_OCTET_STRING *const ip = a2i_IPADDRESS(address);
    ASN1_IA5STRING *dns = NULL;

    ERR_clear_error();
    if (ip == NULL && !host_sound(address)) {
        GENERAL_NAME_free(name);
        return err_set(err, ERR_USAGE, "\"%.255s\" is neither an IP address nor a host name", address);
    }
    if (names == NULL || name == NULL || sk_GENERAL_NAME_push(names, name) <= 0) {
        GENERAL_NAME_free(name);
        ASN1_OCTET_STRING_free(ip);
        return pem_fail(err, "could not name \"%s\" in a certificate", address);
    }
    if (ip != NULL) {
        GENERAL_NAME_set0_value(name, GEN_IPADD, ip);
    } else {
        dns = ASN1_IA5STRING_new();
        if (dns == NULL || ASN1_STRING_set(dns, address, -1) != 1) {
            ASN1_IA5STRING_free(dns);
            return pem_fail(err, "could not name \"%s\" in a certificate", address);
        }
        GENERAL_NAME_set0_value(name, GEN_DNS, dns);
    }
    if (X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1)
        return pem_fail(err, "could not name \"%s\" in a certificate", address);
    return ERR_OK;
}

/* What every certificate here has: version, serial, name, times, key. */
static enum err_kind
begin(const char *name, int days, EVP_PKEY *public, X509 **ret, struct err *err)
{
    AUTO(cert_drop) X509 *cert = X509_new();
    const size_t length = strlen(name);

    if (length < 1 || length > NAME_MAX_BYTES)
        return err_set(err, ERR_USAGE, "the name of a certificate has 1 to %d bytes", NAME_MAX_BYTES);
    if (days < 1)
        return err_set(err, ERR_USAGE, "a certificate is valid for a day or more, not for %d", days);
    if (cert == NULL || X509_set_version(cert, X509_VERSION_3) != 1 || !serial_put(cert) ||
        !name_put(cert, name) || X509_gmtime_adj(X509_getm_notBefore(cert), BACKDATE_S) == NULL ||
        X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL) == NULL ||
        X509_set_pubkey(cert, public) != 1)
        return pem_fail(err, "could not make a certificate for \"%s\"", name);
    *ret = cert;
    cert = NULL;
    return ERR_OK;
}

static enum err_kind
finish(X509 *cert, EVP_PKEY *ca_key, struct buf *ret, struct err *err)
{
    AUTO(bio_drop) BIO *bio = BIO_new(BIO_s_mem());
    char *bytes = NULL;

    if (bio == NULL || X509_sign(cert, ca_key, EVP_sha256()) == 0 || PEM_write_bio_X509(bio, cert) != 1)
        return pem_fail(err, "could not sign a certificate");
    const long size = BIO_get_mem_data(bio, &bytes);
    buf_put(ret, bytes, (size_t)size);
    return ERR_OK;
}

enum err_kind
pki_ca_make(int dir_fd, const char *ca_key, const char *name, struct buf *ret, struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *pkey = NULL;
    AUTO(cert_drop) X509 *cert = NULL;
    enum err_kind kind = key_load(dir_fd, ca_key, &pkey, err);

    if (kind == ERR_OK)
        kind = begin(name, CA_DAYS, pkey, &cert, err);
    if (kind != ERR_OK)
        return kind;
    if (X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !extension_put(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !extension_put(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !extension_put(cert, cert, NID_subject_key_identifier, "hash"))
        return pem_fail(err, "could not make the CA certificate");
    return finish(cert, pkey, ret, err);
}

static enum err_kind
cert_load(int dir_fd, const char *name, X509 **ret, struct err *err)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    AUTO(bio_drop) BIO *bio = NULL;
    const enum err_kind kind = pem_open(dir_fd, name, &bytes, &bio, err);

    if (kind != ERR_OK)
        return kind;
    X509 *const cert = PEM_read_bio_X509(bio, NULL, pem_no_phrase, NULL);
    if (cert == NULL)
        return pem_fail(err, "\"%s\" holds no certificate", name);
    *ret = cert;
    return ERR_OK;
}

enum err_kind
pki_issue(int dir_fd, const char *ca_key, const char *ca_cert, const struct pki_subject *subject,
          const uint8_t point[PKI_POINT_BYTES], struct buf *ret, struct err *err)
{
    AUTO(pkey_drop) EVP_PKEY *key = NULL;
    AUTO(pkey_drop) EVP_PKEY *public = NULL;
    AUTO(cert_drop) X509 *ca = NULL;
    AUTO(cert_drop) X509 *cert = NULL;
    enum err_kind kind = key_load(dir_fd, ca_key, &key, err);

    if (kind == ERR_OK)
        kind = cert_load(dir_fd, ca_cert, &ca, err);
    if (kind == ERR_OK && (X509_check_private_key(ca, key) != 1 || X509_check_ca(ca) < 1))
        kind = pem_fail(err, "\"%s\" is not the certificate of a CA with the key \"%s\"", ca_cert, ca_key);
    if (kind == ERR_OK)
        kind = key_of_point(point, &public, err);
    if (kind == ERR_OK)
        kind = begin(subject->name, subject->days, public, &cert, err);
    if (kind == ERR_OK && subject->address != NULL)
        kind = address_put(cert, subject->address, err);
    if (kind != ERR_OK)
        return kind;
    if (X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1 ||
        !extension_put(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
        !extension_put(cert, ca, NID_key_usage, "critical,digitalSignature") ||
        !extension_put(cert, ca, NID_ext_key_usage, subject->server ? "serverAuth" : "clientAuth") ||
        !extension_put(cert, ca, NID_subject_key_identifier, "hash") ||
        !extension_put(cert, ca, NID_authority_key_identifier, "keyid"))
        return pem_fail(err, "could not make a certificate for \"%s\"", subject->name);
    return finish(cert, key, ret, err);
}

static enum err_kind
cert_of(const void *pem, size_t size, X509 **ret, struct err *err)
{
    AUTO(bio_drop) BIO *bio = NULL;

    ERR_clear_error();
    if (size > PEM_FILE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "a certificate of %zu bytes", size);
    bio = BIO_new_mem_buf(size == 0 ? "" : pem, (int)size);
    X509 *const cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, pem_no_phrase, NULL);
    if (cert == NULL)
        return pem_fail(err, "not a certificate in PEM");
    *ret = cert;
    return ERR_OK;
}

enum err_kind
pki_fingerprint(const void *pem, size_t size, struct digest *ret, struct err *err)
{
    AUTO(cert_drop) X509 *cert = NULL;
    unsigned char *der = NULL;
    const enum err_kind kind = cert_of(pem, size, &cert, err);

    if (kind != ERR_OK)
        return kind;
    const int length = i2d_X509(cert, &der);
    if (length <= 0)
        return pem_fail(err, "could not encode a certificate");
    hash_sha256(der, (size_t)length, ret);
    OPENSSL_free(der);
    return ERR_OK;
}

enum err_kind
pki_expiry(const void *pem, size_t size, int64_t *ret_ns, struct err *err)
{
    AUTO(cert_drop) X509 *cert = NULL;
    struct tm tm;
    int64_t ns = 0;
    const enum err_kind kind = cert_of(pem, size, &cert, err);

    if (kind != ERR_OK)
        return kind;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
        return pem_fail(err, "a certificate without a time of expiry");
    /* Year 9999, "never", does not fit: it becomes the last time that does. */
    if (__builtin_mul_overflow((int64_t)timegm(&tm), (int64_t)1000000000, &ns))
        ns = INT64_MAX;
    *ret_ns = ns;
    return ERR_OK;
}
