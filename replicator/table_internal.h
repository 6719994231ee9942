/* table_internal.h - what table.c and table_sweep.c share. */
#ifndef REPLICATOR_TABLE_INTERNAL_H
#define REPLICATOR_TABLE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include "replicator/table.h"

enum table_number { TABLE_SOURCES, TABLE_FILES, TABLE_BLOCKS };

#define TABLE_KEY_BYTES 16u /* source, mount, inode; big-endian, so that a source's rows are one range */
size_t table_key_bytes(const struct table_key *key, uint8_t ret[TABLE_KEY_BYTES]);

struct kv *table_kv(struct table *t);
void table_lock_writes(struct table *t);
void table_unlock_writes(struct table *t);

#endif
