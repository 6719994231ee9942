/* kv_internal.h - what kv.c and kv_check.c both know of a row. */
#ifndef COMMON_KV_INTERNAL_H
#define COMMON_KV_INTERNAL_H

#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "common/hash.h"
#include "common/kv.h"

#define KV_SUM_BYTES 8u /* after the bytes of every value */

/* Checksum of a row: its table, its key, its bytes. */
static inline uint64_t
kv_sum(unsigned table, struct kv_bytes key, struct kv_bytes value)
{
    return hash_check(value.at, value.size, hash_check(key.at, key.size, (uint64_t)table + 1));
}

/* Keys of a walk go on in one direction: a damaged page can lead LMDB in a circle, for ever.  last.size 0: there was none. */
static inline bool
kv_goes_on(struct kv_bytes last, struct kv_bytes key, bool up)
{
    const size_t n = key.size < last.size ? key.size : last.size;
    const int order = n == 0 ? 0 : memcmp(key.at, last.at, n);
    const bool same = order == 0 && key.size == last.size;
    const bool above = order != 0 ? order > 0 : key.size > last.size;

    return last.size == 0 || (!same && above == up);
}

/* kv_watch.c.  LMDB reads through a map and believes what it reads.  A page beyond the end of a file that was cut, or one that the disk
 * cannot read, is SIGBUS; a flipped bit in a page's structure can lead it outside of the map (SIGSEGV) or into one of its
 * assertions.  There is no way back into the code that read, so all that is left is to say so and end like any other failure. */
extern _Thread_local volatile sig_atomic_t kv_in_lmdb; /* is this thread inside of LMDB? */
void kv_watch(void);                                   /* at the first open of an environment */
_Noreturn void kv_watch_failed(void);

#endif
