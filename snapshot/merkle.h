/* merkle.h - the digest of a file: the RFC 6962 tree over its 64 KiB blocks.
 *
 * Leaf = SHA-256(0x00 || block), node = SHA-256(0x01 || left || right), the last block is short.  The empty file has
 * SHA-256(""), as RFC 6962 says.  64 aligned blocks are a complete subtree, so the roots of maps (4 MiB) are joined by the same
 * rule as leaves are, and so on for nodes: one function does it at each level.
 * Source: RFC 6962 section 2.1. */
#ifndef SNAPSHOT_MERKLE_H
#define SNAPSHOT_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/hash.h"
#include "common/limits.h"

void merkle_leaf(const void *block, size_t size, struct digest *ret);

/* The root over count subtrees of equal, complete size (the last may be less).  count 0: SHA-256(""). */
void merkle_root(const struct digest *subtrees, size_t count, struct digest *ret);

/* The root of size zero bytes cut in blocks; sizes of full blocks, maps and nodes are constants kept after first use.
 * Thread-safe. */
void merkle_zero(uint64_t size, struct digest *ret);
bool merkle_zero_bytes(const void *bytes, size_t size); /* all of them 0 */

/*
 * Shape of a file of size bytes: levels above the blocks.
 *   0: at most one block: its digest is the digest of the block
 *   1: at most one map (64 blocks)
 *   2: one node of maps (256 MiB), 3: nodes of nodes (16 GiB), 4 (1 TiB), 5 (64 TiB)
 */
unsigned merkle_levels(uint64_t size);
/* Bytes under one object of a level: 64 KiB, 4 MiB, 256 MiB, ... */
uint64_t merkle_span(unsigned level);
/* Bytes of the n-th map of a file of size bytes. */
uint32_t merkle_map_bytes(uint64_t size, uint64_t map);
static inline uint64_t merkle_blocks(uint64_t size) { return (size + BLOCK_BYTES - 1) / BLOCK_BYTES; }
static inline uint64_t merkle_maps(uint64_t size) { return (size + MAP_BYTES - 1) / MAP_BYTES; }

#endif
