/* read_internal.h - what read.c and read_blob.c share. */
#ifndef SNAPSHOT_READ_INTERNAL_H
#define SNAPSHOT_READ_INTERNAL_H

#include <pthread.h>

#include "snapshot/read.h"

/* An opened blob in the cache. */
struct cached {
    struct cached *newer, *older; /* list of use */
    struct cached *chain;         /* of its hash bucket */
    uint64_t blob;
    uint32_t raw;
    unsigned users;
    enum { CACHED_LOADING, CACHED_GOOD, CACHED_BAD } state;
    enum err_kind kind; /* CACHED_BAD: why */
    struct err err;
    uint8_t *bytes;     /* [raw] */
};
#define CACHE_BUCKETS 4096u

struct reader {
    struct store *s;
    uint32_t city;
    uint8_t city_key[32];
    struct stage *stage; /* NULL: only what is committed */
    reader_blob_fn *on_blob;
    void *on_blob_arg;
    pthread_mutex_t lock;
    pthread_cond_t loaded;
    struct cached *buckets[CACHE_BUCKETS];
    struct cached *newest, *oldest;
    size_t bytes, bytes_max;
};

/* The opened blob, held until reader_give.  Loads of one blob by two threads are one load. */
ERR_CHECK enum err_kind reader_take(struct reader *r, uint64_t blob, struct cached **ret, struct err *err);
void reader_give(struct reader *r, struct cached *c);

#endif
