/* canon.h - numbers of which each value has exactly one encoding, so that one content has exactly one digest. */
#ifndef SNAPSHOT_CANON_H
#define SNAPSHOT_CANON_H

#include <stdint.h>
#include "common/bytes.h"

/* What buf_varint wrote; a longer spelling of the same number makes the cursor bad. */
static inline uint64_t
canon_varint(struct cut *c)
{
    const uint8_t *const from = c->at;
    const uint64_t v = cut_varint(c);

    if (!c->bad && c->at - from > 1 && c->at[-1] == 0)
        c->bad = true;
    return c->bad ? 0 : v;
}

/* Signed numbers as unsigned ones, small where the number is near 0: 0, -1, 1, -2, ... */
static inline uint64_t
canon_zigzag(uint64_t twos)
{
    return (twos << 1) ^ (0 - (twos >> 63));
}

static inline uint64_t
canon_unzigzag(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

#endif
