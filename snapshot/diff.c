/* farshore-snapshot diff: two trees side by side.  Directories and pages with equal digests are not entered, so the cost is that of what
 * changed. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/limits.h"
#include "common/mem.h"
#include "snapshot/escape.h"
#include "snapshot/list.h"
#include "snapshot/point.h"
#include "snapshot/read.h"
#include "snapshot/walk.h"

#define DIFF_CACHE_BYTES (32u * MIB)

/* One of two directories of one name.  NULL: the other mark has no such directory. */
struct side {
    struct walk *walk;
    struct tree_entry next; /* valid while has: taken from the walk and not yet compared */
    bool has, ended;
};
struct pair {
    struct side side[2];
    size_t path_bytes; /* of the run's path, when this directory is done */
};
struct run {
    const struct list *list;
    struct reader *reader[2];
    struct pair *stack; /* [depth], owned: the directories entered */
    size_t depth, room;
    struct buf path;   /* of the directory on top, raw bytes */
    uint64_t count[5]; /* added, removed, type, content, metadata */
};
enum { ADDED, REMOVED, TYPE, CONTENT, METADATA };

static bool
same_bytes(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return a_bytes == b_bytes && (a_bytes == 0 || memcmp(a, b, a_bytes) == 0);
}

static bool
same_xattrs(const struct tree_entry *a, const struct tree_entry *b)
{
    if (a->xattrs_bytes != b->xattrs_bytes)
        return false;
    if (a->xattrs_bytes > XATTR_INLINE_MAX)
        return hash_same(&a->xattrs_digest, &b->xattrs_digest) == 1;
    return same_bytes(a->xattrs, a->xattrs_bytes, b->xattrs, b->xattrs_bytes);
}

static void
add_word(char ret[128], const char *word)
{
    const size_t n = strlen(ret);

    (void)snprintf(ret + n, 128 - n, "%s%s", n > 0 ? ", " : "", word);
}

enum diff_kind
diff_entries(const struct tree_entry *a, const struct tree_entry *b, char ret_what[128])
{
    ret_what[0] = '\0';
    if (a->type != b->type) {
        add_word(ret_what, "type");
        return DIFF_TYPE;
    }
    const bool content = (a->type == TREE_FILE &&
                          (a->size != b->size || !hash_same(&a->digest, &b->digest))) ||
                         !same_bytes(a->target, a->target_bytes, b->target, b->target_bytes) ||
                         a->rdev != b->rdev;
    if (content)
        add_word(ret_what, "content");
    if (a->mode != b->mode)
        add_word(ret_what, "mode");
    if (a->uid != b->uid || a->gid != b->gid || !same_bytes(a->user, a->user_bytes, b->user, b->user_bytes) ||
        !same_bytes(a->group, a->group_bytes, b->group, b->group_bytes))
        add_word(ret_what, "owner");
    if (a->mtime_s != b->mtime_s || a->mtime_ns != b->mtime_ns)
        add_word(ret_what, "mtime");
    if (!same_xattrs(a, b))
        add_word(ret_what, "xattrs");
    if ((a->link_group != 0) != (b->link_group != 0))
        add_word(ret_what, "links");
    if (a->sparse != b->sparse)
        add_word(ret_what, "holes");
    if (content)
        return DIFF_CONTENT;
    return ret_what[0] != '\0' ? DIFF_METADATA : DIFF_NONE;
}

static void
tell(struct run *r, unsigned which, const struct tree_entry *e, const char *what)
{
    static const struct {
        char sign;
        const char *word;
    } kinds[] = {
        { '+', "added" }, { '-', "removed" }, { 'T', "type" }, { 'M', "changed" }, { 'm', "metadata" }
    };
    const size_t keep = r->path.size;

    r->count[which]++;
    buf_put(&r->path, e->name, e->name_bytes);
    if (r->list->json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", "change");
        json_text(out, "change", kinds[which].word);
        json_bytes(out, "path", r->path.at, r->path.size);
        if (what[0] != '\0')
            json_text(out, "what", what);
        json_print(stdout, out);
    } else {
        AUTO(auto_free) char *path = escape_text(r->path.at, r->path.size);

        (void)printf("%c %s%s%s%s%s\n", kinds[which].sign, path, e->type == TREE_DIR ? "/" : "",
                     what[0] != '\0' ? " (" : "", what, what[0] != '\0' ? ")" : "");
    }
    r->path.size = keep;
}

/* Enter a directory of which one side may be missing. */
static void
enter(struct run *r, const struct tree_entry *a, const struct tree_entry *b)
{
    const struct tree_entry *const e = a != NULL ? a : b;
    struct pair p = { .path_bytes = r->path.size };

    if (a != NULL)
        p.side[0].walk = walk_new(r->reader[0], &a->digest);
    if (b != NULL)
        p.side[1].walk = walk_new(r->reader[1], &b->digest);
    if (e->name_bytes != 1 || e->name[0] != '.') {
        buf_put(&r->path, e->name, e->name_bytes);
        buf_put(&r->path, "/", 1);
    }
    if (r->depth == r->room) {
        r->room = r->room ? 2 * r->room : 16;
        r->stack = mem_grow(r->stack, r->room, sizeof *r->stack);
    }
    r->stack[r->depth++] = p;
}

static void
leave(struct run *r)
{
    struct pair *const p = &r->stack[--r->depth];

    r->path.size = p->path_bytes;
    walk_free(&p->side[0].walk);
    walk_free(&p->side[1].walk);
}

static void
run_free(struct run *r)
{
    while (r->depth > 0)
        leave(r);
    free(r->stack);
    buf_free(&r->path);
    reader_free(&r->reader[0]);
    reader_free(&r->reader[1]);
}

static enum err_kind
fill(struct side *s, struct err *err)
{
    if (s->has || s->ended || s->walk == NULL)
        return ERR_OK;
    const enum err_kind kind = walk_next(s->walk, &s->next, err);
    s->has = kind == ERR_OK;
    s->ended = kind == ERR_ABSENT;
    return kind == ERR_ABSENT ? ERR_OK : kind;
}

static void
compare(struct run *r, const struct tree_entry *a, const struct tree_entry *b)
{
    char what[128];

    switch (diff_entries(a, b, what)) {
    case DIFF_NONE:
        break;
    case DIFF_TYPE:
        tell(r, TYPE, b, what);
        if (a->type == TREE_DIR)
            enter(r, a, NULL);
        else if (b->type == TREE_DIR)
            enter(r, NULL, b);
        return;
    case DIFF_CONTENT:
        tell(r, CONTENT, b, what);
        break;
    case DIFF_METADATA:
        tell(r, METADATA, b, what);
        break;
    }
    if (a->type == TREE_DIR && !hash_same(&a->digest, &b->digest))
        enter(r, a, b);
}

/* One step in the directory on top. */
static enum err_kind
step(struct run *r, struct err *err)
{
    struct pair *const p = &r->stack[r->depth - 1];
    struct side *const a = &p->side[0], *const b = &p->side[1];
    enum err_kind kind = ERR_OK;

    if (a->walk != NULL && b->walk != NULL && !a->has && !b->has && !a->ended && !b->ended)
        kind = walk_skip_same(a->walk, b->walk, err);
    if (kind == ERR_OK)
        kind = fill(a, err);
    if (kind == ERR_OK)
        kind = fill(b, err);
    if (kind != ERR_OK)
        return kind;
    if (!a->has && !b->has) {
        leave(r);
        return ERR_OK;
    }
    int order = a->has ? (b->has ? 0 : -1) : 1;
    if (a->has && b->has)
        order = tree_name_order(a->next.name, a->next.name_bytes, b->next.name, b->next.name_bytes);
    /* Taken before enter(), which may move the stack; the entries' bytes belong to the walks and stay. */
    const struct tree_entry x = a->next, y = b->next;
    a->has = a->has && order > 0;
    b->has = b->has && order < 0;
    if (order == 0) {
        compare(r, &x, &y);
        return ERR_OK;
    }
    if (order < 0)
        tell(r, REMOVED, &x, "");
    else
        tell(r, ADDED, &y, "");
    if (order < 0 && x.type == TREE_DIR)
        enter(r, &x, NULL);
    if (order > 0 && y.type == TREE_DIR)
        enter(r, NULL, &y);
    return ERR_OK;
}

static uint64_t
total(const struct run *r)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < sizeof r->count / sizeof r->count[0]; i++)
        sum += r->count[i];
    return sum;
}

static void
print_result(const struct run *r)
{
    if (r->list->json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", "result");
        json_number(out, "added", (int64_t)r->count[ADDED]);
        json_number(out, "removed", (int64_t)r->count[REMOVED]);
        json_number(out, "changed", (int64_t)(r->count[TYPE] + r->count[CONTENT]));
        json_number(out, "metadata", (int64_t)r->count[METADATA]);
        json_print(stdout, out);
        return;
    }
    if (total(r) == 0)
        (void)printf("no difference\n");
    else
        (void)printf(
            "%" PRIu64 " added, %" PRIu64 " removed, %" PRIu64 " changed, %" PRIu64 " with other metadata\n",
            r->count[ADDED], r->count[REMOVED], r->count[TYPE] + r->count[CONTENT], r->count[METADATA]);
}

enum err_kind
diff_marks(const struct list *l, const struct diff_points *points, uint64_t *ret_differences, struct err *err)
{
    AUTO(run_free) struct run r = { .list = l };
    const char *const names[2] = { points->a, points->b };
    struct index_mark m[2];
    struct buf page[2] = { { 0 }, { 0 } };
    struct tree_entry root[2];
    int pin[2] = { -1, -1 };
    uint32_t city = 0;
    enum err_kind kind = ERR_OK;

    for (int i = 0; i < 2 && kind == ERR_OK; i++) {
        kind = point_find(l->store, names[i], &city, &m[i], err);
        if (kind == ERR_OK)
            kind = point_pin(l->store, &m[i].id, &pin[i], err);
        if (kind != ERR_OK)
            break;
        r.reader[i] = reader_new(l->store, city, DIFF_CACHE_BYTES);
        kind = reader_root(r.reader[i], &m[i].mark.root, &page[i], &root[i], err);
    }
    if (kind == ERR_OK)
        compare(&r, &root[0], &root[1]);
    while (kind == ERR_OK && r.depth > 0)
        kind = step(&r, err);
    if (kind == ERR_OK) {
        print_result(&r);
        *ret_differences = total(&r);
    }
    for (int i = 0; i < 2; i++) {
        buf_free(&page[i]);
        auto_close(&pin[i]);
    }
    return kind;
}
