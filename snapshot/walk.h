/* walk.h - pull the entries of a directory, and the maps of a file, one by one.  Where reader_dir calls back, this is called: two
 * trees can be walked side by side, and a deep tree needs no deep stack. */
#ifndef SNAPSHOT_WALK_H
#define SNAPSHOT_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/hash.h"
#include "snapshot/read.h"
#include "snapshot/tree.h"

/* One directory; only the pages on the way from its top page to the lowest are in memory. */
struct walk;
struct walk *walk_new(struct reader *r, const struct digest *dir); /* reads nothing yet; r is borrowed */
void walk_free(struct walk **w);
/* The next entry in order of names; its pointers are valid until the next call.  A page whose names do not follow those of the page
 * before is ERR_CORRUPT.  After an error of a page the walk may be gone on with: it stands behind that page.
 * Errors: ERR_ABSENT: no more; ERR_CORRUPT, ERR_IO: this page cannot be read. */
ERR_CHECK enum err_kind walk_next(struct walk *w, struct tree_entry *ret, struct err *err);
/* Two walks of which everything before was taken: pass over the pages that come next in both and are the same. */
ERR_CHECK enum err_kind walk_skip_same(struct walk *a, struct walk *b, struct err *err);

/* Parts of a file, in order.  A part of zeros is given once for its whole span, whatever its size. */
struct walk_part {
    uint64_t off;         /* in the file */
    uint64_t bytes;
    struct digest digest; /* of the map; of the only block where the whole file is at most one block */
    bool zero;
};
struct walk_parts {
    /* ERR_OK to go on. */
    enum err_kind (*part)(void *arg, const struct walk_part *p, struct err *err);
    /* May be NULL.  Told of each node before it is read; false passes over everything beneath. */
    bool (*node)(void *arg, const struct walk_part *p);
    /* May be NULL: then the walk ends with the error.  Told of a node that cannot be read; what is beneath is passed over. */
    void (*lost)(void *arg, const struct walk_part *p, const struct err *err);
    void *arg;
};
ERR_CHECK enum err_kind walk_file(struct reader *r, const struct reader_file *f, const struct walk_parts *w,
                                  struct err *err);

/* The entry that a path names, from the root of a mark; components are separated by '/', "" and "." name the root.  *ret's pointers
 * lie in *page, which the caller frees.  Errors: ERR_ABSENT with the component that is not there. */
ERR_CHECK enum err_kind walk_find(struct reader *r, const struct digest *root, const char *path, struct buf *page,
                                  struct tree_entry *ret, struct err *err);

#endif
