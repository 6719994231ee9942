/* ledger.h - the append-only log of events under an RFC 6962 Merkle tree.  farshore-store(5), "Ledger".
 *
 * ledger/log: "FSLEDG1\n", then for each leaf: u32 length, u64 hash_check(length||leaf), leaf (JSON: {"commit":n,"events":[...],
 * "time":ns}), 64 bytes of Ed25519 signature over the head's text after it.  ledger/head: the newest head as a signed note
 * (C2SP tlog-checkpoint): "farshore/<site>\n<size>\n<base64 root>\n" , "\n", "— farshore/<site> <base64(key id 4 || signature)>\n".
 * Leaf hash SHA-256(0x00||leaf). */
#ifndef SNAPSHOT_LEDGER_H
#define SNAPSHOT_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/sign.h"

struct ledger;
struct ledger_head {
    uint64_t size; /* leaves */
    struct digest root;
};
void ledger_head_text(const char *site, const struct ledger_head *h, struct buf *ret); /* what is signed: three lines */
/* The signed note. */
void ledger_note(const char *site, const struct ledger_head *h, const uint8_t public[SIGN_PUBLIC_BYTES],
                 const uint8_t signature[SIGN_BYTES], struct buf *ret);

struct ledger_open {
    int dir_fd;                  /* of the store */
    const char *site;
    const uint8_t *public;       /* [SIGN_PUBLIC_BYTES], borrowed for the ledger's life */
    const struct sign_key *key;  /* NULL: read only; borrowed */
};
/* Open and read it whole: each leaf is hashed, the last signature checked.  A torn tail (a last record that is cut off) is passed
 * over, and cut away by the first ledger_reserve: the caller has then seen that no leaf is missing.
 * Errors: ERR_CORRUPT with the offset. */
ERR_CHECK enum err_kind ledger_open(const struct ledger_open *o, struct ledger **ret, struct err *err);
ERR_CHECK enum err_kind ledger_make(int dir_fd, struct err *err); /* an empty one */
void ledger_close(struct ledger **l);
struct ledger_head ledger_head(const struct ledger *l);
/* The root when it had size leaves (1..now), from the hashes of leaves that are kept in memory (32 bytes each). */
ERR_CHECK enum err_kind ledger_root_at(const struct ledger *l, uint64_t size, struct digest *ret,
                                       struct err *err);

/* Reserve disk space, so that a later append cannot meet a full disk.  Errors: ERR_FULL. */
ERR_CHECK enum err_kind ledger_reserve(struct ledger *l, size_t leaf_bytes, struct err *err);
/* Append one leaf, for which space was reserved; synced when it returns.  ledger/head follows without a sync.  A failed sync: the
 * caller exits. */
ERR_CHECK enum err_kind ledger_append(struct ledger *l, const void *leaf, size_t size, struct ledger_head *ret,
                                      struct err *err);

/* Read all leaves of a ledger file, damaged or not.  fn gets each leaf whose checksum holds. */
typedef enum err_kind ledger_leaf_fn(void *arg, uint64_t index, const void *leaf, size_t size, struct err *err);
typedef void ledger_bad_fn(void *arg, uint64_t offset, const char *what);
struct ledger_scan {
    ledger_leaf_fn *leaf;
    ledger_bad_fn *bad; /* damage: bad checksum, bad signature of a head, trailing bytes; NULL: end with ERR_CORRUPT */
    void *arg;
};
ERR_CHECK enum err_kind ledger_scan(const struct ledger_open *o, const struct ledger_scan *scan, struct ledger_head *ret,
                                    struct err *err);
#endif
