/* pack_internal.h - what pack.c (append) and pack_read.c share. */
#ifndef SNAPSHOT_PACK_INTERNAL_H
#define SNAPSHOT_PACK_INTERNAL_H

#include <pthread.h>

#include "common/bytes.h"
#include "snapshot/pack.h"

#define PACK_PATH_ROOM 48
#define PACK_ENTRY_BYTES 24u /* of the table: blob 8, off 4, stored 4, raw 4, kind 1, zip 1, zero 2 */

/* Last 16 bytes of a closed pack, behind what rows call committed. */
#define PACK_TRAILER_MAGIC "FSPEND1\n"
#define PACK_TRAILER_BYTES 16u /* magic 8, offset of the first table blob 8 */

/* A pack that is read: its descriptor and key stay open in a small table. */
struct pack_file {
    uint64_t pack;
    int fd;
    uint32_t city;
    uint8_t key[32];
    uint64_t used; /* tick of last use */
    unsigned users;
};
#define PACK_FILES_MAX 64u /* open for reading at once */

/* A pack that is appended to. */
struct pack_open {
    struct pack_open *next;
    uint64_t pack;
    uint32_t city;
    int fd;
    uint8_t key[32];
    uint64_t seals;     /* count taken so far */
    uint64_t end;       /* next byte to give out */
    unsigned in_flight; /* writes begun and not ended */
    bool failed;        /* a write failed: no more go to it, and it gets no table */
    uint64_t fail_at;   /* lowest offset at which a write failed: nothing at or behind it counts */
    bool pausing;       /* the committer waits for a quiet moment: no slots are given out */
    bool tabling;       /* somebody waits to write the table: not to be freed */
    bool closing;       /* no more are given out */
    bool dirty;         /* written since the last sync */
    bool fresh;         /* its directory entry is not synced yet */
    struct buf table;   /* PACK_ENTRY_BYTES each, entries of its blobs, for the table */
};

struct packs {
    struct store *s;
    pthread_mutex_t lock;
    pthread_cond_t idle;       /* some in_flight became 0 */
    struct pack_open *open;    /* the open one of each city, and closing ones until they are synced */
    uint64_t pack_next, blob_next;
    struct pack_file files[PACK_FILES_MAX];
    uint64_t tick;
};

void pack_path(uint64_t pack, char ret[PACK_PATH_ROOM]); /* below the store directory */
void pack_aad(uint64_t pack, const struct blob_header *h, uint8_t ret[8 + 28]);
void pack_nonce(uint64_t seal, uint8_t ret[12]);
/* Fill everything of a header but tag and check. */
void pack_header_fill(const struct blob_place *p, uint64_t seal, struct blob_header *ret);
void pack_header_check(struct blob_header *h); /* compute check */
ERR_CHECK enum err_kind pack_header_parse(const uint8_t bytes[sizeof(struct blob_header)], struct blob_place *ret,
                                          uint64_t *ret_seal, struct err *err);

#endif
