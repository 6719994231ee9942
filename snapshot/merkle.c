#include "snapshot/merkle.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#define LEVELS 8u /* 64 KiB << 6 * 8 is past 64 bits */

static pthread_once_t zero_once = PTHREAD_ONCE_INIT;
static struct digest zero_full[LEVELS]; /* digest of merkle_span(level) zero bytes */
static const uint8_t zeros[BLOCK_BYTES];

void
merkle_leaf(const void *block, size_t size, struct digest *ret)
{
    assert(size <= BLOCK_BYTES);
    hash_prefixed(0x00, block, size, ret);
}

static void
join(const struct digest *at, size_t count, struct digest *ret)
{
    struct digest left, right;
    size_t half = 1;

    if (count == 1) {
        *ret = *at;
        return;
    }
    while (half < count - half)
        half *= 2;
    join(at, half, &left);
    join(at + half, count - half, &right);
    hash_pair(&left, &right, ret);
}

void
merkle_root(const struct digest *subtrees, size_t count, struct digest *ret)
{
    if (count == 0)
        hash_sha256("", 0, ret);
    else
        join(subtrees, count, ret);
}

static void
make_zero_full(void)
{
    merkle_leaf(zeros, BLOCK_BYTES, &zero_full[0]);
    for (unsigned level = 1; level < LEVELS; level++) {
        struct digest d = zero_full[level - 1];

        for (unsigned pairs = MAP_BLOCKS; pairs > 1; pairs /= 2) {
            const struct digest same = d;

            hash_pair(&same, &same, &d);
        }
        zero_full[level] = d;
    }
}

void
merkle_zero(uint64_t size, struct digest *ret)
{
    struct digest parts[NODE_CHILDREN];
    const unsigned level = merkle_levels(size);
    size_t count = 0;

    (void)pthread_once(&zero_once, make_zero_full);
    if (level < LEVELS && size == merkle_span(level)) {
        *ret = zero_full[level];
        return;
    }
    if (level == 0) {
        if (size == 0)
            merkle_root(NULL, 0, ret);
        else
            merkle_leaf(zeros, (size_t)size, ret);
        return;
    }
    const uint64_t span = merkle_span(level - 1);
    for (; size >= span; size -= span)
        parts[count++] = zero_full[level - 1];
    if (size > 0)
        merkle_zero(size, &parts[count++]);
    merkle_root(parts, count, ret);
}

bool
merkle_zero_bytes(const void *bytes, size_t size)
{
    const uint8_t *const at = bytes;
    const size_t head = size < 16 ? size : 16;

    for (size_t i = 0; i < head; i++)
        if (at[i] != 0)
            return false;
    return size == head || memcmp(at, at + 16, size - 16) == 0;
}

unsigned
merkle_levels(uint64_t size)
{
    unsigned level = 0;

    while (level < LEVELS && size > merkle_span(level))
        level++;
    return level;
}

uint64_t
merkle_span(unsigned level)
{
    assert(level < LEVELS);
    return (uint64_t)BLOCK_BYTES << (6 * level);
}

uint32_t
merkle_map_bytes(uint64_t size, uint64_t map)
{
    assert(map < merkle_maps(size));
    const uint64_t left = size - map * MAP_BYTES;

    return left < MAP_BYTES ? (uint32_t)left : MAP_BYTES;
}
