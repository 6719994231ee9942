/* restore_worker.h - what the workers share: a buffer and a ring a thread, blocks read and checked, bytes written. */
#ifndef RESTORE_RESTORE_WORKER_H
#define RESTORE_RESTORE_WORKER_H

#include "restore/restore.h"
#include "snapshot/map.h"

#define HOLE_BYTES 4096u /* what a file system makes holes of */

/* What a worker thread keeps. */
struct worker {
    struct ring *ring;
    uint8_t *buffer;     /* [MAP_BYTES] */
    struct ring_op *ops; /* [ops_room] */
    size_t ops_count, ops_room;
};
struct worker *worker_get(struct run *r); /* this thread's */

/* Write operations for bytes of the item, which must stay until they ran.  A file with holes gets them back where its bytes are zero; any
 * other is written whole, so that its space is its own. */
void content_add(struct worker *w, const struct item *it, uint8_t *bytes, size_t size, uint64_t offset);
/* Run what was added; items [ops_count] says whose each operation is.  An item's first failure is told, and it is bad then. */
void ops_run(struct run *r, struct worker *w, struct item *const *items, const char *what);
/* All blocks of a map, checked.  *ret_at: offset in the map of the first that is damaged. */
ERR_CHECK enum err_kind map_load(struct run *r, const struct map *m, uint8_t *ret, uint32_t *ret_at, struct err *err);
/* Metadata of a file that is whole; a file that is not loses its name. */
void file_end(struct run *r, const struct item *it, const char *name);

#endif
