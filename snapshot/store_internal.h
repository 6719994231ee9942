/* store_internal.h - what store.c, store_make.c and reindex.c share. */
#ifndef SNAPSHOT_STORE_INTERNAL_H
#define SNAPSHOT_STORE_INTERNAL_H

#include "snapshot/store.h"

/* More than can be written between two commits: the number of blobs that fit the open packs of all sessions. */
#define STORE_BLOB_SKIP 1000000ull

extern const struct conf_schema store_schema;
ERR_CHECK enum err_kind store_open_index(struct store *s, struct err *err);
ERR_CHECK enum err_kind store_first_rows(struct store *s, struct err *err);
/* Packs into order, then the committer. */
ERR_CHECK enum err_kind store_start(struct store *s, struct err *err);

#endif
