/* The walk: from the root of each mark over pages, xattrs, nodes to maps and small files.  What was met before in the city is not met
 * again, so a hundred marks cost little more than one. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/limits.h"
#include "common/mem.h"
#include "snapshot/walk.h"
#include "verify/verify.h"

#define TREE_CACHE_BYTES (64u * MIB)
#define LEVEL_ANY 255u
#define SEEN_FILE 'F' /* beside the kinds of objects */

struct todo {
    struct digest digest;
    uint8_t level; /* that the page must have */
};
struct tree {
    struct verify *v;
    struct units *units;
    struct todo *stack; /* [depth], owned; pages to read */
    size_t depth, room;
    uint64_t file_bytes; /* of the file that is walked */
};

struct digest
city_digest(uint32_t city, const struct digest *d)
{
    struct digest mixed = *d;

    for (unsigned i = 0; i < 4; i++)
        mixed.at[12 + i] ^= (uint8_t)(city >> (8 * i));
    return mixed;
}

static bool
fresh(struct verify *v, uint8_t kind, const struct digest *d)
{
    const struct digest mixed = city_digest(v->city, d);

    return seen_add(v->seen, kind, &mixed);
}

static void
page_push(struct tree *t, const struct digest *d, uint8_t level)
{
    if (!fresh(t->v, OBJECT_PAGE, d))
        return;
    atomic_fetch_add(&t->v->objects[0], 1);
    if (t->depth == t->room) {
        t->room = t->room ? 2 * t->room : 256;
        t->stack = mem_grow(t->stack, t->room, sizeof *t->stack);
    }
    t->stack[t->depth++] = (struct todo){ *d, level };
}

static enum err_kind
part_visit(void *arg, const struct walk_part *p, struct err *err)
{
    struct tree *const t = arg;

    (void)err;
    if (p->zero)
        return ERR_OK;
    if (t->file_bytes <= BLOCK_BYTES)
        units_block(t->units, &p->digest, (uint32_t)p->bytes);
    else if (fresh(t->v, OBJECT_MAP, &p->digest))
        units_map(t->units, &p->digest, (uint32_t)p->bytes);
    return ERR_OK;
}

static bool
node_visit(void *arg, const struct walk_part *p)
{
    struct tree *const t = arg;

    if (!fresh(t->v, OBJECT_NODE, &p->digest))
        return false;
    atomic_fetch_add(&t->v->objects[0], 1);
    atomic_fetch_add(&t->v->objects[1], 1); /* taken back if it is lost */
    return true;
}

static void
node_lost(void *arg, const struct walk_part *p, const struct err *why)
{
    struct tree *const t = arg;

    atomic_fetch_sub(&t->v->objects[1], 1);
    bad_object(t->v, OBJECT_NODE, &p->digest, why);
}

static void
file_visit(struct tree *t, const struct tree_entry *e)
{
    const struct reader_file f = { e->digest, e->size };
    const struct walk_parts parts = { part_visit, node_visit, node_lost, t };
    struct digest key = e->digest;
    struct err err = { 0 };

    /* A digest fixes the size; a record that says another one is looked at on its own. */
    for (unsigned i = 0; i < 8; i++)
        key.at[i] ^= (uint8_t)(e->size >> (8 * i));
    if (e->size == 0 || !fresh(t->v, SEEN_FILE, &key))
        return;
    atomic_fetch_add(&t->v->files, 1);
    atomic_fetch_add(&t->v->file_bytes, e->size);
    t->file_bytes = e->size;
    if (walk_file(t->v->reader, &f, &parts, &err) != ERR_OK)
        sink_text(t->v->sink, "tree", "%s", err.text);
}

static void
xattrs_visit(struct tree *t, const struct tree_entry *e)
{
    AUTO(buf_free) struct buf set = { 0 };
    struct err err = { 0 };

    if (e->xattrs_bytes <= XATTR_INLINE_MAX || !fresh(t->v, OBJECT_XATTRS, &e->xattrs_digest))
        return;
    atomic_fetch_add(&t->v->objects[0], 1);
    if (reader_xattrs(t->v->reader, e, &set, &err) == ERR_OK)
        atomic_fetch_add(&t->v->objects[1], 1);
    else
        bad_object(t->v, OBJECT_XATTRS, &e->xattrs_digest, &err);
}

/* Files in their order, which is that of their bytes; directories and lower pages so that the first comes off the stack first. */
static void
page_visit(struct tree *t, const struct tree_page *p)
{
    for (uint32_t i = p->count; i > 0 && p->level > 0; i--)
        page_push(t, &p->children[i - 1].digest, (uint8_t)(p->level - 1));
    for (uint32_t i = 0; i < p->count && p->level == 0; i++) {
        xattrs_visit(t, &p->entries[i]);
        if (p->entries[i].type == TREE_FILE)
            file_visit(t, &p->entries[i]);
    }
    for (uint32_t i = p->count; i > 0 && p->level == 0; i--)
        if (p->entries[i - 1].type == TREE_DIR)
            page_push(t, &p->entries[i - 1].digest, LEVEL_ANY);
}

static void
page_read(struct tree *t, const struct todo *at)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    AUTO(tree_page_free) struct tree_page p = { 0 };
    struct err err = { 0 };
    enum err_kind kind = reader_object(t->v->reader, OBJECT_PAGE, &at->digest, &bytes, &err);

    if (kind == ERR_OK)
        kind = tree_page_parse(bytes.at, bytes.size, &p, &err);
    if (kind == ERR_OK && at->level != LEVEL_ANY && p.level != at->level)
        kind = err_set(&err, ERR_CORRUPT, "a page of level %u where level %u must be", p.level, at->level);
    if (kind != ERR_OK) {
        bad_object(t->v, OBJECT_PAGE, &at->digest, &err);
        return;
    }
    atomic_fetch_add(&t->v->objects[1], 1);
    page_visit(t, &p);
}

/* What the record says of the tree, against the tree. */
static void
root_check(struct verify *v, const struct vmark *m)
{
    AUTO(buf_free) struct buf page = { 0 };
    struct tree_entry e;
    struct err err = { 0 };

    if (reader_root(v->reader, &m->row.mark.root, &page, &e, &err) != ERR_OK)
        return; /* the walk says it */
    if (e.size != m->row.mark.bytes || e.count != m->row.mark.files)
        sink_finding(v->sink, &(struct finding){ .kind = "mark",
                                                 .text = "its record says other bytes or names than its root",
                                                 .source = m->source,
                                                 .mark = m->id });
}

static void
mark_walk(struct tree *t, const struct vmark *m)
{
    page_push(t, &m->row.mark.root, 0);
    while (t->depth > 0) {
        const struct todo at = t->stack[--t->depth];

        page_read(t, &at);
    }
    root_check(t->v, m);
}

static void
city_verify(struct verify *v, size_t from, size_t to)
{
    struct tree t = { .v = v };

    v->city = v->marks[from].city;
    v->reader = reader_new(v->store, v->city, TREE_CACHE_BYTES);
    reader_on_blob(v->reader, blob_opened, v);
    t.units = units_new(v);
    for (size_t i = from; i < to; i++)
        mark_walk(&t, &v->marks[i]);
    units_end(&t.units);
    reader_free(&v->reader);
    free(t.stack);
}

void
trees_verify(struct verify *v)
{
    for (size_t from = 0, to; from < v->mark_count; from = to) {
        to = from + 1;
        if (!v->marks[from].city_known)
            continue;
        while (to < v->mark_count && v->marks[to].city_known && v->marks[to].city == v->marks[from].city)
            to++;
        city_verify(v, from, to);
    }
}
