/* Goal: AES-256-GCM as the standard has it, and nothing unproven handed out.  Method: a published vector; every byte of
 * everything that is authenticated is changed in turn. */
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/seal.h"
#include "tests/unit/unit.h"

/* The GCM specification (McGrew and Viega), test case 16. */
static const uint8_t key[32] = { 0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f,
                                 0x94, 0x67, 0x30, 0x83, 0x08, 0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65,
                                 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08 };
static const uint8_t nonce[12] = { 0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88 };
static const uint8_t aad[20] = { 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed,
                                 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab, 0xad, 0xda, 0xd2 };
static const uint8_t plain[60] = { 0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5,
                                   0xaf, 0xf5, 0x26, 0x9a, 0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda,
                                   0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72, 0x1c, 0x3c, 0x0c, 0x95,
                                   0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25,
                                   0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39 };
static const uint8_t cipher[60] = { 0x52, 0x2d, 0xc1, 0xf0, 0x99, 0x56, 0x7d, 0x07, 0xf4, 0x7f, 0x37, 0xa3,
                                    0x2a, 0x84, 0x42, 0x7d, 0x64, 0x3a, 0x8c, 0xdc, 0xbf, 0xe5, 0xc0, 0xc9,
                                    0x75, 0x98, 0xa2, 0xbd, 0x25, 0x55, 0xd1, 0xaa, 0x8c, 0xb0, 0x8e, 0x48,
                                    0x59, 0x0d, 0xbb, 0x3d, 0xa7, 0xb0, 0x8b, 0x10, 0x56, 0x82, 0x88, 0x38,
                                    0xc5, 0xf6, 0x1e, 0x63, 0x93, 0xba, 0x7a, 0x0a, 0xbc, 0xc9, 0xf6, 0x62 };
static const uint8_t tag[16] = { 0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68,
                                 0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b };

static void
the_published_vector_comes_out(void **state)
{
    const struct seal_text t = { aad, sizeof aad, plain, sizeof plain };
    const struct seal_text back = { aad, sizeof aad, cipher, sizeof cipher };
    uint8_t out[sizeof plain];
    uint8_t got[16];

    (void)state;
    for (int round = 0; round < 2; round++) { /* the context is used again, in the other direction too */
        seal_close(key, nonce, &t, out, got);
        assert_memory_equal(out, cipher, sizeof cipher);
        assert_memory_equal(got, tag, sizeof tag);
        assert_int_equal(seal_open(key, nonce, &back, tag, out), ERR_OK);
        assert_memory_equal(out, plain, sizeof plain);
    }
}

static void
bytes_are_sealed_where_they_stand(void **state)
{
    uint8_t out[sizeof plain];
    uint8_t got[16];
    const struct seal_text t = { aad, sizeof aad, out, sizeof out };

    (void)state;
    memcpy(out, plain, sizeof out);
    seal_close(key, nonce, &t, out, got);
    assert_memory_equal(out, cipher, sizeof cipher);
    assert_int_equal(seal_open(key, nonce, &t, got, out), ERR_OK);
    assert_memory_equal(out, plain, sizeof plain);
}

static void
an_empty_text_has_a_tag_too(void **state)
{
    const struct seal_text none = { NULL, 0, NULL, 0 };
    const struct seal_text named = { "n", 1, NULL, 0 };
    uint8_t out[1];
    uint8_t got[16];

    (void)state;
    seal_close(key, nonce, &none, out, got);
    assert_int_equal(seal_open(key, nonce, &none, got, out), ERR_OK);
    assert_int_equal(seal_open(key, nonce, &named, got, out), ERR_CORRUPT);
    seal_close(key, nonce, &named, out, got);
    assert_int_equal(seal_open(key, nonce, &named, got, out), ERR_OK);
}

static void
a_changed_byte_anywhere_is_found_and_nothing_is_handed_out(void **state)
{
    struct {
        uint8_t key[32], nonce[12], aad[20], cipher[60], tag[16];
    } all;
    const uint8_t zeros[sizeof plain] = { 0 };
    uint8_t out[sizeof plain];

    (void)state;
    for (size_t i = 0; i < sizeof all; i++) {
        memcpy(all.key, key, sizeof key);
        memcpy(all.nonce, nonce, sizeof nonce);
        memcpy(all.aad, aad, sizeof aad);
        memcpy(all.cipher, cipher, sizeof cipher);
        memcpy(all.tag, tag, sizeof tag);
        ((uint8_t *)&all)[i] ^= 0x10;
        const struct seal_text t = { all.aad, sizeof all.aad, all.cipher, sizeof all.cipher };
        memset(out, 0x55, sizeof out);
        assert_int_equal(seal_open(all.key, all.nonce, &t, all.tag, out), ERR_CORRUPT);
        assert_memory_equal(out, zeros, sizeof out);
    }
}

static void
a_large_text_comes_back(void **state)
{
    enum { SIZE = 300000 };
    uint8_t *const a = malloc(SIZE);
    uint8_t *const b = malloc(SIZE);
    uint8_t got[16];

    (void)state;
    hash_random(a, SIZE);
    const struct seal_text t = { NULL, 0, a, SIZE };
    const struct seal_text back = { NULL, 0, b, SIZE };
    seal_close(key, nonce, &t, b, got);
    assert_memory_not_equal(a, b, SIZE);
    assert_int_equal(seal_open(key, nonce, &back, got, b), ERR_OK);
    assert_memory_equal(a, b, SIZE);
    free(a);
    free(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_vector_comes_out),
        cmocka_unit_test(bytes_are_sealed_where_they_stand),
        cmocka_unit_test(an_empty_text_has_a_tag_too),
        cmocka_unit_test(a_changed_byte_anywhere_is_found_and_nothing_is_handed_out),
        cmocka_unit_test(a_large_text_comes_back),
    };

    return cmocka_run_group_tests_name("common/seal", tests, NULL, NULL);
}
