/* tree.h - directories as pages of sorted entries: what the city signs.  farshore-store(5), "Pages".
 *
 * A page of level 0 holds entries sorted by name (bytes, memcmp, then length).  It ends after a name whose SHA-256, first four
 * bytes big-endian, mod PAGE_CUT_MOD is 0, or at PAGE_ENTRIES_MAX entries, or before an entry that would make it larger than
 * OBJECT_BYTES_MAX.  If there is more than one page, pages of level 1 hold for each its last name, entry count, sum of sizes and
 * digest, cut alike by bytes 4..7 of the last name's SHA-256; and so on (level n uses bytes 4n..4n+3, n <= 7) until one is left.
 * A page's digest is SHA-256(0x02 || page); that of an object of xattrs SHA-256(0x03 || bytes).  An empty directory is a page
 * with no entries.  The root of a mark is a page with one entry, ".", the directory that was protected. */
#ifndef SNAPSHOT_TREE_H
#define SNAPSHOT_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/limits.h"

enum tree_type { TREE_FILE = 'f', TREE_DIR = 'd', TREE_LINK = 'l', TREE_FIFO = 'p', TREE_SOCKET = 's', TREE_CHAR = 'c',
                 TREE_DISK = 'b' };

struct tree_entry { /* all pointers borrowed: into the page they were parsed from, or the scanner's memory */
    const char *name;        /* [name_bytes], no NUL inside, no '/', not "..", "." only in a root page; not terminated */
    uint16_t name_bytes;     /* 1..NAME_BYTES_MAX */
    uint8_t type;            /* enum tree_type */
    uint8_t sparse;          /* 1: file has holes; they are made again where its bytes are zero */
    uint16_t mode;           /* 0..07777 */
    uint32_t uid, gid;
    const char *user;        /* [user_bytes], by name; 0 bytes when it has none */
    const char *group;
    uint8_t user_bytes, group_bytes;
    int64_t mtime_s;
    uint32_t mtime_ns;       /* 0..999999999 */
    uint64_t rdev;           /* major << 32 | minor, of devices; else 0 */
    uint64_t link_group;     /* same number = same inode, where nlink > 1; else 0 */
    uint64_t size;           /* bytes; a directory: sum of the sizes of the files beneath, each name counted */
    uint64_t count;          /* a directory: names beneath it at any depth; else 0 */
    struct digest digest;    /* file (merkle.h), directory (its top page); else zeros */
    const char *target;      /* [target_bytes], of a link */
    uint16_t target_bytes;
    const uint8_t *xattrs;   /* [xattrs_bytes] encoded set if at most XATTR_INLINE_MAX bytes; else NULL */
    uint32_t xattrs_bytes;   /* of the encoded set wherever it lies; 0 when there are none */
    struct digest xattrs_digest; /* when xattrs_bytes > XATTR_INLINE_MAX */
};

/* An encoded set of xattrs: for each, sorted by name: varint length, name, varint length, value. */
struct tree_xattr {
    const char *name; size_t name_bytes;
    const uint8_t *value; size_t value_bytes;
};
/* Next of the set; 1, or 0 at its end, or -1 when it is damaged. */
int tree_xattr_next(struct cut *set, struct tree_xattr *ret);

/* A parsed page. */
struct tree_page {
    uint8_t level;
    uint32_t count;
    struct tree_entry *entries;   /* level 0: [count], owned */
    struct tree_child {
        const char *last; uint16_t last_bytes; /* last name beneath */
        uint64_t names;                        /* entries beneath in this directory */
        uint64_t size;                         /* sum of their sizes */
        struct digest digest;
    } *children;                  /* level > 0: [count], owned */
};
/* Pure parse of bytes [size], which must outlive ret.  Checks everything that can be checked without other pages, the order of
 * names and the rule of cuts inside the page among it (a cut name before the last is refused).  Errors: ERR_CORRUPT. */
ERR_CHECK enum err_kind tree_page_parse(const void *bytes, size_t size, struct tree_page *ret, struct err *err);
void tree_page_free(struct tree_page *p);
void tree_page_digest(const void *bytes, size_t size, struct digest *ret);
void tree_xattrs_digest(const void *bytes, size_t size, struct digest *ret);
bool tree_name_ok(const char *name, size_t bytes); /* the rules of tree_entry.name, "." refused */
/* Order of names: <0, 0, >0. */
int tree_name_order(const char *a, size_t a_bytes, const char *b, size_t b_bytes);

/* Build the pages of one directory.  Each finished page goes to emit, children before parents. */
typedef enum err_kind tree_emit_fn(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err);
struct tree_builder;
struct tree_builder *tree_builder_new(tree_emit_fn *emit, void *arg);
/* Entries in strictly rising order of names.  Errors: what emit returns. */
ERR_CHECK enum err_kind tree_builder_add(struct tree_builder *b, const struct tree_entry *e, struct err *err);
/* Finish: digest of the top page, sum of sizes, names beneath (for each entry 1 + its count).  The builder is ready for another
 * directory then. */
struct tree_sum {
    struct digest digest;
    uint64_t size;
    uint64_t count;
};
ERR_CHECK enum err_kind tree_builder_end(struct tree_builder *b, struct tree_sum *ret, struct err *err);
void tree_builder_free(struct tree_builder **b);
/* The root page of a mark: one entry named "." (e->name is ignored). */
void tree_root_encode(const struct tree_entry *e, struct buf *ret);

#endif
