/* seed.h - random numbers that a failure can be repeated with: FARSHORE_SEED gives the seed that was printed. */
#ifndef TESTS_UNIT_SNAPSHOT_SEED_H
#define TESTS_UNIT_SNAPSHOT_SEED_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/unit.h"

static uint64_t seed_state;

static inline void
seed_start(void)
{
    const char *const given = getenv("FARSHORE_SEED");

    seed_state = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("FARSHORE_SEED=%" PRIu64 "\n", seed_state);
}

/* splitmix64 */
static inline uint64_t
seed_next(void)
{
    uint64_t z = seed_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t
seed_below(uint64_t bound)
{
    return seed_next() % bound;
}

static inline void
seed_fill(void *bytes, size_t size)
{
    uint8_t *const at = bytes;

    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)seed_next();
}

#endif
