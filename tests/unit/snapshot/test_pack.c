/* Blobs come back as they were put, from headers and from the table; a failed write closes the pack and nothing behind it counts; a
 * flipped bit is found.
 * Method: a fresh store; the n-th pwrite of the test process fails on demand; bits of a pack file are flipped one by one. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/pack.h"
#include "snapshot/pack_internal.h"
#include "tests/unit/snapshot/store_fixture.h"

static int writes, fail_at; /* 1-based; 0 never fails */

ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset);

ssize_t
__wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (++writes == fail_at) {
        errno = ENOSPC;
        return -1;
    }
    return __real_pwrite(fd, bytes, size, offset);
}

static enum err_kind
put(struct fixture *f, const void *bytes, uint32_t size, struct blob_place *ret)
{
    const struct pack_blob b = { FIXTURE_CITY, BLOB_DATA, 0, bytes, size, size };

    return packs_put(f->s->packs, &b, ret, NULL);
}

static void
note_state(void *arg, uint64_t pack, uint32_t city, uint64_t end, bool closed)
{
    (void)pack;
    (void)city;
    *(struct index_pack *)arg = (struct index_pack){ city, end, closed };
}

static enum err_kind
count_header(void *arg, const struct blob_place *place, struct err *err)
{
    (void)place;
    (void)err;
    ++*(size_t *)arg;
    return ERR_OK;
}

static void
what_was_put_comes_back(void **state)
{
    struct fixture f;
    struct blob_place a, b;
    uint8_t raw[16];

    fixture_new(state, &f);
    assert_int_equal(put(&f, "pension", 7, &a), ERR_OK);
    assert_int_equal(put(&f, "medical", 7, &b), ERR_OK);
    assert_int_equal(a.pack, b.pack);
    assert_true(a.blob < b.blob);
    assert_int_equal(packs_read(f.s->packs, &a, raw, NULL), ERR_OK);
    assert_memory_equal(raw, "pension", 7);
    assert_int_equal(packs_read(f.s->packs, &b, raw, NULL), ERR_OK);
    assert_memory_equal(raw, "medical", 7);
    /* One blob's place with another's number: the seal binds them. */
    const uint64_t number = a.blob;
    a.blob = b.blob;
    assert_int_equal(packs_read(f.s->packs, &a, raw, NULL), ERR_CORRUPT);
    a.blob = number;
    fixture_free(&f);
}

static void
a_full_pack_is_closed_with_a_table_that_lists_it(void **state)
{
    struct fixture f;
    struct blob_place first, place;
    struct index_pack row = { 0 };
    size_t by_header = 0, by_table = 0, puts = 0;
    uint8_t *const bytes = calloc(1, BLOB_RAW_MAX);

    fixture_new(state, &f);
    assert_int_equal(put(&f, bytes, BLOB_RAW_MAX, &first), ERR_OK);
    do {
        puts++;
        assert_int_equal(put(&f, bytes, BLOB_RAW_MAX, &place), ERR_OK);
    } while (place.pack == first.pack);
    assert_int_equal(packs_sync(f.s->packs, note_state, &row, NULL), ERR_OK);
    assert_int_equal(packs_headers(f.s->packs, first.pack, 0, count_header, &by_header, NULL), ERR_OK);
    assert_int_equal(packs_table(f.s->packs, first.pack, count_header, &by_table, NULL), ERR_OK);
    assert_int_equal(by_header, puts + 1); /* the blobs and the table */
    assert_int_equal(by_table, puts + 1);
    free(bytes);
    fixture_free(&f);
}

static void
nothing_behind_a_failed_write_counts(void **state)
{
    struct fixture f;
    struct blob_place a, b;
    struct index_pack row = { 0 };

    fixture_new(state, &f);
    assert_int_equal(put(&f, "kept", 4, &a), ERR_OK);
    writes = 0;
    fail_at = 1;
    assert_int_equal(put(&f, "lost", 4, &b), ERR_FULL);
    fail_at = 0;
    assert_int_equal(put(&f, "next", 4, &b), ERR_OK);
    assert_true(b.pack != a.pack);
    assert_int_equal(packs_sync(f.s->packs, note_state, &row, NULL), ERR_OK);
    fixture_free(&f);
}

static void
every_flipped_bit_of_a_pack_is_found(void **state)
{
    struct fixture f;
    struct blob_place a;
    uint8_t raw[32], byte;
    char path[PACK_PATH_ROOM];
    struct stat st;
    uint32_t city = 0;
    uint64_t size = 0;

    fixture_new(state, &f);
    assert_int_equal(put(&f, "pensions of millions", 20, &a), ERR_OK);
    pack_path(a.pack, path);
    const int fd = openat(f.s->dir_fd, path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    for (uint64_t bit = 0; bit < 8 * (uint64_t)st.st_size; bit++) {
        assert_int_equal(io_pread_all(fd, &byte, 1, bit / 8, NULL), ERR_OK);
        byte ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(io_pwrite_all(fd, &byte, 1, bit / 8, NULL), ERR_OK);
        const enum err_kind kind = bit / 8 < PACK_HEADER_BYTES
                                       ? packs_check(f.s->packs, a.pack, &city, &size, NULL)
                                       : packs_read(f.s->packs, &a, raw, NULL);
        if (kind != ERR_CORRUPT)
            fail_msg("bit %llu went unseen", (unsigned long long)bit);
        byte ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(io_pwrite_all(fd, &byte, 1, bit / 8, NULL), ERR_OK);
    }
    (void)close(fd);
    fixture_free(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(what_was_put_comes_back),
        unit_test_in_dir(a_full_pack_is_closed_with_a_table_that_lists_it),
        unit_test_in_dir(nothing_behind_a_failed_write_counts),
        unit_test_in_dir(every_flipped_bit_of_a_pack_is_found),
    };
    return cmocka_run_group_tests_name("snapshot/pack", tests, NULL, NULL);
}
