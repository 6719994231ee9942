/* Every byte that is read was held against the digest that the city signed; what does not hold is an error and never bytes.
 * Method: files of the sizes where the shape changes, stored by hand, read back map by map; then a blob of the pack is damaged. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/mem.h"
#include "snapshot/merkle.h"
#include "snapshot/pack_internal.h"
#include "snapshot/read.h"
#include "tests/unit/snapshot/store_fixture.h"

/* Byte n of the test's file: cheap to make anywhere, different in every block; the third map is all zero. */
static uint8_t
byte_at(uint64_t n)
{
    return n / MAP_BYTES == 2 ? 0 : (uint8_t)(n / 251 + n % 255 + 1);
}

static void
fill(uint8_t *bytes, uint64_t off, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = byte_at(off + i);
}

/* One map's bytes as blobs, and its map object. */
static void
store_map(struct stage *st, uint64_t off, uint32_t size, struct digest *ret)
{
    struct map m = { .bytes = size };
    struct buf b = { 0 };
    uint8_t *const bytes = mem_alloc(size);
    struct digest zero;

    fill(bytes, off, size);
    for (uint32_t at = 0; at < size; at += BLOCK_BYTES) {
        const uint32_t n = size - at < BLOCK_BYTES ? size - at : BLOCK_BYTES;
        const struct stage_blob blob = { bytes + at, n, n, 0 };
        uint64_t number = EXTENT_ZERO;

        merkle_leaf(bytes + at, n, &m.blocks[at / BLOCK_BYTES]);
        if (!merkle_zero_bytes(bytes + at, n))
            assert_int_equal(stage_blob(st, &blob, &number, NULL), ERR_OK);
        map_add(&m, number, 0, n);
    }
    map_digest(&m, ret);
    merkle_zero(size, &zero);
    map_encode(&m, &b);
    if (!hash_same(&zero, ret))
        assert_int_equal(stage_object(st, OBJECT_MAP, ret, b.at, (uint32_t)b.size, NULL), ERR_OK);
    buf_free(&b);
    map_free(&m);
    free(bytes);
}

static struct reader_file
store_file(struct stage *st, uint64_t size)
{
    const uint64_t maps = merkle_maps(size);
    struct digest *const digests = mem_zero(maps, sizeof *digests);
    struct reader_file f = { .size = size };

    assert_true(maps <= NODE_CHILDREN);
    for (uint64_t i = 0; i < maps; i++)
        store_map(st, i * MAP_BYTES, merkle_map_bytes(size, i), &digests[i]);
    merkle_root(digests, maps, &f.digest);
    if (maps > 1)
        assert_int_equal(
            stage_object(st, OBJECT_NODE, &f.digest, digests, (uint32_t)(maps * HASH_BYTES), NULL), ERR_OK);
    free(digests);
    return f;
}

static void
reads_back(struct reader *r, const struct reader_file *f)
{
    uint8_t *const want = mem_alloc(BLOCK_BYTES), *const got = mem_alloc(BLOCK_BYTES);

    for (uint64_t i = 0; i < merkle_maps(f->size); i++) {
        struct map m = { 0 };
        struct err err = { 0 };

        if (reader_file_map(r, f, i, &m, &err) != ERR_OK)
            fail_msg("size %llu, map %llu: %s", (unsigned long long)f->size, (unsigned long long)i, err.text);
        assert_int_equal(m.bytes, merkle_map_bytes(f->size, i));
        for (uint32_t block = 0; block * BLOCK_BYTES < m.bytes; block++) {
            const uint32_t left = m.bytes - block * BLOCK_BYTES;
            const uint32_t n = left < BLOCK_BYTES ? left : BLOCK_BYTES;

            assert_int_equal(reader_block(r, &m, block, got, NULL), ERR_OK);
            fill(want, i * MAP_BYTES + block * BLOCK_BYTES, n);
            assert_memory_equal(got, want, n);
        }
        map_free(&m);
    }
    free(want);
    free(got);
}

static void
files_of_every_shape_read_back(void **state)
{
    static const uint64_t sizes[] = { 1,
                                      BLOCK_BYTES - 1,
                                      BLOCK_BYTES,
                                      BLOCK_BYTES + 1,
                                      MAP_BYTES - 1,
                                      MAP_BYTES,
                                      MAP_BYTES + 1,
                                      3 * (uint64_t)MAP_BYTES,
                                      3 * (uint64_t)MAP_BYTES + 70000 };
    struct reader_file files[sizeof sizes / sizeof sizes[0]];
    struct fixture f;
    struct index_mark m;

    fixture_new(state, &f);
    struct stage *st = fixture_stage(&f);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        files[i] = store_file(st, sizes[i]);
    assert_int_equal(stage_checkpoint(st, NULL), ERR_OK);
    stage_free(&st);
    assert_int_equal(fixture_mark(&f, "after", &m, NULL), ERR_OK);
    struct reader *r = reader_new(f.s, FIXTURE_CITY, 1 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        reads_back(r, &files[i]);
    reader_free(&r);
    fixture_free(&f);
}

static void
a_file_of_zeros_needs_nothing_stored(void **state)
{
    static const uint64_t sizes[] = { 1, BLOCK_BYTES, 100000, MAP_BYTES, MAP_BYTES + 5, 100ull << 30 };
    uint8_t *const block = mem_alloc(BLOCK_BYTES);
    struct fixture f;

    fixture_new(state, &f);
    struct reader *r = reader_new(f.s, FIXTURE_CITY, 1 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct reader_file file = { .size = sizes[i] };
        struct map m = { 0 };

        merkle_zero(sizes[i], &file.digest);
        assert_int_equal(reader_file_map(r, &file, merkle_maps(sizes[i]) - 1, &m, NULL), ERR_OK);
        assert_int_equal(reader_block(r, &m, 0, block, NULL), ERR_OK);
        assert_int_equal(m.extents[0].blob, EXTENT_ZERO);
        map_free(&m);
    }
    reader_free(&r);
    free(block);
    fixture_free(&f);
}

static void
a_damaged_blob_is_an_error_and_no_bytes(void **state)
{
    struct fixture f;
    struct index_mark mark;
    struct map m = { 0 };
    char path[PACK_PATH_ROOM];
    struct blob_place place;
    struct kv_txn *t = NULL;
    uint8_t byte = 0, *const got = mem_alloc(BLOCK_BYTES);

    fixture_new(state, &f);
    struct stage *st = fixture_stage(&f);
    const struct reader_file file = store_file(st, 3 * BLOCK_BYTES);
    assert_int_equal(stage_checkpoint(st, NULL), ERR_OK);
    stage_free(&st);
    assert_int_equal(fixture_mark(&f, "after", &mark, NULL), ERR_OK);
    struct reader *r = reader_new(f.s, FIXTURE_CITY, 1 << 20);
    assert_int_equal(reader_file_map(r, &file, 0, &m, NULL), ERR_OK);
    assert_int_equal(kv_begin(f.s->kv, false, &t, NULL), ERR_OK);
    assert_int_equal(index_blob_get(t, m.extents[1].blob, &place, NULL), ERR_OK);
    kv_abort(&t);
    pack_path(place.pack, path);
    const int fd = openat(f.s->dir_fd, path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_pread_all(fd, &byte, 1, place.off + 1000, NULL), ERR_OK);
    byte ^= 0x10;
    assert_int_equal(io_pwrite_all(fd, &byte, 1, place.off + 1000, NULL), ERR_OK);
    (void)close(fd);

    memset(got, 0xAA, BLOCK_BYTES);
    assert_int_equal(reader_block(r, &m, 0, got, NULL), ERR_OK);
    assert_int_equal(reader_block(r, &m, 1, got, NULL), ERR_CORRUPT);
    assert_true(merkle_zero_bytes(got, BLOCK_BYTES));
    assert_int_equal(reader_block(r, &m, 2, got, NULL), ERR_OK);
    map_free(&m);
    reader_free(&r);
    free(got);
    fixture_free(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(files_of_every_shape_read_back),
        unit_test_in_dir(a_file_of_zeros_needs_nothing_stored),
        unit_test_in_dir(a_damaged_blob_is_an_error_and_no_bytes),
    };
    return cmocka_run_group_tests_name("snapshot/read", tests, NULL, NULL);
}
