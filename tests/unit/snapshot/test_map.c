/* A map says where each byte of 4 MiB lies; it has one encoding, and damage is told.
 * Method: random maps against a model with one record a byte; each truncation and each bit flip of an encoding. */
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/map.h"
#include "snapshot/merkle.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

/* A random map of that many bytes. */
static void
make(struct map *m, uint32_t bytes)
{
    uint32_t left = bytes;

    *m = (struct map){ .bytes = bytes };
    for (size_t b = 0; b < merkle_blocks(bytes); b++) {
        const uint32_t len = b < bytes / BLOCK_BYTES ? BLOCK_BYTES : bytes % BLOCK_BYTES;

        if (seed_below(3) == 0)
            merkle_zero(len, &m->blocks[b]);
        else
            seed_fill(&m->blocks[b], sizeof m->blocks[b]);
    }
    while (left > 0) {
        const uint32_t most = left < BLOB_RAW_MAX ? left : BLOB_RAW_MAX;
        const uint32_t len = 1 + (uint32_t)seed_below(seed_below(2) ? most : most < 9000 ? most : 9000);
        const uint64_t blob = seed_below(4) == 0 ? EXTENT_ZERO
                              : seed_below(3)    ? 1 + seed_below(5)
                                                 : seed_next() | 1;

        map_add(m, blob, blob == EXTENT_ZERO ? 0 : (uint32_t)seed_below(BLOB_RAW_MAX - len + 1), len);
        left -= len;
    }
    if (m->extent_count > MAP_EXTENTS_MAX) {
        map_free(m);
        make(m, bytes);
    }
}

static bool
same(const struct map *a, const struct map *b)
{
    if (a->bytes != b->bytes || a->extent_count != b->extent_count ||
        memcmp(a->blocks, b->blocks, merkle_blocks(a->bytes) * sizeof a->blocks[0]) != 0)
        return false;
    for (size_t i = 0; i < a->extent_count; i++)
        if (a->extents[i].blob != b->extents[i].blob || a->extents[i].off != b->extents[i].off ||
            a->extents[i].len != b->extents[i].len)
            return false;
    return true;
}

static uint32_t
some_size(void)
{
    static const uint32_t edges[] = { 1,        BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, MAP_BYTES - 1,
                                      MAP_BYTES };
    const uint64_t pick = seed_below(12);

    return pick < 6 ? edges[pick] : 1 + (uint32_t)seed_below(MAP_BYTES);
}

static void
what_is_encoded_is_read_back(void **state)
{
    (void)state;
    seed_start();
    for (unsigned round = 0; round < 500; round++) {
        AUTO(map_free) struct map m, back = { 0 };
        AUTO(buf_free) struct buf first = { 0 }, again = { 0 };

        make(&m, some_size());
        map_encode(&m, &first);
        assert_int_equal(map_parse(first.at, first.size, &back, NULL), ERR_OK);
        assert_true(same(&m, &back));
        map_encode(&back, &again);
        assert_int_equal(first.size, again.size);
        assert_memory_equal(first.at, again.at, first.size);
    }
}

static void
the_largest_map_fits_an_object(void **state)
{
    AUTO(map_free) struct map m = { .bytes = MAP_BYTES }, back = { 0 };
    AUTO(buf_free) struct buf b = { 0 };

    (void)state;
    seed_start();
    seed_fill(m.blocks, sizeof m.blocks);
    for (uint32_t i = 0; i < MAP_EXTENTS_MAX; i++)
        map_add(&m, i % 2 ? UINT64_MAX / 2 : UINT64_MAX - i, BLOB_RAW_MAX - 512, 512);
    assert_int_equal(m.extent_count, MAP_EXTENTS_MAX);
    map_encode(&m, &b);
    assert_true(b.size <= OBJECT_BYTES_MAX);
    assert_int_equal(map_parse(b.at, b.size, &back, NULL), ERR_OK);
    assert_true(same(&m, &back));
}

/* The byte at off of the file: where it lies. */
static struct extent
place(const struct map *m, uint32_t off)
{
    const struct extent *e = m->extents;

    for (; off >= e->len; e++)
        off -= e->len;
    return (struct extent){ .blob = e->blob, .off = e->blob == EXTENT_ZERO ? 0 : e->off + off, .len = 1 };
}

static void
a_slice_has_the_places_of_its_bytes(void **state)
{
    (void)state;
    seed_start();
    for (unsigned round = 0; round < 300; round++) {
        AUTO(map_free) struct map from, to = { 0 };
        uint32_t spans[8][2], at = 0;
        const size_t count = 1 + seed_below(8);

        make(&from, 1 + (uint32_t)seed_below(200000));
        for (size_t i = 0; i < count; i++) {
            spans[i][0] = (uint32_t)seed_below(from.bytes);
            spans[i][1] = 1 + (uint32_t)seed_below(from.bytes - spans[i][0]);
            map_slice(&to, &from, spans[i][0], spans[i][1]);
        }
        for (size_t i = 0; i < count; at += spans[i++][1])
            for (unsigned n = 0; n < 50; n++) {
                const uint32_t in = n == 0 ? 0 : n == 1 ? spans[i][1] - 1 : (uint32_t)seed_below(spans[i][1]);
                const struct extent was = place(&from, spans[i][0] + in), is = place(&to, at + in);

                assert_int_equal(was.blob, is.blob);
                assert_int_equal(was.off, is.off);
            }
        for (size_t i = 0; i < to.extent_count; i++)
            at -= to.extents[i].len;
        assert_int_equal(at, 0);
    }
}

static void
what_continues_is_joined(void **state)
{
    AUTO(map_free) struct map m = { 0 };

    (void)state;
    map_add(&m, 7, 100, 10);
    map_add(&m, 7, 110, 10);
    assert_int_equal(m.extent_count, 1);
    assert_int_equal(m.extents[0].len, 20);
    map_add(&m, 7, 100, 10);
    map_add(&m, 8, 110, 10);
    map_add(&m, EXTENT_ZERO, 0, 5);
    map_add(&m, EXTENT_ZERO, 0, 6);
    assert_int_equal(m.extent_count, 4);
    assert_int_equal(m.extents[3].len, 11);
}

static void
a_map_is_filed_under_the_root_of_its_blocks(void **state)
{
    AUTO(map_free) struct map m;
    struct digest expected, got;

    (void)state;
    seed_start();
    make(&m, 5 * BLOCK_BYTES + 1);
    merkle_root(m.blocks, 6, &expected);
    map_digest(&m, &got);
    assert_memory_equal(&expected, &got, sizeof got);
}

/* An encoding that is read back must be the one that the map has. */
static void
refused_or_the_only_one(const uint8_t *bytes, size_t size)
{
    AUTO(map_free) struct map m = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct err err;
    const enum err_kind k = map_parse(bytes, size, &m, &err);

    if (k != ERR_OK) {
        assert_int_equal(k, ERR_CORRUPT);
        assert_non_null(strstr(err.text, "map is damaged at byte "));
        return;
    }
    map_encode(&m, &b);
    assert_int_equal(b.size, size);
    assert_memory_equal(b.at, bytes, size);
}

static void
damage_is_refused_or_gives_another_map_that_is_sound(void **state)
{
    (void)state;
    seed_start();
    for (unsigned round = 0; round < 20; round++) {
        AUTO(map_free) struct map m, cut = { 0 };
        AUTO(buf_free) struct buf b = { 0 };

        make(&m, 1 + (uint32_t)seed_below(300000));
        map_encode(&m, &b);
        for (size_t size = 0; size < b.size; size++)
            assert_int_equal(map_parse(b.at, size, &cut, NULL), ERR_CORRUPT);
        for (size_t i = 0; i < b.size * 8; i++) {
            b.at[i / 8] ^= (uint8_t)(1u << i % 8);
            refused_or_the_only_one(b.at, b.size);
            b.at[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        buf_u8(&b, 0);
        assert_int_equal(map_parse(b.at, b.size, &cut, NULL), ERR_CORRUPT);
    }
}

/* A map of 10 bytes, whose extents are given as they are encoded. */
static void
bad_extents_are_refused(void **state)
{
    static const struct {
        const char *what;
        uint8_t bytes[12];
        size_t size;
        enum err_kind kind;
    } table[] = {
        { "one hole", { 1, 21 }, 2, ERR_OK },
        { "one extent", { 1, 20, 2, 0 }, 4, ERR_OK },
        { "two extents", { 2, 10, 2, 0, 10, 2, 0 }, 7, ERR_OK },
        { "no extents", { 0 }, 1, ERR_CORRUPT },
        { "an empty extent", { 2, 1, 20, 2, 0 }, 5, ERR_CORRUPT },
        { "too short", { 1, 19 }, 2, ERR_CORRUPT },
        { "too long", { 1, 23 }, 2, ERR_CORRUPT },
        { "blob 0 that is no hole", { 1, 20, 0, 0 }, 4, ERR_CORRUPT },
        { "two holes that are one", { 2, 11, 11 }, 3, ERR_CORRUPT },
        { "two extents that are one", { 2, 10, 2, 0, 10, 0, 5 }, 7, ERR_CORRUPT },
        { "past the end of a blob", { 1, 20, 2, 0xf7, 0xff, 0x0f }, 6, ERR_CORRUPT },
        { "up to the end of a blob", { 1, 20, 2, 0xf6, 0xff, 0x0f }, 6, ERR_OK },
        { "a number spelled long", { 1, 0x95, 0 }, 3, ERR_CORRUPT },
        { "more extents than there are", { 3, 10, 2, 0, 10, 2, 0 }, 7, ERR_CORRUPT },
        { "something left over", { 1, 21, 0 }, 3, ERR_CORRUPT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(buf_free) struct buf b = { 0 };
        AUTO(map_free) struct map m = { 0 };
        const struct digest d = { { 1 } };

        buf_u8(&b, 1);
        buf_u32(&b, 10);
        buf_u64(&b, 0);
        buf_put(&b, &d, sizeof d);
        buf_put(&b, table[i].bytes, table[i].size);
        if (map_parse(b.at, b.size, &m, NULL) != table[i].kind)
            fail_msg("%s", table[i].what);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_read_back),
        cmocka_unit_test(the_largest_map_fits_an_object),
        cmocka_unit_test(a_slice_has_the_places_of_its_bytes),
        cmocka_unit_test(what_continues_is_joined),
        cmocka_unit_test(a_map_is_filed_under_the_root_of_its_blocks),
        cmocka_unit_test(damage_is_refused_or_gives_another_map_that_is_sound),
        cmocka_unit_test(bad_extents_are_refused),
    };
    return cmocka_run_group_tests_name("snapshot/map", tests, NULL, NULL);
}
