/* Maps and files of one block: each is read and its blocks are hashed by the workers, sorted by where their bytes begin, so that a blob is
 * opened about once. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/hash.h"
#include "common/limits.h"
#include "common/mem.h"
#include "snapshot/merkle.h"
#include "verify/verify.h"

#define UNITS_FIRST 1024u    /* sorted at once in the beginning: the workers should not wait long */
#define UNITS_MAX 65536u     /* and later: 4 MiB of memory */
#define JOB_BYTES (4u * MIB) /* of files, a job */

struct unit {
    uint64_t blob; /* where its first bytes lie */
    struct digest digest;
    uint32_t bytes;
    uint8_t kind; /* OBJECT_MAP or OBJECT_BLOCK */
};
struct units {
    struct verify *v;
    struct unit *at; /* [count], room for limit */
    size_t count, limit;
};
struct job {
    struct verify *v;
    size_t count;
    struct unit at[];
};

struct units *
units_new(struct verify *v)
{
    struct units *const u = mem_zero(1, sizeof *u);

    u->v = v;
    u->limit = UNITS_FIRST;
    u->at = mem_zero(UNITS_MAX, sizeof *u->at);
    return u;
}

bool
bad_has(struct verify *v, uint32_t city, enum object_kind kind, const struct digest *digest)
{
    const struct digest mixed = city_digest(city, digest);

    return seen_has(v->bad_set, (uint8_t)kind, &mixed);
}

static void
bad_note(struct verify *v, struct bad b)
{
    const struct digest mixed = city_digest(b.city, &b.digest);

    (void)seen_add(v->bad_set, b.kind, &mixed);
    (void)pthread_mutex_lock(&v->lock);
    if (v->bad_count == v->bad_room) {
        v->bad_room = v->bad_room ? 2 * v->bad_room : 64;
        v->bad = mem_grow(v->bad, v->bad_room, sizeof *v->bad);
    }
    v->bad[v->bad_count++] = b;
    (void)pthread_mutex_unlock(&v->lock);
}

/* Is it a damaged blob that has a row?  The sweep over all rows says that, once for the blob. */
static bool
blob_is_bad(struct verify *v, uint64_t blob)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    struct err err = { 0 };
    const enum err_kind kind = reader_blob(v->reader, blob, &bytes, &err);

    return v->whole && kind != ERR_OK && kind != ERR_ABSENT;
}

void
bad_object(struct verify *v, enum object_kind kind, const struct digest *digest, const struct err *why)
{
    struct object_place place = { 0 };
    struct err err = { 0 };
    char hex[HASH_HEX_ROOM];

    bad_note(v, (struct bad){ (uint8_t)kind, v->city, *digest, 0 });
    if (reader_find(v->reader, kind, digest, &place, &err) == ERR_OK && blob_is_bad(v, place.blob))
        return;
    hash_hex(digest, hex);
    sink_text(v->sink, "object", "'%c' %.12s in blob %llu, offset %u: %s", (int)kind, hex,
              (unsigned long long)place.blob, place.off, why->text);
}

static void
bad_block(struct verify *v, const struct unit *u, const struct map *m, uint32_t block, const struct err *why)
{
    const uint32_t off = block * BLOCK_BYTES;
    const uint32_t len = m->bytes - off < BLOCK_BYTES ? m->bytes - off : BLOCK_BYTES;
    struct map slice = { 0 };
    char hex[HASH_HEX_ROOM];
    bool told = false;

    bad_note(v, (struct bad){ u->kind, v->city, u->digest, off });
    map_slice(&slice, m, off, len);
    for (size_t i = 0; i < slice.extent_count && !told; i++)
        told = slice.extents[i].blob != EXTENT_ZERO && blob_is_bad(v, slice.extents[i].blob);
    map_free(&slice);
    if (told)
        return;
    hash_hex(&u->digest, hex);
    sink_text(v->sink, "object", "'%c' %.12s, block %u: %s", u->kind, hex, block, why->text);
}

/* Has this block, out of these very bytes, been hashed before?  Night after night a map keeps most of its blocks. */
static bool
block_fresh(struct verify *v, const struct map *m, uint32_t block, uint32_t len)
{
    AUTO(map_free) struct map slice = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct digest key = { { 0 } };

    map_slice(&slice, m, block * BLOCK_BYTES, len);
    buf_put(&b, m->blocks[block].at, HASH_BYTES);
    for (size_t i = 0; i < slice.extent_count; i++) {
        buf_u64(&b, slice.extents[i].blob);
        buf_u32(&b, slice.extents[i].off);
        buf_u32(&b, slice.extents[i].len);
    }
    /* Two seeds make 16 bytes; a collision would have to be with this very block's digest too to hide anything. */
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t h = hash_check(b.at, b.size, i);

        memcpy(key.at + 8 * i, &h, sizeof h);
    }
    return seen_add(v->block_set, OBJECT_BLOCK, &key);
}

/* A block of zeros that is a hole has no bytes to read; one whose bytes are stored is read like any other. */
static bool
is_hole(const struct map *m, uint32_t block, uint32_t len)
{
    AUTO(map_free) struct map slice = { 0 };
    struct digest zero;

    if (len != BLOCK_BYTES)
        return false;
    merkle_zero(BLOCK_BYTES, &zero);
    if (!hash_same(&zero, &m->blocks[block]))
        return false;
    map_slice(&slice, m, block * BLOCK_BYTES, len);
    return slice.extent_count == 1 && slice.extents[0].blob == EXTENT_ZERO;
}

static void
map_check(struct verify *v, const struct unit *u, const struct map *m, uint8_t *room)
{
    for (uint32_t block = 0; block * BLOCK_BYTES < m->bytes; block++) {
        const uint32_t left = m->bytes - block * BLOCK_BYTES;
        const uint32_t len = left < BLOCK_BYTES ? left : BLOCK_BYTES;
        struct err err = { 0 };

        if (is_hole(m, block, len))
            continue;
        if (v->mark_count > 1 && u->kind == OBJECT_MAP && !block_fresh(v, m, block, len))
            continue;
        atomic_fetch_add(&v->blocks[0], 1);
        if (reader_block(v->reader, m, block, room, &err) == ERR_OK)
            atomic_fetch_add(&v->blocks[1], 1);
        else
            bad_block(v, u, m, block, &err);
    }
}

static void
unit_check(struct verify *v, const struct unit *u, uint8_t *room)
{
    AUTO(map_free) struct map m = { 0 };
    const struct reader_file f = { u->digest, u->bytes };
    struct err err = { 0 };
    const enum err_kind kind = u->kind == OBJECT_MAP ? reader_map(v->reader, &u->digest, u->bytes, &m, &err)
                                                     : reader_file_map(v->reader, &f, 0, &m, &err);

    if (kind != ERR_OK) {
        bad_object(v, (enum object_kind)u->kind, &u->digest, &err);
        return;
    }
    atomic_fetch_add(&v->objects[1], 1);
    map_check(v, u, &m, room);
}

static void
job_run(void *arg)
{
    struct job *const j = arg;
    uint8_t *const room = mem_alloc(BLOCK_BYTES);

    for (size_t i = 0; i < j->count; i++)
        unit_check(j->v, &j->at[i], room);
    free(room);
    free(j);
}

static int
unit_order(const void *a, const void *b)
{
    const struct unit *const x = a, *const y = b;

    return x->blob < y->blob ? -1 : x->blob > y->blob;
}

/* Jobs of neighbours; what begins in one blob stays together. */
static void
flush(struct units *u)
{
    qsort(u->at, u->count, sizeof *u->at, unit_order);
    for (size_t from = 0, to; from < u->count; from = to) {
        uint64_t bytes = 0;

        for (to = from; to < u->count && (bytes < JOB_BYTES || u->at[to].blob == u->at[to - 1].blob); to++)
            bytes += u->at[to].bytes;
        struct job *const j = mem_alloc(sizeof *j + (to - from) * sizeof *u->at);
        j->v = u->v;
        j->count = to - from;
        memcpy(j->at, u->at + from, (to - from) * sizeof *u->at);
        pool_push(u->v->pool, job_run, j);
    }
    u->count = 0;
    if (u->limit < UNITS_MAX)
        u->limit *= 2;
}

static void
add(struct units *u, struct unit one)
{
    atomic_fetch_add(&u->v->objects[0], 1);
    u->at[u->count++] = one;
    if (u->count == u->limit)
        flush(u);
}

void
units_map(struct units *u, const struct digest *digest, uint32_t bytes)
{
    AUTO(map_free) struct map m = { 0 };
    struct unit one = { 0, *digest, bytes, OBJECT_MAP };
    struct err err = { 0 };

    /* Only to know where to put it in the order: the worker says what is wrong with it. */
    if (reader_map(u->v->reader, digest, bytes, &m, &err) == ERR_OK)
        for (size_t i = 0; i < m.extent_count && one.blob == 0; i++)
            one.blob = m.extents[i].blob;
    add(u, one);
}

void
units_block(struct units *u, const struct digest *digest, uint32_t bytes)
{
    struct unit one = { 0, *digest, bytes, OBJECT_BLOCK };
    struct object_place place;
    struct err err = { 0 };

    if (reader_find(u->v->reader, OBJECT_BLOCK, digest, &place, &err) == ERR_OK)
        one.blob = place.blob;
    add(u, one);
}

void
units_end(struct units **u)
{
    flush(*u);
    pool_wait((*u)->v->pool);
    free((*u)->at);
    free(*u);
    *u = NULL;
}
