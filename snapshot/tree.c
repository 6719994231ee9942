#include "snapshot/tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "snapshot/canon.h"
#include "snapshot/tree_internal.h"

#define XATTR_NAME_BYTES_MAX 255u         /* Linux XATTR_NAME_MAX */
#define XATTR_VALUE_BYTES_MAX (64u * KIB) /* Linux XATTR_SIZE_MAX */

/* The page that is being filled at one level.  It is finished only when an item comes that does not belong to it: until then
 * it may be the last one, and at the top. */
struct level {
    struct buf page; /* header (its count is set at the end) and items; empty: no page begun */
    uint32_t count;  /* items in it */
    bool closed;     /* the next item begins another page */
    bool more;       /* pages of this level were finished before in this directory */
    char last[NAME_BYTES_MAX];
    uint16_t last_bytes;
    uint64_t names; /* entries of level 0 beneath */
    uint64_t size;  /* sum of their sizes */
};

struct tree_builder {
    tree_emit_fn *emit;
    void *arg;
    struct level levels[TREE_LEVELS];
    struct buf item; /* the item that is being added, encoded */
    uint64_t size;   /* of the directory so far */
    uint64_t count;
};

bool
tree_name_ok(const char *name, size_t bytes)
{
    if (bytes == 0 || bytes > NAME_BYTES_MAX || memchr(name, '\0', bytes) != NULL ||
        memchr(name, '/', bytes) != NULL)
        return false;
    return name[0] != '.' || (bytes != 1 && (bytes != 2 || name[1] != '.'));
}

int
tree_name_order(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    const size_t both = a_bytes < b_bytes ? a_bytes : b_bytes;
    const int order = both == 0 ? 0 : memcmp(a, b, both);

    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

bool
tree_cut_after(const char *name, size_t bytes, unsigned level)
{
    struct digest d;

    assert(level < TREE_LEVELS);
    hash_sha256(name, bytes, &d);
    return be32_get(d.at + 4 * level) % PAGE_CUT_MOD == 0;
}

int
tree_xattr_next(struct cut *set, struct tree_xattr *ret)
{
    struct tree_xattr x;

    if (cut_done(set))
        return 0;
    x.name_bytes = (size_t)canon_varint(set);
    if (set->bad || x.name_bytes == 0 || x.name_bytes > XATTR_NAME_BYTES_MAX)
        return -1;
    x.name = (const char *)cut_bytes(set, x.name_bytes);
    if (x.name == NULL || memchr(x.name, '\0', x.name_bytes) != NULL)
        return -1;
    x.value_bytes = (size_t)canon_varint(set);
    if (set->bad || x.value_bytes > XATTR_VALUE_BYTES_MAX || x.value_bytes > set->left)
        return -1;
    x.value = cut_bytes(set, x.value_bytes);
    *ret = x;
    return 1;
}

bool
tree_xattrs_ok(const void *set, size_t size)
{
    struct cut c = cut_of(set, size);
    struct tree_xattr x = { 0 }, last = { 0 };
    int more;

    while ((more = tree_xattr_next(&c, &x)) > 0) {
        if (tree_name_order(last.name, last.name_bytes, x.name, x.name_bytes) >= 0)
            return false;
        last = x;
    }
    return more == 0;
}

void
tree_page_digest(const void *bytes, size_t size, struct digest *ret)
{
    hash_prefixed(0x02, bytes, size, ret);
}

void
tree_xattrs_digest(const void *bytes, size_t size, struct digest *ret)
{
    hash_prefixed(0x03, bytes, size, ret);
}

struct tree_builder *
tree_builder_new(tree_emit_fn *emit, void *arg)
{
    struct tree_builder *const b = mem_zero(1, sizeof *b);

    b->emit = emit;
    b->arg = arg;
    return b;
}

void
tree_builder_free(struct tree_builder **b)
{
    if (*b == NULL)
        return;
    for (unsigned n = 0; n < TREE_LEVELS; n++)
        buf_free(&(*b)->levels[n].page);
    buf_free(&(*b)->item);
    free(*b);
    *b = NULL;
}

static void
page_begin(struct level *l)
{
    l->page.size = 0;
    l->count = 0;
    l->closed = false;
    l->names = l->size = 0;
}

static enum err_kind
page_finish(struct tree_builder *b, unsigned n, struct digest *ret, struct err *err)
{
    struct level *const l = &b->levels[n];

    if (l->page.size == 0)
        tree_put_header(&l->page, n, 0);
    le32_put(l->page.at + 2, l->count);
    assert(l->page.size <= OBJECT_BYTES_MAX);
    tree_page_digest(l->page.at, l->page.size, ret);
    return b->emit(b->arg, ret, l->page.at, l->page.size, err);
}

/* What an item adds to its page beside its bytes. */
struct item {
    const char *last;
    uint16_t last_bytes;
    uint64_t names;
    uint64_t size;
};

static enum err_kind pass_up(struct tree_builder *b, unsigned n, struct err *err);

/* Put b->item into the page of level n. */
static enum err_kind
put(struct tree_builder *b, unsigned n, const struct item *it, struct err *err)
{
    struct level *const l = &b->levels[n];

    assert(it->last_bytes <= NAME_BYTES_MAX);
    if (l->page.size > 0 && (l->closed || l->page.size + b->item.size > OBJECT_BYTES_MAX)) {
        /* The item waits in a buffer of its own while the finished page's line goes up through b->item. */
        struct buf held = b->item;
        enum err_kind k;

        b->item = (struct buf){ 0 };
        k = pass_up(b, n, err);
        buf_free(&b->item);
        b->item = held;
        if (k != ERR_OK)
            return k;
    }
    if (l->page.size == 0)
        tree_put_header(&l->page, n, 0);
    buf_put(&l->page, b->item.at, b->item.size);
    l->names += it->names;
    l->size += it->size;
    memcpy(l->last, it->last, it->last_bytes);
    l->last_bytes = it->last_bytes;
    l->closed = ++l->count == PAGE_ENTRIES_MAX || tree_cut_after(l->last, l->last_bytes, n);
    return ERR_OK;
}

/* Finish the page of level n, which is not the only one, and tell the level above. */
static enum err_kind
pass_up(struct tree_builder *b, unsigned n, struct err *err)
{
    struct level *const l = &b->levels[n];
    struct tree_child c = {
        .last = l->last, .last_bytes = l->last_bytes, .names = l->names, .size = l->size
    };
    enum err_kind k;

    if (n + 1 == TREE_LEVELS)
        return err_set(err, ERR_LIMIT, "directory needs more than %u levels of pages", TREE_LEVELS);
    if ((k = page_finish(b, n, &c.digest, err)) != ERR_OK)
        return k;
    b->item.size = 0;
    tree_put_child(&b->item, &c);
    const struct item up = {
        .last = l->last, .last_bytes = l->last_bytes, .names = l->names, .size = l->size
    };

    k = put(b, n + 1, &up, err);
    page_begin(l);
    l->more = true;
    return k;
}

enum err_kind
tree_builder_add(struct tree_builder *b, const struct tree_entry *e, struct err *err)
{
    const struct level *const l = &b->levels[0];
    const struct item it = { .last = e->name, .last_bytes = e->name_bytes, .names = 1, .size = e->size };

    assert(tree_name_ok(e->name, e->name_bytes) && tree_entry_fault(e) == NULL);
    assert(l->count == 0 || tree_name_order(l->last, l->last_bytes, e->name, e->name_bytes) < 0);
    if (e->size > TREE_SUM_MAX - b->size || e->count >= TREE_SUM_MAX - b->count)
        return err_set(err, ERR_LIMIT, "directory holds more than %llu bytes or names",
                       (unsigned long long)TREE_SUM_MAX);
    b->item.size = 0;
    tree_put_entry(&b->item, e);
    const enum err_kind k = put(b, 0, &it, err);

    if (k == ERR_OK) {
        b->size += e->size;
        b->count += 1 + e->count;
    }
    return k;
}

static void
start_anew(struct tree_builder *b)
{
    for (unsigned n = 0; n < TREE_LEVELS; n++) {
        page_begin(&b->levels[n]);
        b->levels[n].more = false;
    }
    b->size = b->count = 0;
}

enum err_kind
tree_builder_end(struct tree_builder *b, struct tree_sum *ret, struct err *err)
{
    struct tree_sum sum = { .size = b->size, .count = b->count };
    enum err_kind k = ERR_OK;
    unsigned n = 0;

    for (; k == ERR_OK && b->levels[n].more; n++)
        k = pass_up(b, n, err);
    if (k == ERR_OK)
        k = page_finish(b, n, &sum.digest, err);
    start_anew(b);
    if (k == ERR_OK)
        *ret = sum;
    return k;
}

void
tree_root_encode(const struct tree_entry *e, struct buf *ret)
{
    struct tree_entry root = *e;

    root.name = ".";
    root.name_bytes = 1;
    assert(root.type == TREE_DIR && tree_entry_fault(&root) == NULL);
    tree_put_header(ret, 0, 1);
    tree_put_entry(ret, &root);
}
