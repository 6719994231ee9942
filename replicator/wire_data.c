/* Payloads of the frames that ask and answer, and of BLOB. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/wire.h"
#include "replicator/wire_internal.h"
#include "snapshot/merkle.h"

#define QUESTION_BYTES_MIN (1u + HASH_BYTES + 1u)

bool
wire_kind_ok(uint8_t kind)
{
    return kind == OBJECT_BLOCK || kind == OBJECT_MAP || kind == OBJECT_NODE || kind == OBJECT_PAGE ||
           kind == OBJECT_XATTRS;
}

void
wire_put_base(const struct wire_base *b, struct buf *ret)
{
    buf_put(ret, b->digest.at, sizeof b->digest.at);
    buf_varint(ret, b->size);
}

void
wire_parse_base(struct parse *p, struct wire_base *ret)
{
    parse_digest(p, "base digest", &ret->digest);
    ret->size = cut_varint(parse_at(p, "base size"));
    parse_need(p, ret->size > 0 && ret->size <= FILE_BYTES_MAX);
}

void
wire_put_query(const struct wire_query *m, struct buf *ret)
{
    assert(m->count > 0 && m->count <= UNIT_ITEMS_MAX);
    buf_u32(ret, m->unit);
    buf_varint(ret, m->count);
    for (size_t i = 0; i < m->count; i++) {
        const struct wire_question *const q = &m->at[i];

        buf_u8(ret, q->kind);
        buf_put(ret, q->digest.at, sizeof q->digest.at);
        buf_u8(ret, q->based);
        if (!q->based)
            continue;
        wire_put_base(&q->base, ret);
        buf_varint(ret, q->base_map);
        buf_u64(ret, q->sums_of);
    }
}

static void
parse_question(struct parse *p, struct wire_question *q)
{
    q->kind = cut_u8(parse_at(p, "kind"));
    parse_need(p, wire_kind_ok(q->kind));
    parse_digest(p, "digest", &q->digest);
    q->based = parse_bool(p, "based");
    if (!q->based || p->c.bad)
        return;
    parse_need(p, q->kind == OBJECT_BLOCK || q->kind == OBJECT_MAP);
    wire_parse_base(p, &q->base);
    const uint64_t map = cut_varint(parse_at(p, "base map"));
    parse_need(p, map < merkle_maps(q->base.size));
    q->base_map = (uint32_t)map;
    q->sums_of = cut_u64(parse_at(p, "sums of"));
}

enum err_kind
wire_get_query(const void *bytes, size_t size, struct wire_query *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_QUERY);
    AUTO(auto_free) struct wire_question *at = NULL;
    const uint32_t unit = cut_u32(parse_at(&p, "unit"));
    const uint64_t count = cut_varint(parse_at(&p, "count"));
    uint64_t blocks = 0;

    parse_need(&p, count > 0 && count <= UNIT_ITEMS_MAX && count * QUESTION_BYTES_MIN <= p.c.left);
    if (!p.c.bad)
        at = mem_zero(count, sizeof *at);
    for (uint64_t i = 0; i < count && !p.c.bad; i++) {
        parse_question(&p, &at[i]);
        blocks += (uint64_t)__builtin_popcountll(at[i].sums_of);
        parse_need(&p, blocks * (BLOCK_BYTES / DELTA_BLOCK_BYTES) <= WIRE_SUMS_MAX);
    }
    const enum err_kind kind = parse_end(&p, err);
    if (kind != ERR_OK)
        return kind;
    *ret = (struct wire_query){ .unit = unit, .at = at, .count = (size_t)count };
    at = NULL;
    return ERR_OK;
}

void
wire_put_answer(const struct wire_answer *m, struct buf *ret)
{
    assert(m->count > 0 && m->count <= UNIT_ITEMS_MAX);
    buf_u32(ret, m->unit);
    buf_varint(ret, m->count);
    for (size_t i = 0; i < m->count; i++) {
        buf_u8(ret, m->at[i].status);
        if (m->at[i].status == WIRE_NEED_SUMS)
            buf_block(ret, m->at[i].sums, m->at[i].sums_bytes);
    }
}

enum err_kind
wire_get_answer(const void *bytes, size_t size, struct wire_answer *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_ANSWER);
    AUTO(auto_free) struct wire_reply *at = NULL;
    const uint32_t unit = cut_u32(parse_at(&p, "unit"));
    const uint64_t count = cut_varint(parse_at(&p, "count"));

    parse_need(&p, count > 0 && count <= UNIT_ITEMS_MAX && count <= p.c.left);
    if (!p.c.bad)
        at = mem_zero(count, sizeof *at);
    for (uint64_t i = 0; i < count && !p.c.bad; i++) {
        at[i].status = cut_u8(parse_at(&p, "status"));
        parse_need(&p, at[i].status >= WIRE_HAVE && at[i].status <= WIRE_NEED_SUMS);
        if (p.c.bad || at[i].status != WIRE_NEED_SUMS)
            continue;
        at[i].sums = cut_block(parse_at(&p, "sums"), MAP_BYTES / DELTA_BLOCK_BYTES * DELTA_SUM_ENTRY,
                               &at[i].sums_bytes);
        parse_need(&p, at[i].sums_bytes % DELTA_SUM_ENTRY == 0);
    }
    const enum err_kind kind = parse_end(&p, err);
    if (kind != ERR_OK)
        return kind;
    *ret = (struct wire_answer){ .unit = unit, .at = at, .count = (size_t)count };
    at = NULL;
    return ERR_OK;
}

void
wire_put_want(const struct wire_want *m, struct buf *ret)
{
    buf_u32(ret, m->id);
    wire_put_base(&m->base, ret);
    buf_varint(ret, m->off);
    buf_varint(ret, m->len);
}

enum err_kind
wire_get_want(const void *bytes, size_t size, struct wire_want *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_WANT);
    struct wire_want m = { 0 };

    m.id = cut_u32(parse_at(&p, "id"));
    wire_parse_base(&p, &m.base);
    m.off = cut_varint(parse_at(&p, "offset"));
    parse_need(&p, m.off % DELTA_BLOCK_BYTES == 0 && m.off < m.base.size);
    m.len = cut_varint(parse_at(&p, "length"));
    parse_need(&p, m.len > 0 && m.len <= 2ull * WINDOW_BYTES && !p.c.bad && m.len <= m.base.size - m.off);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_sums(const struct wire_sums *m, struct buf *ret)
{
    buf_u32(ret, m->id);
    buf_u8(ret, m->known);
    if (m->known)
        buf_block(ret, m->sums, m->sums_bytes);
}

enum err_kind
wire_get_sums(const void *bytes, size_t size, struct wire_sums *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_SUMS);
    struct wire_sums m = { 0 };

    m.id = cut_u32(parse_at(&p, "id"));
    m.known = parse_bool(&p, "known");
    if (m.known) {
        m.sums = cut_block(parse_at(&p, "sums"), WIRE_SUMS_MAX * DELTA_SUM_ENTRY, &m.sums_bytes);
        parse_need(&p, m.sums_bytes % DELTA_SUM_ENTRY == 0);
    }
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_get(const struct wire_get *m, struct buf *ret)
{
    buf_u32(ret, m->id);
    buf_put(ret, m->digest.at, sizeof m->digest.at);
}

enum err_kind
wire_get_get(const void *bytes, size_t size, struct wire_get *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_GET);
    struct wire_get m = { 0 };

    m.id = cut_u32(parse_at(&p, "id"));
    parse_digest(&p, "digest", &m.digest);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_got(const struct wire_got *m, struct buf *ret)
{
    buf_u32(ret, m->id);
    buf_u8(ret, m->known);
    if (m->known)
        buf_block(ret, m->bytes, m->size);
}

enum err_kind
wire_get_got(const void *bytes, size_t size, struct wire_got *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_GOT);
    struct wire_got m = { 0 };

    m.id = cut_u32(parse_at(&p, "id"));
    m.known = parse_bool(&p, "known");
    if (m.known)
        m.bytes = cut_block(parse_at(&p, "bytes"), OBJECT_BYTES_MAX, &m.size);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_blob(const struct wire_blob *m, struct buf *ret)
{
    buf_u32(ret, m->number);
    buf_u32(ret, m->raw);
    buf_u8(ret, m->zip);
    buf_block(ret, m->bytes, m->stored);
}

enum err_kind
wire_get_blob(const void *bytes, size_t size, struct wire_blob *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_BLOB);
    struct wire_blob m = { 0 };

    m.number = cut_u32(parse_at(&p, "number"));
    m.raw = cut_u32(parse_at(&p, "raw"));
    parse_need(&p, m.raw > 0 && m.raw <= BLOB_RAW_MAX);
    m.zip = parse_bool(&p, "zip");
    m.bytes = cut_block(parse_at(&p, "bytes"), BLOB_STORED_MAX, &m.stored);
    parse_need(&p, m.stored > 0 && (m.zip || m.stored == m.raw));
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}
