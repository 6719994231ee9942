/* past.c - the head mark, as a place to look for older versions of files that the table does not know: all of them after the
 * table was lost, else those that are new under their name. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/pass.h"

#define PAST_LEVELS 8u

struct past_page { /* the pages last seen of one directory, top first */
    struct {
        struct digest digest;
        struct buf bytes;
        struct tree_page page;
        bool there;
    } at[PAST_LEVELS];
};

void
past_free(struct past_page **p)
{
    if (*p == NULL)
        return;
    for (unsigned i = 0; i < PAST_LEVELS; i++) {
        if ((*p)->at[i].there)
            tree_page_free(&(*p)->at[i].page);
        buf_free(&(*p)->at[i].bytes);
    }
    free(*p);
    *p = NULL;
}

/* One page, from the site.  *ret_there false: the site does not have it. */
static enum err_kind
get_page(struct pass *p, const struct digest *digest, struct buf *ret, bool *ret_there, struct err *err)
{
    AUTO(buf_free) struct buf payload = { 0 };
    struct wire_get get = { .id = 1, .digest = *digest };
    wire_put_get(&get, &payload);
    struct link_want want = { .send = WIRE_GET, .type = WIRE_GOT };
    struct wire_frame f = { 0 };
    enum err_kind kind = link_call(p->link, &want, &payload, &f, err);
    if (kind != ERR_OK)
        return kind;
    struct wire_got got = { 0 };
    kind = wire_get_got(f.payload.at, f.payload.size, &got, err);
    if (kind == ERR_OK && got.known) {
        struct digest real;
        tree_page_digest(got.bytes, got.size, &real);
        if (!hash_same(&real, digest))
            kind = err_set(err, ERR_PROTOCOL, "the site sent another page than the one asked for");
        else
            buf_put(ret, got.bytes, got.size);
    }
    buf_free(&f.payload);
    *ret_there = kind == ERR_OK && got.known;
    return kind;
}

static enum err_kind
load(struct dir *d, unsigned level, const struct digest *digest, bool *ret_there, struct err *err)
{
    if (d->past_page == NULL)
        d->past_page = mem_zero(1, sizeof(*d->past_page));
    struct past_page *pp = d->past_page;
    *ret_there = pp->at[level].there;
    if (pp->at[level].there && hash_same(&pp->at[level].digest, digest))
        return ERR_OK;
    if (pp->at[level].there)
        tree_page_free(&pp->at[level].page);
    pp->at[level].there = false;
    pp->at[level].bytes.size = 0;
    enum err_kind kind = get_page(d->pass, digest, &pp->at[level].bytes, ret_there, err);
    if (kind == ERR_OK && *ret_there)
        kind = tree_page_parse(pp->at[level].bytes.at, pp->at[level].bytes.size, &pp->at[level].page, err);
    if (kind == ERR_OK && *ret_there) {
        pp->at[level].there = true;
        pp->at[level].digest = *digest;
    }
    return kind;
}

/* The page of level 0 where the name is, or would be.  NULL: none. */
static enum err_kind
find_leaf(struct dir *d, const char *name, size_t size, const struct tree_page **ret, struct err *err)
{
    struct digest digest = d->past;
    *ret = NULL;
    for (unsigned depth = 0; depth < PAST_LEVELS; depth++) {
        bool there = false;
        enum err_kind kind = load(d, depth, &digest, &there, err);
        if (kind != ERR_OK || !there)
            return kind;
        const struct tree_page *page = &d->past_page->at[depth].page;
        if (page->level == 0) {
            *ret = page;
            return ERR_OK;
        }
        uint32_t n = 0;
        while (n + 1 < page->count &&
               tree_name_order(page->children[n].last, page->children[n].last_bytes, name, size) < 0)
            n++;
        if (page->count == 0)
            return ERR_OK;
        digest = page->children[n].digest;
    }
    return ERR_OK;
}

static const struct tree_entry *
find_name(const struct tree_page *page, const char *name, size_t size)
{
    uint32_t low = 0, high = page->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = tree_name_order(page->entries[mid].name, page->entries[mid].name_bytes, name, size);
        if (order == 0)
            return &page->entries[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* The digest of this directory in the head mark. */
static enum err_kind
know_dir(struct dir *d, struct err *err)
{
    if (d->past_known)
        return ERR_OK;
    d->past_known = true;
    if (d->parent != NULL) {
        const struct tree_page *leaf = NULL;
        enum err_kind kind = know_dir(d->parent, err);
        if (kind != ERR_OK || !d->parent->past_there)
            return kind;
        const struct tree_entry *self = &d->item->entry;
        kind = find_leaf(d->parent, self->name, self->name_bytes, &leaf, err);
        const struct tree_entry *e = leaf == NULL ? NULL : find_name(leaf, self->name, self->name_bytes);
        d->past_there = e != NULL && e->type == TREE_DIR;
        if (d->past_there)
            d->past = e->digest;
        return kind;
    }
    AUTO(buf_free) struct buf bytes = { 0 };
    bool there = false;
    enum err_kind kind = get_page(d->pass, &d->pass->head_root, &bytes, &there, err);
    if (kind != ERR_OK || !there)
        return kind;
    struct tree_page page = { 0 };
    kind = tree_page_parse(bytes.at, bytes.size, &page, err);
    if (kind != ERR_OK)
        return kind;
    d->past_there = page.level == 0 && page.count == 1 && page.entries[0].type == TREE_DIR;
    if (d->past_there)
        d->past = page.entries[0].digest;
    tree_page_free(&page);
    return ERR_OK;
}

/* Do two names differ in digits only?  A run of digits stands for any other: dump-9.sql, dump-10.sql. */
static bool
alike(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t i = 0, j = 0;
    while (i < a_size && j < b_size) {
        bool digit = isdigit((unsigned char)a[i]) != 0;
        if (digit != (isdigit((unsigned char)b[j]) != 0))
            return false;
        if (!digit && a[i++] != b[j++])
            return false;
        while (digit && i < a_size && isdigit((unsigned char)a[i]))
            i++;
        while (digit && j < b_size && isdigit((unsigned char)b[j]))
            j++;
    }
    return i == a_size && j == b_size;
}

static const struct tree_entry *
find_alike(const struct tree_page *page, const char *name, size_t size)
{
    const struct tree_entry *best = NULL;
    for (uint32_t i = 0; i < page->count; i++) {
        const struct tree_entry *e = &page->entries[i];
        if (e->type != TREE_FILE || !alike(e->name, e->name_bytes, name, size))
            continue;
        if (best == NULL || e->mtime_s > best->mtime_s ||
            (e->mtime_s == best->mtime_s && e->mtime_ns >= best->mtime_ns))
            best = e;
    }
    return best;
}

enum err_kind
past_base(struct dir *d, const char *name, size_t size, bool *ret_found, struct wire_base *ret,
          struct err *err)
{
    const struct tree_page *leaf = NULL;
    *ret_found = false;
    enum err_kind kind = know_dir(d, err);
    if (kind != ERR_OK || !d->past_there)
        return kind;
    kind = find_leaf(d, name, size, &leaf, err);
    if (kind != ERR_OK || leaf == NULL)
        return kind;
    const struct tree_entry *e = find_name(leaf, name, size);
    if (e == NULL || e->type != TREE_FILE)
        e = find_alike(leaf, name, size);
    if (e != NULL && e->size > 0) {
        *ret = (struct wire_base){ e->digest, e->size };
        *ret_found = true;
    }
    return ERR_OK;
}
