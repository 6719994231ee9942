/* Goal: the digests are the standards' own.  Method: published vectors, and the pieces held against each other. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "tests/unit/unit.h"

static void
digest_is(const struct digest *d, const char *hex)
{
    char text[HASH_HEX_ROOM];

    hash_hex(d, text);
    assert_string_equal(text, hex);
}

static void
sha256_gives_the_published_digests(void **state)
{
    static const struct {
        const char *text;
        const char *hex;
    } cases[] = {
        /* FIPS 180-4 examples */
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    };
    struct hash_stream *s = hash_stream_new();
    struct digest d;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t size = strlen(cases[i].text);

        hash_sha256(cases[i].text, size, &d);
        digest_is(&d, cases[i].hex);
        for (size_t at = 0; at < size; at++)
            hash_stream_put(s, cases[i].text + at, 1);
        hash_stream_end(s, &d);
        digest_is(&d, cases[i].hex);
    }
    hash_sha256(NULL, 0, &d);
    digest_is(&d, cases[0].hex);
    hash_stream_free(&s);
    assert_null(s);
    hash_stream_free(&s);
}

static void
a_prefix_stands_before_the_bytes(void **state)
{
    uint8_t bytes[1 + 2 * HASH_BYTES] = { 0x01 };
    struct digest left, right, a, b;

    (void)state;
    hash_sha256("left", 4, &left);
    hash_sha256("right", 5, &right);
    memcpy(bytes + 1, left.at, HASH_BYTES);
    memcpy(bytes + 1 + HASH_BYTES, right.at, HASH_BYTES);
    hash_sha256(bytes, sizeof bytes, &a);
    hash_pair(&left, &right, &b);
    assert_true(hash_same(&a, &b));
    hash_prefixed(0x01, bytes + 1, sizeof bytes - 1, &b);
    assert_true(hash_same(&a, &b));
    hash_prefixed(0x00, bytes + 1, sizeof bytes - 1, &b);
    assert_false(hash_same(&a, &b));
    hash_prefixed(0x00, "", 0, &a); /* RFC 6962: the leaf of nothing */
    digest_is(&a, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

/* Made with: openssl mac -digest SHA256 -macopt hexkey:KEY HMAC, and openssl kdf ... HKDF. */
static void
hmac_and_hkdf_agree_with_openssl(void **state)
{
    uint8_t key[32];
    uint8_t derived[32];
    struct digest d;

    (void)state;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(i + 1);
    hash_hmac(key, "what do ya want for nothing?", 28, &d);
    digest_is(&d, "4d9d653fcd05f91cd858a20d50c74b604fe38f2cac49d9b0a7099584cf4fb35a");
    hash_derive(key, "farshore test", derived);
    memcpy(d.at, derived, sizeof derived);
    digest_is(&d, "a71a86db3f2e7eef2a0187e2cf05f889cba0ccf774422f7dbe663ad895d1d949");
}

static void
hex_is_read_only_when_it_is_whole(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555",
        "g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        " 3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    };
    char text[HASH_HEX_ROOM];
    struct digest d, e;

    (void)state;
    hash_sha256("x", 1, &d);
    hash_hex(&d, text);
    assert_int_equal(hash_from_hex(text, &e), 0);
    assert_true(hash_same(&d, &e));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(hash_from_hex(bad[i], &e), -1);
    assert_true(hash_same(&d, &e));
}

static void
base64_is_that_of_rfc_4648(void **state)
{
    static const struct {
        const char *raw;
        const char *text;
        const char *url;
    } cases[] = { { "", "", "" },
                  { "f", "Zg==", "Zg" },
                  { "fo", "Zm8=", "Zm8" },
                  { "foo", "Zm9v", "Zm9v" },
                  { "foob", "Zm9vYg==", "Zm9vYg" },
                  { "fooba", "Zm9vYmE=", "Zm9vYmE" },
                  { "foobar", "Zm9vYmFy", "Zm9vYmFy" },
                  { "\xfb\xff\xfe", "+//+", "-__-" } };
    char text[16];
    char back[16];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t size = strlen(cases[i].raw);

        hash_base64(cases[i].raw, size, text);
        assert_string_equal(text, cases[i].text);
        hash_base64url(cases[i].raw, size, text);
        assert_string_equal(text, cases[i].url);
        assert_int_equal(hash_from_base64url(text, back, size), (long)size);
        assert_memory_equal(back, cases[i].raw, size);
        if (size > 0)
            assert_int_equal(hash_from_base64url(text, back, size - 1), -1);
    }
}

static void
a_bad_base64url_text_is_refused(void **state)
{
    static const char *const bad[] = { "Z", "Zg==", "Zm9v+", "Zm 9", "Zh", "Zm9vYmF", "Zm9\n", "Zm9vY" };
    char back[16];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(hash_from_base64url(bad[i], back, sizeof back), -1);
}

static void
random_bytes_and_checksums_differ(void **state)
{
    uint8_t a[1000] = { 0 };
    uint8_t b[1000] = { 0 };

    (void)state;
    hash_random(a, sizeof a);
    hash_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(hash_check(a, sizeof a, 1) != hash_check(a, sizeof a, 2));
    assert_true(hash_check(a, sizeof a, 1) != hash_check(b, sizeof b, 1));
    assert_true(hash_check("", 0, 0) == 0x2D06800538D394C2ull); /* xxHash's own vector */
}

static void *
hash_much(void *arg)
{
    struct digest *const d = arg;

    for (int i = 0; i < 1000; i++)
        hash_sha256(d->at, sizeof d->at, d);
    return NULL;
}

static void
threads_have_contexts_of_their_own(void **state)
{
    struct digest d[4] = { 0 };
    pthread_t t[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hash_much, &d[i]), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    for (size_t i = 1; i < 4; i++)
        assert_true(hash_same(&d[0], &d[i]));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_published_digests),
        cmocka_unit_test(a_prefix_stands_before_the_bytes),
        cmocka_unit_test(hmac_and_hkdf_agree_with_openssl),
        cmocka_unit_test(hex_is_read_only_when_it_is_whole),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(a_bad_base64url_text_is_refused),
        cmocka_unit_test(random_bytes_and_checksums_differ),
        cmocka_unit_test(threads_have_contexts_of_their_own),
    };

    return cmocka_run_group_tests_name("common/hash", tests, NULL, NULL);
}
