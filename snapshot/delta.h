/* delta.h - librsync 2.3.2 made safe: signatures of at most a few windows, BLAKE2 with full sums, 8 KiB blocks, limits before
 * every call (PITFALLS 2).  The only file that includes librsync.h. */
#ifndef SNAPSHOT_DELTA_H
#define SNAPSHOT_DELTA_H

#include <stddef.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "common/limits.h"

/* The sums of old bytes, 36 bytes (weak 4 big-endian, strong 32) for each DELTA_BLOCK_BYTES, as librsync writes them, without
 * its 12-byte header.  size <= 2 * WINDOW_BYTES.  Appends to ret. */
#define DELTA_SUM_ENTRY 36u
ERR_CHECK enum err_kind delta_sums(const void *bytes, size_t size, struct buf *ret, struct err *err);

/* Compare in place: bit n of ret_same set where the n-th 8 KiB of bytes has the n-th sum.  count sums; a short last piece is
 * summed as it is.  size <= MAP_BYTES, ret_same [(count + 7) / 8]. */
ERR_CHECK enum err_kind delta_same(const void *bytes, size_t size, const uint8_t *sums, size_t count, uint8_t *ret_same,
                                   struct err *err);

/* One operation of a delta: the next len bytes of the new file. */
struct delta_op {
    uint64_t off;  /* COPY: offset in the old file; LITERAL: offset in the new bytes given to delta_make; ZERO: 0 */
    uint32_t len;
    uint8_t kind;
};
enum { DELTA_COPY = 1, DELTA_LITERAL = 2, DELTA_ZERO = 3 };
struct delta_ops {
    struct delta_op *at; /* [count], owned */
    size_t count, room;
};
void delta_ops_free(struct delta_ops *ops);
void delta_ops_add(struct delta_ops *ops, struct delta_op op); /* joins what continues */

/* A signature made ready for matching.  Made of pieces of the old file: piece n lies at old_off[n].  One thread uses it at a
 * time (librsync counts in it). */
struct delta_piece {
    uint64_t old_off;     /* multiple of DELTA_BLOCK_BYTES unless the piece is the only one */
    uint64_t old_bytes;   /* all but the last piece a multiple of DELTA_BLOCK_BYTES */
    const uint8_t *sums;  /* [ceil(old_bytes / DELTA_BLOCK_BYTES)] entries */
};
struct delta_base;
/* Errors: ERR_PROTOCOL for hostile sums (more than DELTA_WEAK_SAME_MAX different strong under one weak, too many). */
ERR_CHECK enum err_kind delta_base_new(const struct delta_piece *pieces, size_t count, struct delta_base **ret,
                                       struct err *err);
void delta_base_free(struct delta_base **b);

/* The delta of bytes [size <= WINDOW_BYTES] against the base: ops appended to ret; their lengths sum to size.  Stops looking for
 * matches after DELTA_BARREN_BYTES without a COPY. */
ERR_CHECK enum err_kind delta_make(struct delta_base *b, const void *bytes, size_t size, struct delta_ops *ret,
                                   struct err *err);

/* Read librsync's delta commands (for the fuzzer and the rs_patch oracle): ops with LITERAL offsets into the command bytes.
 * Errors: ERR_PROTOCOL: bad magic or command, a zero or overlong length, more than new_bytes_max, bytes after END. */
ERR_CHECK enum err_kind delta_parse(const void *commands, size_t size, uint64_t new_bytes_max, struct delta_ops *ret,
                                    struct err *err);
#endif
