/* tree_internal.h - what the builder of pages and their reader share. */
#ifndef SNAPSHOT_TREE_INTERNAL_H
#define SNAPSHOT_TREE_INTERNAL_H

#include <stdbool.h>
#include "snapshot/tree.h"

#define TREE_LEVELS 8u             /* a SHA-256 has eight times four bytes to cut by */
#define TREE_PAGE_HEADER 6u        /* version, level, count */
#define TREE_SUM_MAX ((uint64_t)INT64_MAX) /* sizes and counts of directories: a sum never wraps unseen */

/* Whether a page of this level ends after this name. */
bool tree_cut_after(const char *name, size_t bytes, unsigned level);
/* What breaks the rules of tree.h in an entry, or NULL. */
const char *tree_entry_fault(const struct tree_entry *e);
/* Whether an encoded set is whole: each item good, names strictly rising. */
bool tree_xattrs_ok(const void *set, size_t size);

void tree_put_header(struct buf *ret, unsigned level, uint32_t count);
void tree_put_entry(struct buf *ret, const struct tree_entry *e);
void tree_put_child(struct buf *ret, const struct tree_child *c);

#endif
