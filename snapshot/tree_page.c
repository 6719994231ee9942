/* A page, encoded:
 *
 *     u8       version, 1
 *     u8       level, 0..7
 *     u32      count of entries or children
 *
 * For each entry of a page of level 0:
 *     u8       type: f d l p s c b
 *     u8       flags: 1 sparse; 2 mtime has nanoseconds; 4 an owner other than 0:0; 8 user; 16 group; 32 link group; 64 xattrs
 *     u8       length of the name, then the name
 *     varint   mode, 0..07777
 *     varint   [4] uid, varint gid
 *     u8       [8] length of the user's name, then the name
 *     u8       [16] the same of the group
 *     varint   mtime, seconds, zigzag
 *     varint   [2] nanoseconds, 1..999999999
 *     varint   [32] link group
 *              f: varint size, digest.  d: varint size, varint count, digest.  l: varint length, target.  c, b: varint major, varint minor
 *     varint   [64] length of the set of xattrs; at most 256: the set, else its digest
 * For each child of a page above:
 *     u8       length of its last name, then the name
 *     varint   entries beneath, varint sum of their sizes
 *     32       digest
 *
 * Little-endian; varints are LEB128 in the fewest bytes; a flag is set only where the value is not 0 or empty.  So one content has one
 * encoding, and one digest. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "snapshot/canon.h"
#include "snapshot/tree.h"
#include "snapshot/tree_internal.h"

#define PAGE_VERSION 1u

enum {
    HAS_HOLES = 1,
    HAS_NS = 2,
    HAS_OWNER = 4,
    HAS_USER = 8,
    HAS_GROUP = 16,
    HAS_LINKS = 32,
    HAS_XATTRS = 64,
    HAS_ALL = 127
};

static bool
is_device(uint8_t type)
{
    return type == TREE_CHAR || type == TREE_DISK;
}

static bool
has_digest(uint8_t type)
{
    return type == TREE_FILE || type == TREE_DIR;
}

static bool
text_ok(const char *text, size_t bytes)
{
    return bytes == 0 || memchr(text, '\0', bytes) == NULL;
}

static const char *
content_fault(const struct tree_entry *e)
{
    static const struct digest none;

    if (e->sparse > 1 || (e->sparse && e->type != TREE_FILE))
        return "only a file is sparse";
    if (e->rdev != 0 && !is_device(e->type))
        return "only a device has a number";
    if (e->size > (e->type == TREE_FILE ? FILE_BYTES_MAX : e->type == TREE_DIR ? TREE_SUM_MAX : 0))
        return "its size is out of range";
    if (e->count > (e->type == TREE_DIR ? TREE_SUM_MAX - 1 : 0) ||
        (e->type == TREE_DIR && e->count == 0 && e->size != 0))
        return "its count is out of range";
    if (!has_digest(e->type) && memcmp(&e->digest, &none, sizeof none) != 0)
        return "only a file or a directory has a digest";
    if ((e->target_bytes > 0) != (e->type == TREE_LINK) || e->target_bytes > TARGET_BYTES_MAX)
        return "the length of its target is out of range";
    if (!text_ok(e->target, e->target_bytes))
        return "its target holds a NUL";
    return NULL;
}

const char *
tree_entry_fault(const struct tree_entry *e)
{
    const bool dot = e->name_bytes == 1 && e->name[0] == '.' && e->type == TREE_DIR;

    if (!dot && !tree_name_ok(e->name, e->name_bytes))
        return "its name is not allowed";
    if (e->type == 0 || strchr("fdlpscb", e->type) == NULL)
        return "its type is not known";
    if (e->mode > 07777)
        return "its mode is out of range";
    if (e->mtime_ns > 999999999)
        return "its time is out of range";
    if (e->user_bytes > USER_BYTES_MAX || e->group_bytes > USER_BYTES_MAX)
        return "the name of its user or group is too long";
    if (!text_ok(e->user, e->user_bytes) || !text_ok(e->group, e->group_bytes))
        return "the name of its user or group holds a NUL";
    if (e->link_group != 0 && e->type == TREE_DIR)
        return "a directory has one name";
    if (e->xattrs_bytes > XATTRS_BYTES_MAX)
        return "its xattrs are too long";
    if (e->xattrs_bytes > 0 && e->xattrs_bytes <= XATTR_INLINE_MAX &&
        !tree_xattrs_ok(e->xattrs, e->xattrs_bytes))
        return "its xattrs are damaged";
    return content_fault(e);
}

void
tree_put_header(struct buf *ret, unsigned level, uint32_t count)
{
    assert(level < TREE_LEVELS);
    buf_u8(ret, PAGE_VERSION);
    buf_u8(ret, (uint8_t)level);
    buf_u32(ret, count);
}

static void
put_short(struct buf *ret, const char *text, size_t bytes)
{
    buf_u8(ret, (uint8_t)bytes);
    buf_put(ret, text, bytes);
}

static uint8_t
flags_of(const struct tree_entry *e)
{
    return (uint8_t)((e->sparse ? HAS_HOLES : 0) | (e->mtime_ns ? HAS_NS : 0) |
                     (e->uid || e->gid ? HAS_OWNER : 0) | (e->user_bytes ? HAS_USER : 0) |
                     (e->group_bytes ? HAS_GROUP : 0) | (e->link_group ? HAS_LINKS : 0) |
                     (e->xattrs_bytes ? HAS_XATTRS : 0));
}

static void
put_content(struct buf *ret, const struct tree_entry *e)
{
    if (has_digest(e->type))
        buf_varint(ret, e->size);
    if (e->type == TREE_DIR)
        buf_varint(ret, e->count);
    if (has_digest(e->type))
        buf_put(ret, &e->digest, sizeof e->digest);
    if (e->type == TREE_LINK)
        buf_block(ret, e->target, e->target_bytes);
    if (is_device(e->type)) {
        buf_varint(ret, e->rdev >> 32);
        buf_varint(ret, e->rdev & UINT32_MAX);
    }
}

void
tree_put_entry(struct buf *ret, const struct tree_entry *e)
{
    const uint8_t flags = flags_of(e);

    buf_u8(ret, e->type);
    buf_u8(ret, flags);
    put_short(ret, e->name, e->name_bytes);
    buf_varint(ret, e->mode);
    if (flags & HAS_OWNER) {
        buf_varint(ret, e->uid);
        buf_varint(ret, e->gid);
    }
    if (flags & HAS_USER)
        put_short(ret, e->user, e->user_bytes);
    if (flags & HAS_GROUP)
        put_short(ret, e->group, e->group_bytes);
    buf_varint(ret, canon_zigzag((uint64_t)e->mtime_s));
    if (flags & HAS_NS)
        buf_varint(ret, e->mtime_ns);
    if (flags & HAS_LINKS)
        buf_varint(ret, e->link_group);
    put_content(ret, e);
    if ((flags & HAS_XATTRS) == 0)
        return;
    buf_varint(ret, e->xattrs_bytes);
    if (e->xattrs_bytes <= XATTR_INLINE_MAX)
        buf_put(ret, e->xattrs, e->xattrs_bytes);
    else
        buf_put(ret, &e->xattrs_digest, sizeof e->xattrs_digest);
}

void
tree_put_child(struct buf *ret, const struct tree_child *c)
{
    put_short(ret, c->last, c->last_bytes);
    buf_varint(ret, c->names);
    buf_varint(ret, c->size);
    buf_put(ret, &c->digest, sizeof c->digest);
}

/* A varint of at most max. */
static uint64_t
get_number(struct cut *c, uint64_t max)
{
    const uint64_t v = canon_varint(c);

    if (v > max)
        c->bad = true;
    return c->bad ? 0 : v;
}

/* The same, of a value that a flag says is there: it is not 0. */
static uint64_t
get_flagged(struct cut *c, uint64_t max)
{
    const uint64_t v = get_number(c, max);

    if (v == 0)
        c->bad = true;
    return v;
}

static const char *
get_short(struct cut *c, uint8_t *ret_bytes)
{
    *ret_bytes = cut_u8(c);
    if (*ret_bytes == 0)
        c->bad = true;
    return (const char *)cut_bytes(c, *ret_bytes);
}

static void
get_digest(struct cut *c, struct digest *ret)
{
    const uint8_t *const at = cut_bytes(c, sizeof *ret);

    if (at != NULL)
        memcpy(ret, at, sizeof *ret);
}

static void
get_content(struct cut *c, struct tree_entry *e)
{
    if (has_digest(e->type))
        e->size = canon_varint(c);
    if (e->type == TREE_DIR)
        e->count = canon_varint(c);
    if (has_digest(e->type))
        get_digest(c, &e->digest);
    if (e->type == TREE_LINK) {
        e->target_bytes = (uint16_t)get_flagged(c, TARGET_BYTES_MAX);
        e->target = (const char *)cut_bytes(c, e->target_bytes);
    }
    if (is_device(e->type)) {
        const uint64_t major = get_number(c, UINT32_MAX);

        e->rdev = major << 32 | get_number(c, UINT32_MAX);
    }
}

static void
get_xattrs(struct cut *c, struct tree_entry *e)
{
    e->xattrs_bytes = (uint32_t)get_flagged(c, XATTRS_BYTES_MAX);
    if (e->xattrs_bytes <= XATTR_INLINE_MAX)
        e->xattrs = cut_bytes(c, e->xattrs_bytes);
    else
        get_digest(c, &e->xattrs_digest);
}

/* What is wrong, or NULL. */
static const char *
get_entry(struct cut *c, struct tree_entry *e)
{
    uint8_t flags, name_bytes;

    e->type = cut_u8(c);
    flags = cut_u8(c);
    if (flags > HAS_ALL)
        return "an unknown flag is set";
    e->sparse = (flags & HAS_HOLES) != 0;
    e->name = get_short(c, &name_bytes);
    e->name_bytes = name_bytes;
    e->mode = (uint16_t)get_number(c, UINT16_MAX);
    if (flags & HAS_OWNER) {
        e->uid = (uint32_t)get_number(c, UINT32_MAX);
        e->gid = (uint32_t)get_number(c, UINT32_MAX);
        if (e->uid == 0 && e->gid == 0)
            return "an owner 0:0 is written out";
    }
    if (flags & HAS_USER)
        e->user = get_short(c, &e->user_bytes);
    if (flags & HAS_GROUP)
        e->group = get_short(c, &e->group_bytes);
    e->mtime_s = (int64_t)canon_unzigzag(canon_varint(c));
    if (flags & HAS_NS)
        e->mtime_ns = (uint32_t)get_flagged(c, UINT32_MAX);
    if (flags & HAS_LINKS)
        e->link_group = get_flagged(c, UINT64_MAX);
    get_content(c, e);
    if (flags & HAS_XATTRS)
        get_xattrs(c, e);
    if (c->bad)
        return "it is cut off, or a number in it is out of range";
    return tree_entry_fault(e);
}

static const char *
get_child(struct cut *c, struct tree_child *ret)
{
    uint8_t bytes;

    ret->last = get_short(c, &bytes);
    ret->last_bytes = bytes;
    ret->names = get_flagged(c, TREE_SUM_MAX);
    ret->size = get_number(c, TREE_SUM_MAX);
    get_digest(c, &ret->digest);
    if (c->bad)
        return "it is cut off, or a number in it is out of range";
    return tree_name_ok(ret->last, ret->last_bytes) ? NULL : "its name is not allowed";
}

/* Order of names, the rule of cuts, sums that do not wrap: what holds between the items of a page. */
struct between {
    const char *last;
    size_t last_bytes;
    uint64_t size, count; /* so far */
};

static const char *
next_fault(struct between *b, unsigned level, const struct tree_child *now)
{
    if (b->last != NULL) {
        if (tree_name_order(b->last, b->last_bytes, now->last, now->last_bytes) >= 0)
            return "its name is not after the one before";
        if (tree_cut_after(b->last, b->last_bytes, level))
            return "the page should have ended before it";
    }
    if (now->size > TREE_SUM_MAX - b->size || now->names > TREE_SUM_MAX - b->count)
        return "the sums are out of range";
    *b = (struct between){ now->last, now->last_bytes, b->size + now->size, b->count + now->names };
    return NULL;
}

static const char *
get_item(struct cut *c, struct tree_page *p, struct between *b, uint32_t n)
{
    const char *what;

    if (p->level > 0) {
        what = get_child(c, &p->children[n]);
        return what != NULL ? what : next_fault(b, p->level, &p->children[n]);
    }
    const struct tree_entry *const e = &p->entries[n];

    if ((what = get_entry(c, &p->entries[n])) != NULL)
        return what;
    if (e->name_bytes == 1 && e->name[0] == '.' && p->count > 1)
        return "\".\" stands alone in a root page";
    const struct tree_child as = {
        .last = e->name, .last_bytes = e->name_bytes, .names = 1 + e->count, .size = e->size
    };

    return next_fault(b, 0, &as);
}

static const char *
get_header(struct cut *c, struct tree_page *p)
{
    if (c->left > OBJECT_BYTES_MAX)
        return "it is too long";
    if (cut_u8(c) != PAGE_VERSION)
        return "it is not of version 1";
    p->level = cut_u8(c);
    p->count = cut_u32(c);
    if (c->bad)
        return "it is cut off";
    if (p->level >= TREE_LEVELS)
        return "its level is out of range";
    if (p->count > PAGE_ENTRIES_MAX || (p->level > 0 && p->count == 0))
        return "its count is out of range";
    return NULL;
}

enum err_kind
tree_page_parse(const void *bytes, size_t size, struct tree_page *ret, struct err *err)
{
    struct cut c = cut_of(bytes, size);
    struct tree_page p = { 0 };
    struct between b = { 0 };
    const char *what = get_header(&c, &p);
    uint32_t n = 0;

    if (what != NULL)
        return err_set(err, ERR_CORRUPT, "page is damaged: %s", what);
    if (p.level > 0)
        p.children = mem_zero(p.count, sizeof *p.children);
    else
        p.entries = mem_zero(p.count, sizeof *p.entries);
    while (n < p.count && (what = get_item(&c, &p, &b, n)) == NULL)
        n++;
    if (what == NULL && !cut_done(&c))
        what = "something follows the last item";
    if (what != NULL) {
        tree_page_free(&p);
        return err_set(err, ERR_CORRUPT, "page is damaged at byte %zu, item %" PRIu32 ": %s", size - c.left,
                       n, what);
    }
    *ret = p;
    return ERR_OK;
}

void
tree_page_free(struct tree_page *p)
{
    free(p->entries);
    free(p->children);
    *p = (struct tree_page){ 0 };
}
