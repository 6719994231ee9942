/* Goal: bytes come back, and a frame that lies about itself never does.  Method: random and even content of many sizes,
 * each byte of a frame changed in turn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/limits.h"
#include "common/zip.h"
#include "tests/unit/unit.h"

static uint8_t raw[BLOB_RAW_MAX];
static uint8_t back[BLOB_RAW_MAX];

static void
bytes_of_every_size_come_back(void **state)
{
    static const size_t sizes[] = { 0, 1, 2, 100, 4096, 65535, 65536, 65537, BLOB_RAW_MAX };
    static const int levels[] = { 1, 3, 19 };
    uint8_t *const out = malloc(zip_bound(BLOB_RAW_MAX));

    (void)state;
    for (size_t random = 0; random < 2; random++) {
        memset(raw, 'x', sizeof raw);
        if (random == 1)
            hash_random(raw, sizeof raw);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            const size_t n = zip_pack(levels[i % 3], raw, sizes[i], out);

            assert_true(n > 0 && n <= zip_bound(sizes[i]));
            assert_true(n <= BLOB_STORED_MAX);
            assert_true(random == 1 || sizes[i] < 100 || n < sizes[i] / 2);
            assert_int_equal(zip_unpack(out, n, back, sizes[i], NULL), ERR_OK);
            assert_memory_equal(raw, back, sizes[i]);
        }
    }
    free(out);
}

static void
a_frame_gives_exactly_what_was_announced(void **state)
{
    uint8_t out[2000];
    struct err err;

    (void)state;
    memset(raw, 'x', 1000);
    const size_t n = zip_pack(1, raw, 1000, out);
    assert_int_equal(zip_unpack(out, n, back, 999, &err), ERR_CORRUPT);
    assert_int_equal(zip_unpack(out, n, back, 1001, &err), ERR_CORRUPT);
    assert_int_equal(zip_unpack(out, n, back, 0, &err), ERR_CORRUPT);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(zip_unpack(out, cut, back, 1000, &err), ERR_CORRUPT);
    out[n] = 0;
    assert_int_equal(zip_unpack(out, n + 1, back, 1000, &err), ERR_CORRUPT);
    memcpy(out + n, out, n); /* a second frame */
    assert_int_equal(zip_unpack(out, 2 * n, back, 1000, &err), ERR_CORRUPT);
    assert_int_equal(zip_unpack(out, n, back, BLOB_RAW_MAX + 1, &err), ERR_CORRUPT);
    assert_int_equal(zip_unpack("not a frame", 11, back, 1000, &err), ERR_CORRUPT);
    assert_true(err.text[0] != '\0');
}

/* zstd's checksum is off (the seal has one), so a changed byte may give other bytes, but never more than announced. */
static void
a_damaged_frame_is_survived(void **state)
{
    uint64_t seed = unit_seed();
    uint8_t *const out = malloc(zip_bound(20000));
    size_t refused = 0;

    (void)state;
    for (size_t i = 0; i < 20000; i++)
        raw[i] = (uint8_t)(unit_random(&seed) % 20 == 0 ? unit_random(&seed) : i / 64);
    const size_t n = zip_pack(3, raw, 20000, out);
    for (size_t i = 0; i < 3000; i++) {
        const size_t at = unit_random(&seed) % n;
        const uint8_t flip = (uint8_t)(1u << unit_random(&seed) % 8);

        out[at] ^= flip;
        if (zip_unpack(out, n, back, 20000, NULL) != ERR_OK)
            refused++;
        out[at] ^= flip;
    }
    assert_true(refused > 0);
    assert_int_equal(zip_unpack(out, n, back, 20000, NULL), ERR_OK);
    assert_memory_equal(raw, back, 20000);
    free(out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_every_size_come_back),
        cmocka_unit_test(a_frame_gives_exactly_what_was_announced),
        cmocka_unit_test(a_damaged_frame_is_survived),
    };

    return cmocka_run_group_tests_name("common/zip", tests, NULL, NULL);
}
