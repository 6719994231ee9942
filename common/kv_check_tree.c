#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/io.h"
#include "common/kv_check_internal.h"
#include "common/kv_internal.h"
#include "common/mem.h"

#define TABLE_KEY_BYTES 8u /* of the free tree: a transaction's number */

struct walk {
    struct check *c;
    const struct tree *t;
    struct check_db seen;       /* what was counted */
    uint8_t before[KV_KEY_MAX]; /* the last key of a leaf */
    size_t before_bytes;        /* 0: none yet */
};

struct place { /* a page to visit */
    uint64_t page;
    uint16_t depth;
    struct kv_bytes low;  /* its keys are >= low; at NULL: no bound */
    struct kv_bytes high; /* and < high */
};

struct node {
    uint32_t size;  /* of the data (leaf) */
    uint64_t child; /* (branch) */
    uint16_t flags; /* (leaf) */
    struct kv_bytes key;
    const uint8_t *data;
};

void
check_found(const struct check *c, uint64_t page, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->found(c->arg, page, text);
}

struct check_db
check_db_of(const uint8_t *at)
{
    return (struct check_db){ .pad = le32_get(at),
                              .flags = le16_get(at + 4),
                              .depth = le16_get(at + 6),
                              .branch_pages = le64_get(at + 8),
                              .leaf_pages = le64_get(at + 16),
                              .overflow_pages = le64_get(at + 24),
                              .entries = le64_get(at + 32),
                              .root = le64_get(at + 40) };
}

bool
check_read(const struct check *c, uint64_t page, uint8_t *ret_bytes, uint64_t size)
{
    struct err err;
    size_t n = 0;

    if (io_pread_upto(c->fd, ret_bytes, size, page * c->page_size, &n, &err) != ERR_OK) {
        check_found(c, page, "could not be read: %.200s", err.text);
        return false;
    }
    if (n != size)
        check_found(c, page, "lies beyond the end of the file");
    return n == size;
}

bool
check_claim(const struct check *c, uint64_t page, enum page_state state)
{
    if (page < 2 || page > c->last_page) {
        check_found(c, page, "is named, but the file has pages 2 to %llu", (unsigned long long)c->last_page);
        return false;
    }
    if (c->states[page] != STATE_NONE) {
        check_found(c, page, "is %s",
                    c->states[page] == state
                        ? (state == STATE_FREE ? "listed as free twice" : "reached twice")
                        : "in use and listed as free");
        return false;
    }
    c->states[page] = (uint8_t)state;
    return true;
}

static int
key_cmp(const struct tree *t, struct kv_bytes a, struct kv_bytes b)
{
    if (t->kind == TREE_FREE) {
        const uint64_t x = le64_get(a.at);
        const uint64_t y = le64_get(b.at);

        return x < y ? -1 : x > y;
    }
    const int d = memcmp(a.at, b.at, a.size < b.size ? a.size : b.size);
    return d != 0 ? d : (a.size > b.size) - (a.size < b.size);
}

static uint16_t
node_at(const uint8_t *page, unsigned i)
{
    return le16_get(page + PAGE_HEAD + 2 * (size_t)i);
}

static uint32_t
node_bytes(const uint8_t *at, bool leaf)
{
    const uint32_t data = le32_get(at);
    const uint32_t key = le16_get(at + 6);

    if (!leaf)
        return (NODE_HEAD + key + 1) & ~1u;
    if (le16_get(at + 4) & NODE_BIG)
        return (NODE_HEAD + key + 8 + 1) & ~1u;
    /* No inline data is near a page's size; this keeps the sum from wrapping. */
    if (data > UINT16_MAX)
        return UINT32_MAX;
    return (NODE_HEAD + key + data + 1) & ~1u;
}

/* The nodes must fill the page from upper to its end, each once.  Returns their number, or 0 after a finding. */
static unsigned
layout(const struct check *c, uint64_t number, const uint8_t *page, bool leaf)
{
    const uint32_t lower = le16_get(page + 12);
    const uint32_t upper = le16_get(page + 14);
    AUTO(auto_free) uint8_t *starts = NULL; /* by half offset: 1 where a node begins */

    if (lower < PAGE_HEAD + 2 || lower % 2 != 0 || upper < lower || upper >= c->page_size || upper % 2 != 0) {
        check_found(c, number, "has impossible bounds (%u, %u)", lower, upper);
        return 0;
    }
    const unsigned count = (lower - PAGE_HEAD) / 2;
    starts = mem_zero(c->page_size / 2, 1);
    for (unsigned i = 0; i < count; i++) {
        const uint32_t at = node_at(page, i);

        if (at < upper || at % 2 != 0 || at + NODE_HEAD > c->page_size || starts[at / 2] != 0) {
            check_found(c, number, "has an impossible offset of node %u", i);
            return 0;
        }
        starts[at / 2] = 1;
    }
    uint32_t at = upper;
    for (unsigned n = 0; n < count; n++) {
        if (at + NODE_HEAD > c->page_size || starts[at / 2] == 0)
            break;
        const uint32_t size = node_bytes(page + at, leaf);
        if (size > c->page_size - at)
            break;
        at += size;
        if (n + 1 == count && at == c->page_size)
            return count;
    }
    check_found(c, number, "has nodes that overlap or leave gaps");
    return 0;
}

static struct node
node_of(const uint8_t *page, unsigned i)
{
    const uint8_t *const at = page + node_at(page, i);
    const size_t key = le16_get(at + 6);

    return (struct node){ .size = le32_get(at),
                          .child = le32_get(at) | (uint64_t)le16_get(at + 4) << 32,
                          .flags = le16_get(at + 4),
                          .key = { at + NODE_HEAD, key },
                          .data = at + NODE_HEAD + key };
}

/* Read a value that has pages of its own.  NULL after a finding; else to be freed. */
static uint8_t *
overflow(struct walk *w, const struct node *n)
{
    const uint64_t first = le64_get(n->data);
    const uint64_t wanted = (PAGE_HEAD - 1 + (uint64_t)n->size) / w->c->page_size + 1;
    uint8_t head[PAGE_HEAD];
    bool sound = true;

    if (!check_claim(w->c, first, STATE_REACHED) || !check_read(w->c, first, head, sizeof head))
        return NULL;
    const uint64_t pages = le32_get(head + 12);
    if (le64_get(head) != first || le16_get(head + 10) != PAGE_OVERFLOW) {
        check_found(w->c, first, "is not the overflow page that it should be");
        return NULL;
    }
    /* A value that shrank within its transaction may have more pages than it needs. */
    if (pages < wanted || pages > w->c->last_page - first + 1) {
        check_found(w->c, first, "is an overflow run of %llu pages for %u bytes", (unsigned long long)pages,
                    n->size);
        return NULL;
    }
    for (uint64_t p = first + 1; p < first + pages; p++)
        sound = check_claim(w->c, p, STATE_REACHED) && sound;
    w->seen.overflow_pages += pages;
    if (!sound)
        return NULL;
    uint8_t *const run = mem_alloc(PAGE_HEAD + (size_t)n->size);
    if (!check_read(w->c, first, run, PAGE_HEAD + (uint64_t)n->size)) {
        free(run);
        return NULL;
    }
    memmove(run, run + PAGE_HEAD, n->size);
    return run;
}

/* A free list: its length, then page numbers, largest first. */
static void
see_free(struct walk *w, uint64_t number, const struct node *n, const uint8_t *data)
{
    const uint64_t txn = le64_get(n->key.at);
    const uint64_t room = n->size / 8;
    uint64_t last = UINT64_MAX;

    if (txn < 1 || txn > w->c->txn)
        check_found(w->c, number, "holds the free list of transaction %llu, which is not one",
                    (unsigned long long)txn);
    w->c->last_free_txn = txn;
    if (n->size % 8 != 0 || room < 1 || le64_get(data) > room - 1) {
        check_found(w->c, number, "holds a free list of an impossible length");
        return;
    }
    for (uint64_t i = 1; i <= le64_get(data); i++) {
        const uint64_t page = le64_get(data + 8 * i);

        if (page >= last)
            check_found(w->c, number, "holds a free list out of order");
        (void)check_claim(w->c, page, STATE_FREE);
        last = page;
    }
}

static void
see_table(struct walk *w, uint64_t number, const struct node *n)
{
    const struct kv_options *const o = w->c->o;

    if (n->flags != NODE_TABLE || n->size != DB_BYTES) {
        check_found(w->c, number, "holds a row among the tables that is no table");
        return;
    }
    for (size_t i = 0; i < o->count; i++) {
        if (strlen(o->tables[i]) == n->key.size && memcmp(o->tables[i], n->key.at, n->key.size) == 0) {
            w->c->tables[i] = check_db_of(n->data);
            w->c->has[i] = true;
            return;
        }
    }
    check_found(w->c, number, "holds a table of an unknown name");
}

static void
see_row(struct walk *w, uint64_t number, const struct node *n, const uint8_t *data)
{
    if (n->size < KV_SUM_BYTES) {
        check_found(w->c, number, "holds a row of table \"%s\" that is cut short", w->t->name);
        return;
    }
    const struct kv_bytes value = { data, n->size - KV_SUM_BYTES };
    if (le64_get(data + value.size) != kv_sum(w->t->table, n->key, value))
        check_found(w->c, number, "holds a row of table \"%s\" that does not match its checksum", w->t->name);
    else
        w->c->rows++;
}

static void
see_leaf_node(struct walk *w, uint64_t number, const struct node *n)
{
    AUTO(auto_free) uint8_t *big = NULL;
    const uint16_t allowed = w->t->kind == TREE_MAIN ? NODE_TABLE : NODE_BIG;

    w->seen.entries++;
    if ((n->flags & ~allowed) != 0) {
        check_found(w->c, number, "holds a row with impossible flags %#x", n->flags);
        return;
    }
    if (w->t->kind == TREE_MAIN) {
        see_table(w, number, n);
        return;
    }
    if (n->flags & NODE_BIG) {
        big = overflow(w, n);
        if (big == NULL)
            return;
    }
    const uint8_t *const data = big != NULL ? big : n->data;
    if (w->t->kind == TREE_FREE)
        see_free(w, number, n, data);
    else
        see_row(w, number, n, data);
}

static bool
key_sound(const struct tree *t, struct kv_bytes key)
{
    return t->kind == TREE_FREE ? key.size == TABLE_KEY_BYTES : key.size >= 1 && key.size <= KV_KEY_MAX;
}

static void
see_leaf(struct walk *w, const struct place *at, const uint8_t *page, unsigned count)
{
    w->seen.leaf_pages++;
    for (unsigned i = 0; i < count; i++) {
        const struct node n = node_of(page, i);
        const struct kv_bytes before = { w->before, w->before_bytes };

        if (!key_sound(w->t, n.key)) {
            check_found(w->c, at->page, "holds a key of %zu bytes", n.key.size);
            continue;
        }
        if ((before.size > 0 && key_cmp(w->t, before, n.key) >= 0) ||
            (at->low.at != NULL && key_cmp(w->t, n.key, at->low) < 0) ||
            (at->high.at != NULL && key_cmp(w->t, n.key, at->high) >= 0))
            check_found(w->c, at->page, "holds a key out of order");
        memcpy(w->before, n.key.at, n.key.size);
        w->before_bytes = n.key.size;
        see_leaf_node(w, at->page, &n);
    }
}

static void see_page(struct walk *w, const struct place *at);

static void
see_branch(struct walk *w, const struct place *at, const uint8_t *page, unsigned count)
{
    struct place child = { .depth = (uint16_t)(at->depth + 1), .low = at->low };

    w->seen.branch_pages++;
    for (unsigned i = 0; i < count; i++) {
        const struct node n = node_of(page, i);

        child.page = n.child;
        child.high = at->high;
        if (i + 1 < count)
            child.high = node_of(page, i + 1).key;
        if (child.high.at != at->high.at && !key_sound(w->t, child.high)) {
            check_found(w->c, at->page, "holds a key of %zu bytes", child.high.size);
            return;
        }
        see_page(w, &child);
        child.low = child.high;
    }
}

/* Recursion: as deep as the tree, which DEPTH_MAX bounds. */
static void
see_page(struct walk *w, const struct place *at)
{
    AUTO(auto_free) uint8_t *page = NULL;
    const bool leaf = at->depth == w->t->db.depth;

    if (!check_claim(w->c, at->page, STATE_REACHED))
        return;
    page = mem_alloc(w->c->page_size);
    if (!check_read(w->c, at->page, page, w->c->page_size))
        return;
    if (le64_get(page) != at->page) {
        check_found(w->c, at->page, "has the number %llu", (unsigned long long)le64_get(page));
        return;
    }
    if (le16_get(page + 10) != (leaf ? PAGE_LEAF : PAGE_BRANCH)) {
        check_found(w->c, at->page, "is not the %s page that it should be", leaf ? "leaf" : "branch");
        return;
    }
    const unsigned count = layout(w->c, at->page, page, leaf);
    if (count == 0)
        return;
    if (leaf)
        see_leaf(w, at, page, count);
    else
        see_branch(w, at, page, count);
}

static void
compare(const struct walk *w)
{
    const struct {
        const char *what;
        uint64_t said;
        uint64_t seen;
    } counts[] = {
        { "branch pages", w->t->db.branch_pages, w->seen.branch_pages },
        { "leaf pages", w->t->db.leaf_pages, w->seen.leaf_pages },
        { "overflow pages", w->t->db.overflow_pages, w->seen.overflow_pages },
        { "rows", w->t->db.entries, w->seen.entries },
    };

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (counts[i].said != counts[i].seen)
            check_found(w->c, w->t->db.root == NO_PAGE ? 0 : w->t->db.root,
                        "is the root of \"%s\", which should have %llu %s and has %llu", w->t->name,
                        (unsigned long long)counts[i].said, counts[i].what,
                        (unsigned long long)counts[i].seen);
    }
}

void
check_tree(struct check *c, const struct tree *t)
{
    struct walk w = { .c = c, .t = t };
    const struct place root = { .page = t->db.root, .depth = 1 };
    const uint32_t pad = t->kind == TREE_FREE ? c->page_size : 0;
    const uint16_t flags = t->kind == TREE_FREE ? 0x08 : 0; /* MDB_INTEGERKEY */

    if (t->db.pad != pad || t->db.flags != flags)
        check_found(c, 0, "leads to \"%s\", which has impossible flags", t->name);
    if (t->db.depth > DEPTH_MAX || (t->db.root == NO_PAGE) != (t->db.depth == 0))
        check_found(c, 0, "leads to \"%s\", which has an impossible depth of %u", t->name, t->db.depth);
    else if (t->db.root != NO_PAGE)
        see_page(&w, &root);
    compare(&w);
}
