/* Goal: certificates that OpenSSL's own verifier accepts for the one purpose that they are for, and proofs that only the
 * key's holder can make.  Method: the openssl program is the oracle. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/pki.h"
#include "common/sign.h"
#include "tests/unit/unit.h"

static void
file_put(int dir_fd, const char *name, const struct buf *b)
{
    const int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->at, b->size), (ssize_t)b->size);
    assert_int_equal(close(fd), 0);
}

/* A CA in ca.key and ca.crt; a key leaf.key and its certificate leaf.crt. */
static void
make(void **state, const struct pki_subject *subject)
{
    const int dir_fd = unit_dir_fd(state);
    uint8_t point[PKI_POINT_BYTES];
    struct buf ca = { 0 }, leaf = { 0 };
    struct err err = { 0 };

    if (pki_key_make(dir_fd, "ca.key", &err) != ERR_OK || pki_key_make(dir_fd, "leaf.key", &err) != ERR_OK ||
        pki_ca_make(dir_fd, "ca.key", "A province's CA", &ca, &err) != ERR_OK)
        fail_msg("%s", err.text);
    file_put(dir_fd, "ca.crt", &ca);
    if (pki_key_point(dir_fd, "leaf.key", point, &err) != ERR_OK ||
        pki_issue(dir_fd, "ca.key", "ca.crt", subject, point, &leaf, &err) != ERR_OK)
        fail_msg("%s", err.text);
    file_put(dir_fd, "leaf.crt", &leaf);
    buf_free(&ca);
    buf_free(&leaf);
}

static int
openssl(void **state, const char *arguments)
{
    char command[600];

    (void)snprintf(command, sizeof command, "cd '%s' && openssl %s >out 2>&1", unit_dir_path(state),
                   arguments);
    return system(command);
}

static void
a_certificate_is_valid_for_its_purpose_and_host_only(void **state)
{
    static const struct {
        struct pki_subject subject;
        const char *good;
        const char *bad[3];
    } cases[] = {
        { { "site", "192.0.2.7", 30, 1 },
          "-purpose sslserver -verify_ip 192.0.2.7",
          { "-purpose sslclient", "-purpose sslserver -verify_ip 192.0.2.8",
            "-purpose sslserver -verify_hostname other" } },
        { { "site", "2001:db8::1", 30, 1 },
          "-purpose sslserver -verify_ip 2001:db8::1",
          { "-purpose sslclient", "-purpose sslserver -verify_ip 192.0.2.8", "-attime 1000000000" } },
        { { "site", "dr.example.org", 30, 1 },
          "-purpose sslserver -verify_hostname dr.example.org",
          { "-purpose sslclient", "-purpose sslserver -verify_hostname example.org", "-attime 4000000000" } },
        { { "chengdu", NULL, 1, 0 },
          "-purpose sslclient",
          { "-purpose sslserver", "-purpose sslclient -verify_hostname x", "-purpose crlsign" } },
    };
    char text[300];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *dir = NULL;

        (void)state;
        assert_int_equal(unit_dir_new(&dir), 0);
        make(&dir, &cases[i].subject);
        (void)snprintf(text, sizeof text, "verify -x509_strict -CAfile ca.crt %s leaf.crt", cases[i].good);
        assert_int_equal(openssl(&dir, text), 0);
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(text, sizeof text, "verify -x509_strict -CAfile ca.crt %s leaf.crt",
                           cases[i].bad[k]);
            assert_int_not_equal(openssl(&dir, text), 0);
        }
        assert_int_equal(openssl(&dir, "verify -x509_strict -CAfile ca.crt -purpose any ca.crt"), 0);
        assert_int_equal(unit_dir_free(&dir), 0);
    }
}

static void
fingerprint_and_expiry_are_those_that_openssl_tells(void **state)
{
    const struct pki_subject subject = { "chengdu", NULL, 10, 0 };
    char pem[4000], out[400], hex[HASH_HEX_ROOM], bare[200];
    struct digest print;
    struct err err;
    int64_t ns = 0;
    size_t n = 0;

    make(state, &subject);
    unit_read(unit_dir_fd(state), "leaf.crt", pem, sizeof pem);
    assert_int_equal(pki_fingerprint(pem, strlen(pem), &print, &err), ERR_OK);
    hash_hex(&print, hex);
    assert_int_equal(openssl(state, "x509 -in leaf.crt -noout -fingerprint -sha256"), 0);
    unit_read(unit_dir_fd(state), "out", out, sizeof out);
    for (const char *at = strchr(out, '=') + 1; *at != '\0' && *at != '\n'; at++) {
        if (*at != ':')
            bare[n++] = *at >= 'A' ? (char)(*at - 'A' + 'a') : *at;
    }
    bare[n] = '\0';
    assert_string_equal(hex, bare);
    assert_int_equal(pki_expiry(pem, strlen(pem), &ns, &err), ERR_OK);
    const int64_t left_s = ns / 1000000000 - (int64_t)time(NULL);
    assert_true(left_s > 10 * 86400 - 100 && left_s <= 10 * 86400);
    assert_int_equal(pki_fingerprint("nothing", 7, &print, &err), ERR_CRYPTO);
    assert_int_equal(pki_expiry(pem, 0, &ns, &err), ERR_CRYPTO);
    assert_int_equal(pki_fingerprint(pem, strlen(pem) / 2, &print, &err), ERR_CRYPTO);
}

static void
only_the_holder_of_the_key_can_prove(void **state)
{
    const int dir_fd = unit_dir_fd(state);
    uint8_t point[PKI_POINT_BYTES], other[PKI_POINT_BYTES];
    struct buf proof = { 0 };
    struct err err;

    assert_int_equal(pki_key_make(dir_fd, "a", &err), ERR_OK);
    assert_int_equal(pki_key_make(dir_fd, "a", &err), ERR_REFUSED);
    assert_int_equal(pki_key_make(dir_fd, "b", &err), ERR_OK);
    assert_int_equal(pki_key_point(dir_fd, "a", point, &err), ERR_OK);
    assert_int_equal(pki_key_point(dir_fd, "b", other, &err), ERR_OK);
    assert_int_equal(pki_prove(dir_fd, "a", "text", 4, &proof, &err), ERR_OK);
    assert_true(proof.size <= 80);
    assert_int_equal(pki_proof_check(point, "text", 4, proof.at, proof.size, &err), ERR_OK);
    assert_int_equal(pki_proof_check(other, "text", 4, proof.at, proof.size, &err), ERR_CRYPTO);
    assert_int_equal(pki_proof_check(point, "test", 4, proof.at, proof.size, &err), ERR_CRYPTO);
    assert_int_equal(pki_proof_check(point, "text", 4, proof.at, 0, &err), ERR_CRYPTO);
    for (size_t i = 0; i < proof.size; i++) {
        proof.at[i] ^= 1;
        assert_int_equal(pki_proof_check(point, "text", 4, proof.at, proof.size, &err), ERR_CRYPTO);
        proof.at[i] ^= 1;
    }
    buf_free(&proof);
}

static void
a_point_that_is_none_is_refused(void **state)
{
    const struct pki_subject subject = { "chengdu", NULL, 10, 0 };
    uint8_t point[PKI_POINT_BYTES];
    struct buf out = { 0 };
    struct err err;

    make(state, &subject);
    assert_int_equal(pki_key_point(unit_dir_fd(state), "leaf.key", point, &err), ERR_OK);
    for (size_t i = 0; i < sizeof point; i += 8) {
        point[i] ^= 2;
        assert_int_equal(pki_issue(unit_dir_fd(state), "ca.key", "ca.crt", &subject, point, &out, &err),
                         ERR_CRYPTO);
        assert_int_equal(pki_proof_check(point, "text", 4, point, 10, &err), ERR_CRYPTO);
        point[i] ^= 2;
    }
    assert_int_equal(out.size, 0);
}

static void
bad_subjects_and_strange_keys_are_refused(void **state)
{
    static const struct pki_subject bad[] = {
        { "", NULL, 10, 0 },
        { "0123456789012345678901234567890123456789012345678901234567890123456789", NULL, 10, 0 },
        { "n", "", 10, 1 },
        { "n", "a,DNS:b", 10, 1 },
        { "n", "a b", 10, 1 },
        { "n", "*.example.org", 10, 1 },
        { "n", NULL, 0, 0 },
    };
    const struct pki_subject good = { "chengdu", NULL, 10, 0 };
    const int dir_fd = unit_dir_fd(state);
    uint8_t point[PKI_POINT_BYTES];
    struct buf out = { 0 };
    struct err err;

    make(state, &good);
    assert_int_equal(pki_key_point(dir_fd, "leaf.key", point, &err), ERR_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(pki_issue(dir_fd, "ca.key", "ca.crt", &bad[i], point, &out, &err), ERR_USAGE);
    assert_int_equal(pki_issue(dir_fd, "leaf.key", "ca.crt", &good, point, &out, &err), ERR_CRYPTO);
    assert_int_equal(pki_issue(dir_fd, "leaf.key", "leaf.crt", &good, point, &out, &err), ERR_CRYPTO);
    assert_int_equal(pki_issue(dir_fd, "none", "ca.crt", &good, point, &out, &err), ERR_ABSENT);
    assert_int_equal(sign_key_make(dir_fd, "ed", &err), ERR_OK);
    assert_int_equal(pki_key_point(dir_fd, "ed", point, &err), ERR_CRYPTO);
    assert_int_equal(pki_ca_make(dir_fd, "ed", "ca", &out, &err), ERR_CRYPTO);
    assert_int_equal(out.size, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_is_valid_for_its_purpose_and_host_only),
        unit_test_in_dir(fingerprint_and_expiry_are_those_that_openssl_tells),
        unit_test_in_dir(only_the_holder_of_the_key_can_prove),
        unit_test_in_dir(a_point_that_is_none_is_refused),
        unit_test_in_dir(bad_subjects_and_strange_keys_are_refused),
    };

    return cmocka_run_group_tests_name("common/pki", tests, NULL, NULL);
}
