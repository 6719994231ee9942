/* pack.h - pack files: append sealed blobs (one open pack a city), read them back, sync, close.  Thread-safe.
 * A count of seals is taken before each write and stored with the blob; a failed or short write, or a restart, closes the pack,
 * so no nonce is used twice under one key. */
#ifndef SNAPSHOT_PACK_H
#define SNAPSHOT_PACK_H

#include <stdbool.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "snapshot/format.h"
#include "snapshot/store.h"

struct packs;
struct packs *packs_new(struct store *s); /* needs dir_fd, keys, writer */
void packs_free(struct packs **p);

/* Writer, at start: the first pack and blob numbers that may be given out. */
void packs_start(struct packs *p, uint64_t pack_next, uint64_t blob_next);

struct pack_blob {
    uint32_t city;
    enum blob_kind kind;
    uint8_t zip;        /* 1: bytes are a zstd frame */
    const void *bytes;  /* [stored], borrowed; written sealed */
    uint32_t stored;
    uint32_t raw;
};
/* Seal and write one blob to the city's open pack (a new pack when the next would pass PACK_BYTES_MAX; the old one gets its
 * table and is closed).  Not durable before packs_sync.  Errors: ERR_FULL, ERR_IO: the pack is closed, the next put opens another. */
ERR_CHECK enum err_kind packs_put(struct packs *p, const struct pack_blob *b, struct blob_place *ret, struct err *err);

/* Sync every pack written since the last call, and the directories of new ones; a failed sync is final (exit).  fn is told the
 * state of each pack touched since the last call, for its index row: committed = the end of the last whole blob. */
typedef void packs_state_fn(void *arg, uint64_t pack, uint32_t city, uint64_t end, bool closed);
ERR_CHECK enum err_kind packs_sync(struct packs *p, packs_state_fn *fn, void *arg, struct err *err);
uint64_t packs_blob_ceiling(struct packs *p); /* number to persist: all given out so far are below it */
uint64_t packs_pack_next(struct packs *p);

/* Read and open a blob: checks header against place, tag, and length.  ret_raw [place->raw]; place says kind, zip and lens.
 * Errors: ERR_CORRUPT naming pack and offset; ERR_ABSENT when the pack file is gone (look the blob up again). */
ERR_CHECK enum err_kind packs_read(struct packs *p, const struct blob_place *place, uint8_t *ret_raw, struct err *err);

/* Walk the blob headers of a pack file, up to end (0: end of file), without opening blobs.
 * Errors: ERR_CORRUPT with the offset where it cannot go on; ERR_ABSENT. */
typedef enum err_kind packs_header_fn(void *arg, const struct blob_place *place, struct err *err);
ERR_CHECK enum err_kind packs_headers(struct packs *p, uint64_t pack, uint64_t end, packs_header_fn *fn, void *arg,
                                      struct err *err);
/* The same from the table of a closed pack.  Errors: ERR_ABSENT when it has none (a crash closed it). */
ERR_CHECK enum err_kind packs_table(struct packs *p, uint64_t pack, packs_header_fn *fn, void *arg, struct err *err);
/* Check the pack's own header (magic, number, site, wrapped key). */
ERR_CHECK enum err_kind packs_check(struct packs *p, uint64_t pack, uint32_t *ret_city, uint64_t *ret_bytes,
                                    struct err *err);
/* All pack numbers on disk, in order; free() *ret. */
ERR_CHECK enum err_kind packs_list(struct packs *p, uint64_t **ret, size_t *ret_count, struct err *err);
/* Writer, at start: cut a pack that was open at a crash back to its committed length; one that no row knows is removed. */
ERR_CHECK enum err_kind packs_cut(struct packs *p, uint64_t pack, uint64_t committed, struct err *err);
ERR_CHECK enum err_kind packs_remove(struct packs *p, uint64_t pack, struct err *err);

#endif
