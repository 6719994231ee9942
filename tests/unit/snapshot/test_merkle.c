/* The digest of a file is the RFC 6962 root over its blocks, however it is put together.
 * Method: the test vectors of Certificate Transparency, and the whole tree computed at one level as the oracle. */
#include <pthread.h>
#include <string.h>

#include "common/mem.h"
#include "snapshot/merkle.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

static void
roots_are_those_of_certificate_transparency(void **state)
{
    static const struct {
        const char *leaf;
        size_t bytes;
        const char *root; /* over this leaf and those before */
    } table[] = {
        { "", 0, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" },
        { "\x00", 1, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125" },
        { "\x10", 1, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77" },
        { "\x20\x21", 2, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7" },
        { "\x30\x31", 2, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4" },
        { "\x40\x41\x42\x43", 4, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef" },
        { "\x50\x51\x52\x53\x54\x55\x56\x57", 8,
          "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c" },
        { "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16,
          "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328" },
    };
    struct digest leaves[8], root;
    char hex[HASH_HEX_ROOM];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        merkle_leaf(table[i].leaf, table[i].bytes, &leaves[i]);
        merkle_root(leaves, i + 1, &root);
        hash_hex(&root, hex);
        assert_string_equal(hex, table[i].root);
    }
    merkle_root(NULL, 0, &root);
    hash_hex(&root, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void
roots_of_maps_join_to_the_root_of_the_blocks(void **state)
{
    (void)state;
    seed_start();
    for (unsigned round = 0; round < 200; round++) {
        const size_t count = 1 + seed_below(1000), maps = (count + MAP_BLOCKS - 1) / MAP_BLOCKS;
        struct digest *const leaves = mem_zero(count, sizeof *leaves), *const roots = mem_zero(maps,
                                                                                               sizeof *roots);
        struct digest whole, joined;

        seed_fill(leaves, count * sizeof *leaves);
        for (size_t m = 0; m < maps; m++)
            merkle_root(leaves + m * MAP_BLOCKS,
                        count - m * MAP_BLOCKS < MAP_BLOCKS ? count - m * MAP_BLOCKS : MAP_BLOCKS, &roots[m]);
        merkle_root(leaves, count, &whole);
        merkle_root(roots, maps, &joined);
        assert_memory_equal(&whole, &joined, sizeof whole);
        free(leaves);
        free(roots);
    }
}

static void
zeros_have_the_digest_that_reading_them_would_give(void **state)
{
    static const uint8_t zeros[BLOCK_BYTES];
    static const uint64_t sizes[] = {
        0,
        1,
        BLOCK_BYTES - 1,
        BLOCK_BYTES,
        BLOCK_BYTES + 1,
        3 * BLOCK_BYTES + 100,
        MAP_BYTES - 1,
        MAP_BYTES,
        MAP_BYTES + 1,
        3 * (uint64_t)MAP_BYTES,
        64 * (uint64_t)MAP_BYTES - 1,
        64 * (uint64_t)MAP_BYTES,
        64 * (uint64_t)MAP_BYTES + BLOCK_BYTES + 7,
        129 * (uint64_t)MAP_BYTES + 12345,
    };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const size_t count = merkle_blocks(sizes[i]);
        struct digest *const leaves = mem_zero(count, sizeof *leaves);
        struct digest full, read, made;

        merkle_leaf(zeros, BLOCK_BYTES, &full);
        for (size_t b = 0; b < count; b++)
            leaves[b] = full;
        if (sizes[i] % BLOCK_BYTES != 0)
            merkle_leaf(zeros, sizes[i] % BLOCK_BYTES, &leaves[count - 1]);
        merkle_root(leaves, count, &read);
        merkle_zero(sizes[i], &made);
        assert_memory_equal(&read, &made, sizeof read);
        free(leaves);
    }
}

static void
the_largest_files_of_zeros_have_a_digest_too(void **state)
{
    struct digest half, whole, joined;

    (void)state;
    for (uint64_t size = 2 * (uint64_t)BLOCK_BYTES; size <= FILE_BYTES_MAX; size *= 2) {
        merkle_zero(size / 2, &half);
        hash_pair(&half, &half, &joined);
        merkle_zero(size, &whole);
        assert_memory_equal(&whole, &joined, sizeof whole);
    }
    merkle_zero(UINT64_MAX, &whole);
}

static void
a_file_has_the_levels_that_its_size_needs(void **state)
{
    static const struct {
        uint64_t size;
        unsigned levels;
        uint64_t blocks, maps;
        uint32_t last_map_bytes;
    } table[] = {
        { 0, 0, 0, 0, 0 },
        { 1, 0, 1, 1, 1 },
        { BLOCK_BYTES, 0, 1, 1, BLOCK_BYTES },
        { BLOCK_BYTES + 1, 1, 2, 1, BLOCK_BYTES + 1 },
        { MAP_BYTES, 1, 64, 1, MAP_BYTES },
        { MAP_BYTES + 1, 2, 65, 2, 1 },
        { 64ull * MAP_BYTES, 2, 4096, 64, MAP_BYTES },
        { 64ull * MAP_BYTES + 1, 3, 4097, 65, 1 },
        { 1ull << 34, 3, 1ull << 18, 1ull << 12, MAP_BYTES },
        { (1ull << 34) + 1, 4, (1ull << 18) + 1, (1ull << 12) + 1, 1 },
        { 1ull << 40, 4, 1ull << 24, 1ull << 18, MAP_BYTES },
        { FILE_BYTES_MAX, 5, 1ull << 30, 1ull << 24, MAP_BYTES },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(merkle_levels(table[i].size), table[i].levels);
        assert_int_equal(merkle_blocks(table[i].size), table[i].blocks);
        assert_int_equal(merkle_maps(table[i].size), table[i].maps);
        if (table[i].maps > 0)
            assert_int_equal(merkle_map_bytes(table[i].size, table[i].maps - 1), table[i].last_map_bytes);
        if (table[i].maps > 1)
            assert_int_equal(merkle_map_bytes(table[i].size, 0), MAP_BYTES);
    }
    assert_int_equal(merkle_span(0), BLOCK_BYTES);
    assert_int_equal(merkle_span(1), MAP_BYTES);
    assert_int_equal(merkle_span(5), FILE_BYTES_MAX);
}

static void
one_byte_that_is_not_zero_is_seen_wherever_it_lies(void **state)
{
    uint8_t bytes[100] = { 0 };

    (void)state;
    for (size_t size = 0; size <= sizeof bytes; size++) {
        assert_true(merkle_zero_bytes(bytes, size));
        for (size_t i = 0; i < size; i++) {
            bytes[i] = 0x80;
            assert_false(merkle_zero_bytes(bytes, size));
            bytes[i] = 0;
        }
    }
}

static void *
ask_for_zeros(void *arg)
{
    merkle_zero(5 * (uint64_t)MAP_BYTES + 3, arg);
    return NULL;
}

static void
many_threads_get_the_same_constants(void **state)
{
    pthread_t threads[8];
    struct digest got[8];

    (void)state;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_zeros, &got[i]), 0);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 1; i < 8; i++)
        assert_memory_equal(&got[0], &got[i], sizeof got[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_get_the_same_constants), /* first: the constants are made there */
        cmocka_unit_test(roots_are_those_of_certificate_transparency),
        cmocka_unit_test(roots_of_maps_join_to_the_root_of_the_blocks),
        cmocka_unit_test(zeros_have_the_digest_that_reading_them_would_give),
        cmocka_unit_test(the_largest_files_of_zeros_have_a_digest_too),
        cmocka_unit_test(a_file_has_the_levels_that_its_size_needs),
        cmocka_unit_test(one_byte_that_is_not_zero_is_seen_wherever_it_lies),
    };
    return cmocka_run_group_tests_name("snapshot/merkle", tests, NULL, NULL);
}
