/* verify_seen.h - what was met before: a set of digests, of which 16 bytes are kept.  Thread-safe. */
#ifndef VERIFY_SEEN_H
#define VERIFY_SEEN_H

#include <stdbool.h>
#include <stdint.h>
#include "common/hash.h"

struct seen;
/* count_max: entries kept; beyond them nothing is remembered, and what comes again is met again (more work, never less proof). */
struct seen *seen_new(uint64_t count_max);
void seen_free(struct seen **s);
/* Note it under a kind; true when it is new. */
bool seen_add(struct seen *s, uint8_t kind, const struct digest *d);
bool seen_has(struct seen *s, uint8_t kind, const struct digest *d);

#endif
