/* stage.h - what one upload has written: blobs in packs, rows not yet committed.  Thread-safe: the workers of a session put, the
 * committer takes.
 *
 * The order of durability (DESIGN section 6): pack bytes -> fdatasync(pack) -> fsync(directory) -> LMDB commit, carrying the ledger
 * leaf -> ledger leaf, synced -> the caller may sign a receipt.  One committer thread takes what all stages have handed over and
 * does it once for all of them (group commit).  The first failed sync ends the process (it prints and exits 2). */
#ifndef SNAPSHOT_STAGE_H
#define SNAPSHOT_STAGE_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/json.h"
#include "snapshot/index.h"
#include "snapshot/ledger.h"
#include "snapshot/store.h"

struct commit *commit_start(struct store *s);  /* the thread; store_open calls it */
void commit_stop(struct commit **c);           /* finishes what was handed over */

struct stage;
/* Begin an upload: its row is committed.  base: sequence of the mark that it builds on, 0 none. */
ERR_CHECK enum err_kind stage_new(struct store *s, const struct index_upload *u, struct stage **ret, struct err *err);
/* Forget the upload: rows handed over stay (they may serve the next try), its own row goes. */
void stage_free(struct stage **st);

/* A data blob as the agent compressed it. zip 0 or 1. */
struct stage_blob {
    const void *bytes; /* [stored] */
    uint32_t stored;
    uint32_t raw;
    uint8_t zip;
};
ERR_CHECK enum err_kind stage_blob(struct stage *st, const struct stage_blob *b, uint64_t *ret_blob, struct err *err);
/* An object; gathered with others into blobs.  One that is there already is not written again. */
ERR_CHECK enum err_kind stage_object(struct stage *st, enum object_kind kind, const struct digest *digest,
                                     const void *bytes, uint32_t size, struct err *err);
/* A file of one block whose bytes lie at off in a data blob of this stage.  The caller has checked the digest. */
ERR_CHECK enum err_kind stage_block(struct stage *st, const struct digest *digest, uint64_t blob, uint32_t off, uint32_t len,
                                    struct err *err);
/* Is it in the index of this city, or in this stage?  Claims it: its generation becomes this upload's. */
ERR_CHECK enum err_kind stage_have(struct stage *st, enum object_kind kind, const struct digest *digest, bool *ret,
                                   struct err *err);
/* Where a blob of this stage or of the index lies. */
ERR_CHECK enum err_kind stage_blob_place(struct stage *st, uint64_t blob, struct blob_place *ret, struct err *err);
uint64_t stage_bytes(struct stage *st); /* stored so far: for the quota */

/* Hand over what is there; returns at once (it waits only when the last hand-over is not yet done). */
ERR_CHECK enum err_kind stage_checkpoint(struct stage *st, struct err *err);

/* Hand over the rest with a mark (text checked by the caller to continue the last) and wait until it is durable and its leaf is
 * in the ledger.  ret: the row as written.  Errors: ERR_FULL: nothing of the mark was kept; try again when there is space. */
ERR_CHECK enum err_kind stage_mark(struct stage *st, const struct mark *m, const uint8_t signature[SIGN_BYTES],
                                   struct index_mark *ret, struct ledger_head *ret_head, struct err *err);

/* A change without an upload: rows put by fn inside the commit's transaction, and an event in its leaf (taken).  Waits.  fn may be
 * NULL.  For enrolment, tokens (event NULL: no leaf), revocation, alarms, start and stop. */
typedef enum err_kind commit_fn(void *arg, struct kv_txn *t, struct err *err);
ERR_CHECK enum err_kind commit_change(struct store *s, commit_fn *fn, void *arg, struct json **event, struct err *err);

#endif
