#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/tree_internal.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/snapshot/tree_fixture.h"
#include "tests/unit/unit.h"

enum err_kind
fixture_emit(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err)
{
    struct pages *const p = arg;
    struct digest again;

    if (p->fail_at != 0 && p->count + 1 == p->fail_at)
        return err_set(err, ERR_FULL, "no room");
    if (p->count == p->room) {
        p->room = p->room == 0 ? 64 : 2 * p->room;
        p->at = mem_grow(p->at, p->room, sizeof *p->at);
    }
    tree_page_digest(page, size, &again);
    assert_memory_equal(digest, &again, sizeof again);
    assert_true(size <= OBJECT_BYTES_MAX);
    p->at[p->count] = (struct page){ .digest = *digest };
    buf_put(&p->at[p->count++].bytes, page, size);
    return ERR_OK;
}

void
pages_free(struct pages *p)
{
    for (size_t i = 0; i < p->count; i++)
        buf_free(&p->at[i].bytes);
    free(p->at);
    *p = (struct pages){ 0 };
}

const struct page *
pages_find(const struct pages *p, const struct digest *d)
{
    for (size_t i = 0; i < p->count; i++)
        if (memcmp(&p->at[i].digest, d, sizeof *d) == 0)
            return &p->at[i];
    return NULL;
}

static void *
own(struct dir *d, void *p)
{
    if (d->owned_count == d->owned_room) {
        d->owned_room = d->owned_room == 0 ? 64 : 2 * d->owned_room;
        d->owned = mem_grow(d->owned, d->owned_room, sizeof *d->owned);
    }
    return d->owned[d->owned_count++] = p;
}

void
dir_free(struct dir *d)
{
    for (size_t i = 0; i < d->owned_count; i++)
        free(d->owned[i]);
    free(d->owned);
    free(d->at);
    *d = (struct dir){ 0 };
}

static int
by_name(const void *a, const void *b)
{
    const struct tree_entry *const x = a, *const y = b;

    return tree_name_order(x->name, x->name_bytes, y->name, y->name_bytes);
}

static void
sort(struct dir *d)
{
    size_t kept = 0;

    if (d->count > 0)
        qsort(d->at, d->count, sizeof *d->at, by_name);
    for (size_t i = 0; i < d->count; i++)
        if (kept == 0 || by_name(&d->at[kept - 1], &d->at[i]) != 0)
            d->at[kept++] = d->at[i];
    d->count = kept;
}

/* Bytes that are no NUL and no slash. */
static char *
text(struct dir *d, size_t bytes)
{
    char *const t = own(d, mem_alloc(bytes));

    for (size_t i = 0; i < bytes; i++)
        do
            t[i] = (char)(seed_below(4) ? 'a' + (int)seed_below(26) : 1 + (int)seed_below(255));
        while (t[i] == '/' || t[i] == '\0');
    return t;
}

static void
add_xattrs(struct dir *d, struct tree_entry *e)
{
    if (seed_below(3) == 0) {
        e->xattrs_bytes = XATTR_INLINE_MAX + 1 + (uint32_t)seed_below(XATTRS_BYTES_MAX - XATTR_INLINE_MAX);
        seed_fill(&e->xattrs_digest, sizeof e->xattrs_digest);
        return;
    }
    AUTO(buf_free) struct buf set = { 0 };
    const size_t value = (size_t)seed_below(200);

    buf_block(&set, "user.a", 6);
    buf_block(&set, text(d, value), value);
    buf_block(&set, "user.b", 6);
    buf_block(&set, "", 0);
    e->xattrs = own(d, mem_copy(set.at, set.size));
    e->xattrs_bytes = (uint32_t)set.size;
}

static void
make_content(struct dir *d, struct tree_entry *e)
{
    if (e->type == TREE_FILE) {
        e->size = seed_next() >> (18 + seed_below(46));
        e->sparse = (uint8_t)seed_below(2);
    } else if (e->type == TREE_DIR) {
        e->count = seed_below(1000);
        e->size = e->count == 0 ? 0 : seed_below(UINT64_C(1) << 40);
    } else if (e->type == TREE_LINK) {
        e->target_bytes = (uint16_t)(1 + seed_below(seed_below(20) ? 40 : TARGET_BYTES_MAX));
        e->target = text(d, e->target_bytes);
    } else if (e->type == TREE_CHAR || e->type == TREE_DISK) {
        e->rdev = seed_next() >> seed_below(64);
    }
    if (e->type == TREE_FILE || e->type == TREE_DIR)
        seed_fill(&e->digest, sizeof e->digest);
}

static void
make_entry(struct dir *d, struct tree_entry *e)
{
    static const char types[] = "fffffddlpscb";

    *e = (struct tree_entry){ .type = (uint8_t)types[seed_below(sizeof types - 1)],
                              .mode = (uint16_t)seed_below(07777 + 1) };
    do {
        e->name_bytes = (uint16_t)(1 + seed_below(seed_below(10) ? 20 : NAME_BYTES_MAX));
        e->name = text(d, e->name_bytes);
    } while (!tree_name_ok(e->name, e->name_bytes));
    if (seed_below(2)) {
        e->uid = (uint32_t)seed_next();
        e->gid = (uint32_t)seed_next() >> 20;
    }
    if (seed_below(2)) {
        e->user_bytes = (uint8_t)seed_below(USER_BYTES_MAX + 1);
        e->user = text(d, e->user_bytes);
        e->group_bytes = (uint8_t)seed_below(20);
        e->group = text(d, e->group_bytes);
    }
    e->mtime_s = (int64_t)(seed_next() >> seed_below(64)) * (seed_below(2) ? 1 : -1);
    e->mtime_ns = seed_below(2) ? (uint32_t)seed_below(1000000000) : 0;
    if (e->type != TREE_DIR && seed_below(5) == 0)
        e->link_group = seed_next() >> seed_below(64);
    make_content(d, e);
    if (seed_below(4) == 0)
        add_xattrs(d, e);
}

void
dir_make(struct dir *d, size_t count)
{
    *d = (struct dir){ .at = mem_zero(count, sizeof *d->at), .count = count };
    for (size_t i = 0; i < count; i++)
        make_entry(d, &d->at[i]);
    sort(d);
}

struct tree_sum
dir_build(struct tree_builder *b, const struct dir *d, size_t without)
{
    struct tree_sum sum = { 0 };

    for (size_t i = 0; i < d->count; i++)
        if (i != without)
            assert_int_equal(tree_builder_add(b, &d->at[i], NULL), ERR_OK);
    assert_int_equal(tree_builder_end(b, &sum, NULL), ERR_OK);
    return sum;
}

bool
same_text(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return a_bytes == b_bytes && (a_bytes == 0 || memcmp(a, b, a_bytes) == 0);
}

bool
same_entry(const struct tree_entry *a, const struct tree_entry *b)
{
    const bool in = a->xattrs_bytes <= XATTR_INLINE_MAX;

    return same_text(a->name, a->name_bytes, b->name, b->name_bytes) && a->type == b->type &&
           a->sparse == b->sparse && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
           same_text(a->user, a->user_bytes, b->user, b->user_bytes) &&
           same_text(a->group, a->group_bytes, b->group, b->group_bytes) && a->mtime_s == b->mtime_s &&
           a->mtime_ns == b->mtime_ns && a->rdev == b->rdev && a->link_group == b->link_group &&
           a->size == b->size && a->count == b->count &&
           memcmp(&a->digest, &b->digest, sizeof a->digest) == 0 &&
           same_text(a->target, a->target_bytes, b->target, b->target_bytes) &&
           a->xattrs_bytes == b->xattrs_bytes &&
           (in ? same_text(a->xattrs, a->xattrs_bytes, b->xattrs, b->xattrs_bytes)
               : memcmp(&a->xattrs_digest, &b->xattrs_digest, sizeof a->xattrs_digest) == 0);
}

void
page_encode(const struct tree_page *p, struct buf *ret)
{
    tree_put_header(ret, p->level, p->count);
    for (uint32_t i = 0; i < p->count; i++)
        if (p->level > 0)
            tree_put_child(ret, &p->children[i]);
        else
            tree_put_entry(ret, &p->entries[i]);
}

void
dir_make_names(struct dir *d, size_t count, int want)
{
    *d = (struct dir){ .at = mem_zero(count, sizeof *d->at) };
    for (unsigned n = 0; d->count < count; n++) {
        char *const name = own(d, mem_text("file %08u", n));

        if (want >= 0 && tree_cut_after(name, strlen(name), 0) != (want == 1))
            continue;
        d->at[d->count++] = (struct tree_entry){ .name = name,
                                                 .name_bytes = (uint16_t)strlen(name),
                                                 .type = TREE_FILE,
                                                 .mode = 0644,
                                                 .size = n,
                                                 .digest.at[0] = (uint8_t)n };
    }
}
