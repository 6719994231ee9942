/* OBJECTS: pages, nodes and xattrs.  One is stored only when all that it names is there, so that whatever the index knows is whole. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/session_internal.h"
#include "snapshot/merkle.h"
#include "snapshot/tree.h"

#define NODE_LEVELS 5u /* FILE_BYTES_MAX has no more levels above the blocks */

enum err_kind
object_known(struct upload *up, enum object_kind what, const struct digest *digest, bool *ret,
             struct err *err)
{
    enum err_kind kind = stage_have(up->stage, what, digest, ret, err);

    /* A file of one block that was made of old bytes has a map. */
    if (kind == ERR_OK && !*ret && what == OBJECT_BLOCK)
        kind = stage_have(up->stage, OBJECT_MAP, digest, ret, err);
    return kind;
}

static void
miss(struct upload *up, enum object_kind kind, const struct digest *digest)
{
    if (up->missing.count++ > 0)
        return;
    up->missing.kind = (uint8_t)kind;
    up->missing.first = *digest;
}

static enum err_kind
need(struct upload *up, enum object_kind what, const struct digest *digest, bool *whole, struct err *err)
{
    bool known = false;
    const enum err_kind kind = object_known(up, what, digest, &known, err);

    if (kind == ERR_OK && !known) {
        miss(up, what, digest);
        *whole = false;
    }
    return kind;
}

static enum err_kind
need_file(struct upload *up, const struct tree_entry *e, bool *whole, struct err *err)
{
    static const enum object_kind kinds[] = { OBJECT_BLOCK, OBJECT_MAP };
    const unsigned levels = merkle_levels(e->size);
    const enum object_kind what = levels < 2 ? kinds[levels] : OBJECT_NODE;
    struct digest zero;
    bool known = false;
    const enum err_kind kind = object_known(up, what, &e->digest, &known, err);

    if (kind != ERR_OK || known)
        return kind;
    merkle_zero(e->size, &zero);
    if (!hash_same(&zero, &e->digest)) {
        miss(up, what, &e->digest);
        *whole = false;
    }
    return ERR_OK;
}

static enum err_kind
need_entry(struct upload *up, const struct tree_entry *e, bool *whole, struct err *err)
{
    enum err_kind kind = ERR_OK;

    if (e->type == TREE_DIR)
        kind = need(up, OBJECT_PAGE, &e->digest, whole, err);
    else if (e->type == TREE_FILE && e->size > 0)
        kind = need_file(up, e, whole, err);
    if (kind == ERR_OK && e->xattrs_bytes > XATTR_INLINE_MAX)
        kind = need(up, OBJECT_XATTRS, &e->xattrs_digest, whole, err);
    return kind;
}

static enum err_kind
check_page(struct upload *up, const struct wire_object *o, struct digest *ret, bool *whole, struct err *err)
{
    AUTO(tree_page_free) struct tree_page p = { 0 };
    struct err why = { 0 };
    enum err_kind kind = ERR_OK;

    if (tree_page_parse(o->bytes, o->size, &p, &why) != ERR_OK)
        return err_set(err, ERR_PROTOCOL, "OBJECTS: a page: %s", why.text);
    tree_page_digest(o->bytes, o->size, ret);
    for (uint32_t i = 0; kind == ERR_OK && i < p.count; i++)
        kind = p.level > 0 ? need(up, OBJECT_PAGE, &p.children[i].digest, whole, err)
                           : need_entry(up, &p.entries[i], whole, err);
    if (kind == ERR_OK && p.level == 0 && p.count == 1 && p.entries[0].name_bytes == 1 &&
        p.entries[0].name[0] == '.') {
        up->has_root = true;
        up->root = *ret;
        up->root_bytes = p.entries[0].size;
        up->root_count = p.entries[0].count;
    }
    return kind;
}

/* Whether a whole subtree of zeros has this digest. */
static bool
zero_span(const struct digest *d)
{
    for (unsigned level = 1; level <= NODE_LEVELS; level++) {
        struct digest zero;

        merkle_zero(merkle_span(level), &zero);
        if (hash_same(&zero, d))
            return true;
    }
    return false;
}

static enum err_kind
check_node(struct upload *up, const struct wire_object *o, struct digest *ret, bool *whole, struct err *err)
{
    struct digest children[NODE_CHILDREN];
    const size_t count = o->size / HASH_BYTES;
    enum err_kind kind = ERR_OK;

    if (o->size % HASH_BYTES != 0 || count == 0 || count > NODE_CHILDREN)
        return err_set(err, ERR_PROTOCOL, "OBJECTS: a node of %zu bytes", o->size);
    memcpy(children, o->bytes, o->size);
    merkle_root(children, count, ret);
    for (size_t i = 0; kind == ERR_OK && i < count; i++) {
        bool known = false;

        kind = stage_have(up->stage, OBJECT_MAP, &children[i], &known, err);
        if (kind == ERR_OK && !known)
            kind = stage_have(up->stage, OBJECT_NODE, &children[i], &known, err);
        if (kind == ERR_OK && !known && !zero_span(&children[i])) {
            miss(up, OBJECT_MAP, &children[i]);
            *whole = false;
        }
    }
    return kind;
}

static enum err_kind
check_xattrs(const struct wire_object *o, struct digest *ret, struct err *err)
{
    struct cut c = cut_of(o->bytes, o->size);
    struct tree_xattr x;
    int more;

    if (o->size <= XATTR_INLINE_MAX || o->size > XATTRS_BYTES_MAX)
        return err_set(err, ERR_PROTOCOL, "OBJECTS: a set of extended attributes of %zu bytes", o->size);
    while ((more = tree_xattr_next(&c, &x)) == 1)
        ;
    if (more < 0)
        return err_set(err, ERR_PROTOCOL, "OBJECTS: a damaged set of extended attributes");
    tree_xattrs_digest(o->bytes, o->size, ret);
    return ERR_OK;
}

static enum err_kind
store_object(struct upload *up, const struct wire_object *o, struct err *err)
{
    struct digest d = { 0 };
    bool whole = true;
    enum err_kind kind;

    if (o->kind == OBJECT_PAGE)
        kind = check_page(up, o, &d, &whole, err);
    else if (o->kind == OBJECT_NODE)
        kind = check_node(up, o, &d, &whole, err);
    else
        kind = check_xattrs(o, &d, err);
    if (kind == ERR_OK && whole)
        kind = stage_object(up->stage, o->kind, &d, o->bytes, (uint32_t)o->size, err);
    return kind;
}

static enum err_kind
store_frame(struct upload *up, const struct waiting *w, struct err *err)
{
    struct cut c = cut_of(w->bytes.at, w->bytes.size);
    enum err_kind kind = upload_quota(up, err);

    while (kind == ERR_OK && c.left > 0) {
        struct wire_object o;

        kind = wire_next_object(&c, &o, err);
        if (kind == ERR_OK)
            kind = store_object(up, &o, err);
    }
    return kind;
}

void
objects_keep(struct upload *up, struct buf *payload)
{
    struct waiting *const w = mem_zero(1, sizeof *w);

    w->after = session_jobs(up->s);
    w->bytes = *payload;
    *payload = (struct buf){ 0 };
    up->waiting_bytes += w->bytes.size;
    *up->waiting_last = w;
    up->waiting_last = &w->next;
}

static void
drop_first(struct upload *up)
{
    struct waiting *const w = up->waiting;

    up->waiting = w->next;
    if (w->next == NULL)
        up->waiting_last = &up->waiting;
    up->waiting_bytes -= w->bytes.size;
    buf_free(&w->bytes);
    free(w);
}

enum err_kind
objects_run(struct upload *up, bool all, struct err *err)
{
    enum err_kind kind = ERR_OK;

    while (kind == ERR_OK && up->waiting != NULL) {
        bool done = false;

        kind = session_wait(up->s, up->waiting->after, all || up->waiting_bytes > OBJECTS_BYTES_MAX, &done,
                            err);
        if (kind != ERR_OK || !done)
            break;
        kind = store_frame(up, up->waiting, err);
        drop_first(up);
    }
    return kind;
}

void
objects_free(struct upload *up)
{
    while (up->waiting != NULL)
        drop_first(up);
}
