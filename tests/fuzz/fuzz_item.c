/* Payloads of ITEMS (first byte even) and OBJECTS (odd). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "replicator/wire.h"
#include "snapshot/merkle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What the site relies on when it makes a map of it. */
static void
check(const struct wire_item *it)
{
    uint64_t covered = 0, ops = 0;

    assert(it->bytes > 0 && it->bytes <= (it->kind == OBJECT_MAP ? MAP_BYTES : BLOCK_BYTES));
    assert((it->same & it->zero) == 0 && (it->same == 0 || it->based));
    for (uint32_t n = 0; n < merkle_blocks(it->bytes); n++) {
        const uint32_t left = it->bytes - n * BLOCK_BYTES;

        if (((it->same | it->zero) >> n & 1) == 0)
            covered += left < BLOCK_BYTES ? left : BLOCK_BYTES;
    }
    for (size_t i = 0; i < it->op_count; i++) {
        const struct wire_op *const op = &it->ops[i];

        assert(op->len > 0);
        ops += op->len;
        if (op->kind == DELTA_COPY)
            assert(it->based && op->off <= it->base.size && op->len <= it->base.size - op->off);
        else if (op->kind == DELTA_LITERAL)
            assert(op->off <= BLOB_RAW_MAX && op->len <= BLOB_RAW_MAX - op->off);
    }
    assert(ops == covered);
}

static enum err_kind
items(const uint8_t *bytes, size_t size, struct buf *ret)
{
    static struct wire_item it;
    struct cut c = cut_of(bytes, size);
    enum err_kind kind = ERR_OK;

    while (kind == ERR_OK && c.left > 0) {
        kind = wire_next_item(&c, &it, NULL);
        if (kind == ERR_OK) {
            check(&it);
            wire_put_item(&it, ret);
        }
        wire_item_free(&it);
    }
    return kind;
}

static enum err_kind
objects(const uint8_t *bytes, size_t size, struct buf *ret)
{
    struct cut c = cut_of(bytes, size);
    struct wire_object o;
    enum err_kind kind = ERR_OK;

    while (kind == ERR_OK && c.left > 0) {
        kind = wire_next_object(&c, &o, NULL);
        if (kind == ERR_OK)
            wire_put_object(&o, ret);
    }
    return kind;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    AUTO(buf_free) struct buf once = { 0 };
    AUTO(buf_free) struct buf twice = { 0 };

    if (size == 0)
        return 0;
    enum err_kind (*const recode)(const uint8_t *, size_t, struct buf *) = bytes[0] % 2 == 0 ? items
                                                                                             : objects;
    if (recode(bytes + 1, size - 1, &once) != ERR_OK)
        return 0;
    assert(once.size <= size - 1);
    const enum err_kind again = recode(once.at, once.size, &twice);
    assert(again == ERR_OK && twice.size == once.size &&
           (once.size == 0 || memcmp(once.at, twice.at, once.size) == 0));
    return 0;
}
