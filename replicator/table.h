/* table.h - the agent's facts about bytes, never about what the site has: for each inode of a source what it looked like when it
 * was read, and the digests of what was read.  LMDB in the state directory; all of it can be made again by reading everything.
 *
 * Rows of the table "files": (source number, mount, inode) -> struct table_row.  Rows of "blocks": (the same, map) -> the time of
 * the reading and the first 16 bytes of the digest of each block (a false "same" would be found by the map's digest, which the
 * site checks).  Block rows of another reading than the file's row are not used, so a pass may stop anywhere.
 * Thread-safe.  Writes are gathered and committed in chunks. */
#ifndef REPLICATOR_TABLE_H
#define REPLICATOR_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/hash.h"
#include "common/limits.h"

#define TABLE_MAP_BYTES                                                                                      \
    (1ull << 36) /* sparse, set once: enough for 190 TB of files, and for a sanitizer's address space */

struct table;
ERR_CHECK enum err_kind table_open(int dir_fd, const char *state, struct table **ret, struct err *err);
void table_close(struct table **t);

struct table_source { /* of one source; a number is never given to another */
    uint32_t number;
    uint64_t pass; /* passes so far */
    uint8_t epoch; /* rows not put again in this one are those of vanished inodes */
};
#define TABLE_SWEEP_PASSES 32u
/* Begin a pass: the source's number, its pass count raised.  A new source gets a number. */
ERR_CHECK enum err_kind table_begin(struct table *t, const char *source, struct table_source *ret,
                                    struct err *err);
/* A pass ended well: what was gathered is committed; now and then rows of vanished inodes are swept. */
ERR_CHECK enum err_kind table_end(struct table *t, const struct table_source *s, struct err *err);
/* Forget all about a source (NULL: about all sources). */
ERR_CHECK enum err_kind table_drop(struct table *t, const char *source, struct err *err);

struct table_key {
    uint32_t source;
    uint32_t mount; /* index of the mount within the source: device numbers change */
    uint64_t inode;
};
struct table_row {
    uint64_t size;
    int64_t mtime_s, ctime_s;
    uint32_t mtime_ns, ctime_ns;
    int64_t read_ns;   /* when the reading began: also ties block rows to this row */
    uint64_t sequence; /* of the mark whose pass read it */
    uint8_t epoch;
    struct digest digest;             /* of the content; zeros for what is not a file */
    uint32_t xattrs_bytes;            /* of the encoded set */
    uint8_t xattrs[XATTR_INLINE_MAX]; /* [xattrs_bytes], or where it is larger the digest of the set */
};
/* For tests and both directions: the encoding of a row. */
struct buf;
void table_row_encode(const struct table_row *r, struct buf *ret);
ERR_CHECK enum err_kind table_row_parse(const void *bytes, size_t size, struct table_row *ret,
                                        struct err *err);

/* A view of what is committed, for one thread; renew it now and then: an old view keeps pages from being used again. */
struct table_view;
ERR_CHECK enum err_kind table_view_new(struct table *t, struct table_view **ret, struct err *err);
void table_view_free(struct table_view **v);
/* Errors: ERR_ABSENT; a damaged row is as good as none. */
ERR_CHECK enum err_kind table_find(struct table_view *v, const struct table_key *key, struct table_row *ret);
#define TABLE_PRINT_BYTES 16u
struct table_prints { /* of the blocks of one map, at one reading */
    uint32_t count;
    uint8_t at[MAP_BLOCKS][TABLE_PRINT_BYTES];
};
ERR_CHECK enum err_kind table_find_prints(struct table_view *v, const struct table_key *key, uint64_t map,
                                          int64_t read_ns, struct table_prints *ret);

ERR_CHECK enum err_kind table_put(struct table *t, const struct table_key *key, const struct table_row *row,
                                  struct err *err);
ERR_CHECK enum err_kind table_put_prints(struct table *t, const struct table_key *key, uint64_t map,
                                         int64_t read_ns, const struct digest *blocks, size_t count,
                                         struct err *err);
ERR_CHECK enum err_kind table_flush(struct table *t, struct err *err);

#endif
