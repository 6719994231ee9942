/* read.h - reading a store: objects, maps, bytes.  Everything that is returned was checked against the content digest that asked
 * for it.  Thread-safe; blobs are opened once and kept in a bounded cache; each call uses a short read transaction. */
#ifndef SNAPSHOT_READ_H
#define SNAPSHOT_READ_H

#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "common/hash.h"
#include "snapshot/format.h"
#include "snapshot/index.h"
#include "snapshot/map.h"
#include "snapshot/store.h"
#include "snapshot/tree.h"

struct reader;
struct stage;
struct reader *reader_new(struct store *s, uint32_t city, size_t cache_bytes);
void reader_free(struct reader **r);
/* A site's session: blobs and rows of this stage are seen too. */
void reader_stage(struct reader *r, struct stage *st);
/* Told of each blob when it was opened whole and its tag held (verify counts stored bytes so); may be NULL. */
typedef void reader_blob_fn(void *arg, const struct blob_place *place);
void reader_on_blob(struct reader *r, reader_blob_fn *fn, void *arg);

/* Errors of all: ERR_ABSENT (no such row), ERR_CORRUPT (row, blob, digest; names pack and offset), ERR_IO. */

/* Is there a row?  Bytes are not read. */
ERR_CHECK enum err_kind reader_find(struct reader *r, enum object_kind kind, const struct digest *digest,
                                    struct object_place *ret, struct err *err);
/* A page or a set of xattrs or a node, bytes appended to ret after they were checked. */
ERR_CHECK enum err_kind reader_object(struct reader *r, enum object_kind kind, const struct digest *digest,
                                      struct buf *ret, struct err *err);
/* The map filed under digest; bytes: the length it must have.  A map of zeros is not stored: it is made here. */
ERR_CHECK enum err_kind reader_map(struct reader *r, const struct digest *digest, uint32_t bytes, struct map *ret,
                                   struct err *err);
/* The n-th map of a file (digest and size from its entry).  A file of one block gets a map with one extent. */
struct reader_file {
    struct digest digest;
    uint64_t size;
};
ERR_CHECK enum err_kind reader_file_map(struct reader *r, const struct reader_file *f, uint64_t map, struct map *ret,
                                        struct err *err);
/* Bytes [off, off+len) of a map without any check against block digests: for delta bases and the site's check of new blocks,
 * which hashes what it gets. */
ERR_CHECK enum err_kind reader_raw(struct reader *r, const struct map *m, uint32_t off, uint32_t len, uint8_t *ret,
                                   struct err *err);
/* Block n of the map, checked against its digest.  ret [length of that block].  ERR_CORRUPT: ret is zeroed. */
ERR_CHECK enum err_kind reader_block(struct reader *r, const struct map *m, uint32_t block, uint8_t *ret, struct err *err);
/* Bytes of one blob, by number. */
ERR_CHECK enum err_kind reader_blob(struct reader *r, uint64_t blob, struct buf *ret, struct err *err);

/* Walk a directory: entries of all its pages in order of names.  fn's entry is valid during the call. */
typedef enum err_kind reader_entry_fn(void *arg, const struct tree_entry *e, struct err *err);
ERR_CHECK enum err_kind reader_dir(struct reader *r, const struct digest *dir, reader_entry_fn *fn, void *arg,
                                   struct err *err);
/* The entry of one name, in O(depth) pages.  *ret's pointers lie in *page, which the caller frees.  ERR_ABSENT. */
ERR_CHECK enum err_kind reader_entry(struct reader *r, const struct digest *dir, const char *name, size_t name_bytes,
                                     struct buf *page, struct tree_entry *ret, struct err *err);
/* The "." entry of a mark's root. */
ERR_CHECK enum err_kind reader_root(struct reader *r, const struct digest *root, struct buf *page, struct tree_entry *ret,
                                    struct err *err);
/* The encoded xattrs of an entry, wherever they lie, appended to ret. */
ERR_CHECK enum err_kind reader_xattrs(struct reader *r, const struct tree_entry *e, struct buf *ret, struct err *err);

#endif
