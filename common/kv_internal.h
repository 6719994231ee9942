/* kv_internal.h - what kv.c and kv_check.c both know of a row. */
#ifndef COMMON_KV_INTERNAL_H
#define COMMON_KV_INTERNAL_H

#include "common/hash.h"
#include "common/kv.h"

#define KV_SUM_BYTES 8u /* after the bytes of every value */

/* Checksum of a row: its table, its key, its bytes. */
static inline uint64_t
kv_sum(unsigned table, struct kv_bytes key, struct kv_bytes value)
{
    return hash_check(value.at, value.size, hash_check(key.at, key.size, (uint64_t)table + 1));
}

#endif
