/* The digest of a live file is that of the mark, whatever its size.
 * Method: sparse files of sizes around every edge of the shape, whose digest merkle_zero knows; files of random blocks against merkle_root
 * over all of them. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "snapshot/merkle.h"
#include "verify/verify_live.h"

static int
fresh(void **state)
{
    const int fd = openat(unit_dir_fd(state), "head", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void
zeros_have_the_digest_of_zeros(void **state)
{
    static const uint64_t sizes[] = { 0,
                                      1,
                                      BLOCK_BYTES - 1,
                                      BLOCK_BYTES,
                                      BLOCK_BYTES + 1,
                                      MAP_BYTES - 1,
                                      MAP_BYTES,
                                      MAP_BYTES + 1,
                                      3ull * MAP_BYTES + 17,
                                      64ull * MAP_BYTES,
                                      65ull * MAP_BYTES + BLOCK_BYTES };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct tree_entry e = { .type = TREE_FILE, .size = sizes[i] };
        struct live_content got = { 0 };
        const int fd = fresh(state);

        merkle_zero(sizes[i], &e.digest);
        assert_int_equal(ftruncate(fd, (off_t)sizes[i]), 0);
        assert_int_equal(live_content(fd, &e, NULL, &got, NULL), ERR_OK);
        assert_true(got.same);
        (void)close(fd);
    }
}

static void
random_files_have_the_root_over_their_blocks(void **state)
{
    uint64_t seed = unit_seed();

    for (int round = 0; round < 12; round++) {
        const size_t size = 1 + unit_random(&seed) % (9 * MIB);
        uint8_t *const bytes = mem_alloc(size);
        struct digest *const blocks = mem_zero(merkle_blocks(size), sizeof *blocks);
        struct tree_entry e = { .type = TREE_FILE, .size = size };
        struct live_content got = { 0 };
        const int fd = fresh(state);

        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)(unit_random(&seed) >> 13);
        for (size_t i = 0; i < merkle_blocks(size); i++) {
            const size_t left = size - i * BLOCK_BYTES;

            merkle_leaf(bytes + i * BLOCK_BYTES, left < BLOCK_BYTES ? left : BLOCK_BYTES, &blocks[i]);
        }
        merkle_root(blocks, merkle_blocks(size), &e.digest);
        assert_int_equal(pwrite(fd, bytes, size, 0), size);
        assert_int_equal(live_content(fd, &e, NULL, &got, NULL), ERR_OK);
        assert_true(got.same);
        (void)close(fd);
        free(bytes);
        free(blocks);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(zeros_have_the_digest_of_zeros),
        unit_test_in_dir(random_files_have_the_root_over_their_blocks),
    };

    return cmocka_run_group_tests_name("verify/verify_live", tests, NULL, NULL);
}
