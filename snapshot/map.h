/* map.h - where the bytes of 4 MiB of a file lie: block digests and extents.  farshore-store(5), "Maps". */
#ifndef SNAPSHOT_MAP_H
#define SNAPSHOT_MAP_H

#include <stddef.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/limits.h"

#define EXTENT_ZERO 0u /* blob number of a hole */

struct extent {
    uint64_t blob; /* EXTENT_ZERO, or a blob's number */
    uint32_t off;  /* in the blob's raw bytes; 0 for a hole */
    uint32_t len;  /* bytes, > 0 */
};

struct map {
    uint32_t bytes;            /* length of this part of the file: 1..MAP_BYTES */
    struct digest blocks[MAP_BLOCKS]; /* [merkle_blocks(bytes)] */
    struct extent *extents;    /* [extent_count], owned; in file order, their lengths sum to bytes */
    size_t extent_count;
    size_t extent_room;
};
#define MAP_EXTENTS_MAX 8192u  /* encoded <= 16 bytes each: 128 KiB, within OBJECT_BYTES_MAX */

void map_free(struct map *m); /* AUTO(map_free); leaves it empty; the struct itself is the caller's */
/* Append; joins with the last extent when it continues it (or both are holes).  Splits nothing. */
void map_add(struct map *m, uint64_t blob, uint32_t off, uint32_t len);
/* Append to m the extents that cover [off, off+len) of from (len > 0, inside from). */
void map_slice(struct map *m, const struct map *from, uint32_t off, uint32_t len);
/* The root over the block digests: what the map is filed under. */
void map_digest(const struct map *m, struct digest *ret);

void map_encode(const struct map *m, struct buf *ret);
/* A pure parse; everything is checked (lengths sum, offsets within BLOB_RAW_MAX, nothing left over).
 * Errors: ERR_CORRUPT with the offset. */
ERR_CHECK enum err_kind map_parse(const void *bytes, size_t size, struct map *ret, struct err *err);

/* A node: digests of its children, 1..NODE_CHILDREN times 32 bytes, nothing else.  Its digest is merkle_root over them. */

#endif
