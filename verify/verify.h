/* verify.h - reading every byte of a store, and saying n of m.
 *
 *     supervisor --fork--> index child:   kv_check over data.mdb, then each row against the rows that it names
 *                --fork--> content child: ledger, marks, trees with all their blocks, then what no mark reached, packs
 *
 * Invariants: damage is a finding and the work goes on; a child that dies is a finding; what was not read is not counted; a blob is read
 * once, whether a mark's block or the sweep over the packs asked for it.
 */
#ifndef VERIFY_VERIFY_H
#define VERIFY_VERIFY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/pool.h"
#include "common/progress.h"
#include "snapshot/index.h"
#include "snapshot/ledger.h"
#include "snapshot/map.h"
#include "snapshot/read.h"
#include "snapshot/store.h"
#include "verify/verify_finding.h"
#include "verify/verify_seen.h"

struct verify_options {
    const char *store;
    const char *point;   /* of one mark; NULL: the whole store */
    const char *against; /* a tree that it is compared with; NULL: the mark is proved */
    bool json, quiet;
};
/* verify_store.c: everything, or one mark.  *ret_findings: something is wrong; it was printed. */
ERR_CHECK enum err_kind verify_run(const struct verify_options *o, bool *ret_findings, struct err *err);
/* verify_against.c */
ERR_CHECK enum err_kind against_run(const struct verify_options *o, bool *ret_findings, struct err *err);
/* verify_index.c: the index child's work. */
void index_verify(const char *store, struct sink *sink);
/* verify_content.c: the content child's work. */
void content_verify(const struct verify_options *o, struct sink *sink);

/* A mark and whose it is. */
struct vmark {
    struct index_mark row;
    uint32_t city;
    bool city_known;
    bool in_ledger;
    char source[2 * SOURCE_NAME_MAX + 2]; /* agent/source */
    char id[13];
};

/* What a city signed and cannot be had as it signed it: an object, or one block of a map. */
struct bad {
    uint8_t kind; /* enum object_kind */
    uint32_t city;
    struct digest digest;
    uint32_t off; /* of the block, in what a map covers; 0 */
};

/* All of the content child. */
struct verify {
    const struct verify_options *o;
    struct store *store;
    struct sink *sink;
    struct progress *progress;
    struct pool *pool;
    bool whole; /* the store, not one mark */

    struct vmark *marks; /* [mark_count], owned, in order of city, source, sequence */
    size_t mark_count, mark_room;
    uint64_t leaves_known; /* by the index, before the ledger was read */

    /* Blobs: rows seen at the start, and a bit for each that was opened whole. */
    uint64_t blob_rows, blob_last, stored_bytes;
    _Atomic uint64_t *opened; /* [blob_last / 64 + 1] */
    atomic_uint_fast64_t blobs_read, bytes_read;

    struct reader *reader; /* of the city whose marks are walked */
    uint32_t city;
    struct seen *seen;     /* objects, files, pages: a kind each */
    struct seen *block_set; /* (digest, extents) */
    pthread_mutex_t lock;  /* guards bad */
    struct bad *bad;       /* [bad_count] */
    size_t bad_count, bad_room;
    struct seen *bad_set;  /* the same, to ask for */

    /* Distinct things: [0] met, [1] read and found good. */
    atomic_uint_fast64_t objects[2], blocks[2], files, file_bytes;
    uint64_t marks_good, leaves, packs[2], orphans;
};
/* One digest under two cities is two things: they share nothing. */
struct digest city_digest(uint32_t city, const struct digest *d);

/* verify_ledger.c: leaves, heads, and what they say of marks. */
void ledger_verify(struct verify *v);
/* verify_mark.c: records. */
void marks_load(struct verify *v, struct err *err, enum err_kind *ret_kind);
void marks_verify(struct verify *v);
/* verify_tree.c: everything that a mark reaches, each thing once over all marks of a city. */
void trees_verify(struct verify *v);
/* verify_unit.c: maps and small files, in the order in which their bytes lie. */
struct units;
struct units *units_new(struct verify *v);
void units_map(struct units *u, const struct digest *digest, uint32_t bytes);
void units_block(struct units *u, const struct digest *digest, uint32_t bytes);
void units_end(struct units **u); /* all of them read */
/* Note that an object cannot be had.  It is a finding, unless the blob that it lies in is damaged: the sweep says that, once. */
void bad_object(struct verify *v, enum object_kind kind, const struct digest *digest, const struct err *why);
bool bad_has(struct verify *v, uint32_t city, enum object_kind kind, const struct digest *digest);
/* verify_pack.c: what no mark reached, and what the packs say of themselves. */
void blobs_expect(struct verify *v); /* rows at the start: for progress, and the bits */
void packs_verify(struct verify *v);
void blob_opened(void *verify, const struct blob_place *p); /* a reader_blob_fn */
bool blob_is_opened(const struct verify *v, uint64_t blob);
/* verify_hit.c: which names of which marks the bad things are part of. */
void hits_tell(struct verify *v);

#endif
