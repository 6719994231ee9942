/* store.h - a store, open: its directory, keys, configuration, index and ledger.  farshore-store(5).
 *
 *     site.conf site.pub site.key seal.key ca.key ca.crt tls.key tls.crt
 *     lock control.sock index/ packs/NNNNNN/NNNNNNNNNNNN.pack (decimal, thousand packs a directory) ledger/log ledger/head pins/
 */
#ifndef SNAPSHOT_STORE_H
#define SNAPSHOT_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "common/conf.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/kv.h"
#include "common/limits.h"
#include "common/sign.h"
#include "snapshot/format.h"

struct ledger;
struct packs;
struct commit;

struct store {
    char *path;             /* as given */
    int dir_fd;
    int lock_fd;            /* -1 when reading */
    bool writer;
    char name[SOURCE_NAME_MAX + 1]; /* of the site */
    struct conf *conf;      /* site.conf */
    uint8_t site_public[SIGN_PUBLIC_BYTES];
    struct digest site_id;  /* SHA-256 of site_public */
    uint8_t seal_key[32];
    struct sign_key *site_key; /* NULL when reading */
    struct kv *kv;
    struct ledger *ledger;  /* writer: open for append */
    struct packs *packs;    /* both: reading; writer: appending too */
    struct commit *commit;  /* writer: the committer thread */
};

/* Make a new store: directories, keys, CA, TLS certificate, empty index, ledger with an "init" leaf.  dir must not exist or be
 * empty.  Errors: ERR_REFUSED when there is something in it. */
ERR_CHECK enum err_kind store_make(const char *dir, const char *name, const char *address, struct err *err);

/*
 * Open.  write: takes the lock, brings the store into order after a crash (packs cut back to their committed length, leaves
 * that the commit knows and the ledger lacks appended), starts the committer.
 * Errors: ERR_ABSENT (no store there), ERR_REFUSED (another process writes; the ledger is behind or ahead of the index by more than
 * a crash explains: hint reindex), ERR_CORRUPT, ERR_CONFIG.
 */
ERR_CHECK enum err_kind store_open(const char *dir, bool write, struct store **ret, struct err *err);
/* The same without index, for reindex: index/ is moved aside to index.old-TIME first, and made anew. */
ERR_CHECK enum err_kind store_open_bare(const char *dir, struct store **ret, struct err *err);
void store_close(struct store **s);

/* The key under which a city's rows are filed. */
void store_city_key(const struct store *s, uint32_t city, uint8_t ret_key[32]);
void store_object_key(const uint8_t city_key[32], uint32_t city, enum object_kind kind, const struct digest *digest,
                      uint8_t ret_key[OBJECT_KEY_BYTES]);

/* Bring index back from packs and ledger alone (store_open_bare did the rest).  found is told of each damaged piece; what is
 * whole comes back.  ret_marks: marks found. */
typedef void store_found_fn(void *arg, const char *what);
ERR_CHECK enum err_kind store_reindex(struct store *s, store_found_fn *found, void *arg, uint64_t *ret_marks,
                                      struct err *err);
#endif
