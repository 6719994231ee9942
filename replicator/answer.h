/* answer.h - shared by ask.c and answer.c: which blocks of a map are in question. */
#ifndef REPLICATOR_ANSWER_H
#define REPLICATOR_ANSWER_H

#include "replicator/pass.h"

#define ANSWER_RUN_LONG (DELTA_RUN_BYTES / BLOCK_BYTES) /* runs of fewer blocks are compared in place */

struct block_run {
    uint32_t first, count;
};
/* Blocks that are neither zero nor, with a base, the same as the base's. */
uint64_t answer_needed(const struct part *part, bool based);
/* The first run at or after from; false: there is none. */
bool answer_run(uint64_t needed, uint32_t from, struct block_run *ret);

#endif
