/* Three uses of one input, told apart by its first byte: delta commands; sums that a site made up, against new bytes; old and new
 * bytes, whose delta must give the new ones again. */
#include <assert.h>
#include <string.h>

#include "common/auto.h"
#include "snapshot/delta.h"

#define NEW_BYTES_MAX (1u << 24)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void
sums_to(const struct delta_ops *ops, uint64_t size)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < ops->count; i++) {
        assert(ops->at[i].len > 0);
        sum += ops->at[i].len;
    }
    assert(sum == size);
}

static void
commands(const uint8_t *bytes, size_t size)
{
    AUTO(delta_ops_free) struct delta_ops ops = { 0 };
    uint64_t sum = 0;

    if (delta_parse(bytes, size, NEW_BYTES_MAX, &ops, NULL) != ERR_OK)
        return;
    for (size_t i = 0; i < ops.count; i++) {
        sum += ops.at[i].len;
        assert(ops.at[i].kind == DELTA_COPY ||
               (ops.at[i].off <= size && ops.at[i].len <= size - ops.at[i].off));
    }
    assert(sum <= NEW_BYTES_MAX);
}

static void
foreign_sums(const uint8_t *bytes, size_t size)
{
    const size_t count = size / 2 / DELTA_SUM_ENTRY;
    const size_t tail = size % DELTA_BLOCK_BYTES;
    AUTO(delta_base_free) struct delta_base *base = NULL;
    AUTO(delta_ops_free) struct delta_ops ops = { 0 };
    const struct delta_piece pieces[] = {
        { .old_off = 1u << 20, .old_bytes = count / 2 * DELTA_BLOCK_BYTES, .sums = bytes },
        { .old_bytes = count - count / 2 > 0 ? (count - count / 2) * DELTA_BLOCK_BYTES - tail : 0,
          .sums = bytes + count / 2 * DELTA_SUM_ENTRY },
    };

    if (delta_base_new(pieces, 2, &base, NULL) != ERR_OK)
        return;
    if (delta_make(base, bytes + count * DELTA_SUM_ENTRY, size - count * DELTA_SUM_ENTRY, &ops, NULL) ==
        ERR_OK)
        sums_to(&ops, size - count * DELTA_SUM_ENTRY);
}

static void
old_and_new(const uint8_t *bytes, size_t size)
{
    const size_t half = size / 2;
    const uint8_t *const new = bytes + half;
    AUTO(buf_free) struct buf sums = { 0 };
    AUTO(delta_base_free) struct delta_base *base = NULL;
    AUTO(delta_ops_free) struct delta_ops ops = { 0 };
    uint64_t at = 0;

    assert(delta_sums(bytes, half, &sums, NULL) == ERR_OK);
    const struct delta_piece p = { .old_bytes = half, .sums = sums.at };

    assert(delta_base_new(&p, 1, &base, NULL) == ERR_OK);
    assert(delta_make(base, new, size - half, &ops, NULL) == ERR_OK);
    sums_to(&ops, size - half);
    for (size_t i = 0; i < ops.count; at += ops.at[i++].len) {
        const struct delta_op *const op = &ops.at[i];

        if (op->kind == DELTA_COPY)
            assert(op->off + op->len <= half && memcmp(bytes + op->off, new + at, op->len) == 0);
        else if (op->kind == DELTA_LITERAL)
            assert(op->off == at);
        else
            assert(new[at] == 0 && memcmp(new + at, new + at + 1, op->len - 1) == 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    switch (bytes[0] % 3) {
    case 0:
        commands(bytes + 1, size - 1);
        break;
    case 1:
        foreign_sums(bytes + 1, size - 1);
        break;
    default:
        old_and_new(bytes + 1, size - 1);
    }
    return 0;
}
