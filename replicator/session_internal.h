/* session_internal.h - what the files of a session share. */
#ifndef REPLICATOR_SESSION_INTERNAL_H
#define REPLICATOR_SESSION_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "replicator/session.h"
#include "replicator/wire.h"
#include "snapshot/map.h"
#include "snapshot/read.h"
#include "snapshot/stage.h"

#define JOB_BYTES_MAX (16u * MIB)      /* payloads of a session's frames under work */
#define REPLY_BYTES_MAX (8u * MIB)     /* answers that wait for the socket; then nothing more is read */
#define OBJECTS_BYTES_MAX (4u * MIB)   /* objects that wait for the jobs before them */
#define RAW_CACHE_BYTES (24u * MIB)    /* opened blobs of this upload, for the check of the items that follow */
#define RAW_CACHE_SLOTS 256u
#define READ_CACHE_BYTES (16u * MIB)   /* opened blobs of old files */
#define CHECKPOINT_BYTES (64u * MIB)   /* a cut connection loses no more than this, or a second */
#define CHECKPOINT_NS 1000000000ll
#define TAKE_OVER_S 30               /* for the upload of a connection that is gone to be put away; then both go on */
#define EXTENTS_BUILD_MAX (8u * MAP_EXTENTS_MAX) /* of a map that is being built, before it is written anew */
/* What an item may name, and the BLOBs that may be read while its job is under work. */
#define BLOB_RING (WIRE_BLOBS_BACK + SITE_QUEUE_MAX)
#define GRACE_NS 2000000000ll          /* for a peer to take the reason of its end */
#define GREETING_NS (2ll * HANDSHAKE_MS_MAX * 1000000)
#define AGENT_SESSIONS_MAX 2u          /* one that is dying unnoticed, and its successor */
#define STRANGERS_MAX (SESSIONS_MAX / 4) /* connections that have not greeted */

struct reply {
    struct reply *next;
    enum wire_type type;
    struct buf payload;
};

struct session {
    struct site *site;
    struct session *next;                /* under site->lock, with the five below */
    char uploading[SOURCE_NAME_MAX + 1]; /* the source whose upload is open, "": none */
    char agent[SOURCE_NAME_MAX + 1];     /* "" before HELLO */
    bool greeted, finished;
    int64_t began_ns;                    /* monotonic */
    int cut_fd;                          /* a second descriptor of the socket: to end it from outside, at any time */
    int fd;                              /* until the channel has it */
    pthread_t thread, sender;
    struct channel *ch;
    struct index_agent row;              /* as HELLO found it */
    bool clock_told;                     /* one alarm about the clock a session */
    struct upload *up;                   /* of the reading thread; jobs borrow it */

    pthread_mutex_t lock;                /* all below, and the rings of the upload */
    pthread_cond_t changed;
    uint64_t job_next, job_low;          /* numbers: of the next job; all below job_low are done */
    uint64_t job_done;                   /* bit n % 64: done, for job_low <= n < job_next */
    size_t job_bytes;
    struct reply *reply_first, **reply_last;
    size_t reply_bytes;
    bool ended;                          /* nothing more will be replied */
    bool tell;                           /* the peer is to be told of the failure */
    enum err_kind failed;
    struct err err;
    int64_t failed_ns;
};

struct raw {
    uint64_t blob; /* 0: free */
    uint32_t size;
    uint8_t *at;   /* [size], owned */
};
/* Objects of one frame, waiting. */
struct waiting {
    struct waiting *next;
    uint64_t after; /* jobs below this number must be done */
    struct buf bytes;
};

struct upload {
    struct session *s;
    char source[SOURCE_NAME_MAX + 1];
    uint64_t number;
    struct index_mark head;            /* sequence 0: there is none */
    struct stage *stage;
    struct reader *reader;
    uint64_t quota, stored_before;     /* quota 0: none */
    int64_t checkpoint_ns;
    uint64_t checkpoint_bytes;
    uint32_t blob_count;               /* BLOBs seen by the reading thread */
    struct waiting *waiting, **waiting_last;
    size_t waiting_bytes;
    struct wire_missing missing;       /* count 0: nothing */
    bool has_root;
    struct digest root;                /* last root page that came, and what it says */
    uint64_t root_bytes, root_count;
    uint64_t *get_set;                 /* [get_room], a hash set of what GET may ask for: first 8 bytes of digests; 0 is free */
    size_t get_room, get_count;

    uint64_t *blobs;                   /* [BLOB_RING], the store's number of BLOB n at n % BLOB_RING; 0: not there yet; s->lock */
    struct raw raws[RAW_CACHE_SLOTS];  /* a ring; s->lock */
    size_t raw_next, raw_oldest, raw_bytes;
};

/* One frame under work. */
struct job;
typedef enum err_kind job_fn(struct upload *up, struct job *j, struct err *err);
struct job {
    struct session *s;
    job_fn *fn;
    uint64_t number;
    uint32_t blob_count; /* BLOBs before it */
    struct buf payload;
};

/* session_queue.c */
void queue_start(struct session *s);
void queue_stop(struct session *s); /* what is queued is sent first, unless the session failed */
/* Payload is taken.  Waits for room.  Errors: what the session failed with. */
ERR_CHECK enum err_kind session_push(struct session *s, job_fn *fn, struct buf *payload, struct err *err);
uint64_t session_jobs(struct session *s); /* number of the next job */
/* Wait until all jobs below number are done; wait false: just look, *ret_done tells. */
ERR_CHECK enum err_kind session_wait(struct session *s, uint64_t number, bool wait, bool *ret_done, struct err *err);
void session_drain(struct session *s); /* until no job is under way, whatever became of them */
void session_reply(struct session *s, enum wire_type type, struct buf *payload); /* taken */
/* The first failure counts.  tell: send ERROR; else cut at once. */
void session_fail(struct session *s, const struct err *err, bool tell);
bool session_failed(struct session *s, struct err *ret);

/* session_upload.c: the life of an upload. */
ERR_CHECK enum err_kind upload_begin(struct session *s, const struct wire_begin *m, struct err *err);
void upload_end(struct session *s); /* jobs are drained, what is stored is handed over */
ERR_CHECK enum err_kind upload_quota(struct upload *up, struct err *err);
ERR_CHECK enum err_kind upload_checkpoint(struct upload *up, struct err *err); /* if it is due */
/* Opened bytes of blobs of this upload. */
void raw_put(struct upload *up, uint64_t blob, uint8_t **at, uint32_t size); /* at is taken */
/* false: not there (any more).  Errors: ERR_PROTOCOL: outside of the blob. */
ERR_CHECK enum err_kind raw_copy(struct upload *up, const struct extent *e, uint8_t *ret, bool *ret_found,
                                 struct err *err);
/* Number 0: a BLOB that has come and is under work. */
void blob_known(struct upload *up, uint32_t number, uint64_t blob);
/* The site's number of an earlier BLOB; waits for its job. */
ERR_CHECK enum err_kind blob_number(struct upload *up, const struct job *j, uint32_t number, uint64_t *ret,
                                    struct err *err);

/* session_data.c, session_item.c: jobs. */
ERR_CHECK enum err_kind job_query(struct upload *up, struct job *j, struct err *err);
ERR_CHECK enum err_kind job_want(struct upload *up, struct job *j, struct err *err);
ERR_CHECK enum err_kind job_blob(struct upload *up, struct job *j, struct err *err);
ERR_CHECK enum err_kind job_items(struct upload *up, struct job *j, struct err *err);
ERR_CHECK enum err_kind session_get(struct upload *up, const struct buf *payload, struct err *err);

/* session_object.c */
void objects_keep(struct upload *up, struct buf *payload); /* taken */
/* Check and store those whose jobs are done; all: wait for the jobs. */
ERR_CHECK enum err_kind objects_run(struct upload *up, bool all, struct err *err);
ERR_CHECK enum err_kind object_known(struct upload *up, enum object_kind kind, const struct digest *digest, bool *ret,
                                     struct err *err);
void objects_free(struct upload *up);

/* session_mark.c */
ERR_CHECK enum err_kind session_greet(struct session *s, const struct wire_frame *f, struct err *err);
ERR_CHECK enum err_kind session_mark(struct session *s, const struct wire_frame *f, struct err *err);

/* join.c */
ERR_CHECK enum err_kind session_join(struct session *s, const struct wire_frame *f, struct err *err);

#endif
