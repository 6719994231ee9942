/* Payloads of ITEMS and OBJECTS: lists without a count, one after another to the end of the frame. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "replicator/wire.h"
#include "replicator/wire_internal.h"
#include "snapshot/map.h"
#include "snapshot/merkle.h"

void
wire_item_free(struct wire_item *it)
{
    free(it->ops);
    it->ops = NULL;
    it->op_count = 0;
}

static bool
bit(uint64_t set, uint32_t n)
{
    return (set >> n & 1) != 0;
}

static uint32_t
block_bytes(uint32_t bytes, uint32_t n)
{
    const uint32_t left = bytes - n * BLOCK_BYTES;

    return left < BLOCK_BYTES ? left : BLOCK_BYTES;
}

static void
put_op(const struct wire_op *op, struct buf *ret)
{
    buf_u8(ret, op->kind);
    buf_varint(ret, op->len);
    if (op->kind != DELTA_ZERO)
        buf_varint(ret, op->off);
    if (op->kind == DELTA_LITERAL)
        buf_varint(ret, op->blob);
}

void
wire_put_item(const struct wire_item *it, struct buf *ret)
{
    buf_u8(ret, it->kind);
    buf_put(ret, it->digest.at, sizeof it->digest.at);
    buf_varint(ret, it->bytes);
    if (it->kind == OBJECT_BLOCK) {
        assert(it->op_count == 1 && it->ops[0].kind == DELTA_LITERAL && it->ops[0].len == it->bytes);
        buf_varint(ret, it->ops[0].blob);
        buf_varint(ret, it->ops[0].off);
        return;
    }
    assert(it->kind == OBJECT_MAP && it->bytes > 0 && it->bytes <= MAP_BYTES && it->op_count <= WIRE_OPS_MAX);
    buf_u8(ret, it->based);
    if (it->based) {
        wire_put_base(&it->base, ret);
        buf_varint(ret, it->base_map);
        buf_u64(ret, it->same);
    }
    buf_u64(ret, it->zero);
    for (uint32_t n = 0; n < merkle_blocks(it->bytes); n++)
        if (!bit(it->zero, n) && !(it->based && bit(it->same, n)))
            buf_put(ret, it->blocks[n].at, HASH_BYTES);
    buf_varint(ret, it->op_count);
    for (size_t i = 0; i < it->op_count; i++)
        put_op(&it->ops[i], ret);
}

static void
parse_op(struct parse *p, const struct wire_item *it, struct wire_op *op)
{
    op->kind = cut_u8(parse_at(p, "op kind"));
    parse_need(p,
               op->kind == DELTA_LITERAL || op->kind == DELTA_ZERO || (op->kind == DELTA_COPY && it->based));
    const uint64_t len = cut_varint(parse_at(p, "op length"));
    parse_need(p, len > 0 && len <= it->bytes);
    op->len = (uint32_t)len;
    if (op->kind == DELTA_ZERO)
        return;
    op->off = cut_varint(parse_at(p, "op offset"));
    if (op->kind == DELTA_COPY) {
        parse_need(p, op->off <= it->base.size && len <= it->base.size - op->off);
        return;
    }
    parse_need(p, op->off <= BLOB_RAW_MAX && len <= BLOB_RAW_MAX - op->off);
    const uint64_t blob = cut_varint(parse_at(p, "op blob"));
    parse_need(p, blob <= UINT32_MAX);
    op->blob = (uint32_t)blob;
}

static void
parse_block(struct parse *p, struct wire_item *it)
{
    parse_need(p, it->bytes <= BLOCK_BYTES);
    const uint64_t blob = cut_varint(parse_at(p, "op blob"));
    parse_need(p, blob <= UINT32_MAX);
    const uint64_t off = cut_varint(parse_at(p, "op offset"));
    parse_need(p, off <= BLOB_RAW_MAX && it->bytes <= BLOB_RAW_MAX - off);
    if (p->c.bad)
        return;
    it->ops = mem_zero(1, sizeof *it->ops);
    it->ops[0] =
        (struct wire_op){ .kind = DELTA_LITERAL, .len = it->bytes, .off = off, .blob = (uint32_t)blob };
    it->op_count = 1;
    it->blocks[0] = it->digest;
}

/* Ops must cover exactly the blocks neither same nor zero. */
static void
parse_ops(struct parse *p, struct wire_item *it, uint32_t covered)
{
    const uint64_t count = cut_varint(parse_at(p, "op count"));
    uint64_t sum = 0;

    parse_need(p, count <= WIRE_OPS_MAX && 2 * count <= p->c.left);
    if (p->c.bad)
        return;
    it->ops = mem_zero(count + 1, sizeof *it->ops);
    it->op_count = (size_t)count;
    for (size_t i = 0; i < count && !p->c.bad; i++) {
        parse_op(p, it, &it->ops[i]);
        sum += it->ops[i].len;
    }
    if (!p->c.bad)
        p->field = "ops (their lengths together)";
    parse_need(p, sum == covered);
}

static void
parse_map(struct parse *p, struct wire_item *it)
{
    const uint32_t count = (uint32_t)merkle_blocks(it->bytes);
    const uint64_t beyond = count == MAP_BLOCKS ? 0 : ~0ull << count;
    uint32_t covered = 0;

    it->based = parse_bool(p, "based");
    if (it->based) {
        wire_parse_base(p, &it->base);
        const uint64_t map = cut_varint(parse_at(p, "base map"));
        parse_need(p, map < merkle_maps(it->base.size));
        it->base_map = (uint32_t)map;
        it->same = cut_u64(parse_at(p, "same"));
        parse_need(p, (it->same & beyond) == 0);
    }
    it->zero = cut_u64(parse_at(p, "zero"));
    parse_need(p, (it->zero & beyond) == 0 && (it->zero & it->same) == 0);
    for (uint32_t n = 0; n < count && !p->c.bad; n++) {
        if (bit(it->zero, n) || bit(it->same, n))
            continue;
        parse_digest(p, "block digest", &it->blocks[n]);
        covered += block_bytes(it->bytes, n);
    }
    if (!p->c.bad)
        parse_ops(p, it, covered);
}

enum err_kind
wire_next_item(struct cut *c, struct wire_item *ret, struct err *err)
{
    struct parse p = { .c = *c, .frame = wire_name(WIRE_ITEMS), .field = "payload" };

    memset(ret, 0, sizeof *ret);
    ret->kind = cut_u8(parse_at(&p, "kind"));
    parse_need(&p, ret->kind == OBJECT_BLOCK || ret->kind == OBJECT_MAP);
    parse_digest(&p, "digest", &ret->digest);
    const uint64_t bytes = cut_varint(parse_at(&p, "bytes"));
    parse_need(&p, bytes > 0 && bytes <= MAP_BYTES);
    if (!p.c.bad) {
        ret->bytes = (uint32_t)bytes;
        if (ret->kind == OBJECT_BLOCK)
            parse_block(&p, ret);
        else
            parse_map(&p, ret);
    }
    const enum err_kind kind = parse_verdict(&p, err);
    if (kind != ERR_OK)
        wire_item_free(ret);
    *c = p.c;
    return kind;
}

void
wire_put_object(const struct wire_object *o, struct buf *ret)
{
    assert(o->size > 0 && o->size <= OBJECT_BYTES_MAX);
    buf_u8(ret, o->kind);
    buf_block(ret, o->bytes, o->size);
}

enum err_kind
wire_next_object(struct cut *c, struct wire_object *ret, struct err *err)
{
    struct parse p = { .c = *c, .frame = wire_name(WIRE_OBJECTS), .field = "payload" };
    struct wire_object o = { 0 };

    o.kind = cut_u8(parse_at(&p, "kind"));
    parse_need(&p, o.kind == OBJECT_NODE || o.kind == OBJECT_PAGE || o.kind == OBJECT_XATTRS);
    o.bytes = cut_block(parse_at(&p, "bytes"), OBJECT_BYTES_MAX, &o.size);
    parse_need(&p, o.size > 0);
    const enum err_kind kind = parse_verdict(&p, err);
    *c = p.c;
    if (kind == ERR_OK)
        *ret = o;
    return kind;
}
