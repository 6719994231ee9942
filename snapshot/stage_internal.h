/* stage_internal.h - what stage.c hands over to commit.c. */
#ifndef SNAPSHOT_STAGE_INTERNAL_H
#define SNAPSHOT_STAGE_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "common/bytes.h"
#include "snapshot/stage.h"

struct row_object {
    uint8_t key[OBJECT_KEY_BYTES];
    struct object_place place;
};

/* Rows not yet committed. */
struct rows {
    struct blob_place *blobs; /* [blob_count] */
    size_t blob_count, blob_room;
    struct row_object *objects; /* [object_count], children before parents */
    size_t object_count, object_room;
    uint32_t *slots; /* hash set over objects: place + 1, 0 is free; [slot_room], a power of two */
    size_t slot_room;
};
void rows_free(struct rows *r);
void rows_blob(struct rows *r, const struct blob_place *p);
void rows_object(struct rows *r, const uint8_t key[OBJECT_KEY_BYTES], const struct object_place *p);
const struct row_object *rows_find(const struct rows *r, const uint8_t key[OBJECT_KEY_BYTES]);

/* One piece of work for the committer. */
struct handover {
    struct handover *next;
    uint32_t city;
    struct rows rows;        /* the stage may still look things up in it: the committer only reads */
    struct rows more;        /* blobs that the committer adds: rows for reindex, the mark */
    bool has_mark;
    uint64_t upload;         /* with a mark: the row that goes */
    struct index_mark mark;  /* in: mark, signature; out: the whole row */
    commit_fn *fn;
    void *arg;
    struct json *event;      /* owned; NULL: none */
    bool done;               /* under the committer's lock */
    enum err_kind kind;
    struct err err;
    struct ledger_head head; /* out: after the leaf */
};

struct commit {
    struct store *s;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;  /* something was handed over, or stop */
    pthread_cond_t finished;
    struct handover *first, **last;
    bool stop;
};

void commit_hand(struct commit *c, struct handover *h);  /* borrowed until done */
void commit_wait(struct commit *c, struct handover *h);  /* until h->done */
bool commit_is_done(struct commit *c, const struct handover *h);

/* commit_write.c: make a group durable and set kind, err and results of each.  What cannot be recovered from ends the process. */
void commit_group(struct store *s, struct handover *group);

#endif
