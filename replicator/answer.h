/* answer.h - shared by ask.c and answer.c: which blocks of a map are in question. */
#ifndef REPLICATOR_ANSWER_H
#define REPLICATOR_ANSWER_H

#include "replicator/pass.h"

/* Runs of fewer changed blocks are compared in place first: in a file of pages of which 2 in 100 change, every other window of
 * 64 MiB has a run of four blocks, and the sums of the whole window for it cost more than those of the run.  What is not found
 * in place and is longer than DELTA_RUN_BYTES is then searched for in the window.  Longer runs are most likely moved bytes. */
#define ANSWER_RUN_LONG 32u

struct block_run {
    uint32_t first, count;
};
/* Blocks that are neither zero nor, with a base, the same as the base's. */
uint64_t answer_needed(const struct part *part, bool based);
/* The first run at or after from; false: there is none. */
bool answer_run(uint64_t needed, uint32_t from, struct block_run *ret);

#endif
