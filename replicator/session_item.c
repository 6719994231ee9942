/* ITEMS: maps and single blocks are made of literals and old bytes, and every block that is new is hashed before it counts. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/zip.h"
#include "replicator/session_internal.h"
#include "snapshot/merkle.h"

struct old_map {
    bool known;
    uint64_t n;
    struct map map;
};

/* One item under way. */
struct making {
    struct upload *up;
    const struct job *job;
    const struct wire_item *it;
    struct old_map old[2]; /* of the base: most copies come from one or two maps of it */
    unsigned old_next;
    size_t op;        /* the op that is next */
    uint32_t op_used; /* bytes of it that are used up */
    struct map map;   /* what is made */
    uint8_t *block;   /* [BLOCK_BYTES], scratch */
};

static void
making_free(struct making *mk)
{
    map_free(&mk->old[0].map);
    map_free(&mk->old[1].map);
    map_free(&mk->map);
}

static enum err_kind
old_map(struct making *mk, uint64_t n, const struct map **ret, struct err *err)
{
    const struct reader_file f = { mk->it->base.digest, mk->it->base.size };

    for (unsigned i = 0; i < 2; i++) {
        if (mk->old[i].known && mk->old[i].n == n) {
            *ret = &mk->old[i].map;
            return ERR_OK;
        }
    }
    struct old_map *const o = &mk->old[mk->old_next++ % 2];
    map_free(&o->map);
    o->known = false;
    const enum err_kind kind = reader_file_map(mk->up->reader, &f, n, &o->map, err);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "ITEMS: the base of an item");
    o->known = true;
    o->n = n;
    *ret = &o->map;
    return ERR_OK;
}

static enum err_kind
copy_old(struct making *mk, uint64_t off, uint32_t len, struct err *err)
{
    while (len > 0) {
        const struct map *old = NULL;
        const uint32_t in = (uint32_t)(off % MAP_BYTES);
        const enum err_kind kind = old_map(mk, off / MAP_BYTES, &old, err);

        if (kind != ERR_OK)
            return kind;
        assert(in < old->bytes);
        const uint32_t n = old->bytes - in < len ? old->bytes - in : len;
        map_slice(&mk->map, old, in, n);
        off += n;
        len -= n;
    }
    return ERR_OK;
}

/* The next len bytes that the ops give. */
static enum err_kind
take_ops(struct making *mk, uint32_t len, struct err *err)
{
    enum err_kind kind = ERR_OK;

    while (len > 0 && kind == ERR_OK) {
        assert(mk->op < mk->it->op_count); /* the parser saw to it that they reach */
        const struct wire_op *const op = &mk->it->ops[mk->op];
        const uint32_t n = op->len - mk->op_used < len ? op->len - mk->op_used : len;
        uint64_t blob = EXTENT_ZERO;

        if (op->kind == DELTA_COPY) {
            kind = copy_old(mk, op->off + mk->op_used, n, err);
        } else if (op->kind == DELTA_ZERO) {
            map_add(&mk->map, EXTENT_ZERO, 0, n);
        } else {
            kind = blob_number(mk->up, mk->job, op->blob, &blob, err);
            if (kind == ERR_OK)
                map_add(&mk->map, blob, (uint32_t)op->off + mk->op_used, n);
        }
        if (kind == ERR_OK && mk->map.extent_count > EXTENTS_BUILD_MAX)
            kind = err_set(err, ERR_LIMIT, "ITEMS: a map in more than %u pieces", EXTENTS_BUILD_MAX);
        len -= n;
        mk->op_used += n;
        if (mk->op_used == op->len) {
            mk->op++;
            mk->op_used = 0;
        }
    }
    return kind;
}

static uint32_t
block_bytes(uint32_t bytes, uint32_t n)
{
    const uint32_t left = bytes - n * BLOCK_BYTES;

    return left < BLOCK_BYTES ? left : BLOCK_BYTES;
}

static enum err_kind
take_same(struct making *mk, uint32_t n, struct err *err)
{
    const struct map *old = NULL;
    const uint32_t len = block_bytes(mk->it->bytes, n);
    const enum err_kind kind = old_map(mk, mk->it->base_map, &old, err);

    if (kind != ERR_OK)
        return kind;
    if (n * BLOCK_BYTES >= old->bytes || block_bytes(old->bytes, n) != len)
        return err_set(err, ERR_PROTOCOL, "ITEMS: block %u is said to be the base's, which has no such block",
                       n);
    map_slice(&mk->map, old, n * BLOCK_BYTES, len);
    mk->map.blocks[n] = old->blocks[n];
    return ERR_OK;
}

/* A place in the extents of the map, which is read from front to back. */
struct place {
    size_t extent;
    uint32_t used;
};

/* The next len bytes, from the blobs of this upload or from the store. */
static enum err_kind
gather(struct making *mk, struct place *at, uint32_t len, uint8_t *ret, struct err *err)
{
    enum err_kind kind = ERR_OK;

    while (len > 0 && kind == ERR_OK) {
        const struct extent *const from = &mk->map.extents[at->extent];
        const uint32_t n = from->len - at->used < len ? from->len - at->used : len;
        struct extent e = { from->blob, from->off + at->used, n };
        bool found = e.blob == EXTENT_ZERO;

        if (found)
            memset(ret, 0, n);
        else
            kind = raw_copy(mk->up, &e, ret, &found, err);
        if (kind == ERR_OK && !found) {
            struct map one;

            one.bytes = n;
            one.extents = &e;
            one.extent_count = one.extent_room = 1;
            kind = reader_raw(mk->up->reader, &one, 0, n, ret, err);
        }
        ret += n;
        len -= n;
        at->used += n;
        if (at->used == from->len) {
            at->extent++;
            at->used = 0;
        }
    }
    return kind;
}

static void
skip(const struct making *mk, struct place *at, uint32_t len)
{
    while (len > 0) {
        const uint32_t left = mk->map.extents[at->extent].len - at->used;

        if (left > len) {
            at->used += len;
            return;
        }
        len -= left;
        at->extent++;
        at->used = 0;
    }
}

/* A digest that arrives is never believed. */
static enum err_kind
check_blocks(struct making *mk, struct err *err)
{
    const struct wire_item *const it = mk->it;
    struct place at = { 0 };
    struct digest d;
    char hex[HASH_HEX_ROOM];

    hash_hex(&it->digest, hex);
    for (uint32_t n = 0; n < merkle_blocks(it->bytes); n++) {
        const uint32_t len = block_bytes(it->bytes, n);

        if (((it->same | it->zero) >> n & 1) != 0) {
            skip(mk, &at, len);
            continue;
        }
        const enum err_kind kind = gather(mk, &at, len, mk->block, err);
        if (kind != ERR_OK)
            return kind;
        merkle_leaf(mk->block, len, &d);
        if (!hash_same(&d, &it->blocks[n]))
            return err_set(err, ERR_PROTOCOL, "ITEMS: block %u of map %.12s is not what its digest says", n,
                           hex);
        mk->map.blocks[n] = d;
    }
    map_digest(&mk->map, &d);
    if (!hash_same(&d, &it->digest))
        return err_set(err, ERR_PROTOCOL, "ITEMS: the blocks of map %.12s do not have its digest", hex);
    return ERR_OK;
}

/* A map in too many pieces is written anew, in whole blobs. */
static enum err_kind
write_anew(struct making *mk, struct err *err)
{
    AUTO(auto_free) uint8_t *raw = mem_alloc(BLOB_RAW_MAX);
    AUTO(auto_free) uint8_t *zip = mem_alloc(zip_bound(BLOB_RAW_MAX));
    struct place at = { 0 };
    struct map whole = mk->map;

    whole.extents = NULL;
    whole.extent_count = whole.extent_room = 0;
    for (uint32_t off = 0; off < whole.bytes; off += BLOB_RAW_MAX) {
        const uint32_t n = whole.bytes - off < BLOB_RAW_MAX ? whole.bytes - off : BLOB_RAW_MAX;
        uint64_t blob = 0;
        enum err_kind kind = gather(mk, &at, n, raw, err);

        if (kind == ERR_OK) {
            const struct stage_blob b = { zip, (uint32_t)zip_pack(1, raw, n, zip), n, 1 };

            kind = stage_blob(mk->up->stage, &b, &blob, err);
        }
        if (kind != ERR_OK) {
            map_free(&whole);
            return kind;
        }
        map_add(&whole, blob, 0, n);
    }
    map_free(&mk->map);
    mk->map = whole;
    return ERR_OK;
}

static enum err_kind
make_map(struct making *mk, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    const struct wire_item *const it = mk->it;
    struct digest zero;
    enum err_kind kind = ERR_OK;

    mk->map.bytes = it->bytes;
    for (uint32_t n = 0; kind == ERR_OK && n < merkle_blocks(it->bytes); n++) {
        const uint32_t len = block_bytes(it->bytes, n);

        if ((it->same >> n & 1) != 0) {
            kind = take_same(mk, n, err);
        } else if ((it->zero >> n & 1) != 0) {
            map_add(&mk->map, EXTENT_ZERO, 0, len);
            merkle_zero(len, &mk->map.blocks[n]);
        } else {
            kind = take_ops(mk, len, err);
        }
    }
    if (kind == ERR_OK)
        kind = check_blocks(mk, err);
    if (kind != ERR_OK)
        return kind;
    /* Whole maps of zeros are known to all by their digest. */
    merkle_zero(MAP_BYTES, &zero);
    if (hash_same(&zero, &it->digest))
        return ERR_OK;
    if (mk->map.extent_count > MAP_EXTENTS_MAX)
        kind = write_anew(mk, err);
    if (kind != ERR_OK)
        return kind;
    map_encode(&mk->map, &b);
    assert(b.size <= OBJECT_BYTES_MAX);
    return stage_object(mk->up->stage, OBJECT_MAP, &it->digest, b.at, (uint32_t)b.size, err);
}

/* A file of one block that lies in one piece of one blob needs no map. */
static enum err_kind
make_block(struct making *mk, struct err *err)
{
    const struct wire_item *const it = mk->it;
    struct place at = { 0 };
    struct digest d;
    enum err_kind kind = take_ops(mk, it->bytes, err);

    if (kind == ERR_OK)
        kind = gather(mk, &at, it->bytes, mk->block, err);
    if (kind != ERR_OK)
        return kind;
    merkle_leaf(mk->block, it->bytes, &d);
    if (!hash_same(&d, &it->digest)) {
        char hex[HASH_HEX_ROOM];

        hash_hex(&it->digest, hex);
        return err_set(err, ERR_PROTOCOL, "ITEMS: a file of %u bytes is not what its digest %.12s says",
                       it->bytes, hex);
    }
    return stage_block(mk->up->stage, &d, mk->map.extents[0].blob, mk->map.extents[0].off, it->bytes, err);
}

enum err_kind
job_items(struct upload *up, struct job *j, struct err *err)
{
    AUTO(auto_free) uint8_t *block = mem_alloc(BLOCK_BYTES);
    AUTO(auto_free) struct making *mk = mem_zero(1, sizeof *mk);
    AUTO(auto_free) struct wire_item *it = mem_zero(1, sizeof *it);
    struct cut c = cut_of(j->payload.at, j->payload.size);
    enum err_kind kind = ERR_OK;

    while (kind == ERR_OK && c.left > 0) {
        kind = wire_next_item(&c, it, err);
        if (kind != ERR_OK)
            break;
        memset(mk, 0, sizeof *mk);
        *mk = (struct making){ .up = up, .job = j, .it = it, .block = block };
        kind = it->kind == OBJECT_BLOCK ? make_block(mk, err) : make_map(mk, err);
        making_free(mk);
        wire_item_free(it);
    }
    return kind;
}
