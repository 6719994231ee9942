/* Objects, maps and bytes of one city.  What is returned was held against the digest that asked for it. */
#include "snapshot/read.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/merkle.h"
#include "snapshot/read_internal.h"

enum err_kind
reader_find(struct reader *r, enum object_kind what, const struct digest *digest, struct object_place *ret,
            struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    uint8_t key[OBJECT_KEY_BYTES];
    char hex[HASH_HEX_ROOM];

    store_object_key(r->city_key, r->city, what, digest, key);
    enum err_kind kind = kv_begin(r->s->kv, false, &t, err);
    if (kind == ERR_OK)
        kind = index_object_get(t, key, ret, err);
    if (kind == ERR_ABSENT || kind == ERR_CORRUPT) {
        hash_hex(digest, hex);
        if (kind == ERR_ABSENT)
            return err_set(err, kind, "the index has no object '%c' %.12s", (int)what, hex);
        return err_prefix(err, kind, "object '%c' %.12s", (int)what, hex);
    }
    return kind;
}

/* Absent is what nobody ever wrote; what a row speaks of and is not there is damage. */
static enum err_kind
missing(uint64_t blob, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "the index has no blob %llu, which it names elsewhere",
                   (unsigned long long)blob);
}

/* The bytes of an object as they lie, unchecked. */
static enum err_kind
object_bytes(struct reader *r, enum object_kind what, const struct digest *digest, struct buf *ret,
             struct err *err)
{
    struct object_place place;
    struct cached *c = NULL;
    enum err_kind kind = reader_find(r, what, digest, &place, err);

    if (kind != ERR_OK)
        return kind;
    kind = reader_take(r, place.blob, &c, err);
    if (kind != ERR_OK)
        return kind == ERR_ABSENT ? missing(place.blob, err) : kind;
    if (place.off > c->raw || place.len > c->raw - place.off)
        kind = err_set(err, ERR_CORRUPT, "an object lies outside of blob %llu",
                       (unsigned long long)place.blob);
    else
        buf_put(ret, c->bytes + place.off, place.len);
    reader_give(r, c);
    return kind;
}

static enum err_kind
mismatch(enum object_kind what, const struct digest *digest, struct err *err)
{
    char hex[HASH_HEX_ROOM];

    hash_hex(digest, hex);
    return err_set(err, ERR_CORRUPT, "object '%c' %.12s does not match its digest", (int)what, hex);
}

enum err_kind
reader_object(struct reader *r, enum object_kind what, const struct digest *digest, struct buf *ret,
              struct err *err)
{
    const size_t before = ret->size;
    struct digest found;
    const enum err_kind kind = object_bytes(r, what, digest, ret, err);

    if (kind != ERR_OK)
        return kind;
    const uint8_t *const at = ret->at + before;
    const size_t n = ret->size - before;
    memset(&found, 0, sizeof found);
    if (what == OBJECT_PAGE)
        tree_page_digest(at, n, &found);
    else if (what == OBJECT_XATTRS)
        tree_xattrs_digest(at, n, &found);
    else if (what == OBJECT_BLOCK)
        merkle_leaf(at, n, &found);
    else if (what == OBJECT_NODE && n > 0 && n % HASH_BYTES == 0 && n / HASH_BYTES <= NODE_CHILDREN) {
        struct digest children[NODE_CHILDREN];

        memcpy(children, at, n);
        merkle_root(children, n / HASH_BYTES, &found);
    }
    if (hash_same(&found, digest))
        return ERR_OK;
    ret->size = before;
    return mismatch(what, digest, err);
}

static void
zero_map(uint32_t bytes, struct map *ret)
{
    for (uint32_t at = 0, n = 0; at < bytes; at += BLOCK_BYTES, n++)
        merkle_zero(bytes - at < BLOCK_BYTES ? bytes - at : BLOCK_BYTES, &ret->blocks[n]);
    map_add(ret, EXTENT_ZERO, 0, bytes);
    ret->bytes = bytes;
}

enum err_kind
reader_map(struct reader *r, const struct digest *digest, uint32_t bytes, struct map *ret, struct err *err)
{
    AUTO(map_free) struct map m = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct digest found;

    assert(bytes > 0 && bytes <= MAP_BYTES);
    merkle_zero(bytes, &found);
    if (hash_same(&found, digest)) {
        zero_map(bytes, &m);
    } else {
        enum err_kind kind = object_bytes(r, OBJECT_MAP, digest, &b, err);

        if (kind == ERR_OK)
            kind = map_parse(b.at, b.size, &m, err);
        if (kind != ERR_OK)
            return kind;
        map_digest(&m, &found);
        if (m.bytes != bytes || !hash_same(&found, digest))
            return mismatch(OBJECT_MAP, digest, err);
    }
    *ret = m;
    m = (struct map){ 0 };
    return ERR_OK;
}

/* A file of one block: its index row points at the bytes; one that was made of old bytes has a map, one of zeros has neither. */
static enum err_kind
block_map(struct reader *r, const struct reader_file *f, struct map *ret, struct err *err)
{
    struct object_place place;
    const uint32_t bytes = (uint32_t)f->size;
    const enum err_kind kind = reader_find(r, OBJECT_BLOCK, &f->digest, &place, err);

    if (kind == ERR_ABSENT)
        return reader_map(r, &f->digest, bytes, ret, err);
    if (kind != ERR_OK)
        return kind;
    if (place.len != bytes)
        return err_set(err, ERR_CORRUPT, "a file of %u bytes lies in %u bytes of blob %llu", bytes, place.len,
                       (unsigned long long)place.blob);
    struct map m = { .bytes = bytes };
    m.blocks[0] = f->digest;
    map_add(&m, place.blob, place.off, place.len);
    *ret = m;
    return ERR_OK;
}

/* Step from an object of level down to its child of level - 1 that covers map. */
static enum err_kind
child_of(struct reader *r, const struct digest *node, unsigned level, uint64_t size, uint64_t map,
         struct digest *ret, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    const uint64_t child_span = merkle_span(level - 1);
    const uint64_t first = map * MAP_BYTES / merkle_span(level) *
                           merkle_span(level); /* where the node begins */
    const uint64_t n = (map * MAP_BYTES - first) / child_span;
    const uint64_t left = size - first;
    const uint64_t children = left >= merkle_span(level) ? NODE_CHILDREN
                                                         : (left + child_span - 1) / child_span;
    struct digest zero;

    merkle_zero(left < merkle_span(level) ? left : merkle_span(level), &zero);
    if (hash_same(&zero, node)) {
        const uint64_t rest = left - n * child_span;

        merkle_zero(rest < child_span ? rest : child_span, ret);
        return ERR_OK;
    }
    const enum err_kind kind = reader_object(r, OBJECT_NODE, node, &b, err);
    if (kind != ERR_OK)
        return kind;
    if (b.size != children * HASH_BYTES)
        return err_set(err, ERR_CORRUPT, "a node has %zu children, not %llu", b.size / HASH_BYTES,
                       (unsigned long long)children);
    memcpy(ret->at, b.at + n * HASH_BYTES, HASH_BYTES);
    return ERR_OK;
}

enum err_kind
reader_file_map(struct reader *r, const struct reader_file *f, uint64_t map, struct map *ret, struct err *err)
{
    const unsigned levels = merkle_levels(f->size);
    struct digest at = f->digest;

    assert(f->size > 0 && map < merkle_maps(f->size));
    if (levels == 0)
        return block_map(r, f, ret, err);
    for (unsigned level = levels; level > 1; level--) {
        const enum err_kind kind = child_of(r, &at, level, f->size, map, &at, err);

        if (kind != ERR_OK)
            return kind;
    }
    return reader_map(r, &at, merkle_map_bytes(f->size, map), ret, err);
}

enum err_kind
reader_raw(struct reader *r, const struct map *m, uint32_t off, uint32_t len, uint8_t *ret, struct err *err)
{
    uint32_t at = 0;

    assert(off <= m->bytes && len <= m->bytes - off);
    for (size_t i = 0; i < m->extent_count && at < off + len; at += m->extents[i++].len) {
        const struct extent *const e = &m->extents[i];

        if (at + e->len <= off)
            continue;
        const uint32_t skip = at < off ? off - at : 0;
        const uint32_t start = at + skip - off;
        const uint32_t n = e->len - skip < len - start ? e->len - skip : len - start;
        if (e->blob == EXTENT_ZERO) {
            memset(ret + start, 0, n);
            continue;
        }
        struct cached *c = NULL;
        const enum err_kind kind = reader_take(r, e->blob, &c, err);
        if (kind != ERR_OK)
            return kind == ERR_ABSENT ? missing(e->blob, err) : kind;
        const bool inside = e->off <= c->raw && skip + n <= c->raw - e->off;
        if (inside)
            memcpy(ret + start, c->bytes + e->off + skip, n);
        reader_give(r, c);
        if (!inside)
            return err_set(err, ERR_CORRUPT, "an extent lies outside of blob %llu",
                           (unsigned long long)e->blob);
    }
    return ERR_OK;
}

enum err_kind
reader_block(struct reader *r, const struct map *m, uint32_t block, uint8_t *ret, struct err *err)
{
    const uint32_t off = block * BLOCK_BYTES;
    struct digest found;

    assert(off < m->bytes);
    const uint32_t n = m->bytes - off < BLOCK_BYTES ? m->bytes - off : BLOCK_BYTES;
    enum err_kind kind = reader_raw(r, m, off, n, ret, err);
    if (kind == ERR_OK) {
        merkle_leaf(ret, n, &found);
        if (!hash_same(&found, &m->blocks[block]))
            kind = err_set(err, ERR_CORRUPT, "a block of %u bytes does not match its digest", n);
    }
    if (kind != ERR_OK)
        memset(ret, 0, n);
    return kind;
}

static enum err_kind
dir_walk(struct reader *r, const struct digest *page, int level, reader_entry_fn *fn, void *arg,
         struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    AUTO(tree_page_free) struct tree_page p = { 0 };
    enum err_kind kind = reader_object(r, OBJECT_PAGE, page, &b, err);

    if (kind == ERR_OK)
        kind = tree_page_parse(b.at, b.size, &p, err);
    if (kind != ERR_OK)
        return kind;
    /* A page beneath another is one level lower: no loop, however hostile. */
    if (level >= 0 && p.level != level)
        return err_set(err, ERR_CORRUPT, "a page of level %u stands where level %d was expected", p.level,
                       level);
    /* Only a root page may hold ".": anywhere else it would be a directory inside itself. */
    if (p.level == 0 && p.count > 0 && !tree_name_ok(p.entries[0].name, p.entries[0].name_bytes))
        return err_set(err, ERR_CORRUPT, "a directory holds a name that is not allowed");
    for (uint32_t i = 0; kind == ERR_OK && i < p.count; i++)
        kind = p.level == 0 ? fn(arg, &p.entries[i], err)
                            : dir_walk(r, &p.children[i].digest, p.level - 1, fn, arg, err);
    return kind;
}

enum err_kind
reader_dir(struct reader *r, const struct digest *dir, reader_entry_fn *fn, void *arg, struct err *err)
{
    return dir_walk(r, dir, -1, fn, arg, err);
}

static enum err_kind
page_load(struct reader *r, const struct digest *digest, struct buf *b, struct tree_page *p, struct err *err)
{
    b->size = 0;
    tree_page_free(p);
    const enum err_kind kind = reader_object(r, OBJECT_PAGE, digest, b, err);
    return kind != ERR_OK ? kind : tree_page_parse(b->at, b->size, p, err);
}

enum err_kind
reader_entry(struct reader *r, const struct digest *dir, const char *name, size_t name_bytes,
             struct buf *page, struct tree_entry *ret, struct err *err)
{
    AUTO(tree_page_free) struct tree_page p = { 0 };
    enum err_kind kind = page_load(r, dir, page, &p, err);

    while (kind == ERR_OK && p.level > 0) {
        const unsigned level = p.level;
        uint32_t i = 0;

        while (i < p.count &&
               tree_name_order(p.children[i].last, p.children[i].last_bytes, name, name_bytes) < 0)
            i++;
        if (i == p.count)
            return err_set(err, ERR_ABSENT, "no such name");
        const struct digest next = p.children[i].digest;
        kind = page_load(r, &next, page, &p, err);
        if (kind == ERR_OK && p.level + 1u != level)
            return err_set(err, ERR_CORRUPT, "a page of level %u stands beneath one of level %u", p.level,
                           level);
    }
    for (uint32_t i = 0; kind == ERR_OK && i < p.count; i++)
        if (tree_name_order(p.entries[i].name, p.entries[i].name_bytes, name, name_bytes) == 0) {
            *ret = p.entries[i];
            return ERR_OK;
        }
    return kind != ERR_OK ? kind : err_set(err, ERR_ABSENT, "no such name");
}

enum err_kind
reader_root(struct reader *r, const struct digest *root, struct buf *page, struct tree_entry *ret,
            struct err *err)
{
    AUTO(tree_page_free) struct tree_page p = { 0 };
    const enum err_kind kind = page_load(r, root, page, &p, err);

    if (kind != ERR_OK)
        return kind;
    if (p.level != 0 || p.count != 1 || p.entries[0].name_bytes != 1 || p.entries[0].name[0] != '.' ||
        p.entries[0].type != TREE_DIR)
        return err_set(err, ERR_CORRUPT, "the root page is not a root page");
    *ret = p.entries[0];
    return ERR_OK;
}

enum err_kind
reader_xattrs(struct reader *r, const struct tree_entry *e, struct buf *ret, struct err *err)
{
    if (e->xattrs_bytes == 0)
        return ERR_OK;
    if (e->xattrs_bytes > XATTR_INLINE_MAX)
        return reader_object(r, OBJECT_XATTRS, &e->xattrs_digest, ret, err);
    buf_put(ret, e->xattrs, e->xattrs_bytes);
    return ERR_OK;
}
