#include "snapshot/walk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/limits.h"
#include "common/mem.h"
#include "snapshot/escape.h"
#include "snapshot/merkle.h"

#define WALK_LEVELS                                                                                          \
    9u /* levels of pages: a page says its level in one of 0..7; one more to see that it does not */

struct walk_level {
    struct buf bytes; /* of the page; entries point into it */
    struct tree_page page;
    uint32_t at; /* next entry or child */
};
struct walk {
    struct reader *reader;
    struct digest top;
    bool begun;
    unsigned depth; /* levels in use; [depth - 1] is the lowest */
    struct walk_level levels[WALK_LEVELS];
    uint16_t last_bytes; /* of the last name given or passed over; 0: none yet */
    char last[NAME_BYTES_MAX];
};

struct walk *
walk_new(struct reader *r, const struct digest *dir)
{
    struct walk *const w = mem_zero(1, sizeof *w);

    w->reader = r;
    w->top = *dir;
    return w;
}

static void
level_pop(struct walk *w)
{
    struct walk_level *const l = &w->levels[--w->depth];

    tree_page_free(&l->page);
    buf_free(&l->bytes);
    memset(l, 0, sizeof *l);
}

void
walk_free(struct walk **w)
{
    if (*w == NULL)
        return;
    while ((*w)->depth > 0)
        level_pop(*w);
    free(*w);
    *w = NULL;
}

static void
last_set(struct walk *w, const char *name, uint16_t bytes)
{
    assert(bytes <= sizeof w->last);
    memcpy(w->last, name, bytes);
    w->last_bytes = bytes;
}

/* Whether the page just read is what its parent said, and follows what came before. */
static enum err_kind
level_check(const struct walk *w, const struct walk_level *l, const struct tree_child *as, struct err *err)
{
    const struct tree_page *const p = &l->page;

    if (as != NULL && w->depth > 0 && p->level + 1u != w->levels[w->depth - 1].page.level)
        return err_set(err, ERR_CORRUPT, "a page of level %u under one of level %u", p->level,
                       w->levels[w->depth - 1].page.level);
    if (p->count == 0)
        return as == NULL ? ERR_OK : err_set(err, ERR_CORRUPT, "an empty page under another");
    const char *const last = p->level == 0 ? p->entries[p->count - 1].name : p->children[p->count - 1].last;
    const uint16_t last_bytes = p->level == 0 ? p->entries[p->count - 1].name_bytes
                                              : p->children[p->count - 1].last_bytes;
    if (as != NULL && tree_name_order(last, last_bytes, as->last, as->last_bytes) != 0)
        return err_set(err, ERR_CORRUPT, "a page does not end with the name that the page above it says");
    if (p->level == 0 && w->last_bytes > 0 &&
        tree_name_order(w->last, w->last_bytes, p->entries[0].name, p->entries[0].name_bytes) >= 0)
        return err_set(err, ERR_CORRUPT, "a page does not follow the one before it");
    return ERR_OK;
}

static enum err_kind
level_push(struct walk *w, const struct digest *digest, const struct tree_child *as, struct err *err)
{
    struct walk_level l = { 0 };

    if (w->depth == WALK_LEVELS)
        return err_set(err, ERR_CORRUPT, "pages are nested too deep");
    enum err_kind kind = reader_object(w->reader, OBJECT_PAGE, digest, &l.bytes, err);
    if (kind == ERR_OK)
        kind = tree_page_parse(l.bytes.at, l.bytes.size, &l.page, err);
    if (kind == ERR_OK) {
        kind = level_check(w, &l, as, err);
        if (kind != ERR_OK)
            tree_page_free(&l.page);
    }
    if (kind != ERR_OK) {
        buf_free(&l.bytes);
        /* What is missing here is damage: ERR_ABSENT means the end to callers. */
        return kind == ERR_ABSENT ? err_set(err, ERR_CORRUPT, "a page of a directory is missing") : kind;
    }
    w->levels[w->depth++] = l;
    return ERR_OK;
}

/* The next child of the lowest level becomes the lowest level; when it cannot be read it is passed over all the same. */
static enum err_kind
child_enter(struct walk *w, struct err *err)
{
    struct walk_level *const l = &w->levels[w->depth - 1];
    const struct tree_child *const child = &l->page.children[l->at++];
    const enum err_kind kind = level_push(w, &child->digest, child, err);

    if (kind != ERR_OK)
        last_set(w, child->last, child->last_bytes);
    return kind;
}

static enum err_kind
walk_begin(struct walk *w, struct err *err)
{
    if (w->begun)
        return ERR_OK;
    w->begun = true;
    return level_push(w, &w->top, NULL, err);
}

enum err_kind
walk_next(struct walk *w, struct tree_entry *ret, struct err *err)
{
    enum err_kind kind = walk_begin(w, err);

    while (kind == ERR_OK && w->depth > 0) {
        struct walk_level *const l = &w->levels[w->depth - 1];

        if (l->at == l->page.count) {
            level_pop(w);
        } else if (l->page.level > 0) {
            kind = child_enter(w, err);
        } else {
            *ret = l->page.entries[l->at++];
            last_set(w, ret->name, ret->name_bytes);
            return ERR_OK;
        }
    }
    return kind != ERR_OK ? kind : err_set(err, ERR_ABSENT, "no more entries");
}

/* The page that comes next, or NULL where an entry or the end does. */
static const struct tree_child *
child_next(struct walk *w)
{
    while (w->depth > 0 && w->levels[w->depth - 1].at == w->levels[w->depth - 1].page.count)
        level_pop(w);
    if (w->depth == 0 || w->levels[w->depth - 1].page.level == 0)
        return NULL;
    return &w->levels[w->depth - 1].page.children[w->levels[w->depth - 1].at];
}

static void
child_skip(struct walk *w, const struct tree_child *child)
{
    last_set(w, child->last, child->last_bytes);
    w->levels[w->depth - 1].at++;
}

enum err_kind
walk_skip_same(struct walk *a, struct walk *b, struct err *err)
{
    enum err_kind kind = walk_begin(a, err);

    if (kind == ERR_OK)
        kind = walk_begin(b, err);
    while (kind == ERR_OK) {
        const struct tree_child *const x = child_next(a);
        const struct tree_child *const y = child_next(b);

        if (x == NULL || y == NULL)
            return ERR_OK;
        const unsigned x_level = a->levels[a->depth - 1].page.level;
        const unsigned y_level = b->levels[b->depth - 1].page.level;
        if (x_level == y_level && hash_same(&x->digest, &y->digest)) {
            child_skip(a, x);
            child_skip(b, y);
            continue;
        }
        if (x_level >= y_level)
            kind = child_enter(a, err);
        if (kind == ERR_OK && y_level >= x_level)
            kind = child_enter(b, err);
    }
    return kind;
}

/* Nodes still to be visited, as a stack: deep in levels, never in calls. */
struct parts {
    struct reader *reader;
    const struct walk_parts *to;
    uint64_t size;
};

static enum err_kind
part_give(const struct parts *p, const struct walk_part *part, struct err *err)
{
    struct walk_part one = *part;
    struct digest zero;

    merkle_zero(part->bytes, &zero);
    one.zero = hash_same(&zero, &part->digest) == 1;
    return p->to->part(p->to->arg, &one, err);
}

static enum err_kind node_walk(const struct parts *p, const struct walk_part *node, unsigned level,
                               struct err *err);

/* One child of a node of level > 1: a map, a node, or a span of zeros that nothing is stored of. */
static enum err_kind
child_walk(const struct parts *p, const struct walk_part *child, unsigned level, struct err *err)
{
    struct digest zero;

    merkle_zero(child->bytes, &zero);
    if (level <= 1 || hash_same(&zero, &child->digest))
        return part_give(p, child, err);
    return node_walk(p, child, level, err);
}

static enum err_kind
node_walk(const struct parts *p, const struct walk_part *node, unsigned level, struct err *err)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    struct err inner = { 0 };
    const uint64_t span = merkle_span(level - 1);
    const uint64_t count = (node->bytes + span - 1) / span;

    if (p->to->node != NULL && !p->to->node(p->to->arg, node))
        return ERR_OK;
    enum err_kind kind = reader_object(p->reader, OBJECT_NODE, &node->digest, &bytes, &inner);
    if (kind == ERR_OK && bytes.size != count * HASH_BYTES)
        kind = err_set(&inner, ERR_CORRUPT, "a node of %zu bytes where %llu children are", bytes.size,
                       (unsigned long long)count);
    if (kind != ERR_OK) {
        if (p->to->lost != NULL) {
            p->to->lost(p->to->arg, node, &inner);
            return ERR_OK;
        }
        if (err != NULL)
            *err = inner;
        return kind;
    }
    for (uint64_t i = 0; kind == ERR_OK && i < count; i++) {
        const uint64_t left = node->bytes - i * span;
        struct walk_part child = { .off = node->off + i * span, .bytes = left < span ? left : span };

        memcpy(child.digest.at, bytes.at + i * HASH_BYTES, HASH_BYTES);
        kind = child_walk(p, &child, level - 1, err);
    }
    return kind;
}

enum err_kind
walk_file(struct reader *r, const struct reader_file *f, const struct walk_parts *w, struct err *err)
{
    const struct parts p = { r, w, f->size };
    const struct walk_part whole = { .bytes = f->size, .digest = f->digest };

    if (f->size == 0)
        return ERR_OK;
    if (f->size > FILE_BYTES_MAX)
        return err_set(err, ERR_CORRUPT, "a file of %llu bytes", (unsigned long long)f->size);
    return child_walk(&p, &whole, merkle_levels(f->size), err);
}

enum err_kind
walk_find(struct reader *r, const struct digest *root, const char *path, struct buf *page,
          struct tree_entry *ret, struct err *err)
{
    const char *const whole = path;
    struct tree_entry at = { 0 };
    enum err_kind kind = reader_root(r, root, page, &at, err);

    while (kind == ERR_OK) {
        struct buf below = { 0 };

        path += strspn(path, "/");
        const size_t n = strcspn(path, "/");
        if (n == 0) {
            *ret = at;
            return ERR_OK;
        }
        if (n != 1 || path[0] != '.') {
            if (at.type == TREE_DIR)
                kind = reader_entry(r, &at.digest, path, n, &below, &at, err);
            else
                kind = err_set(err, ERR_ABSENT, "not a directory");
            if (kind == ERR_ABSENT) {
                AUTO(auto_free) char *name = escape_text(whole, strlen(whole));
                kind = err_set(err, ERR_ABSENT, "the mark has no \"%s\"", name);
            }
            if (kind == ERR_OK) {
                buf_free(page);
                *page = below;
            } else {
                buf_free(&below);
            }
        }
        path += n;
    }
    return kind;
}
