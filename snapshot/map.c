/* A map, encoded:
 *
 *     u8       version, 1
 *     u32      bytes: length of this part of the file, 1..4 MiB
 *     u64      bit b: block b is a full block of zeros, and its digest is not written
 *     32 x n   the digests of the other blocks
 *     varint   count of extents
 *     for each extent, in file order:
 *     varint   length * 2, + 1 for a hole
 *     varint   unless a hole: blob number less that of the last extent before it that is no hole (0 if there is none),
 *              modulo 2^64, zigzag
 *     varint   unless a hole: offset in the blob's raw bytes
 *
 * Little-endian; varints are LEB128 in the fewest bytes; bits past the last block are 0; a full block of zeros always has its bit
 * set; an extent that continues the one before it was joined with it.  So a map has exactly one encoding. */
#include "snapshot/map.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "snapshot/canon.h"
#include "snapshot/merkle.h"

#define MAP_VERSION 1u

void
map_free(struct map *m)
{
    free(m->extents);
    m->extents = NULL;
    m->extent_count = m->extent_room = 0;
    m->bytes = 0;
}

static bool
continues(const struct extent *last, uint64_t blob, uint32_t off)
{
    return last->blob == blob && (blob == EXTENT_ZERO || (uint64_t)last->off + last->len == off);
}

void
map_add(struct map *m, uint64_t blob, uint32_t off, uint32_t len)
{
    assert(len > 0 && len <= MAP_BYTES);
    assert(blob != EXTENT_ZERO || off == 0);
    if (m->extent_count > 0 && continues(&m->extents[m->extent_count - 1], blob, off)) {
        m->extents[m->extent_count - 1].len += len;
        return;
    }
    if (m->extent_count == m->extent_room) {
        m->extent_room = m->extent_room == 0 ? 8 : 2 * m->extent_room;
        m->extents = mem_grow(m->extents, m->extent_room, sizeof *m->extents);
    }
    m->extents[m->extent_count++] = (struct extent){ .blob = blob, .off = off, .len = len };
}

void
map_slice(struct map *m, const struct map *from, uint32_t off, uint32_t len)
{
    assert(m != from && len > 0);
    for (size_t i = 0; i < from->extent_count && len > 0; i++) {
        const struct extent *const e = &from->extents[i];

        if (off >= e->len) {
            off -= e->len;
            continue;
        }
        const uint32_t take = e->len - off < len ? e->len - off : len;

        map_add(m, e->blob, e->blob == EXTENT_ZERO ? 0 : e->off + off, take);
        len -= take;
        off = 0;
    }
    assert(len == 0);
}

void
map_digest(const struct map *m, struct digest *ret)
{
    assert(m->bytes > 0 && m->bytes <= MAP_BYTES);
    merkle_root(m->blocks, merkle_blocks(m->bytes), ret);
}

static void
put_blocks(const struct map *m, struct buf *ret)
{
    const size_t full = m->bytes / BLOCK_BYTES;
    struct digest zero;
    uint64_t bits = 0;

    merkle_zero(BLOCK_BYTES, &zero);
    for (size_t b = 0; b < full; b++)
        if (memcmp(&m->blocks[b], &zero, sizeof zero) == 0)
            bits |= UINT64_C(1) << b;
    buf_u64(ret, bits);
    for (size_t b = 0; b < merkle_blocks(m->bytes); b++)
        if ((bits >> b & 1) == 0)
            buf_put(ret, &m->blocks[b], sizeof m->blocks[b]);
}

void
map_encode(const struct map *m, struct buf *ret)
{
    uint64_t sum = 0, last = 0;

    assert(m->bytes > 0 && m->bytes <= MAP_BYTES);
    assert(m->extent_count > 0 && m->extent_count <= MAP_EXTENTS_MAX);
    buf_u8(ret, MAP_VERSION);
    buf_u32(ret, m->bytes);
    put_blocks(m, ret);
    buf_varint(ret, m->extent_count);
    for (size_t i = 0; i < m->extent_count; i++) {
        const struct extent *const e = &m->extents[i];

        assert(i == 0 || !continues(e - 1, e->blob, e->off));
        sum += e->len;
        buf_varint(ret, 2 * (uint64_t)e->len + (e->blob == EXTENT_ZERO));
        if (e->blob == EXTENT_ZERO)
            continue;
        assert((uint64_t)e->off + e->len <= BLOB_RAW_MAX);
        buf_varint(ret, canon_zigzag(e->blob - last));
        buf_varint(ret, e->off);
        last = e->blob;
    }
    assert(sum == m->bytes);
}

/* What is wrong, or NULL. */
static const char *
get_blocks(struct cut *c, struct map *m)
{
    const size_t count = merkle_blocks(m->bytes), full = m->bytes / BLOCK_BYTES;
    const uint64_t bits = cut_u64(c);
    struct digest zero;

    if (full < MAP_BLOCKS && bits >> full != 0)
        return "a block is said to be zero that is not there or not full";
    merkle_zero(BLOCK_BYTES, &zero);
    for (size_t b = 0; b < count; b++) {
        if (bits >> b & 1) {
            m->blocks[b] = zero;
            continue;
        }
        const uint8_t *const at = cut_bytes(c, sizeof m->blocks[b]);

        if (at == NULL)
            return "it ends within the digests";
        memcpy(&m->blocks[b], at, sizeof m->blocks[b]);
        if (b < full && memcmp(at, &zero, sizeof zero) == 0)
            return "the digest of a block of zeros is written out";
    }
    return NULL;
}

static const char *
get_extent(struct cut *c, uint64_t left, uint64_t *last, struct extent *ret)
{
    const uint64_t coded = canon_varint(c), len = coded >> 1;

    if (c->bad)
        return "it ends within the extents";
    if (len == 0 || len > left)
        return "an extent is empty or passes the end";
    *ret = (struct extent){ .blob = EXTENT_ZERO, .len = (uint32_t)len };
    if (coded & 1)
        return NULL;
    const uint64_t blob = *last + canon_unzigzag(canon_varint(c)), off = canon_varint(c);

    if (c->bad)
        return "it ends within an extent";
    if (blob == EXTENT_ZERO)
        return "an extent has no blob";
    if (off >= BLOB_RAW_MAX || len > BLOB_RAW_MAX - off)
        return "an extent passes the end of a blob";
    ret->blob = *last = blob;
    ret->off = (uint32_t)off;
    return NULL;
}

static const char *
get_extents(struct cut *c, struct map *m)
{
    const uint64_t count = canon_varint(c);
    uint64_t left = m->bytes, last = 0;

    if (c->bad || count == 0 || count > MAP_EXTENTS_MAX)
        return "the count of extents is out of range";
    m->extents = mem_zero((size_t)count, sizeof *m->extents);
    m->extent_room = (size_t)count;
    while (m->extent_count < count) {
        struct extent *const e = &m->extents[m->extent_count];
        const char *const what = get_extent(c, left, &last, e);

        if (what != NULL)
            return what;
        if (m->extent_count > 0 && continues(e - 1, e->blob, e->off))
            return "an extent continues the one before it";
        left -= e->len;
        m->extent_count++;
    }
    if (left > 0)
        return "the extents do not reach the end";
    return cut_done(c) ? NULL : "something follows the extents";
}

enum err_kind
map_parse(const void *bytes, size_t size, struct map *ret, struct err *err)
{
    struct cut c = cut_of(bytes, size);
    struct map m = { 0 };
    const char *what = NULL;

    if (cut_u8(&c) != MAP_VERSION)
        what = "it is not of version 1";
    else if (m.bytes = cut_u32(&c), m.bytes == 0 || m.bytes > MAP_BYTES)
        what = "its length is out of range";
    if (what == NULL)
        what = get_blocks(&c, &m);
    if (what == NULL)
        what = get_extents(&c, &m);
    if (what != NULL) {
        map_free(&m);
        return err_set(err, ERR_CORRUPT, "map is damaged at byte %zu: %s", size - c.left, what);
    }
    *ret = m;
    return ERR_OK;
}
