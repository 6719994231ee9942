/* What damage means to people: the marks, paths and offsets that it is part of.  A second walk, which only damage pays for; directories and
 * files that were found clean once are passed over. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/limits.h"
#include "common/mem.h"
#include "snapshot/escape.h"
#include "snapshot/walk.h"
#include "verify/verify.h"

#define HIT_CACHE_BYTES (32u * MIB)
#define SEEN_FILE 'F'

struct hit_level {
    struct walk *walk;
    struct digest dir;
    size_t path_bytes; /* of the path, when this directory is done */
    uint64_t hits;     /* before it */
};
struct hits {
    struct verify *v;
    struct reader *reader;
    const struct vmark *mark;
    struct seen *clean;
    struct hit_level *stack; /* [depth], owned */
    size_t depth, room;
    struct buf path;
    uint64_t count;
};

static void
tell(struct hits *h, bool at_given, uint64_t offset, const char *text)
{
    AUTO(auto_free)
    char *path = h->path.size > 0 ? escape_text(h->path.at, h->path.size) : escape_text(".", 1);

    h->count++;
    sink_hit(h->v->sink, &(struct finding){ .text = text,
                                            .source = h->mark->source,
                                            .mark = h->mark->id,
                                            .path = path,
                                            .at_given = at_given,
                                            .file_offset = offset });
}

/* Each damaged block of this map or small file. */
static enum err_kind
part_look(void *arg, const struct walk_part *p, struct err *err)
{
    struct hits *const h = arg;
    struct verify *const v = h->v;

    (void)err;
    if (p->zero || (!bad_has(v, h->mark->city, OBJECT_MAP, &p->digest) &&
                    !bad_has(v, h->mark->city, OBJECT_BLOCK, &p->digest)))
        return ERR_OK;
    for (size_t i = 0; i < v->bad_count; i++) {
        const struct bad *const b = &v->bad[i];

        if (b->city == h->mark->city && hash_same(&b->digest, &p->digest) && b->off < p->bytes)
            tell(h, true, p->off + b->off, "damaged");
    }
    return ERR_OK;
}

static void
node_lost(void *arg, const struct walk_part *p, const struct err *why)
{
    AUTO(auto_free)
    char *text = mem_text("%llu bytes from there: %s", (unsigned long long)p->bytes, why->text);

    tell(arg, true, p->off, text);
}

static void
file_look(struct hits *h, const struct tree_entry *e)
{
    const struct reader_file f = { e->digest, e->size };
    const struct walk_parts parts = { part_look, NULL, node_lost, h };
    const struct digest key = city_digest(h->mark->city, &e->digest);
    const uint64_t before = h->count;
    struct err err = { 0 };

    if (e->size == 0 || seen_has(h->clean, SEEN_FILE, &key))
        return;
    if (walk_file(h->reader, &f, &parts, &err) != ERR_OK)
        tell(h, false, 0, err.text);
    if (h->count == before)
        (void)seen_add(h->clean, SEEN_FILE, &key);
}

static void
enter(struct hits *h, const struct digest *dir, size_t path_bytes)
{
    const struct digest key = city_digest(h->mark->city, dir);

    if (seen_has(h->clean, OBJECT_PAGE, &key)) {
        h->path.size = path_bytes;
        return;
    }
    if (h->depth == h->room) {
        h->room = h->room ? 2 * h->room : 32;
        h->stack = mem_grow(h->stack, h->room, sizeof *h->stack);
    }
    h->stack[h->depth++] = (struct hit_level){ walk_new(h->reader, dir), *dir, path_bytes, h->count };
}

static void
leave(struct hits *h)
{
    struct hit_level *const l = &h->stack[--h->depth];
    const struct digest key = city_digest(h->mark->city, &l->dir);

    if (l->hits == h->count)
        (void)seen_add(h->clean, OBJECT_PAGE, &key);
    h->path.size = l->path_bytes;
    walk_free(&l->walk);
}

static void
step(struct hits *h)
{
    struct hit_level *const top = &h->stack[h->depth - 1];
    const size_t before = h->path.size;
    struct tree_entry e;
    struct err err = { 0 };
    const enum err_kind kind = walk_next(top->walk, &e, &err);

    if (kind == ERR_ABSENT) {
        leave(h);
        return;
    }
    if (kind != ERR_OK) {
        AUTO(auto_free) char *text = mem_text("names in it are lost: %s", err.text);
        tell(h, false, 0, text);
        return;
    }
    if (before > 0)
        buf_put(&h->path, "/", 1);
    buf_put(&h->path, e.name, e.name_bytes);
    if (e.xattrs_bytes > XATTR_INLINE_MAX && bad_has(h->v, h->mark->city, OBJECT_XATTRS, &e.xattrs_digest))
        tell(h, false, 0, "its extended attributes are damaged");
    if (e.type == TREE_DIR) {
        enter(h, &e.digest, before);
        return;
    }
    if (e.type == TREE_FILE)
        file_look(h, &e);
    h->path.size = before;
}

static void
mark_look(struct hits *h, const struct vmark *m)
{
    AUTO(buf_free) struct buf page = { 0 };
    struct tree_entry e;
    struct err err = { 0 };

    h->mark = m;
    h->path.size = 0;
    if (reader_root(h->reader, &m->row.mark.root, &page, &e, &err) != ERR_OK) {
        AUTO(auto_free) char *text = mem_text("the whole mark: %s", err.text);
        tell(h, false, 0, text);
        return;
    }
    if (e.xattrs_bytes > XATTR_INLINE_MAX && bad_has(h->v, m->city, OBJECT_XATTRS, &e.xattrs_digest))
        tell(h, false, 0, "its extended attributes are damaged");
    enter(h, &e.digest, 0);
    while (h->depth > 0)
        step(h);
}

void
hits_tell(struct verify *v)
{
    struct hits h = { .v = v, .clean = seen_new(UINT32_MAX) };

    for (size_t i = 0; i < v->mark_count && v->bad_count > 0; i++) {
        if (!v->marks[i].city_known)
            continue;
        h.reader = reader_new(v->store, v->marks[i].city, HIT_CACHE_BYTES);
        mark_look(&h, &v->marks[i]);
        reader_free(&h.reader);
    }
    free(h.stack);
    buf_free(&h.path);
    seen_free(&h.clean);
}
